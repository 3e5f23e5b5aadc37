//! Named background tasks with a stop signal and a drain deadline.
//!
//! A task that panics stops the whole service with a failure, because a service without one of its
//! tasks would be worse than a stopped one.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod request_runtime;

pub use self::request_runtime::RequestRuntime;

/// A handle on the service's tasks; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    draining: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    /// The runtime that tasks start on; `None` is the caller's.
    runtime: Option<Handle>,
}

impl Tasks {
    /// A handle on the same tasks that starts new ones on `runtime`, not on the caller's.
    #[must_use]
    pub fn on(&self, runtime: &Handle) -> Self {
        Self {
            runtime: Some(runtime.clone()),
            ..self.clone()
        }
    }

    /// Starts a task. If it panics, the whole service stops.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let guard = PanicGuard {
            name,
            tasks: self.clone(),
            finished: false,
        };
        let task = self.tracker.track_future(async move {
            let mut guard = guard;
            work.await;
            guard.finished = true;
        });
        drop(match &self.runtime {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        });
    }

    /// Resolves when the stop begins.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    pub fn stop(&self) {
        self.drain();
        self.stop.cancel();
    }

    /// Announces the stop: the service goes on, but no load balancer should send it new work.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the stop has begun or was announced.
    pub fn are_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Sleeps for `pause`; returns false at once if the service stops meanwhile.
    pub async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Whether a task panicked.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until every task has ended; false if some still run after `deadline`.
    pub async fn drained(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Stops the service when it is dropped by a panic of its task.
struct PanicGuard {
    name: &'static str,
    tasks: Tasks,
    finished: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !self.finished && std::thread::panicking() {
            tracing::error!(task = self.name, "task {} panicked, stopping", self.name);
            self.tasks.failed.store(true, Ordering::Relaxed);
            self.tasks.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_stops_the_service() {
        let tasks = Tasks::default();
        tasks.spawn("fragile", async { panic!("on purpose") });
        tokio::time::timeout(Duration::from_secs(5), tasks.stopped())
            .await
            .unwrap();
        assert!(tasks.failed());
        assert!(tasks.drained(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_task_that_returns_is_not_a_failure() {
        let tasks = Tasks::default();
        tasks.spawn("brief", async {});
        assert!(tasks.drained(Duration::from_secs(5)).await);
        assert!(!tasks.failed());
    }
}
