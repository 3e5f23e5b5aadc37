//! Test environment: service processes, their Redis nodes and their database.

use std::{
    path::PathBuf,
    process::Output,
    sync::atomic::{AtomicUsize, Ordering},
};

use reqwest::Client;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::{
    gateway::Gateway,
    ledger::Ledger,
    postgres::Database,
    redis::Nodes,
    service::{Service, Settings, ended, program},
    tokens,
};

/// Limits the tests that run servers at the same time; more would only slow each other down.
static SLOTS: Semaphore = Semaphore::const_new(4);

/// The right to run servers, until it is dropped.
pub(crate) async fn slot() -> SemaphorePermit<'static> {
    SLOTS.acquire().await.unwrap()
}

/// Database and Redis of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Nothing configured: SQLite and the service's own private Redis nodes.
    Sqlite,
    /// PostgreSQL and three Redis nodes of the test.
    Postgres,
    /// The same under three service processes.
    ThreeNodes,
}

/// Builder of a shop.
#[derive(Debug)]
pub(crate) struct Plan {
    backend: Backend,
    nodes: usize,
    settings: Settings,
    ledger: Option<String>,
    secret: Option<&'static str>,
    lock_nodes: usize,
}

impl Plan {
    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.set(name, value);
        self
    }

    /// With at most so many open files.
    pub(crate) fn files(mut self, max: u32) -> Self {
        self.settings.files_max = Some(max);
        self
    }

    /// For many buyers, who keep the lock busy for longer than the default patience.
    pub(crate) fn patient(self) -> Self {
        self.set("LOCK_PATIENCE_MS", "4000")
    }

    /// Orders are paid through this gateway.
    pub(crate) fn paying(self, gateway: &Gateway) -> Self {
        self.set("PAYMENTS", "stripe")
            .set("PAYMENT_URL", &gateway.url())
            .set("PAYMENT_KEY", Gateway::key())
    }

    pub(crate) fn lock_nodes(self, lock_nodes: usize) -> Self {
        Self { lock_nodes, ..self }
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.settings.flags.push(flag.to_owned());
        self
    }

    /// Without `AUTH_SECRET`: the service makes its own.
    pub(crate) fn generated_secret(self) -> Self {
        Self {
            secret: None,
            ..self
        }
    }

    /// An existing database, by the URLs that the service and the test connect to.
    pub(crate) fn database(self, service: &str, test: &str) -> Self {
        Self {
            ledger: Some(test.to_owned()),
            ..self.set("DATABASE_URL", service)
        }
    }

    pub(crate) async fn open(self) -> Shop {
        let slot = slot().await;
        let Self {
            backend,
            nodes,
            mut settings,
            ledger,
            secret,
            lock_nodes,
        } = self;
        let directory = TempDir::new().unwrap();
        let (mut redis, mut database) = (None, None);
        let mut database_url =
            format!("sqlite://{}/data/flash-sale.db", directory.path().display());
        if backend != Backend::Sqlite {
            let started = Nodes::start(lock_nodes).await;
            settings.set("REDIS_LOCK_URLS", &started.urls());
            redis = Some(started);
            database_url = match ledger {
                Some(url) => url,
                None => database.insert(Database::create().await).url(),
            };
            if !settings.variables.contains_key("DATABASE_URL") {
                settings.set("DATABASE_URL", &database_url);
            }
        }
        if let Some(secret) = secret {
            settings.set("AUTH_SECRET", secret);
        }
        let data = directory.path().join("data").display().to_string();
        settings.set("DATA_DIR", &data);
        let client = test_support::http::client().unwrap();
        let mut running = Vec::new();
        for number in 0..nodes {
            let log = directory.path().join(format!("{number}.log"));
            running.push(Service::start(&settings, &log, client.clone()).await);
        }
        let ledger = Ledger::open(&database_url).await;
        Shop {
            nodes: running,
            redis,
            ledger,
            database_url,
            settings,
            client,
            _database: database,
            directory,
            starts: AtomicUsize::new(nodes),
            _slot: slot,
        }
    }
}

/// A running shop; its fields drop from top to bottom, the services first.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) nodes: Vec<Service>,
    redis: Option<Nodes>,
    pub(crate) ledger: Ledger,
    pub(crate) database_url: String,
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    _database: Option<Database>,
    directory: TempDir,
    starts: AtomicUsize,
    _slot: SemaphorePermit<'static>,
}

impl Shop {
    pub(crate) fn plan(backend: Backend) -> Plan {
        let nodes = if backend == Backend::ThreeNodes { 3 } else { 1 };
        let secret = Some(tokens::SECRET);
        Plan {
            backend,
            nodes,
            settings: Settings::default(),
            ledger: None,
            secret,
            lock_nodes: 3,
        }
    }

    pub(crate) async fn open(backend: Backend) -> Self {
        Self::plan(backend).open().await
    }

    /// The service of a shop that has one, the first of a shop that has more.
    pub(crate) fn service(&self) -> &Service {
        &self.nodes[0]
    }

    pub(crate) fn redis(&self) -> &Nodes {
        self.redis.as_ref().unwrap()
    }

    pub(crate) fn redis_mut(&mut self) -> &mut Nodes {
        self.redis.as_mut().unwrap()
    }

    /// What the first process wrote to its log.
    pub(crate) fn log(&self) -> String {
        self.log_of(0)
    }

    /// What a process wrote to its log; they are numbered in the order of their starts.
    pub(crate) fn log_of(&self, number: usize) -> String {
        std::fs::read_to_string(self.directory.path().join(format!("{number}.log"))).unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A new process with the settings of the old one, in its place.
    pub(crate) async fn restart(&mut self, node: usize) {
        self.nodes[node].process.kill();
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let log = self.directory.path().join(format!("{number}.log"));
        self.nodes[node] = Service::start(&self.settings, &log, self.client.clone()).await;
    }

    /// Stops a process as an operator does, and starts a new one on its port.
    pub(crate) async fn replace(&mut self, node: usize) {
        assert!(self.nodes[node].stop().await.success());
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let log = self.directory.path().join(format!("{number}.log"));
        let address = self.nodes[node].url.replace("http://", "");
        let mut settings = self.settings.clone();
        settings.flags.extend(["--listen-addr".to_owned(), address]);
        self.nodes[node] = Service::start(&settings, &log, self.client.clone()).await;
    }

    /// The output of `flash-sale verify` for the database.
    pub(crate) fn verify(&self) -> Output {
        ended(program().args(["verify", "--database-url", &self.database_url]))
    }

    /// Asserts the stock invariant by the test's own count and by `flash-sale verify`.
    pub(crate) async fn assert_books(&self, product: Uuid) {
        self.ledger.assert_conserved(product).await;
        let output = self.verify();
        assert!(output.status.success(), "{output:?}");
    }
}
