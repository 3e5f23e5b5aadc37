//! Redlock over several Redis nodes, by rslock: a dead or silent node is left out of the lock.
//!
//! rslock waits for its slowest node, so it gets the nodes that pass the health check
//! (`lock/health.rs`) only. [`manager`] keeps its quorum at the majority of all configured nodes, so
//! that the quorums of any two lock holders share a node. Without a majority, or when an attempt
//! takes longer than [`TRY_TIMEOUT`], the lane writes under the fence alone.
//!
//! The algorithm: <https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/>.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redis::{Client, IntoConnectionInfo, RedisError, io::tcp::TcpSettings};
use rslock::{LockError, LockManager};
use tokio::sync::{Notify, oneshot};

use super::{Attempt, Guard, Health, HeldLock, fault::Fault};
use crate::{domain::Secret, tasks::Tasks};

/// A longer attempt has met an unresponsive node; the health check finds out which one.
const TRY_TIMEOUT: Duration = Duration::from_millis(100);
/// An address without a listener: such a node fails at once, without network traffic.
const REFUSING_NODE: &str = "redis+unix:///nonexistent/flash-sale.sock";

#[derive(Debug)]
pub struct Redlock {
    pub(super) clients: Vec<Client>,
    ttl: Duration,
    tasks: Tasks,
    /// The nodes in use and the manager over them; none without a majority.
    current: RwLock<Current>,
    /// Starts a health check at once after a failed attempt.
    pub(super) failed_attempt: Notify,
}

#[derive(Debug)]
struct Current {
    /// Why each node is out of the lock; none for one that is in use.
    faults: Vec<Option<Fault>>,
    manager: Option<LockManager>,
}

impl Redlock {
    /// Uses every node until the first health check.
    pub(super) fn new(nodes: &[Secret], ttl: Duration, tasks: Tasks) -> Result<Self, RedisError> {
        let clients = nodes
            .iter()
            .map(|url| open(url.expose()))
            .collect::<Result<Vec<_>, _>>()?;
        let faults = vec![None; clients.len()];
        let manager = manager(&clients, &faults)?;
        Ok(Self {
            clients,
            ttl,
            tasks,
            current: RwLock::new(Current { faults, manager }),
            failed_attempt: Notify::new(),
        })
    }

    pub(super) async fn try_acquire(&self, key: String) -> Attempt {
        let Some(manager) = self.manager() else {
            return Attempt::NoQuorum;
        };
        let started = Instant::now();
        let (sender, result) = oneshot::channel();
        let ttl = self.ttl;
        // In a task of its own: an attempt that times out must not leave keys behind, which would
        // be busy for the next batch.
        self.tasks.spawn("lock", async move {
            let result = manager.lock(key.as_str(), ttl).await;
            if let Err(Ok(lock)) = sender.send(result) {
                release(lock).await;
            }
        });
        match tokio::time::timeout(TRY_TIMEOUT, result).await {
            Ok(Ok(Ok(lock))) => Attempt::Acquired(Guard {
                taken: started,
                valid_until: Instant::now() + validity(&lock),
                held: HeldLock::Redlock(Box::new(lock)),
            }),
            // Contention, or dead nodes, which the next health check removes.
            Ok(Ok(Err(LockError::Unavailable))) => Attempt::Busy,
            Err(_) | Ok(Err(_) | Ok(Err(_))) => {
                self.failed_attempt.notify_one();
                Attempt::Failed
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        let current = self.current.read();
        Health {
            nodes: current.faults.len(),
            healthy: current.faults.iter().filter(|it| it.is_none()).count(),
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn faults(&self) -> Vec<Option<Fault>> {
        self.current.read().faults.clone()
    }

    /// Records the result of a health check; true if other nodes are healthy than before.
    pub(super) fn set_faults(&self, faults: Vec<Option<Fault>>) -> bool {
        let healthy = |faults: &[Option<Fault>]| {
            let healthy = faults.iter().map(Option::is_none);
            healthy.collect::<Vec<_>>()
        };
        let mut current = self.current.write();
        let changed = healthy(&faults) != healthy(&current.faults);
        current.faults = faults;
        changed
    }

    /// Uses the nodes that are healthy now, over new connections: rslock never replaces one that
    /// timed out.
    pub(super) fn use_healthy_nodes(&self) {
        let manager = match manager(&self.clients, &self.faults()) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::error!(%error, "cannot use the lock nodes: {error}");
                None
            }
        };
        self.current.write().manager = manager;
    }

    fn manager(&self) -> Option<LockManager> {
        self.current.read().manager.clone()
    }
}

/// A manager over the healthy nodes, or none if they are fewer than a majority of all.
///
/// rslock's quorum is the majority of its own nodes. Where that is smaller than the majority of all
/// nodes (three healthy of five), the manager also gets nodes that always fail.
fn manager(
    clients: &[Client],
    faults: &[Option<Fault>],
) -> Result<Option<LockManager>, RedisError> {
    let majority = clients.len() / 2 + 1;
    let mut usable: Vec<Client> = clients
        .iter()
        .zip(faults)
        .filter(|(_, fault)| fault.is_none())
        .map(|(client, _)| client.clone())
        .collect();
    if usable.len() < majority {
        return Ok(None);
    }
    while usable.len() / 2 + 1 < majority {
        usable.push(Client::open(REFUSING_NODE)?);
    }
    let mut manager = LockManager::from_clients(usable);
    manager.set_retry(1, Duration::from_millis(1));
    Ok(Some(manager))
}

/// Opens a client with `TCP_NODELAY`, which redis leaves off.
fn open(url: &str) -> Result<Client, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
}

fn validity(lock: &rslock::Lock) -> Duration {
    Duration::from_millis(u64::try_from(lock.validity_time).unwrap_or(0))
}

/// Deletes the key on every node where this lock still owns it.
pub(super) async fn release(lock: rslock::Lock) {
    // An unresponsive node must not block the task; the key expires by itself.
    drop(tokio::time::timeout(TRY_TIMEOUT, lock.release()).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(count: usize) -> Vec<Client> {
        (0..count)
            .map(|_| Client::open(REFUSING_NODE).unwrap())
            .collect()
    }

    /// The quorum that rslock would use, from the number of its nodes.
    fn quorum(manager: &LockManager) -> usize {
        format!("{manager:?}")
            .matches("RestorableConnection {")
            .count()
            / 2
            + 1
    }

    #[test]
    fn the_quorums_of_two_lock_holders_share_a_node() {
        for nodes in [1, 3, 5] {
            let clients = clients(nodes);
            let majority = nodes / 2 + 1;
            for pattern in 0..1_u32 << nodes {
                let fault = |node| (pattern >> node & 1 == 0).then_some(Fault::ReadOnly);
                let faults: Vec<_> = (0..nodes).map(fault).collect();
                let count = faults.iter().filter(|fault| fault.is_none()).count();
                let manager = manager(&clients, &faults).unwrap();
                assert_eq!(manager.is_some(), count >= majority);
                if let Some(manager) = manager {
                    let quorum = quorum(&manager);
                    assert!(quorum >= majority, "{quorum} of {faults:?}");
                    assert!(quorum <= count, "{quorum} of {faults:?}");
                }
            }
        }
    }
}
