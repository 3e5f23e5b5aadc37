//! Converts the errors of other modules into problems.

use std::sync::Arc;

use super::Problem;
use crate::{admission::StreamRefused, cache, checkout, sequencer, store};

/// A failed read of a product, which concurrent callers share.
impl From<Arc<cache::Error>> for Problem {
    fn from(error: Arc<cache::Error>) -> Self {
        match &*error {
            cache::Error::Absent => Self::ProductNotFound,
            cache::Error::Store(
                store::Error::Unreachable(_)
                | store::Error::Silent
                | store::Error::CommitUnknown(_),
            ) => Self::NotInTime,
            cache::Error::Store(error @ (store::Error::Violates(_) | store::Error::Refused(_))) => {
                Self::Internal {
                    cause: error.chain(),
                }
            }
        }
    }
}

impl From<StreamRefused> for Problem {
    fn from(refused: StreamRefused) -> Self {
        Self::StreamLimit(refused)
    }
}

impl From<sequencer::Error> for Problem {
    fn from(error: sequencer::Error) -> Self {
        match error {
            sequencer::Error::HighDemand => Self::HighDemand,
            sequencer::Error::Unavailable => Self::Unavailable,
            sequencer::Error::OutcomeUnknown(order_id) => Self::OutcomeUnknown { order_id },
            sequencer::Error::Internal => Self::Internal {
                cause: "the database refused a batch; the lane logged the cause".to_owned(),
            },
        }
    }
}

impl From<checkout::Error> for Problem {
    fn from(error: checkout::Error) -> Self {
        match error {
            checkout::Error::Disabled => Self::PaymentsDisabled,
            checkout::Error::Unavailable => Self::PaymentUnavailable,
            checkout::Error::OutcomeUnknown(order_id) => Self::PaymentUnknown { order_id },
            checkout::Error::Sequencer(error) => Self::from(error),
            checkout::Error::Store(error) => Self::from(error),
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use store::Constraint;
        match error {
            store::Error::Unreachable(_)
            | store::Error::Silent
            | store::Error::CommitUnknown(_) => Self::NotInTime,
            store::Error::Violates(Constraint::Sku) => Self::SkuTaken,
            store::Error::Violates(Constraint::SaleWindow) => {
                Self::invalid("ends_at", "must be after starts_at")
            }
            error @ (store::Error::Violates(Constraint::Reference | Constraint::IdempotencyKey)
            | store::Error::Refused(_)) => Self::Internal {
                cause: error.chain(),
            },
        }
    }
}
