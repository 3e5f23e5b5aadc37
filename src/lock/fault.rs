//! Why a lock node is out of the lock, as `/health`, the log and a metric name it.

use redis::RedisError;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use crate::metrics;

/// A reason to leave a node out of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// No connection, or it broke.
    Unreachable,
    /// No answer within the time of a check.
    Silent,
    /// A replica, which accepts no writes (READONLY).
    ReadOnly,
    /// `maxmemory` is reached and nothing may be evicted (OOM).
    OutOfMemory,
    /// The user may not run a command that the lock needs (NOPERM).
    NoPermission,
    /// The user or password is wrong, or missing (WRONGPASS, NOAUTH).
    Unauthenticated,
    /// The node is part of a Redis Cluster that does not work (CLUSTERDOWN, MASTERDOWN).
    ClusterDown,
    /// The node is part of a Redis Cluster and does not hold every key (MOVED, ASK).
    Moved,
    /// The node still reads its data (LOADING).
    Loading,
    /// The node cannot save its data, or has too few replicas (MISCONF, NOREPLICAS).
    NotDurable,
    /// Another error of the server.
    Refused,
    /// It works again, but not yet for longer than a lock lives.
    Returning,
}

impl Fault {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl From<&RedisError> for Fault {
    fn from(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Silent;
        }
        match error.code() {
            Some("READONLY") => Self::ReadOnly,
            Some("OOM") => Self::OutOfMemory,
            Some("NOPERM") => Self::NoPermission,
            Some("NOAUTH" | "WRONGPASS") => Self::Unauthenticated,
            Some("CLUSTERDOWN" | "MASTERDOWN") => Self::ClusterDown,
            Some("MOVED" | "ASK") => Self::Moved,
            Some("LOADING") => Self::Loading,
            Some("MISCONF" | "NOREPLICAS") => Self::NotDurable,
            Some(_) => Self::Refused,
            None if error.kind() == redis::ErrorKind::AuthenticationFailed => Self::Unauthenticated,
            None => Self::Unreachable,
        }
    }
}

/// Sets the gauge of each reason to the number of nodes that are out for it.
pub(super) fn report(faults: &[Option<Fault>]) {
    for reason in Fault::iter() {
        let nodes = faults.iter().filter(|fault| **fault == Some(reason));
        metrics::lock::nodes_out(reason.name(), nodes.count());
    }
}

#[cfg(test)]
mod tests {
    use redis::{ErrorKind, ServerError, Value};

    use super::*;

    /// The error that redis-rs makes of this answer.
    fn error(code: &str) -> RedisError {
        let answer = format!("-{code} some detail\r\n");
        let parsed = redis::parse_redis_value(answer.as_bytes()).unwrap();
        let Value::ServerError(error) = parsed else {
            panic!("{parsed:?} is no error")
        };
        RedisError::from(ServerError::clone(&error))
    }

    #[test]
    fn each_answer_that_refuses_a_lock_has_its_own_reason() {
        for (code, fault) in [
            ("READONLY", Fault::ReadOnly),
            ("OOM", Fault::OutOfMemory),
            ("NOPERM", Fault::NoPermission),
            ("NOAUTH", Fault::Unauthenticated),
            ("CLUSTERDOWN", Fault::ClusterDown),
            ("MOVED", Fault::Moved),
            ("LOADING", Fault::Loading),
            ("MISCONF", Fault::NotDurable),
            ("NOREPLICAS", Fault::NotDurable),
            ("BUSY", Fault::Refused),
        ] {
            assert_eq!(Fault::from(&error(code)), fault, "{code}");
        }
        let broken = RedisError::from((ErrorKind::Io, "broken"));
        assert_eq!(Fault::from(&broken), Fault::Unreachable);
    }
}
