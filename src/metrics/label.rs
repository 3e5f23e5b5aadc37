//! The label of a product: its sku, as long as there is room. A label value costs memory in
//! Prometheus for ever, so the later products share one.

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

/// So many products have a label of their own.
pub(super) fn limit(products_max: usize) {
    PRODUCTS_MAX.store(products_max, Ordering::Relaxed);
}

/// The sku while there is room for another label, `other` afterwards.
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
