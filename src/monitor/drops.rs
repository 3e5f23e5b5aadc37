//! The facts of the newest and the busiest drops: one read of their rows and of the lengths of their
//! waitlists a second, with the connections for reads, and only while somebody watches.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    domain::{Product, ProductId},
    store::{Error, Listing, Store},
};

/// Products that are shown.
const SHOWN_MAX: usize = 50;
/// Products among them that are shown because they get the most requests, however old they are: a
/// shop with many products rarely sells the newest ones only.
pub(super) const BUSIEST_MAX: usize = 25;
/// A database that takes longer must not hold the other figures back.
const READ_WITHIN: Duration = Duration::from_millis(800);

/// A drop: the product, its waitlist, and how its sale went while somebody watched.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) product: Product,
    pub(super) waiting: i64,
    /// From the first seen sale to the last unit.
    pub(super) sold_out_in: Option<Duration>,
}

/// A sale that was watched from its first unit on.
#[derive(Clone, Copy, Debug)]
struct Sale {
    began: Instant,
    sold_out_in: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Drops {
    store: Store,
    /// As last read: the newest first, then older ones that are busy.
    shown: Vec<Facts>,
    sales: HashMap<ProductId, Sale>,
    /// Units on hand at the last look.
    levels: HashMap<ProductId, i32>,
    looked: Option<Instant>,
}

impl Drops {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            shown: Vec::new(),
            sales: HashMap::new(),
            levels: HashMap::new(),
            looked: None,
        }
    }

    /// The drops, those with the skus `busiest` among them, and whether the database was read in
    /// time; else they are those of the last look.
    pub(super) async fn look(&mut self, busiest: Vec<String>, now: Instant) -> (&[Facts], bool) {
        let read = timeout(READ_WITHIN, read(&self.store, busiest)).await;
        let current = match read {
            Ok(Ok(found)) => {
                self.take(found, now);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        };
        (&self.shown, current)
    }

    /// Forgets how sales went: nobody watched for a while.
    pub(super) fn pause(&mut self) {
        self.looked = None;
        self.levels.clear();
        self.sales.retain(|_, sale| sale.sold_out_in.is_some());
    }

    fn take(&mut self, found: Vec<(Product, i64)>, now: Instant) {
        let before = self.looked.replace(now);
        let levels = found
            .iter()
            .map(|(product, _)| (product.id, product.stock.on_hand));
        let last = std::mem::replace(&mut self.levels, levels.collect());
        for (product, _) in &found {
            let fell = last
                .get(&product.id)
                .is_some_and(|level| *level > product.stock.on_hand);
            if let Some(before) = before.filter(|_| fell && !self.sales.contains_key(&product.id)) {
                let sale = Sale {
                    began: before,
                    sold_out_in: None,
                };
                self.sales.insert(product.id, sale);
            }
            let is_over = product.stock.on_hand == 0;
            match self.sales.get_mut(&product.id) {
                Some(sale) if is_over && sale.sold_out_in.is_none() => {
                    sale.sold_out_in = Some(now - sale.began);
                }
                // Units came back: the next sale counts anew.
                Some(sale) if !is_over && sale.sold_out_in.is_some() => {
                    self.sales.remove(&product.id);
                }
                Some(_) | None => {}
            }
        }
        self.sales.retain(|id, _| self.levels.contains_key(id));
        let sales = &self.sales;
        let facts = |(product, waiting): (Product, i64)| Facts {
            sold_out_in: sales.get(&product.id).and_then(|sale| sale.sold_out_in),
            product,
            waiting,
        };
        self.shown = found.into_iter().map(facts).collect();
    }
}

async fn read(store: &Store, mut busiest: Vec<String>) -> Result<Vec<(Product, i64)>, Error> {
    let limit = u64::try_from(SHOWN_MAX).unwrap_or(u64::MAX);
    let mut products = store.products(Listing::Unarchived, None, limit).await?;
    let is_full = products.len() == SHOWN_MAX;
    busiest.retain(|sku| products.iter().all(|product| product.sku != *sku));
    // Else there are no older ones.
    if is_full && !busiest.is_empty() {
        let older = store.products_by_sku(busiest).await?;
        products.truncate(SHOWN_MAX.saturating_sub(older.len()));
        products.extend(older);
    }
    let ids = products.iter().map(|product| product.id).collect();
    let waiting = store.waiting_counts(ids).await?;
    let with_waiting = |product: Product| {
        let waiting = waiting.get(&product.id).copied();
        (product, waiting.unwrap_or_default())
    };
    Ok(products.into_iter().map(with_waiting).collect())
}
