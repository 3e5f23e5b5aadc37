//! A state model of the lane, the lock, the fence and the lost commit: every order of their steps is
//! tried, with pauses at any step, locks that end early, lost answers, statements that arrive late,
//! and nodes that crash. `docs/MODEL.md` explains it and shows what happens without the fence.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends by panicking, also in the helpers that it calls"
)]

mod machine;
mod steps;

use std::{fs, path::Path};

use stateright::{Checker, Model};

use self::machine::{Bounds, Design, Lanes, Settling};

const OVERSOLD: &str = "no unit is sold twice";
const FALSE_ANSWER: &str = "no answer is false";
const LOST_UNIT: &str = "no unit is lost";
const ENDS: &str = "every request can be answered";

const SOUND: Design = Design {
    fence: true,
    settling: Settling::Write,
};

/// Tries every order of the steps, and returns how many states there are.
fn check(lanes: Lanes) -> usize {
    let checker = lanes.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// An order of the steps that breaks a promise, without steps that do not matter, a line for each.
fn counterexample(lanes: &Lanes, promise: &'static str) -> String {
    let checker = lanes.clone().checker().spawn_bfs().join();
    // Without a counterexample the test ends here.
    let mut actions = checker.discovery(promise).unwrap().into_actions();
    let mut at = actions.len();
    while at > 0 {
        at -= 1;
        let mut fewer = actions.clone();
        fewer.remove(at);
        if lanes
            .replay(&fewer)
            .is_some_and(|states| lanes.breaks(promise, &states))
        {
            actions = fewer;
        }
    }
    let states = lanes.replay(&actions).unwrap();
    let steps = (1..).zip(actions.iter().zip(&states));
    let mut told: Vec<String> = steps
        .map(|(number, (action, state))| format!("{number:>2}. {}", action.told(state)))
        .collect();
    told.push(format!("    {}", states.last().unwrap().told()));
    told.join("\n")
}

/// `docs/MODEL.md` shows what the model finds, word for word.
#[track_caller]
fn assert_shown(found: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/MODEL.md");
    let page = fs::read_to_string(page).unwrap_or_default();
    assert!(
        page.contains(found),
        "docs/MODEL.md does not show:\n{found}"
    );
}

#[test]
fn three_nodes_keep_every_promise() {
    let states = check(Lanes {
        nodes: 3,
        stock: 2,
        buyers: vec![0, 1, 2],
        design: SOUND,
        bounds: Bounds {
            losses: 1,
            repeats: 0,
            crashes: 0,
            ends: 1,
        },
    });
    assert!(states > 10_000, "{states}");
}

#[test]
fn two_nodes_keep_every_promise_while_clients_repeat_and_nodes_crash() {
    let states = check(Lanes {
        nodes: 2,
        stock: 1,
        buyers: vec![0, 1],
        design: SOUND,
        bounds: Bounds {
            losses: 2,
            repeats: 1,
            crashes: 1,
            ends: 1,
        },
    });
    assert!(states > 10_000, "{states}");
}

#[test]
fn without_the_fence_a_unit_is_sold_twice() {
    let found = counterexample(
        &Lanes {
            nodes: 2,
            stock: 1,
            buyers: vec![0, 1],
            design: Design {
                fence: false,
                ..SOUND
            },
            bounds: Bounds {
                losses: 0,
                repeats: 0,
                crashes: 0,
                ends: 1,
            },
        },
        OVERSOLD,
    );
    assert_shown(&found);
}

/// A look at the row does not end a statement that is still on its way.
#[test]
fn settling_by_a_read_answers_falsely() {
    let found = counterexample(
        &Lanes {
            nodes: 1,
            stock: 1,
            buyers: vec![0],
            design: Design {
                settling: Settling::Read,
                ..SOUND
            },
            bounds: Bounds {
                losses: 1,
                repeats: 0,
                crashes: 0,
                ends: 0,
            },
        },
        FALSE_ANSWER,
    );
    assert_shown(&found);
}
