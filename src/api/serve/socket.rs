//! A client's socket: a write time-out, and notes of what was read for the connection's
//! [`Activity`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, Take},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutWriter;

use super::activity::Activity;

/// A connection whose client reads nothing for this long is closed, which frees its buffers; even
/// a slow network transfers some bytes within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that one read takes, in bytes; more than almost every request has. hyper doubles its
/// buffer when a read fills it: with larger reads a head would cost more than twice its size.
const READ_MAX: u64 = 4_096;

#[derive(Debug)]
pub(super) struct Socket {
    stream: Take<Pin<Box<TimeoutWriter<TcpStream>>>>,
    activity: Arc<Activity>,
    /// The last write had to wait.
    is_blocked: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(WRITE_TIMEOUT));
        Self {
            stream: Box::pin(stream).take(READ_MAX),
            activity,
            is_blocked: false,
        }
    }

    /// Waits until bytes or the client's end can be read; a broken connection counts as its end.
    pub(super) async fn readable(&self) {
        // `readable` is true of every accepted socket.
        drop(self.stream.get_ref().get_ref().peek(&mut [0]).await);
    }

    /// Tells the client that nothing more comes. A broken connection needs no such word.
    pub(super) async fn close(&mut self) {
        drop(self.writer().shutdown().await);
    }

    fn writer(&mut self) -> Pin<&mut TimeoutWriter<TcpStream>> {
        self.stream.get_mut().as_mut()
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() != self.is_blocked {
            self.is_blocked = written.is_pending();
            if self.is_blocked {
                self.activity.blocked(Instant::now());
            } else {
                self.activity.unblocked(Instant::now());
            }
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        self.stream.set_limit(READ_MAX);
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(bytes) = buffer.filled().get(before..)
            && !bytes.is_empty()
        {
            self.activity.received(bytes, Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.writer().poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.writer().poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(context)
    }

    /// Nothing: hyper also ends a connection that is only parked.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
