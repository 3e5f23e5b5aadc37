//! Enum of `waitlist_entries.status`: waiting, offered or left.

use sea_orm::entity::prelude::*;

/// Stored as text; a text that is not listed here fails the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum WaitlistStatus {
    #[sea_orm(string_value = "waiting")]
    Waiting,
    #[sea_orm(string_value = "offered")]
    Offered,
    #[sea_orm(string_value = "left")]
    Left,
}
