//! The state of a decision between two commands: facts so far, stock left, changes to write.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Decision, Facts, Reply};
use crate::{
    domain::{IdempotencyKey, Outcome, Product, UserId, WaitlistStatus},
    store::{IdempotencyRecord, Recorded},
};

/// Facts and decision after the commands decided so far.
pub(super) struct Decider<'a, R> {
    pub(super) product: &'a Product,
    pub(super) facts: Facts,
    pub(super) now: DateTime<Utc>,
    pub(super) reference: R,
    pub(super) decision: Decision,
}

impl<'a, R: FnMut() -> String> Decider<'a, R> {
    pub(super) fn new(
        product: &'a Product,
        facts: Facts,
        now: DateTime<Utc>,
        reference: R,
    ) -> Self {
        Self {
            product,
            facts,
            now,
            reference,
            decision: Decision {
                stock: product.stock,
                ..Decision::default()
            },
        }
    }

    /// Counts units towards a user's limit; returned units are negative.
    pub(super) fn count_held(&mut self, user: &UserId, quantity: i32) {
        *self.facts.held.entry(Arc::clone(user)).or_default() += i64::from(quantity);
    }

    /// Records the order or place that a key made, for later commands of the batch.
    pub(super) fn record_key(&mut self, user: &UserId, key: &IdempotencyKey, answer: Recorded) {
        let request = key.request.clone();
        let record = IdempotencyRecord { answer, request };
        let name = (Arc::clone(user), key.key.clone());
        self.facts.idempotency_records.insert(name, record);
    }

    pub(super) fn finish(mut self) -> Decision {
        let queue = &self.facts.queue;
        // Without `waitlist_skip`, a first entry that does not fit stands before all unread ones.
        let may_go_on =
            self.product.is_public() && (self.product.waitlist_skip || queue.first.is_empty());
        let unread = !queue.is_complete && may_go_on;
        self.decision.more |= unread && self.decision.stock.on_hand > 0 && queue.count > 0;
        self.finalize_joined();
        self.place_joined();
        self.decision
    }

    /// Gives the entries that joined in this batch the positions that they have after it, also in
    /// the replies: earlier entries may have been served or have left later in the batch.
    fn place_joined(&mut self) {
        let decision = &mut self.decision;
        if decision.joined.is_empty() {
            return;
        }
        let joined = decision.joined.iter_mut().map(|new| &mut new.entry);
        let mut after = self.facts.queue.count;
        // From the end of the queue.
        for entry in joined.rev() {
            let waits = entry.status == WaitlistStatus::Waiting;
            entry.position = waits.then_some(after);
            after -= i64::from(waits);
        }
        let joined = decision.joined.iter().map(|new| &new.entry);
        let joined: HashMap<_, _> = joined.map(|entry| (entry.id, entry)).collect();
        for reply in &mut decision.replies {
            if let Reply::Order(Outcome::Waitlisted(entry) | Outcome::WaitReplayed(entry)) = reply
                && let Some(joined) = joined.get(&entry.id)
            {
                (*joined).clone_into(entry);
            }
        }
    }

    /// A user who joins in this batch may be offered an order, or leave, in this batch too. Then
    /// the new entry is inserted with its final status, because the same user may have joined once
    /// more.
    fn finalize_joined(&mut self) {
        let decision = &mut self.decision;
        if decision.joined.is_empty() {
            return;
        }
        let joined = decision.joined.iter_mut().map(|new| &mut new.entry);
        let mut joined: HashMap<_, _> = joined.map(|entry| (entry.id, entry)).collect();
        let mut is_earlier = |id, status, order_id| {
            let Some(entry) = joined.get_mut(&id) else {
                return true;
            };
            entry.status = status;
            entry.order_id = order_id;
            false
        };
        let left = &mut decision.left;
        left.retain(|id| is_earlier(*id, WaitlistStatus::Left, None));
        let offered = &mut decision.offered;
        offered.retain(|(id, order)| is_earlier(*id, WaitlistStatus::Offered, Some(*order)));
    }
}
