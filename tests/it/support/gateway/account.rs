//! Features of Stripe that localstripe lacks: idempotency keys, the intent in a decline and in the
//! refusal to cancel it, and another confirmation of an intent with a new method.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    http::{HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use crate::support::localstripe::Localstripe;

pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) body: String,
}

impl Call {
    /// What another call under the same key has to repeat.
    pub(super) fn target(&self) -> String {
        format!("{} {}", self.path, self.body)
    }
}

/// The first answer to a key, with the request that it answered.
type Remembered = Arc<AsyncMutex<Option<(String, Done)>>>;

#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Done {
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).unwrap();
        change(&mut body);
        self.body = body.to_string();
    }

    pub(super) fn refusal() -> Self {
        let error = json!({ "error": { "type": "invalid_request_error" } });
        Self {
            status: 400,
            body: error.to_string(),
        }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap();
        (status, self.body).into_response()
    }
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) localstripe: Localstripe,
    client: Client,
    keys: Mutex<HashMap<String, Remembered>>,
}

impl Account {
    pub(super) async fn open() -> Self {
        Self {
            localstripe: Localstripe::start().await,
            client: test_support::http::client().unwrap(),
            keys: Mutex::default(),
        }
    }

    /// Stripe: the same key has the same answer, and another request under it is an error.
    pub(super) async fn once(&self, key: Option<String>, call: Call) -> Done {
        let Some(key) = key else {
            return self.forward(&call).await;
        };
        let remembered = Arc::clone(self.keys.lock().unwrap().entry(key).or_default());
        let mut remembered = remembered.lock().await;
        let request = call.target();
        match &*remembered {
            Some((first, done)) if *first == request => return done.clone(),
            Some(_) => {
                return Done {
                    status: 400,
                    body: json!({ "error": { "type": "idempotency_error" } }).to_string(),
                };
            }
            None => {}
        }
        let done = self.forward(&call).await;
        // An unauthorized call was not executed, and only executed calls are remembered.
        if done.status != 401 {
            *remembered = Some((request, done.clone()));
        }
        done
    }

    /// The answer to all later calls like this one.
    pub(super) async fn remember(&self, key: Option<String>, request: String, done: &Done) {
        let key = key.unwrap();
        let remembered = Arc::clone(self.keys.lock().unwrap().entry(key).or_default());
        *remembered.lock().await = Some((request, done.clone()));
    }

    async fn forward(&self, call: &Call) -> Done {
        let intent = call.path.strip_prefix("/v1/payment_intents/");
        match intent.and_then(|rest| rest.split_once('/')) {
            Some((intent, "confirm")) => self.confirm(intent, call).await,
            Some((intent, "cancel")) => self.cancel(intent, call).await,
            Some(_) | None => self.send(call, call.body.clone()).await,
        }
    }

    async fn cancel(&self, intent: &str, call: &Call) -> Done {
        let path = format!("/v1/payment_intents/{intent}");
        let before = self.localstripe.get(&path).await;
        if ["succeeded", "canceled"].contains(&before["status"].as_str().unwrap()) {
            return unexpected_state(&before);
        }
        self.send(call, String::new()).await
    }

    /// localstripe accepts a new method and a new charge only as changes of the intent.
    async fn confirm(&self, intent: &str, call: &Call) -> Done {
        let path = format!("/v1/payment_intents/{intent}");
        let before = self.localstripe.get(&path).await;
        let status = before["status"].as_str().unwrap();
        if !["requires_payment_method", "requires_action"].contains(&status) {
            return unexpected_state(&before);
        }
        let form: HashMap<String, String> = url_decoded(&call.body);
        let method = &form["payment_method"];
        let change = json!({
            "latest_charge": null, "next_action": null, "payment_method": method,
        });
        self.localstripe.post(&path, &change).await;
        self.send(call, String::new()).await
    }

    async fn send(&self, call: &Call, body: String) -> Done {
        let mut request = self
            .client
            .request(
                call.method.clone(),
                format!("{}{}", self.localstripe.url(), call.path),
            )
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
            let path = format!("/v1/payment_intents/{intent}");
            body["error"]["payment_intent"] = self.localstripe.get(&path).await;
            body["error"]["type"] = json!("card_error");
        }
        Done {
            status,
            body: body.to_string(),
        }
    }
}

fn unexpected_state(intent: &Value) -> Done {
    let error = json!({
        "type": "invalid_request_error", "code": "payment_intent_unexpected_state",
        "payment_intent": intent,
    });
    Done {
        status: 400,
        body: json!({ "error": error }).to_string(),
    }
}

fn url_decoded(form: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("form:?{form}")).unwrap();
    url.query_pairs().into_owned().collect()
}
