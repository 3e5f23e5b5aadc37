//! Samples: each request of a run with its answer. Every figure and every check is made from them.

use std::time::{Duration, Instant};

use flash_sale::domain::Code;
use parking_lot::Mutex;
use serde::Deserialize;
use strum::IntoStaticStr;
use uuid::Uuid;

use crate::{
    client::{NoResponse, Response},
    report::codes::AnswerCode,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
    /// Index of the node that it was sent to.
    pub(crate) node: usize,
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
    pub(crate) code: AnswerCode,
    /// The order of a 201.
    pub(crate) order: Option<Uuid>,
    /// Whether that order has another user, product or quantity than the request.
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
    /// What else is wrong: a missing header, or the media type.
    pub(crate) flaw: Option<&'static str>,
}

/// User, product and quantity that the order of a purchase must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedOrder<'a> {
    pub(crate) user: &'a str,
    pub(crate) product: Uuid,
    pub(crate) quantity: u32,
}

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
        response: Result<&Response, &NoResponse>,
        expected: Option<ExpectedOrder<'_>>,
    ) -> Self {
        let Ok(response) = response else {
            return Self::default();
        };
        let mut answer = Self {
            status: response.status,
            ..Self::default()
        };
        match (response.status, expected) {
            (201, Some(expected)) => answer.read_order(response, expected),
            (202, Some(_)) => {
                answer.code = AnswerCode::Waitlisted;
                let entry = serde_json::from_slice::<Waiting>(&response.body).ok();
                answer.position = entry.map(|waiting| waiting.waitlist.position);
            }
            (200..=299, _) => answer.code = AnswerCode::Ok,
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
        self.code = if replayed {
            AnswerCode::Replayed
        } else {
            AnswerCode::Created
        };
        // A body that is not an order counts as another buyer's order.
        self.foreign = true;
        if let Ok(order) = serde_json::from_slice::<Order<'_>>(&response.body) {
            self.order = Some(order.id);
            self.foreign = order.product_id != expected.product
                || order.user_id != expected.user
                || order.quantity != expected.quantity;
        }
    }

    /// Whether a well-behaved client would retry, with the same key.
    pub(crate) fn invites_retry(&self) -> bool {
        matches!(
            self.code,
            AnswerCode::NoAnswer
                | AnswerCode::Refused(
                    Code::HighDemand
                        | Code::Unavailable
                        | Code::OutcomeUnknown
                        | Code::RequestTimeout
                )
        )
    }

    pub(crate) fn won(&self) -> bool {
        self.status == 201
    }
}

/// The `code` of a problem document.
pub(crate) fn code(body: &[u8]) -> AnswerCode {
    let problem = serde_json::from_slice::<Problem<'_>>(body).ok();
    let code = problem.and_then(|problem| problem.code.parse().ok());
    code.map_or(AnswerCode::UnknownCode, AnswerCode::Refused)
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
        self.samples.lock().push(sample);
    }

    /// Samples from this index on, for the live view.
    pub(crate) fn since(&self, number: usize) -> Vec<Sample> {
        let samples = self.samples.lock();
        samples.get(number..).unwrap_or_default().to_vec()
    }

    /// Orders that were won since then.
    pub(crate) fn won_since(&self, since: Duration) -> usize {
        let samples = self.samples.lock();
        // Roughly in the order of their answers.
        let latest = samples
            .iter()
            .rev()
            .take_while(|sample| sample.answered >= since);
        latest
            .filter(|sample| sample.answer.won() && sample.sent >= since)
            .count()
    }

    pub(crate) fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_service_is_read() {
        for expected in Code::all() {
            let body = format!(
                "{{\"code\":\"{expected}\",\"status\":{}}}",
                expected.status()
            );
            assert_eq!(code(body.as_bytes()), AnswerCode::Refused(expected));
        }
        for body in ["{\"code\":\"slow_body\"}", "{}", "no JSON"] {
            assert_eq!(code(body.as_bytes()), AnswerCode::UnknownCode);
        }
    }
}
