//! The clock of the database server, which all nodes share.
//!
//! Holds, deadlines and sale windows use it, so that a node with a wrong clock sells like the
//! other nodes. The service reads it once a second and extrapolates with the monotonic clock, which
//! never jumps. An embedded database uses the clock of its machine.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Result, Store, writable::READS_ONLY};
use crate::domain::now;

/// A slower answer is too inaccurate, unless it took at most twice as long as the fastest one.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The Unix time of `started`, in microseconds.
    origin: AtomicI64,
    /// The shortest round trip yet, in microseconds.
    fastest: AtomicI64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            origin: AtomicI64::new(now().timestamp_micros()),
            fastest: AtomicI64::new(i64::MAX),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        let origin = self.origin.load(Ordering::Relaxed);
        let micros = origin.saturating_add(micros(self.started.elapsed()));
        DateTime::from_timestamp_micros(micros).unwrap_or_else(now)
    }

    /// Sets the clock to `server_time`, which the server read at some point since `sent_at`.
    fn set(&self, server_time: DateTime<Utc>, sent_at: Instant) {
        let took = sent_at.elapsed();
        let fastest = self.fastest.fetch_min(micros(took), Ordering::Relaxed);
        if took > ROUND_TRIP_MAX && micros(took) / 2 > fastest {
            return;
        }
        let read_at = sent_at.duration_since(self.started) + took / 2;
        let origin = server_time.timestamp_micros() - micros(read_at);
        self.origin.store(origin, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Store {
    /// The time of the database server, in the microseconds that its columns store.
    pub fn now(&self) -> DateTime<Utc> {
        if self.is_postgres() {
            self.clock.now().trunc_subsecs(6)
        } else {
            now()
        }
    }

    /// Reads the server's clock, and whether the server takes writes.
    pub async fn read_clock(&self) -> Result<()> {
        if !self.is_postgres() {
            return Ok(());
        }
        let question = format!("SELECT clock_timestamp(), {READS_ONLY}");
        let statement = Statement::from_string(DbBackend::Postgres, question);
        let query = async || {
            let sent_at = Instant::now();
            Ok((self.read.query_one_raw(statement.clone()).await?, sent_at))
        };
        if let (Some(row), sent_at) = self.bounded(query).await? {
            self.clock.set(row.try_get_by_index(0)?, sent_at);
            // The readers may be connected to a server that was demoted, and read old rows.
            self.note_access(row.try_get_by_index(1)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_clock_continues_from_the_server_time() {
        let clock = Clock::new();
        let server_time = now() - TimeDelta::seconds(30);
        clock.set(server_time, Instant::now());
        let passed = clock.now() - server_time;
        assert!(
            passed >= TimeDelta::zero() - TimeDelta::milliseconds(1),
            "{passed}"
        );
        assert!(passed < TimeDelta::seconds(5), "{passed}");
    }
}
