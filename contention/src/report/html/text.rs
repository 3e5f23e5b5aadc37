//! Text on its way into the page: escaped, whatever a server or a scenario file put into it.

/// Safe between tags and inside quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() && control != '\n' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// Escaped, and cut where a legend has no more room.
pub(super) fn short(text: &str) -> String {
    const MAX: usize = 40;
    if text.chars().count() <= MAX {
        return escaped(text);
    }
    let begin: String = text.chars().take(MAX - 1).collect();
    escaped(&begin) + "…"
}

/// One piece of markup after the other.
pub(super) fn joined(pieces: impl Iterator<Item = String>) -> String {
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        let text = escaped("<script>'\"&\u{0}");
        assert_eq!(text, "&lt;script&gt;&#39;&quot;&amp;\u{fffd}");
    }

    #[test]
    fn a_long_code_is_cut_between_letters() {
        assert_eq!(short(&"é".repeat(1_000)).chars().count(), 40);
        assert_eq!(short("sold_out"), "sold_out");
    }
}
