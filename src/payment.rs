//! Payment gateway client: charges an order exactly once over all retries, and refunds it.
//!
//! An order has at most one payment intent that can still succeed, and an intent succeeds once.
//! A gateway's answer counts only if its order, amount and currency are those of the request.

use std::{sync::Arc, time::Duration};

use self::{simulated::Simulated, stripe::Stripe};
use crate::{
    config::{Provider, Serve},
    domain::{OrderId, Payment, Secret},
    metrics::payments::answered,
};

pub mod simulated;
pub mod stripe;

/// The configured gateway.
#[derive(Clone, Debug)]
pub enum Gateway {
    Stripe(Arc<Stripe>),
    /// For the demo: moves no money.
    Simulated(Arc<Simulated>),
}

/// A request to charge an order. An attempt's number and fields never change, so that a retry
/// repeats the same request.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    pub order_id: OrderId,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217, upper case.
    pub currency: &'a str,
    pub payment_method: &'a str,
    /// The intent named by the last decline of this order, if any.
    pub intent: Option<&'a str>,
    /// 1 for the first; increases after [`ChargeResult::Declined`] and [`Error::NotCharged`], stays
    /// the same after [`Error::Unknown`].
    pub attempt: u32,
    pub mode: SendMode,
}

/// Whether this attempt may have been sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    First,
    /// An earlier call with an unknown outcome, or a process that died, may have sent it. A failed
    /// connection now proves nothing about that call; only the gateway's answer to this attempt
    /// does.
    Retry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeResult {
    Paid(Payment),
    /// The buyer has to authenticate the payment in the browser, with this secret (3-D Secure). It
    /// may succeed at any time until it is cancelled.
    RequiresAction {
        intent: String,
        client_secret: Secret,
    },
    Declined {
        /// The intent that the next attempt must use; `None` requires a new one.
        intent: Option<String>,
        /// A code such as `card_declined`, which the buyer may see.
        reason: String,
    },
}

/// Why a call has no result. Already logged and counted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The money may or may not have moved: retry the same attempt.
    #[error("the outcome is unknown")]
    Unknown(#[source] Cause),
    /// This attempt has moved no money and never will.
    #[error("no money was moved")]
    NotCharged(#[source] Cause),
}

/// The cause of a failed gateway call; no text holds a key, a payment method or gateway data.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("the payment gateway cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the payment gateway did not answer in time")]
    Timeout,
    #[error("the connection to the payment gateway broke")]
    Broken(#[source] reqwest::Error),
    #[error("the payment gateway answered with status {0}")]
    Status(u16),
    #[error("the payment gateway's answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the payment gateway still processes the payment")]
    Processing { intent: String },
    #[error("the payment gateway still processes the payment: {0}")]
    Working(&'static str),
    #[error("the payment gateway rejects PAYMENT_KEY (status {0})")]
    Key(u16),
    #[error("the payment gateway's answer is for another payment: {0} differs")]
    OtherPayment(&'static str),
    #[error("the idempotency key was used for another request before")]
    KeyReused,
    #[error("the payment gateway rejects {0} of the request (status {1})")]
    Refused(&'static str, u16),
    #[error("the payment gateway cannot refund the payment")]
    RefundFailed,
    #[error("the payment gateway cannot charge this amount of the currency exactly")]
    Amount,
}

impl Cause {
    /// Whether an operator has to resolve it: a retry alone cannot.
    fn needs_operator(&self) -> bool {
        match self {
            Self::Key(_)
            | Self::OtherPayment(_)
            | Self::KeyReused
            | Self::Refused(..)
            | Self::RefundFailed
            | Self::Amount => true,
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::Status(_)
            | Self::Malformed(_)
            | Self::Processing { .. }
            | Self::Working(_) => false,
        }
    }
}

/// Why the gateway client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("PAYMENT_URL: not a URL")]
    Url,
    #[error("PAYMENT_KEY: is missing")]
    Key,
    #[error("cannot set up the HTTP client of the payment gateway")]
    Client(#[source] reqwest::Error),
}

impl Gateway {
    /// The configured gateway; `None` where orders cannot be confirmed.
    pub fn new(config: &Serve) -> Result<Option<Self>, SetupError> {
        Ok(match config.payment_provider() {
            Provider::None => None,
            Provider::Simulated => Some(Self::Simulated(Arc::default())),
            Provider::Stripe => {
                let settings = &config.payments;
                let key = settings.payment_key.as_ref().ok_or(SetupError::Key)?;
                let stripe = Stripe::new(&settings.payment_url, key)?;
                Some(Self::Stripe(Arc::new(stripe)))
            }
        })
    }

    /// A warning about this gateway, logged at the start.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Simulated(_) => Some(
                "PAYMENTS: simulated, so no money moves and orders are confirmed without payment",
            ),
            Self::Stripe(stripe) if !stripe.is_private() => {
                Some("PAYMENT_URL: http:// sends the key and the payments unencrypted")
            }
            Self::Stripe(_) => None,
        }
    }

    /// How long the gateway wants no repeated calls.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Stripe(stripe) => stripe.pause(),
            Self::Simulated(_) => None,
        }
    }

    /// Charges an order, at most once over all of its attempts.
    pub async fn charge(
        &self,
        charge: &Charge<'_>,
        within: Duration,
    ) -> Result<ChargeResult, Error> {
        let charged = match self {
            Self::Stripe(stripe) => stripe.charge(charge, within).await,
            Self::Simulated(simulated) => Ok(simulated.charge(charge)),
        };
        answered(match &charged {
            Ok(ChargeResult::Paid(_)) => "paid",
            Ok(ChargeResult::RequiresAction { .. }) => "requires_action",
            Ok(ChargeResult::Declined { .. }) => "declined",
            Err(Error::Unknown(_)) => "unknown",
            Err(Error::NotCharged(_)) => "not_charged",
        });
        charged.inspect_err(|error| log(error, charge.order_id, "charge"))
    }

    /// Reads the state of the payment `charge.intent`, which required an action of the buyer.
    /// `Declined` with an intent means that this intent can still succeed, until it is cancelled.
    pub async fn state(
        &self,
        charge: &Charge<'_>,
        within: Duration,
    ) -> Result<ChargeResult, Error> {
        let state = match self {
            Self::Stripe(stripe) => stripe.state(charge, within).await,
            Self::Simulated(simulated) => Ok(simulated.state(charge)),
        };
        state.inspect_err(|error| log(error, charge.order_id, "question for the payment"))
    }

    /// Cancels the payment `charge.intent`, which required an action of the buyer, so that it can never succeed; one that has
    /// succeeded first is `Paid`.
    pub async fn cancel(
        &self,
        charge: &Charge<'_>,
        within: Duration,
    ) -> Result<ChargeResult, Error> {
        let state = match self {
            Self::Stripe(stripe) => stripe.cancel(charge, within).await,
            Self::Simulated(simulated) => Ok(simulated.cancel(charge)),
        };
        state.inspect_err(|error| log(error, charge.order_id, "cancellation of the payment"))
    }

    /// Refunds the payment of the charge in full; idempotent for the charge's attempt. A gateway
    /// repeats its refusal under the same key, so after one the next call needs another attempt.
    pub async fn refund(&self, charge: &Charge<'_>, within: Duration) -> Result<(), Error> {
        let (order, payment) = (charge.order_id, charge.intent.unwrap_or_default());
        let key = format!("refund-{order}-{}", charge.attempt);
        self.refund_with(order, &key, payment, within).await
    }

    /// Refunds in full a payment that its order does not keep; idempotent.
    pub async fn refund_stray(
        &self,
        order_id: OrderId,
        payment_id: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let key = format!("refund-{payment_id}");
        self.refund_with(order_id, &key, payment_id, within).await
    }

    async fn refund_with(
        &self,
        order_id: OrderId,
        key: &str,
        payment_id: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let refunded = match self {
            Self::Stripe(stripe) => stripe.refund(key, payment_id, within).await,
            Self::Simulated(_) => Ok(()),
        };
        answered(match &refunded {
            Ok(()) => "refunded",
            Err(Error::Unknown(_)) => "refund_unknown",
            Err(Error::NotCharged(_)) => "not_refunded",
        });
        refunded.inspect_err(|error| log(error, order_id, "refund"))
    }
}

fn log(error: &Error, order: OrderId, call: &'static str) {
    let (Error::Unknown(reason) | Error::NotCharged(reason)) = error;
    let cause = std::error::Error::source(reason).map(tracing::field::display);
    if reason.needs_operator() {
        tracing::error!(%order, cause, "{call} of order {order}: {error}: {reason}");
    } else {
        tracing::warn!(%order, cause, "{call} of order {order}: {error}: {reason}");
    }
}
