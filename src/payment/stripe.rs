//! Stripe's `PaymentIntents` over HTTP.
//!
//! The first attempt creates and confirms the order's intent under the idempotency key
//! `{order id}`; later ones confirm the same intent with another method under
//! `{order id}-{attempt}`. No redirect is followed: a key is for one host.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, Url, redirect::Policy};
use tokio::time::{Instant, timeout_at};

use self::answer::StripeResponse;
use super::{Cause, Charge, ChargeResult, Error, SendMode, SetupError};
use crate::domain::{OrderId, Secret};

mod answer;

/// The connection is the part of a call that surely moves no money.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An idle connection is kept for the next wave of confirmations, not for the day after.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS_MAX: usize = 64;
/// An intent with everything in it is some 10 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub struct Stripe {
    base: Url,
    key: Secret,
    client: Client,
}

impl Stripe {
    pub fn new(base: &str, key: &Secret) -> Result<Self, SetupError> {
        let base = Url::parse(base).map_err(|_| SetupError::Url)?;
        if base.cannot_be_a_base() {
            return Err(SetupError::Url);
        }
        // No proxy: it would be found in the environment, which only the settings are read from.
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_nodelay(true)
            .user_agent(concat!("flash-sale/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self {
            base,
            key: key.clone(),
            client,
        })
    }

    /// Whether nobody on the way can read along.
    pub(super) fn is_private(&self) -> bool {
        self.base.scheme() == "https"
            || self
                .base
                .host_str()
                .is_some_and(|host| matches!(host, "127.0.0.1" | "[::1]" | "localhost"))
    }

    pub(super) async fn charge(
        &self,
        charge: &Charge<'_>,
        within: Duration,
    ) -> Result<ChargeResult, Error> {
        let question = match charge.intent {
            Some(intent) if charge.attempt > 1 => self.confirm(charge, intent),
            Some(_) | None => self.create(charge),
        };
        match send(question, within).await {
            Ok(answer) => answer::charged(&answer, charge),
            Err(why) => Err(without_answer(why, charge.mode)),
        }
    }

    fn create(&self, charge: &Charge<'_>) -> RequestBuilder {
        let order = charge.order_id.to_string();
        // A declined attempt that named no intent is over, and its key is used up.
        let key = match charge.attempt {
            ..=1 => order.clone(),
            attempt => format!("{order}-{attempt}"),
        };
        self.post(&["payment_intents"], &key).form(&[
            ("amount", charge.amount.to_string().as_str()),
            ("currency", &charge.currency.to_ascii_lowercase()),
            ("payment_method", charge.payment_method),
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
            ("metadata[order_id]", &order),
        ])
    }

    fn confirm(&self, charge: &Charge<'_>, intent: &str) -> RequestBuilder {
        let key = format!("{}-{}", charge.order_id, charge.attempt);
        self.post(&["payment_intents", intent, "confirm"], &key)
            .form(&[("payment_method", charge.payment_method)])
    }

    pub(super) async fn refund(
        &self,
        order_id: OrderId,
        payment_id: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let question = self
            .post(&["refunds"], &format!("refund-{order_id}"))
            .form(&[("payment_intent", payment_id)]);
        match send(question, within).await {
            Ok(answer) => answer::refunded(&answer, payment_id),
            // A refund may always have been asked for before.
            Err(why) => Err(Error::Unknown(why)),
        }
    }

    fn post(&self, path: &[&str], key: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        self.client
            .post(url)
            .basic_auth(self.key.expose(), None::<&str>)
            .header("Idempotency-Key", key)
    }
}

/// What no answer at all means for the attempt.
fn without_answer(why: Cause, mode: SendMode) -> Error {
    match (why, mode) {
        (why @ Cause::Unreachable(_), SendMode::First) => Error::NotCharged(why),
        (why, SendMode::First | SendMode::Retry) => Error::Unknown(why),
    }
}

async fn send(question: RequestBuilder, within: Duration) -> Result<StripeResponse, Cause> {
    let deadline = Instant::now() + within;
    let answer = async {
        let response = question.send().await.map_err(transport_error)?;
        let status = response.status().as_u16();
        let body = body(response).await?;
        Ok(StripeResponse { status, body })
    };
    timeout_at(deadline, answer)
        .await
        .unwrap_or(Err(Cause::Timeout))
}

async fn body(mut response: Response) -> Result<Vec<u8>, Cause> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(transport_error)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Cause::Malformed("a body over 1 MiB"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// The URL is left out: it names the intent.
fn transport_error(error: reqwest::Error) -> Cause {
    let error = error.without_url();
    if error.is_connect() {
        // The request waits for its connection, so nothing of it was sent.
        Cause::Unreachable(error)
    } else if error.is_timeout() {
        Cause::Timeout
    } else {
        Cause::Broken(error)
    }
}
