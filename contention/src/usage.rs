//! CPU and memory of the runner, and whether it was the bottleneck.

use std::time::{Duration, Instant};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};

use crate::{
    scenario::{Arrival, Scenario},
    summary::Summary,
};

/// Above this share of the CPU that the service leaves, the runner may be the bottleneck.
const SHARE_MAX: f64 = 0.85;
/// Requests that are sent later than this did not follow the schedule.
const LATE_MAX_MS: f64 = 50.0;

/// CPU and wall time, absolute or since an earlier value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    cpu: Duration,
    at: Instant,
    wall: Duration,
    /// Peak memory in kilobytes.
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

    /// Whether the runner was likely the limit instead of the service.
    pub(crate) fn is_bottleneck(
        &self,
        service_cores: f64,
        summary: &Summary,
        scenario: &Scenario,
    ) -> bool {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let all = f64::from(u32::try_from(all).unwrap_or(1));
        let cores = self.cores();
        let used_the_machine = cores > SHARE_MAX * (all - service_cores) && cores > service_cores;
        let was_late = scenario.has_arrival(Arrival::Rate) && summary.late_p99_ms > LATE_MAX_MS;
        // Load of less than a second keeps all cores busy and says nothing about the limit.
        (used_the_machine && summary.seconds > 1.0) || was_late
    }
}
