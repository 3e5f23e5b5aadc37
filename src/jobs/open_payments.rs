//! Job that reports payments that are open for more than a minute: as metrics, and in the log.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{
    domain::OrderId,
    metrics::payments::{self, Open},
    store::{OpenPayment, OpenState, Store},
    tasks::Tasks,
};

const EVERY: Duration = Duration::from_secs(5);
/// What is still open is logged again after this time.
const LOG_AGAIN: Duration = Duration::from_mins(10);
/// Orders named in a line of the log.
const NAMED_MAX: usize = 10;
const STATES: [OpenState; 3] = [OpenState::Repeated, OpenState::Left, OpenState::Stray];

pub async fn run(store: Store, tasks: Tasks) {
    let mut logged = Logged::default();
    while tasks.pause(EVERY).await {
        let now = store.now();
        match store.open_payments(now).await {
            Ok(open) => report(&open, now, &mut logged),
            Err(error) => tracing::debug!(%error, "cannot read open payments: {error}"),
        }
    }
}

/// The orders that the log has named.
#[derive(Debug, Default)]
struct Logged {
    orders: HashSet<(OrderId, OpenState)>,
    at: Option<Instant>,
}

fn report(open: &[OpenPayment], now: DateTime<Utc>, logged: &mut Logged) {
    let orders: HashSet<_> = open.iter().map(|one| (one.order_id, one.state)).collect();
    let has_new = orders.iter().any(|one| !logged.orders.contains(one));
    let is_due = logged.at.is_none_or(|at| at.elapsed() > LOG_AGAIN);
    for state in STATES {
        let these: Vec<_> = open.iter().filter(|one| one.state == state).collect();
        let since = these.iter().map(|one| one.since).min();
        let age = since.and_then(|since| (now - since).to_std().ok());
        let age = age.unwrap_or_default();
        payments::open(label(state), these.len(), age);
        if !these.is_empty() && (has_new || is_due) {
            log(state, &these, age);
            logged.at = Some(Instant::now());
        }
    }
    logged.orders = orders;
}

fn label(state: OpenState) -> Open {
    match state {
        OpenState::Repeated => Open::Repeated,
        OpenState::Left => Open::Left,
        OpenState::Stray => Open::Stray,
    }
}

fn log(state: OpenState, open: &[&OpenPayment], age: Duration) {
    let (count, age) = (open.len(), age.as_secs());
    let named = open.iter().take(NAMED_MAX);
    let orders: Vec<_> = named.map(|one| one.order_id.to_string()).collect();
    let orders = orders.join(", ");
    match state {
        OpenState::Repeated => tracing::warn!(
            count,
            age,
            "{count} payments are open for more than a minute, the oldest for {age} s: {orders}"
        ),
        OpenState::Left => tracing::error!(
            count,
            age,
            "{count} payments are open for too long to be repeated, the oldest for {age} s: compare \
             them with the gateway and call POST /orders/{{id}}/resolve: {orders}"
        ),
        OpenState::Stray => tracing::error!(
            count,
            age,
            "{count} payments of orders that had ended are not refunded, the oldest for {age} s: \
             {orders}"
        ),
    }
}
