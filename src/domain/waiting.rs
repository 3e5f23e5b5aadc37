//! A place on a product's waitlist.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OrderId, ProductId, UserId};

/// A buyer who waits for units to come back, as that buyer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitlistEntry {
    pub id: Uuid,
    #[schema(value_type = Uuid)]
    pub product_id: ProductId,
    #[serde(skip, default = "nobody")]
    pub user_id: UserId,
    pub quantity: i32,
    /// 1 for who is served next; none once the buyer no longer waits.
    pub position: Option<i64>,
    pub status: WaitingStatus,
    /// The order that was offered.
    #[schema(value_type = Option<Uuid>)]
    pub order_id: Option<OrderId>,
    pub created_at: DateTime<Utc>,
}

fn nobody() -> UserId {
    UserId::from("")
}

/// `offered` entries became an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaitingStatus {
    Waiting,
    Offered,
    Left,
}

impl WaitingStatus {
    /// As the API and the database spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Left => "left",
        }
    }
}
