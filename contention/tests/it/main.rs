//! Black-box tests of `contention`: real runs against a sound service and against a broken one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends by panicking, also in the helpers that it calls"
)]

mod breaches;
mod chaos;
mod cli;
mod designs;
mod lab;
mod page;
mod scenarios;
mod support;
