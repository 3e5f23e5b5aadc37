//! Background jobs: hold expiry, payment recovery, open payments, stock poll, metrics upkeep.

pub mod expiry;
pub mod open_payments;
pub mod recovery;
pub mod stock_poll;
pub mod upkeep;
