//! Enum of `orders.payment_status`: the state of the last payment attempt, or of the refund.

use sea_orm::entity::prelude::*;

/// Stored as text; a text that is not listed here fails the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum PaymentStatus {
    #[sea_orm(string_value = "succeeded")]
    Succeeded,
    #[sea_orm(string_value = "declined")]
    Declined,
    #[sea_orm(string_value = "refunding")]
    Refunding,
    #[sea_orm(string_value = "refunded")]
    Refunded,
}
