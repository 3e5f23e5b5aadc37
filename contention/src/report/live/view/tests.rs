//! The live view on terminals of different sizes.

use std::time::Duration;

use ratatui::{Terminal, backend::TestBackend};

use super::{
    super::{
        super::{Fault, fixture},
        LockState,
    },
    *,
};

fn snapshot() -> Snapshot {
    let run = fixture::held();
    let tally = |code: &str, total, last_second| Tally {
        code: code.to_owned(),
        total,
        last_second,
    };
    Snapshot {
        scenario: run.scenario,
        variant: run.variant,
        question: run.question,
        service: "3 nodes · sqlite".to_owned(),
        step: "selling".to_owned(),
        users: 2_500,
        elapsed: Duration::from_millis(4_200),
        planned: Some(Duration::from_secs(10)),
        stock: Some(50),
        stock_total: 250,
        offered: 1_100,
        answers: vec![tally("sold_out", 840, 200), tally("created", 200, 31)],
        p50_ms: Some(1.25),
        p99_ms: Some(9.5),
        lock: LockState {
            known: true,
            acquired: 1_212,
            busy: 17,
            nodes_healthy: 2,
            nodes_total: 3,
            ..LockState::default()
        },
        faults: vec![Fault {
            at_ms: 2_000.0,
            what: "one Redis node killed".to_owned(),
        }],
        history: run.timeline,
    }
}

fn drawn(snapshot: &Snapshot, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, snapshot)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_screen_shows_stock_answers_latency_lock_and_faults() {
    let screen = drawn(&snapshot(), 120, 32);
    for part in [
        "hyper · 3 nodes",
        "selling",
        "4.2 of 10.0 s",
        "50 of 250 left",
        "answers/s: 231",
        "created",
        "840",
        "p50 1.25 ms, p99 9.50 ms",
        "healthy: 2 of 3 links to lock nodes",
        "1,212",
        "one Redis node killed",
        "█",
    ] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn every_terminal_size_is_drawn() {
    for (width, height) in [(1, 1), (5, 3), (20, 8), (41, 12), (80, 24), (400, 120)] {
        drawn(&snapshot(), width, height);
        drawn(&Snapshot::default(), width, height);
    }
}

#[test]
fn oversold_stock_and_a_degraded_lock_are_named() {
    let mut worst = snapshot();
    worst.stock = Some(-1);
    worst.lock.degraded = true;
    let screen = drawn(&worst, 120, 32);
    assert!(screen.contains("-1 of 250: oversold"), "{screen}");
    assert!(screen.contains("degraded"), "{screen}");
}
