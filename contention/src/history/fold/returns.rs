//! What ends an order or a place: a cancellation, the end of a hold, a leave.

use super::{
    After, Answer, CLOCKS_DIFFER, Call, Contradiction, Effect, Kind, OrderSeen, Request, Session,
    Step, Time, of_call,
};

impl Session<'_> {
    /// The step that returns the units of its order, if that has ended.
    pub(super) fn returned(&self, steps: &mut Vec<Step>) -> Result<(), Contradiction> {
        let Some(order) = self.orders.first() else {
            return Ok(());
        };
        self.not_too_early(order)?;
        let cancelled = self.cancelled()?;
        let effect = match (order.status.as_str(), cancelled) {
            ("cancelled", Some(effect)) => effect,
            ("cancelled", None) => {
                let reason = format!("order {} was cancelled by nobody", order.id);
                return Err(self.contradiction(reason, &self.all()));
            }
            ("expired", Some(effect)) if self.answered(&effect) => {
                let reason = format!("order {} was cancelled, then expired", order.id);
                return Err(self.contradiction(reason, &effect.calls));
            }
            ("expired", _) => self.expired(order)?,
            (_, Some(effect)) if self.answered(&effect) => {
                let reason = format!("order {} was cancelled and is live", order.id);
                return Err(self.contradiction(reason, &effect.calls));
            }
            (_, _) => return Ok(()),
        };
        let joined = self
            .calls
            .iter()
            .any(|(_, call)| matches!(call.answer, Answer::Waiting { .. }));
        let after = if joined { After::Offer } else { After::Sale };
        steps.push(self.step(Kind::Return(order.quantity), effect, after));
        Ok(())
    }

    /// Whether an answer, and not only a lost one, says that the order was cancelled.
    fn answered(&self, effect: &Effect) -> bool {
        let mut calls = self.of(|request| *request == Request::Cancel);
        calls.any(|(index, call)| {
            effect.calls.contains(&index) && !matches!(call.answer, Answer::Unknown(_))
        })
    }

    /// The end of a hold, at any time after its deadline.
    fn expired(&self, order: &OrderSeen) -> Result<Effect, Contradiction> {
        let Some(deadline) = order.deadline else {
            let reason = format!("order {} expired without a hold", order.id);
            return Err(self.contradiction(reason, &self.all()));
        };
        Ok(Effect {
            start: deadline.saturating_sub(CLOCKS_DIFFER),
            end: self.last(),
            calls: Vec::new(),
        })
    }

    /// No hold is said to be over before its deadline.
    fn not_too_early(&self, order: &OrderSeen) -> Result<(), Contradiction> {
        let deadline = order.deadline.unwrap_or(Time::MAX);
        let deadline = deadline.saturating_sub(CLOCKS_DIFFER);
        for (index, call) in &self.calls {
            let over = matches!(&call.answer, Answer::NotPending(status) if status == "expired");
            if over && call.end < deadline {
                let reason = format!("the hold of order {} ended early", order.id);
                return Err(self.contradiction(reason, &[*index]));
            }
        }
        Ok(())
    }

    /// When the order was cancelled, as far as the answers say.
    fn cancelled(&self) -> Result<Option<Effect>, Contradiction> {
        let cancels = || self.of(|request| *request == Request::Cancel);
        let mut done = cancels().filter(|(_, call)| call.answer == Answer::Cancelled);
        let first = done.next();
        if let (Some((first, _)), Some((second, _))) = (first, done.next()) {
            let reason = "an order was cancelled twice";
            return Err(self.contradiction(reason, &[first, second]));
        }
        if let Some((index, call)) = first {
            return Ok(Some(of_call(index, call)));
        }
        let told = cancels().find(
            |(_, call)| matches!(&call.answer, Answer::NotPending(status) if status == "cancelled"),
        );
        let silent = cancels().find(|(_, call)| matches!(call.answer, Answer::Unknown(_)));
        match (silent, told) {
            (Some((first, from)), Some((index, call))) => Ok(Some(Effect {
                start: from.start,
                end: call.end,
                calls: vec![first, index],
            })),
            (Some((first, from)), None) => Ok(Some(Effect {
                start: from.start,
                end: self.last(),
                calls: vec![first],
            })),
            (None, Some((index, _))) => {
                let reason = "an order that nobody cancelled is said to be cancelled";
                Err(self.contradiction(reason, &[index]))
            }
            (None, None) => Ok(None),
        }
    }

    /// The step of a leave that was answered, and the answers "not waiting".
    pub(super) fn left(&self, steps: &mut Vec<Step>) -> Result<(), Contradiction> {
        let leaves = || self.of(|request| *request == Request::Leave);
        let silent = leaves().find(|(_, call)| matches!(call.answer, Answer::Unknown(_)));
        for (index, call) in leaves() {
            match call.answer {
                Answer::Left => {
                    if !self.orders.is_empty() || self.position.is_some() {
                        let reason = "a buyer who left was served, or waits still";
                        return Err(self.contradiction(reason, &[index]));
                    }
                    steps.push(self.step(Kind::Leave, of_call(index, call), After::Nothing));
                }
                Answer::NotWaiting if silent.is_none() => {
                    steps.push(self.step(Kind::NotWaiting, of_call(index, call), After::Nothing));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A place that is neither served nor waiting has ended: by a leave, whose answer may be lost.
    pub(super) fn left_at_the_end(
        &self,
        steps: &mut Vec<Step>,
        joined: Time,
        by: Time,
    ) -> Result<(), Contradiction> {
        let leaves = || self.of(|request| *request == Request::Leave);
        if leaves().any(|(_, call)| call.answer == Answer::Left) {
            return Ok(());
        }
        let silent = leaves().find(|(_, call)| matches!(call.answer, Answer::Unknown(_)));
        let Some((index, call)) = silent else {
            let reason = "a place on the waitlist is lost";
            return Err(self.contradiction(reason, &self.all()));
        };
        let end = self.end_of_leave(by);
        let effect = Effect {
            start: call.start.max(joined),
            end,
            calls: vec![index],
        };
        steps.push(self.step(Kind::Leave, effect, After::Nothing));
        Ok(())
    }

    /// When a later call said that the place was gone, else when the product was read.
    fn end_of_leave(&self, by: Time) -> Time {
        let told = |(_, call): &(usize, &Call)| call.answer == Answer::NotWaiting;
        let found = self.calls.iter().find(|call| told(call));
        found.map_or(self.last(), |(_, call)| call.end.max(by))
    }
}
