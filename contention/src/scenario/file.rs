//! Reads scenario files: the built-in ones and a user's own.

use std::{fmt, path::Path};

use super::{Arrival, Scenario};

/// Name and text of every file in `scenarios/`, listed by `build.rs`.
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// Why a scenario file is refused: `my.toml:3: phase[0].rate: 0 is not from 1 to 100000`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    file: String,
    /// `None` if the file could not be read.
    line: Option<usize>,
    field: String,
    reason: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Every built-in scenario, in the order of `--list` and `all`.
pub(crate) fn built_in() -> Result<Vec<Scenario>, Refusal> {
    let mut scenarios = BUILT_IN
        .iter()
        .map(|(name, text)| parse(name, text))
        .collect::<Result<Vec<_>, _>>()?;
    scenarios.sort_by(|a, b| (a.place, &a.name).cmp(&(b.place, &b.name)));
    Ok(scenarios)
}

/// A user's own scenario file.
pub(crate) fn read(path: &Path) -> Result<Scenario, Refusal> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(error) => Err(Refusal {
            file: name,
            line: None,
            field: String::new(),
            reason: error.to_string(),
        }),
    }
}

/// Reads the text of a scenario file.
pub(crate) fn parse(file: &str, text: &str) -> Result<Scenario, Refusal> {
    let refuse = |line, field: String, reason: String| Refusal {
        file: file.to_owned(),
        line: Some(line),
        field,
        reason,
    };
    let syntax = |error: &toml::de::Error, field| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        refuse(line, field, first_line(error.message()))
    };
    let document =
        toml::Deserializer::parse(text).map_err(|error| syntax(&error, String::new()))?;
    let scenario: Scenario = serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let named = named_field(error.inner().message());
        let field = match (path.as_str(), named) {
            ("." | "?", named) => named.unwrap_or_default().to_owned(),
            (path, Some(named)) if !path.ends_with(named) => format!("{path}.{named}"),
            (path, _) => path.to_owned(),
        };
        syntax(error.inner(), field)
    })?;
    match inconsistency(&scenario) {
        None => Ok(scenario),
        Some((phase, field, reason)) => Err(refuse(
            phase_line(text, phase),
            format!("phase[{phase}].{field}"),
            reason.to_owned(),
        )),
    }
}

/// The first phase whose fields do not fit together: its index, the field, and why.
fn inconsistency(scenario: &Scenario) -> Option<(usize, &'static str, &'static str)> {
    if scenario.phase.is_empty() {
        return Some((0, "arrival", "a scenario needs at least one phase"));
    }
    scenario.phase.iter().enumerate().find_map(|(at, phase)| {
        let mix = &phase.mix;
        let percent = [
            mix.buy, mix.look, mix.browse, mix.detail, mix.create, mix.live,
        ];
        let sum = percent.into_iter().fold(0_u32, u32::saturating_add);
        let found = match phase.arrival {
            _ if sum != 100 => Some(("mix", "the percentages must add up to 100")),
            Arrival::Rate if phase.rate == 0 => Some(("rate", "is needed for arrival = \"rate\"")),
            Arrival::Rate if phase.seconds == 0 => {
                Some(("seconds", "is needed for arrival = \"rate\""))
            }
            Arrival::BackToBack if phase.seconds == 0 => {
                Some(("seconds", "is needed for arrival = \"back_to_back\""))
            }
            Arrival::BackToBack if phase.connections.is_none() => {
                Some(("connections", "is needed for arrival = \"back_to_back\""))
            }
            Arrival::AllAtOnce | Arrival::BadRequests if phase.rate != 0 || phase.seconds != 0 => {
                Some(("rate", "and seconds are not allowed with this arrival"))
            }
            Arrival::AllAtOnce | Arrival::Rate | Arrival::BackToBack | Arrival::BadRequests => None,
        };
        found.map(|(field, reason)| (at, field, reason))
    })
}

/// The field name in a message of serde.
fn named_field(message: &str) -> Option<&str> {
    ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .and_then(|rest| rest.split('`').next())
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of the `[[phase]]` with this index; line 1 if there is none.
fn phase_line(text: &str, number: usize) -> usize {
    let mut tables = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.trim() == "[[phase]]");
    tables.nth(number).map_or(1, |(line, _)| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"x\"\nquestion = \"?\"\nusers = 5\nstock = 1\n\n[[phase]]\narrival = \"all_at_once\"\n";

    fn refused(text: &str) -> String {
        parse("my.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn every_built_in_file_is_a_scenario() {
        let scenarios = built_in().unwrap();
        assert!(scenarios.len() >= 17);
        assert!(
            scenarios
                .iter()
                .all(|scenario| !scenario.question.is_empty())
        );
    }

    #[test]
    fn a_refusal_names_file_line_and_field() {
        assert!(parse("my.toml", GOOD).is_ok());
        for (wrong, expected) in [
            (
                GOOD.replace("stock", "stok"),
                "my.toml:4: stok: unknown field",
            ),
            (
                GOOD.replace("users = 5", "users = 0"),
                "my.toml:3: users: 0 is not from 1",
            ),
            (
                GOOD.replace("users = 5", "users = \"5\""),
                "my.toml:3: users: invalid type",
            ),
            (
                GOOD.replace("all_at_once", "never"),
                "my.toml:7: phase[0].arrival: unknown variant",
            ),
            (
                GOOD.replace("all_at_once", "rate"),
                "my.toml:6: phase[0].rate: is needed",
            ),
            (
                format!("{GOOD}mix = {{ buy = 50 }}\n"),
                "my.toml:6: phase[0].mix: the percentages",
            ),
            (
                format!("{GOOD}mix = {{ bye = 50 }}\n"),
                "my.toml:8: phase[0].mix.bye: unknown field",
            ),
            (
                format!("{GOOD}[expect]\nrefusals = [\"slow_body\"]\n"),
                "my.toml:9: expect.refusals: slow_body is not a code",
            ),
            (GOOD.replace("users = 5", "users ="), "my.toml:3: "),
        ] {
            assert!(
                refused(&wrong).starts_with(expected),
                "{} is not {expected}",
                refused(&wrong)
            );
        }
        assert!(refused(&GOOD.replace("users = 5\n", "")).contains("users: missing field"));
    }
}
