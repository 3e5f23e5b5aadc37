//! `contention`: sends a scripted crowd against the service, checks every promise, shows the result.

mod report;

fn main() {}
