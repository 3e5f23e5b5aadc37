//! Pending commands of a lane: a batch until its replies, with age limits and abandoned commands.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{
    CommandResult, Error,
    claim::{self, Claim},
    decide::{Command, Reply},
    trace::QueuedTrace,
};
use crate::{
    domain::{OrderId, Outcome, Product, Refusal},
    metrics,
};

/// A command with its claim and the channel to its caller.
#[derive(Debug)]
pub(super) struct PendingCommand {
    pub(super) command: Command,
    /// Names the command while its outcome is unknown.
    pub(super) id: OrderId,
    /// The start of its request, from which all limits run.
    pub(super) began: Instant,
    /// The first busy try at a lock with this command in the batch.
    pub(super) busy_since: Option<Instant>,
    pub(super) claim: Claim,
    pub(super) result: oneshot::Sender<Result<CommandResult, Error>>,
    /// `None` unless its request is traced.
    pub(super) trace: Option<Box<QueuedTrace>>,
}

impl PendingCommand {
    /// A command of the lane itself, without a caller for its result.
    pub(super) fn without_caller(command: Command) -> Self {
        let (result, _) = oneshot::channel();
        Self {
            command,
            id: OrderId::now_v7(),
            began: Instant::now(),
            busy_since: None,
            claim: claim::without_caller(),
            result,
            trace: None,
        }
    }
}

/// The pending commands of a batch, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct PendingBatch(Vec<PendingCommand>);

impl PendingBatch {
    pub(super) fn new(pending: Vec<PendingCommand>) -> Self {
        Self(pending)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.0.iter().map(|pending| &pending.command)
    }

    /// Of the commands whose requests are traced.
    pub(super) fn traces(&mut self) -> impl Iterator<Item = &mut QueuedTrace> {
        let traces = self
            .0
            .iter_mut()
            .map(|pending| pending.trace.as_deref_mut());
        traces.flatten()
    }

    /// Whether a command may change something, so that the batch needs the lock and a transaction.
    pub(super) fn may_write(&self, product: &Product) -> bool {
        let public = product.is_public();
        let sells = public && product.for_sale() > 0;
        let waits = public && product.waitlist;
        self.commands().any(|command| match command {
            Command::Order(request) => sells || (waits && request.waitlist),
            Command::Restock(..)
            | Command::Cancel(..)
            | Command::Leave(_)
            | Command::ExpireHolds => true,
        })
    }

    /// Whether all that the batch can change is to sell: it then writes with one statement.
    pub(super) fn may_only_sell(&self, product: &Product) -> bool {
        self.commands().all(|command| match command {
            Command::Order(request) => !(product.waitlist && request.waitlist),
            Command::Restock(..)
            | Command::Cancel(..)
            | Command::Leave(_)
            | Command::ExpireHolds => false,
        })
    }

    /// Whether the batch needs the database: to write, or to look up idempotency keys and limits.
    pub(super) fn need_transaction(&self, product: &Product) -> bool {
        let has_key = |command: &Command| match command {
            Command::Order(request) => request.key.is_some(),
            Command::Restock(..)
            | Command::Cancel(..)
            | Command::Leave(_)
            | Command::ExpireHolds => true,
        };
        product.max_per_user.is_some() || self.commands().any(has_key) || self.may_write(product)
    }

    /// Adds commands that have arrived meanwhile, up to `batch_max` in all.
    pub(super) fn top_up(&mut self, inbox: &mut mpsc::Receiver<PendingCommand>, batch_max: usize) {
        while self.0.len() < batch_max {
            match inbox.try_recv() {
                Ok(pending) => self.0.push(pending),
                Err(_) => return,
            }
        }
    }

    /// Drops the commands that their callers abandoned.
    pub(super) fn drop_abandoned(&mut self) {
        self.0.retain(|pending| {
            let abandoned = pending.claim.is_abandoned();
            if abandoned {
                metrics::order_abandoned();
            }
            !abandoned
        });
    }

    /// Refuses the commands whose requests are older than `age_max`.
    pub(super) fn refuse_older(&mut self, age_max: Duration, error: Error) {
        let now = Instant::now();
        let too_old = |pending: &mut PendingCommand| now.duration_since(pending.began) >= age_max;
        for pending in self.0.extract_if(.., too_old) {
            drop(pending.result.send(Err(error)));
        }
    }

    /// Counts a busy try at the lock: refuses the commands that have met busy locks for `patience`.
    /// The time that they were queued behind other batches does not count.
    pub(super) fn lock_was_busy(&mut self, patience: Duration) {
        let now = Instant::now();
        let out_of_patience = |pending: &mut PendingCommand| {
            let since = *pending.busy_since.get_or_insert(now);
            now.duration_since(since) >= patience
        };
        for pending in self.0.extract_if(.., out_of_patience) {
            drop(pending.result.send(Err(Error::HighDemand)));
        }
    }

    /// Claims the commands, so that their callers can no longer abandon them; drops those that
    /// were abandoned before.
    pub(super) fn claim(&mut self) {
        self.0.retain(|pending| {
            let claimed = pending.claim.take();
            if !claimed {
                metrics::order_abandoned();
            }
            claimed
        });
    }

    /// Returns the claims: nothing was written.
    pub(super) fn unclaim(&self) {
        for pending in &self.0 {
            pending.claim.put_back();
        }
    }

    /// Sends the replies, in order.
    pub(super) fn reply(&mut self, replies: Vec<Reply>, product: &Product) {
        for (pending, reply) in self.0.drain(..).zip(replies) {
            let product = (reply == Reply::Restocked).then(|| Box::new(product.clone()));
            drop(pending.result.send(Ok(CommandResult { reply, product })));
        }
    }

    /// Replies to all commands that the product does not exist.
    pub(super) fn reply_no_product(&mut self) {
        for pending in self.0.drain(..) {
            let reply = match pending.command {
                Command::Order(_) => {
                    let refusal = Refusal::ProductNotFound;
                    metrics::ordered_unknown(refusal.code().into());
                    Reply::Order(refusal.into())
                }
                Command::Restock(..)
                | Command::Cancel(..)
                | Command::Leave(_)
                | Command::ExpireHolds => Reply::NoProduct,
            };
            let product = None;
            drop(pending.result.send(Ok(CommandResult { reply, product })));
        }
    }

    /// Fails all commands after a commit with an unknown outcome: those that it may have written
    /// with [`Error::OutcomeUnknown`], the others with [`Error::Unavailable`].
    pub(super) fn fail_unknown(&mut self, replies: &[Reply]) {
        for (pending, reply) in self.0.drain(..).zip(replies) {
            let error = match reply {
                Reply::Order(Outcome::Created(_) | Outcome::Waitlisted(_))
                | Reply::Restocked
                | Reply::Cancelled(_)
                | Reply::Left
                | Reply::HoldsExpired => Error::OutcomeUnknown(pending.id),
                Reply::Order(_)
                | Reply::RestockTooLarge
                | Reply::RestockTooSmall { .. }
                | Reply::NotCancelled(_)
                | Reply::NotWaiting
                | Reply::NoProduct => Error::Unavailable,
            };
            drop(pending.result.send(Err(error)));
        }
    }
}
