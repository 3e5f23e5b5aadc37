//! Redis processes of a test that can be paused, killed and restarted on the same port.

use std::{
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::signal::Signal;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, aio::MultiplexedConnection, cmd};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use test_support::{free_port, process::Owned};

use super::eventually;

const STARTS_WITHIN: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const TRIES: usize = 5;

/// Independent lock nodes.
#[derive(Debug)]
pub(crate) struct Nodes(pub(crate) Vec<Node>);

impl Nodes {
    pub(crate) async fn start(count: usize) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node::start().await);
        }
        Self(nodes)
    }

    /// The value of `REDIS_LOCK_URLS`.
    pub(crate) fn urls(&self) -> String {
        self.0.iter().map(Node::url).collect::<Vec<_>>().join(",")
    }

    /// Sets the key to the value on every node.
    pub(crate) async fn set(&self, key: &str, value: &str) {
        for node in &self.0 {
            node.run::<()>(&["SET", key, value]).await;
        }
    }

    pub(crate) async fn delete(&self, key: &str) {
        for node in &self.0 {
            node.run::<()>(&["DEL", key]).await;
        }
    }

    /// Every lock key on every node.
    pub(crate) async fn lock_keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        for node in &self.0 {
            found.extend(node.run::<Vec<String>>(&["KEYS", "lock:*"]).await);
        }
        found
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    port: u16,
    process: Owned,
    directory: TempDir,
}

impl Node {
    /// Tries another port if another process has taken the free one before the server binds it.
    async fn start() -> Self {
        for _ in 0..TRIES {
            let (port, directory) = (free_port().unwrap(), TempDir::new().unwrap());
            let process = spawn(port, &directory, &[]);
            let mut node = Self {
                port,
                process,
                directory,
            };
            if node.is_ready().await {
                return node;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it (SIGSTOP): the kernel accepts connections, and no answer is sent.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::SIGSTOP).unwrap();
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::SIGCONT).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Restarts it on the same port, without data.
    pub(crate) async fn restart(&mut self) {
        self.restart_as(&[]);
        assert!(self.is_ready().await, "a killed node restarts");
    }

    /// Restarts it on the same port with these options, and does not wait for its first answer.
    pub(crate) fn restart_as(&mut self, options: &[&str]) {
        self.kill();
        self.process = spawn(self.port, &self.directory, options);
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
            .query_async(&mut self.connect().await.unwrap())
            .await
            .unwrap()
    }

    /// Records every command that the node receives from now on.
    pub(crate) async fn monitor(&self) -> Monitor {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(b"MONITOR\r\n").await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("+OK"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut reader = JoinSet::new();
        let written = Arc::clone(&seen);
        reader.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                written.lock().unwrap().push(line);
            }
        });
        Monitor {
            seen,
            _reader: reader,
        }
    }

    /// Waits until it answers or has ended.
    pub(crate) async fn is_ready(&mut self) -> bool {
        eventually("redis-server answers or ends", STARTS_WITHIN, async || {
            if self.process.exited().unwrap().is_some() {
                return Some(false);
            }
            let mut connection = self.connect().await.ok()?;
            cmd("PING")
                .query_async::<String>(&mut connection)
                .await
                .is_ok()
                .then_some(true)
        })
        .await
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let bounds = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWERS_WITHIN))
            .set_response_timeout(Some(ANSWERS_WITHIN));
        Client::open(self.url())?
            .get_multiplexed_async_connection_with_config(&bounds)
            .await
    }
}

fn spawn(port: u16, directory: &TempDir, options: &[&str]) -> Owned {
    let port = port.to_string();
    let child = Command::new("redis-server")
        .args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(directory.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run ./scripts/test");
    Owned::new(child)
}

/// The commands that one node received, as `MONITOR` shows them.
#[derive(Debug)]
pub(crate) struct Monitor {
    seen: Arc<Mutex<Vec<String>>>,
    _reader: JoinSet<()>,
}

impl Monitor {
    /// The words of every command about this key, in order; a script's own commands are among them.
    pub(crate) fn commands(&self, key: &str) -> Vec<Vec<String>> {
        let about = |words: &Vec<String>| words.iter().any(|word| word == key);
        self.all().into_iter().filter(about).collect()
    }

    /// The words of every command, in order.
    pub(crate) fn all(&self) -> Vec<Vec<String>> {
        let lines = self.seen.lock().unwrap();
        lines.iter().map(|line| words(line)).collect()
    }
}

/// `1700000000.1 [0 127.0.0.1:5] "SET" "key"` has the words SET and key.
fn words(line: &str) -> Vec<String> {
    let Some((_, quoted)) = line.split_once("] ") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match (letter, &mut word) {
            ('"', None) => word = Some(String::new()),
            ('"', Some(_)) => found.extend(word.take()),
            ('\\', Some(open)) => open.extend(letters.next()),
            (_, Some(open)) => open.push(letter),
            (_, None) => {}
        }
    }
    found
}
