//! A long waitlist: joining, joining again, replays, positions and `/me/events` cost the same for
//! any number of entries, and positions are exact.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    shop::{Backend, Shop},
    tokens, when,
};

const LONG: i64 = 200_000;
/// Rows that all calls of `make_calls` may read: each place costs a few hundred at most, where a
/// count over the waitlist would read all of it.
const READ_MAX: i64 = 40_000;

/// Entries for two units each, as other buyers would have made them.
async fn insert_entries(shop: &Shop, product: Uuid, entries: i64) {
    let insert = format!(
        "INSERT INTO waitlist_entries (id, product_id, user_id, quantity, status, created_at) \
         SELECT gen_random_uuid(), '{product}', 'other-' || n, 2, 'waiting', now() \
         FROM generate_series(1, {entries}) AS n"
    );
    shop.ledger.execute(&insert).await;
}

/// Each call that reads or writes a place; the waitlist has `before` entries.
async fn make_calls(shop: &Shop, product: Uuid, before: i64) {
    let service = shop.service();
    let last = before + 10;
    for buyer in 0..10 {
        let user = format!("buyer-{buyer}");
        let join = || service.order_or_wait(&user, product, 2).key("k");
        let joined = join().send().await.success(202);
        assert_eq!(joined["waitlist"]["position"], before + buyer + 1);
        join().send().await.success(202);
    }
    for buyer in 0..10 {
        let user = format!("buyer-{buyer}");
        let again = service.join(&user, product, 2).await;
        assert_eq!(again, before + buyer + 1);
        assert_eq!(service.position(&user, product).await, Some(again));
    }
    let ann = service.get("/me/events").bearer(&tokens::user("buyer-9"));
    let mut ann = Events::open(ann).await;
    let place = |position: i64| {
        move |kind: &str, data: &serde_json::Value| {
            kind == "waitlist" && data["position"] == position
        }
    };
    ann.until(place(last), SOON).await;
    let left = service.leave("buyer-3", product).send().await;
    assert_eq!(left.status, 204, "{left:?}");
    ann.until(place(last - 1), SOON).await;
    // One unit is reserved, and every entry wants two.
    service.restock(product, 1).await.success(200);
    service.join("late", product, 2).await;
    // Serves the first entry.
    service.restock(product, 1).await.success(200);
    ann.until(place(last - 2), SOON).await;
}

async fn reset_counts(shop: &Shop) {
    for statement in [
        "SELECT pg_stat_force_next_flush()",
        "SELECT pg_stat_reset()",
    ] {
        shop.ledger.execute(statement).await;
    }
}

/// Rows of the waitlist that were read since the counts were reset, with the tables and indexes
/// that they were read from.
async fn rows_read(shop: &mut Shop) -> (i64, Vec<String>) {
    shop.nodes[0].stop().await;
    let others = "SELECT COUNT(*)::text FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("its connections are closed", SOON, async || {
        when(shop.ledger.texts(others).await == ["0"])
    })
    .await;
    let reads = "SELECT seq_tup_read || ' ' || relname FROM pg_stat_user_tables \
                 WHERE relname LIKE 'waitlist_%' UNION ALL \
                 SELECT idx_tup_read || ' ' || indexrelname FROM pg_stat_user_indexes \
                 WHERE relname LIKE 'waitlist_%'";
    let reads = shop.ledger.texts(reads).await;
    let rows = |read: &String| -> i64 { read.split_once(' ').unwrap().0.parse().unwrap() };
    (reads.iter().map(rows).sum(), reads)
}

/// By the reads that PostgreSQL itself counts.
#[rstest]
#[case::in_order(false)]
#[case::with_waitlist_skip(true)]
#[tokio::test]
async fn a_long_waitlist_costs_no_more_than_a_short_one(#[case] skip: bool) {
    let mut shop = Shop::plan(Backend::Postgres).patient().open().await;
    let terms = json!({ "hold_seconds": 600, "waitlist": true, "waitlist_skip": skip });
    let product = shop.service().product(0, terms).await;
    insert_entries(&shop, product, LONG).await;
    let analyze = "VACUUM ANALYZE waitlist_entries";
    shop.ledger.execute(analyze).await;
    reset_counts(&shop).await;

    make_calls(&shop, product, LONG).await;

    let (read, reads) = rows_read(&mut shop).await;
    assert!(read < READ_MAX, "{read} rows of {LONG}: {reads:?}");
    assert!(read > 100, "the reads were not counted: {reads:?}");
    shop.assert_books(product).await;
}

/// PostgreSQL analyzes a table a minute after it has grown; until then it plans for a small one.
#[rstest]
#[case::in_order(false)]
#[case::with_waitlist_skip(true)]
#[tokio::test]
async fn the_search_for_entries_to_serve_reads_no_whole_waitlist(#[case] skip: bool) {
    let mut shop = Shop::plan(Backend::Postgres).patient().open().await;
    let terms = json!({ "hold_seconds": 600, "waitlist": true, "waitlist_skip": skip });
    let product = shop.service().product(0, terms).await;
    insert_entries(&shop, product, LONG).await;
    reset_counts(&shop).await;

    // As a node that died before it served the first entries leaves it.
    let units = "UPDATE products SET stock_total = 600, stock = 600, stock_reserved = 600";
    shop.ledger.execute(units).await;
    eventually("the first entries are served", SOON, async || {
        when(shop.ledger.orders(product).await.len() == 300)
    })
    .await;

    let (read, reads) = rows_read(&mut shop).await;
    assert!(read < READ_MAX, "{read} rows of {LONG}: {reads:?}");
    shop.assert_books(product).await;
}

/// The next entry gets this number of the sequence.
async fn continue_at(shop: &Shop, backend: Backend, position: i64) {
    let before = position - 1;
    let statement = if backend == Backend::Sqlite {
        format!("UPDATE sqlite_sequence SET seq = {before} WHERE name = 'waitlist_entries'")
    } else {
        format!("SELECT setval('waitlist_entries_position_seq', {before})")
    };
    shop.ledger.execute(&statement).await;
}

/// Entries of any numbers of the sequence: it has gaps, and blocks are counted by it.
#[rstest]
#[case::sqlite(Backend::Sqlite, 1)]
#[case::sqlite_again(Backend::Sqlite, 2)]
#[case::three_nodes(Backend::ThreeNodes, 3)]
#[case::three_nodes_again(Backend::ThreeNodes, 4)]
#[tokio::test]
async fn positions_are_exact_after_joins_leaves_and_offers(
    #[case] backend: Backend,
    #[case] seed: u64,
) {
    let shop = Shop::plan(backend).patient().open().await;
    let mut random = StdRng::seed_from_u64(seed);
    let terms = json!({ "hold_seconds": 600, "waitlist": true });
    let product = shop.service().product(0, terms).await;
    let (mut queue, mut position) = (Vec::<String>::new(), 1_i64);

    for step in 0..60 {
        let node = &shop.nodes[random.random_range(0..shop.nodes.len())];
        match random.random_range(0..10) {
            0..6 => {
                let user = format!("user-{step}");
                let place = node.join(&user, product, 1).await;
                queue.push(user);
                assert_eq!(place, i64::try_from(queue.len()).unwrap(), "{queue:?}");
                // Into the same block, the next one, or far behind.
                position += [1, 1, 250, 70_000, 17_000_000][random.random_range(0..5)];
                continue_at(&shop, backend, position).await;
            }
            6..8 if !queue.is_empty() => {
                let user = queue.remove(random.random_range(0..queue.len()));
                let left = node.call(Method::DELETE, &format!("/products/{product}/waitlist"));
                let left = left.bearer(&tokens::user(&user)).send().await;
                assert_eq!(left.status, 204, "{left:?}");
            }
            8 if !queue.is_empty() => {
                node.restock(product, 1).await.success(200);
                queue.remove(0);
            }
            _ => {}
        }
        let reader = &shop.nodes[random.random_range(0..shop.nodes.len())];
        for (before, user) in queue.iter().enumerate().skip(step % 4).step_by(4) {
            let place = i64::try_from(before + 1).unwrap();
            assert_eq!(reader.position(user, product).await, Some(place), "{user}");
        }
    }

    shop.assert_books(product).await;
}
