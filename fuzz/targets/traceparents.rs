//! `traceparent`: no bytes panic, and what is accepted has ids and is written as it was sent.

#![no_main]

use flash_sale::domain::TraceContext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(context) = TraceContext::parse(data) {
        assert!(context.trace_id != 0 && context.span_id != 0);
        let text = context.to_string();
        assert_eq!(text.len(), 55);
        // All but the version and the flags of which only one has a meaning.
        assert_eq!(text.as_bytes()[3..53], data[3..53]);
        assert_eq!(TraceContext::parse(text.as_bytes()), Some(context));
    }
});
