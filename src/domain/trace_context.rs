//! The trace context of a request: what the header `traceparent` carries (W3C Trace Context).

use std::fmt;

use serde::{Serialize, Serializer};

/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;
/// The length of a `traceparent` of version 00; later versions begin alike.
const LENGTH: usize = 55;

/// A span by its ids, and whether its trace is recorded. Its text is a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    pub trace_id: u128,
    pub span_id: u64,
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`. `None` where the standard has it ignored: other lengths, upper case,
    /// ids of zeros, version ff.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = head.split(|byte| *byte == b'-');
        let mut number = |digits| hex(fields.next()?, digits);
        let (version, trace_id) = (number(2)?, number(32)?);
        let (span_id, flags) = (number(16)?, number(2)?);
        let is_complete = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let span_id = u64::try_from(span_id).ok()?;
        let flags = u8::try_from(flags).ok()?;
        (is_complete && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(self, span_id: u64) -> Self {
        Self { span_id, ..self }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        let Self {
            trace_id, span_id, ..
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number of exactly so many digits, in lower case.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    let digit = |value: u128, byte: &u8| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    };
    (text.len() == digits)
        .then(|| text.iter().try_fold(0, digit))
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_names_trace_span_and_flag() {
        let context = TraceContext::parse(TRACE.as_bytes()).unwrap();
        assert_eq!(context.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(context.span_id, 0xb7ad_6b71_6920_3331);
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), TRACE);
    }

    #[rstest]
    // Only the lowest flag has a meaning, and a later version may add fields.
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some(false))]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe", Some(false))]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", Some(true))]
    #[case("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(true))]
    #[case(
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        Some(true)
    )]
    #[case("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x", None)]
    #[case("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", None)]
    #[case("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("00-00000000000000000000000000000000-b7ad6b7169203331-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01", None)]
    #[case("00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01", None)]
    #[case("+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("", None)]
    fn what_the_standard_forbids_is_ignored(#[case] text: &str, #[case] sampled: Option<bool>) {
        let context = TraceContext::parse(text.as_bytes());
        assert_eq!(context.map(|context| context.is_sampled), sampled);
    }

    proptest! {
        #[test]
        fn its_own_text_is_read_back(trace_id in 1_u128.., span_id in 1_u64.., is_sampled: bool) {
            let context = TraceContext { trace_id, span_id, is_sampled };
            prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
        }
    }
}
