//! A waitlist entry: a buyer's place on a product's waitlist.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OrderId, ProductId, UserId};

/// A place on a product's waitlist, as its buyer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitlistEntry {
    pub id: Uuid,
    #[schema(value_type = Uuid)]
    pub product_id: ProductId,
    #[serde(skip, default = "no_user")]
    pub user_id: UserId,
    pub quantity: i32,
    /// 1 for the next entry to be served; null once the entry no longer waits.
    pub position: Option<i64>,
    pub status: WaitlistStatus,
    /// The order that was offered.
    #[schema(value_type = Option<Uuid>)]
    pub order_id: Option<OrderId>,
    pub created_at: DateTime<Utc>,
}

fn no_user() -> UserId {
    UserId::from("")
}

/// An `offered` entry has become an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WaitingStatus)]
pub enum WaitlistStatus {
    Waiting,
    Offered,
    Left,
}
