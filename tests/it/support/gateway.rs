//! A payment gateway as Stripe describes itself: localstripe behind a proxy that remembers
//! idempotency keys, and that can be told to misbehave.
//!
//! What localstripe lacks is added here: the keys, the intent beside a decline, and confirming an
//! intent again with another method.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, watch},
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    http,
    localstripe::{KEY, Localstripe},
};

/// What becomes of the calls that come while it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It is done; the connection breaks instead of an answer.
    LoseAnswer,
    /// It is done; the answer waits until the fault is taken away.
    HoldAnswer,
    /// Nothing is done; the call waits until the fault is taken away, and then is.
    Hold,
    /// Nothing is done.
    Status(u16),
    /// It is done; the answer is 200 and no JSON.
    Garbage,
    /// It is done; the answer speaks of one minor unit less.
    WrongAmount,
    /// It is done; half of the answer arrives.
    Truncated,
    /// It is done; the answer has no end.
    Endless,
    /// Nobody listens: connections are refused.
    Down,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    port: u16,
    shared: Arc<Shared>,
    _listener: JoinSet<()>,
}

/// The first answer to a key, with the request that it answered.
type Remembered = Arc<AsyncMutex<Option<(String, Done)>>>;

#[derive(Clone, Debug)]
struct Done {
    status: u16,
    body: String,
}

#[derive(Debug)]
struct Shared {
    localstripe: Localstripe,
    client: Client,
    fault: watch::Sender<Fault>,
    keys: Mutex<HashMap<String, Remembered>>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            localstripe: Localstripe::start().await,
            client: http::client(),
            fault: watch::channel(Fault::None).0,
            keys: Mutex::default(),
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, port, Arc::clone(&shared)));
        Self {
            port,
            shared,
            _listener: serving,
        }
    }

    /// As `PAYMENT_URL` wants it.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As `PAYMENT_KEY` wants it.
    pub(crate) fn key() -> &'static str {
        KEY
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// A payment method for the card with this number.
    pub(crate) async fn card(&self, number: &str) -> String {
        let card = json!({ "number": number, "exp_month": 12, "exp_year": 2030, "cvc": "123" });
        let body = json!({ "type": "card", "card": card });
        let method = self.shared.localstripe.post("/v1/payment_methods", &body);
        method.await["id"].as_str().unwrap().to_owned()
    }

    /// The charges of this order that took money.
    pub(crate) async fn charges_of(&self, order: Uuid) -> Vec<Value> {
        self.of("charges", order)
            .await
            .into_iter()
            .filter(|charge| charge["paid"] == true)
            .collect()
    }

    pub(crate) async fn refunds_of(&self, order: Uuid) -> Vec<Value> {
        self.of("refunds", order).await
    }

    pub(crate) async fn intents_of(&self, order: Uuid) -> Vec<Value> {
        let mut intents = self.shared.localstripe.all("payment_intents").await;
        let order = order.to_string();
        intents.retain(|intent| intent["metadata"]["order_id"] == order.as_str());
        intents
    }

    /// What of this kind belongs to the order's intents.
    async fn of(&self, kind: &str, order: Uuid) -> Vec<Value> {
        let intents = self.intents_of(order).await;
        let mut found = self.shared.localstripe.all(kind).await;
        found.retain(|one| intents.iter().any(|i| i["id"] == one["payment_intent"]));
        found
    }
}

/// Listens, except while it is down; the port is its own all the time.
async fn serve(mut listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut fault = shared.fault.subscribe();
    loop {
        let router = Router::new()
            .fallback(any(answer))
            .with_state(Arc::clone(&shared));
        {
            let down = fault.wait_for(|fault| *fault == Fault::Down);
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                down = down => drop(down.unwrap()),
            }
        }
        drop(fault.wait_for(|fault| *fault != Fault::Down).await.unwrap());
        listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut fault = shared.fault.subscribe();
    let met = *fault.borrow_and_update();
    match met {
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            return (status, r#"{"error":{"type":"api_error"}}"#).into_response();
        }
        Fault::Hold => drop(fault.wait_for(|fault| *fault != Fault::Hold).await.unwrap()),
        Fault::Down => return broken(),
        _ => {}
    }
    // A client that went away does not undo what it asked for.
    let key = headers.get("Idempotency-Key").cloned();
    let call = Call {
        path: uri.path().to_owned(),
        authorization: headers.get("Authorization").cloned(),
        body: String::from_utf8(body.into()).unwrap(),
    };
    let mut doing = JoinSet::new();
    let shared_with = Arc::clone(&shared);
    doing.spawn(async move {
        let key = key.map(|key| key.to_str().unwrap().to_owned());
        shared_with.once(key, call).await
    });
    let done = doing.join_next().await.unwrap().unwrap();
    let status = StatusCode::from_u16(done.status).unwrap();
    match met {
        Fault::LoseAnswer => broken(),
        Fault::HoldAnswer => {
            let taken_away = fault.wait_for(|fault| *fault != Fault::HoldAnswer);
            drop(taken_away.await.unwrap());
            (status, done.body).into_response()
        }
        Fault::Garbage => (StatusCode::OK, "\u{0}<html>succeeded").into_response(),
        Fault::Truncated => {
            let half = done.body[..done.body.len() / 2].to_owned();
            let cut = [Ok(half), Err(std::io::Error::other("cut"))];
            axum::body::Body::from_stream(futures::stream::iter(cut)).into_response()
        }
        Fault::Endless => {
            let parts =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(" ".repeat(65_536)));
            axum::body::Body::from_stream(parts).into_response()
        }
        Fault::WrongAmount => {
            let mut body: Value = serde_json::from_str(&done.body).unwrap();
            body["amount"] = json!(body["amount"].as_i64().unwrap() - 1);
            (status, body.to_string()).into_response()
        }
        Fault::None | Fault::Hold | Fault::Status(_) | Fault::Down => {
            (status, done.body).into_response()
        }
    }
}

/// The connection ends without a head: a body that fails before its first byte.
fn broken() -> Response {
    let cut = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))]);
    axum::body::Body::from_stream(cut).into_response()
}

struct Call {
    path: String,
    authorization: Option<axum::http::HeaderValue>,
    body: String,
}

impl Shared {
    /// Stripe: the same key has the same answer, and another request under it is an error.
    async fn once(&self, key: Option<String>, call: Call) -> Done {
        let Some(key) = key else {
            return self.forward(&call).await;
        };
        let remembered = Arc::clone(self.keys.lock().unwrap().entry(key).or_default());
        let mut remembered = remembered.lock().await;
        let asked = format!("{} {}", call.path, call.body);
        match &*remembered {
            Some((request, done)) if *request == asked => return done.clone(),
            Some(_) => {
                return Done {
                    status: 400,
                    body: json!({ "error": { "type": "idempotency_error" } }).to_string(),
                };
            }
            None => {}
        }
        let done = self.forward(&call).await;
        // What was not let in was not begun, and only what was begun is remembered.
        if done.status != 401 {
            *remembered = Some((asked, done.clone()));
        }
        done
    }

    async fn forward(&self, call: &Call) -> Done {
        let intent = call
            .path
            .strip_prefix("/v1/payment_intents/")
            .and_then(|rest| rest.strip_suffix("/confirm"));
        match intent {
            Some(intent) => self.confirm(intent, call).await,
            None => self.send(call, call.body.clone()).await,
        }
    }

    /// localstripe takes a new method and a new charge as changes of the intent only.
    async fn confirm(&self, intent: &str, call: &Call) -> Done {
        let path = format!("/v1/payment_intents/{intent}");
        let before = self.localstripe.get(&path).await;
        if before["status"] != "requires_payment_method" {
            let error = json!({
                "type": "invalid_request_error", "code": "payment_intent_unexpected_state",
                "payment_intent": before,
            });
            return Done {
                status: 400,
                body: json!({ "error": error }).to_string(),
            };
        }
        let form: HashMap<String, String> = url_decoded(&call.body);
        let method = &form["payment_method"];
        let change = json!({ "latest_charge": null, "payment_method": method });
        self.localstripe.post(&path, &change).await;
        self.send(call, String::new()).await
    }

    async fn send(&self, call: &Call, body: String) -> Done {
        let mut request = self
            .client
            .post(format!("{}{}", self.localstripe.url(), call.path))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body);
        if let Some(authorization) = &call.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let mut body: Value = answer.json().await.unwrap();
        if let (402, Some(charge)) = (status, body["error"]["charge"].as_str()) {
            let charge = self.localstripe.get(&format!("/v1/charges/{charge}")).await;
            let intent = charge["payment_intent"].as_str().unwrap();
            let intent = self
                .localstripe
                .get(&format!("/v1/payment_intents/{intent}"));
            body["error"]["payment_intent"] = intent.await;
            body["error"]["type"] = json!("card_error");
        }
        Done {
            status,
            body: body.to_string(),
        }
    }
}

fn url_decoded(form: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("form:?{form}")).unwrap();
    url.query_pairs().into_owned().collect()
}
