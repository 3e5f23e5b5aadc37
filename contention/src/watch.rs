//! Watches a run in progress: samples stock and metrics, and shows the live view or lines of
//! progress.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::{
    client::Address,
    driver::requests::Load,
    figures::{Figures, whole},
    record::Sample,
    report::{
        Fault,
        live::{HISTORY_STEP, LockState, Screen, Snapshot, Tally},
    },
    shop::Api,
    timeline::Timeline,
};

const POLL: Duration = Duration::from_millis(100);
const FIGURES_EVERY: u32 = 5;
const LINE_EVERY: u32 = 10;
/// A sample that takes longer counts as unknown.
const SAMPLE_TIMEOUT: Duration = Duration::from_millis(500);

/// What was observed besides the answers.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) stock: Vec<(Duration, Option<i64>)>,
    /// Whether the lock was degraded, at each sample.
    pub(crate) degraded: Vec<(Duration, bool)>,
    /// Whether a node found that the database only reads, at each sample.
    pub(crate) only_reads: Vec<bool>,
    /// Locks acquired so far.
    pub(crate) acquired: Vec<(Duration, u64)>,
}

/// Watches one run.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) load: &'a Load,
    pub(crate) api: Address,
    pub(crate) operations: Vec<Address>,
    pub(crate) before: Option<Figures>,
    pub(crate) faults: &'a Mutex<Vec<Fault>>,
    pub(crate) observed: &'a Mutex<Observed>,
    /// What does not change during the run.
    pub(crate) heading: Snapshot,
}

impl Watch<'_> {
    /// Runs until it is dropped.
    pub(crate) async fn run(self, mut screen: Option<&mut Screen>) -> io::Result<()> {
        let mut api = Api::new(self.api.clone());
        let mut timeline = Timeline::new(HISTORY_STEP);
        let mut totals: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut recent: Vec<Sample> = Vec::new();
        let (mut count, mut lock) = (0, LockState::default());
        for tick in 0_u32.. {
            let samples = self.load.recorder.since(count);
            count += samples.len();
            for sample in &samples {
                *totals.entry(sample.answer.code.name()).or_default() += 1;
                timeline.add(sample);
            }
            let now = self.load.recorder.now();
            recent.extend(samples);
            recent.retain(|sample| sample.answered + Duration::from_secs(1) > now);
            let stock = self.stock(&mut api).await;
            timeline.add_stock(now, stock);
            if tick % FIGURES_EVERY == 0 {
                lock = self.lock_state(now).await;
            }
            let began = Instant::now();
            if let Some(screen) = &mut screen {
                let mut snapshot = self.heading.clone();
                snapshot.elapsed = now;
                snapshot.stock = stock;
                snapshot.offered = u64::try_from(count).unwrap_or(u64::MAX);
                snapshot.answers = tallies(&totals, &recent);
                (snapshot.p50_ms, snapshot.p99_ms) = percentiles(&recent);
                snapshot.lock.clone_from(&lock);
                snapshot.faults.clone_from(&self.faults.lock());
                snapshot.history = timeline.until(now);
                screen.draw(&snapshot)?;
            } else if tick % LINE_EVERY == LINE_EVERY - 1 {
                print_progress(&self.heading, now, stock, &totals)?;
            }
            tokio::time::sleep(POLL.saturating_sub(began.elapsed())).await;
        }
        Ok(())
    }

    /// Units left of all products; `None` if the service does not answer.
    async fn stock(&self, api: &mut Api) -> Option<i64> {
        #[derive(Deserialize)]
        struct Left {
            stock: i64,
        }
        let mut sum = 0_i64;
        for offer in self.load.offers.iter().filter(|offer| !offer.is_yardstick) {
            let left =
                tokio::time::timeout(SAMPLE_TIMEOUT, api.get::<Left>(&offer.look, None)).await;
            sum = sum.saturating_add(left.ok()?.ok()?.stock);
        }
        let at = self.load.recorder.now();
        self.observed.lock().stock.push((at, Some(sum)));
        Some(sum)
    }

    async fn lock_state(&self, now: Duration) -> LockState {
        let reading = tokio::time::timeout(SAMPLE_TIMEOUT, Figures::read(&self.operations)).await;
        let (Ok(Some(figures)), Some(before)) = (reading, &self.before) else {
            return LockState::default();
        };
        let lock = figures.lock_since(before);
        let degraded = figures.lock_degraded();
        let mut observed = self.observed.lock();
        observed.degraded.push((now, degraded));
        observed.only_reads.push(figures.database_only_reads());
        observed.acquired.push((now, lock.acquired));
        drop(observed);
        LockState {
            known: true,
            acquired: lock.acquired,
            busy: lock.busy,
            lost: lock.lost,
            fence_rejected: lock.fence_rejected,
            degraded,
            nodes_healthy: whole(figures.sum("flash_sale_lock_nodes_healthy", &[])),
            nodes_total: self.heading.lock.nodes_total,
        }
    }
}

fn tallies(totals: &BTreeMap<&'static str, u64>, recent: &[Sample]) -> Vec<Tally> {
    let tally = |(code, total): (&&'static str, &u64)| {
        let last_second = recent
            .iter()
            .filter(|sample| sample.answer.code.name() == *code)
            .count();
        Tally {
            code: (*code).to_owned(),
            total: *total,
            last_second: u64::try_from(last_second).unwrap_or(u64::MAX),
        }
    };
    totals.iter().map(tally).collect()
}

/// The median and the 99th percentile of purchases, in milliseconds.
fn percentiles(recent: &[Sample]) -> (Option<f64>, Option<f64>) {
    let buys = recent.iter().filter(|sample| sample.is_buy());
    let mut times: Vec<Duration> = buys.map(Sample::latency).collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).copied().map(crate::timeline::millis)
    };
    (at(50), at(99))
}

/// A line of progress.
fn print_progress(
    heading: &Snapshot,
    now: Duration,
    stock: Option<i64>,
    totals: &BTreeMap<&'static str, u64>,
) -> io::Result<()> {
    let answers: Vec<String> = totals
        .iter()
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    let stock = stock.map_or("?".to_owned(), |stock| stock.to_string());
    writeln!(
        io::stderr(),
        "{} {:>4.1} s: {stock} left; {}",
        heading.scenario,
        now.as_secs_f64(),
        answers.join(", ")
    )
}
