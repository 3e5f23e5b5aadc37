//! The data of a scenario file: how many users want what, when, with which faults, and what
//! must hold afterwards.
//!
//! Files are read strictly: an unknown field, a wrong type and a value out of bounds are refused
//! with file, line and field (`scenario/file.rs`).

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Deserializer, de};

pub(crate) mod file;
pub(crate) mod size;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What a shop learns from it.
    pub(crate) question: String,
    /// Where `--list` and `all` have it; files without one come last.
    #[serde(default = "last")]
    pub(crate) place: u32,
    #[serde(deserialize_with = "within::<_, 1, 100_000>")]
    pub(crate) users: u32,
    /// Units of each product.
    #[serde(deserialize_with = "within::<_, 0, 1_000_000_000>")]
    pub(crate) stock: u32,
    /// Units per order.
    #[serde(default = "one", deserialize_with = "within::<_, 1, 1_000_000>")]
    pub(crate) quantity: u32,
    #[serde(default = "one", deserialize_with = "within::<_, 1, 200>")]
    pub(crate) products: u32,
    /// Service processes that the runner starts, unless `--nodes` is given.
    #[serde(default = "one", deserialize_with = "within::<_, 1, 9>")]
    pub(crate) nodes: u32,
    /// How often a user retries an answer that invites it.
    #[serde(default = "some_retries", deserialize_with = "within::<_, 0, 1_000>")]
    pub(crate) retries: u32,
    /// How long the payment gateway takes, which the runner plays then.
    #[serde(default, deserialize_with = "within::<_, 0, 60_000>")]
    pub(crate) gateway_ms: u32,
    #[serde(default)]
    pub(crate) product: Product,
    pub(crate) phase: Vec<Phase>,
    #[serde(default)]
    pub(crate) fault: Vec<PlannedFault>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// What the products have beside stock; buyers ask for the waitlist where there is one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Product {
    pub(crate) max_per_order: Option<u32>,
    pub(crate) max_per_user: Option<u32>,
    pub(crate) hold_seconds: Option<u32>,
    #[serde(default)]
    pub(crate) waitlist: bool,
}

/// A part of the load; phases follow each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    pub(crate) arrival: Arrival,
    /// Arrivals a second, for `arrival = "rate"`.
    #[serde(default, deserialize_with = "within::<_, 1, 100_000>")]
    pub(crate) rate: u32,
    /// How long, for `rate` and `back_to_back`.
    #[serde(default, deserialize_with = "within::<_, 1, 3_600>")]
    pub(crate) seconds: u32,
    /// Connections at most. Without it every user has one of their own, opened before the start
    /// where all come at once, so that the race is at the service and not at its door.
    #[serde(default, deserialize_with = "some_within::<_, 1, 20_000>")]
    pub(crate) connections: Option<u32>,
    /// What they ask for, in percent; purchases alone without it.
    #[serde(default)]
    pub(crate) mix: Mix,
    /// Every user wants one order of each product, instead of one in all.
    #[serde(default)]
    pub(crate) every_product: bool,
    /// Every arrival is the same user's.
    #[serde(default)]
    pub(crate) one_user: bool,
    /// Percent of the arrivals that are one single user's.
    #[serde(default, deserialize_with = "within::<_, 0, 100>")]
    pub(crate) greedy: u32,
    /// At a product of its own with enough for all users, only to compare times with: its orders
    /// are checked like all others, and counted in no figure.
    #[serde(default)]
    pub(crate) yardstick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arrival {
    /// Every user in the same instant.
    AllAtOnce,
    /// On a schedule that does not wait for answers.
    Rate,
    /// Each connection sends its next request as soon as the last one is answered.
    BackToBack,
    /// The catalogue of bad requests, one after another.
    BadRequests,
}

/// Percent of the requests that are of each kind.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mix {
    /// `POST /orders`
    pub(crate) buy: u32,
    /// `GET /products/{id}/availability`
    pub(crate) look: u32,
    /// `GET /products`
    pub(crate) browse: u32,
    /// `GET /products/{id}`
    pub(crate) detail: u32,
    /// `POST /products`
    pub(crate) create: u32,
    /// `GET /health/live`, behind which is nothing: how fast the runner itself is.
    pub(crate) live: u32,
}

/// Something that goes wrong on purpose, so many milliseconds after the load's begin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedFault {
    #[serde(deserialize_with = "within::<_, 0, 3_600_000>")]
    pub(crate) at_ms: u32,
    pub(crate) what: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    KillRedis,
    StartRedis,
    StopDatabase,
    StartDatabase,
    /// Stops the node that holds the lock for longer than the lock lives, then lets it go on.
    PauseHolder,
}

/// What must hold, beside the promises that always do.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of a file")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) sold: Sold,
    /// Codes that may refuse a buyer for good.
    pub(crate) refusals: Vec<String>,
    /// Whether `unavailable` and `outcome_unknown` may be answered, because of the fault.
    pub(crate) allow_unavailable: bool,
    /// From the sent request to its answer; the service's own `REQUEST_TIMEOUT_MS` and the way.
    #[serde(deserialize_with = "within::<_, 1, 600_000>")]
    pub(crate) time_limit_ms: u32,
    /// Half of the refusals come sooner than half of the yardstick's winners.
    pub(crate) refusals_faster: bool,
    /// The held orders are confirmed afterwards, where the service can.
    pub(crate) confirm: bool,
    /// No buyer pays: the holds end, and waiting buyers get the units.
    pub(crate) expire: bool,
    /// Every winner pays in the same second.
    pub(crate) pay_rush: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sold {
    /// As much as was wanted and there.
    Possible,
    /// Never too much; the load ends before the stock or the demand does.
    Any,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            buy: 100,
            look: 0,
            browse: 0,
            detail: 0,
            create: 0,
            live: 0,
        }
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            sold: Sold::Possible,
            refusals: ["sold_out", "insufficient_stock"].map(str::to_owned).into(),
            allow_unavailable: false,
            time_limit_ms: 6_000,
            refusals_faster: false,
            confirm: false,
            expire: false,
            pay_rush: false,
        }
    }
}

impl Scenario {
    /// How long the load lasts where a clock ends it; a crowd that comes at once takes no time.
    pub(crate) fn planned(&self) -> Duration {
        let seconds = self.phase.iter().map(|phase| u64::from(phase.seconds));
        Duration::from_secs(seconds.sum())
    }

    pub(crate) fn has(&self, kind: FaultKind) -> bool {
        self.fault.iter().any(|fault| fault.what == kind)
    }

    pub(crate) fn sells(&self) -> bool {
        self.phase.iter().any(|phase| phase.mix.buy > 0)
    }

    pub(crate) fn comes(&self, arrival: Arrival) -> bool {
        self.phase.iter().any(|phase| phase.arrival == arrival)
    }
}

impl Phase {
    /// Users who arrive in it, as a range that begins at `first`.
    pub(crate) fn arrivals(&self, first: u32, users: u32) -> Range<u32> {
        let count = match self.arrival {
            Arrival::AllAtOnce => users,
            Arrival::Rate => self.rate.saturating_mul(self.seconds),
            Arrival::BackToBack | Arrival::BadRequests => 0,
        };
        first..first.saturating_add(count)
    }
}

fn last() -> u32 {
    u32::MAX
}

fn one() -> u32 {
    1
}

/// With pauses of a second this is longer than any fault here lasts.
fn some_retries() -> u32 {
    8
}

fn within<'de, D: Deserializer<'de>, const LEAST: u32, const MOST: u32>(
    field: D,
) -> Result<u32, D::Error> {
    let value = i64::deserialize(field)?;
    match u32::try_from(value) {
        Ok(value) if (LEAST..=MOST).contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err(de::Error::custom(format!(
            "{value} is not from {LEAST} to {MOST}"
        ))),
    }
}

fn some_within<'de, D: Deserializer<'de>, const LEAST: u32, const MOST: u32>(
    field: D,
) -> Result<Option<u32>, D::Error> {
    within::<D, LEAST, MOST>(field).map(Some)
}
