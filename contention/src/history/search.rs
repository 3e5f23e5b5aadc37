//! The search for a linearization, depth first with a memory of visited configurations.
//!
//! A step may come next if no other step that must happen has ended before it began. Three rules
//! keep the number of orders small without losing one: a step that only reads takes effect as soon
//! as the model allows it; of steps with the same effect the one that ends first comes first; and a
//! configuration (the steps so far and the product's state, as a hash of 128 bits) is visited once.
#![expect(
    clippy::indexing_slicing,
    reason = "the indices are those of the list of steps that the search was made with"
)]

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    Time,
    model::{After, Kind, State, Step},
};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Order {
        configurations: usize,
    },
    /// No order explains the steps that began until then.
    None {
        until: Time,
    },
    TooMany {
        configurations: usize,
    },
}

/// Which of the steps that may come next is tried first. All orders are tried sooner or later; where
/// one preference visits too many configurations, another may find an order at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// What the next step that is due needs.
    Needed,
    /// The step that is due.
    Due,
    /// Units that come back.
    Returns,
}

pub(super) fn search(stock: i64, steps: &[Step], configurations_max: usize) -> Found {
    let mut steps = steps.to_vec();
    steps.sort_by_key(|step| (step.start, step.end));
    let mut visited = 0;
    for preference in [Preference::Needed, Preference::Due, Preference::Returns] {
        let mut search = Search::new(&steps, preference);
        match search.run(State::new(stock), configurations_max) {
            Found::TooMany { configurations } => visited += configurations,
            found => return found,
        }
    }
    Found::TooMany {
        configurations: visited,
    }
}

struct Search<'a> {
    preference: Preference,
    /// By start.
    steps: &'a [Step],
    /// Steps with the same class have the same effect, and may be exchanged.
    classes: Vec<usize>,
    /// The steps that have not taken effect, as a ring; its head is one more than the last step.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Required steps that have not taken effect.
    left: usize,
    /// The steps that have taken effect, as the sum of their digests.
    done: u128,
    visited: HashSet<u128>,
    /// The latest end of a step that no order got past.
    furthest: Time,
}

/// A configuration, and what may come next.
struct Frame {
    state: State,
    /// The steps that took effect since the frame before, in this order.
    applied: Vec<usize>,
    candidates: std::vec::IntoIter<usize>,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], preference: Preference) -> Self {
        let head = steps.len();
        let ring = |offset: usize| (0..=head).map(move |at| (at + offset) % (head + 1));
        Self {
            preference,
            steps,
            classes: classes(steps),
            next: ring(1).collect(),
            previous: ring(head).collect(),
            left: steps.iter().filter(|step| step.is_required).count(),
            done: 0,
            visited: HashSet::new(),
            furthest: 0,
        }
    }

    fn run(&mut self, state: State, configurations_max: usize) -> Found {
        let mut frames = vec![self.descend(state, None)];
        while let Some(frame) = frames.last_mut() {
            let configurations = self.visited.len();
            if self.left == 0 {
                return Found::Order { configurations };
            }
            if configurations > configurations_max {
                return Found::TooMany { configurations };
            }
            if let Some(step) = frame.candidates.next() {
                let state = frame.state.clone();
                let frame = self.descend(state, Some(step));
                frames.push(frame);
            } else if let Some(frame) = frames.pop() {
                for step in frame.applied.iter().rev() {
                    self.put_back(*step);
                }
            }
        }
        Found::None {
            until: self.furthest,
        }
    }

    /// Lets a step take effect, then all that only read, and lists what may come next.
    fn descend(&mut self, mut state: State, step: Option<usize>) -> Frame {
        let mut applied = Vec::new();
        if let Some(step) = step {
            state.apply(&self.steps[step]);
            self.take(step);
            applied.push(step);
        }
        let (pending, due) = loop {
            let (pending, due) = self.pending();
            let read = |step: &usize| {
                let step = &self.steps[*step];
                step.kind.reads() && state.allows(step)
            };
            let reads: Vec<usize> = pending.iter().copied().filter(read).collect();
            if reads.is_empty() {
                break (pending, due);
            }
            for step in reads {
                self.take(step);
                applied.push(step);
            }
        };
        let is_dead = pending.iter().any(|step| state.is_past(&self.steps[*step]));
        let configuration = self.done ^ (u128::from(state.digest()) << 32);
        let candidates = if self.visited.insert(configuration) && !is_dead {
            self.candidates(&state, &pending, due)
        } else {
            Vec::new()
        };
        if candidates.is_empty()
            && let Some(due) = due
        {
            self.furthest = self.furthest.max(self.steps[due].end);
        }
        Frame {
            state,
            applied,
            candidates: candidates.into_iter(),
        }
    }

    /// The steps that may come next as far as time tells, and the one that has to come first.
    fn pending(&self) -> (Vec<usize>, Option<usize>) {
        let head = self.steps.len();
        let mut pending = Vec::new();
        let mut due: Option<usize> = None;
        let mut at = self.next[head];
        while at != head {
            let step = &self.steps[at];
            if due.is_some_and(|due| self.steps[due].end < step.start) {
                break;
            }
            if step.is_required && due.is_none_or(|due| step.end < self.steps[due].end) {
                due = Some(at);
            }
            pending.push(at);
            at = self.next[at];
        }
        // Those that began after the end of a step that was met later.
        if let Some(due) = due {
            pending.retain(|at| self.steps[*at].start <= self.steps[due].end);
        }
        (pending, due)
    }

    /// The steps that may come next, one of each class, the most promising first.
    fn candidates(&self, state: &State, pending: &[usize], due: Option<usize>) -> Vec<usize> {
        let mut first: HashMap<usize, usize> = HashMap::new();
        for at in pending.iter().copied() {
            let step = &self.steps[at];
            if step.kind.reads() || !state.allows(step) {
                continue;
            }
            let found = first.entry(self.classes[at]).or_insert(at);
            if step.end < self.steps[*found].end {
                *found = at;
            }
        }
        let mut found: Vec<usize> = first.into_values().collect();
        let due = due.map(|due| &self.steps[due]);
        found.sort_by_key(|at| {
            let step = &self.steps[*at];
            let promise = self.promise(state, step, due);
            (promise, step.hint, step.end, *at)
        });
        found
    }

    /// Lower for a step that is more likely to come next.
    fn promise(&self, state: &State, step: &Step, due: Option<&Step>) -> u8 {
        let is_due = due.is_some_and(|due| std::ptr::eq(step, due));
        match self.preference {
            _ if !step.is_required => 9,
            Preference::Needed => due.map_or(0, |due| promise(state, step, due)),
            Preference::Due if is_due => 0,
            Preference::Returns if matches!(step.kind, Kind::Return(_) | Kind::Restock(_)) => 0,
            Preference::Due | Preference::Returns if state.suits(step) => 1,
            Preference::Due | Preference::Returns => 3 - u8::from(is_due),
        }
    }

    fn take(&mut self, step: usize) {
        let (previous, next) = (self.previous[step], self.next[step]);
        self.next[previous] = next;
        self.previous[next] = previous;
        self.count(step, false);
    }

    /// The reverse of `take`; steps are put back in the reverse order.
    fn put_back(&mut self, step: usize) {
        let (previous, next) = (self.previous[step], self.next[step]);
        self.next[previous] = step;
        self.previous[next] = step;
        self.count(step, true);
    }

    fn count(&mut self, step: usize, back: bool) {
        self.done ^= digest(step);
        let required = usize::from(self.steps[step].is_required);
        self.left = if back {
            self.left + required
        } else {
            self.left - required
        };
    }
}

/// Lower for a step that is more likely to come next, before the step that is due.
fn promise(state: &State, step: &Step, due: &Step) -> u8 {
    let joins = |step: &Step| matches!(step.kind, Kind::Join(_) | Kind::SellOrJoin(_));
    let returns = |step: &Step| matches!(step.kind, Kind::Return(_) | Kind::Restock(_));
    let needs_units = matches!(
        due.kind,
        Kind::Sell(_) | Kind::SellOrJoin(_) | Kind::NotWaiting | Kind::Reading { .. }
    );
    let is_due = std::ptr::eq(step, due);
    if joins(step) && state.suits(step) || is_due && !joins(step) {
        0
    } else if returns(step) == needs_units {
        1
    } else if is_due {
        2
    } else if joins(step) {
        4
    } else {
        3
    }
}

/// For each step the number of its class.
fn classes(steps: &[Step]) -> Vec<usize> {
    let mut returns: HashMap<usize, Time> = HashMap::new();
    let mut sales: HashMap<usize, Time> = HashMap::new();
    for step in steps {
        match (&step.kind, step.after) {
            (Kind::Return(_), After::Sale) => drop(returns.insert(step.session, step.start)),
            (Kind::Sell(_) | Kind::SellOrJoin(_), _) => {
                sales.insert(step.session, step.end);
            }
            _ => {}
        }
    }
    let mut numbers: HashMap<(u8, i64, usize), usize> = HashMap::new();
    let class = |(index, step): (usize, &Step)| {
        let unique = (2, 0, index);
        // A sale whose units may come back before it has surely happened is like no other.
        let apart = |session| {
            let sold = sales.get(&session).copied().unwrap_or(Time::MAX);
            returns.get(&session).is_some_and(|start| *start < sold)
        };
        let name = match (&step.kind, step.after) {
            (Kind::Sell(quantity), _) if !apart(step.session) => (0, *quantity, 0),
            (Kind::Return(quantity), After::Sale) if !apart(step.session) => (1, *quantity, 0),
            (Kind::Return(quantity), After::Offer | After::Nothing) => (1, *quantity, 0),
            _ => unique,
        };
        let next = numbers.len();
        *numbers.entry(name).or_insert(next)
    };
    steps.iter().enumerate().map(class).collect()
}

/// A random-looking number for a step.
fn digest(step: usize) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, step).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}
