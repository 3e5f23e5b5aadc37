//! Redlock (<https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/>) through
//! rslock, over the nodes that are healthy right now.
//!
//! rslock waits for its slowest node, so a silent one would stall every lock. It is therefore
//! given the healthy nodes only; [`manager`] keeps its quorum at the majority of all configured
//! nodes, so that any two lock holders meet on a node.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redis::{Client, IntoConnectionInfo, RedisError, io::tcp::TcpSettings};
use rslock::{LockError, LockManager};
use tokio::sync::{Notify, oneshot};

use super::{Attempt, Guard, Health, HeldLock};
use crate::{domain::Secret, tasks::Tasks};

/// A try that takes longer met a node that fell silent; the health watch finds out which.
const TRY_TIMEOUT: Duration = Duration::from_millis(100);
/// Nobody listens there: such a node refuses at once, without a packet on the network.
const REFUSING_NODE: &str = "redis+unix:///nonexistent/flash-sale.sock";

#[derive(Debug)]
pub struct Redlock {
    pub(super) clients: Vec<Client>,
    ttl: Duration,
    tasks: Tasks,
    /// The nodes in use and the manager over them; none without a majority.
    current: RwLock<Current>,
    /// Wakes the health watch out of turn.
    pub(super) suspicion: Notify,
}

#[derive(Clone, Debug)]
struct Current {
    healthy: Vec<bool>,
    manager: Option<LockManager>,
}

impl Redlock {
    /// Believes in every node until the first look at them.
    pub(super) fn new(nodes: &[Secret], ttl: Duration, tasks: Tasks) -> Result<Self, RedisError> {
        let clients = nodes
            .iter()
            .map(|url| open(url.expose()))
            .collect::<Result<Vec<_>, _>>()?;
        let healthy = vec![true; clients.len()];
        let manager = manager(&clients, &healthy)?;
        Ok(Self {
            clients,
            ttl,
            tasks,
            current: RwLock::new(Current { healthy, manager }),
            suspicion: Notify::new(),
        })
    }

    pub(super) async fn try_acquire(&self, key: String) -> Attempt {
        let Some(manager) = self.current().manager else {
            return Attempt::NoQuorum;
        };
        let started = Instant::now();
        let (taken, try_result) = oneshot::channel();
        let ttl = self.ttl;
        // In a task of its own: a try that is given up must not leave keys behind, which the next
        // batch would find busy.
        self.tasks.spawn("lock", async move {
            let result = manager.lock(key.as_str(), ttl).await;
            if let Err(Ok(lock)) = taken.send(result) {
                release(lock).await;
            }
        });
        match tokio::time::timeout(TRY_TIMEOUT, try_result).await {
            Ok(Ok(Ok(lock))) => Attempt::Acquired(Guard {
                taken: started,
                valid_until: Instant::now() + validity(&lock),
                held: HeldLock::Redlock(Box::new(lock)),
            }),
            // Contention and dead nodes look alike here; the watch soon tells them apart.
            Ok(Ok(Err(LockError::Unavailable))) => Attempt::Busy,
            Err(_) | Ok(Err(_) | Ok(Err(_))) => {
                self.suspicion.notify_one();
                Attempt::Failed
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        let current = self.current();
        Health {
            nodes: current.healthy.len(),
            healthy: current.healthy.iter().filter(|healthy| **healthy).count(),
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn healthy(&self) -> Vec<bool> {
        self.current().healthy
    }

    /// Moves the lock onto the nodes that are healthy now, over fresh connections: rslock never
    /// replaces one that timed out.
    pub(super) fn use_nodes(&self, healthy: Vec<bool>) {
        let manager = match manager(&self.clients, &healthy) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::error!(%error, "cannot use the lock nodes: {error}");
                None
            }
        };
        *self.current.write() = Current { healthy, manager };
    }

    fn current(&self) -> Current {
        self.current.read().clone()
    }
}

/// A manager over the healthy nodes, or none if they are fewer than a majority of all.
///
/// rslock takes the majority of the nodes that it is given. Where that is smaller than the
/// majority of all nodes (three healthy of five), nodes that always refuse make up the number.
fn manager(clients: &[Client], healthy: &[bool]) -> Result<Option<LockManager>, RedisError> {
    let majority = clients.len() / 2 + 1;
    let mut usable: Vec<Client> = clients
        .iter()
        .zip(healthy)
        .filter(|(_, healthy)| **healthy)
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

/// Deletes the key on every node where it is still ours.
pub(super) async fn release(lock: rslock::Lock) {
    // A silent node must not keep the releasing task; the key ends by itself.
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

    /// The quorum that rslock would use, read off the number of its nodes.
    fn quorum(manager: &LockManager) -> usize {
        format!("{manager:?}")
            .matches("RestorableConnection {")
            .count()
            / 2
            + 1
    }

    #[test]
    fn two_lock_holders_always_meet_on_a_node() {
        for nodes in [1, 3, 5] {
            let clients = clients(nodes);
            let majority = nodes / 2 + 1;
            for pattern in 0..1_u32 << nodes {
                let healthy: Vec<bool> = (0..nodes).map(|node| pattern >> node & 1 == 1).collect();
                let count = healthy.iter().filter(|healthy| **healthy).count();
                let manager = manager(&clients, &healthy).unwrap();
                assert_eq!(manager.is_some(), count >= majority);
                if let Some(manager) = manager {
                    let quorum = quorum(&manager);
                    assert!(quorum >= majority, "{quorum} of {healthy:?}");
                    assert!(quorum <= count, "{quorum} of {healthy:?}");
                }
            }
        }
    }
}
