//! A TCP link that delays, to measure what a distance between two machines costs.
//!
//! Each chunk is delivered the same time after it came, however many are on the way, so the link
//! delays and does not limit the throughput. Threads, because tokio's timers are as coarse as the
//! delay that is to be measured. While the process is stopped (SIGSTOP), connections through it are
//! half-open: they stay, and nothing arrives.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

const CHUNK: usize = 64 * 1024;
/// On the way in one direction; then the sender waits, as at the end of a full network.
const CHUNKS_MAX: usize = 1024;

#[derive(clap::Args, Debug)]
pub(super) struct Link {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Where the connections lead
    #[arg(long)]
    to: SocketAddr,

    /// Delay of each direction, in microseconds
    #[arg(long, default_value_t = 0)]
    delay_us: u64,
}

/// Bytes, and when they are to be delivered.
type Chunk = (Instant, Vec<u8>);

impl Link {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen)
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let address = listener.local_addr()?;
        writeln!(io::stdout(), "listening on tcp://{address}")?;
        for client in listener.incoming() {
            // A connection that fails is closed, as a server that cannot be reached would do it.
            drop(client.and_then(|client| self.connect(client)));
        }
        Ok(())
    }

    fn connect(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.to)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let delay = Duration::from_micros(self.delay_us);
        carry(client.try_clone()?, server.try_clone()?, delay)?;
        carry(server, client, delay)
    }
}

/// Starts one direction of a connection.
fn carry(from: TcpStream, to: TcpStream, delay: Duration) -> io::Result<()> {
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    thread::Builder::new().spawn(move || take(from, delay, &sender))?;
    thread::Builder::new().spawn(move || deliver(to, &receiver))?;
    Ok(())
}

fn take(mut from: TcpStream, delay: Duration, chunks: &SyncSender<Chunk>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + delay;
        let bytes = buffer.get(..read).unwrap_or_default().to_vec();
        if chunks.send((due, bytes)).is_err() {
            return;
        }
    }
}

/// Delivers until the other side has closed or failed, and passes that on.
fn deliver(mut to: TcpStream, chunks: &Receiver<Chunk>) {
    for (due, bytes) in chunks {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            drop(to.shutdown(Shutdown::Both));
            return;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
