//! A slow payment gateway: the part of Stripe's `PaymentIntents` API that a run needs, and a ledger
//! of charges.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

/// Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    takes: Duration,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// Idempotency keys of former requests.
    keys: HashSet<String>,
    /// Charges per order.
    charges: HashMap<Uuid, u32>,
}

impl Gateway {
    pub(crate) async fn start(takes: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot open a payment gateway")?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            takes,
            ledger: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/payment_intents", post(charge))
            .with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Serves until the gateway is dropped.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self {
            url,
            shared,
            _serving: serving,
        })
    }

    /// Charges per order.
    pub(crate) fn charges(&self) -> HashMap<Uuid, u32> {
        self.shared.ledger.lock().charges.clone()
    }
}

/// Charges, then answers late; a request with the key of a former one gets the same answer.
async fn charge(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    form: String,
) -> Json<Value> {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok());
    let fields = fields(&form);
    let of = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let order = of("metadata[order_id]");
    if let Ok(order) = order.parse() {
        let mut ledger = shared.ledger.lock();
        if key.is_none_or(|key| ledger.keys.insert(key.to_owned())) {
            *ledger.charges.entry(order).or_default() += 1;
        }
    }
    tokio::time::sleep(shared.takes).await;
    Json(json!({
        "id": format!("pi_{}", order.replace('-', "")),
        "object": "payment_intent",
        "status": "succeeded",
        "amount": of("amount").parse::<i64>().unwrap_or_default(),
        "currency": of("currency"),
        "metadata": { "order_id": order },
    }))
}

/// The fields of a form, which is encoded like a URL's query.
fn fields(form: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://form/?{form}"));
    url.map(|url| url.query_pairs().into_owned().collect())
        .unwrap_or_default()
}
