//! HTTP/1.1 client of the driver: connections and their pool.
//!
//! The task that waits for an answer also drives the connection, so a request needs no task switch,
//! and one process can send more than a service can serve.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::timeout};

pub(crate) type Body = Full<Bytes>;

/// Far above the request time-out of any service.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are opened concurrently; more would only fill the service's backlog.
const OPENING_MAX: usize = 256;

/// The address of a service.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) socket: SocketAddr,
    pub(crate) host: HeaderValue,
}

impl Address {
    /// Resolves `http://HOST:PORT`, with or without a slash at the end.
    pub(crate) async fn resolve(url: &str) -> anyhow::Result<Self> {
        let wrong = || format!("{url}: not of the form http://HOST[:PORT]");
        let host = url.strip_prefix("http://").with_context(wrong)?;
        let host = host.strip_suffix('/').unwrap_or(host);
        anyhow::ensure!(!host.is_empty() && !host.contains(['/', '@', '?']), wrong());
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut found = tokio::net::lookup_host(&with_port)
            .await
            .with_context(|| format!("{url}: no such host"))?;
        Ok(Self {
            socket: found
                .next()
                .with_context(|| format!("{url}: no such host"))?,
            host: HeaderValue::from_str(host).with_context(wrong)?,
        })
    }
}

impl Address {
    /// The address of a listener on this machine.
    pub(crate) fn of(socket: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            socket,
            host: HeaderValue::from_str(&socket.to_string())?,
        })
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoResponse {
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {ANSWER_TIMEOUT:?}")]
    Timeout,
}

#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Body>,
    /// `None` once it has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Body>>,
}

impl Connection {
    pub(crate) async fn open(address: &Address) -> Result<Self, NoResponse> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address.socket))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Some(driver);
        Ok(Self { sender, driver })
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response, NoResponse> {
        timeout(ANSWER_TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| NoResponse::Timeout)?
    }

    async fn exchange(&mut self, request: Request<Body>) -> Result<Response, NoResponse> {
        let Self { sender, driver } = self;
        let mut answer = pin!(async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            Ok(Response {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        });
        poll_fn(|context| {
            // Poll the answer first, because that queues the request on the connection.
            loop {
                if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                    return Poll::Ready(answer);
                }
                let Some(running) = driver else {
                    return Poll::Pending;
                };
                if Pin::new(running).poll(context).is_pending() {
                    return answer.as_mut().poll(context);
                }
                *driver = None;
            }
        })
        .await
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.driver.is_some() && !self.sender.is_closed()
    }
}

/// A pool of connections to every node; a connection serves one request at a time.
#[derive(Debug)]
pub(crate) struct Pool {
    nodes: Vec<PoolNode>,
    permits: Semaphore,
}

#[derive(Debug)]
struct PoolNode {
    address: Address,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// `connections_max` bounds the connections in use, over all nodes.
    pub(crate) fn new(addresses: &[Address], connections_max: usize) -> Self {
        let nodes = addresses.iter().map(|address| PoolNode {
            address: address.clone(),
            idle: Mutex::default(),
        });
        Self {
            nodes: nodes.collect(),
            permits: Semaphore::new(connections_max),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn address(&self, node: usize) -> Option<&Address> {
        self.nodes.get(node).map(|node| &node.address)
    }

    /// Opens connections before the first request, evenly over the nodes.
    pub(crate) async fn open(self: &Arc<Self>, connections: usize) -> Result<(), NoResponse> {
        let permits = Arc::new(Semaphore::new(OPENING_MAX));
        let mut opening: JoinSet<Result<(), NoResponse>> = JoinSet::new();
        for number in 0..connections {
            let (pool, permits) = (Arc::clone(self), Arc::clone(&permits));
            opening.spawn(async move {
                let _permit = permits.acquire().await;
                let Some(node) = pool.nodes.get(number % pool.nodes.len().max(1)) else {
                    return Ok(());
                };
                let connection = Connection::open(&node.address).await?;
                node.put(connection);
                Ok(())
            });
        }
        while let Some(opened) = opening.join_next().await {
            opened.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Sends over an idle connection to this node, or over a new one. Also returns when sending
    /// began, after the wait for a permit.
    pub(crate) async fn send(
        &self,
        node: usize,
        request: Request<Body>,
    ) -> (Instant, Result<Response, NoResponse>) {
        let _permit = self.permits.acquire().await;
        let began = Instant::now();
        (began, self.exchange(node, request).await)
    }

    async fn exchange(&self, node: usize, request: Request<Body>) -> Result<Response, NoResponse> {
        let Some(node) = self.nodes.get(node) else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let mut connection = match node.take() {
            Some(connection) => connection,
            None => Connection::open(&node.address).await?,
        };
        let response = connection.send(request).await?;
        node.put(connection);
        Ok(response)
    }
}

impl PoolNode {
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        std::iter::from_fn(|| idle.pop()).find(Connection::is_usable)
    }

    fn put(&self, connection: Connection) {
        if connection.is_usable() {
            self.idle.lock().push(connection);
        }
    }
}

/// A JSON request with `Content-Length`.
pub(crate) fn request(
    (method, path): (&str, &str),
    host: &HeaderValue,
    token: Option<&HeaderValue>,
    body: Option<&Bytes>,
) -> Request<Body> {
    let has_body = body.is_some();
    let mut request = Request::new(Full::new(body.cloned().unwrap_or_default()));
    *request.method_mut() = method.parse().unwrap_or_default();
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(header::HOST, host.clone());
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token.clone());
    }
    if has_body {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    request
}
