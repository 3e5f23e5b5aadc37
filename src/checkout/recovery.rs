//! Recovery: takes over the gateway calls that a crash, a pause or a silent gateway left open, and
//! refunds stray payments.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use super::{Checkout, Error, Owned, Parts};
use crate::{
    domain::{Actor, OrderStatus},
    payment::SendMode,
    store::{self, Lease, PaymentAttempt, StrayPayment},
};

/// Gateway calls of one node's recovery at the same time.
const CALLS_MAX: usize = 32;
/// Fewer free places are not filled: each filling is a write.
const FILL_MIN: usize = 8;

impl Checkout {
    /// Repeats the gateway calls of stale payments and refunds, `CALLS_MAX` at a time, until none is
    /// left or the gateway has asked for a pause; returns the pause.
    pub async fn recover(&self) -> Result<Option<Duration>, store::Error> {
        let parts = &self.parts;
        let mut calls = FuturesUnordered::new();
        let mut taken = Ok(());
        let mut may_find_more = true;
        loop {
            let free = CALLS_MAX - calls.len();
            if may_find_more && free >= FILL_MIN && parts.pause().is_none() {
                // The calls go on meanwhile: they may hold the connections that this waits for.
                let mut taking = pin!(parts.take_over(free));
                let found = loop {
                    tokio::select! {
                        found = &mut taking => break found,
                        Some(()) = calls.next(), if !calls.is_empty() => {}
                    }
                };
                match found {
                    Ok(found) => {
                        may_find_more = found.len() == free;
                        calls.extend(found);
                    }
                    // The calls that have begun go on.
                    Err(error) => (taken, may_find_more) = (Err(error), false),
                }
            }
            if calls.next().await.is_none() {
                return taken.map(|()| parts.pause());
            }
        }
    }
}

impl Parts {
    /// How long the gateway wants no repeated calls.
    fn pause(&self) -> Option<Duration> {
        self.gateway.as_ref()?.pause()
    }

    /// Takes over up to `limit` stale payments and stray payments; each future repeats one call.
    async fn take_over(&self, limit: usize) -> Result<Vec<BoxFuture<'_, ()>>, store::Error> {
        let (now, since) = (self.store.now(), Instant::now());
        let lease = Lease::now_v7();
        let before = now - self.stale_after();
        let stale = self
            .store
            .take_over_stale_payments(before, lease, now, limit)
            .await?;
        let limit = limit - stale.len();
        let due = now + self.stale_after();
        let strays = self
            .store
            .take_over_stray_payments(lease, now, due, limit)
            .await?;
        let stale = stale
            .into_iter()
            .map(|attempt| self.recover_attempt(attempt, since).boxed());
        let strays = strays
            .into_iter()
            .map(|stray| self.recover_stray(stray, since).boxed());
        Ok(stale.chain(strays).collect())
    }

    async fn recover_attempt(&self, attempt: PaymentAttempt, since: Instant) {
        let id = attempt.order.id;
        let attempt = Box::new(attempt);
        if let Err(error) = self.repeat(&Owned { attempt, since }).await {
            tracing::warn!(order = %id, "the payment of {id} is still open: {error}");
        }
    }

    async fn recover_stray(&self, stray: StrayPayment, since: Instant) {
        let (id, order) = (&stray.payment_id, stray.order_id);
        if let Err(error) = self.refund_stray(&stray, since).await {
            tracing::error!(%order, "payment {id} of order {order} is not refunded: {error}");
        }
    }

    /// Repeats the gateway call of an open payment or refund.
    async fn repeat(&self, owned: &Owned) -> Result<(), Error> {
        match owned.attempt.order.status {
            OrderStatus::Confirming => {
                self.charge(owned, SendMode::Retry).await?;
            }
            OrderStatus::Confirmed => {
                self.refund(owned).await?;
                let (order, now) = (&owned.attempt.order, Instant::now());
                self.cancel(order, Actor::service(), now).await?;
            }
            OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Expired => {}
        }
        Ok(())
    }
}
