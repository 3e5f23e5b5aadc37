//! The wishes of a batch on their way to verdicts: who still waits, who is told what.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{
    Answer, Error,
    claim::Claim,
    decide::{Verdict, Wish},
};
use crate::{
    domain::{OrderId, Outcome, Product},
    metrics,
};

/// A wish, who owns it, and the way back to its caller.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) wish: Wish,
    /// Names the wish while its outcome is unknown.
    pub(super) id: OrderId,
    pub(super) arrived: Instant,
    pub(super) claim: Claim,
    pub(super) reply: oneshot::Sender<Result<Answer, Error>>,
}

/// A batch, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Asks(Vec<Ask>);

impl Asks {
    pub(super) fn new(asks: Vec<Ask>) -> Self {
        Self(asks)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn wishes(&self) -> impl Iterator<Item = &Wish> {
        self.0.iter().map(|ask| &ask.wish)
    }

    /// Whether the wishes may change something, so that they need the lock and a transaction.
    pub(super) fn may_write(&self, product: &Product) -> bool {
        let sells = product.for_sale() > 0;
        self.0.iter().any(|ask| match &ask.wish {
            Wish::Order(request) => sells || (product.waitlist && request.waitlist),
            Wish::Restock(_) | Wish::Cancel(..) | Wish::Leave(_) | Wish::Tend => true,
        })
    }

    /// Whether the wishes need the database: to be written, or for what their keys and their
    /// users' limits stand for.
    pub(super) fn need_transaction(&self, product: &Product) -> bool {
        let has_key = |ask: &Ask| match &ask.wish {
            Wish::Order(request) => request.key.is_some(),
            Wish::Restock(_) | Wish::Cancel(..) | Wish::Leave(_) | Wish::Tend => true,
        };
        product.max_per_user.is_some() || self.0.iter().any(has_key) || self.may_write(product)
    }

    /// Adds what has arrived meanwhile, as far as it fits.
    pub(super) fn top_up(&mut self, inbox: &mut mpsc::Receiver<Ask>, batch_max: usize) {
        while self.0.len() < batch_max {
            match inbox.try_recv() {
                Ok(ask) => self.0.push(ask),
                Err(_) => return,
            }
        }
    }

    /// Drops the wishes of callers who left.
    pub(super) fn forget_gone(&mut self) {
        self.0.retain(|ask| {
            let gone = ask.claim.is_gone();
            if gone {
                metrics::order_abandoned();
            }
            !gone
        });
    }

    /// Tells those who have waited for longer than `patience`.
    pub(super) fn refuse_older(&mut self, patience: Duration, error: Error) {
        let now = Instant::now();
        let too_old = |ask: &mut Ask| now.duration_since(ask.arrived) >= patience;
        for ask in self.0.extract_if(.., too_old) {
            drop(ask.reply.send(Err(error)));
        }
    }

    /// Takes the wishes from their callers, who can no longer give them up; drops those who left.
    pub(super) fn take(&mut self) {
        self.0.retain(|ask| {
            let taken = ask.claim.take();
            if !taken {
                metrics::order_abandoned();
            }
            taken
        });
    }

    /// Gives the wishes back: nothing was written.
    pub(super) fn put_back(&self) {
        for ask in &self.0 {
            ask.claim.put_back();
        }
    }

    /// Tells everybody the verdict, in order.
    pub(super) fn answer(&mut self, verdicts: Vec<Verdict>, product: &Product) {
        for (ask, verdict) in self.0.drain(..).zip(verdicts) {
            let product = (verdict == Verdict::Restocked).then(|| Box::new(product.clone()));
            drop(ask.reply.send(Ok(Answer(verdict, product))));
        }
    }

    /// Tells everybody that there is no such product.
    pub(super) fn answer_no_product(&mut self) {
        for ask in self.0.drain(..) {
            let verdict = match ask.wish {
                Wish::Order(_) => {
                    let refusal = Outcome::ProductNotFound;
                    metrics::ordered_unknown(refusal.label());
                    Verdict::Order(refusal)
                }
                Wish::Restock(_) | Wish::Cancel(..) | Wish::Leave(_) | Wish::Tend => {
                    Verdict::NoProduct
                }
            };
            drop(ask.reply.send(Ok(Answer(verdict, None))));
        }
    }

    /// Tells those whose wish may have been written that it is not known, the others that they
    /// got nothing.
    pub(super) fn answer_unknown(&mut self, verdicts: &[Verdict]) {
        for (ask, verdict) in self.0.drain(..).zip(verdicts) {
            let error = match verdict {
                Verdict::Order(Outcome::Created(_) | Outcome::Waitlisted(_))
                | Verdict::Restocked
                | Verdict::Cancelled(_)
                | Verdict::Left
                | Verdict::Tended => Error::OutcomeUnknown(ask.id),
                Verdict::Order(_)
                | Verdict::RestockTooLarge
                | Verdict::NotCancelled(_)
                | Verdict::NotWaiting
                | Verdict::NoProduct => Error::Unavailable,
            };
            drop(ask.reply.send(Err(error)));
        }
    }
}
