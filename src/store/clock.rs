//! The time of the database server, which all nodes share.
//!
//! Holds, deadlines and sale windows are judged by it, so that a node whose own clock is wrong
//! sells like the others. It is read once a second and carried on by the monotonic clock, which
//! nobody sets. An embedded database has the clock of its machine.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Result, Store};
use crate::domain::now;

/// An answer that took longer says too little about the time, unless none is ever faster.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// Microseconds of Unix time when `started` was.
    origin: AtomicI64,
    /// The fastest answer yet, in microseconds.
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

    /// Sets it to what the server said, somewhere between `asked` and now.
    fn set(&self, said: DateTime<Utc>, asked: Instant) {
        let took = asked.elapsed();
        let fastest = self.fastest.fetch_min(micros(took), Ordering::Relaxed);
        if took > ROUND_TRIP_MAX && micros(took) / 2 > fastest {
            return;
        }
        let at = asked.duration_since(self.started) + took / 2;
        self.origin
            .store(said.timestamp_micros() - micros(at), Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Store {
    /// The time of the database server, to the microsecond that it keeps.
    pub fn now(&self) -> DateTime<Utc> {
        if self.is_postgres() {
            self.clock.now().trunc_subsecs(6)
        } else {
            now()
        }
    }

    /// Reads the server's clock.
    pub async fn read_clock(&self) -> Result<()> {
        if !self.is_postgres() {
            return Ok(());
        }
        let statement = Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp()");
        let ask = async || {
            let asked = Instant::now();
            Ok((self.read.query_one_raw(statement.clone()).await?, asked))
        };
        if let (Some(row), asked) = self.bounded(ask).await? {
            self.clock.set(row.try_get_by_index(0)?, asked);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn it_goes_on_from_what_the_server_said() {
        let clock = Clock::new();
        let said = now() - TimeDelta::seconds(30);
        clock.set(said, Instant::now());
        let passed = clock.now() - said;
        assert!(
            passed >= TimeDelta::zero() - TimeDelta::milliseconds(1),
            "{passed}"
        );
        assert!(passed < TimeDelta::seconds(5), "{passed}");
    }
}
