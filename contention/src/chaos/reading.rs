//! Reads a product after its load, over the API: units, orders, and who waits at which position.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    calls::{Caller, Names, since},
    clients::Market,
};
use crate::{
    client::Response,
    history::{Answer, OrderSeen, Reading, Request, Time},
};

/// Pages of orders at most.
const PAGES_MAX: usize = 1_000;

#[derive(Deserialize)]
struct Units {
    stock: i64,
    stock_total: i64,
}

#[derive(Deserialize)]
struct Page {
    orders: Vec<Order>,
    next_cursor: Option<Uuid>,
}

#[derive(Deserialize)]
struct Order {
    id: Uuid,
    user_id: String,
    quantity: i64,
    status: String,
    created_at: String,
    expires_at: Option<String>,
}

/// Reads through one node.
pub(crate) struct Reader<'a> {
    pub(crate) market: &'a Market,
    pub(crate) caller: Caller,
    pub(crate) node: usize,
}

impl Reader<'_> {
    /// A call of the admin that must succeed.
    pub(crate) async fn ask(
        &mut self,
        call: (&str, &str),
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let names = Names {
            product: self.market.product,
            token: &self.market.admin.token,
            key: None,
            order: None,
        };
        let response = self.caller.send(self.node, call, &names, body).await;
        let response = response.with_context(|| call.1.to_owned())?;
        let body = String::from_utf8_lossy(&response.body);
        anyhow::ensure!(
            response.status < 300,
            "{} {}: {body}",
            call.1,
            response.status
        );
        Ok(response)
    }

    /// The number of orders whose holds go on.
    pub(crate) async fn pending(&mut self) -> anyhow::Result<usize> {
        let product = self.market.product;
        let path = format!("/orders?product_id={product}&status=pending&limit=100");
        let page: Page = serde_json::from_slice(&self.ask(("GET", &path), None).await?.body)?;
        Ok(page.orders.len())
    }

    /// Everything about the product, once nothing changes any more.
    pub(crate) async fn read(&mut self) -> anyhow::Result<Reading> {
        let start = since(self.market.epoch);
        let path = format!("/products/{}", self.market.product);
        let units: Units = serde_json::from_slice(&self.ask(("GET", &path), None).await?.body)?;
        let orders = self.orders().await?;
        let waiting = self.waiting(&orders).await?;
        Ok(Reading {
            start,
            end: since(self.market.epoch),
            stock: units.stock,
            total: units.stock_total,
            orders,
            waiting,
        })
    }

    async fn orders(&mut self) -> anyhow::Result<Vec<OrderSeen>> {
        let sessions = self.sessions();
        let product = self.market.product;
        let first = format!("/orders?product_id={product}&limit=100");
        let mut path = first.clone();
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let page: Page = serde_json::from_slice(&self.ask(("GET", &path), None).await?.body)?;
            for order in page.orders {
                found.push(OrderSeen {
                    id: order.id,
                    session: sessions.get(&order.user_id).copied(),
                    quantity: order.quantity,
                    status: order.status,
                    deadline: order.expires_at.map(|at| self.time(&at)).transpose()?,
                    made: self.time(&order.created_at)?,
                });
            }
            match page.next_cursor {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => return Ok(found),
            }
        }
        anyhow::bail!("more than {PAGES_MAX} pages of orders")
    }

    fn sessions(&self) -> HashMap<String, usize> {
        let book = self.market.book.lock();
        let users = book.users.iter().enumerate();
        users
            .map(|(number, user)| (user.name.clone(), number))
            .collect()
    }

    /// A time of the database on the clients' clock: both are those of this machine.
    fn time(&self, at: &str) -> anyhow::Result<Time> {
        let at: SystemTime = chrono::DateTime::parse_from_rfc3339(at)?.into();
        let ago = SystemTime::now().duration_since(at);
        let now = Instant::now();
        let at = match ago {
            Ok(ago) => now.checked_sub(ago),
            Err(early) => now.checked_add(early.duration()),
        };
        let epoch = self.market.epoch;
        let since = at.map(|at| at.saturating_duration_since(epoch));
        Ok(Time::try_from(since.unwrap_or(Duration::ZERO).as_nanos())?)
    }

    /// The positions of everybody who may wait still.
    async fn waiting(&mut self, orders: &[OrderSeen]) -> anyhow::Result<Vec<(usize, i64)>> {
        let (mut sessions, users) = {
            let book = self.market.book.lock();
            let may_wait = book.calls.iter().filter(|call| {
                matches!(call.request, Request::Place { waits: true, .. })
                    && matches!(call.answer, Answer::Waiting { .. } | Answer::Unknown(_))
            });
            let sessions: Vec<usize> = may_wait.map(|call| call.session).collect();
            (sessions, book.users.clone())
        };
        sessions.sort_unstable();
        sessions.dedup();
        sessions.retain(|session| !orders.iter().any(|order| order.session == Some(*session)));
        let path = format!("/products/{}/waitlist", self.market.product);
        let mut waiting = Vec::new();
        for session in sessions {
            let user = users.get(session).context("no such session")?;
            let names = Names {
                product: self.market.product,
                token: &user.token,
                key: None,
                order: None,
            };
            let response = self
                .caller
                .send(self.node, ("GET", &path), &names, None)
                .await?;
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            match (
                response.status,
                body.get("position").and_then(Value::as_i64),
            ) {
                (200, Some(position)) => waiting.push((session, position)),
                (404, _) => {}
                (status, _) => anyhow::bail!("{path}: {status}"),
            }
        }
        Ok(waiting)
    }
}
