//! A TCP link that can be cut, fall silent or become slow: a proxy between two parts of the cluster.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

const BUFFER: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Passes,
    /// All connections are closed, new ones too.
    Cut,
    /// Connections stay open and nothing arrives, as when a machine in between is gone. What was sent
    /// meanwhile arrives later, also after its sender has closed the connection.
    Silent,
    /// Everything arrives late.
    Slow(Duration),
}

/// Ends with its connections when it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
    state: watch::Sender<State>,
    _acceptor: JoinSet<()>,
}

impl Link {
    pub(crate) async fn to(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let to = Arc::new(Mutex::new(upstream));
        let state = watch::channel(State::Passes).0;
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, Arc::clone(&to), state.clone()));
        Ok(Self {
            address,
            to,
            state,
            _acceptor: acceptor,
        })
    }

    /// New connections lead there.
    pub(crate) fn lead_to(&self, upstream: SocketAddr) {
        *self.to.lock() = upstream;
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn accept(listener: TcpListener, to: Arc<Mutex<SocketAddr>>, state: watch::Sender<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Without a file descriptor left the client tries again.
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connect(client, Arc::clone(&to), state.subscribe()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, to: Arc<Mutex<SocketAddr>>, mut state: watch::Receiver<State>) {
    let mut watched = state.clone();
    let cut = async {
        // The sender lives as long as the link, whose end drops this task.
        drop(watched.wait_for(|state| *state == State::Cut).await);
    };
    let pass = async {
        drop(state.wait_for(|state| *state != State::Silent).await);
        let upstream = *to.lock();
        let Ok(server) = TcpStream::connect(upstream).await else {
            return;
        };
        drop(client.set_nodelay(true).and(server.set_nodelay(true)));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            forward(from_client, to_server, state.clone()),
            forward(from_server, to_client, state.clone())
        );
    };
    tokio::select! {
        () = cut => {}
        () = pass => {}
    }
}

/// Copies one direction, and passes its end on.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let slow = match state
            .wait_for(|state| *state != State::Silent)
            .await
            .as_deref()
        {
            Ok(State::Slow(late)) => Some(*late),
            _ => None,
        };
        if let Some(late) = slow {
            tokio::time::sleep(late).await;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    drop(to.shutdown().await);
}
