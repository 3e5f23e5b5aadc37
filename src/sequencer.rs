//! Routes commands to lanes: one task per product and node, the only writers of stock.
//!
//! A lane serves its commands batch by batch. This handle sends a command to its product's lane
//! and awaits the reply. A caller that disconnects or times out abandons a command that no batch
//! has claimed; a claimed one is finished without its caller.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use self::{
    context::Context,
    decide::{Command, Reply},
    lanes::Lanes,
    pending::PendingCommand,
    trace::QueuedTrace,
};
use crate::{
    domain::{
        Actor, Code, Order, OrderId, OrderRequest, OrderStatus, Outcome, Product, ProductId,
        Refusal, UserId, WaitlistStatus,
    },
    lock::Lock,
    redis::Redis,
    stock_events::StockEvents,
    store::{Release, Store},
    tasks::Tasks,
    telemetry::traces::Tracer,
    user_events::UserEvents,
};

mod backoff;
mod batch;
mod claim;
mod context;
mod deadlines;
mod decide;
mod facts;
mod handover;
mod lane;
mod lanes;
mod pending;
mod settle;
mod trace;

pub use self::deadlines::Deadlines;

/// The share of the request time-out after which a caller gets an answer in any case; the rest is
/// for sending it.
pub const ANSWER_WITHIN: f64 = 0.96;

/// The time that writing a batch may take.
pub fn write_within(request_timeout: Duration) -> Duration {
    request_timeout.mul_f64(lane::write::WRITE_WITHIN)
}

/// Why a command got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Other nodes held the locks for longer than `LOCK_PATIENCE_MS`, or the queue is full. Nothing
    /// was written.
    #[error("too many requests for this product at once")]
    HighDemand,
    /// The database cannot be reached in time. Nothing was written.
    #[error("orders cannot be accepted right now")]
    Unavailable,
    /// The command may or may not have been written.
    #[error("the outcome is still unknown")]
    OutcomeUnknown(OrderId),
    /// A bug. Nothing was written.
    #[error("the database refused the batch")]
    Internal,
}

impl Error {
    pub fn code(self) -> Code {
        match self {
            Self::HighDemand => Code::HighDemand,
            Self::Unavailable => Code::Unavailable,
            Self::OutcomeUnknown(_) => Code::OutcomeUnknown,
            Self::Internal => Code::Internal,
        }
    }
}

/// The result of a restock.
#[derive(Clone, Debug)]
pub enum Restock {
    Done(Box<Product>),
    NotFound,
    /// The total would exceed [`crate::domain::STOCK_MAX`].
    TooLarge,
    /// No order holds these `available` units, fewer than were to be withdrawn.
    TooSmall {
        available: i32,
    },
}

/// The result of a cancellation.
#[derive(Clone, Debug)]
pub enum Cancel {
    Done(Box<Order>),
    /// The order has this status, which forbids it.
    WrongStatus(OrderStatus),
    NotFound,
}

/// An order to be cancelled, why it may be, and by whom.
#[derive(Clone, Debug)]
pub struct Cancellation {
    pub product: ProductId,
    pub order: OrderId,
    pub release: Release,
    pub actor: Arc<Actor>,
}

impl Cancellation {
    pub fn of(order: &Order, release: Release, actor: Arc<Actor>) -> Self {
        Self {
            product: order.product_id,
            order: order.id,
            release,
            actor,
        }
    }
}

/// The bounds of every lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneBounds {
    pub batch_max: usize,
    pub queue_max: usize,
    pub patience: Duration,
    /// Every command is answered within it.
    pub request_timeout: Duration,
}

/// The handle on all lanes; clones share them.
#[derive(Clone, Debug)]
pub struct Sequencer {
    lanes: Arc<Lanes>,
}

/// The services that lanes use.
#[derive(Clone, Debug)]
pub struct Parts {
    pub store: Store,
    pub lock: Lock,
    pub stock_events: StockEvents,
    pub user_events: UserEvents,
    pub redis: Option<Redis>,
    pub tasks: Tasks,
    pub tracer: Tracer,
    /// Makes the reference of a new order; it may be one that exists.
    pub draw_reference: fn() -> String,
}

/// A reply, and for a restock the product after the batch.
#[derive(Debug)]
struct CommandResult {
    reply: Reply,
    product: Option<Box<Product>>,
}

impl Sequencer {
    pub fn new(parts: Parts, bounds: LaneBounds) -> Self {
        let context = Context {
            parts,
            bounds,
            deadlines: Deadlines::default(),
        };
        Self {
            lanes: Arc::new(Lanes::new(context)),
        }
    }

    /// Decides an order request. The outcome is durable when this returns.
    ///
    /// `began` is the start of the request, from which its time-out runs.
    pub async fn place(&self, request: OrderRequest, began: Instant) -> Result<Outcome, Error> {
        let (product, order) = (request.product_id, request.order_id);
        let command = Command::Order(Box::new(request));
        let result = match self.submit(product, order, command, began).await {
            Ok(CommandResult {
                reply: Reply::Order(outcome),
                ..
            // The read is boxed, because hardly any order needs it and every one would carry its future.
            }) => match place_without_position(&outcome) {
                Some(place) => Box::pin(self.with_position(place, outcome, began)).await,
                None => Ok(outcome),
            },
            Ok(_) => Ok(Refusal::ProductNotFound.into()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.lanes.count_failure(product, error.code());
        }
        result
    }

    /// Adds the position of a place that the user had already: beside the lane, which only counts
    /// the places that it makes.
    async fn with_position(
        &self,
        place: Uuid,
        outcome: Outcome,
        began: Instant,
    ) -> Result<Outcome, Error> {
        let entry = self.lanes.context.parts.store.entry(place);
        let read = tokio::time::timeout_at(self.deadline(began).into(), entry).await;
        let Ok(Ok(Some(entry))) = read else {
            // The place is there, and the command wrote nothing.
            return Err(Error::Unavailable);
        };
        Ok(match outcome {
            Outcome::Waitlisted(_) => Outcome::Waitlisted(entry),
            Outcome::WaitReplayed(_) => Outcome::WaitReplayed(entry),
            Outcome::Created(_) | Outcome::Replayed(_) | Outcome::Refused(_) => outcome,
        })
    }

    /// The time until which a request is answered in any case.
    fn deadline(&self, began: Instant) -> Instant {
        began
            + self
                .lanes
                .context
                .bounds
                .request_timeout
                .mul_f64(ANSWER_WITHIN)
    }

    /// Adds `quantity` units to the product; a negative one withdraws units.
    pub async fn restock(
        &self,
        product: ProductId,
        quantity: i32,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Restock, Error> {
        let command = Command::Restock(quantity, actor);
        let id = OrderId::now_v7();
        let result = self.submit(product, id, command, began).await?;
        Ok(match (result.reply, result.product) {
            (Reply::Restocked, Some(product)) => Restock::Done(product),
            (Reply::RestockTooLarge, _) => Restock::TooLarge,
            (Reply::RestockTooSmall { available }, _) => Restock::TooSmall { available },
            _ => Restock::NotFound,
        })
    }

    /// Cancels an order and returns its units.
    pub async fn cancel(
        &self,
        cancellation: Cancellation,
        began: Instant,
    ) -> Result<Cancel, Error> {
        let Cancellation {
            product,
            order,
            release,
            actor,
        } = cancellation;
        let command = Command::Cancel(order, release, actor);
        let result = self.submit(product, order, command, began).await?;
        if let Reply::Cancelled(order) = result.reply {
            return Ok(Cancel::Done(order));
        }
        if let Reply::NotCancelled(Some(status)) = result.reply {
            return Ok(Cancel::WrongStatus(status));
        }
        Ok(Cancel::NotFound)
    }

    /// Removes a user from the waitlist; false if the user has no place.
    pub async fn leave(
        &self,
        product: ProductId,
        user: UserId,
        began: Instant,
    ) -> Result<bool, Error> {
        let command = Command::Leave(user);
        let id = OrderId::now_v7();
        let result = self.submit(product, id, command, began).await?;
        Ok(result.reply == Reply::Left)
    }

    /// Ends the product's expired holds and serves its waitlist.
    pub async fn expire_holds(&self, product: ProductId, began: Instant) -> Result<(), Error> {
        let id = OrderId::now_v7();
        self.submit(product, id, Command::ExpireHolds, began)
            .await?;
        Ok(())
    }

    /// The earliest expiry of the holds that this node's lanes made.
    pub fn deadlines(&self) -> &Deadlines {
        &self.lanes.context.deadlines
    }

    /// Commands in the longest queue of the lanes.
    pub fn longest_queue(&self) -> usize {
        self.lanes.longest_queue()
    }

    /// Rejects further commands; the lanes end once they have served the pending ones.
    pub fn close(&self) {
        self.lanes.close();
    }

    async fn submit(
        &self,
        product: ProductId,
        id: OrderId,
        command: Command,
        began: Instant,
    ) -> Result<CommandResult, Error> {
        let (claim, ticket) = claim::new();
        let (sender, result) = oneshot::channel();
        let pending = PendingCommand {
            command,
            id,
            began,
            busy_since: None,
            claim,
            result: sender,
            trace: QueuedTrace::begin(&self.lanes.context.parts.tracer),
        };
        self.lanes.send(product, pending)?;
        match tokio::time::timeout_at(self.deadline(began).into(), result).await {
            Ok(Ok(result)) => result,
            // The lane is late or has died; a command that it has not claimed is abandoned.
            Err(_) | Ok(Err(_)) if ticket.abandon() => Err(Error::Unavailable),
            Err(_) | Ok(Err(_)) => Err(Error::OutcomeUnknown(id)),
        }
    }
}

/// The waiting place of an outcome that does not tell its position yet.
fn place_without_position(outcome: &Outcome) -> Option<Uuid> {
    let (Outcome::Waitlisted(place) | Outcome::WaitReplayed(place)) = outcome else {
        return None;
    };
    let is_open = place.position.is_none() && place.status == WaitlistStatus::Waiting;
    is_open.then_some(place.id)
}
