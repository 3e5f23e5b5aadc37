//! Loops beside the requests; each has a `run_once` that tests can call.

pub mod expiry;
pub mod recovery;
pub mod stock_poll;
pub mod upkeep;
