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
/// A product that has refused no order for this long is dropped.
const IDLE_MAX: Duration = Duration::from_secs(10);
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
    /// When the last read after a refusal was made.
    used_at: Instant,
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

    /// When it last refused an order, to the precision of the reads.
    fn used_before(&self, read_at: Instant) -> Instant {
        if self.used.load(Ordering::Relaxed) {
            read_at
        } else {
            self.used_at
        }
    }

    /// Whether the row is enough to refuse the request: no earlier refusal of the contract applies.
    fn can_refuse(&self, request: &OrderRequest, now: DateTime<Utc>) -> bool {
        self.product.max_per_user.is_none()
            && request.quantity <= self.product.max_per_order
            && self.product.on_sale(now)
    }
}

type Rows = HashMap<ProductId, Arc<SoldOutProduct>>;
type Products = RwLock<Rows>;

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
    let mut read_all_at = Instant::now();
    loop {
        let next_read = async {
            if reader.products.read().is_empty() {
                std::future::pending::<()>().await;
            } else {
                tokio::time::sleep_until(read_all_at.into()).await;
            }
        };
        tokio::select! {
            () = tasks.stopped() => return,
            received = inbox.recv_many(&mut suspects, SUSPECTS_MAX) => if received == 0 { return },
            () = next_read => {}
        }
        let suspects = std::mem::take(&mut suspects);
        let now = Instant::now();
        if now < read_all_at && reader.has_room(suspects.len()) {
            reader.read_new(suspects).await;
        } else {
            read_all_at = now + READ_EVERY;
            reader.read_all(suspects).await;
        }
    }
}

/// Reads the rows of products that may be sold out.
#[derive(Debug)]
struct Reader {
    products: Arc<Products>,
    store: Store,
}

impl Reader {
    fn has_room(&self, suspects: usize) -> bool {
        self.products.read().len() + suspects <= PRODUCTS_MAX
    }

    /// Reads suspects only. With all products in use read for each of them, many sold-out products
    /// would cost the database more than their orders.
    async fn read_new(&self, suspects: Vec<ProductId>) {
        let Some((read_at, sold_out)) = self.sold_out(suspects.clone()).await else {
            return;
        };
        let mut cached = self.products.write();
        let before = suspects.iter().filter_map(|id| cached.remove_entry(id));
        let before = before.collect();
        insert(&mut cached, before, sold_out, read_at);
    }

    /// Reads suspects and the cached products in use; keeps those without units for sale.
    async fn read_all(&self, suspects: Vec<ProductId>) {
        let now = Instant::now();
        let ids = {
            let cached = self.products.read();
            let used = cached
                .iter()
                .map(|(id, product)| (*id, product.used_before(now)));
            to_read(suspects, used, now)
        };
        let Some((read_at, sold_out)) = self.sold_out(ids).await else {
            return;
        };
        let mut cached = self.products.write();
        let before = std::mem::take(&mut *cached);
        insert(&mut cached, before, sold_out, read_at);
    }

    /// The public ones of these products without units for sale, and the time just before the read;
    /// `None` when the database did not answer.
    async fn sold_out(&self, ids: Vec<ProductId>) -> Option<(Instant, Vec<Product>)> {
        let read_at = Instant::now();
        match self.store.products_by_id(ids).await {
            Ok(mut products) => {
                products.retain(|product| product.for_sale() == 0 && product.is_public());
                Some((read_at, products))
            }
            Err(error) => {
                tracing::debug!(%error, "cannot read sold-out products: {error}");
                None
            }
        }
    }
}

/// The products to read: those that have refused an order within [`IDLE_MAX`], or at
/// [`PRODUCTS_MAX`] without those that have refused none for longest, and of those without the
/// oldest. The newest drop is the one that buyers want.
fn to_read(
    suspects: Vec<ProductId>,
    cached: impl Iterator<Item = (ProductId, Instant)>,
    now: Instant,
) -> Vec<ProductId> {
    let mut idle: HashMap<ProductId, Duration> = cached
        .map(|(id, used_at)| (id, now.saturating_duration_since(used_at)))
        .filter(|(_, idle)| *idle < IDLE_MAX)
        .collect();
    idle.extend(suspects.into_iter().map(|id| (id, Duration::ZERO)));
    // Ids begin with the time at which their product was made.
    let ranked = idle.into_iter().map(|(id, idle)| (idle, Reverse(id)));
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_unstable();
    ranked.truncate(PRODUCTS_MAX);
    ranked.into_iter().map(|(_, Reverse(id))| id).collect()
}

/// Inserts the products of a read, each with what its row before knew.
fn insert(cached: &mut Rows, mut before: Rows, sold_out: Vec<Product>, read_at: Instant) {
    for product in sold_out {
        let id = product.id;
        let next = next(product, read_at, before.remove(&id));
        cached.insert(id, Arc::new(next));
    }
}

/// The product that replaces `before`.
fn next(product: Product, read_at: Instant, before: Option<Arc<SoldOutProduct>>) -> SoldOutProduct {
    let used_at = before
        .as_ref()
        .map_or(read_at, |before| before.used_before(read_at));
    let refusals = match before {
        Some(before) if before.product.sku == product.sku => before.refusals.clone(),
        Some(_) | None => gate::sold_out(&product.sku),
    };
    SoldOutProduct {
        product,
        read_at,
        used: AtomicBool::new(false),
        used_at,
        refusals,
    }
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

        let now = Instant::now();
        let read = to_read(new.to_vec(), cached.iter().map(|id| (*id, now)), now);

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
        let now = Instant::now() + IDLE_MAX;
        let idle = |(number, id): (usize, &ProductId)| {
            let idle = Duration::from_secs(u64::from(number == 300));
            (*id, now.checked_sub(idle).unwrap())
        };
        let suspect = ids.first().copied();
        let new = ProductId::now_v7();

        let read = to_read(
            suspect.into_iter().chain([new]).collect(),
            ids.iter().enumerate().map(idle),
            now,
        );

        assert_eq!(read.len(), PRODUCTS_MAX, "each once");
        assert!(read.contains(&new));
        let forgotten: Vec<_> = ids.iter().filter(|id| !read.contains(id)).collect();
        assert_eq!(forgotten, [&ids[300]]);
    }

    #[test]
    fn only_time_makes_a_product_idle() {
        let [recent, idle] = [(); 2].map(|()| ProductId::now_v7());
        let used_at = Instant::now();
        let now = used_at + IDLE_MAX;
        let cached = [(recent, used_at + READ_EVERY), (idle, used_at)];

        assert_eq!(to_read(Vec::new(), cached.into_iter(), now), [recent]);
    }
}
