//! Test support: runs of the program, a service, and a proxy that breaks promises.

pub(crate) mod liar;
pub(crate) mod runner;
pub(crate) mod shop;
