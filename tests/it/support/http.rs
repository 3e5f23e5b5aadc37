//! HTTP calls and answers; `X-Request-Id`, required on every answer, is checked on arrival.

use reqwest::{
    Body, Error, RequestBuilder,
    header::{HeaderMap, HeaderValue},
};
use serde_json::Value;

#[derive(Debug)]
#[must_use = "a call does nothing until it is sent"]
pub(crate) struct Call(RequestBuilder);

impl Call {
    pub(crate) fn new(request: RequestBuilder) -> Self {
        Self(request)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self(
            self.0
                .header(name, HeaderValue::from_bytes(value.as_ref()).unwrap()),
        )
    }

    pub(crate) fn query(self, pairs: &[(&str, &str)]) -> Self {
        Self(self.0.query(pairs))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    /// A raw body with the content type of JSON.
    pub(crate) fn body(self, body: impl Into<Body>) -> Self {
        Self(self.0.header("content-type", "application/json").body(body))
    }

    /// A body without a content type.
    pub(crate) fn bare(self, body: impl Into<Body>) -> Self {
        Self(self.0.body(body))
    }

    pub(crate) async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// An error means that no answer arrived: the connection failed or broke.
    pub(crate) async fn try_send(self) -> Result<Answer, Error> {
        let response = self.0.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let answer = Answer {
            status,
            headers,
            body: response.bytes().await?.to_vec(),
        };
        assert!(
            answer
                .header("x-request-id")
                .is_some_and(|id| !id.is_empty()),
            "an answer without X-Request-Id: {answer:?}"
        );
        Ok(answer)
    }

    /// The response without its body, for streams.
    pub(crate) async fn stream(self) -> reqwest::Response {
        self.0.send().await.unwrap()
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `code` of a refusal, empty for anything else.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn success(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The body of a refusal, checked against RFC 9457 and the contract.
    #[track_caller]
    pub(crate) fn refusal(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, self.code().as_str()),
            (status, code),
            "{self:?}"
        );
        self.problem()
    }

    /// The body of any refusal: problem+json with all the members that the contract names.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        assert!((400..600).contains(&self.status), "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body = self.json();
        for member in ["type", "title", "detail", "code"] {
            assert!(
                body[member].as_str().is_some_and(|text| !text.is_empty()),
                "no {member}: {self:?}"
            );
        }
        assert_eq!(body["status"], self.status, "{self:?}");
        body
    }

    /// The refusal of a body or header whose named field is wrong.
    #[track_caller]
    pub(crate) fn invalid(&self, field: &str) {
        let body = self.refusal(422, "invalid_request");
        let named = body["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("no errors: {self:?}"));
        assert!(
            named.iter().any(|error| {
                error["field"]
                    .as_str()
                    .is_some_and(|name| name.eq_ignore_ascii_case(field))
                    && error["message"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty())
            }),
            "no error for {field}: {self:?}"
        );
    }

    /// Seconds after which to try again; the contract requires at least one.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> u64 {
        let seconds = self
            .header("retry-after")
            .and_then(|value| value.parse().ok());
        seconds
            .filter(|seconds| *seconds >= 1)
            .unwrap_or_else(|| panic!("Retry-After: {self:?}"))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(600).collect();
        write!(formatter, "{} {:?} {body}", self.status, self.headers)
    }
}
