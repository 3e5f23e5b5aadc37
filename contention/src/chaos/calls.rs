//! One call of a client, and what its answer means by the contract (`docs/API.md`).

use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Method};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    client::{Address, Connection, NoResponse, Response, request},
    history::{Answer, Request, Time},
};

/// Longer than the service's own limit.
const ANSWERS_WITHIN: Duration = Duration::from_secs(7);

/// Nanoseconds since the run began.
pub(crate) fn since(epoch: Instant) -> Time {
    Time::try_from(epoch.elapsed().as_nanos()).unwrap_or(Time::MAX)
}

/// A client with a connection to each node.
#[derive(Debug)]
pub(crate) struct Caller {
    nodes: Vec<(Address, Option<Connection>)>,
}

/// Whom and what a call names.
#[derive(Clone, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) product: Uuid,
    pub(crate) token: &'a HeaderValue,
    pub(crate) key: Option<&'a str>,
    pub(crate) order: Option<Uuid>,
}

impl Caller {
    pub(crate) fn new(addresses: &[Address]) -> Self {
        let nodes = addresses.iter().map(|address| (address.clone(), None));
        Self {
            nodes: nodes.collect(),
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Calls a node; `None` without an answer.
    pub(crate) async fn call(&mut self, node: usize, call: &Request, names: &Names<'_>) -> Answer {
        let product = names.product;
        let (method, path, body) = match call {
            Request::Place {
                quantity, waits, ..
            } => {
                let body =
                    json!({ "product_id": product, "quantity": quantity, "waitlist": waits });
                (Method::POST, "/orders".to_owned(), Some(body))
            }
            Request::Cancel => {
                let order = names.order.unwrap_or_default();
                (Method::POST, format!("/orders/{order}/cancel"), None)
            }
            Request::Leave => (
                Method::DELETE,
                format!("/products/{product}/waitlist"),
                None,
            ),
            Request::Restock(quantity) => {
                let path = format!("/products/{product}/restock");
                (Method::POST, path, Some(json!({ "quantity": quantity })))
            }
        };
        let sent = self.send(node, (method.as_str(), &path), names, body.as_ref());
        match sent.await {
            Ok(response) => answer(call, &response),
            Err(NoResponse::Connect(error)) => {
                Answer::NotWritten(format!("not connected: {error}"))
            }
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }

    /// Sends a request and waits for its answer for a limited time.
    pub(crate) async fn send(
        &mut self,
        node: usize,
        call: (&str, &str),
        names: &Names<'_>,
        body: Option<&Value>,
    ) -> Result<Response, NoResponse> {
        let Some((address, idle)) = self.nodes.get_mut(node) else {
            return Err(NoResponse::Timeout);
        };
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut request = request(call, &address.host, Some(names.token), body.as_ref());
        if let Some(key) = names.key.and_then(|key| HeaderValue::from_str(key).ok()) {
            request.headers_mut().insert("idempotency-key", key);
        }
        let connection = idle.take().filter(Connection::is_usable);
        let exchange = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            let response = connection.send(request).await?;
            Ok::<_, NoResponse>((connection, response))
        };
        let (connection, response) = timeout(ANSWERS_WITHIN, exchange)
            .await
            .map_err(|_| NoResponse::Timeout)??;
        *idle = Some(connection);
        Ok(response)
    }
}

/// What an answer says.
fn answer(call: &Request, response: &Response) -> Answer {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = text("code");
    let replayed = response.headers.contains_key("idempotency-replayed");
    let id = text("id").parse().unwrap_or_default();
    let available = body.get("available").and_then(Value::as_i64);
    let unexpected = || Answer::Unexpected(format!("{} {code}", response.status));
    match (call, response.status, code) {
        (Request::Place { .. }, 201, _) => Answer::Created {
            order: id,
            replayed,
        },
        (Request::Place { waits: true, .. }, 202, _) => {
            let entry = body.get("waitlist");
            let position = entry.and_then(|entry| entry.get("position"));
            let position = position.and_then(Value::as_i64);
            Answer::Waiting { position, replayed }
        }
        (Request::Place { .. }, 409, "sold_out") => Answer::SoldOut,
        (Request::Place { .. }, 409, "insufficient_stock") => {
            available.map_or_else(unexpected, Answer::Insufficient)
        }
        (Request::Cancel, 200, _) => Answer::Cancelled,
        (Request::Cancel, 409, "order_not_pending") => {
            Answer::NotPending(text("order_status").to_owned())
        }
        (Request::Leave, 204, _) => Answer::Left,
        (Request::Leave, 404, "not_waiting") => Answer::NotWaiting,
        (Request::Restock(_), 200, _) => Answer::Restocked,
        (_, 400, "high_demand") | (_, 429, "rate_limited") | (_, 408, _) => {
            Answer::NotWritten(code.to_owned())
        }
        (_, 503, "unavailable") if text("detail").contains("nothing was written") => {
            Answer::NotWritten(code.to_owned())
        }
        (_, 503, "unavailable" | "outcome_unknown") => Answer::Unknown(code.to_owned()),
        (_, _, _) => unexpected(),
    }
}
