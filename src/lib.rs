//! flash-sale: an order service for the moment when a drop opens.
//!
//! The modules in reading order; a file uses only what stands above it (`tests/tidy.rs` checks).

/// May this request try at all?
pub mod admission;
/// HTTP: the URL tree, extractors, problems, one file per resource.
pub mod api;
/// Builds the stages left to right and binds both listeners.
pub mod app;
/// Every setting with unit, default and reason; the only reader of the environment.
pub mod config;
/// Products, orders, requests and outcomes: the words that every stage shares.
pub mod domain;
/// Private Redis nodes and the data folder of the embedded default.
pub mod embedded;
/// Stock changes on their way to watchers, on this node and on the others.
pub mod events;
/// Loops beside the requests.
pub mod jobs;
/// The product lock: Redlock over healthy nodes, or in-process.
pub mod lock;
/// Every metric: name, help, labels, buckets, one function per event.
pub mod metrics;
/// Connects fred; the one list of keys and channels.
pub mod redis;
/// Who gets it: one lane per product.
pub mod sequencer;
/// What is true: transactions, error classes, one file per table.
pub mod store;
/// Named tasks, the stop signal, the drain with a deadline.
pub mod tasks;
/// Installs logging and the Prometheus recorder.
pub mod telemetry;
/// The invariants, checked in the database.
pub mod verify;
