//! A private PostgreSQL with durable commits, for as long as the runner lives.

use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use flash_sale::{domain::Secret, embedded::guard::Guarded};
use nix::unistd::{User, geteuid};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};
use tempfile::TempDir;

/// Recovery after a kill included.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const CONNECTS_WITHIN: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);

/// Where distributions keep the programs that they leave off the path.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql",
    "/usr/libexec",
    "/opt/homebrew/opt",
    "/usr/local/opt",
];

/// Clones share the server.
#[derive(Clone, Debug)]
pub(crate) struct Postgres(Arc<Server>);

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
    /// # Errors
    /// When its programs are not installed, or it does not start.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let programs = programs().context(
            "--postgres: initdb and postgres are not installed: \
             install your system's postgresql package",
        )?;
        let dir = tempfile::Builder::new()
            .prefix("contention-pg-")
            .tempdir()?;
        let user = if geteuid().is_root() {
            let user = ["postgres", "nobody"]
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten());
            let user = user.context("--postgres: there is no user to run PostgreSQL as")?;
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            Some(user)
        } else {
            None
        };
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
            .local_addr()?
            .port();
        let server = Server {
            process: Mutex::default(),
            programs,
            port,
            user,
            dir,
        };
        server.create()?;
        let postgres = Self(Arc::new(server));
        postgres.start().await?;
        Ok(postgres)
    }

    /// At once and without a checkpoint, as a crash would.
    pub(crate) fn kill(&self) {
        *self.0.process() = None;
    }

    /// Starts it, and returns when it answers.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let process = self.0.spawn()?;
        *self.0.process() = Some(process);
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            match self.connect().await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("PostgreSQL did not start");
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// A database of this name, and its URL.
    pub(crate) async fn create_database(&self, name: &str) -> anyhow::Result<Secret> {
        let connection = self.connect().await?;
        let create = format!("CREATE DATABASE {name}");
        connection.execute_unprepared(&create).await?;
        connection.close().await?;
        Ok(Secret::new(self.0.url(name)))
    }

    async fn connect(&self) -> Result<DatabaseConnection, sea_orm::DbErr> {
        let mut options = ConnectOptions::new(self.0.url("postgres"));
        // By itself it would try for half a minute, at growing distances.
        options
            .max_connections(1)
            .acquire_timeout(CONNECTS_WITHIN)
            .connect_timeout(CONNECTS_WITHIN)
            .sqlx_logging(false);
        sea_orm::Database::connect(options).await
    }
}

impl Server {
    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
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
        let made = self
            .as_user(&mut initdb)
            .arg("-D")
            .arg(self.data())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .stdin(Stdio::null())
            .output()
            .context("--postgres: cannot run initdb")?;
        let said = String::from_utf8_lossy(&made.stderr);
        let reason = said.lines().last().unwrap_or_default();
        anyhow::ensure!(made.status.success(), "--postgres: initdb failed: {reason}");
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
        Guarded::spawn(postgres).context("--postgres: cannot start postgres")
    }
}

/// One call that syncs the whole file system, where there is such a call.
fn recovery() -> &'static [&'static str] {
    if cfg!(target_os = "linux") {
        &["-c", "recovery_init_sync_method=syncfs"]
    } else {
        &[]
    }
}

/// The folder of `initdb` and `postgres`; of several versions the last.
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
