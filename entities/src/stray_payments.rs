//! Entity of the table `stray_payments`: money that the gateway took for an order that cannot be
//! confirmed any more. Rows are never deleted.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stray_payments")]
pub struct Model {
    /// The gateway's identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub payment_id: String,
    pub order_id: Uuid,
    pub found_at: ChronoDateTimeUtc,
    /// When the refund is requested again.
    pub due_at: ChronoDateTimeUtc,
    /// Who requests the refund now.
    pub lease: Option<Uuid>,
    pub refunded_at: Option<ChronoDateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
