//! Injects the faults of a scenario on schedule, only into processes that this run started.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;

use crate::{
    driver::requests::Load,
    report::Fault,
    scenario::{FaultKind, Scenario},
    service::{Service, database::Database},
    timeline::millis,
};

pub(crate) mod holder;

/// What was done, for the report and for the checks.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// When the last fault was over.
    pub(crate) over: Option<Duration>,
    pub(crate) paused: Option<holder::Paused>,
}

/// Whether the service under test can be given these faults, and if not, why.
pub(crate) fn impossible(scenario: &Scenario, service: &Service) -> Option<&'static str> {
    let redis = scenario.has(FaultKind::KillRedis) || scenario.has(FaultKind::StartRedis);
    let database = scenario.has(FaultKind::StopDatabase) || scenario.has(FaultKind::StartDatabase);
    let can_stop = service.database.as_ref().is_some_and(Database::can_stop);
    if scenario.fault.is_empty() {
        None
    } else if !service.is_own() {
        Some("faults are injected only into a service that this started")
    } else if redis && service.redis.is_none() {
        Some("it needs lock nodes that this started: install redis-server")
    } else if database && !can_stop {
        Some("it needs a database that this started")
    } else if scenario.has(FaultKind::PauseHolder) && service.nodes.len() < 2 {
        Some("it needs two nodes at least")
    } else if scenario.has(FaultKind::PauseHolder) && service.redis.is_none() {
        Some("it needs lock nodes that this started: install redis-server")
    } else {
        None
    }
}

pub(crate) async fn inject(
    scenario: &Scenario,
    service: &mut Service,
    load: &Load,
    told: &Mutex<Vec<Fault>>,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    for fault in &scenario.fault {
        let at = Duration::from_millis(fault.at_ms.into());
        tokio::time::sleep(at.saturating_sub(load.recorder.now())).await;
        let tell = |what: String| {
            let at_ms = millis(load.recorder.now());
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(Fault { at_ms, what });
        };
        match fault.what {
            FaultKind::KillRedis => {
                let redis = service.redis.as_mut().context("no Redis nodes of ours")?;
                tokio::task::block_in_place(|| redis.kill());
                tell("all Redis nodes killed".to_owned());
            }
            FaultKind::StartRedis => {
                let redis = service.redis.as_mut().context("no Redis nodes of ours")?;
                tokio::task::block_in_place(|| redis.restart())?;
                tell("all Redis nodes back".to_owned());
            }
            FaultKind::StopDatabase => {
                let database = service.database.as_mut().context("no database of ours")?;
                tell(database.stop().await?.to_owned());
            }
            FaultKind::StartDatabase => {
                let database = service.database.as_mut().context("no database of ours")?;
                tell(database.start().await?.to_owned());
            }
            FaultKind::PauseHolder => {
                done.paused = Some(holder::pause(service, load, &tell).await?);
            }
        }
        done.over = Some(load.recorder.now());
    }
    Ok(done)
}
