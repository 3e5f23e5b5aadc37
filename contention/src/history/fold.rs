//! Folds the calls of each session into the steps that they stand for, and finds what needs no
//! search: answers that contradict each other or the reading.
//!
//! A session calls one after another with one key, so a repetition tells what became of a call
//! whose answer was lost, and the reading tells it where nobody asked again.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    Answer, CLOCKS_DIFFER, Call, Contradiction, GATE, History, OrderSeen, Request, Time,
    model::{After, Kind, Step},
};

/// The ends of holds and the cancellations.
mod returns;
/// What concerns all sessions together.
mod whole;

/// # Errors
/// With the first contradiction that needs no search.
pub(super) fn steps(history: &History) -> Result<Vec<Step>, Contradiction> {
    let reading = &history.reading;
    let mut sessions: HashMap<usize, Session<'_>> = HashMap::new();
    let new = |number| Session::new(history, number);
    for (index, call) in history.calls.iter().enumerate() {
        let session = sessions.entry(call.session);
        let session = session.or_insert_with(|| new(call.session));
        session.calls.push((index, call));
    }
    for order in &reading.orders {
        let Some(number) = order.session else {
            return Err(read(format!("order {} is nobody's", order.id)));
        };
        let session = sessions.entry(number).or_insert_with(|| new(number));
        session.orders.push(order);
    }
    for (number, position) in &reading.waiting {
        let session = sessions.entry(*number).or_insert_with(|| new(*number));
        session.position = Some(*position);
    }
    let mut numbers: Vec<usize> = sessions.keys().copied().collect();
    numbers.sort_unstable();
    let mut steps = Vec::new();
    let mut owners: HashMap<Uuid, (usize, usize)> = HashMap::new();
    for number in numbers {
        let Some(session) = sessions.get_mut(&number) else {
            continue;
        };
        session.calls.sort_by_key(|(_, call)| call.start);
        session.expected()?;
        session.owns(&mut owners)?;
        session.placed(&mut steps)?;
        session.returned(&mut steps)?;
        session.restocked(&mut steps);
    }
    whole::units(history)?;
    whole::overtaken(history, &steps)?;
    steps.push(whole::reading(history)?);
    Ok(steps)
}

/// The calls of one session and what the reading says about it.
pub(super) struct Session<'a> {
    history: &'a History,
    number: usize,
    /// With their indices, by start.
    calls: Vec<(usize, &'a Call)>,
    orders: Vec<&'a OrderSeen>,
    position: Option<i64>,
}

/// When something took effect, and the calls that say so.
struct Effect {
    start: Time,
    end: Time,
    calls: Vec<usize>,
}

impl<'a> Session<'a> {
    fn new(history: &'a History, number: usize) -> Self {
        Self {
            history,
            number,
            calls: Vec::new(),
            orders: Vec::new(),
            position: None,
        }
    }

    fn step(&self, kind: Kind, effect: Effect, after: After) -> Step {
        Step {
            kind,
            session: self.number,
            start: effect.start,
            end: effect.end,
            is_required: true,
            after,
            calls: effect.calls,
            hint: 0,
            position: 0,
        }
    }

    /// The last moment before the reading.
    fn last(&self) -> Time {
        self.history.reading.start.saturating_sub(1)
    }

    fn contradiction(&self, reason: impl Into<String>, calls: &[usize]) -> Contradiction {
        let orders = self.orders.iter().map(|order| {
            let OrderSeen {
                id,
                quantity,
                status,
                ..
            } = order;
            format!("order {id} of s{}: {quantity}, {status}", self.number)
        });
        let place = self
            .position
            .map(|position| format!("s{} waits at position {position}", self.number));
        Contradiction {
            reason: reason.into(),
            calls: calls.to_vec(),
            read: orders.chain(place).collect(),
        }
    }

    /// The indices of all its calls.
    fn all(&self) -> Vec<usize> {
        self.calls.iter().map(|(index, _)| *index).collect()
    }

    fn of<'b>(
        &'b self,
        is: impl Fn(&Request) -> bool + 'b,
    ) -> impl Iterator<Item = (usize, &'a Call)> + 'b {
        let calls = self.calls.iter().copied();
        calls.filter(move |(_, call)| is(&call.request))
    }

    /// Every answer is one that the contract has for its call.
    fn expected(&self) -> Result<(), Contradiction> {
        for (index, call) in &self.calls {
            if let Answer::Unexpected(answer) = &call.answer {
                let reason = format!("the contract has no such answer: {answer}");
                return Err(self.contradiction(reason, &[*index]));
            }
        }
        Ok(())
    }

    /// No order is answered to two sessions.
    fn owns(&self, owners: &mut HashMap<Uuid, (usize, usize)>) -> Result<(), Contradiction> {
        for (index, call) in &self.calls {
            let Answer::Created { order, .. } = &call.answer else {
                continue;
            };
            let (owner, first) = *owners.entry(*order).or_insert((self.number, *index));
            if owner != self.number {
                let reason = format!("order {order} was answered to two buyers");
                return Err(self.contradiction(reason, &[first, *index]));
            }
        }
        Ok(())
    }

    /// The step of its order or place, and the refusals.
    fn placed(&self, steps: &mut Vec<Step>) -> Result<(), Contradiction> {
        let Some(quantity) = self.quantity() else {
            return match self.orders.first() {
                Some(order) => {
                    let reason = format!("order {} was never asked for", order.id);
                    Err(self.contradiction(reason, &[]))
                }
                None => Ok(()),
            };
        };
        self.one_order()?;
        if let Some(effect) = self.effect()? {
            let witnesses = self.of(is_place).map(|(_, call)| &call.answer);
            let mut kinds = witnesses.filter_map(|answer| match answer {
                Answer::Created { .. } => Some(Kind::Sell(quantity)),
                Answer::Waiting { .. } => Some(Kind::Join(quantity)),
                _ => None,
            });
            let kind = kinds.next().unwrap_or_else(|| self.unanswered(quantity));
            let (start, end) = (effect.start, effect.end);
            let mut step = self.step(kind, effect, After::Nothing);
            step.hint = self.hint();
            step.position = self.answered_position();
            let joins = matches!(step.kind, Kind::Join(_));
            steps.push(step);
            if joins && self.orders.is_empty() && self.position.is_none() {
                self.left_at_the_end(steps, start, end)?;
            }
        }
        self.refused(steps);
        self.left(steps)
    }

    /// The kind of an effect that no answer names.
    fn unanswered(&self, quantity: i64) -> Kind {
        let mut places = self.of(is_place);
        let waits =
            places.any(|(_, call)| matches!(call.request, Request::Place { waits: true, .. }));
        match (waits, self.position) {
            (true, Some(_)) => Kind::Join(quantity),
            (true, None) if self.has_left() => Kind::Join(quantity),
            (true, None) => Kind::SellOrJoin(quantity),
            (false, _) => Kind::Sell(quantity),
        }
    }

    fn has_left(&self) -> bool {
        self.calls
            .iter()
            .any(|(_, call)| call.answer == Answer::Left)
    }

    fn quantity(&self) -> Option<i64> {
        self.calls.iter().find_map(|(_, call)| match call.request {
            Request::Place { quantity, .. } => Some(quantity),
            Request::Cancel | Request::Leave | Request::Restock(_) => None,
        })
    }

    /// One key makes one order, which is the one that was answered and is there for the asked
    /// number of units.
    fn one_order(&self) -> Result<(), Contradiction> {
        let mut answered: Option<(Uuid, usize)> = None;
        for (index, call) in &self.calls {
            let Answer::Created { order, .. } = &call.answer else {
                continue;
            };
            match answered {
                Some((first, at)) if first != *order => {
                    let reason = format!("one key made two orders, {first} and {order}");
                    return Err(self.contradiction(reason, &[at, *index]));
                }
                Some(_) => {}
                None => answered = Some((*order, *index)),
            }
        }
        if let [first, second, ..] = self.orders.as_slice() {
            let reason = format!("one key made two orders, {} and {}", first.id, second.id);
            return Err(self.contradiction(reason, &self.all()));
        }
        let seen = self.orders.first();
        if let Some((order, index)) = answered
            && seen.is_none_or(|seen| seen.id != order)
        {
            let reason = format!("order {order} was acknowledged and is lost");
            return Err(self.contradiction(reason, &[index]));
        }
        if let Some(seen) = seen
            && self.quantity() != Some(seen.quantity)
        {
            let reason = format!("order {} is not for the asked number of units", seen.id);
            return Err(self.contradiction(reason, &self.all()));
        }
        Ok(())
    }

    /// When the order or place was made; `None` if it never was.
    fn effect(&self) -> Result<Option<Effect>, Contradiction> {
        let mut effect: Option<Effect> = None;
        // The first call that may have made it without saying so.
        let mut silent: Option<(usize, &Call)> = None;
        for (index, call) in self.of(is_place) {
            let replayed = match call.answer {
                Answer::Created { replayed, .. } | Answer::Waiting { replayed, .. } => replayed,
                Answer::Unknown(_) => {
                    silent = silent.or(Some((index, call)));
                    continue;
                }
                _ => continue,
            };
            if effect.is_some() {
                continue;
            }
            effect = Some(match (replayed, silent) {
                (false, _) => of_call(index, call),
                (true, Some((first, from))) => Effect {
                    start: from.start,
                    end: call.end,
                    calls: vec![first, index],
                },
                (true, None) => {
                    let reason = "it replays an answer that nobody was given";
                    return Err(self.contradiction(reason, &self.all()));
                }
            });
        }
        let is_there = !self.orders.is_empty() || self.position.is_some() || self.has_left();
        if effect.is_some() || !is_there {
            return Ok(effect);
        }
        let Some((first, from)) = silent else {
            let reason = "every answer says that nothing was written, but something was";
            return Err(self.contradiction(reason, &self.all()));
        };
        Ok(Some(Effect {
            start: from.start,
            end: self.last(),
            calls: vec![first],
        }))
    }

    /// Places are served in this order, as far as the reading shows it.
    fn hint(&self) -> u64 {
        match (self.orders.first(), self.position) {
            (Some(order), _) => order.made,
            (None, Some(position)) => u64::MAX / 2 + u64::try_from(position).unwrap_or(0),
            (None, None) => 0,
        }
    }

    fn answered_position(&self) -> usize {
        let positions = self.calls.iter().filter_map(|(_, call)| match call.answer {
            Answer::Waiting { position, .. } => position?.try_into().ok(),
            _ => None,
        });
        positions.max().unwrap_or(0)
    }

    /// Refusals and positions: what the caller saw without changing anything.
    fn refused(&self, steps: &mut Vec<Step>) {
        for (index, call) in &self.calls {
            let gate = match call.request {
                // The gate refuses only requests without key and waitlist.
                Request::Place {
                    keyed: false,
                    waits: false,
                    ..
                } => GATE,
                _ => 0,
            };
            let kind = match call.answer {
                Answer::SoldOut => Kind::SoldOut,
                Answer::Insufficient(available) => Kind::Available(available),
                Answer::Waiting {
                    position: Some(position),
                    ..
                } => Kind::Position(position),
                _ => continue,
            };
            let mut effect = of_call(*index, call);
            effect.start = effect.start.saturating_sub(gate);
            steps.push(self.step(kind, effect, After::Nothing));
        }
    }

    fn restocked(&self, steps: &mut Vec<Step>) {
        for (index, call) in &self.calls {
            let Request::Restock(quantity) = call.request else {
                continue;
            };
            let mut effect = of_call(*index, call);
            let is_required = match call.answer {
                Answer::Restocked => true,
                Answer::Unknown(_) => {
                    effect.end = self.last();
                    false
                }
                _ => continue,
            };
            let mut step = self.step(Kind::Restock(quantity), effect, After::Nothing);
            step.is_required = is_required;
            steps.push(step);
        }
    }
}

fn of_call(index: usize, call: &Call) -> Effect {
    Effect {
        start: call.start,
        end: call.end,
        calls: vec![index],
    }
}

fn is_place(request: &Request) -> bool {
    matches!(request, Request::Place { .. })
}

fn read(reason: String) -> Contradiction {
    Contradiction {
        reason,
        calls: Vec::new(),
        read: Vec::new(),
    }
}
