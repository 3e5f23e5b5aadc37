//! What the runner itself costs, and whether it was the limit.

use std::time::{Duration, Instant};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};

use crate::{
    scenario::{Arrival, Scenario},
    summary::Summary,
};

/// The share of what the others leave of the machine, above which the runner may be the limit.
const SHARE_MAX: f64 = 0.85;
/// Requests on a schedule that leave later than this were not sent on schedule.
const LATE_MAX_MS: f64 = 50.0;

/// CPU time and time, since a begin or at one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    cpu: Duration,
    at: Instant,
    wall: Duration,
    /// Kilobytes, at most, since the program's start.
    memory_kb: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let time = |value: TimeVal| {
            Duration::from_micros(value.num_microseconds().try_into().unwrap_or_default())
        };
        let cpu = usage.map(|usage| time(usage.user_time()) + time(usage.system_time()));
        Self {
            cpu: cpu.unwrap_or_default(),
            at: Instant::now(),
            wall: Duration::ZERO,
            memory_kb: usage
                .and_then(|usage| u64::try_from(usage.max_rss()).ok())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn since(self) -> Self {
        let now = Self::now();
        Self {
            cpu: now.cpu.saturating_sub(self.cpu),
            at: now.at,
            wall: now.at.saturating_duration_since(self.at),
            memory_kb: now.memory_kb,
        }
    }

    pub(crate) fn wall_seconds(&self) -> f64 {
        self.wall.as_secs_f64()
    }

    pub(crate) fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall_seconds().max(0.001)
    }

    pub(crate) fn memory_mb(&self) -> u64 {
        self.memory_kb / 1_024
    }

    /// Whether the runner, not the service, was likely the limit.
    pub(crate) fn is_bottleneck(
        &self,
        service_cores: f64,
        summary: &Summary,
        scenario: &Scenario,
    ) -> bool {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let all = f64::from(u32::try_from(all).unwrap_or(1));
        let cores = self.cores();
        let took_the_machine = cores > SHARE_MAX * (all - service_cores) && cores > service_cores;
        let was_late = scenario.comes(Arrival::Rate) && summary.late_p99_ms > LATE_MAX_MS;
        // A crowd that comes at once keeps everything busy for the moment that it lasts.
        (took_the_machine && summary.seconds > 1.0) || was_late
    }
}
