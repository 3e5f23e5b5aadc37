//! HTTP/1.1 client of the driver: a connection, and a pool of them.
//!
//! A connection is driven by the very task that waits for its answer, so a request costs no
//! change of tasks; one process can offer a service more than it can take.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::timeout};

pub(crate) type Body = Full<Bytes>;

/// Far over any service's own limit: what is not answered by then never will be.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are opened at the same time; more only fill the service's backlog.
const OPENING_MAX: usize = 256;

/// Where a service listens.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) socket: SocketAddr,
    pub(crate) host: HeaderValue,
}

impl Address {
    /// `http://HOST:PORT`, with or without a slash at the end.
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

/// An answer as it came.
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

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
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
    /// None once it has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Body>>,
}

impl Connection {
    pub(crate) async fn open(address: &Address) -> Result<Self, Silence> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address.socket))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Some(driver);
        Ok(Self { sender, driver })
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response, Silence> {
        timeout(ANSWER_TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| Silence::Timeout)?
    }

    async fn exchange(&mut self, request: Request<Body>) -> Result<Response, Silence> {
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
            // First the answer, which puts the request into the connection; then the bytes.
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

/// Connections to every node, each used by one request at a time.
#[derive(Debug)]
pub(crate) struct Pool {
    nodes: Vec<PoolNode>,
    places: Semaphore,
}

#[derive(Debug)]
struct PoolNode {
    address: Address,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// At most so many connections at once, over all nodes.
    pub(crate) fn new(addresses: &[Address], connections_max: usize) -> Self {
        let nodes = addresses.iter().map(|address| PoolNode {
            address: address.clone(),
            idle: Mutex::default(),
        });
        Self {
            nodes: nodes.collect(),
            places: Semaphore::new(connections_max),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn address(&self, node: usize) -> Option<&Address> {
        self.nodes.get(node).map(|node| &node.address)
    }

    /// Opens so many connections, evenly over the nodes, before the first request.
    pub(crate) async fn open(self: &Arc<Self>, connections: usize) -> Result<(), Silence> {
        let turns = Arc::new(Semaphore::new(OPENING_MAX));
        let mut opening: JoinSet<Result<(), Silence>> = JoinSet::new();
        for number in 0..connections {
            let (pool, turns) = (Arc::clone(self), Arc::clone(&turns));
            opening.spawn(async move {
                let _turn = turns.acquire().await;
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

    /// Sends over an idle connection to this node, or over a new one; also returns when it began to,
    /// after it had waited for its place.
    pub(crate) async fn send(
        &self,
        node: usize,
        request: Request<Body>,
    ) -> (Instant, Result<Response, Silence>) {
        let _place = self.places.acquire().await;
        let began = Instant::now();
        (began, self.exchange(node, request).await)
    }

    async fn exchange(&self, node: usize, request: Request<Body>) -> Result<Response, Silence> {
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
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Connection::is_usable)
    }

    fn put(&self, connection: Connection) {
        if connection.is_usable() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}

/// A JSON request, with its length known to the service from the head.
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
