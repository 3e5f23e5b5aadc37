//! Value parsers: durations with units and bounds, items of lists.

use std::{str::FromStr, time::Duration};

/// An item of a comma-separated list, without the white space around it.
pub(super) fn trimmed<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

fn millis(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(Duration::from_millis(value)),
        Ok(_) | Err(_) => Err(format!("give milliseconds from {least} to {most}")),
    }
}

/// Under 100 ms rslock's clock drift and a slow node leave no time to write.
pub(super) fn lock_ttl(text: &str) -> Result<Duration, String> {
    millis(text, 100, 60_000)
}

pub(super) fn patience(text: &str) -> Result<Duration, String> {
    millis(text, 1, 60_000)
}

pub(super) fn request_timeout(text: &str) -> Result<Duration, String> {
    millis(text, 100, 600_000)
}

pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let bad = || "give a number and s, m, h or d, such as 1h".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number = text.strip_suffix(unit).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    match number.checked_mul(seconds) {
        Some(total) if (1..=10 * 365 * 86_400).contains(&total) => Ok(Duration::from_secs(total)),
        Some(_) | None => Err("give between 1s and 3650d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_a_number_and_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("2h"), Ok(Duration::from_hours(2)));
        for bad in [
            "",
            "h",
            "1",
            "1w",
            "-1h",
            "99999999999999999999d",
            "0s",
            "1hh",
        ] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
