//! Entity of the table `orders`. Rows are never deleted; their status changes.

use sea_orm::entity::prelude::*;

use crate::{order_status::OrderStatus, payment_status::PaymentStatus};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub reference: String,
    pub product_id: Uuid,
    pub user_id: String,
    pub quantity: i32,
    pub unit_price: i64,
    pub currency: String,
    pub status: OrderStatus,
    pub idempotency_key: Option<String>,
    /// The request that the key was first used for, which distinguishes a retry from a reuse.
    pub idempotency_request: Option<String>,
    pub created_at: ChronoDateTimeUtc,
    pub expires_at: Option<ChronoDateTimeUtc>,
    pub confirmed_at: Option<ChronoDateTimeUtc>,
    /// The gateway's identifier of the payment, also of a declined one.
    pub payment_id: Option<String>,
    pub payment_status: Option<PaymentStatus>,
    /// The payment method, kept while the gateway may have to be called again.
    pub payment_method: Option<String>,
    /// The number of payment attempts.
    pub payment_attempt: i32,
    /// When this attempt began.
    pub payment_begun_at: Option<ChronoDateTimeUtc>,
    /// When the gateway was last called; null unless its answer is outstanding.
    pub payment_asked_at: Option<ChronoDateTimeUtc>,
    /// Random; its writer may end the payment attempt or the refund.
    pub payment_lease: Option<Uuid>,
    /// When the gateway accepted the refund; the units return afterwards.
    pub payment_refunded_at: Option<ChronoDateTimeUtc>,
    /// What the buyer's browser needs to authenticate the payment; null unless it waits for that.
    pub payment_client_secret: Option<String>,
    /// When the wait for the buyer ends.
    pub payment_action_until: Option<ChronoDateTimeUtc>,
    /// The number of declined payments.
    pub payment_declines: i32,
    /// Who was paid outside of the service, and the name of the payment there.
    pub external_provider: Option<String>,
    pub external_reference: Option<String>,
    /// Whether the order was made for a waitlist entry.
    pub from_waitlist: bool,
}

impl ActiveModelBehavior for ActiveModel {}
