//! Injects the faults of a scenario on schedule, only into processes that the run started.

use std::time::Duration;

use anyhow::Context;
use flash_sale::embedded::RedisNodes;
use parking_lot::Mutex;

use crate::{
    driver::requests::Load,
    exporter::Event,
    report::Fault,
    scenario::{FaultKind, Scenario},
    service::{Service, database::Database},
    timeline::millis,
};

pub(crate) mod flood;
pub(crate) mod holder;

/// The injected faults, for the report and the checks.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// When the last fault ended.
    pub(crate) over: Option<Duration>,
    pub(crate) paused: Option<holder::Paused>,
    pub(crate) flood: Option<flood::Flood>,
}

/// Why the faults of a scenario cannot be injected into the service; `None` if they can.
pub(crate) fn impossible(scenario: &Scenario, service: &Service) -> Option<&'static str> {
    let redis = scenario.has_lock_fault() || scenario.has(FaultKind::StartRedis);
    let database = scenario.has(FaultKind::StopDatabase) || scenario.has(FaultKind::StartDatabase);
    let can_stop = service.database.as_ref().is_some_and(Database::can_stop);
    let can_pause = service.is_own() && service.nodes.len() > 1;
    if scenario.expect.take_over && !can_pause {
        Some("it needs at least two nodes that this run started")
    } else if scenario.product.waiting > 0 && service.database.is_none() {
        Some("it adds waiting buyers to a database that this run knows")
    } else if scenario.fault.is_empty() {
        None
    } else if !service.is_own() {
        Some("faults are injected only into a service that this run started")
    } else if redis && service.redis.is_none() {
        Some("it needs lock nodes that this run started: install redis-server")
    } else if database && !can_stop {
        Some("it needs a database that this run started")
    } else if scenario.needs_postgres() && !has_postgres(service) {
        Some("it needs a PostgreSQL that this run started")
    } else if scenario.has(FaultKind::PauseHolder) && service.nodes.len() < 2 {
        Some("it needs at least two nodes")
    } else if scenario.has(FaultKind::FloodStreams) && scenario.connections_max.is_none() {
        Some("it needs connections_max, which the flood has to exceed")
    } else if scenario.has(FaultKind::PauseHolder) && service.redis.is_none() {
        Some("it needs lock nodes that this run started: install redis-server")
    } else {
        None
    }
}

fn has_postgres(service: &Service) -> bool {
    let database = service.database.as_ref();
    database.is_some_and(|database| database.can_stop() && !database.is_file())
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
            load.meter.event(Event::Fault, &what);
            faults.lock().push(Fault { at_ms, what });
        };
        if fault.what == FaultKind::PauseHolder {
            done.paused = Some(holder::pause(service, load, &report).await?);
        } else if fault.what == FaultKind::FloodStreams {
            let bound = scenario.connections_max.context("no connections_max")?;
            done.flood = Some(flood::flood(service, load, bound, &report).await?);
        } else {
            report(apply(fault.what, service).await?.to_owned());
        }
        done.over = Some(load.recorder.now());
    }
    Ok(done)
}

/// Begins or ends a fault of a part, and describes it for the report.
async fn apply(kind: FaultKind, service: &mut Service) -> anyhow::Result<&'static str> {
    let redis = service.redis.as_mut();
    let redis = redis.context("this run started no Redis nodes");
    let database = service.database.as_mut();
    let database = database.context("this run started no database");
    match kind {
        FaultKind::KillRedis => {
            let redis = redis?;
            tokio::task::block_in_place(|| redis.kill());
            Ok("all Redis nodes killed")
        }
        FaultKind::StartRedis => {
            let redis = redis?;
            tokio::task::block_in_place(|| redis.restart())?;
            Ok("all Redis nodes back")
        }
        FaultKind::RefuseLocks => {
            // Of a master that does not exist: a replica refuses writes all the same.
            on_all(redis?, &["REPLICAOF", "127.0.0.1", "1"]).await?;
            Ok("all Redis nodes are replicas")
        }
        FaultKind::TakeLocks => {
            on_all(redis?, &["REPLICAOF", "NO", "ONE"]).await?;
            Ok("all Redis nodes take writes again")
        }
        FaultKind::StopDatabase => database?.stop().await,
        FaultKind::StartDatabase => database?.start().await,
        FaultKind::RefuseWrites => database?.only_reads(true).await,
        FaultKind::TakeWrites => database?.only_reads(false).await,
        FaultKind::PauseHolder | FaultKind::FloodStreams => {
            anyhow::bail!("this fault needs the load")
        }
    }
}

/// Runs a command on every node.
async fn on_all(nodes: &RedisNodes, words: &[&str]) -> anyhow::Result<()> {
    for url in nodes.urls() {
        let client = redis::Client::open(url.expose())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.exec_async(&mut connection).await?;
    }
    Ok(())
}
