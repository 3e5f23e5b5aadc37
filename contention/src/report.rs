//! The report types: the single source of the table, the JSON file, the page and the exit code.
//!
//! `--json` writes a `Report` in this shape. Fields are only ever added; `format` goes up when
//! one changes its meaning.

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) mod codes;
mod figures;
#[cfg(test)]
mod fixture;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod table;

/// The version of the JSON form.
pub(crate) const FORMAT: u32 = 1;

/// The result of one invocation.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// Version of flash-sale.
    pub(crate) version: String,
    /// The arguments, without secrets.
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
    /// Distinguishes runs of the same scenario: `3 nodes`, `naive`; empty for a single run.
    pub(crate) variant: String,
    /// The question that it answers.
    pub(crate) question: String,
    pub(crate) seed: u64,
    pub(crate) service: ServiceUnderTest,
    pub(crate) users: u64,
    /// Units on sale, over all products of the run.
    pub(crate) stock: u64,
    pub(crate) quantity: u32,
    /// Length of the load, without set-up and checks.
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
    /// Additional figures of some scenarios, such as a cache's hit rate; name and value with unit.
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

/// How often a code was answered.
#[derive(Debug, Serialize)]
pub(crate) struct Answers {
    /// [`codes::AnswerCode`]: `created`, `replayed`, `waitlisted`, `ok` for other successes, a
    /// refusal's code, `unknown_code`, or `no_answer` if the connection failed.
    pub(crate) code: String,
    /// 0 for `no_answer`.
    pub(crate) status: u16,
    pub(crate) count: u64,
}

/// Units of all products of the run, from the database after it.
#[derive(Debug, Serialize)]
pub(crate) struct Units {
    pub(crate) sold: u64,
    /// The smaller of demand and stock, in whole orders.
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
    /// All requests except orders.
    pub(crate) others: Latency,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Points (percentile, milliseconds) of the distribution, ascending.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// Increase of the lock's counters over all nodes during the run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Lock {
    /// False if the service's metrics could not be read.
    pub(crate) known: bool,
    pub(crate) acquired: u64,
    pub(crate) busy: u64,
    pub(crate) no_quorum: u64,
    pub(crate) error: u64,
    pub(crate) lost: u64,
    pub(crate) fence_rejected: u64,
    /// Batches written without their lock, whose holder showed no sign of life.
    pub(crate) bypassed: u64,
}

/// Sizes of batches: orders per lock and transaction.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Batches {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    /// The upper bound of the histogram bucket with the percentile.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One step of the run's time, of equal length within a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Slice {
    /// Its start, from the first request.
    pub(crate) at_ms: f64,
    /// Answers by code.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Units left at its end; `None` if unknown.
    pub(crate) stock: Option<i64>,
    /// Of order requests answered in the slice.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) at_ms: f64,
    /// `all Redis nodes killed`, `node 1 stopped`.
    pub(crate) what: String,
}

/// The result of checking a promise.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) promise: String,
    pub(crate) held: bool,
    /// What was checked, with numbers: `250 orders answered 201, 250 in the database`.
    pub(crate) detail: String,
    /// Each breach with its ids; at most 20, the last one counts the rest.
    pub(crate) breaches: Vec<String>,
}

/// Resources that the runner itself used.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Client {
    /// CPU cores that the runner used on average during the load.
    pub(crate) cores: f64,
    /// How late requests were sent, compared to their intended start.
    pub(crate) late_p99_ms: f64,
    /// True if the runner was likely the limit instead of the service.
    pub(crate) bottleneck: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    /// `orders/s to the naive design`.
    pub(crate) what: String,
    pub(crate) value: f64,
}
