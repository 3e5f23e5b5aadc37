//! Plain-socket readers for thousands of streams: an HTTP client's bookkeeping would cost more than
//! the service's.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const CONNECTS_WITHIN: Duration = Duration::from_secs(30);

/// Raises this process's limit of open files to `count`.
pub(crate) fn allow_files(count: u64) {
    let allowed = rlimit::increase_nofile_limit(count).unwrap();
    assert!(allowed >= count, "the system allows {allowed} files only");
}

/// A plain connection, and the text read from it.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: TcpStream,
    text: String,
}

impl Reader {
    /// Sends a GET of `path`; `until` and `ends` read the answer.
    pub(crate) async fn open(url: &str, path: &str) -> Self {
        Self::open_narrow(url, path, None).await
    }

    /// The same with a receive buffer of `buffer` bytes.
    pub(crate) async fn open_narrow(url: &str, path: &str, buffer: Option<u32>) -> Self {
        let mut reader = Self::connect_narrow(url, buffer).await;
        reader.ask_again(path).await;
        reader
    }

    /// Connects and sends nothing.
    pub(crate) async fn connect(url: &str) -> Self {
        Self::connect_narrow(url, None).await
    }

    async fn connect_narrow(url: &str, buffer: Option<u32>) -> Self {
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let connecting = timeout(CONNECTS_WITHIN, socket.connect(address));
        let stream = connecting.await.expect("a connection").unwrap();
        Self {
            stream,
            text: String::new(),
        }
    }

    /// Sends another GET of `path` and reads nothing.
    pub(crate) async fn ask_again(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
        self.send(&request).await;
    }

    /// Sends these bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.try_send(bytes).await.unwrap();
    }

    /// An error means that the service closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: &str) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_bytes()).await
    }

    /// Reads until the text has arrived.
    pub(crate) async fn until(&mut self, wanted: &str, within: Duration) {
        let reading = async {
            while !self.text.contains(wanted) {
                assert!(self.read().await > 0, "ended: {}", self.text);
            }
        };
        let found = timeout(within, reading).await;
        assert!(found.is_ok(), "no {wanted} in {}", self.text);
    }

    /// Reads to the end; true if the connection was closed or reset in time.
    pub(crate) async fn ends(&mut self, within: Duration) -> bool {
        let reading = async { while self.read().await > 0 {} };
        timeout(within, reading).await.is_ok()
    }

    /// The text read so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    async fn read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.text
            .push_str(&String::from_utf8_lossy(&buffer[..count]));
        count
    }
}
