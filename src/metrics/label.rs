//! The `product` label of metrics: the sku of each of the first products. A label value costs
//! memory in Prometheus permanently, so later products share the label `other`.

use std::{
    collections::HashSet,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

static PRODUCTS_MAX: AtomicUsize = AtomicUsize::new(200);
static LABELS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Sets how many products have a label of their own.
pub(super) fn limit(products_max: usize) {
    PRODUCTS_MAX.store(products_max, Ordering::Relaxed);
}

/// The sku of one of the first products, else `other`.
pub(super) fn label(sku: &str) -> String {
    let mut labels = LABELS.lock();
    if labels.contains(sku) {
        return sku.to_owned();
    }
    if labels.len() < PRODUCTS_MAX.load(Ordering::Relaxed) {
        labels.insert(sku.to_owned());
        return sku.to_owned();
    }
    "other".to_owned()
}
