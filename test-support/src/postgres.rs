//! PostgreSQL process of a test with durable commits that can be stopped, killed and paused.

use std::{
    fs, io,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use flash_sale::{domain::Secret, embedded::guard::Guarded};
use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use parking_lot::{Mutex, MutexGuard};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};
use tempfile::TempDir;

use crate::{
    free_port,
    process::{descendants_of, is_alive, signal},
    wait::eventually,
};

/// Includes recovery after a kill.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const CONNECTS_WITHIN: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);

/// Folders of the programs where distributions do not put them on the `PATH`.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql",
    "/usr/libexec",
    "/opt/homebrew/opt",
    "/usr/local/opt",
];

/// Clones share the server; dropping the last one ends it.
#[derive(Clone, Debug)]
pub struct Postgres(Arc<Server>);

#[derive(Debug)]
struct Server {
    process: Mutex<Option<Guarded>>,
    programs: PathBuf,
    port: u16,
    /// The server refuses to run as root.
    user: Option<User>,
    dir: TempDir,
}

impl Postgres {
    /// Starts a new server in a temporary folder.
    ///
    /// # Errors
    /// When its programs are not installed, or it does not start.
    pub async fn open() -> anyhow::Result<Self> {
        let programs = programs().context(
            "initdb and postgres are not installed: install your system's postgresql package",
        )?;
        let server = Server::new(programs)?;
        server.create()?;
        let postgres = Self(Arc::new(server));
        postgres.start().await?;
        Ok(postgres)
    }

    /// A standby of this server, which only reads until it is promoted.
    ///
    /// # Errors
    /// When `pg_basebackup` is not installed, or the standby does not start.
    pub async fn standby(&self) -> anyhow::Result<Self> {
        let server = Server::new(self.0.programs.clone())?;
        server.copy(self.0.port)?;
        let postgres = Self(Arc::new(server));
        postgres.start().await?;
        Ok(postgres)
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) -> anyhow::Result<()> {
        self.execute("SELECT pg_promote()").await
    }

    /// Refuses writes from now on, or takes them again; open connections stay.
    pub async fn only_reads(&self, only_reads: bool) -> anyhow::Result<()> {
        let state = if only_reads { "on" } else { "off" };
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {state}");
        self.execute(&set).await?;
        self.execute("SELECT pg_reload_conf()").await
    }

    /// Commits wait for these standbys from now on, as `synchronous_standby_names` has them.
    pub async fn wait_for_standbys(&self, names: &str) -> anyhow::Result<()> {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        self.execute(&set).await?;
        self.execute("SELECT pg_reload_conf()").await
    }

    /// Runs a statement, in a session that may write on a server that only reads.
    async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let connection = self.connect_in_time().await?;
        let write = "SET default_transaction_read_only = off";
        connection.execute_unprepared(write).await?;
        connection.execute_unprepared(statement).await?;
        Ok(connection.close().await?)
    }

    /// The database that every server has.
    pub fn url(&self) -> String {
        self.0.url("postgres")
    }

    /// The URL of a database of this name.
    pub fn url_of(&self, database: &str) -> Secret {
        Secret::new(self.0.url(database))
    }

    /// Starts it on its previous folder and port, and returns when it answers.
    pub async fn start(&self) -> anyhow::Result<()> {
        let process = self.0.spawn()?;
        *self.0.process() = Some(process);
        let connection = self.connect_in_time().await?;
        Ok(connection.close().await?)
    }

    /// Fast shutdown, which does not wait for clients, as for an update.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.end(Signal::SIGINT).await
    }

    /// Immediate shutdown without a checkpoint, like a crash.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.end(Signal::SIGQUIT).await
    }

    /// Kills (SIGKILL) every process of the server at once.
    pub async fn crash(&self) -> anyhow::Result<()> {
        let postmaster = self.0.postmaster().context("PostgreSQL does not run")?;
        let mut processes = descendants_of(postmaster)?;
        processes.insert(0, postmaster);
        for process in &processes {
            // Some end by themselves when the first is gone.
            drop(signal(*process, Signal::SIGKILL));
        }
        let ended = async || {
            let alive = |process: &u32| is_alive(*process).unwrap_or(true);
            (!processes.iter().any(alive)).then_some(())
        };
        eventually("PostgreSQL ends", ENDS_WITHIN, ended).await?;
        *self.0.process() = None;
        Ok(())
    }

    /// Stops every process of the server; connections stay open.
    pub fn pause(&self) -> anyhow::Result<()> {
        Ok(self.0.signal_all(Signal::SIGSTOP)?)
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        Ok(self.0.signal_all(Signal::SIGCONT)?)
    }

    /// A database of this name, and its URL.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<Secret> {
        let connection = self.connect_in_time().await?;
        let create = format!("CREATE DATABASE {name}");
        connection.execute_unprepared(&create).await?;
        connection.close().await?;
        Ok(self.url_of(name))
    }

    /// Waits for the end, because a new server refuses to start while old backends run.
    async fn end(&self, sent: Signal) -> anyhow::Result<()> {
        let postmaster = self.0.postmaster().context("PostgreSQL does not run")?;
        signal(postmaster, sent)?;
        let ended = async || match is_alive(postmaster) {
            Ok(true) => None,
            Ok(false) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        eventually("PostgreSQL ends", ENDS_WITHIN, ended).await??;
        *self.0.process() = None;
        Ok(())
    }

    /// Tries until the server answers: it may be starting, or busy with a flood of connections.
    async fn connect_in_time(&self) -> anyhow::Result<DatabaseConnection> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            match self.connect().await {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("PostgreSQL does not answer");
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn connect(&self) -> Result<DatabaseConnection, sea_orm::DbErr> {
        let mut options = ConnectOptions::new(self.url());
        // By default it would try for half a minute, with growing delays.
        options
            .max_connections(1)
            .acquire_timeout(CONNECTS_WITHIN)
            .connect_timeout(CONNECTS_WITHIN)
            .sqlx_logging(false);
        sea_orm::Database::connect(options).await
    }
}

impl Server {
    /// A server that has a folder and a port, but no data yet.
    fn new(programs: PathBuf) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("flash-sale-pg-")
            .tempdir()?;
        let user = if geteuid().is_root() {
            let user = ["postgres", "nobody"]
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten());
            let user = user.context("there is no user to run PostgreSQL as")?;
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            Some(user)
        } else {
            None
        };
        Ok(Self {
            process: Mutex::default(),
            programs,
            port: free_port()?,
            user,
            dir,
        })
    }

    /// Copies the data of the server at this port, as its standby.
    fn copy(&self, port: u16) -> anyhow::Result<()> {
        // The folder on the `PATH` may have links to the server's programs only.
        let beside = self.programs.join("postgres").canonicalize()?;
        let mut copy = Command::new(beside.with_file_name("pg_basebackup"));
        let copied = self
            .as_user(&mut copy)
            .arg("-D")
            .arg(self.data())
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run pg_basebackup")?;
        let errors = String::from_utf8_lossy(&copied.stderr);
        ensure!(copied.status.success(), "pg_basebackup failed: {errors}");
        Ok(())
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn process(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.process.lock()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn postmaster(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        pid.lines().next()?.trim().parse().ok()
    }

    fn signal_all(&self, sent: Signal) -> io::Result<()> {
        let postmaster = self.postmaster().ok_or(io::ErrorKind::NotFound)?;
        // The postmaster first: once it is stopped it starts no more children.
        signal(postmaster, sent)?;
        let children = descendants_of(postmaster)?;
        children.iter().try_for_each(|child| signal(*child, sent))
    }

    /// As the server's user, from a folder that this user may enter.
    fn as_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command.current_dir("/").env("LC_ALL", "C")
    }

    fn create(&self) -> anyhow::Result<()> {
        let mut initdb = Command::new(self.programs.join("initdb"));
        let created = self
            .as_user(&mut initdb)
            .arg("-D")
            .arg(self.data())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run initdb")?;
        let errors = String::from_utf8_lossy(&created.stderr);
        let reason = errors.lines().last().unwrap_or_default();
        ensure!(created.status.success(), "initdb failed: {reason}");
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Guarded> {
        let mut postgres = Guarded::command(self.programs.join("postgres"));
        self.as_user(&mut postgres)
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "max_connections=300"])
            // After a kill it would otherwise sync a thousand files, one by one.
            .args(recovery())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Guarded::spawn(postgres).context("cannot start postgres")
    }
}

impl Drop for Server {
    /// Resumes paused backends: these would not end with the postmaster.
    fn drop(&mut self) {
        drop(self.signal_all(Signal::SIGCONT));
    }
}

/// `syncfs` syncs the whole file system in one call; only Linux has it.
fn recovery() -> &'static [&'static str] {
    if cfg!(target_os = "linux") {
        &["-c", "recovery_init_sync_method=syncfs"]
    } else {
        &[]
    }
}

/// The folder of `initdb` and `postgres`; the last one of several versions.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let mut elsewhere: Vec<PathBuf> = FOLDERS
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy()
                .chars()
                .any(|letter| letter.is_ascii_digit())
        })
        .flat_map(|entry| [entry.path().join("bin"), entry.path()])
        .collect();
    elsewhere.sort();
    let complete = |folder: &Path| {
        ["initdb", "postgres"]
            .iter()
            .all(|it| folder.join(it).is_file())
    };
    on_path
        .chain(elsewhere.into_iter().rev())
        .find(|folder| complete(folder))
}
