//! Products that this node knows to be sold out: their refusals need no lane, no Redis and no
//! database.
//!
//! The knowledge is a row without stock. It is worth something while no newer version was heard
//! of, while every node's commits are heard, and for a moment after it was read; as long as
//! somebody asks, it is read again beside the requests. Units that come back on this node are
//! heard of before their restock is answered; on another node, as soon as its word arrives.
//!
//! What needs more than the row goes to the lane: a key may stand for an order, a limit counts
//! the user's orders, a wish to wait takes a place.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::{
    domain::{OrderRequest, Outcome, Product, ProductId},
    events::Events,
    metrics::gate,
    store::Store,
    tasks::Tasks,
};

/// What was read longer ago is not known any more, should a word be lost.
const KNOWN_FOR: Duration = Duration::from_millis(250);
/// Well inside of it, the rows are read again.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Reads without a refusal in between before a product is forgotten: ten seconds.
const IDLE_READS: u32 = 100;
/// Products that are known at once, which one statement can ask for; the lanes refuse for the others.
const KNOWN_MAX: usize = 500;
/// Products that wait to be looked at.
const WANTED_MAX: usize = 100;

/// A product without stock, as it was read.
#[derive(Debug)]
pub(super) struct Known {
    product: Product,
    /// Just before the read.
    asked: Instant,
    used: AtomicBool,
    idle_reads: u32,
    refusals: gate::SoldOut,
}

impl Known {
    /// The refusal, counted as the lane would have.
    pub(super) fn refuse(&self) -> Outcome {
        self.used.store(true, Ordering::Relaxed);
        self.refusals.increment();
        Outcome::SoldOut {
            waitlist: self.product.waitlist,
        }
    }

    /// Whether the contract's earlier refusals do not apply, and the lane would need nothing
    /// but the row.
    fn decides(&self, request: &OrderRequest, now: DateTime<Utc>) -> bool {
        self.product.max_per_user.is_none()
            && request.quantity <= self.product.max_per_order
            && self.product.on_sale(now)
    }
}

type Map = RwLock<HashMap<ProductId, Arc<Known>>>;

#[derive(Debug)]
pub(super) struct SoldOut {
    known: Arc<Map>,
    events: Events,
    wanted: mpsc::Sender<ProductId>,
}

impl SoldOut {
    pub(super) fn new(store: Store, events: Events, tasks: &Tasks) -> Self {
        let (wanted, inbox) = mpsc::channel(WANTED_MAX);
        let known = Arc::<Map>::default();
        let reader = Reader {
            known: Arc::clone(&known),
            store,
        };
        tasks.spawn("sold-out gate", read(reader, inbox, tasks.clone()));
        Self {
            known,
            events,
            wanted,
        }
    }

    /// What is known, if that is enough to refuse this request.
    pub(super) fn knows(&self, request: &OrderRequest, now: DateTime<Utc>) -> Option<Arc<Known>> {
        if !request.is_plain() {
            return None;
        }
        let known = self.get(request.product_id)?;
        (known.decides(request, now) && self.is_current(&known)).then_some(known)
    }

    /// A lane has found the product sold out; it will be known soon.
    pub(super) fn suspect(&self, product: ProductId) {
        if self
            .get(product)
            .is_none_or(|known| !self.is_current(&known))
        {
            // When too many wait, a later refusal will say it again.
            let _ = self.wanted.try_send(product);
        }
    }

    fn get(&self, product: ProductId) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&product).map(Arc::clone)
    }

    fn is_current(&self, known: &Known) -> bool {
        let newest = self.events.newest(known.product.id);
        known.asked.elapsed() < KNOWN_FOR
            && newest.is_none_or(|newest| newest.version <= known.product.version)
            && self
                .events
                .heard_since()
                .is_some_and(|since| since <= known.asked)
    }
}

async fn read(reader: Reader, mut inbox: mpsc::Receiver<ProductId>, tasks: Tasks) {
    let mut wanted = Vec::new();
    loop {
        let again = async {
            if reader.lock().is_empty() {
                std::future::pending::<()>().await;
            } else {
                tokio::time::sleep(READ_EVERY).await;
            }
        };
        tokio::select! {
            () = tasks.stopped() => return,
            received = inbox.recv_many(&mut wanted, WANTED_MAX) => if received == 0 { return },
            () = again => {}
        }
        reader.read(&mut wanted).await;
    }
}

/// Reads the rows of what may be sold out.
#[derive(Debug)]
struct Reader {
    known: Arc<Map>,
    store: Store,
}

impl Reader {
    fn lock(&self) -> RwLockWriteGuard<'_, HashMap<ProductId, Arc<Known>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is wanted and what is known; only what has no stock is known afterwards.
    async fn read(&self, wanted: &mut Vec<ProductId>) {
        let mut ids = std::mem::take(wanted);
        ids.extend(self.lock().keys());
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(KNOWN_MAX);
        let asked = Instant::now();
        let products = match self.store.products_among(ids).await {
            Ok(products) => products,
            Err(error) => {
                tracing::debug!(%error, "cannot look at what is sold out: {error}");
                return;
            }
        };
        let mut known = self.lock();
        let mut before = std::mem::take(&mut *known);
        for product in products
            .into_iter()
            .filter(|product| product.for_sale() == 0)
        {
            let id = product.id;
            if let Some(next) = next(product, asked, before.remove(&id)) {
                known.insert(id, Arc::new(next));
            }
        }
    }
}

/// The new knowledge in place of the old; None when nobody has asked for long.
fn next(product: Product, asked: Instant, before: Option<Arc<Known>>) -> Option<Known> {
    let (idle_reads, refusals) = match before {
        None => (0, gate::sold_out(&product.sku)),
        Some(before) => {
            let used = before.used.load(Ordering::Relaxed);
            let idle_reads = if used { 0 } else { before.idle_reads + 1 };
            let refusals = if before.product.sku == product.sku {
                before.refusals.clone()
            } else {
                gate::sold_out(&product.sku)
            };
            (idle_reads, refusals)
        }
    };
    (idle_reads < IDLE_READS).then_some(Known {
        product,
        asked,
        used: AtomicBool::new(false),
        idle_reads,
        refusals,
    })
}
