//! One round: new products, a load, a fault in its middle, and the questions after it.
//!
//! Every node serves again; what is for sale can be bought to the last unit; every acknowledged order
//! is there, nothing is oversold, and some order of the operations explains every answer; the
//! database keeps every invariant of `flash-sale verify`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use flash_sale::verify;
use futures::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use serde_json::json;
use test_support::wait::eventually;
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use super::{
    calls::Caller,
    clients::{Book, Market},
    cluster::Cluster,
    fault::Fault,
    reading::Reader,
};
use crate::{
    history::{History, Judgement, Terms, judge},
    shop::READS_LAG,
};

/// Buyers of each product.
const BUYERS: u64 = 6;
/// The load goes on for this long after the fault.
const AFTER_FAULT: Duration = Duration::from_millis(1_500);
/// Time for a request that waits when the load stops.
const CLIENTS_END_WITHIN: Duration = Duration::from_mins(1);
/// Time for every node to serve again after a fault.
const SERVES_WITHIN: Duration = Duration::from_secs(20);
/// Time for the holds of all units to end once.
const HOLDS_END_WITHIN: Duration = Duration::from_secs(20);
const HOLD_SECONDS: u32 = 1;

#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) fault: Fault,
    pub(crate) seed: u64,
    pub(crate) epoch: Instant,
}

/// What the round found, in lines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    broken: bool,
}

impl Report {
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(crate) fn held(&self) -> bool {
        !self.broken
    }

    fn breach(&mut self, line: String) {
        self.broken = true;
        self.lines.push(line);
    }
}

/// The terms of a round's products.
struct Kind {
    name: &'static str,
    holds: bool,
    waitlist: bool,
    quantity_max: i64,
}

const PRODUCTS: [Kind; 3] = [
    Kind {
        name: "plain",
        holds: false,
        waitlist: false,
        quantity_max: 1,
    },
    Kind {
        name: "holds",
        holds: true,
        waitlist: false,
        quantity_max: 3,
    },
    Kind {
        name: "waitlist",
        holds: true,
        waitlist: true,
        quantity_max: 2,
    },
];

impl Round {
    pub(crate) async fn run(&self, cluster: &mut Cluster) -> anyhow::Result<Report> {
        let mut random = StdRng::seed_from_u64(self.seed ^ (u64::from(self.number) << 32));
        let mut products = Vec::new();
        for kind in &PRODUCTS {
            products.push(self.offer(kind, cluster, &mut random).await?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for (market, _) in &products {
            for _ in 0..BUYERS {
                let (market, stopped) = (Arc::clone(market), stopped.clone());
                let random = StdRng::seed_from_u64(random.random());
                clients.spawn(async move { market.buy(random, stopped).await });
            }
            let (market, stopped) = (Arc::clone(market), stopped.clone());
            let random = StdRng::seed_from_u64(random.random());
            clients.spawn(async move { market.restock(random, stopped).await });
        }
        self.fault.inject(cluster).await?;
        tokio::time::sleep(AFTER_FAULT).await;
        stop.send_replace(true);
        let ending = async {
            while let Some(ended) = clients.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        let ended = tokio::time::timeout(CLIENTS_END_WITHIN, ending).await;
        ended.context("a client did not end: a request hangs")??;
        let mut report = Report::default();
        let judging = products.into_iter().map(|(market, terms)| {
            let random = StdRng::seed_from_u64(random.random());
            async move { questions(&market, terms, random).await }
        });
        for (name, found) in join_all(judging).await {
            match found {
                Ok(lines) => lines.into_iter().for_each(|line| report.add(line)),
                Err(error) => report.breach(format!("{name}: {error:#}")),
            }
        }
        invariants(cluster, &mut report).await?;
        Ok(report)
    }

    /// Makes a product and its market.
    async fn offer(
        &self,
        kind: &Kind,
        cluster: &Cluster,
        random: &mut StdRng,
    ) -> anyhow::Result<(Arc<Market>, Terms)> {
        #[derive(Deserialize)]
        struct Created {
            id: Uuid,
        }
        let run: u32 = rand::rng().random();
        let name = format!("contention-chaos-{run:08x}-{}-{}", self.number, kind.name);
        let stock: i64 = random.random_range(5..40);
        let users = cluster.tokens.users(&name, 1)?;
        let mut market = Market {
            product: Uuid::nil(),
            holds: kind.holds,
            waitlist: kind.waitlist,
            quantity_max: kind.quantity_max,
            name: name.clone(),
            epoch: self.epoch,
            addresses: cluster.addresses()?,
            tokens: cluster.tokens.clone(),
            admin: users.admin,
            book: parking_lot::Mutex::new(Book::default()),
        };
        let mut reader = reader(&market);
        let mut tries = 0;
        // After a fault the first calls may fail, also after the product was made.
        let created = eventually("a product is made", SERVES_WITHIN, async || {
            tries += 1;
            let body = json!({
                "sku": format!("{name}-{tries}"), "name": name,
                "price": 1_999, "currency": "EUR", "stock": stock,
                "hold_seconds": kind.holds.then_some(HOLD_SECONDS), "waitlist": kind.waitlist,
            });
            reader.ask(("POST", "/products"), Some(&body)).await.ok()
        });
        let created = created.await?;
        let created: Created = serde_json::from_slice(&created.body)?;
        market.product = created.id;
        let terms = Terms {
            sku: kind.name.to_owned(),
            stock,
            waitlist: kind.waitlist,
        };
        Ok((Arc::new(market), terms))
    }
}

impl Report {
    fn add(&mut self, line: Line) {
        match line {
            Line::Held(line) => self.lines.push(line),
            Line::Broken(line) => self.breach(line),
        }
    }
}

enum Line {
    Held(String),
    Broken(String),
}

fn reader(market: &Market) -> Reader<'_> {
    Reader {
        market,
        caller: Caller::new(&market.addresses),
        node: 0,
    }
}

/// Asks everything about one product.
async fn questions(
    market: &Market,
    terms: Terms,
    random: StdRng,
) -> (String, anyhow::Result<Vec<Line>>) {
    let name = terms.sku.clone();
    (name, ask(market, terms, random).await)
}

async fn ask(market: &Market, terms: Terms, random: StdRng) -> anyhow::Result<Vec<Line>> {
    let mut reader = reader(market);
    let within = HOLDS_END_WITHIN + waitlist_served_within(market, &terms);
    eventually("every hold ends", within, async || {
        let pending = reader.pending().await.ok()?;
        (pending == 0).then_some(())
    })
    .await?;
    if market.holds {
        // What is bought from now on stays sold.
        let path = format!("/products/{}", market.product);
        let terms = json!({ "hold_seconds": null });
        eventually("the terms change", SERVES_WITHIN, async || {
            reader.ask(("PATCH", &path), Some(&terms)).await.ok()
        })
        .await?;
    }
    market.drain(random, SERVES_WITHIN).await?;
    tokio::time::sleep(READS_LAG).await;
    let reading = eventually("the product is read", SERVES_WITHIN, async || {
        reader.read().await.ok()
    })
    .await?;
    let calls = std::mem::take(&mut market.book.lock().calls);
    let history = History {
        terms,
        calls,
        reading,
    };
    let sku = history.terms.sku.clone();
    let judged = tokio::task::spawn_blocking(move || {
        let judged = judge(&history);
        (judged, history)
    });
    let (judged, history) = judged.await?;
    let mut lines = Vec::new();
    if let Some(unsold) = history.unsold() {
        lines.push(Line::Broken(format!("{sku}: {unsold}")));
    }
    let size = history.calls.len();
    match &judged {
        Judgement::Explained { configurations } => lines.push(Line::Held(format!(
            "{sku}: {size} calls explained ({configurations} configurations), sold out"
        ))),
        Judgement::Undecided { .. } => {
            lines.push(Line::Broken(format!("{sku}: {size} calls {judged}")));
        }
        Judgement::Contradicted(found) => {
            lines.push(Line::Broken(format!("{sku}: {size} calls {judged}")));
            let timeline = found.timeline(&history).into_iter();
            lines.extend(timeline.map(|line| Line::Broken(format!("    {line}"))));
        }
    }
    Ok(lines)
}

/// Units that come back are held again by those who wait, a stock's worth of them at a time.
fn waitlist_served_within(market: &Market, terms: &Terms) -> Duration {
    if !market.waitlist {
        return Duration::ZERO;
    }
    let users = i64::try_from(market.book.lock().users.len()).unwrap_or(i64::MAX);
    let wanted = users.saturating_mul(market.quantity_max);
    let turns = u64::try_from(wanted / terms.stock.max(1)).unwrap_or_default();
    Duration::from_secs(turns.saturating_mul(HOLD_SECONDS.into()))
}

/// What `flash-sale verify` checks.
async fn invariants(cluster: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    let Some(store) = cluster.store().await? else {
        return Ok(());
    };
    for invariant in verify::INVARIANTS {
        let breaches = invariant.breaches(&store).await?;
        if !breaches.is_empty() {
            report.breach(format!("{}: {breaches:?}", invariant.name));
        }
    }
    store.close().await;
    Ok(())
}
