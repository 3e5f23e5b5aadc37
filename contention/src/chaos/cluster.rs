//! The service under chaos: nodes on one PostgreSQL and three Redis nodes, with a link that can break
//! before each part; or an existing service, of which only the clients' links can break.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::Context;
use flash_sale::{domain::Secret, embedded::RedisNodes, store::Store};
use sea_orm::ConnectionTrait;
use tempfile::TempDir;
use test_support::{postgres::Postgres, wait::eventually};

use super::{
    fault::Side,
    link::{Link, State},
};
use crate::{
    client::Address,
    service::{
        self, Design,
        node::{Node, Settings},
    },
    tokens::Source,
};

const STANDBY_WITHIN: Duration = Duration::from_secs(20);
const DATABASE: &str = "chaos";
const NOTHING: [(String, String); 0] = [];

#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<Member>,
    pub(crate) tokens: Source,
    /// `None` for an existing service.
    own: Option<Own>,
}

/// A node and the links around it.
#[derive(Debug)]
struct Member {
    /// `None` while it is dead, and for an existing service.
    node: Option<Node>,
    clients: Link,
    database: Option<Link>,
    redis: Vec<Link>,
}

/// Fields are dropped in order.
#[derive(Debug)]
struct Own {
    redis: RedisNodes,
    postgres: Postgres,
    secret: Secret,
    clock: Option<Clock>,
    dir: TempDir,
}

/// The settings of a process whose wall clock is read from a file.
#[derive(Debug)]
struct Clock {
    file: PathBuf,
    environment: Vec<(String, String)>,
}

impl Cluster {
    /// Starts PostgreSQL, Redis and the nodes.
    pub(crate) async fn start_own(nodes: usize) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("chaos-").tempdir()?;
        let redis = RedisNodes::start(dir.path())?;
        let redis = redis.context("chaos needs Redis nodes: install redis-server")?;
        let postgres = Postgres::open().await?;
        postgres.create_database(DATABASE).await?;
        let secret = service::random_secret();
        let clock = Clock::open(dir.path().join("clock"));
        let own = Own {
            redis,
            postgres,
            secret: secret.clone(),
            clock,
            dir,
        };
        let mut members = Vec::new();
        for _ in 0..nodes {
            members.push(own.member().await?);
        }
        let mut cluster = Self {
            members,
            tokens: Source::Secret(secret),
            own: Some(own),
        };
        for node in 0..nodes {
            cluster.start(node).await?;
        }
        Ok(cluster)
    }

    /// Uses a running service.
    pub(crate) async fn existing(urls: &[String], tokens: Source) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for url in urls {
            let address = Address::resolve(url).await?;
            members.push(Member {
                node: None,
                clients: Link::to(address.socket).await?,
                database: None,
                redis: Vec::new(),
            });
        }
        let own = None;
        Ok(Self {
            members,
            tokens,
            own,
        })
    }

    /// Where the clients call the nodes.
    pub(crate) fn addresses(&self) -> anyhow::Result<Vec<Address>> {
        let members = self.members.iter();
        members
            .map(|member| Address::of(member.clients.address))
            .collect()
    }

    pub(crate) fn has_clock(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.clock.is_some())
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub(crate) fn database(&self) -> Option<&Postgres> {
        self.own.as_ref().map(|own| &own.postgres)
    }

    /// A connection of the runner's own; `None` for an existing service.
    pub(crate) async fn store(&self) -> anyhow::Result<Option<Store>> {
        match &self.own {
            Some(own) => {
                let url = own.postgres.url_of(DATABASE);
                service::connect(own.dir.path(), &url).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Keeps the logs of the nodes, and returns their folder.
    pub(crate) fn keep_logs(self) -> Option<PathBuf> {
        let own = self.own?;
        drop(self.members);
        Some(own.dir.keep())
    }

    pub(crate) fn process(&self, node: usize) -> anyhow::Result<&Node> {
        self.member(node)?
            .node
            .as_ref()
            .context("the node does not run")
    }

    fn member(&self, node: usize) -> anyhow::Result<&Member> {
        self.members.get(node).context("no such node")
    }

    fn own(&self) -> anyhow::Result<&Own> {
        self.own
            .as_ref()
            .context("this run did not start the service")
    }

    /// Kills (SIGKILL) a node.
    pub(crate) fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let member = self.members.get_mut(node).context("no such node")?;
        // Dropping the process kills it.
        tokio::task::block_in_place(|| drop(member.node.take()));
        Ok(())
    }

    pub(crate) async fn start(&mut self, number: usize) -> anyhow::Result<()> {
        let own = self.own()?;
        let member = self.member(number)?;
        let is_last = number + 1 == self.members.len();
        let database = member
            .database
            .as_ref()
            .context("no link to the database")?;
        let url = own.postgres.url_of(DATABASE);
        let lock_urls: Vec<Secret> = member
            .redis
            .iter()
            .map(|link| Secret::new(format!("redis://{}", link.address)))
            .collect();
        let clock = own.clock.as_ref().filter(|_| is_last);
        let node = Node::start(
            &Settings {
                dir: own.dir.path(),
                database_url: &through(&url, database.address)?,
                lock_urls: &lock_urls,
                secret: &own.secret,
                design: Design::Lanes,
                connections_max: None,
                payment_url: None,
                environment: clock.map_or(&NOTHING, |clock| clock.environment.as_slice()),
            },
            u32::try_from(number + 1)?,
        )
        .await?;
        member.clients.lead_to(node.api.socket);
        let member = self.members.get_mut(number).context("no such node")?;
        member.node = Some(node);
        Ok(())
    }

    /// Restarts the nodes in their order, each when the one before serves again.
    pub(crate) async fn restart_all(&mut self) -> anyhow::Result<()> {
        for node in 0..self.members.len() {
            self.process(node)?.stop().await?;
            self.kill(node)?;
            self.start(node).await?;
        }
        Ok(())
    }

    pub(crate) fn set_links(&self, node: usize, side: Side, state: State) -> anyhow::Result<()> {
        let member = self.member(node)?;
        match side {
            Side::Clients => member.clients.set(state),
            Side::Database => member.database.iter().for_each(|link| link.set(state)),
            Side::Redis => member.redis.iter().for_each(|link| link.set(state)),
        }
        Ok(())
    }

    /// Sets the offset of the last node's wall clock.
    pub(crate) fn set_clock(&self, seconds: i32) -> anyhow::Result<()> {
        let clock = self.own()?.clock.as_ref().context("no libfaketime")?;
        Ok(fs::write(&clock.file, format!("{seconds:+}"))?)
    }

    /// Kills the Redis nodes, which keep nothing, and starts them again.
    pub(crate) fn lose_redis(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("no Redis nodes of its own")?;
        tokio::task::block_in_place(|| {
            own.redis.kill();
            own.redis.restart()
        })?;
        Ok(())
    }

    /// Gives PostgreSQL a synchronous standby, kills it, and lets the standby take over.
    pub(crate) async fn fail_over(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("no PostgreSQL of its own")?;
        let standby = own.postgres.standby().await?;
        let url = own.postgres.url();
        for statement in [
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "SELECT pg_reload_conf()",
        ] {
            connect(&url).await?.execute_unprepared(statement).await?;
        }
        let synchronous = async || {
            let connection = connect(&url).await.ok()?;
            let row = connection
                .query_one_raw(sea_orm::Statement::from_string(
                    sea_orm::DbBackend::Postgres,
                    "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'",
                ))
                .await;
            drop(connection.close().await);
            row.ok().flatten().map(drop)
        };
        eventually("the standby is synchronous", STANDBY_WITHIN, synchronous).await?;
        own.postgres.crash().await?;
        standby.promote().await?;
        let address = address_of(&standby.url())?;
        own.postgres = standby;
        for link in self
            .members
            .iter()
            .filter_map(|member| member.database.as_ref())
        {
            link.lead_to(address);
        }
        Ok(())
    }
}

impl Own {
    async fn member(&self) -> anyhow::Result<Member> {
        let mut redis = Vec::new();
        for url in self.redis.urls() {
            redis.push(Link::to(address_of(url.expose())?).await?);
        }
        // Nothing listens there until the node has started.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Ok(Member {
            node: None,
            clients: Link::to(nowhere).await?,
            database: Some(Link::to(address_of(&self.postgres.url())?).await?),
            redis,
        })
    }
}

impl Clock {
    /// `None` without libfaketime.
    fn open(file: PathBuf) -> Option<Self> {
        let shown = Command::new("faketime").args(["-f", "+0", "env"]).output();
        let text = String::from_utf8(shown.ok()?.stdout).ok()?;
        let preload = text
            .lines()
            .find_map(|line| line.strip_prefix("LD_PRELOAD="))?;
        fs::write(&file, "+0").ok()?;
        let environment = [
            ("LD_PRELOAD", preload),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str()?),
            ("FAKETIME_CACHE_DURATION", "1"),
            // A wrong date does not change how fast time passes.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self {
            environment: environment.to_vec(),
            file,
        })
    }
}

async fn connect(url: &str) -> anyhow::Result<sea_orm::DatabaseConnection> {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Ok(sea_orm::Database::connect(options).await?)
}

/// The address in `scheme://[user@]HOST:PORT[/…]`.
fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split('/').next());
    let host = authority.and_then(|it| it.rsplit('@').next());
    host.and_then(|host| host.parse().ok())
        .context("a URL without an address")
}

/// The URL of the same database through a link.
fn through(url: &Secret, link: SocketAddr) -> anyhow::Result<Secret> {
    let server = address_of(url.expose())?.to_string();
    Ok(Secret::new(url.expose().replacen(
        &server,
        &link.to_string(),
        1,
    )))
}
