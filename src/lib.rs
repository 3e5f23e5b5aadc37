//! flash-sale: an order service for the moment when a drop opens.
//!
//! The modules in reading order; a file uses only what stands above it (`tests/tidy.rs` checks).

/// Products, orders, requests and outcomes: the words that every stage shares.
pub mod domain;
/// Every metric: name, help, labels, buckets, one function per event.
pub mod metrics;
/// Every setting with unit, default and reason; the only reader of the environment.
pub mod config;
/// Installs logging and the Prometheus recorder.
pub mod telemetry;
/// Named tasks, the stop signal, the drain with a deadline.
pub mod tasks;
/// Private Redis nodes and the data folder of the embedded default.
pub mod embedded;
/// Connects fred; the one list of keys and channels.
pub mod redis;
/// The product lock: Redlock over healthy nodes, or in-process.
pub mod lock;
/// Stock changes on their way to watchers, on this node and on the others.
pub mod events;
/// What concerns single users, on its way to them.
pub mod news;
/// What is true: transactions, error classes, one file per table.
pub mod store;
/// The invariants, checked in the database.
pub mod verify;
/// What shoppers read: products in memory for a moment, in front of Redis.
pub mod cache;
/// May this request try at all?
pub mod admission;
/// Who gets it: one lane per product.
pub mod sequencer;
/// Who pays: the gateway that charges and refunds.
pub mod payment;
/// Takes orders through the gateway, and back.
pub mod checkout;
/// Loops beside the requests.
pub mod jobs;
/// HTTP: the URL tree, extractors, problems, one file per resource.
pub mod api;
/// Builds the stages left to right and binds both listeners.
pub mod app;
