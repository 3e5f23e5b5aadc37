//! What a run offered, got and proved: the one shape that the table, the JSON file, the page and
//! the exit code are all made from.
//!
//! `--json` writes a [`Report`] as it is here. Fields are only ever added; `format` goes up when
//! one changes its meaning.

use std::collections::BTreeMap;

use serde::Serialize;

mod codes;
mod figures;
#[cfg(test)]
mod fixture;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod table;

/// The version of the JSON form.
pub(crate) const FORMAT: u32 = 1;

/// Everything that one invocation did.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// Version of flash-sale.
    pub(crate) version: String,
    /// The arguments, secrets left out.
    pub(crate) command: String,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// Cores, memory, system.
    pub(crate) machine: String,
    pub(crate) seconds: f64,
    pub(crate) runs: Vec<Run>,
    /// Comparisons between runs, as `throughput --baseline` makes them.
    pub(crate) ratios: Vec<Ratio>,
    /// Whether every check of every run held.
    pub(crate) held: bool,
}

/// One scenario against one service.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    /// What tells it from another run of the same scenario: `3 nodes`, `naive`; empty otherwise.
    pub(crate) variant: String,
    /// The question that it answers.
    pub(crate) question: String,
    pub(crate) seed: u64,
    pub(crate) service: ServiceUnderTest,
    pub(crate) users: u64,
    /// Units on sale, over all products of the run.
    pub(crate) stock: u64,
    pub(crate) quantity: u32,
    /// Of the load, without set-up and checks.
    pub(crate) seconds: f64,
    pub(crate) offered: u64,
    pub(crate) answers: Vec<Answers>,
    pub(crate) units: Units,
    pub(crate) latency: Latencies,
    /// From the first request to the answer of the order that took the last unit.
    pub(crate) sold_out_after_ms: Option<f64>,
    pub(crate) lock: Lock,
    pub(crate) batches: Batches,
    pub(crate) timeline: Vec<Slice>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) checks: Vec<Check>,
    pub(crate) client: Client,
    /// Figures that only some scenarios have, such as a cache's hit rate; name and value with unit.
    pub(crate) figures: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ServiceUnderTest {
    pub(crate) nodes: u32,
    /// `sqlite`, `postgres`, or `unknown` for an existing service.
    pub(crate) database: String,
    /// `redlock over 3 nodes`, `in-process`, `unknown`.
    pub(crate) lock: String,
}

/// How often one kind of answer came.
#[derive(Debug, Serialize)]
pub(crate) struct Answers {
    /// `created`, `replayed`, `waitlisted`, `ok` for other successes, a refusal's code, or
    /// `no_answer` where the connection failed.
    pub(crate) code: String,
    /// 0 for `no_answer`.
    pub(crate) status: u16,
    pub(crate) count: u64,
}

/// Units of all products of the run, as the database says after it.
#[derive(Debug, Serialize)]
pub(crate) struct Units {
    pub(crate) sold: u64,
    /// What could be sold: the smaller of the demand and the stock, in whole orders.
    pub(crate) possible: u64,
    pub(crate) unsold: u64,
    pub(crate) oversold: u64,
}

/// Milliseconds from the intended start to the answer.
#[derive(Debug, Serialize)]
pub(crate) struct Latencies {
    /// Requests answered 201 or 202.
    pub(crate) winners: Latency,
    /// Order requests refused.
    pub(crate) refusals: Latency,
    /// Everything that is no order.
    pub(crate) others: Latency,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Points (percentile, milliseconds) of the distribution, ascending; for the curve.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// The lock's counters over all nodes, as they grew during the run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Lock {
    /// False where the service's figures could not be read.
    pub(crate) known: bool,
    pub(crate) acquired: u64,
    pub(crate) busy: u64,
    pub(crate) no_quorum: u64,
    pub(crate) error: u64,
    pub(crate) lost: u64,
    pub(crate) fence_rejected: u64,
}

/// Orders that one lock and one transaction served together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Batches {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    /// The upper bound of the histogram's bucket that holds the percentile.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One step of the run's time, of equal length within a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Slice {
    /// Its begin, from the first request.
    pub(crate) at_ms: f64,
    /// Answers by code.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Units left, as last seen in it; none where it is unknown.
    pub(crate) stock: Option<i64>,
    /// Of order requests answered in it.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) at_ms: f64,
    /// `all Redis nodes killed`, `node 1 stopped`.
    pub(crate) what: String,
}

/// A promise and whether it held.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) promise: String,
    pub(crate) held: bool,
    /// What was looked at, with numbers: `250 orders answered 201, 250 in the database`.
    pub(crate) detail: String,
    /// Each breach with the ids it concerns; at most 20, the last one says how many more.
    pub(crate) breaches: Vec<String>,
}

/// What the runner itself cost.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Client {
    /// Cores' worth of CPU that the runner used during the load.
    pub(crate) cores: f64,
    /// How late requests left, against their intended start.
    pub(crate) late_p99_ms: f64,
    /// True when the runner, not the service, is likely the limit.
    pub(crate) bottleneck: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    /// `orders/s to the naive design`.
    pub(crate) what: String,
    pub(crate) value: f64,
}
