//! Writes of payments that are repeated while the database does not answer.

use std::{future::Future, time::Duration};

use super::{Error, Parts};
use crate::{
    domain::{OrderId, jitter},
    store,
};

/// Attempts to begin a payment whose earlier write may have been executed.
const BEGIN_WRITES_MAX: u32 = 4;
/// Attempts to write the gateway's answer; after them the recovery repeats the call.
const END_WRITES_MAX: u32 = 4;
/// Attempts to write that money has moved: about half a minute.
const MOVED_WRITES_MAX: u32 = 20;
/// The first pause between two attempts; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a write says about the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The gateway has taken or returned money: only this process knows it.
    MovedMoney,
    NoMoney,
}

impl Parts {
    /// Writes the begin of a payment or a refund. A write without an answer is repeated until it is
    /// known, with the same lease, whether this caller has begun the attempt.
    pub(super) async fn begin<T, F>(&self, id: OrderId, write: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let mut pause = PAUSE;
        let mut may_have_begun = false;
        for _ in 0..BEGIN_WRITES_MAX {
            match write().await {
                Ok(begun) => return Ok(begun),
                Err(error @ (store::Error::Violates(_) | store::Error::Refused(_))) => {
                    return Err(error.into());
                }
                Err(error) => may_have_begun |= error.may_have_written(),
            }
            if !may_have_begun {
                return Err(Error::Unavailable);
            }
            tokio::time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(Error::OutcomeUnknown(id))
    }

    /// Writes the gateway's answer. Repeats the write while the database does not execute it; it
    /// must be one that may be repeated.
    pub(super) async fn persist<T, F>(
        &self,
        about: About,
        write: impl Fn() -> F,
    ) -> Result<T, store::Error>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let attempts = match about {
            About::MovedMoney => MOVED_WRITES_MAX,
            About::NoMoney => END_WRITES_MAX,
        };
        let mut pause = PAUSE;
        for _ in 1..attempts {
            match write().await {
                Err(
                    store::Error::Unreachable(_)
                    | store::Error::Silent
                    | store::Error::CommitUnknown(_),
                ) => tokio::time::sleep(jitter(pause)).await,
                written @ (Ok(_) | Err(store::Error::Violates(_) | store::Error::Refused(_))) => {
                    return written;
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        write().await
    }
}
