//! Checks of runs with faults: the lock comes back, the fence rejects, nobody is turned away, streams
//! leave connections, sales go on.

use flash_sale::domain::Code;

use super::{Evidence, check_result};
use crate::{
    faults::{flood::Flood, holder::Paused},
    report::{Check, codes::AnswerCode},
};

pub(super) fn all(evidence: &Evidence) -> Vec<Check> {
    let checks = [
        lock_back(evidence),
        read_only_noticed(evidence),
        fenced(evidence),
        passed_by(evidence),
        requests_have_places(evidence),
        sales_go_on(evidence),
    ];
    checks.into_iter().flatten().collect()
}

fn read_only_noticed(evidence: &Evidence) -> Option<Check> {
    let observed = evidence.faults.read_only?;
    let steps = [
        "no node noticed that the database only reads",
        "a node still takes the database for one that only reads",
    ];
    let missing = observed
        .iter()
        .zip(steps)
        .filter(|(observed, _)| !**observed);
    Some(check_result(
        "a database that only reads is noticed",
        "noticed, and noticed when it was over".to_owned(),
        missing.map(|(_, step)| step.to_owned()).collect(),
    ))
}

fn lock_back(evidence: &Evidence) -> Option<Check> {
    let observed = evidence.faults.lock?;
    let steps = [
        "the lock was never degraded: the fault had no effect",
        "the lock stayed degraded after the nodes were back",
        "no lock was taken after the nodes were back",
    ];
    let missing = observed
        .iter()
        .zip(steps)
        .filter(|(observed, _)| !**observed);
    let breaches = missing.map(|(_, step)| step.to_owned()).collect();
    let detail = "degraded without its nodes, then taken again".to_owned();
    Some(check_result(
        "the lock comes back with its nodes",
        detail,
        breaches,
    ))
}

fn fenced(evidence: &Evidence) -> Option<Check> {
    let Paused {
        pauses,
        with_lock: held,
        fence_rejected: rejected,
        must_reject,
        passed_by: _,
    } = evidence.faults.paused?;
    let mut breaches = Vec::new();
    if held == 0 {
        breaches.push(format!(
            "the paused node held the lock in none of {pauses} pauses"
        ));
    } else if rejected == 0 && must_reject {
        breaches.push(format!(
            "the fence rejected nothing after {held} pauses with the lock"
        ));
    }
    let detail = format!(
        "{held} of {pauses} pauses outlasted a held lock; the fence rejected {rejected} batches"
    );
    Some(check_result(
        "the fence rejects writes after the lock is lost",
        detail,
        breaches,
    ))
}

/// The lock of a paused holder is passed by, before anybody is refused for it.
fn passed_by(evidence: &Evidence) -> Option<Check> {
    let Paused {
        with_lock,
        passed_by,
        ..
    } = evidence.faults.paused?;
    let mut breaches: Vec<String> = evidence
        .buys()
        .filter(|sample| sample.answer.code == AnswerCode::Refused(Code::HighDemand))
        .map(|sample| {
            let (number, user) = (sample.planned.number, evidence.user(sample.planned.user));
            format!("order {number} of user {user} was answered high_demand")
        })
        .collect();
    if with_lock > 0 && passed_by == 0 {
        breaches.push("no batch passed the paused node's lock by".to_owned());
    }
    let detail = format!("{passed_by} batches passed the paused node's lock by");
    Some(check_result(
        "a paused holder turns nobody away",
        detail,
        breaches,
    ))
}

fn requests_have_places(evidence: &Evidence) -> Option<Check> {
    let Flood {
        opened,
        refused,
        failed,
        probes,
        unanswered,
    } = evidence.faults.flood?;
    let steps = [
        (opened == 0, "no event stream was opened".to_owned()),
        (
            refused == 0,
            "no event stream was refused: the flood reached no bound".to_owned(),
        ),
        (
            failed > 0,
            format!("{failed} event streams got another answer, or none"),
        ),
        (
            unanswered > 0,
            format!("{unanswered} of {probes} probes on new connections got no answer"),
        ),
    ];
    let breaches = steps.into_iter().filter(|(is_breach, _)| *is_breach);
    let detail = format!("{opened} streams open, {refused} refused; {probes} probes answered");
    Some(check_result(
        "event streams leave connections for requests",
        detail,
        breaches.map(|(_, breach)| breach).collect(),
    ))
}

fn sales_go_on(evidence: &Evidence) -> Option<Check> {
    let won = evidence.faults.won_afterwards?;
    let breaches = (won == 0).then(|| "no order was won after the fault".to_owned());
    let detail = format!("{won} orders won after the fault");
    Some(check_result(
        "sales go on after the fault",
        detail,
        breaches.into_iter().collect(),
    ))
}
