//! `PgBouncer` process with the configuration that the project ships.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;
use test_support::{free_port, process::Owned};
use tokio::net::TcpStream;

use super::{SOON, eventually, repository};

/// On the `PATH`, and where Debian has it.
const PROGRAMS: [&str; 2] = ["pgbouncer", "/usr/sbin/pgbouncer"];

#[derive(Debug)]
pub(crate) struct PgBouncer {
    port: u16,
    process: Option<Owned>,
    directory: TempDir,
}

impl PgBouncer {
    /// Before the server of this URL; `changed` replaces settings of the configuration.
    pub(crate) async fn before(database_url: &str, changed: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let mode = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(directory.path(), mode(0o755)).unwrap();
        let mut pooler = Self {
            port: free_port().unwrap(),
            process: None,
            directory,
        };
        let file = pooler.directory.path().join("pgbouncer.ini");
        fs::write(&file, pooler.configuration(database_url, changed)).unwrap();
        pooler.start().await;
        pooler
    }

    fn configuration(&self, database_url: &str, changed: &[(&str, &str)]) -> String {
        let shipped = fs::read_to_string(repository("deploy/pgbouncer/pgbouncer.ini")).unwrap();
        let (host, port) = address_of(database_url);
        let server = format!("host={host} port={port} user=postgres");
        let own_port = self.port.to_string();
        let mut settings = vec![
            ("listen_addr", "127.0.0.1"),
            ("listen_port", &own_port),
            ("auth_type", "any"),
        ];
        settings.extend(changed);
        let lines = shipped.lines().filter_map(|line| {
            let name = line.split(" = ").next().unwrap_or_default();
            let change = settings.iter().find(|(set, _)| *set == name);
            match (name, change) {
                ("auth_file", _) => None,
                ("shop", _) => Some(format!("* = {server}")),
                (_, Some((_, value))) => Some(format!("{name} = {value}")),
                (_, None) => Some(line.to_owned()),
            }
        });
        let is_added = |name: &str| !shipped.contains(&format!("\n{name} = "));
        let added = changed.iter().filter(|(name, _)| is_added(name));
        let added = added.map(|(name, value)| format!("{name} = {value}"));
        lines.chain(added).collect::<Vec<_>>().join("\n")
    }

    /// Returns when it accepts connections.
    pub(crate) async fn start(&mut self) {
        let file = self.directory.path().join("pgbouncer.ini");
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        let start = |program: &&str| {
            let mut command = Command::new(program);
            // It refuses to run as root.
            if geteuid().is_root() {
                let user = User::from_name("nobody").unwrap().unwrap();
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            let log = log.try_clone().unwrap();
            command.arg(&file).current_dir("/").stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(log).spawn().ok()
        };
        let child = PROGRAMS.iter().find_map(start);
        let child = child.expect("pgbouncer is installed: run ./scripts/test");
        self.process = Some(Owned::new(child));
        let address = ("127.0.0.1", self.port);
        eventually("PgBouncer accepts connections", SOON, async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
    }

    /// Kills (SIGKILL) it with all its connections.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// The URL of the same database through the pooler.
    pub(crate) fn url(&self, database_url: &str) -> String {
        let (host, port) = address_of(database_url);
        let pooled = format!("127.0.0.1:{}", self.port);
        database_url.replacen(&format!("{host}:{port}"), &pooled, 1)
    }
}

fn address_of(database_url: &str) -> (&str, &str) {
    let (_, rest) = database_url.split_once("://").unwrap();
    let authority = rest.split(['/', '?']).next().unwrap();
    let address = authority
        .rsplit_once('@')
        .map_or(authority, |(_, address)| address);
    address.split_once(':').unwrap()
}
