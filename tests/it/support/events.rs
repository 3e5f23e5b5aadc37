//! A reader of `text/event-stream`.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use super::http::Call;

#[derive(Debug)]
pub(crate) struct Events {
    response: Response,
    buffer: String,
}

impl Events {
    pub(crate) async fn open(call: Call) -> Self {
        let response = call.stream().await;
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        assert!(response.headers().contains_key("x-request-id"));
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The data of the next `stock` event; comments and keep-alives are passed over.
    pub(crate) async fn next(&mut self, within: Duration) -> Value {
        timeout(within, self.read())
            .await
            .expect("an event in time")
    }

    /// Reads on until an event says this stock, and returns it.
    pub(crate) async fn until_stock(&mut self, stock: i64, within: Duration) -> Value {
        let wanted = async {
            loop {
                let data = self.read().await;
                if data["stock"] == stock {
                    return data;
                }
            }
        };
        timeout(within, wanted)
            .await
            .unwrap_or_else(|_| panic!("no event of stock {stock}"))
    }

    async fn read(&mut self) -> Value {
        loop {
            while let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.buffer = rest;
                if let Some(data) = stock_event(&frame) {
                    return data;
                }
            }
            let chunk = self
                .response
                .chunk()
                .await
                .unwrap()
                .expect("the stream goes on");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn stock_event(frame: &str) -> Option<Value> {
    let field = |name: &str| {
        frame
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let data = field("data:")?;
    assert_eq!(field("event:"), Some("stock"), "{frame}");
    Some(serde_json::from_str(data).unwrap())
}
