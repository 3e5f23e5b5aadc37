//! localstripe process of a test: a local payment gateway with Stripe's API.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use test_support::{free_port, http, process::Owned};

use super::{eventually, python, when};

const STARTS_WITHIN: Duration = Duration::from_secs(20);
const TRIES: usize = 5;
/// localstripe accepts any key of this form.
pub(crate) const KEY: &str = "sk_test_flash_sale";

/// localstripe's own command line would listen on every interface and, after each call, write its
/// whole state to one file of the machine.
const START: &str = "
import sys
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda store: None
web.run_app(server.app, host='127.0.0.1', port=int(sys.argv[1]), print=None, access_log=None)
";

#[derive(Debug)]
pub(crate) struct Localstripe {
    url: String,
    client: Client,
    process: Owned,
}

impl Localstripe {
    /// Tries another port if another process has taken the free one before the server binds it.
    pub(crate) async fn start() -> Self {
        for _ in 0..TRIES {
            let port = free_port().unwrap();
            let mut server = Self {
                url: format!("http://127.0.0.1:{port}"),
                client: http::client().unwrap(),
                process: Owned::new(python::serve("localstripe", START, port)),
            };
            if server.is_ready().await {
                return server;
            }
        }
        panic!("localstripe does not start");
    }

    async fn is_ready(&mut self) -> bool {
        eventually("localstripe answers", STARTS_WITHIN, async || {
            if self.process.exited().unwrap().is_some() {
                return Some(false);
            }
            let answer = self.client.get(&self.url).send().await;
            when(answer.is_ok()).map(|()| true)
        })
        .await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let call = self.client.get(format!("{}{path}", self.url));
        let answer = call.basic_auth(KEY, None::<&str>).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "GET {path}: {}",
            answer.status()
        );
        answer.json().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let call = self.client.post(format!("{}{path}", self.url)).json(body);
        let answer = call.basic_auth(KEY, None::<&str>).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "POST {path}: {}",
            answer.status()
        );
        answer.json().await.unwrap()
    }

    /// Registers a webhook.
    pub(crate) async fn send_events(&self, url: &str, secret: &str) {
        let path = format!("{}/_config/webhooks/test", self.url);
        let body = serde_json::json!({ "url": url, "secret": secret });
        let answer = self.client.post(path).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// All objects of a kind, page by page.
    pub(crate) async fn all(&self, kind: &str) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        loop {
            let after = found.last().map_or_else(String::new, |last| {
                format!("&starting_after={}", last["id"].as_str().unwrap())
            });
            let page = self.get(&format!("/v1/{kind}?limit=100{after}")).await;
            found.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                return found;
            }
        }
    }
}
