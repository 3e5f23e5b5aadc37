//! Reports for the tests of this folder: a run that held and a broken one.

use std::collections::BTreeMap;

use super::{
    Answers, Batches, Check, Client, FORMAT, Fault, Latencies, Latency, Lock, Ratio, Report, Run,
    ServiceUnderTest, Slice, Units,
};

pub(super) fn report(runs: Vec<Run>) -> Report {
    let held = runs
        .iter()
        .flat_map(|run| &run.checks)
        .all(|check| check.held);
    Report {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        command: "contention hyper --html page.html".to_owned(),
        started_at: "2026-11-21T05:00:00Z".to_owned(),
        machine: "2 cores, 7.8 GiB, Linux".to_owned(),
        seconds: 12.3,
        runs,
        ratios: vec![Ratio {
            what: "orders/s to the naive design".to_owned(),
            value: 252.63,
        }],
        held,
    }
}

/// 250 of 250 units sold to 2,500 buyers.
pub(super) fn held() -> Run {
    Run {
        scenario: "hyper".to_owned(),
        variant: "3 nodes".to_owned(),
        question: "Is every unit of a hot product sold?".to_owned(),
        seed: 7,
        service: ServiceUnderTest {
            nodes: 3,
            database: "sqlite".to_owned(),
            lock: "redlock over 3 nodes".to_owned(),
        },
        users: 2_500,
        stock: 250,
        quantity: 1,
        seconds: 10.0,
        offered: 2_500,
        answers: vec![
            answers("sold_out", 409, 2_250),
            answers("created", 201, 250),
        ],
        units: Units {
            sold: 250,
            possible: 250,
            unsold: 0,
            oversold: 0,
        },
        latency: Latencies {
            winners: latency(250, 4.0),
            refusals: latency(2_250, 0.6),
            others: Latency::default(),
        },
        sold_out_after_ms: Some(1_234.0),
        lock: Lock {
            known: true,
            acquired: 212,
            busy: 17,
            ..Lock::default()
        },
        batches: Batches {
            count: 212,
            mean: 1.18,
            p50: 1.0,
            p99: 4.0,
        },
        timeline: (0..100_u32).map(slice).collect(),
        faults: Vec::new(),
        checks: vec![
            check("sold = possible"),
            check("conservation"),
            check("no 5xx"),
        ],
        client: Client {
            cores: 0.31,
            late_p99_ms: 0.8,
            bottleneck: false,
        },
        figures: BTreeMap::from([("cache hit rate".to_owned(), "98.2 %".to_owned())]),
    }
}

/// One unit oversold, with the lock nodes down and a client that was too slow.
pub(super) fn broken() -> Run {
    let mut run = held();
    "redis-down".clone_into(&mut run.scenario);
    run.variant.clear();
    run.units = Units {
        sold: 251,
        possible: 250,
        unsold: 0,
        oversold: 1,
    };
    run.lock.known = false;
    run.client = Client {
        cores: 0.99,
        late_p99_ms: 85.0,
        bottleneck: true,
    };
    run.answers.push(answers("<img src=x>", 418, 3));
    run.answers.push(answers("no_answer", 0, 12));
    run.faults = vec![
        Fault {
            at_ms: 2_000.0,
            what: "all Redis nodes killed".to_owned(),
        },
        Fault {
            at_ms: 6_000.0,
            what: "all Redis nodes back".to_owned(),
        },
    ];
    run.checks.push(Check {
        promise: "nothing oversold".to_owned(),
        held: false,
        detail: "251 sold of 250".to_owned(),
        breaches: vec!["order 01a1-b2 took unit 251".to_owned()],
    });
    run
}

fn answers(code: &str, status: u16, count: u64) -> Answers {
    Answers {
        code: code.to_owned(),
        status,
        count,
    }
}

fn check(promise: &str) -> Check {
    Check {
        promise: promise.to_owned(),
        held: true,
        detail: "250 orders answered 201, 250 in the database".to_owned(),
        breaches: Vec::new(),
    }
}

fn latency(count: u64, p50: f64) -> Latency {
    let curve = [
        (0.0, 0.4),
        (50.0, 1.0),
        (75.0, 1.3),
        (90.0, 1.9),
        (95.0, 2.4),
        (99.0, 5.1),
        (99.9, 9.0),
        (100.0, 14.0),
    ];
    Latency {
        count,
        p50_ms: p50,
        p95_ms: p50 * 2.4,
        p99_ms: p50 * 5.1,
        max_ms: p50 * 14.0,
        curve: curve
            .map(|(percentile, factor)| (percentile, p50 * factor))
            .to_vec(),
    }
}

fn slice(number: u32) -> Slice {
    let sold = number.min(13) * 20;
    let created = if number < 13 { 20 } else { 0 };
    let refused = if number < 12 {
        2
    } else {
        20 + u64::from(number * 7 % 11)
    };
    Slice {
        at_ms: f64::from(number) * 100.0,
        answers: BTreeMap::from([
            ("created".to_owned(), created),
            ("sold_out".to_owned(), refused),
        ]),
        stock: Some(i64::from(250_u32.saturating_sub(sold))),
        p50_ms: Some(0.6 + f64::from(number % 5) / 10.0),
        p99_ms: Some(4.0 + f64::from(number * 13 % 7)),
    }
}
