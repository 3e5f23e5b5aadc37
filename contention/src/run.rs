//! Executes one run: products, load, faults, evidence, checks, report.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use parking_lot::Mutex;
use rand::RngExt;

use crate::{
    checks,
    client::Address,
    driver::{
        self,
        requests::{Load, Route},
    },
    evidence::{Evidence, FaultEvidence, collect::collect},
    exporter::{Event, Meter},
    faults,
    figures::Figures,
    notes,
    record::Recorder,
    report::{Client, Fault, Run, live::Screen},
    scenario::{FaultKind, Scenario},
    service::{Design, Service},
    shop::Api,
    summary::{self, Summary},
    usage::Usage,
    watch::{Observed, Watch},
};

mod heading;

/// Time for the lock to come back after its nodes.
const LOCK_BACK_WITHIN: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(100);
/// If the load ends sooner than this after the last fault, later sales are not checked.
const AFTER_FAULT_LEAST: Duration = Duration::from_millis(500);

/// A run to execute.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) scenario: Scenario,
    pub(crate) nodes: u32,
    pub(crate) design: Design,
    /// Distinguishes runs of the same scenario.
    pub(crate) variant: String,
    pub(crate) seed: u64,
}

/// A unique name, which prefixes everything that the run creates.
pub(crate) fn run_name(scenario: &Scenario) -> String {
    let random: u32 = rand::rng().random();
    let name: String = scenario
        .name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(24)
        .collect();
    format!("contention-{name}-{random:08x}")
}

/// # Errors
/// When the run could not be executed; a broken promise is in the report instead.
pub(crate) async fn run(
    job: &Job,
    name: &str,
    mut service: Service,
    meter: &Meter,
    screen: Option<&mut Screen>,
) -> anyhow::Result<Run> {
    let scenario = &job.scenario;
    if let Some(reason) = faults::impossible(scenario, &service) {
        anyhow::bail!("{}: {reason}", scenario.name);
    }
    let load = set_up(job, name, &service, meter).await?;
    let operations = service.operations();
    let before = Figures::read(&operations).await;
    let faults = Mutex::default();
    let usage = Usage::now();
    let sending = Sending {
        job,
        load: &load,
        before: before.as_ref(),
        faults: &faults,
    };
    meter.event(Event::Start, "the load begins");
    let (done, observed) = sending.send(&mut service, screen).await?;
    meter.event(Event::End, "the last answer");
    let used = usage.since();
    if scenario.has_lock_fault() {
        wait_for_lock(&operations).await;
    }
    let after = Figures::read(&operations).await;
    let mut evidence = collect(scenario, &service, &load, job.seed).await?;
    let effects = Effects {
        done: &done,
        observed: &observed,
        after: after.as_ref(),
        before: before.as_ref(),
    };
    evidence.faults = effects.evidence(&evidence, scenario);
    let finished = Finished {
        job,
        service: &service,
        evidence: &evidence,
        figures: (before, after),
    };
    let summary = summary::summarise(&evidence, &observed.stock);
    let report = finished.report(summary, used, faults.into_inner());
    meter.checked(&report.checks);
    Ok(report)
}

/// Creates the users and the products.
async fn set_up(
    job: &Job,
    name: &str,
    service: &Service,
    meter: &Meter,
) -> anyhow::Result<Arc<Load>> {
    let scenario = &job.scenario;
    // One more for the greedy user.
    let buyers = scenario.users.saturating_add(1);
    let users = service.tokens.users(name, buyers)?;
    let mut api = Api::new(service.first()?.api.clone());
    let offers = api.offer(scenario, name, &users.admin.token).await?;
    if let (Some(database), 1..) = (&service.database, scenario.product.waiting) {
        for offer in &offers {
            let waiting = scenario.product.waiting;
            database.add_waiting(offer.id, waiting).await?;
        }
    }
    let load = Arc::new(Load {
        run: name.to_owned(),
        users,
        offers,
        quantity: scenario.quantity,
        retries: scenario.retries,
        is_full_service: job.design != Design::Naive,
        route: Route::default(),
        recorder: Recorder::new(Instant::now()),
        meter: meter.clone(),
        bad: Mutex::default(),
    });
    if scenario.has(FaultKind::PauseHolder) {
        // Until the fault all buyers use the node that is to be paused.
        load.route.set(Some(0));
    }
    Ok(load)
}

/// The inputs of the load.
struct Sending<'a> {
    job: &'a Job,
    load: &'a Arc<Load>,
    before: Option<&'a Figures>,
    faults: &'a Mutex<Vec<Fault>>,
}

impl Sending<'_> {
    /// Sends the load and injects the faults, while `watch` samples the service.
    async fn send(
        self,
        service: &mut Service,
        screen: Option<&mut Screen>,
    ) -> anyhow::Result<(faults::Done, Observed)> {
        let Self {
            job,
            load,
            before,
            faults,
        } = self;
        let observed = Mutex::default();
        let watch = Watch {
            load,
            api: service.first()?.api.clone(),
            operations: service.operations(),
            before: before.cloned(),
            faults,
            observed: &observed,
            heading: heading::of(job, service),
        };
        let nodes = service.addresses();
        let sending = async {
            let driving = driver::drive(load, &job.scenario, &nodes, job.seed);
            let injecting = faults::inject(&job.scenario, service, load, faults);
            let (driven, done) = tokio::join!(driving, Box::pin(injecting));
            driven.context("cannot reach the service")?;
            done
        };
        let done = tokio::select! {
            done = sending => done?,
            watched = watch.run(screen) => {
                watched?;
                anyhow::bail!("the watch ended early")
            }
        };
        Ok((done, observed.into_inner()))
    }
}

async fn wait_for_lock(operations: &[Address]) {
    let deadline = Instant::now() + LOCK_BACK_WITHIN;
    while Instant::now() < deadline {
        let figures = Figures::read(operations).await;
        if figures.is_none_or(|figures| !figures.lock_degraded()) {
            return;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// The effects of the faults, as observed from outside.
struct Effects<'a> {
    done: &'a faults::Done,
    observed: &'a Observed,
    after: Option<&'a Figures>,
    before: Option<&'a Figures>,
}

impl Effects<'_> {
    fn evidence(self, evidence: &Evidence, scenario: &Scenario) -> FaultEvidence {
        let Self {
            done,
            observed,
            after,
            before,
        } = self;
        let lock = scenario.has_lock_fault().then(|| {
            let last = observed
                .degraded
                .iter()
                .rev()
                .find(|(_, degraded)| *degraded);
            let taken_then = last.map(|(at, _)| {
                let by_then = observed.acquired.iter().filter(|(when, _)| when <= at);
                by_then
                    .map(|(_, acquired)| *acquired)
                    .max()
                    .unwrap_or_default()
            });
            let now = after
                .zip(before)
                .map(|(after, before)| after.lock_since(before).acquired);
            [
                last.is_some(),
                after.is_some_and(|after| !after.lock_degraded()),
                now.zip(taken_then).is_some_and(|(now, then)| now > then),
            ]
        });
        let end = evidence
            .samples
            .last()
            .map(|sample| sample.answered)
            .unwrap_or_default();
        let won_afterwards = done
            .over
            .filter(|over| end.saturating_sub(*over) > AFTER_FAULT_LEAST)
            .map(|over| {
                let won = evidence
                    .buys()
                    .filter(|sample| sample.sent > over && sample.answer.won());
                u64::try_from(won.count()).unwrap_or(u64::MAX)
            });
        let read_only = scenario.has(FaultKind::RefuseWrites).then(|| {
            let seen = observed.only_reads.iter().any(|only_reads| *only_reads);
            [
                seen,
                after.is_some_and(|after| !after.database_only_reads()),
            ]
        });
        FaultEvidence {
            lock,
            read_only,
            paused: done.paused,
            flood: done.flood,
            won_afterwards,
        }
    }
}

/// The inputs of a report.
struct Finished<'a> {
    job: &'a Job,
    service: &'a Service,
    evidence: &'a Evidence,
    /// Before and after.
    figures: (Option<Figures>, Option<Figures>),
}

impl Finished<'_> {
    fn report(self, summary: Summary, used: Usage, faults: Vec<Fault>) -> Run {
        let scenario = &self.job.scenario;
        let grown = self.figures.0.as_ref().zip(self.figures.1.as_ref());
        let service_cores = grown.map_or(0.0, |(before, after)| {
            (after.cpu_seconds() - before.cpu_seconds()) / used.wall_seconds().max(0.001)
        });
        let client = Client {
            cores: used.cores(),
            late_p99_ms: summary.late_p99_ms,
            bottleneck: used.is_bottleneck(service_cores, &summary, scenario),
        };
        let mut faults = faults;
        for fault in &mut faults {
            fault.at_ms = (fault.at_ms - crate::timeline::millis(summary.first)).max(0.0);
        }
        Run {
            scenario: scenario.name.clone(),
            variant: self.job.variant.clone(),
            question: scenario.question.clone(),
            seed: self.job.seed,
            service: self.service.describe(),
            users: scenario.users.into(),
            stock: u64::from(scenario.stock) * u64::from(scenario.products),
            quantity: scenario.quantity,
            seconds: summary.seconds,
            offered: summary.offered,
            units: summary::units(self.evidence, &scenario.expect),
            sold_out_after_ms: summary.sold_out_after_ms,
            lock: grown
                .map(|(before, after)| after.lock_since(before))
                .unwrap_or_default(),
            batches: grown
                .map(|(before, after)| after.batches_since(before))
                .unwrap_or_default(),
            figures: notes::figures(scenario, self.evidence, &summary, grown, &used),
            checks: checks::all(self.evidence, &scenario.expect),
            answers: summary.answers,
            latency: summary.latency,
            timeline: summary.timeline,
            faults,
            client,
        }
    }
}
