//! Black-box tests over HTTP: real `flash-sale serve` processes, Redis nodes and databases.
//!
//! One promise per file. `support` holds the helpers; only they wait, always with a deadline.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking, also in the helpers that it calls"
)]

mod access_log;
mod addresses;
mod affinity;
mod audit;
mod auth;
mod authentication;
mod auth_keys;
mod availability;
mod bad_orders;
mod bad_products;
mod bad_requests;
mod begun_payments;
mod browser;
mod busy_lock;
mod cache;
mod cancel;
mod cli;
mod clock;
mod cluster_faults;
mod coalesced_events;
mod confirm;
mod connections;
mod confirm_bounds;
mod crash;
mod dashboards;
mod database_faults;
mod demo;
mod docs_page;
mod edge_products;
mod embedded_faults;
mod event_streams;
mod event_tickets;
mod events;
mod external_payments;
mod fairness;
mod health;
mod holds;
mod hidden_products;
mod idempotency;
mod identity_keys;
mod identity_provider;
mod knobs;
mod lane_limits;
mod life;
mod limits;
mod lock_faults;
mod lock_refusals;
mod lock_wire;
mod locked_rows;
mod long_waitlist;
mod lost_commits;
mod lost_releases;
mod me_events;
mod metrics;
mod mixed;
mod monitor;
mod openapi;
mod open_files;
mod open_payments;
mod order_search;
mod orders_read;
mod partitioned;
mod paused_holder;
mod payment_client;
mod payment_recovery;
mod payment_take_over;
mod plans;
mod pooler;
mod products;
mod races;
mod rate_limit;
mod read_only;
mod redis_cluster;
mod references;
mod refunds;
mod refusals;
mod rolling_change;
mod secrets;
mod shutdown;
mod sold_out;
mod standbys;
mod stock_stream;
mod storefront;
mod streams;
mod stray_payments;
mod support;
mod traces;
mod transport;
mod upgrade;
mod verify;
mod waitlist;
mod waitlist_keys;
mod waitlist_order;
mod webhook;
mod withdrawals;
