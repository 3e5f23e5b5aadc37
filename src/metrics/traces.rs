//! Metrics of traces: spans that left, and spans that were given up.

use metrics::{counter, describe_counter};

const SPANS: &str = "flash_sale_trace_spans_total";

pub(super) fn init() {
    describe_counter!(
        SPANS,
        "Spans of traced requests by outcome: exported, or dropped because the collector does not keep up, does not answer or rejects them."
    );
    exported(0);
    dropped(0);
}

pub fn exported(spans: usize) {
    count("exported", spans);
}

pub fn dropped(spans: usize) {
    count("dropped", spans);
}

fn count(outcome: &'static str, spans: usize) {
    let spans = u64::try_from(spans).unwrap_or(u64::MAX);
    counter!(SPANS, "outcome" => outcome).increment(spans);
}
