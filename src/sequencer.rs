//! Who gets it: the one door to stock.
//!
//! Each product has one lane on this node, a task that serves its wishes batch by batch. This
//! handle routes a wish to its lane and waits for the verdict. A caller that goes away, or waits
//! too long, abandons a wish that was not begun; one that was begun is finished without it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use self::{
    asks::Ask,
    decide::{Verdict, Wish},
    lanes::{Context, Lanes},
};
use crate::{
    domain::{Order, OrderId, OrderRequest, OrderStatus, Outcome, Product, ProductId, UserId},
    events::Events,
    lock::Lock,
    news::News,
    redis::Redis,
    store::{Release, Store},
    tasks::Tasks,
};

mod asks;
mod backoff;
mod batch;
mod claim;
mod deadlines;
mod decide;
mod facts;
mod handover;
mod lane;
mod lanes;
mod settle;

pub use self::deadlines::Deadlines;

/// The share of a request's time after which its caller is told, whatever the lane does: the
/// answer has to travel.
pub const ANSWER_WITHIN: f64 = 0.96;

/// Why a wish has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The lock stayed busy beyond the caller's patience, or too many wait. Nothing was written.
    #[error("too many want this product at once")]
    HighDemand,
    /// The database cannot be reached in time. Nothing was written.
    #[error("orders cannot be taken right now")]
    Unavailable,
    /// It may or may not have been written.
    #[error("the outcome is not known yet")]
    OutcomeUnknown(OrderId),
    /// A bug. Nothing was written.
    #[error("the database refused the batch")]
    Internal,
}

impl Error {
    pub fn label(self) -> &'static str {
        match self {
            Self::HighDemand => "high_demand",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Internal => "internal",
        }
    }
}

/// What became of a restock.
#[derive(Clone, Debug)]
pub enum Restock {
    Done(Box<Product>),
    NotFound,
    /// More units than [`crate::domain::STOCK_MAX`] would have been offered.
    TooLarge,
}

/// What became of a cancellation.
#[derive(Clone, Debug)]
pub enum Cancel {
    Done(Box<Order>),
    /// The order is this.
    Not(OrderStatus),
    NotFound,
}

/// The bounds of every lane.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub batch_max: usize,
    pub queue_max: usize,
    pub patience: Duration,
    /// Within it every wish has an answer.
    pub request_timeout: Duration,
}

/// The handle on all lanes; clones share them.
#[derive(Clone, Debug)]
pub struct Sequencer {
    lanes: Arc<Lanes>,
}

/// A verdict; for a restock also the product as the batch left it.
#[derive(Debug)]
struct Answer(Verdict, Option<Box<Product>>);

impl Sequencer {
    pub fn new(
        store: Store,
        lock: Lock,
        (events, news, redis): (Events, News, Option<Redis>),
        bounds: Bounds,
        tasks: Tasks,
    ) -> Self {
        let context = Context {
            store,
            lock,
            events,
            news,
            redis,
            bounds,
            tasks,
            deadlines: Deadlines::default(),
        };
        Self {
            lanes: Arc::new(Lanes::new(context)),
        }
    }

    /// Decides an order. The outcome is durable when this returns.
    ///
    /// `began` is when the request's time began.
    pub async fn place(&self, request: OrderRequest, began: Instant) -> Result<Outcome, Error> {
        let (product, order) = (request.product_id, request.order_id);
        let wish = Wish::Order(Box::new(request));
        match self.submit(product, order, wish, began).await {
            Ok(Answer(Verdict::Order(outcome), _)) => Ok(outcome),
            Ok(Answer(_, _)) => Ok(Outcome::ProductNotFound),
            Err(error) => {
                self.lanes.count(product, error.label());
                Err(error)
            }
        }
    }

    /// Offers `quantity` more units.
    pub async fn restock(
        &self,
        product: ProductId,
        quantity: i32,
        began: Instant,
    ) -> Result<Restock, Error> {
        let wish = Wish::Restock(quantity);
        let id = OrderId::now_v7();
        let answer = self.submit(product, id, wish, began).await?;
        Ok(match answer {
            Answer(Verdict::Restocked, Some(product)) => Restock::Done(product),
            Answer(Verdict::RestockTooLarge, _) => Restock::TooLarge,
            Answer(..) => Restock::NotFound,
        })
    }

    /// Gives an order's units back.
    pub async fn cancel(
        &self,
        product: ProductId,
        order: OrderId,
        release: Release,
        began: Instant,
    ) -> Result<Cancel, Error> {
        let wish = Wish::Cancel(order, release);
        let answer = self.submit(product, order, wish, began).await?;
        Ok(match answer {
            Answer(Verdict::Cancelled(order), _) => Cancel::Done(order),
            Answer(Verdict::NotCancelled(Some(status)), _) => Cancel::Not(status),
            Answer(..) => Cancel::NotFound,
        })
    }

    /// Takes a user off the waitlist; false if they did not wait.
    pub async fn leave(
        &self,
        product: ProductId,
        user: UserId,
        began: Instant,
    ) -> Result<bool, Error> {
        let wish = Wish::Leave(user);
        let id = OrderId::now_v7();
        let Answer(verdict, _) = self.submit(product, id, wish, began).await?;
        Ok(verdict == Verdict::Left)
    }

    /// Ends the product's holds that are over, and serves who waits.
    pub async fn tend(&self, product: ProductId, began: Instant) -> Result<(), Error> {
        let id = OrderId::now_v7();
        self.submit(product, id, Wish::Tend, began).await?;
        Ok(())
    }

    /// When the next hold ends, as far as this node's lanes know.
    pub fn deadlines(&self) -> &Deadlines {
        &self.lanes.context.deadlines
    }

    /// Takes no more wishes; the lanes end when they have served those that wait.
    pub fn close(&self) {
        self.lanes.close();
    }

    async fn submit(
        &self,
        product: ProductId,
        id: OrderId,
        wish: Wish,
        began: Instant,
    ) -> Result<Answer, Error> {
        let (claim, ticket) = claim::new();
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            wish,
            id,
            arrived: Instant::now(),
            claim,
            reply,
        };
        self.lanes.send(product, ask)?;
        let time = self.lanes.context.bounds.request_timeout;
        let deadline = began + time.mul_f64(ANSWER_WITHIN);
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            // The lane took too long, or died: if it had not begun, it never will.
            Err(_) | Ok(Err(_)) if ticket.abandon() => Err(Error::Unavailable),
            Err(_) | Ok(Err(_)) => Err(Error::OutcomeUnknown(id)),
        }
    }
}
