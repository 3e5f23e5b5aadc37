//! A proxy in front of a real service that breaks one promise on purpose.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use futures::stream;
use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::shop;

const BODY_MAX: usize = 1024 * 1024;
/// Response headers that the proxy passes on.
const PASSED_ON: [&str; 4] = [
    "content-type",
    "idempotency-replayed",
    "retry-after",
    "x-request-id",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// The first refused buyer gets an additional unit.
    OneTooMany,
    /// After this many orders every buyer is answered `sold_out`.
    KeepBack {
        after: usize,
    },
    /// The first winner is answered `sold_out`.
    DenyWinner,
    /// The connection of the first winner breaks before the answer.
    CutOff,
    /// The first refused buyer is answered the first winner's order.
    CopyWinner,
    /// A repeated key is not recognised.
    ForgetKeys,
    /// Orders cannot be read.
    LoseOrders,
    /// The first refusal is a server error.
    ServerError,
}

#[derive(Debug)]
pub(crate) struct Liar {
    pub(crate) url: String,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Shared {
    service: String,
    lie: Lie,
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The body of the first 201, and the number of all.
    first: Option<Bytes>,
    won: usize,
    lied: bool,
    keys: HashSet<String>,
}

impl Liar {
    pub(crate) async fn before(service: &str, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            service: service.to_owned(),
            lie,
            client: test_support::http::client().unwrap(),
            seen: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(shared);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            _server: server,
        }
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX).await.unwrap();
    let path = head.uri.path_and_query().unwrap().to_string();
    let mut headers = head.headers;
    if head.method == Method::POST && path == "/orders" {
        return shared.order(headers, body).await;
    }
    if shared.lie == Lie::LoseOrders && path.starts_with("/orders/") {
        headers.remove("authorization");
    }
    let (status, headers, body) = shared.forward((head.method, &path), headers, body).await;
    (status, headers, body).into_response()
}

impl Shared {
    async fn order(&self, mut headers: HeaderMap, body: Bytes) -> Response {
        let is_repeated = self.is_repeated(&headers);
        if self.lie == Lie::ForgetKeys && is_repeated {
            headers.remove("idempotency-key");
        }
        if let Lie::KeepBack { after } = self.lie
            && !is_repeated
            && self.seen.lock().keys.len() > after
        {
            return sold_out();
        }
        let call = || self.forward((Method::POST, "/orders"), headers.clone(), body.clone());
        let (status, answered, received) = call().await;
        let first = self.note(status, &received);
        match (self.lie, status.as_u16()) {
            (Lie::OneTooMany, 409) if self.lies_now() => {
                let command: Value = serde_json::from_slice(&body).unwrap();
                self.restock(command["product_id"].as_str().unwrap()).await;
                let (status, headers, body) = call().await;
                (status, headers, body).into_response()
            }
            (Lie::DenyWinner, 201) if first => sold_out(),
            (Lie::CutOff, 201) if first => {
                let broken =
                    stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("cut"))]);
                Body::from_stream(broken).into_response()
            }
            (Lie::CopyWinner, 409) if self.lies_now() => {
                let copy = self.seen.lock().first.clone().unwrap();
                (StatusCode::CREATED, answered, copy).into_response()
            }
            (Lie::ServerError, 409) if self.lies_now() => {
                (StatusCode::INTERNAL_SERVER_ERROR, answered, received).into_response()
            }
            (_, _) => (status, answered, received).into_response(),
        }
    }

    /// Whether the key was sent before; remembers it.
    fn is_repeated(&self, headers: &HeaderMap) -> bool {
        let Some(key) = headers.get("idempotency-key") else {
            return false;
        };
        // Different users may use the same key.
        let user = headers["authorization"].to_str().unwrap();
        let key = format!("{user} {}", key.to_str().unwrap());
        !self.seen.lock().keys.insert(key)
    }

    /// Remembers a winner and returns whether it is the first.
    fn note(&self, status: StatusCode, received: &Bytes) -> bool {
        let mut seen = self.seen.lock();
        let is_first = status == 201 && seen.won == 0;
        if status == 201 {
            seen.won += 1;
            seen.first.get_or_insert_with(|| received.clone());
        }
        is_first
    }

    /// True for the first call only.
    fn lies_now(&self) -> bool {
        let mut seen = self.seen.lock();
        !std::mem::replace(&mut seen.lied, true)
    }

    async fn restock(&self, product: &str) {
        let url = format!("{}/products/{product}/restock", self.service);
        let call = self.client.post(url).bearer_auth(shop::admin());
        let answer = call.json(&json!({ "quantity": 1 })).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    async fn forward(
        &self,
        (method, path): (Method, &str),
        mut headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, HeaderMap, Bytes) {
        for own in ["host", "content-length"] {
            headers.remove(own);
        }
        let url = format!("{}{path}", self.service);
        let call = self.client.request(method, url).headers(headers).body(body);
        let answer = call.send().await.unwrap();
        let status = answer.status();
        let mut passed = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = answer.headers().get(name) {
                passed.insert(name, value.clone());
            }
        }
        (status, passed, answer.bytes().await.unwrap())
    }
}

fn sold_out() -> Response {
    let body = json!({ "code": "sold_out", "status": 409, "waitlist": false });
    (StatusCode::CONFLICT, axum::Json(body)).into_response()
}
