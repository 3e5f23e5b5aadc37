//! What the tests stand on: runs of the program, a service, and a lying proxy before it.

pub(crate) mod liar;
pub(crate) mod runner;
pub(crate) mod shop;
