//! The state of the demo's crowd, for all viewers. `api/monitor/crowd.rs` sends it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::ProductId;

/// The crowd of this process that is running, or ran last.
#[derive(Debug, Default)]
pub(super) struct Crowds(Mutex<Option<Arc<Crowd>>>);

/// What a crowd has done so far.
#[derive(Debug)]
pub struct Crowd {
    product: ProductId,
    buyers: u64,
    running: AtomicBool,
    pub bought: AtomicU64,
    pub waitlisted: AtomicU64,
    pub refused: AtomicU64,
}

/// The same, as viewers get it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CrowdState {
    product: ProductId,
    buyers: u64,
    running: bool,
    bought: u64,
    waitlisted: u64,
    refused: u64,
}

/// A running crowd; it ends when this is dropped, also by a panic.
#[derive(Debug)]
pub struct RunningCrowd(pub Arc<Crowd>);

impl Drop for RunningCrowd {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Relaxed);
    }
}

impl Crowds {
    /// Begins a crowd; `None` while one is running.
    pub(super) fn begin(&self, product: ProductId, buyers: u64) -> Option<RunningCrowd> {
        let mut last = self.0.lock();
        let is_running = |crowd: &Arc<Crowd>| crowd.running.load(Ordering::Relaxed);
        if last.as_ref().is_some_and(is_running) {
            return None;
        }
        let crowd = Arc::new(Crowd {
            product,
            buyers,
            running: AtomicBool::new(true),
            bought: AtomicU64::new(0),
            waitlisted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        *last = Some(Arc::clone(&crowd));
        Some(RunningCrowd(crowd))
    }

    pub(super) fn state(&self) -> Option<CrowdState> {
        let last = self.0.lock();
        let crowd = last.as_ref()?;
        Some(CrowdState {
            product: crowd.product,
            buyers: crowd.buyers,
            running: crowd.running.load(Ordering::Relaxed),
            bought: crowd.bought.load(Ordering::Relaxed),
            waitlisted: crowd.waitlisted.load(Ordering::Relaxed),
            refused: crowd.refused.load(Ordering::Relaxed),
        })
    }
}
