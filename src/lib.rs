//! flash-sale: an order service for flash sales.
//!
//! The modules in reading order; each uses only those above it (`tests/tidy/` checks).

/// Domain types: products, stock levels, orders, requests, outcomes, error codes.
pub mod domain;
/// Every metric: name, help, labels, buckets, one function per event.
pub mod metrics;
/// What all HTTP clients of the service have in common.
pub mod http_client;
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
/// Stock events: publish/subscribe of stock changes within a node and between nodes.
pub mod stock_events;
/// User events: publish/subscribe of changes to a user's orders and places.
pub mod user_events;
/// The database: connections, transactions, error classes, one file of SQL per table.
pub mod store;
/// The invariants as queries: `flash-sale verify`, and the job that checks them on a schedule.
pub mod verify;
/// Read cache for products: memory, Redis, database.
pub mod cache;
/// Admission control: rate limit and sold-out gate.
pub mod admission;
/// The only writer of stock: one lane, a single-writer task, per product.
pub mod sequencer;
/// Payment gateway clients: charge and refund.
pub mod payment;
/// Checkout: confirms, refunds and recovers payments.
pub mod checkout;
/// Background jobs: hold expiry, payment recovery, stock poll, upkeep, vitals, verification.
pub mod jobs;
/// The live monitor: samples the metrics while somebody watches, and joins all nodes' reports.
pub mod monitor;
/// HTTP: router, extractors, problems, one file per resource.
pub mod api;
/// Starts the service: connects, builds the modules above, binds both listeners, stops in order.
pub mod app;
