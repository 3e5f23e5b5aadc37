//! The parts of the model and their steps: the product's row, locks, lanes, statements on their way,
//! and the requests of buyers.

use stateright::{Model, Property};

use super::{ENDS, FALSE_ANSWER, LOST_UNIT, OVERSOLD};

/// What is checked, and how much of it goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) nodes: usize,
    pub(crate) stock: u8,
    /// The node that each buyer calls first; every buyer wants one unit.
    pub(crate) buyers: Vec<usize>,
    pub(crate) design: Design,
    pub(crate) bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Design {
    /// Whether a write names the version that it was decided on.
    pub(crate) fence: bool,
    pub(crate) settling: Settling,
}

/// How a lane finds out what became of a statement whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settling {
    /// It raises the version if that is still the one it has read.
    Write,
    /// It only looks at the row.
    Read,
}

/// How often each fault may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// Connections that break while a statement is on its way.
    pub(crate) losses: u8,
    /// Calls that are repeated on the next node, with their key.
    pub(crate) repeats: u8,
    pub(crate) crashes: u8,
    /// Locks that end while their holder is paused.
    pub(crate) ends: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) row: Row,
    /// The holder of each stock level's lock.
    pub(crate) locks: Vec<Option<usize>>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) requests: Vec<Request>,
    /// Statements whose connection broke before they arrived.
    pub(crate) late: Vec<Statement>,
    pub(crate) left: Bounds,
}

/// The product's row, and the number of orders of each buyer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) version: u8,
    pub(crate) stock: u8,
    pub(crate) orders: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Idle,
    /// It has read this version and stock.
    Read {
        version: u8,
        stock: u8,
    },
    /// It has the lock, or has passed it by.
    Ready {
        version: u8,
        stock: u8,
    },
    /// Its statement is on the way to the database, or its answer on the way back.
    Sent {
        batch: Batch,
        answer: Option<bool>,
    },
    /// The connection broke.
    Settles {
        batch: Batch,
    },
}

/// A decided batch that writes something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    pub(crate) statement: Statement,
    /// What its buyers are answered once the statement is committed.
    pub(crate) replies: Vec<(usize, Answer)>,
}

/// A guarded write: one order for each of these buyers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Statement {
    pub(crate) version: u8,
    /// The stock that it leaves.
    pub(crate) stock: u8,
    pub(crate) buyers: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) buyer: usize,
    pub(crate) node: usize,
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Waits,
    Created,
    SoldOut,
    /// Nothing was written, now or later.
    NotWritten,
    /// `outcome_unknown`, or no answer.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Read(usize),
    Lock(usize),
    PassBy(usize),
    LockEnds(u8),
    Decide(usize),
    Arrive(usize),
    Answer(usize),
    Lose(usize),
    ArriveLate(usize),
    Settle(usize),
    GiveUp(usize),
    Abandon(usize),
    Repeat(usize),
    Crash(usize),
}

impl Model for Lanes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let requests = self.buyers.iter().enumerate().map(|(buyer, node)| Request {
            buyer,
            node: *node,
            answer: Answer::Waits,
        });
        vec![State {
            row: Row {
                version: 1,
                stock: self.stock,
                orders: vec![0; self.buyers.len()],
            },
            locks: vec![None; usize::from(self.stock) + 1],
            lanes: vec![Lane::Idle; self.nodes],
            requests: requests.collect(),
            late: Vec::new(),
            left: self.bounds,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for node in 0..self.nodes {
            of_lane(state, node, actions);
        }
        for (number, request) in state.requests.iter().enumerate() {
            if request.answer == Answer::Waits && !state.lanes[request.node].has_claimed() {
                actions.push(Action::Abandon(number));
            }
            let may = matches!(request.answer, Answer::Waits | Answer::Unknown);
            if may && state.left.repeats > 0 && self.nodes > 1 {
                actions.push(Action::Repeat(number));
            }
        }
        for level in (0..)
            .zip(&state.locks)
            .filter(|(_, holder)| holder.is_some())
        {
            if state.left.ends > 0 {
                actions.push(Action::LockEnds(level.0));
            }
        }
        actions.extend((0..state.late.len()).map(Action::ArriveLate));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Read(node) => {
                let (version, stock) = (state.row.version, state.row.stock);
                state.lanes[node] = Lane::Read { version, stock };
            }
            Action::Lock(node) => state.enter(node, true),
            Action::PassBy(node) => state.enter(node, false),
            Action::LockEnds(level) => {
                state.locks[usize::from(level)] = None;
                state.left.ends -= 1;
            }
            Action::Decide(node) => state.decide(node),
            Action::Arrive(node) | Action::Answer(node) | Action::Lose(node) => {
                let Lane::Sent { batch, answer } = state.lanes[node].clone() else {
                    return None;
                };
                self.of_sent(&mut state, &action, (node, batch, answer));
            }
            Action::ArriveLate(number) => {
                let statement = state.late.remove(number);
                state.row.execute(&statement, self.design.fence);
            }
            Action::Settle(node) | Action::GiveUp(node) => {
                let Lane::Settles { batch } = state.lanes[node].clone() else {
                    return None;
                };
                if action == Action::GiveUp(node) {
                    state.give_up(node, &batch);
                } else {
                    let settling = self.design.settling;
                    let committed = state.row.settle(&batch.statement, settling);
                    state.end_batch(node, &batch, committed);
                }
            }
            Action::Abandon(number) => state.requests[number].answer = Answer::NotWritten,
            Action::Repeat(number) => {
                let Request { buyer, node, .. } = state.requests[number];
                let node = (node + 1) % self.nodes;
                let answer = Answer::Waits;
                state.requests.push(Request {
                    buyer,
                    node,
                    answer,
                });
                state.left.repeats -= 1;
            }
            Action::Crash(node) => state.crash(node),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(OVERSOLD, |lanes: &Self, state: &State| {
                let sold: u8 = state.row.orders.iter().sum();
                sold + state.row.stock == lanes.stock && state.row.orders.iter().all(|it| *it <= 1)
            }),
            Property::always(FALSE_ANSWER, |_, state: &State| {
                let requests = &state.requests;
                (0..).zip(&state.row.orders).all(|(buyer, orders)| {
                    let mut own = requests.iter().filter(|request| request.buyer == buyer);
                    let denies = |request: &Request| {
                        matches!(request.answer, Answer::SoldOut | Answer::NotWritten)
                    };
                    let created = own.clone().any(|request| request.answer == Answer::Created);
                    if *orders == 0 {
                        !created
                    } else {
                        !own.all(denies)
                    }
                })
            }),
            Property::always(LOST_UNIT, |_, state: &State| {
                let mut requests = state.requests.iter();
                state.row.stock == 0 || requests.all(|request| request.answer != Answer::SoldOut)
            }),
            Property::always(ENDS, |lanes: &Self, state: &State| {
                let mut actions = Vec::new();
                lanes.actions(state, &mut actions);
                let waits = |request: &Request| request.answer == Answer::Waits;
                !actions.is_empty() || !state.requests.iter().any(waits)
            }),
            // Without these, the properties above could hold because nothing happens.
            Property::sometimes("all units are sold", |_, state: &State| {
                state.row.stock == 0
            }),
            Property::sometimes("the fence rejects a write", |_, state: &State| {
                let rejected = |lane: &Lane| {
                    matches!(
                        lane,
                        Lane::Sent {
                            answer: Some(false),
                            ..
                        }
                    )
                };
                state.lanes.iter().any(rejected)
            }),
        ]
    }
}

impl Lanes {
    /// The states before and after these actions; `None` if one of them cannot happen.
    pub(crate) fn replay(&self, actions: &[Action]) -> Option<Vec<State>> {
        let mut states = self.init_states();
        for action in actions {
            let before = states.last()?;
            let mut possible = Vec::new();
            self.actions(before, &mut possible);
            let after =
                self.next_state(before, possible.contains(action).then(|| action.clone())?)?;
            states.push(after);
        }
        Some(states)
    }

    /// What happens to a statement and its answer on their way.
    fn of_sent(
        &self,
        state: &mut State,
        action: &Action,
        (node, batch, answer): (usize, Batch, Option<bool>),
    ) {
        if *action == Action::Arrive(node) {
            let answer = Some(state.row.execute(&batch.statement, self.design.fence));
            state.lanes[node] = Lane::Sent { batch, answer };
        } else if *action == Action::Answer(node) {
            state.end_batch(node, &batch, answer == Some(true));
        } else {
            state.lose(node);
            state.left.losses -= 1;
            state.lanes[node] = Lane::Settles { batch };
        }
    }

    /// Whether the last of these states breaks the promise.
    pub(crate) fn breaks(&self, promise: &'static str, states: &[State]) -> bool {
        let property = self.property(promise);
        states
            .last()
            .is_some_and(|state| !(property.condition)(self, state))
    }
}

/// What a lane may do next.
fn of_lane(state: &State, node: usize, actions: &mut Vec<Action>) {
    match &state.lanes[node] {
        Lane::Idle => {
            if state.waiting(node).next().is_some() {
                actions.push(Action::Read(node));
            }
        }
        Lane::Read { stock, .. } => {
            let free = state.locks[usize::from(*stock)].is_none();
            actions.push(if free {
                Action::Lock(node)
            } else {
                Action::PassBy(node)
            });
        }
        Lane::Ready { .. } => actions.push(Action::Decide(node)),
        Lane::Sent { answer, .. } => {
            actions.push(match answer {
                None => Action::Arrive(node),
                Some(_) => Action::Answer(node),
            });
            if state.left.losses > 0 {
                actions.push(Action::Lose(node));
            }
        }
        Lane::Settles { .. } => {
            actions.push(Action::Settle(node));
            actions.push(Action::GiveUp(node));
        }
    }
    if state.left.crashes > 0 {
        actions.push(Action::Crash(node));
    }
}
