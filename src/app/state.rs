//! Builds the handlers' `AppState`: sequencer, checkout, cache and gate, in this order.

use std::sync::Arc;

use anyhow::Context;
use rand::random;

use super::connect::{clients, lane_bounds, streams};
use crate::{
    admission::{Gate, SoldOutSource},
    api::{
        AppState, SharedState,
        auth::{Keys, sign::Signer, tickets::Tickets},
        me::feed::Feeds,
    },
    cache::{self, Cache},
    checkout::{self, Checkout},
    config,
    domain::Secret,
    payment::Gateway,
    sequencer::{Parts, Sequencer},
    store::Store,
    tasks::Tasks,
    telemetry::sample::Sample,
};

/// The keys that verify tokens and tickets, and with `--demo` what signs guest tokens.
pub(super) struct Credentials {
    pub(super) keys: Keys,
    pub(super) tickets: Tickets,
    pub(super) guests: Option<Signer>,
}

/// The tickets that every node accepts. Where only public keys are configured, the nodes share a
/// random key through the database.
pub(super) async fn tickets(secrets: &[Secret], store: &Store) -> anyhow::Result<Tickets> {
    if let Some((first, others)) = secrets.split_first() {
        return Ok(Tickets::derived(first, others)?);
    }
    let [first, second] = [random::<u128>(), random::<u128>()];
    let suggested = Secret::new(format!("{first:032x}{second:032x}"));
    let key = store.shared_secret("event tickets", &suggested).await;
    let key = key.context("cannot share a key for tickets")?;
    Ok(Tickets::new(&key))
}

/// `request_tasks` starts tasks on the runtime of the requests.
pub(super) async fn build(
    config: &config::Serve,
    parts: Parts,
    credentials: Credentials,
    gateway: Option<Gateway>,
    request_tasks: &Tasks,
) -> anyhow::Result<SharedState> {
    let Parts {
        store,
        lock,
        stock_events,
        user_events,
        redis,
        tasks,
        tracer,
        draw_reference: _,
    } = parts.clone();
    let sequencer = Sequencer::new(parts, lane_bounds(config));
    let checkout = Checkout::new(checkout::Parts {
        store: store.clone(),
        sequencer: sequencer.clone(),
        gateway,
        user_events: user_events.clone(),
        tasks: tasks.clone(),
        request_timeout: config.limits.request_timeout_ms,
        authentication_timeout: config.payments.authentication_timeout(),
    });
    let source = cache::Source {
        store: store.clone(),
        events: stock_events.clone(),
        redis: redis.clone(),
    };
    let cache = Cache::warmed(source, request_tasks).await?;
    let sold_out = SoldOutSource {
        store: store.clone(),
        events: stock_events.clone(),
    };
    let limit = config.limits.rate_limit_per_minute;
    Ok(Arc::new(AppState {
        gate: Gate::new(limit, redis.as_ref(), sold_out, request_tasks),
        store,
        sequencer,
        checkout,
        cache,
        keys: credentials.keys,
        clients: clients(&config.connections),
        streams: streams(&config.connections),
        tickets: credentials.tickets,
        feeds: Feeds::default(),
        stock_events,
        user_events,
        lock,
        tasks,
        request_timeout: config.limits.request_timeout_ms,
        tracer,
        access_log: Sample::new(config.telemetry.access_log),
        stripe_webhook_secret: config.stripe_webhook_secret(),
        guests: credentials.guests,
    }))
}
