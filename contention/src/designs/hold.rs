//! Keeps idle connections open after one request each, to measure their memory cost.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;

/// Longer than any answer to the one request takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(clap::Args, Debug)]
pub(super) struct Hold {
    #[arg(long)]
    count: usize,

    /// Where the service listens
    address: SocketAddr,
}

impl Hold {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut connections = Vec::with_capacity(self.count);
        for number in 1..=self.count {
            let connection = self
                .open()
                .with_context(|| format!("connection {number} of {}", self.count))?;
            connections.push(connection);
        }
        writeln!(io::stdout(), "holding {} connections", connections.len())?;
        loop {
            std::thread::park();
        }
    }

    /// Opens a connection and reads the answer to one request; both fit into a packet.
    fn open(&self) -> anyhow::Result<TcpStream> {
        let mut connection = TcpStream::connect_timeout(&self.address, ANSWER_TIMEOUT)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let request = format!(
            "GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.address
        );
        connection.write_all(request.as_bytes())?;
        let mut answer = [0; 4096];
        let length = connection.read(&mut answer)?;
        let is_success = answer
            .get(..length)
            .unwrap_or_default()
            .starts_with(b"HTTP/1.1 200 ");
        anyhow::ensure!(is_success, "the answer was not 200");
        Ok(connection)
    }
}
