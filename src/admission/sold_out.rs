//! The sold-out gate: refuses orders for sold-out products without lane, Redis or database.
//!
//! The gate caches rows without units for sale. A row is valid for 250 ms after it was read, while
//! no newer version was received and the stock events of all nodes arrive; a background task reads
//! rows in use again every 100 ms. Units returned on this node invalidate the row before their
//! caller gets a reply, units returned on another node when its stock event arrives.
//!
//! Requests that need more than the row go to the lane: an idempotency key may name an order, a
//! limit counts the user's orders, a waitlist request takes a place.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use crate::{
    domain::{OrderRequest, Outcome, Product, ProductId, Refusal},
    metrics::gate,
    stock_events::StockEvents,
    store::Store,
    tasks::Tasks,
};

/// Maximum age of a row; bounds staleness when a stock event is lost.
const AGE_MAX: Duration = Duration::from_millis(250);
/// How often rows in use are read again; well below [`AGE_MAX`].
const READ_EVERY: Duration = Duration::from_millis(100);
/// Reads without a refusal in between after which a product is dropped: ten seconds.
const IDLE_READS: u32 = 100;
/// Products cached at a time, read by one statement; lanes refuse the orders for further ones.
const PRODUCTS_MAX: usize = 500;
/// Products that wait for their first read.
const SUSPECTS_MAX: usize = 100;

/// A product without units for sale, as it was read.
#[derive(Debug)]
pub(super) struct SoldOutProduct {
    product: Product,
    /// Just before the read.
    read_at: Instant,
    used: AtomicBool,
    idle_reads: u32,
    refusals: gate::SoldOutRefusals,
}

impl SoldOutProduct {
    /// The refusal, counted as the lane would count it.
    pub(super) fn refuse(&self) -> Outcome {
        self.used.store(true, Ordering::Relaxed);
        self.refusals.increment();
        let waitlist = self.product.waitlist;
        Refusal::SoldOut { waitlist }.into()
    }

    /// Reads in a row, the next one included, without a refusal in between.
    fn next_idle_reads(&self) -> u32 {
        if self.used.load(Ordering::Relaxed) {
            0
        } else {
            self.idle_reads + 1
        }
    }

    /// Whether the row is enough to refuse the request: no earlier refusal of the contract applies.
    fn can_refuse(&self, request: &OrderRequest, now: DateTime<Utc>) -> bool {
        self.product.max_per_user.is_none()
            && request.quantity <= self.product.max_per_order
            && self.product.on_sale(now)
    }
}

type Products = RwLock<HashMap<ProductId, Arc<SoldOutProduct>>>;

/// Where the gate reads product rows and receives newer versions.
#[derive(Clone, Debug)]
pub struct SoldOutSource {
    pub store: Store,
    pub events: StockEvents,
}

#[derive(Debug)]
pub(super) struct SoldOutGate {
    products: Arc<Products>,
    events: StockEvents,
    suspects: mpsc::Sender<ProductId>,
}

impl SoldOutGate {
    pub(super) fn new(source: SoldOutSource, tasks: &Tasks) -> Self {
        let SoldOutSource { store, events } = source;
        let (suspects, inbox) = mpsc::channel(SUSPECTS_MAX);
        let products = Arc::<Products>::default();
        let reader = Reader {
            products: Arc::clone(&products),
            store,
        };
        tasks.spawn("sold-out gate", read(reader, inbox, tasks.clone()));
        Self {
            products,
            events,
            suspects,
        }
    }

    /// The sold-out product, if its row is enough to refuse this request.
    pub(super) fn find(
        &self,
        request: &OrderRequest,
        now: DateTime<Utc>,
    ) -> Option<Arc<SoldOutProduct>> {
        if !request.is_plain() {
            return None;
        }
        let product = self.get(request.product_id)?;
        (product.can_refuse(request, now) && self.is_current(&product)).then_some(product)
    }

    /// Reports that a lane found the product sold out; the background task reads it soon.
    pub(super) fn suspect(&self, product: ProductId) {
        if self
            .get(product)
            .is_none_or(|product| !self.is_current(&product))
        {
            // When the queue is full, a later refusal reports it again.
            let _ = self.suspects.try_send(product);
        }
    }

    fn get(&self, product: ProductId) -> Option<Arc<SoldOutProduct>> {
        self.products.read().get(&product).map(Arc::clone)
    }

    fn is_current(&self, sold_out: &SoldOutProduct) -> bool {
        let newest = self.events.newest(sold_out.product.id);
        sold_out.read_at.elapsed() < AGE_MAX
            && newest.is_none_or(|newest| newest.version <= sold_out.product.version)
            && self
                .events
                .connected_since()
                .is_some_and(|since| since <= sold_out.read_at)
    }
}

async fn read(reader: Reader, mut inbox: mpsc::Receiver<ProductId>, tasks: Tasks) {
    let mut suspects = Vec::new();
    loop {
        let next_read = async {
            if reader.products.read().is_empty() {
                std::future::pending::<()>().await;
            } else {
                tokio::time::sleep(READ_EVERY).await;
            }
        };
        tokio::select! {
            () = tasks.stopped() => return,
            received = inbox.recv_many(&mut suspects, SUSPECTS_MAX) => if received == 0 { return },
            () = next_read => {}
        }
        reader.read(&mut suspects).await;
    }
}

/// Reads the rows of products that may be sold out.
#[derive(Debug)]
struct Reader {
    products: Arc<Products>,
    store: Store,
}

impl Reader {
    /// Reads suspects and cached products; keeps the public ones without units for sale.
    async fn read(&self, suspects: &mut Vec<ProductId>) {
        let suspects = std::mem::take(suspects);
        let ids = {
            let cached = self.products.read();
            let idle_reads = cached
                .iter()
                .map(|(id, product)| (*id, product.next_idle_reads()));
            to_read(suspects, idle_reads)
        };
        let read_at = Instant::now();
        let products = match self.store.products_by_id(ids).await {
            Ok(products) => products,
            Err(error) => {
                tracing::debug!(%error, "cannot read sold-out products: {error}");
                return;
            }
        };
        let mut cached = self.products.write();
        let mut before = std::mem::take(&mut *cached);
        for product in products
            .into_iter()
            .filter(|product| product.for_sale() == 0 && product.is_public())
        {
            let id = product.id;
            if let Some(next) = next(product, read_at, before.remove(&id)) {
                cached.insert(id, Arc::new(next));
            }
        }
    }
}

/// The products to read: all of them, or at [`PRODUCTS_MAX`] without those that have refused no order
/// for longest, and of those without the oldest. The newest drop is the one that buyers want.
fn to_read(
    suspects: Vec<ProductId>,
    cached: impl Iterator<Item = (ProductId, u32)>,
) -> Vec<ProductId> {
    let mut idle_reads: HashMap<ProductId, u32> = cached.collect();
    idle_reads.extend(suspects.into_iter().map(|id| (id, 0)));
    // Ids begin with the time at which their product was made.
    let ranked = idle_reads
        .into_iter()
        .map(|(id, reads)| (reads, Reverse(id)));
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_unstable();
    ranked.truncate(PRODUCTS_MAX);
    ranked.into_iter().map(|(_, Reverse(id))| id).collect()
}

/// The product that replaces `before`; `None` when it has refused no order for [`IDLE_READS`].
fn next(
    product: Product,
    read_at: Instant,
    before: Option<Arc<SoldOutProduct>>,
) -> Option<SoldOutProduct> {
    let (idle_reads, refusals) = match before {
        None => (0, gate::sold_out(&product.sku)),
        Some(before) => {
            let idle_reads = before.next_idle_reads();
            let refusals = if before.product.sku == product.sku {
                before.refusals.clone()
            } else {
                gate::sold_out(&product.sku)
            };
            (idle_reads, refusals)
        }
    };
    (idle_reads < IDLE_READS).then_some(SoldOutProduct {
        product,
        read_at,
        used: AtomicBool::new(false),
        idle_reads,
        refusals,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_forgets_the_oldest_products() {
        let ids: Vec<ProductId> = std::iter::repeat_with(ProductId::now_v7)
            .take(PRODUCTS_MAX + 50)
            .collect();
        let (cached, new) = ids.split_at(PRODUCTS_MAX);

        let read = to_read(new.to_vec(), cached.iter().map(|id| (*id, 0)));

        assert_eq!(read.len(), PRODUCTS_MAX);
        assert!(new.iter().all(|id| read.contains(id)));
        let (oldest, others) = cached.split_at(50);
        assert!(others.iter().all(|id| read.contains(id)));
        assert!(!oldest.iter().any(|id| read.contains(id)));
    }

    #[test]
    fn a_full_gate_keeps_the_products_that_refuse_orders() {
        let ids: Vec<ProductId> = std::iter::repeat_with(ProductId::now_v7)
            .take(PRODUCTS_MAX)
            .collect();
        let idle = |(number, id): (usize, &ProductId)| (*id, u32::from(number == 300));
        let suspect = ids.first().copied();
        let new = ProductId::now_v7();

        let read = to_read(
            suspect.into_iter().chain([new]).collect(),
            ids.iter().enumerate().map(idle),
        );

        assert_eq!(read.len(), PRODUCTS_MAX, "each once");
        assert!(read.contains(&new));
        let forgotten: Vec<_> = ids.iter().filter(|id| !read.contains(id)).collect();
        assert_eq!(forgotten, [&ids[300]]);
    }
}
