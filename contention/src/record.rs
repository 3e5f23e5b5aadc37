//! The samples of a run: each request with its answer; every figure and check is made from them.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;
use uuid::Uuid;

use crate::client::{Response, Silence};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Buy,
    Look,
    Browse,
    Detail,
    Create,
    Live,
    /// One of the catalogue of bad requests.
    Bad,
}

/// A request that a user is to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) user: u32,
    /// Index among the products of the run.
    pub(crate) product: usize,
    pub(crate) kind: RequestKind,
    /// Unique in the run; a purchase makes its idempotency key from it.
    pub(crate) number: u32,
}

/// A request and its answer. Times count from the load's begin.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) planned: Planned,
    /// 0 for the first try.
    pub(crate) attempt: u32,
    /// When it should have been sent; latency counts from here.
    pub(crate) intended: Duration,
    pub(crate) sent: Duration,
    pub(crate) answered: Duration,
    pub(crate) answer: Answer,
}

impl Sample {
    pub(crate) fn latency(&self) -> Duration {
        self.answered.saturating_sub(self.intended)
    }

    /// What the service needed, whatever the runner did before.
    pub(crate) fn service_time(&self) -> Duration {
        self.answered.saturating_sub(self.sent)
    }

    pub(crate) fn is_buy(&self) -> bool {
        self.planned.kind == RequestKind::Buy
    }
}

/// The part of an answer that figures and checks need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0 where no answer came.
    pub(crate) status: u16,
    /// `created`, `replayed`, `waitlisted`, `ok`, a refusal's code, or `no_answer`.
    pub(crate) code: &'static str,
    /// The order of a 201.
    pub(crate) order: Option<Uuid>,
    /// Whether that order names another user, product or quantity than was asked for.
    pub(crate) foreign: bool,
    /// The place on the waitlist of a 202.
    pub(crate) position: Option<u32>,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
}

/// One request of the catalogue of bad requests, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRequestResult {
    pub(crate) case: &'static str,
    pub(crate) expected: (u16, &'static str),
    pub(crate) got: (u16, String),
    /// What else is missing: a header, the media type of problems.
    pub(crate) flaw: Option<&'static str>,
}

/// What the order of a purchase must name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedOrder<'a> {
    pub(crate) user: &'a str,
    pub(crate) product: Uuid,
    pub(crate) quantity: u32,
}

/// Every code of the contract; one that is not here is `unknown_code`.
const CODES: [&str; 27] = [
    "payload_too_large",
    "unsupported_media_type",
    "unauthenticated",
    "malformed_json",
    "invalid_request",
    "rate_limited",
    "product_not_found",
    "not_on_sale",
    "idempotency_key_reused",
    "purchase_limit",
    "sold_out",
    "insufficient_stock",
    "high_demand",
    "unavailable",
    "outcome_unknown",
    "order_not_found",
    "order_not_pending",
    "payment_declined",
    "forbidden",
    "not_waiting",
    "internal",
    "not_found",
    "method_not_allowed",
    "sku_taken",
    "request_timeout",
    "idempotency_key_in_use",
    "payment_failed",
];

#[derive(Deserialize)]
struct Order<'a> {
    id: Uuid,
    product_id: Uuid,
    #[serde(borrow)]
    user_id: std::borrow::Cow<'a, str>,
    quantity: u32,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    code: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Waiting {
    waitlist: WaitlistPlace,
}

#[derive(Deserialize)]
struct WaitlistPlace {
    position: u32,
}

impl Answer {
    /// Reads an answer; `expected` is given for purchases.
    pub(crate) fn read(
        response: Result<&Response, &Silence>,
        expected: Option<ExpectedOrder<'_>>,
    ) -> Self {
        let Ok(response) = response else {
            return Self {
                code: "no_answer",
                ..Self::default()
            };
        };
        let mut answer = Self {
            status: response.status,
            ..Self::default()
        };
        match (response.status, expected) {
            (201, Some(expected)) => answer.read_order(response, expected),
            (202, Some(_)) => {
                answer.code = "waitlisted";
                let entry = serde_json::from_slice::<Waiting>(&response.body).ok();
                answer.position = entry.map(|waiting| waiting.waitlist.position);
            }
            (200..=299, _) => answer.code = "ok",
            (_, _) => {
                answer.code = code(&response.body);
                let seconds = response.header("retry-after");
                answer.retry_after = seconds.and_then(|text| text.parse().ok());
            }
        }
        answer
    }

    fn read_order(&mut self, response: &Response, expected: ExpectedOrder<'_>) {
        let replayed = response.header("idempotency-replayed") == Some("true");
        self.code = if replayed { "replayed" } else { "created" };
        // An order that cannot be read names no buyer.
        self.foreign = true;
        if let Ok(order) = serde_json::from_slice::<Order<'_>>(&response.body) {
            self.order = Some(order.id);
            self.foreign = order.product_id != expected.product
                || order.user_id != expected.user
                || order.quantity != expected.quantity;
        }
    }

    /// Whether a well-behaved client would ask again, with the same key.
    pub(crate) fn invites_retry(&self) -> bool {
        matches!(
            self.code,
            "high_demand" | "unavailable" | "outcome_unknown" | "no_answer" | "request_timeout"
        )
    }

    pub(crate) fn won(&self) -> bool {
        self.status == 201
    }
}

/// The `code` of a problem document.
pub(crate) fn code(body: &[u8]) -> &'static str {
    let problem = serde_json::from_slice::<Problem<'_>>(body);
    let known = problem.ok().and_then(|problem| {
        let mut codes = CODES.iter();
        codes.find(|code| **code == problem.code).copied()
    });
    known.unwrap_or("unknown_code")
}

/// Collects samples from every task of a run.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) began: Instant,
    samples: Mutex<Vec<Sample>>,
}

impl Recorder {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            samples: Mutex::default(),
        }
    }

    pub(crate) fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.began)
    }

    pub(crate) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    pub(crate) fn push(&self, sample: Sample) {
        self.samples().push(sample);
    }

    /// Samples from this number on, for who watches the run.
    pub(crate) fn since(&self, number: usize) -> Vec<Sample> {
        self.samples().get(number..).unwrap_or_default().to_vec()
    }

    /// Orders that were won since then.
    pub(crate) fn won_since(&self, since: Duration) -> usize {
        let samples = self.samples();
        // They are in the order of their answers, more or less.
        let latest = samples
            .iter()
            .rev()
            .take_while(|sample| sample.answered >= since);
        latest
            .filter(|sample| sample.answer.won() && sample.sent >= since)
            .count()
    }

    pub(crate) fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples())
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
