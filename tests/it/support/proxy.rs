//! TCP proxy for PostgreSQL that breaks connections at chosen points of a transaction.
//!
//! It recognizes statements by their text: drivers send BEGIN and COMMIT as simple queries.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The next COMMIT reaches the server; its answer is lost with the connection.
    LoseCommitAnswer,
    /// The same, and from then on no connection reaches the server.
    LoseCommitAnswerAndServer,
    /// The connection breaks before the next COMMIT reaches the server.
    LoseCommit,
    /// The same, and from then on no connection reaches the server.
    LoseCommitAndServer,
    /// Data after a BEGIN on the same connection waits until the fault is removed.
    HoldTransaction,
    /// All connections are broken, new ones too.
    Down,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Shared,
    _acceptor: JoinSet<()>,
}

impl Proxy {
    /// A proxy for the server of this URL.
    pub(crate) async fn before(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared {
            server: Arc::new(Mutex::new(address_of(database_url))),
            fault: watch::channel(Fault::None).0,
            hits: Arc::default(),
        };
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, shared.clone()));
        Self {
            port,
            shared,
            _acceptor: acceptor,
        }
    }

    /// The URL of the same database through the proxy.
    pub(crate) fn url(&self, database_url: &str) -> String {
        let server = address_of(database_url);
        database_url.replacen(&server, &format!("127.0.0.1:{}", self.port), 1)
    }

    /// New connections lead to the server of this URL; open ones stay where they are.
    pub(crate) fn lead_to(&self, database_url: &str) {
        *self.shared.server.lock().unwrap() = address_of(database_url);
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.shared.hits.store(0, Ordering::SeqCst);
        self.shared.fault.send_replace(fault);
    }

    /// Breaks all open connections; new ones pass.
    pub(crate) async fn break_all(&self) {
        self.set(Fault::Down);
        // Each connection subscribes to the fault until it ends.
        self.shared.fault.closed().await;
        self.set(Fault::None);
    }

    /// The number of statements that the fault has affected since it was set.
    pub(crate) fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }
}

/// `HOST:PORT` of a database URL.
fn address_of(url: &str) -> String {
    let authority = url
        .split_once("://")
        .unwrap()
        .1
        .split(['/', '?'])
        .next()
        .unwrap();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    assert!(
        host.contains(':'),
        "the database URL of the tests needs a port"
    );
    host.to_owned()
}

async fn accept(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        connections.spawn(async move { shared.connect(client).await });
    }
}

#[derive(Clone, Debug)]
struct Shared {
    server: Arc<Mutex<String>>,
    fault: watch::Sender<Fault>,
    hits: Arc<AtomicUsize>,
}

impl Shared {
    async fn connect(&self, client: TcpStream) {
        let mut fault = self.fault.subscribe();
        if *fault.borrow() == Fault::Down {
            return;
        }
        let server = self.server.lock().unwrap().clone();
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let losing = AtomicBool::new(false);
        // The first branch that ends closes the connection: all four halves are dropped.
        tokio::select! {
            () = self.forward(from_client, to_server, &losing) => {}
            () = self.back(from_server, to_client, &losing) => {}
            _ = fault.wait_for(|fault| *fault == Fault::Down) => {}
        }
    }

    async fn forward(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, losing: &AtomicBool) {
        let mut buffer = vec![0; 64 * 1024];
        let mut begun = false;
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..read];
            if begun {
                self.hold().await;
            }
            begun = contains(bytes, b"BEGIN");
            if contains(bytes, b"COMMIT") && self.lose_commit(losing) {
                return;
            }
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    async fn hold(&self) {
        let mut fault = self.fault.subscribe();
        if *fault.borrow() == Fault::HoldTransaction {
            self.hits.fetch_add(1, Ordering::SeqCst);
            fault
                .wait_for(|fault| *fault != Fault::HoldTransaction)
                .await
                .unwrap();
        }
    }

    /// Whether to drop this COMMIT; sets `losing` if its answer is to be dropped.
    fn lose_commit(&self, losing: &AtomicBool) -> bool {
        let mut dropped = false;
        self.fault.send_if_modified(|fault| {
            match *fault {
                Fault::LoseCommit => (dropped, *fault) = (true, Fault::None),
                Fault::LoseCommitAndServer => (dropped, *fault) = (true, Fault::Down),
                Fault::LoseCommitAnswer => {
                    losing.store(true, Ordering::SeqCst);
                    *fault = Fault::None;
                }
                Fault::LoseCommitAnswerAndServer => losing.store(true, Ordering::SeqCst),
                Fault::None | Fault::HoldTransaction | Fault::Down => return false,
            }
            self.hits.fetch_add(1, Ordering::SeqCst);
            true
        });
        dropped
    }

    async fn back(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, losing: &AtomicBool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if losing.load(Ordering::SeqCst) {
                // The server has answered, so the transaction is durable.
                self.fault.send_if_modified(|fault| {
                    let goes_down = *fault == Fault::LoseCommitAnswerAndServer;
                    if goes_down {
                        *fault = Fault::Down;
                    }
                    goes_down
                });
                return;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
