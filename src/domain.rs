//! Domain types shared by all stages: products, stock levels, orders, waitlist entries, outcomes,
//! error codes, the audit trail, trace contexts.
//!
//! Input is parsed into these types at the edge and never validated again.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use rand::RngExt;
use uuid::Uuid;

mod audit;
mod causes;
mod code;
mod order;
mod outcome;
mod product;
mod secret;
mod stock_level;
mod trace_context;
mod waitlist_entry;

pub use self::{
    audit::{
        Actor, ActorRole, AuditAction, AuditRow, Change, first_id_of, order_state, product_state,
    },
    causes::in_one_line,
    code::Code,
    order::{
        ExternalPayment, IdempotencyKey, Money, Order, OrderRequest, OrderStatus, OrderTerms,
        Payment, PaymentStatus, reference, references_like,
    },
    outcome::{Outcome, OutcomeLabel, Refusal},
    product::Product,
    secret::Secret,
    stock_level::StockLevel,
    trace_context::TraceContext,
    waitlist_entry::{WaitlistEntry, WaitlistStatus},
};

pub type ProductId = Uuid;
pub type OrderId = Uuid;
/// The `sub` of the token, 1 to 255 bytes.
pub type UserId = Arc<str>;

/// The largest `stock_total` of a product, in units.
pub const STOCK_MAX: i32 = 1_000_000_000;
/// The largest `max_per_order`; with [`PRICE_MAX`] it keeps every total inside an `i64`.
pub const QUANTITY_MAX: i32 = 1_000_000;
/// The largest price, in minor units.
pub const PRICE_MAX: i64 = 1_000_000_000_000;

/// The current time of this process, cut to the microseconds that PostgreSQL stores, so that an
/// order in the database equals the one in the response. The only caller of the system clock.
#[expect(
    clippy::disallowed_methods,
    reason = "everywhere else time is an argument"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A random duration from 0.5 to 1.5 times `around`.
pub fn jitter(around: Duration) -> Duration {
    around.mul_f64(rand::rng().random_range(0.5..1.5))
}
