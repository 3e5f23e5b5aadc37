//! Starts the service: connects, builds the modules in order, binds both listeners, stops in order.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc};

use crate::{
    api::{
        self, SharedState,
        auth::{Keys, provider::Provider, sign::Signer},
    },
    config,
    domain::{self, Secret},
    embedded,
    jobs::{
        expiry::Expiry, open_payments, recovery, stock_poll::StockPoll, upkeep, verification,
        vitals::Vitals,
    },
    metrics::connections::Listener,
    monitor::{self, Alertmanager, Monitor},
    redis::Redis,
    sequencer,
    stock_events::StockEvents,
    store::Url,
    tasks::{RequestRuntime, Tasks},
    telemetry::{self, traces::Tracer},
    user_events::UserEvents,
};

use self::{
    connect::{
        bind, connections, export, gateway, lock, private_nodes, recorder, redis,
        warn_of_unpayable_holds,
    },
    state::Credentials,
};

pub use self::{
    database::{WRITE_WITHIN, connect_store, open_store},
    run::run,
};

mod connect;
mod database;
mod demo;
mod files;
mod run;
mod state;

/// Resources that the service owns besides the handlers' state.
#[derive(Debug)]
struct Resources {
    request_runtime: RequestRuntime,
    /// The export of traces, which ends after all that is traced.
    exports: Tasks,
    redis: Option<Redis>,
    /// Private Redis nodes, which are stopped last.
    nodes: Option<embedded::RedisNodes>,
}

/// A running service.
#[derive(Debug)]
pub struct App {
    pub api: SocketAddr,
    pub ops: SocketAddr,
    pub tasks: Tasks,
    state: SharedState,
    resources: Resources,
    /// Closed when both listeners have finished.
    served: mpsc::Receiver<()>,
}

impl App {
    /// Starts every stage; the service takes orders when this returns.
    ///
    /// # Errors
    /// When a setting is invalid, a port is taken or the database is unreachable; the text names
    /// the setting and contains no secret.
    pub async fn start(config: &config::Serve) -> anyhow::Result<Self> {
        config.check()?;
        // Lanes and jobs run on this runtime, regardless of the task that starts them.
        let tasks = Tasks::default().on(&Handle::current());
        let request_runtime = RequestRuntime::start(&tasks)?;
        let recorder = recorder(config)?;
        let data_dir = &config.database.data_dir;
        // Settings are checked before anything is started.
        let secrets = auth_secrets(&config.auth, data_dir)?;
        let keys = keys(config, &secrets, &tasks)?;
        let write_within = sequencer::write_within(config.limits.request_timeout_ms);
        let store = open_store(&config.database, config.migrate, write_within).await?;
        let nodes = private_nodes(&config.redis, data_dir)?;
        let lock = lock(&config.redis, nodes.as_ref(), &tasks)?;
        let redis = redis(&config.redis, nodes.as_ref())?;
        let gateway = gateway(config)?;
        let (tracer, exporter) = Tracer::new(&config.telemetry)?;
        if gateway.is_none() {
            warn_of_unpayable_holds(&store).await?;
        }
        let parts = sequencer::Parts {
            store,
            lock,
            stock_events: StockEvents::new(redis.as_ref(), &tasks),
            user_events: UserEvents::new(redis.as_ref(), &tasks),
            redis: redis.clone(),
            tasks,
            tracer,
            draw_reference: domain::reference,
        };
        if config.demo {
            demo::create_products(&parts.store).await?;
        }
        let tickets = state::tickets(&secrets, &parts.store).await?;
        let guests = secrets.first().filter(|_| config.demo);
        let guests = guests.map(|secret| Signer::new(secret, &config.auth));
        let credentials = Credentials {
            keys,
            tickets,
            guests,
        };
        let state =
            state::build(config, parts, credentials, gateway, request_runtime.tasks()).await?;
        let runtimes = [
            ("requests", request_runtime.runtime()),
            ("lanes", &Handle::current()),
        ];
        let metrics_upkeep = telemetry::Upkeep::new(recorder.clone(), &runtimes);
        start_jobs(&state, redis.clone(), metrics_upkeep);
        start_verification(&state, config.verify_seconds);
        let exports = export(exporter, &request_runtime);
        let resources = Resources {
            request_runtime,
            exports,
            redis,
            nodes,
        };
        Self::open(config, state, recorder, resources)
    }

    /// Binds the listeners; last, so that no client connects to a service that is not ready.
    fn open(
        config: &config::Serve,
        state: SharedState,
        recorder: PrometheusHandle,
        resources: Resources,
    ) -> anyhow::Result<Self> {
        let api_listener = bind(config.listen_addr, "LISTEN_ADDR")?;
        let ops_listener = bind(config.ops_addr, "OPS_ADDR")?;
        let (serving, served) = mpsc::channel(1);
        let app = Self {
            api: api_listener.local_addr()?,
            ops: ops_listener.local_addr()?,
            tasks: state.tasks.clone(),
            resources,
            served,
            state,
        };
        let bounds = connections(config, Listener::Api);
        let router = api::router(&app.state, &config.cors_origins);
        let operations = app.operations(config, recorder, router.clone())?;
        let done = serving.clone();
        serve(
            api_listener,
            router,
            bounds,
            done,
            app.resources.request_runtime.tasks(),
        );
        let bounds = connections(config, Listener::Operations);
        let router = api::ops_router(&app.state, operations);
        serve(ops_listener, router, bounds, serving, &app.tasks);
        app.log_start(&database::url(&config.database)?);
        Ok(app)
    }

    /// Starts the monitor; `router` is the API.
    fn operations(
        &self,
        config: &config::Serve,
        recorder: PrometheusHandle,
        router: axum::Router,
    ) -> anyhow::Result<api::Operations> {
        let tasks = self.resources.request_runtime.tasks();
        let monitor = Monitor::start(monitor::Parts {
            recorder: recorder.clone(),
            store: self.state.store.clone(),
            lock: self.state.lock.clone(),
            redis: self.resources.redis.clone(),
            alertmanager: Alertmanager::new(&config.monitor)?,
            name: format!("{}:{}", connect::host_name(self.api), self.api.port()),
            viewers_max: config.monitor.monitor_viewers_max,
            tasks: tasks.clone(),
        });
        Ok(api::Operations {
            recorder,
            monitor,
            address: self.ops,
            password: config.monitor.ops_password.clone(),
            api: router,
            tasks: tasks.clone(),
        })
    }

    fn log_start(&self, database: &Url) {
        let nodes = self.state.lock.health().nodes;
        tracing::info!(
            ?database,
            nodes,
            "database {database:?}, lock over {nodes} Redis nodes"
        );
    }

    /// Stops requests, then lanes, then everything else; true if all ended in time and no task
    /// panicked.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        self.tasks.stop();
        let state = Arc::clone(&self.state);
        let in_order = async {
            // Closes without a message when both listeners have answered their last request.
            let _ = self.served.recv().await;
            state.sequencer.close();
            self.tasks.drained(deadline).await
        };
        let drained = tokio::time::timeout(deadline, in_order)
            .await
            .unwrap_or(false);
        self.state.store.close().await;
        if let Some(redis) = &self.resources.redis {
            drop(tokio::time::timeout(CLOSE_TIMEOUT, redis.close()).await);
        }
        self.resources.exports.stop();
        self.resources.exports.drained(EXPORT_TIMEOUT).await;
        drop(self.resources.nodes);
        drained && !self.tasks.failed()
    }
}

/// Starts a listener task, which drops `serving` when it has answered its last request.
fn serve(
    listener: TcpListener,
    router: axum::Router,
    bounds: api::serve::Bounds,
    serving: mpsc::Sender<()>,
    tasks: &Tasks,
) {
    let connections = tasks.clone();
    tasks.spawn("listener", async move {
        api::serve::serve(listener, router, bounds, connections).await;
        drop(serving);
    });
}

/// Closing a connection to an unreachable server must not delay the stop.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The last spans may be exported for this long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// The secrets of HS256 tokens, of which the first one signs: the configured ones, or the one
/// generated into `data_dir`; none when only public keys are configured.
pub fn auth_secrets(auth: &config::Auth, data_dir: &Path) -> anyhow::Result<Vec<Secret>> {
    auth.check()?;
    if auth.auth_secret.is_empty() && !auth.has_public_keys() {
        let secret = embedded::auth_secret(data_dir);
        let secret = secret
            .with_context(|| format!("DATA_DIR: no usable secret in {}", data_dir.display()))?;
        return Ok(vec![secret]);
    }
    let is_short = |secret: &Secret| secret.expose().len() < config::SECRET_MIN;
    if auth.auth_secret.iter().any(is_short) {
        tracing::warn!("AUTH_SECRET: a short one can be guessed from a token");
    }
    Ok(auth.auth_secret.clone())
}

/// The keys of tokens. Those of an identity provider are fetched while the rest starts, and the
/// start does not wait for them: the provider may be down.
fn keys(config: &config::Serve, secrets: &[Secret], tasks: &Tasks) -> anyhow::Result<Keys> {
    let auth = &config.auth;
    let keys = Keys::new(secrets, auth)?;
    let provider = Provider::new(auth)?;
    if let Some(provider) = &provider {
        if auth.accepts_any_audience() {
            tracing::warn!(
                "AUTH_AUDIENCE is *: tokens that the identity provider makes for other applications \
                 are accepted"
            );
        }
        let fetches = Arc::clone(provider).run(tasks.clone());
        tasks.spawn("identity provider", fetches);
    }
    Ok(keys.with_provider(provider, config.limits.request_timeout_ms))
}

fn start_verification(state: &SharedState, seconds: u32) {
    let every = Duration::from_secs(seconds.into());
    let checks = verification::run(state.store.clone(), every, state.tasks.clone());
    state.tasks.spawn("verification", checks);
}

fn start_jobs(state: &SharedState, redis: Option<Redis>, metrics_upkeep: telemetry::Upkeep) {
    let tasks = &state.tasks;
    let vitals = Vitals {
        store: state.store.clone(),
        sequencer: state.sequencer.clone(),
        redis,
    };
    tasks.spawn("vitals", vitals.run(tasks.clone()));
    let poll = StockPoll::new(state.store.clone(), state.stock_events.clone());
    tasks.spawn("stock poll", poll.run(tasks.clone()));
    let expiry = Expiry::new(state.store.clone(), state.sequencer.clone());
    tasks.spawn("expiry", expiry.run(tasks.clone()));
    let forgotten = recovery::run(state.checkout.clone(), tasks.clone());
    tasks.spawn("payment recovery", forgotten);
    let open = open_payments::run(state.store.clone(), tasks.clone());
    tasks.spawn("open payments", open);
    let waiting = recovery::run_waiting(state.checkout.clone(), tasks.clone());
    tasks.spawn("waiting payments", waiting);
    tasks.spawn("upkeep", upkeep::run(metrics_upkeep, tasks.clone()));
    let state = Arc::clone(state);
    let cleanup = async move { state.gate.run_cleanup(&state.tasks).await };
    tasks.spawn("gate cleanup", cleanup);
}
