//! The heading of the live view: the constant part of a snapshot.

use super::Job;
use crate::{
    report::live::{LockState, Snapshot},
    service::Service,
};

pub(super) fn of(job: &Job, service: &Service) -> Snapshot {
    let scenario = &job.scenario;
    let described = service.describe();
    let nodes = match described.nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let planned = scenario.planned();
    let lock_nodes = service.redis.as_ref().map_or(0, |redis| redis.urls().len());
    Snapshot {
        scenario: scenario.name.clone(),
        variant: job.variant.clone(),
        question: scenario.question.clone(),
        service: format!("{nodes} · {} · {}", described.database, described.lock),
        step: "selling".to_owned(),
        users: scenario.users.into(),
        planned: (!planned.is_zero()).then_some(planned),
        stock_total: u64::from(scenario.stock) * u64::from(scenario.products),
        lock: LockState {
            nodes_total: u64::try_from(lock_nodes * service.nodes.len()).unwrap_or(0),
            ..LockState::default()
        },
        ..Snapshot::default()
    }
}
