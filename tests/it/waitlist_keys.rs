//! `Idempotency-Key` of a waitlist place: replays the place and fits no other request.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    http::{Answer, Call},
    race::together,
    rival::Rival,
    shop::{Backend, Shop},
};

#[track_caller]
fn assert_replay(answer: &Answer) -> Value {
    let replayed = answer.header("idempotency-replayed");
    assert_eq!(replayed, Some("true"), "{answer:?}");
    answer.success(202)["waitlist"].clone()
}

fn keyed(front: &Front, user: &str, product: Uuid, key: &str) -> Call {
    front.order_or_wait(user, product, 1).key(key)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_key_of_a_place_replays_it_in_its_current_state(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    for user in ["first", "ann", "bob"] {
        keyed(service, user, product, "k").send().await.success(202);
    }
    let place = || async { assert_replay(&keyed(service, "ann", product, "k").send().await) };

    assert_eq!(place().await["position"], 2);
    let gone = service.leave("first", product).send().await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(place().await["position"], 1);
    service.restock(product, 1).await.success(200);
    let offered = place().await;
    let order = &service.orders_of("ann", product).await[0];
    assert_eq!(offered["status"], "offered");
    assert_eq!(offered["order_id"], order["id"]);
    assert_eq!(offered["position"], Value::Null);

    // Also after the waitlist was disabled.
    let change = service.change(product, &json!({ "waitlist": false })).await;
    change.success(200);
    let place = assert_replay(&keyed(service, "bob", product, "k").send().await);
    assert_eq!(place["position"], 1);
    assert_eq!(shop.ledger.orders(product).await.len(), 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_key_of_a_place_is_refused_for_other_requests(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    let [plain, other] = [
        service.product(5, json!({})).await,
        service.product(5, json!({ "waitlist": true })).await,
    ];
    keyed(service, "ann", product, "k")
        .send()
        .await
        .success(202);

    for call in [
        service.order_or_wait("ann", product, 2),
        service.order("ann", product, 1),
        service.order("ann", plain, 1),
        service.order_or_wait("ann", other, 1),
    ] {
        let answer = call.key("k").send().await;
        answer.refusal(422, "idempotency_key_reused");
    }
    assert_eq!(shop.ledger.everything().await.1.len(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_at_once_with_one_key_make_one_place(#[case] backend: Backend) {
    let shop = Shop::plan(backend).patient().open().await;
    let product = shop.service().sold_out().await;

    let nodes = shop.nodes.iter().cycle().take(50);
    let calls = nodes.map(|node| keyed(node, "ann", product, "k"));
    let answers = together(calls.collect()).await;

    assert!(
        answers
            .iter()
            .all(|answer| answer.success(202)["waitlist"]["position"] == 1)
    );
    let firsts = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none());
    assert_eq!(firsts.count(), 1);
    assert_eq!(shop.ledger.entries(product).await.len(), 1);
}

/// Slows each row before its key is written, so that two batches write keys at the same time.
const SLOW_JOINS: [&str; 2] = [
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$",
    "CREATE TRIGGER slow_join BEFORE INSERT ON waitlist_entries FOR EACH ROW EXECUTE FUNCTION slow()",
];
/// PostgreSQL looks for deadlocks before the lock time-out of the service ends them, and counts
/// them; for new connections.
const FIND_DEADLOCKS: &str = "\
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 10', current_database()); \
    END $$";

/// Each user sends one key for two products. The batches meet at every key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_with_the_same_keys_do_not_deadlock() {
    const USERS: usize = 24;
    let mut shop = Shop::plan(Backend::Postgres).patient().open().await;
    shop.ledger.execute(FIND_DEADLOCKS).await;
    shop.restart(0).await;
    let service = shop.service();
    let products = [service.sold_out().await, service.sold_out().await];
    let mut rivals = Vec::new();
    for product in products {
        rivals.push(Rival::holds(&shop, product).await);
    }
    for statement in SLOW_JOINS {
        shop.ledger.execute(statement).await;
    }

    let both = |number: usize| {
        // In opposite orders of arrival.
        let users = [number, USERS - 1 - number];
        [0, 1].map(|at| {
            let user = format!("user-{}", users[at]);
            keyed(service, &user, products[at], "k")
        })
    };
    let calls: Vec<_> = (0..USERS).flat_map(both).collect();
    let release = async {
        service.has_queued(u32::try_from(2 * USERS).unwrap()).await;
        for rival in rivals {
            rival.leaves(shop.redis()).await;
        }
    };
    let (answers, ()) = tokio::join!(together(calls), release);

    let placed = answers.iter().filter(|answer| answer.status == 202);
    assert_eq!(placed.count(), USERS, "each key once");
    for product in products {
        shop.assert_books(product).await;
    }
    // Its connections report what they counted when they end.
    shop.nodes[0].stop().await;
    let deadlocks = "SELECT deadlocks::text FROM pg_stat_database \
                     WHERE datname = current_database() AND numbackends = 1";
    let deadlocks = eventually("the connections are closed", SOON, async || {
        shop.ledger.texts(deadlocks).await.pop()
    })
    .await;
    assert_eq!(deadlocks, "0");
}
