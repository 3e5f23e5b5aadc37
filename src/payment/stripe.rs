//! Stripe `PaymentIntents` client over HTTP: create, confirm, refund.
//!
//! The first attempt creates and confirms the order's intent under the idempotency key
//! `{order id}`; later ones confirm the same intent with another method under
//! `{order id}-{attempt}`. An intent whose client secret a buyer has got can succeed without the
//! service; it is read and cancelled by its id. The client follows no redirect: the API key is for
//! one host.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header::RETRY_AFTER};
use tokio::time::timeout_at;

use self::{answer::StripeResponse, pace::Pace};
use super::{Cause, Charge, ChargeResult, Error, SendMode, SetupError};
use crate::{domain::Secret, http_client};

mod amount;
mod answer;
#[doc(hidden)]
pub mod fuzzing;
mod pace;
pub mod webhook;

/// A call that has not connected yet has moved no money.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Keeps a connection for the next burst of confirmations, not until the next sale.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS_MAX: usize = 64;
/// A complete intent has about 10 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub struct Stripe {
    base: Url,
    key: Secret,
    client: Client,
    pace: Pace,
}

impl Stripe {
    pub fn new(base: &str, key: &Secret) -> Result<Self, SetupError> {
        let base = Url::parse(base).map_err(|_| SetupError::Url)?;
        if base.cannot_be_a_base() {
            return Err(SetupError::Url);
        }
        let client = http_client::builder(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_nodelay(true)
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self {
            base,
            key: key.clone(),
            client,
            pace: Pace::default(),
        })
    }

    /// Whether the traffic is encrypted or stays on this machine.
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
        let Some(amount) = amount::to_stripe(charge.amount, charge.currency) else {
            return Err(match charge.mode {
                SendMode::First => Error::NotCharged(Cause::Amount),
                // A node of the version before sent every amount.
                SendMode::Retry => Error::Unknown(Cause::Amount),
            });
        };
        let deadline = Instant::now() + within;
        // In the units of Stripe, which the answer repeats.
        let sent = &Charge { amount, ..*charge };
        let request = match charge.intent {
            Some(intent) if charge.attempt > 1 => self.confirm(sent, intent),
            Some(_) | None => self.create(sent),
        };
        let charged = match self.send(request, within).await {
            Ok(response) => answer::charged(&response, sent),
            Err(cause) => Err(without_answer(cause, charge.mode)),
        };
        match charged {
            // A repeated call gets the first answer again; only the intent itself tells its end.
            Err(Error::Unknown(Cause::Processing { intent })) if charge.mode == SendMode::Retry => {
                let intent = Some(&*intent);
                let left = deadline.saturating_duration_since(Instant::now());
                self.state(&Charge { intent, ..*charge }, left).await
            }
            charged => charged,
        }
    }

    fn create(&self, charge: &Charge<'_>) -> RequestBuilder {
        let order = charge.order_id.to_string();
        // A declined attempt without an intent has ended, and its key cannot be used again.
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

    /// Reads the intent.
    pub(super) async fn state(
        &self,
        charge: &Charge<'_>,
        within: Duration,
    ) -> Result<ChargeResult, Error> {
        let intent = charge.intent.unwrap_or_default();
        let url = self.url(&["payment_intents", intent]);
        let request = self
            .client
            .get(url)
            .basic_auth(self.key.expose(), None::<&str>);
        let response = self.send(request, within).await.map_err(Error::Unknown)?;
        answer::state(&response, &in_stripe_units(charge)?, intent)
    }

    /// Cancels the intent. Without an idempotency key, under which Stripe would repeat an answer
    /// that is no longer true; an intent is cancelled only once anyway.
    pub(super) async fn cancel(
        &self,
        charge: &Charge<'_>,
        within: Duration,
    ) -> Result<ChargeResult, Error> {
        let intent = charge.intent.unwrap_or_default();
        let url = self.url(&["payment_intents", intent, "cancel"]);
        let request = self
            .client
            .post(url)
            .basic_auth(self.key.expose(), None::<&str>);
        let response = self.send(request, within).await.map_err(Error::Unknown)?;
        answer::state(&response, &in_stripe_units(charge)?, intent)
    }

    pub(super) async fn refund(
        &self,
        key: &str,
        payment_id: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let request = self
            .post(&["refunds"], key)
            .form(&[("payment_intent", payment_id)]);
        match self.send(request, within).await {
            Ok(response) => answer::refunded(&response, payment_id),
            // An earlier call may have requested the refund.
            Err(cause) => Err(Error::Unknown(cause)),
        }
    }

    async fn send(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<StripeResponse, Cause> {
        let deadline = Instant::now() + within;
        let response = async {
            let response = request.send().await.map_err(transport_error)?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                self.pace.refused(retry_after(&response), Instant::now());
            } else {
                self.pace.answered();
            }
            let body = body(response).await?;
            let status = status.as_u16();
            Ok(StripeResponse { status, body })
        };
        timeout_at(deadline.into(), response)
            .await
            .unwrap_or(Err(Cause::Timeout))
    }

    /// How long Stripe wants no repeated calls, because it has answered 429.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.pace.pause(Instant::now())
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    fn post(&self, path: &[&str], key: &str) -> RequestBuilder {
        self.client
            .post(self.url(path))
            .basic_auth(self.key.expose(), None::<&str>)
            .header("Idempotency-Key", key)
    }
}

/// The charge as Stripe's answers repeat it.
fn in_stripe_units<'a>(charge: &Charge<'a>) -> Result<Charge<'a>, Error> {
    let amount = amount::to_stripe(charge.amount, charge.currency);
    let amount = amount.ok_or(Error::Unknown(Cause::Amount))?;
    Ok(Charge { amount, ..*charge })
}

/// The error of an attempt that got no answer.
fn without_answer(cause: Cause, mode: SendMode) -> Error {
    match (cause, mode) {
        (cause @ Cause::Unreachable(_), SendMode::First) => Error::NotCharged(cause),
        (cause, SendMode::First | SendMode::Retry) => Error::Unknown(cause),
    }
}

/// `Retry-After` in seconds; a date is not understood.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
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

/// Removes the URL, because it contains the intent's id.
fn transport_error(error: reqwest::Error) -> Cause {
    let error = error.without_url();
    if error.is_connect() {
        // reqwest connects before it sends anything.
        Cause::Unreachable(error)
    } else if error.is_timeout() {
        Cause::Timeout
    } else {
        Cause::Broken(error)
    }
}
