//! Injects the faults of a scenario on schedule, only into processes that the run started.

use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

use crate::{
    driver::requests::Load,
    report::Fault,
    scenario::{FaultKind, Scenario},
    service::{Service, database::Database},
    timeline::millis,
};

pub(crate) mod holder;

/// The injected faults, for the report and the checks.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// When the last fault ended.
    pub(crate) over: Option<Duration>,
    pub(crate) paused: Option<holder::Paused>,
}

/// Why the faults of a scenario cannot be injected into the service; `None` if they can.
pub(crate) fn impossible(scenario: &Scenario, service: &Service) -> Option<&'static str> {
    let redis = scenario.has(FaultKind::KillRedis) || scenario.has(FaultKind::StartRedis);
    let database = scenario.has(FaultKind::StopDatabase) || scenario.has(FaultKind::StartDatabase);
    let can_stop = service.database.as_ref().is_some_and(Database::can_stop);
    if scenario.fault.is_empty() {
        None
    } else if !service.is_own() {
        Some("faults are injected only into a service that this run started")
    } else if redis && service.redis.is_none() {
        Some("it needs lock nodes that this run started: install redis-server")
    } else if database && !can_stop {
        Some("it needs a database that this run started")
    } else if scenario.has(FaultKind::PauseHolder) && service.nodes.len() < 2 {
        Some("it needs at least two nodes")
    } else if scenario.has(FaultKind::PauseHolder) && service.redis.is_none() {
        Some("it needs lock nodes that this run started: install redis-server")
    } else {
        None
    }
}

pub(crate) async fn inject(
    scenario: &Scenario,
    service: &mut Service,
    load: &Load,
    faults: &Mutex<Vec<Fault>>,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    for fault in &scenario.fault {
        let at = Duration::from_millis(fault.at_ms.into());
        tokio::time::sleep(at.saturating_sub(load.recorder.now())).await;
        let report = |what: String| {
            let at_ms = millis(load.recorder.now());
            faults.lock().push(Fault { at_ms, what });
        };
        match fault.what {
            FaultKind::KillRedis => {
                let redis = service
                    .redis
                    .as_mut()
                    .context("this run started no Redis nodes")?;
                tokio::task::block_in_place(|| redis.kill());
                report("all Redis nodes killed".to_owned());
            }
            FaultKind::StartRedis => {
                let redis = service
                    .redis
                    .as_mut()
                    .context("this run started no Redis nodes")?;
                tokio::task::block_in_place(|| redis.restart())?;
                report("all Redis nodes back".to_owned());
            }
            FaultKind::StopDatabase => {
                let database = service
                    .database
                    .as_mut()
                    .context("this run started no database")?;
                report(database.stop().await?.to_owned());
            }
            FaultKind::StartDatabase => {
                let database = service
                    .database
                    .as_mut()
                    .context("this run started no database")?;
                report(database.start().await?.to_owned());
            }
            FaultKind::PauseHolder => {
                done.paused = Some(holder::pause(service, load, &report).await?);
            }
        }
        done.over = Some(load.recorder.now());
    }
    Ok(done)
}
