//! Embedded defaults: private Redis nodes, the SQLite path and the generated token secret.
//!
//! Private Redis nodes end with the service, also when it is killed (`guard`).

use std::{
    fmt::Write as _,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rand::RngExt;

use self::{
    folder::{private_file, private_log},
    guard::Guarded,
};
use crate::domain::Secret;

pub use self::folder::{make_database_private, open as open_folder};

mod folder;
pub mod guard;

const NODES: usize = 3;
/// How long a node may take to open its port; a node that takes longer has failed to start.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(5);
/// The file with a node's password.
const SETTINGS: &str = "redis.conf";
const LOG: &str = "log";

/// Private Redis nodes; they end when this is dropped.
#[derive(Debug)]
pub struct RedisNodes {
    nodes: Vec<RedisNode>,
}

#[derive(Debug)]
struct RedisNode {
    port: u16,
    dir: PathBuf,
    /// Other users of the machine can reach the port.
    password: Secret,
    /// `None` after `kill`, until `restart`.
    process: Option<Guarded>,
}

impl RedisNodes {
    /// Starts three nodes under `data_dir`; `None` when `redis-server` is not installed.
    pub fn start(data_dir: &Path) -> io::Result<Option<Self>> {
        let installed = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !installed {
            return Ok(None);
        }
        folder::open(data_dir)?;
        let nodes = (1..)
            .zip(free_ports(NODES)?)
            .map(|(number, port)| RedisNode::start(&data_dir.join(format!("redis-{number}")), port))
            .collect::<io::Result<Vec<_>>>()?;
        for node in &nodes {
            node.wait_until_open()?;
        }
        Ok(Some(Self { nodes }))
    }

    pub fn urls(&self) -> Vec<Secret> {
        self.nodes
            .iter()
            .map(|node| {
                let password = node.password.expose();
                Secret::new(format!("redis://:{password}@127.0.0.1:{}", node.port))
            })
            .collect()
    }

    /// Kills every node at once, without a graceful shutdown.
    pub fn kill(&mut self) {
        for node in &mut self.nodes {
            node.process = None;
        }
    }

    /// Restarts killed nodes on their ports, without their data.
    pub fn restart(&mut self) -> io::Result<()> {
        for node in &mut self.nodes {
            if node.process.is_none() {
                node.process = Some(spawn(node.port, &node.dir)?);
            }
        }
        self.nodes.iter().try_for_each(RedisNode::wait_until_open)
    }
}

impl RedisNode {
    fn start(dir: &Path, port: u16) -> io::Result<Self> {
        folder::open_inner(dir)?;
        let dir = dir.canonicalize()?;
        let password = random_digits()?;
        // In a file, because every user of the machine can read a command line.
        let settings = format!("requirepass {}\n", password.expose());
        private_file(&dir.join(SETTINGS))?.write_all(settings.as_bytes())?;
        // The node itself would create it readable by everybody.
        private_log(&dir.join(LOG))?;
        let process = Some(spawn(port, &dir)?);
        Ok(Self {
            port,
            dir,
            password,
            process,
        })
    }

    fn wait_until_open(&self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(START_POLL),
            }
        }
    }
}

fn spawn(port: u16, dir: &Path) -> io::Result<Guarded> {
    let mut node = Guarded::command("redis-server");
    node.arg(dir.join(SETTINGS))
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(dir)
        .arg("--logfile")
        .arg(dir.join(LOG))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Guarded::spawn(node)
}

/// Free ports. Every listener is held until all ports are chosen, so that they differ.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held = std::iter::repeat_with(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .take(count)
        .collect::<io::Result<Vec<_>>>()?;
    held.iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// The path of the embedded database.
pub fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("flash-sale.db")
}

/// Hexadecimal digits of the generated secret; a file with fewer is damaged.
const SECRET_DIGITS: usize = 64;

/// The generated token secret: created once in `data_dir`, readable by its owner only.
///
/// The file gets its name after it is written and synced, so that a crash or a second process
/// cannot lead to an empty key, with which any caller could sign tokens.
pub fn auth_secret(data_dir: &Path) -> io::Result<Secret> {
    folder::open(data_dir)?;
    let path = secret_path(data_dir);
    if !path.exists() {
        let draft = data_dir.join(format!("auth_secret.{}", std::process::id()));
        write_secret(&draft)?;
        let linked = std::fs::hard_link(&draft, &path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let secret = std::fs::read_to_string(&path)?;
    let secret = secret.trim();
    if secret.len() < SECRET_DIGITS {
        return Err(io::Error::other("auth_secret is damaged; remove it"));
    }
    Ok(Secret::new(secret))
}

/// Where the generated secret is, or will be.
pub fn secret_path(data_dir: &Path) -> PathBuf {
    data_dir.join("auth_secret")
}

fn write_secret(path: &Path) -> io::Result<()> {
    let mut file = private_file(path)?;
    file.write_all(random_digits()?.expose().as_bytes())?;
    file.sync_all()
}

/// 256 random bits as hexadecimal digits.
fn random_digits() -> io::Result<Secret> {
    let bytes: [u8; 32] = rand::rng().random();
    let mut digits = String::with_capacity(SECRET_DIGITS);
    for byte in bytes {
        write!(digits, "{byte:02x}").map_err(io::Error::other)?;
    }
    Ok(Secret::new(digits))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_is_generated_once_with_mode_0600() {
        let dir = std::env::temp_dir().join(format!("flash-sale-{}", uuid::Uuid::now_v7()));
        let first = auth_secret(&dir).unwrap();
        let second = auth_secret(&dir).unwrap();
        let mode = std::fs::metadata(dir.join("auth_secret"))
            .unwrap()
            .permissions()
            .mode();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.expose().len(), 64);
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let dir = std::env::temp_dir().join(format!("flash-sale-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("auth_secret"), "").unwrap();
        let refused = auth_secret(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(refused.is_err());
    }
}
