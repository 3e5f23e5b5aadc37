//! TCP proxy for PostgreSQL that breaks connections at chosen points of a batch.
//!
//! The statement that commits is COMMIT, or the one of a batch that only sells (`wire.rs`).

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
    sync::{Notify, watch},
    task::JoinSet,
};

use super::wire::{Message, Role, Wire, contains};

/// PostgreSQL is ready for the next statement, outside of a transaction: what came before has
/// committed or was rolled back.
const READY: &[u8] = b"Z\0\0\0\x05I";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The next commit reaches the server; its answer is lost with the connection.
    LoseCommitAnswer,
    /// The same, and from then on no connection reaches the server.
    LoseCommitAnswerAndServer,
    /// The connection breaks before the next commit reaches the server.
    LoseCommit,
    /// The same, and from then on no connection reaches the server.
    LoseCommitAndServer,
    /// The next sale waits, before it is prepared, until the fault is removed.
    HoldSale,
    /// The client loses its connection with the next sale, which is on its way: it reaches the
    /// server just before the sale after it.
    DelaySale,
    /// A sale is on its way; the next one waits for it.
    SaleIsDelayed,
    /// The connection of the next batch breaks.
    Cut(Cut),
    /// All connections are broken, new ones too.
    Down,
}

/// Where the exchange of a batch is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The first message of the exchange: with [`Role::Keys`] the first of the batch.
    pub(crate) from: Role,
    /// Who sends the bytes that are counted.
    pub(crate) sender: Sender,
    /// So many of them arrive.
    pub(crate) after: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
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
            delay: Arc::default(),
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
    delay: Arc<Delay>,
}

/// A sale that is on its way.
#[derive(Debug, Default)]
struct Delay {
    /// The next sale is about to reach the server.
    next: Notify,
    /// The server has answered the delayed one.
    answered: Notify,
}

/// One connection.
#[derive(Debug, Default)]
struct Link {
    losing: AtomicBool,
    cut: Mutex<Option<Cut>>,
    client_is_lost: Notify,
    server_is_ready: Notify,
}

impl Link {
    /// How many of these bytes may pass, and whether the connection then breaks.
    fn passes(&self, sender: Sender, bytes: usize) -> (usize, bool) {
        let mut cut = self.cut.lock().unwrap();
        let Some(cut) = cut.as_mut().filter(|cut| cut.sender == sender) else {
            return (bytes, false);
        };
        let passes = cut.after.min(bytes);
        cut.after -= passes;
        (passes, cut.after == 0)
    }
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
        let link = Link::default();
        // The first branch that ends closes the connection: all four halves are dropped.
        tokio::select! {
            () = self.forward(from_client, to_server, &link) => {}
            () = self.back(from_server, to_client, &link) => {}
            _ = fault.wait_for(|fault| *fault == Fault::Down) => {}
        }
    }

    async fn forward(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link) {
        let mut buffer = vec![0; 64 * 1024];
        let mut wire = Wire::default();
        let mut delayed: Option<Vec<u8>> = None;
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            for message in wire.messages(&buffer[..read]) {
                if let Some(delayed) = &mut delayed {
                    delayed.extend(&message.bytes);
                    if message.role == Role::Sync {
                        return self.deliver_late(delayed, to, link).await;
                    }
                    continue;
                }
                if self.delays(&message) {
                    delayed = Some(message.bytes);
                    continue;
                }
                self.hold(&message).await;
                self.begin_cut(&message, link);
                let commits = matches!(message.role, Role::Sale | Role::Commit);
                if commits && self.lose_commit(&link.losing) {
                    return;
                }
                let (passes, breaks) = link.passes(Sender::Client, message.bytes.len());
                let sent = to.write_all(&message.bytes[..passes]).await;
                if sent.is_err() || self.counts(breaks) {
                    return;
                }
            }
        }
    }

    async fn hold(&self, message: &Message) {
        let mut fault = self.fault.subscribe();
        let is_sale = matches!(message.role, Role::PrepareSale | Role::Sale);
        if is_sale && *fault.borrow() == Fault::HoldSale {
            self.hits.fetch_add(1, Ordering::SeqCst);
            let removed = fault.wait_for(|fault| *fault != Fault::HoldSale);
            removed.await.unwrap();
        }
        if message.role == Role::Sale && self.replace(Fault::SaleIsDelayed, Fault::None) {
            self.delay.next.notify_one();
            self.delay.answered.notified().await;
        }
    }

    /// Whether this is the sale to be delayed.
    fn delays(&self, message: &Message) -> bool {
        let delays =
            message.role == Role::Sale && self.replace(Fault::DelaySale, Fault::SaleIsDelayed);
        self.counts(delays)
    }

    /// Breaks the client's side, and gives the server what it sent once the next sale comes.
    async fn deliver_late(&self, sale: &[u8], mut to: OwnedWriteHalf, link: &Link) {
        link.client_is_lost.notify_one();
        self.delay.next.notified().await;
        to.write_all(sale).await.unwrap();
        link.server_is_ready.notified().await;
        self.delay.answered.notify_one();
    }

    fn begin_cut(&self, message: &Message, link: &Link) {
        let Fault::Cut(cut) = *self.fault.borrow() else {
            return;
        };
        let is_batch = matches!(message.role, Role::Keys | Role::PrepareSale | Role::Sale);
        let begins = message.role == cut.from || (cut.from == Role::Keys && is_batch);
        if begins && self.replace(Fault::Cut(cut), Fault::None) {
            *link.cut.lock().unwrap() = Some(cut);
        }
    }

    /// Replaces this fault; false if it is another one.
    fn replace(&self, fault: Fault, by: Fault) -> bool {
        self.fault.send_if_modified(|now| {
            let is_set = *now == fault;
            if is_set {
                *now = by;
            }
            is_set
        })
    }

    /// Counts a statement that the fault has affected.
    fn counts(&self, affected: bool) -> bool {
        self.hits.fetch_add(usize::from(affected), Ordering::SeqCst);
        affected
    }

    /// Whether to drop this commit; sets `losing` if its answer is to be dropped.
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
                Fault::None
                | Fault::HoldSale
                | Fault::DelaySale
                | Fault::SaleIsDelayed
                | Fault::Cut(_)
                | Fault::Down => return false,
            }
            self.hits.fetch_add(1, Ordering::SeqCst);
            true
        });
        dropped
    }

    async fn back(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link) {
        let mut buffer = vec![0; 64 * 1024];
        let mut client_is_lost = false;
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                () = link.client_is_lost.notified() => {
                    to.shutdown().await.unwrap();
                    client_is_lost = true;
                    continue;
                }
            };
            let Ok(read @ 1..) = read else { return };
            let bytes = &buffer[..read];
            if client_is_lost {
                if contains(bytes, READY) {
                    link.server_is_ready.notify_one();
                }
                continue;
            }
            if link.losing.load(Ordering::SeqCst) {
                // The server has answered, so the transaction is durable.
                self.replace(Fault::LoseCommitAnswerAndServer, Fault::Down);
                return;
            }
            let (passes, breaks) = link.passes(Sender::Server, bytes.len());
            let sent = to.write_all(&bytes[..passes]).await;
            if sent.is_err() || self.counts(breaks) {
                return;
            }
        }
    }
}
