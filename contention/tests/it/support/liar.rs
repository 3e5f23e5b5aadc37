//! A proxy before a real service that breaks one promise on purpose.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use futures::stream;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::shop;

const BODY_MAX: usize = 1024 * 1024;
/// What a service may answer, as far as the lies need it.
const PASSED_ON: [&str; 4] = [
    "content-type",
    "idempotency-replayed",
    "retry-after",
    "x-request-id",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// The first who is refused gets a unit that was never offered.
    OneTooMany,
    /// Once so many orders were sold every buyer is answered that nothing is left.
    KeepBack {
        after: usize,
    },
    /// The first winner is answered that nothing is left.
    TellNo,
    /// The connection of the first winner breaks before the answer.
    CutOff,
    /// The first who is refused is shown the first winner's order.
    CopyWinner,
    /// A key that comes again is not recognised.
    ForgetKeys,
    /// Orders cannot be read.
    LoseOrders,
    /// The first refusal is a server error.
    Stumble,
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
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    /// The body of the first 201, and how many there were.
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
            told: Arc::default(),
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
        let came_before = self.came_before(&headers);
        if self.lie == Lie::ForgetKeys && came_before {
            headers.remove("idempotency-key");
        }
        if let Lie::KeepBack { after } = self.lie
            && !came_before
            && self.told.lock().unwrap().keys.len() > after
        {
            return sold_out();
        }
        let call = || self.forward((Method::POST, "/orders"), headers.clone(), body.clone());
        let (status, answered, said) = call().await;
        let first = self.note(status, &said);
        match (self.lie, status.as_u16()) {
            (Lie::OneTooMany, 409) if self.lies_now() => {
                let command: Value = serde_json::from_slice(&body).unwrap();
                self.restock(command["product_id"].as_str().unwrap()).await;
                let (status, headers, body) = call().await;
                (status, headers, body).into_response()
            }
            (Lie::TellNo, 201) if first => sold_out(),
            (Lie::CutOff, 201) if first => {
                let broken =
                    stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("cut"))]);
                Body::from_stream(broken).into_response()
            }
            (Lie::CopyWinner, 409) if self.lies_now() => {
                let copy = self.told.lock().unwrap().first.clone().unwrap();
                (StatusCode::CREATED, answered, copy).into_response()
            }
            (Lie::Stumble, 409) if self.lies_now() => {
                (StatusCode::INTERNAL_SERVER_ERROR, answered, said).into_response()
            }
            (_, _) => (status, answered, said).into_response(),
        }
    }

    /// Whether this key was seen already; it is from now on.
    fn came_before(&self, headers: &HeaderMap) -> bool {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        !self.told.lock().unwrap().keys.insert(key)
    }

    /// Remembers a winner, and returns whether it is the first.
    fn note(&self, status: StatusCode, said: &Bytes) -> bool {
        let mut told = self.told.lock().unwrap();
        let is_first = status == 201 && told.won == 0;
        if status == 201 {
            told.won += 1;
            told.first.get_or_insert_with(|| said.clone());
        }
        is_first
    }

    /// True once.
    fn lies_now(&self) -> bool {
        let mut told = self.told.lock().unwrap();
        !std::mem::replace(&mut told.lied, true)
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
