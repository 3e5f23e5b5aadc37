//! Verification job: checks the invariants on a schedule and exports what it finds.
//!
//! It must never hurt sales: it uses a connection of reads, one core of the database, a time limit
//! for each statement, and a rest as long as the statement after it.

use std::time::{Duration, Instant};

use crate::{
    domain::jitter,
    metrics,
    store::{Breach, Error, Store},
    tasks::Tasks,
    verify::{INVARIANTS, Invariant},
};

/// Time limit of a query. With a million orders the slowest takes about one.
const QUERY_WITHIN: Duration = Duration::from_secs(20);
/// What still breaks an invariant after this time is a problem: some may be broken for up to a
/// second, until the service itself has mended them.
const MENDED_WITHIN: Duration = Duration::from_secs(3);

/// Checks until the service stops; `every` of 0 disables the job. Nodes check at different times,
/// because a pause is random by a half.
pub async fn run(store: Store, every: Duration, tasks: Tasks) {
    let has_room = store
        .pools()
        .any(|pool| pool.name == "read" && pool.max > 1);
    if !has_room && !every.is_zero() {
        tracing::info!(
            "the invariants are not checked: there is one connection for reads, and they would wait \
             for the checks; raise DATABASE_POOL_MAX"
        );
    }
    let every = if has_room { every } else { Duration::ZERO };
    metrics::verify::interval(every);
    if every.is_zero() {
        return;
    }
    for invariant in INVARIANTS {
        metrics::verify::problems(invariant.check, 0);
    }
    while tasks.pause(jitter(every)).await {
        tokio::select! {
            () = tasks.stopped() => return,
            () = check_all(&store) => {}
        }
    }
}

async fn check_all(store: &Store) {
    let began = Instant::now();
    let mut found = Vec::new();
    for invariant in INVARIANTS {
        let began = Instant::now();
        match problems(store, &invariant).await {
            Ok(problems) => found.push((invariant, problems)),
            Err(error) => {
                metrics::verify::failed();
                let name = invariant.name;
                tracing::warn!(
                    check = invariant.check,
                    "cannot verify \"{name}\": {}",
                    error.chain()
                );
                return;
            }
        }
        tokio::time::sleep(began.elapsed()).await;
    }
    for (invariant, problems) in found {
        metrics::verify::problems(invariant.check, problems.len());
        for Breach { subject, detail } in problems {
            tracing::error!(
                check = invariant.check,
                subject,
                "\"{}\" is broken: {subject}: {detail}",
                invariant.name
            );
        }
    }
    let at = store.now().timestamp_millis();
    metrics::verify::completed(Duration::from_millis(at.unsigned_abs()), began.elapsed());
}

/// The rows that break the invariant now, and still do after the service had time to mend them.
async fn problems(store: &Store, invariant: &Invariant) -> Result<Vec<Breach>, Error> {
    let first = invariant.breaches_within(store, QUERY_WITHIN).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(MENDED_WITHIN).await;
    let mut second = invariant.breaches_within(store, QUERY_WITHIN).await?;
    second.retain(|row| first.iter().any(|before| before.subject == row.subject));
    Ok(second)
}
