//! The text of an error with its causes, in one line.

use std::error::Error;

/// Joins the texts of a chain of causes. Errors of the database repeat the text of their cause,
/// which is then left out.
pub fn in_one_line<'a>(chain: impl IntoIterator<Item = &'a (dyn Error + 'static)>) -> String {
    let mut line = String::new();
    for error in chain {
        let text = error.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("connection: {0}")]
    struct Middle(#[source] std::fmt::Error);

    #[test]
    fn a_cause_that_its_error_repeats_is_said_once() {
        let error = Outer(Middle(std::fmt::Error));
        let first: &(dyn Error + 'static) = &error;
        let line = in_one_line(std::iter::successors(Some(first), |error| {
            (**error).source()
        }));
        let cause = std::fmt::Error.to_string();
        assert_eq!(line, format!("cannot open: connection: {cause}"));
    }
}
