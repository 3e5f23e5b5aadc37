//! A lock node under watch: it must take a lock, not only answer.
//!
//! A replica, a node without memory for new keys and one whose user may not write answer PING, but
//! refuse every lock. So a check is what the lock does: a `SET … NX PX`, and the script that releases
//! it. The key is that of a product that does not exist, new at each check: whatever lets it pass
//! (an ACL's pattern, the slots of a cluster) lets a product's lock pass.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use redis::{
    Client, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};

use super::fault::Fault;
use crate::{domain::ProductId, redis::lock_key};

/// Longer than a healthy node takes on a busy machine; until then an unresponsive node costs each
/// batch one time-out of its attempt, but no order.
const CHECK_TIMEOUT: Duration = Duration::from_millis(250);
/// The TTL of a check's key, should its release be lost.
const KEY_TTL_MS: u64 = 250;
/// rslock's script, so that the node answers to the same hash as for a lock.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
if redis.call("GET", KEYS[1]) == ARGV[1] then
  return redis.call("DEL", KEYS[1])
else
  return 0
end
"#,
    )
});

/// A lock node and its state in the health check.
pub(super) struct WatchedNode {
    client: Client,
    connection: Option<MultiplexedConnection>,
    /// The start of its current run of passed checks.
    passes_since: Option<Instant>,
    /// Why it is out of the lock; none while the lock uses it.
    pub(super) fault: Option<Fault>,
    /// The reasons that were logged since it left the lock: each once, however often they alternate.
    logged: Vec<Fault>,
}

impl WatchedNode {
    /// A node that the lock uses until its first check.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            connection: None,
            passes_since: None,
            fault: None,
            logged: Vec::new(),
        }
    }

    /// Checks the node: it is removed at a failure, and used again after `quarantine`.
    pub(super) async fn check(&mut self, quarantine: Duration) {
        if let Err((fault, detail)) = self.take_lock().await {
            self.passes_since = None;
            self.fault = Some(fault);
            self.log(fault, &detail);
            return;
        }
        let since = *self.passes_since.get_or_insert_with(Instant::now);
        if self.fault.is_some() && since.elapsed() < quarantine {
            self.fault = Some(Fault::Returning);
        } else if self.fault.take().is_some() {
            self.logged.clear();
            let node = self.address();
            tracing::info!(node, "lock node {node} is used again");
        }
    }

    /// Logs the reason, once while the node is out.
    fn log(&mut self, fault: Fault, detail: &str) {
        if self.logged.contains(&fault) {
            return;
        }
        self.logged.push(fault);
        let (node, reason) = (self.address(), fault.name());
        tracing::warn!(
            node,
            reason,
            "lock node {node} is out of the lock: {reason} ({detail})"
        );
    }

    /// Host and port, without user and password.
    fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Takes and releases a lock within [`CHECK_TIMEOUT`].
    async fn take_lock(&mut self) -> Result<(), (Fault, String)> {
        let taken = tokio::time::timeout(CHECK_TIMEOUT, self.try_take_lock()).await;
        match taken {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.connection = None;
                Err((Fault::from(&error), error.to_string()))
            }
            Err(_) => {
                self.connection = None;
                Err((Fault::Silent, "no answer".to_owned()))
            }
        }
    }

    async fn try_take_lock(&mut self) -> RedisResult<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty @ None => empty.insert(self.client.get_multiplexed_async_connection().await?),
        };
        let owner = ProductId::now_v7();
        let key = lock_key(owner, 0);
        // In one message, so that no other client sees the key.
        let mut both = Pipeline::new();
        both.cmd("SET").arg(&key).arg(owner.to_string());
        both.arg("NX").arg("PX").arg(KEY_TTL_MS);
        both.cmd("EVALSHA").arg(RELEASE.get_hash());
        both.arg(1).arg(&key).arg(owner.to_string());
        let mut answers = connection
            .send_packed_commands(&both, 0, 2)
            .await?
            .into_iter();
        let (taken, released) = (answers.next(), answers.next());
        if answer(taken)? != Value::Okay {
            return Err((
                ErrorKind::UnexpectedReturnType,
                "SET NX of a new key failed",
            )
                .into());
        }
        match answer(released) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut release = RELEASE.key(&key);
                release.arg(owner.to_string());
                release.invoke_async::<()>(connection).await
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

fn answer(value: Option<Value>) -> Result<Value, RedisError> {
    value.unwrap_or(Value::Nil).extract_error()
}
