//! The service under test: own processes, or an existing service.
//!
//! Own processes use a temporary folder and end with the runner, even if it is killed. Faults are
//! injected only into own processes.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::Context;
use flash_sale::{app, config, domain::Secret, embedded::RedisNodes, store::Store};
use rand::RngExt;
use tempfile::TempDir;
use test_support::postgres::Postgres;
use uuid::Uuid;

use self::{database::Database, gateway::Gateway, node::Node};
use crate::{client::Address, report::ServiceUnderTest, tokens::Source};

pub(crate) mod database;
pub(crate) mod gateway;
pub(crate) mod node;
pub(crate) mod serve;

/// The design that takes the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Design {
    /// The service with its defaults.
    Lanes,
    /// Lanes with a batch size of 1.
    Unbatched,
    /// A lock per order.
    Naive,
    /// Reads skip the Redis cache.
    Uncached,
}

/// The settings of a service to start.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) nodes: u32,
    pub(crate) design: Design,
    pub(crate) postgres: Option<&'a Postgres>,
    pub(crate) database_url: Option<&'a Secret>,
    pub(crate) redis_lock_urls: &'a [Secret],
    /// Zero for the simulated gateway.
    pub(crate) gateway_takes: Duration,
    /// `None` for the service's default.
    pub(crate) connections_max: Option<u32>,
    /// Names the run's database.
    pub(crate) run: &'a str,
}

/// Fields are dropped in order: nodes before the Redis nodes and the database that they use.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) nodes: Vec<Node>,
    /// Takes the orders instead of the nodes, when designs are compared.
    pub(crate) naive: Option<Node>,
    pub(crate) redis: Option<RedisNodes>,
    pub(crate) database: Option<Database>,
    pub(crate) tokens: Source,
    gateway: Option<Gateway>,
    lock: String,
    dir: Option<TempDir>,
}

impl Service {
    /// Starts own processes.
    pub(crate) async fn start(plan: &Setup<'_>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("contention-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let database = Database::open(plan, dir.path()).await?;
        let redis = private_redis(plan, dir.path())?;
        let lock_urls = match &redis {
            Some(redis) => redis.urls(),
            None => plan.redis_lock_urls.to_vec(),
        };
        let lock = match lock_urls.len() {
            0 => "in-process".to_owned(),
            1 => "redlock over 1 node".to_owned(),
            nodes => format!("redlock over {nodes} nodes"),
        };
        let secret = random_secret();
        let gateway = if plan.gateway_takes.is_zero() {
            None
        } else {
            Some(Gateway::start(plan.gateway_takes).await?)
        };
        let settings = node::Settings {
            dir: dir.path(),
            database_url: database.url(),
            lock_urls: &lock_urls,
            secret: &secret,
            design: plan.design,
            connections_max: plan.connections_max,
            payment_url: gateway.as_ref().map(|gateway| gateway.url.as_str()),
            environment: &[],
        };
        let mut nodes = Vec::new();
        for number in 1..=plan.nodes {
            nodes.push(Node::start(&settings, number).await?);
        }
        let naive = if plan.design == Design::Naive {
            anyhow::ensure!(
                !lock_urls.is_empty(),
                "the naive design needs a Redis lock: install redis-server"
            );
            Some(Node::start_naive(&settings).await?)
        } else {
            None
        };
        Ok(Self {
            nodes,
            naive,
            redis,
            database: Some(database),
            tokens: Source::Secret(secret),
            gateway,
            lock,
            dir: Some(dir),
        })
    }

    /// Uses a running service.
    pub(crate) async fn existing(urls: &[String], tokens: Source) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for url in urls {
            nodes.push(Node::existing(Address::resolve(url).await?));
        }
        Ok(Self {
            nodes,
            naive: None,
            redis: None,
            database: None,
            tokens,
            gateway: None,
            lock: "unknown".to_owned(),
            dir: None,
        })
    }

    /// API addresses that buyers use.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        match &self.naive {
            Some(naive) => vec![naive.api.clone()],
            None => self.nodes.iter().map(|node| node.api.clone()).collect(),
        }
    }

    /// The node that the admin uses.
    pub(crate) fn first(&self) -> anyhow::Result<&Node> {
        self.nodes.first().context("no node")
    }

    /// Addresses of the nodes' metrics.
    pub(crate) fn operations(&self) -> Vec<Address> {
        self.nodes
            .iter()
            .filter_map(|node| node.ops.clone())
            .collect()
    }

    /// Charges per order; `None` without an own gateway.
    pub(crate) fn charges(&self) -> Option<HashMap<Uuid, u32>> {
        self.gateway.as_ref().map(Gateway::charges)
    }

    pub(crate) fn is_own(&self) -> bool {
        self.dir.is_some()
    }

    pub(crate) fn has_lock(&self) -> bool {
        self.lock.starts_with("redlock")
    }

    /// A connection of the runner's own to the database; `None` for an existing service.
    pub(crate) async fn store(&self) -> anyhow::Result<Option<Store>> {
        let Some(database) = &self.database else {
            return Ok(None);
        };
        let dir = self.dir.as_ref().map(TempDir::path);
        let dir = dir.unwrap_or(Path::new(""));
        connect(dir, database.url()).await.map(Some)
    }

    pub(crate) fn describe(&self) -> ServiceUnderTest {
        ServiceUnderTest {
            nodes: u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
            database: self
                .database
                .as_ref()
                .map_or("unknown", Database::kind)
                .to_owned(),
            lock: self.lock.clone(),
        }
    }
}

/// Private lock nodes, unless others were given or `redis-server` is missing.
fn private_redis(plan: &Setup<'_>, dir: &Path) -> anyhow::Result<Option<RedisNodes>> {
    if !plan.redis_lock_urls.is_empty() {
        return Ok(None);
    }
    RedisNodes::start(dir).context("cannot start private Redis nodes")
}

/// A connection of the runner's own.
pub(crate) async fn connect(dir: &Path, url: &Secret) -> anyhow::Result<Store> {
    let config = config::Database {
        data_dir: dir.to_owned(),
        database_url: Some(url.clone()),
        database_direct_url: None,
        database_pool_max: 4,
    };
    app::connect_store(&config, app::WRITE_WITHIN).await
}

pub(crate) fn random_secret() -> Secret {
    let [first, second]: [u128; 2] = rand::rng().random();
    Secret::new(format!("{first:032x}{second:032x}"))
}
