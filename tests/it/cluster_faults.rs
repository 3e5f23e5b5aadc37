//! Faults of whole machines in the cluster of `scripts/cluster`: no order that was confirmed to its
//! buyer is lost, none is made twice.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use test_support::dashboards;

use crate::support::{
    cluster::Cluster,
    eventually,
    ledger::Ledger,
    load::{Load, Told, door},
    repository,
    service::{ended, program},
    when,
};

/// A fail-over, with times for a busy machine.
const FAILS_OVER_WITHIN: Duration = Duration::from_mins(2);
const BUYERS: usize = 4;
/// Tries of each buyer while only one server is left.
const ALONE: usize = 4;

fn undecided(told: &Told) -> usize {
    let undecided = ["unavailable", "outcome_unknown"].map(|code| told.refused(code));
    undecided.iter().sum::<usize>() + told.broken
}

async fn sells_again(load: &Load) {
    let before = load.told().orders.len();
    eventually("the cluster sells again", FAILS_OVER_WITHIN, async || {
        when(load.told().orders.len() >= before + 20)
    })
    .await;
}

/// Waits until so many more tries have failed.
async fn fails(load: &Load, more: usize) -> Told {
    let before = undecided(&load.told());
    eventually("orders fail", FAILS_OVER_WITHIN, async || {
        let told = load.told();
        (undecided(&told) >= before + more).then_some(told)
    })
    .await
}

/// The primary's machine dies; then that of the only standby that is left, so that no commit can
/// reach a second machine; then both come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_confirmed_order_is_lost_when_machines_of_the_database_die() {
    let cluster = Cluster::start().await;
    let product = cluster.front.product(1_000_000, json!({})).await;
    let load = Load::start(&[door(cluster.front.clone())], product, BUYERS);
    sells_again(&load).await;
    let dashboard = repository("grafana/dashboards/cluster.json");
    for query in dashboards::queries(&dashboard).unwrap() {
        if !query.is_annotation {
            cluster.measures(&query.text).await;
        }
    }
    let primary = cluster.run(&["primary"]).await;

    cluster.run(&["kill", "primary"]).await;
    fails(&load, 1).await;
    sells_again(&load).await;
    assert_ne!(cluster.run(&["primary"]).await, primary);

    cluster.run(&["kill", "standbys"]).await;
    // From then on the manager could let the last server commit alone.
    eventually("both are taken for dead", FAILS_OVER_WITHIN, async || {
        let status = cluster.run(&["status"]).await;
        when(status.matches("not healthy").count() == 2)
    })
    .await;
    // Those that were confirmed before they died have been told by then.
    let told = fails(&load, 2 * BUYERS).await;
    let alone = fails(&load, ALONE * BUYERS).await;
    assert_eq!(
        told.orders.len(),
        alone.orders.len(),
        "confirmed by one machine"
    );

    cluster.run(&["heal"]).await;
    sells_again(&load).await;
    let told = load.finish().await;
    let ledger = Ledger::open(&cluster.database_url).await;
    let orders = ledger.orders(product).await;
    let ids: BTreeSet<String> = orders.iter().map(|order| order.id.to_string()).collect();
    let lost = told.orders.iter().filter(|id| !ids.contains(*id)).count();
    assert_eq!(lost, 0, "of {} orders", told.orders.len());
    // A buyer repeats the order with one key until it is confirmed.
    assert_eq!(orders.len(), told.served);
    ledger.assert_conserved(product).await;
    let verify = ["verify", "--database-url", &cluster.database_url];
    let verified = ended(program().args(verify));
    assert!(verified.status.success(), "{verified:?}");
}
