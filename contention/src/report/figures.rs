//! Formats numbers for the table, the page and the live view.

/// Placeholder for a missing number.
pub(super) const NONE: &str = "–";

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    thousands(&number.to_string())
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About three digits; more would be noise in a measurement.
pub(super) fn decimal(number: f64) -> String {
    if !number.is_finite() {
        return NONE.to_owned();
    }
    let size = number.abs();
    if size < 0.005 {
        "0".to_owned()
    } else if size < 9.995 {
        format!("{number:.2}")
    } else if size < 99.95 {
        format!("{number:.1}")
    } else {
        let sign = if number < 0.0 { "-" } else { "" };
        format!("{sign}{}", thousands(&format!("{size:.0}")))
    }
}

/// Milliseconds, or seconds from 1,000 ms on.
pub(super) fn time(milliseconds: f64) -> String {
    if milliseconds < 1_000.0 {
        format!("{} ms", decimal(milliseconds))
    } else {
        format!("{} s", decimal(milliseconds / 1_000.0))
    }
}

/// Events per second; `None` for a length of zero.
pub(super) fn per_second(number: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| float(number) / seconds)
}

/// A count as a float, for drawing and dividing.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "no chart needs more than 53 bits"
)]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_short() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        let decimals = [0.0, 0.001, 0.42, 9.996, 12.34, 99.96, 1_234.5, -5.0].map(decimal);
        let expected = ["0", "0", "0.42", "10.0", "12.3", "100", "1,234", "-5.00"];
        assert_eq!(decimals, expected);
        assert_eq!(decimal(f64::NAN), NONE);
        assert_eq!(time(12.34), "12.3 ms");
        assert_eq!(time(2_340.0), "2.34 s");
    }

    #[test]
    fn a_rate_over_zero_seconds_is_none() {
        assert_eq!(per_second(5, 0.0), None);
        assert_eq!(per_second(5, 2.0), Some(2.5));
    }
}
