//! Integers in JSON bodies, as JSON Schema defines them: `2.0` is the integer 2.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// An integer of a body.
struct Whole(i64);

/// Floats up to here represent every integer exactly (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_i64(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Whole, E> {
        Ok(Whole(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
        let whole = i64::try_from(value).map(Whole);
        whole.map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "the float is an integer within the exact ones"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Whole, E> {
        if value.fract() == 0.0 && value.abs() <= EXACT {
            Ok(Whole(value as i64))
        } else {
            Err(E::invalid_type(Unexpected::Float(value), &self))
        }
    }
}

impl Whole {
    fn into<T: TryFrom<i64>, E: Error>(self) -> Result<T, E> {
        let Self(value) = self;
        let out_of_range = || E::invalid_value(Unexpected::Signed(value), &"a smaller integer");
        T::try_from(value).map_err(|_| out_of_range())
    }
}

/// A field that must be sent.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(field: D) -> Result<T, D::Error> {
    Whole::deserialize(field)?.into()
}

/// A field that may be absent or null, which mean the same.
pub(super) fn optional<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    let value = Option::<Whole>::deserialize(field)?;
    value.map(Whole::into).transpose()
}

/// A field that may be absent, not null.
pub(super) fn present<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    whole(field).map(Some)
}

/// A field that may be absent, and whose null differs from that.
#[expect(clippy::option_option, reason = "absent, null and a value differ")]
pub(super) fn nullable<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    optional(field).map(Some)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(deserialize_with = "whole")]
        n: i32,
    }

    #[rstest]
    #[case("1", Some(1))]
    #[case("1.0", Some(1))]
    #[case("-2e1", Some(-20))]
    #[case("2147483647.0", Some(i32::MAX))]
    #[case("2147483648", None)]
    #[case("2147483648.0", None)]
    #[case("18446744073709551615", None)]
    #[case("1e300", None)]
    #[case("1.5", None)]
    #[case("\"1\"", None)]
    #[case("true", None)]
    #[case("null", None)]
    fn only_whole_numbers_in_range_are_integers(#[case] json: &str, #[case] expected: Option<i32>) {
        let body = serde_json::from_str::<Body>(&format!("{{\"n\":{json}}}"));
        assert_eq!(body.ok().map(|body| body.n), expected);
    }
}
