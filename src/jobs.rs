//! Background jobs: hold expiry, payment recovery, stock poll, metrics upkeep.

pub mod expiry;
pub mod recovery;
pub mod stock_poll;
pub mod upkeep;
