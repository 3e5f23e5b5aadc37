//! Client of server-sent events (`text/event-stream`).

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

    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers()[name].to_str().unwrap()
    }

    /// The next frame as it was sent, also one without data.
    pub(crate) async fn frame(&mut self, within: Duration) -> String {
        timeout(within, self.read_frame())
            .await
            .expect("a frame in time")
            .expect("an open stream")
    }

    /// The data of the next `stock` event; comments and keep-alives are skipped.
    pub(crate) async fn next(&mut self, within: Duration) -> Value {
        timeout(within, self.read())
            .await
            .expect("an event in time")
    }

    /// Reads until an event has this stock, and returns it.
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

    /// Reads until an event is `wanted`, and returns it with all before it.
    pub(crate) async fn until(
        &mut self,
        wanted: impl Fn(&str, &Value) -> bool,
        within: Duration,
    ) -> Vec<(String, Value)> {
        let mut seen = Vec::new();
        let reading = async {
            loop {
                let (kind, data) = self.read_any().await.expect("an open stream");
                let found = wanted(&kind, &data);
                seen.push((kind, data));
                if found {
                    return;
                }
            }
        };
        let read = timeout(within, reading).await;
        assert!(read.is_ok(), "only {seen:?}");
        seen
    }

    /// Reads until the service ends the stream.
    pub(crate) async fn end(&mut self, within: Duration) {
        let reading = async { while self.read_any().await.is_some() {} };
        timeout(within, reading).await.expect("the stream ends");
    }

    async fn read(&mut self) -> Value {
        let (kind, data) = self.read_any().await.expect("an open stream");
        assert_eq!(kind, "stock", "{data}");
        data
    }

    /// The type and the data of the next event; `None` at the end.
    async fn read_any(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = event(&self.read_frame().await?) {
                return Some(event);
            }
        }
    }

    async fn read_frame(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(frame);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn event(frame: &str) -> Option<(String, Value)> {
    let field = |name: &str| {
        frame
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let data = field("data:")?;
    let kind = field("event:").unwrap_or_else(|| panic!("no type: {frame}"));
    Some((kind.to_owned(), serde_json::from_str(data).unwrap()))
}
