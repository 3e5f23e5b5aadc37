//! Fake Stripe with fault injection: an HTTP server in front of localstripe.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinSet,
};
use uuid::Uuid;

use self::account::{Account, Call, Done};
use super::localstripe::KEY;

mod account;

/// Applies to the calls that arrive while it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The call is executed; the connection breaks instead of an answer.
    LoseAnswer,
    /// The call is executed; the answer waits until the fault is removed.
    HoldAnswer,
    /// The call waits while it is set and is executed afterwards.
    Hold,
    /// The call is not executed; the answer has this status.
    Status(u16),
    /// The call is executed; the answer is 200 and not JSON.
    Garbage,
    /// The call is executed; the amount in the answer is one minor unit less.
    WrongAmount,
    /// The call is executed; half of the answer arrives.
    Truncated,
    /// The call is executed; the answer has no end.
    Endless,
    /// The call is not executed; the answer is 429 with `Retry-After: 2`.
    Busy,
    /// The call is not executed; the answer is 400, again for each call with its key.
    Refuse,
    /// The call is executed; the answer, again for each call with its key, is that it is not done yet.
    Processing,
    /// Connections are refused.
    Down,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    port: u16,
    shared: Arc<Shared>,
    _listener: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    account: Account,
    fault: watch::Sender<Fault>,
    listens: watch::Sender<bool>,
    /// Calls under execution, also of clients that have disconnected.
    running: Mutex<JoinSet<()>>,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// When each call arrived.
    arrived: Vec<Instant>,
    unanswered: usize,
    most_unanswered: usize,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            account: Account::open().await,
            fault: watch::channel(Fault::None).0,
            listens: watch::channel(true).0,
            running: Mutex::default(),
            calls: Mutex::default(),
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, port, Arc::clone(&shared)));
        Self {
            port,
            shared,
            _listener: serving,
        }
    }

    /// The value of `PAYMENT_URL`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The value of `PAYMENT_KEY`.
    pub(crate) fn key() -> &'static str {
        KEY
    }

    /// After it returns, the fault applies to every new connection.
    pub(crate) async fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
        let mut listens = self.shared.listens.subscribe();
        let wanted = fault != Fault::Down;
        drop(
            listens
                .wait_for(|listens| *listens == wanted)
                .await
                .unwrap(),
        );
    }

    /// When each call has arrived.
    pub(crate) fn calls(&self) -> Vec<Instant> {
        self.shared.calls.lock().unwrap().arrived.clone()
    }

    /// The most calls that have waited for their answers at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.calls.lock().unwrap().most_unanswered
    }

    /// A payment method for the card with this number.
    pub(crate) async fn card(&self, number: &str) -> String {
        let card = json!({ "number": number, "exp_month": 12, "exp_year": 2030, "cvc": "123" });
        let body = json!({ "type": "card", "card": card });
        let method = self
            .shared
            .account
            .localstripe
            .post("/v1/payment_methods", &body);
        method.await["id"].as_str().unwrap().to_owned()
    }

    /// What the buyer does in the browser with the client secret of a confirmation's answer: passes
    /// the bank's authentication, or fails it.
    pub(crate) async fn authenticate(&self, order: &Value, success: bool) {
        let (id, secret) = (&order["payment"]["id"], &order["payment"]["client_secret"]);
        let path = format!("/v1/payment_intents/{}/_authenticate", id.as_str().unwrap());
        let body = json!({ "client_secret": secret, "success": success });
        self.shared.account.localstripe.post(&path, &body).await;
    }

    /// Sends the events of payments, signed with the secret, to the service at this URL.
    pub(crate) async fn send_events(&self, service: &str, secret: &str) {
        let url = format!("{service}/webhooks/stripe");
        let localstripe = &self.shared.account.localstripe;
        localstripe.send_events(&url, secret).await;
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
        let mut intents = self.shared.account.localstripe.all("payment_intents").await;
        let order = order.to_string();
        intents.retain(|intent| intent["metadata"]["order_id"] == order.as_str());
        intents
    }

    /// Objects of this kind that belong to the order's intents.
    async fn of(&self, kind: &str, order: Uuid) -> Vec<Value> {
        let intents = self.intents_of(order).await;
        let mut found = self.shared.account.localstripe.all(kind).await;
        found.retain(|one| intents.iter().any(|i| i["id"] == one["payment_intent"]));
        found
    }
}

/// Listens, except during `Fault::Down`, which also closes idle connections.
async fn serve(mut listener: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut fault = shared.fault.subscribe();
    loop {
        let router = Router::new()
            .fallback(any(answer))
            .with_state(Arc::clone(&shared));
        let mut down = shared.fault.subscribe();
        axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                drop(down.wait_for(|fault| *fault == Fault::Down).await);
            })
            .await
            .unwrap();
        shared.listens.send_replace(false);
        drop(fault.wait_for(|fault| *fault != Fault::Down).await.unwrap());
        listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        shared.listens.send_replace(true);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    target: (Method, Uri),
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.calls.lock().unwrap().arrive();
    let response = answer_by_fault(&shared, target, &headers, body).await;
    shared.calls.lock().unwrap().unanswered -= 1;
    response
}

impl Calls {
    fn arrive(&mut self) {
        self.arrived.push(Instant::now());
        self.unanswered += 1;
        self.most_unanswered = self.most_unanswered.max(self.unanswered);
    }
}

async fn answer_by_fault(
    shared: &Arc<Shared>,
    (method, uri): (Method, Uri),
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let mut fault = shared.fault.subscribe();
    let active = *fault.borrow_and_update();
    if let Fault::Status(status) = active {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, r#"{"error":{"type":"api_error"}}"#).into_response();
    }
    if active == Fault::Busy {
        let error = r#"{"error":{"type":"rate_limit_error"}}"#;
        return (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "2")], error).into_response();
    }
    if active == Fault::Down {
        return broken();
    }
    drop(fault.wait_for(|fault| *fault != Fault::Hold).await.unwrap());
    let key = headers.get("Idempotency-Key");
    let key = key.map(|key| key.to_str().unwrap().to_owned());
    let call = Call {
        method,
        path: uri.path().to_owned(),
        authorization: headers.get("Authorization").cloned(),
        body: String::from_utf8(body.into()).unwrap(),
    };
    if active == Fault::Refuse {
        let refusal = Done::refusal();
        shared.account.remember(key, call.target(), &refusal).await;
        return refusal.into_response();
    }
    let target = call.target();
    let mut done = Arc::clone(shared).execute_detached(key.clone(), call).await;
    if active == Fault::Processing {
        done.change(|body| body["status"] = json!("processing"));
        shared.account.remember(key, target, &done).await;
    }
    if active == Fault::HoldAnswer {
        let removed = fault.wait_for(|fault| *fault != Fault::HoldAnswer);
        drop(removed.await.unwrap());
    }
    sent(done, active)
}

/// The answer of an executed call, as this fault lets it arrive.
fn sent(mut done: Done, fault: Fault) -> Response {
    match fault {
        Fault::LoseAnswer => broken(),
        Fault::Garbage => (StatusCode::OK, "\u{0}<html>succeeded").into_response(),
        Fault::Truncated => {
            let half = done.body[..done.body.len() / 2].to_owned();
            let cut = [Ok(half), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures::stream::iter(cut)).into_response()
        }
        Fault::Endless => {
            let parts =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(" ".repeat(65_536)));
            Body::from_stream(parts).into_response()
        }
        Fault::WrongAmount => {
            done.change(|body| body["amount"] = json!(body["amount"].as_i64().unwrap() - 1));
            done.into_response()
        }
        Fault::None
        | Fault::Hold
        | Fault::HoldAnswer
        | Fault::Refuse
        | Fault::Processing
        | Fault::Status(_)
        | Fault::Busy
        | Fault::Down => done.into_response(),
    }
}

/// The connection breaks before the first byte of an answer's body.
fn broken() -> Response {
    let cut = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))]);
    Body::from_stream(cut).into_response()
}

impl Shared {
    /// Executes the call even if the client disconnects.
    async fn execute_detached(self: Arc<Self>, key: Option<String>, call: Call) -> Done {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self);
        self.running.lock().unwrap().spawn(async move {
            // An error means that the client has disconnected.
            drop(sender.send(shared.account.once(key, call).await));
        });
        receiver.await.unwrap()
    }
}
