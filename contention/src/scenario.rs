//! The data of a scenario file: users, load phases, faults, and what must hold afterwards.
//!
//! Files are read strictly: an unknown field, a wrong type and a value out of bounds are refused
//! with file, line and field (`scenario/file.rs`).

use std::{ops::Range, time::Duration};

use flash_sale::domain::Code;
use serde::{Deserialize, Deserializer, de};

pub(crate) mod file;
pub(crate) mod size;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What a shop owner learns from it.
    pub(crate) question: String,
    /// Its position in `--list` and `all`; files without one come last.
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
    /// How often a user retries after an answer that invites a retry.
    #[serde(default = "some_retries", deserialize_with = "within::<_, 0, 1_000>")]
    pub(crate) retries: u32,
    /// How long the runner's own payment gateway takes; `0` uses the simulated one.
    #[serde(default, deserialize_with = "within::<_, 0, 60_000>")]
    pub(crate) gateway_ms: u32,
    /// `CONNECTIONS_MAX` of each process that the runner starts; the service's default without it.
    #[serde(default, deserialize_with = "some_within::<_, 1, 20_000>")]
    pub(crate) connections_max: Option<u32>,
    #[serde(default)]
    pub(crate) product: Product,
    pub(crate) phase: Vec<Phase>,
    #[serde(default)]
    pub(crate) fault: Vec<PlannedFault>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// Settings of the products; buyers opt in to the waitlist where there is one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Product {
    pub(crate) max_per_order: Option<u32>,
    pub(crate) max_per_user: Option<u32>,
    pub(crate) hold_seconds: Option<u32>,
    #[serde(default)]
    pub(crate) waitlist: bool,
    /// Entries of other buyers that the runner writes into the database before the load, for each
    /// product.
    #[serde(default, deserialize_with = "within::<_, 0, 10_000_000>")]
    pub(crate) waiting: u32,
}

/// A part of the load; phases run one after another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    pub(crate) arrival: Arrival,
    /// Arrivals a second, for `arrival = "rate"`.
    #[serde(default, deserialize_with = "within::<_, 1, 100_000>")]
    pub(crate) rate: u32,
    /// Length, for `rate` and `back_to_back`.
    #[serde(default, deserialize_with = "within::<_, 1, 3_600>")]
    pub(crate) seconds: u32,
    /// Connections at most. Without it every user has a connection, which `all_at_once` opens
    /// before the start, so that buyers compete for stock and not for connections.
    #[serde(default, deserialize_with = "some_within::<_, 1, 20_000>")]
    pub(crate) connections: Option<u32>,
    /// Kinds of requests in percent; only purchases by default.
    #[serde(default)]
    pub(crate) mix: Mix,
    /// Every user sends one order for each product, instead of one in total.
    #[serde(default)]
    pub(crate) every_product: bool,
    /// All arrivals are of the same user.
    #[serde(default)]
    pub(crate) one_user: bool,
    /// Percent of the arrivals that are of one additional user.
    #[serde(default, deserialize_with = "within::<_, 0, 100>")]
    pub(crate) greedy: u32,
    /// Buys a separate product with enough stock for all users, for comparing latencies. Its orders
    /// are checked like all others, but no figure counts them.
    #[serde(default)]
    pub(crate) yardstick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arrival {
    /// Every user at the same time.
    AllAtOnce,
    /// On a schedule that does not wait for answers.
    Rate,
    /// Each connection sends its next request when the last one is answered.
    BackToBack,
    /// The catalogue of bad requests, one after another.
    BadRequests,
}

/// Percent of the requests of each kind.
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
    /// `GET /health/live`, which does no work: measures the runner itself.
    pub(crate) live: u32,
}

/// A fault to inject, in milliseconds after the start of the load.
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
    /// The lock nodes answer, and refuse every lock, as replicas do.
    RefuseLocks,
    TakeLocks,
    StopDatabase,
    StartDatabase,
    /// The database answers, and refuses every write, as after a fail-over.
    RefuseWrites,
    TakeWrites,
    /// Pauses the node that holds the lock for longer than the lock's TTL, then resumes it.
    PauseHolder,
    /// Opens twice `connections_max` event streams and keeps them open for three seconds.
    FloodStreams,
}

/// What must hold in addition to the promises that always hold.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of a file")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) sold: Sold,
    /// Codes that may refuse a buyer after the last retry.
    #[serde(deserialize_with = "refusals")]
    pub(crate) refusals: Vec<Code>,
    /// Whether the fault allows `unavailable` and `outcome_unknown`.
    pub(crate) allow_unavailable: bool,
    /// From the sent request to its answer: the service's `REQUEST_TIMEOUT_MS` and transmission.
    #[serde(deserialize_with = "within::<_, 1, 600_000>")]
    pub(crate) time_limit_ms: u32,
    /// The median refusal is faster than the median order of the yardstick phase.
    pub(crate) refusals_faster: bool,
    /// Held orders are confirmed afterwards.
    pub(crate) confirm: bool,
    /// No buyer pays: the holds expire, and waiting buyers get the units.
    pub(crate) expire: bool,
    /// All winners pay at the same time.
    pub(crate) pay_rush: bool,
    /// All winners pay at the first node, which is paused until another node has ended the payments.
    pub(crate) take_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sold {
    /// The smaller of demand and stock.
    Possible,
    /// Never more than the stock; the load ends before stock or demand does.
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
            refusals: vec![Code::SoldOut, Code::InsufficientStock],
            allow_unavailable: false,
            time_limit_ms: 6_000,
            refusals_faster: false,
            confirm: false,
            expire: false,
            pay_rush: false,
            take_over: false,
        }
    }
}

impl Scenario {
    /// Length of the phases with a fixed length; `all_at_once` has none.
    pub(crate) fn planned(&self) -> Duration {
        let seconds = self.phase.iter().map(|phase| u64::from(phase.seconds));
        Duration::from_secs(seconds.sum())
    }

    pub(crate) fn has(&self, kind: FaultKind) -> bool {
        self.fault.iter().any(|fault| fault.what == kind)
    }

    /// Whether a fault of the scenario exists only with PostgreSQL.
    pub(crate) fn needs_postgres(&self) -> bool {
        self.has(FaultKind::RefuseWrites)
    }

    /// Whether a fault of the scenario takes the lock away.
    pub(crate) fn has_lock_fault(&self) -> bool {
        self.has(FaultKind::KillRedis) || self.has(FaultKind::RefuseLocks)
    }

    pub(crate) fn sells(&self) -> bool {
        self.phase.iter().any(|phase| phase.mix.buy > 0)
    }

    pub(crate) fn has_arrival(&self, arrival: Arrival) -> bool {
        self.phase.iter().any(|phase| phase.arrival == arrival)
    }
}

impl Phase {
    /// Numbers of the users who arrive in the phase, from `first` on.
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

/// With pauses of a second this is longer than every built-in fault.
fn some_retries() -> u32 {
    8
}

/// Codes that `POST /orders` can answer.
fn refusals<'de, D: Deserializer<'de>>(field: D) -> Result<Vec<Code>, D::Error> {
    let names = Vec::<String>::deserialize(field)?;
    let code = |name: &String| {
        let code = name
            .parse()
            .ok()
            .filter(|code: &Code| code.refuses_orders());
        code.ok_or_else(|| de::Error::custom(format!("{name} is not a code of POST /orders")))
    };
    names.iter().map(code).collect()
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
