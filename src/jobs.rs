//! Background jobs: hold expiry, payment recovery, open payments, stock poll, metrics upkeep,
//! vitals, verification.

pub mod expiry;
pub mod open_payments;
pub mod recovery;
pub mod stock_poll;
pub mod upkeep;
pub mod verification;
pub mod vitals;
