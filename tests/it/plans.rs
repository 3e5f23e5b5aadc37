//! Query plans on PostgreSQL: no query of the service reads hundreds of thousands of old rows.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    ledger::Ledger,
    race::together,
    shop::{Backend, Shop},
    tokens, when,
};

/// Ended orders and places, of the same product and users as the live ones.
const OLD: [&str; 2] = [
    "INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, status, \
        idempotency_key, idempotency_request, created_at, expires_at) \
     SELECT gen_random_uuid(), 'OLD-' || n, products.id, 'old-' || n % 5000, 1, 1, 'EUR', \
        CASE n % 2 WHEN 0 THEN 'expired' ELSE 'cancelled' END, 'key-' || n, 'old', \
        now() - interval '1 day', now() - interval '1 day' \
     FROM generate_series(1, 200000) AS n, products",
    "INSERT INTO waitlist_entries (id, product_id, user_id, quantity, status, idempotency_key, \
        idempotency_request, created_at) \
     SELECT gen_random_uuid(), products.id, 'old-' || n % 5000, 1, \
        CASE n % 2 WHEN 0 THEN 'offered' ELSE 'left' END, 'place-' || n, 'old', \
        now() - interval '1 day' \
     FROM generate_series(1, 200000) AS n, products",
];

/// A few live holds and waitlist entries.
const LIVE: [&str; 2] = [
    "INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, status, \
        created_at, expires_at) \
     SELECT gen_random_uuid(), 'LIVE-' || n, products.id, 'live-' || n, 1, 1, 'EUR', 'pending', \
        now(), now() + interval '1 hour' FROM generate_series(1, 200) AS n, products",
    "INSERT INTO waitlist_entries (id, product_id, user_id, quantity, status, created_at) \
     SELECT gen_random_uuid(), products.id, 'wait-' || n, 1, 'waiting', now() \
     FROM generate_series(1, 200) AS n, products",
];

async fn insert_rows(ledger: &Ledger) {
    let hold = "UPDATE products SET stock = stock - 200, version = version + 1";
    for statement in OLD.iter().chain(&LIVE).chain(&[hold, "ANALYZE"]) {
        ledger.execute(statement).await;
    }
}

async fn reset_counts(ledger: &Ledger) {
    for statement in [
        "SELECT pg_stat_force_next_flush()",
        "SELECT pg_stat_reset()",
    ] {
        ledger.execute(statement).await;
    }
}

/// Both tables, or their partitions that have rows: those of the one product.
const TABLES: &str =
    "relname ~ '^(orders|waitlist_entries)(_p[0-9]+)?$' AND pg_relation_size(relid) > 0";

/// Asserts that this column of PostgreSQL's statistics is 0 for both tables.
async fn assert_zero(ledger: &Ledger, column: &str) {
    let counts = format!(
        "SELECT regexp_replace(relname, '_p[0-9]+$', '') || ' ' || {column} \
         FROM pg_stat_user_tables WHERE {TABLES} ORDER BY relname"
    );
    assert_eq!(
        ledger.texts(&counts).await,
        ["orders 0", "waitlist_entries 0"]
    );
}

/// Asserts that no index returned more than so many rows.
async fn assert_few_reads(ledger: &Ledger, rows: u32) {
    let read = format!(
        "SELECT indexrelname || ' ' || idx_tup_read FROM pg_stat_user_indexes \
         WHERE {TABLES} AND idx_tup_read > {rows}"
    );
    let too_much = ledger.texts(&read).await;
    assert!(too_much.is_empty(), "{too_much:?}");
}

/// Stops the service, because its connections report their statistics when they end.
async fn flush_counts(shop: &mut Shop) {
    shop.nodes[0].stop().await;
    let others = "SELECT COUNT(*)::text FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("its connections are closed", SOON, async || {
        when(shop.ledger.texts(others).await == ["0"])
    })
    .await;
}

/// The queries of `src/store`, with values in place of parameters.
const QUERIES: [(&str, &str); 13] = [
    (
        "the next expiry",
        "SELECT * FROM orders WHERE status = 'pending' AND expires_at IS NOT NULL \
         ORDER BY expires_at LIMIT 1",
    ),
    (
        "products with due orders",
        "SELECT DISTINCT product_id FROM orders WHERE status = 'pending' AND expires_at <= now()",
    ),
    (
        "due orders",
        "SELECT * FROM orders WHERE product_id = $product AND status = 'pending' \
         AND expires_at <= now() ORDER BY expires_at LIMIT 1000",
    ),
    (
        "held units",
        "SELECT asked.user_id, held.units FROM unnest(ARRAY['old-1', 'old-2']) AS asked (user_id) \
         CROSS JOIN LATERAL (SELECT SUM(quantity) AS units FROM ( \
            SELECT quantity FROM orders WHERE product_id = $product AND user_id = asked.user_id \
                AND status IN ('pending', 'confirming', 'confirmed') \
            UNION ALL SELECT quantity FROM waitlist_entries WHERE product_id = $product \
                AND user_id = asked.user_id AND status = 'waiting') AS live) AS held",
    ),
    (
        "orders by key",
        "SELECT found.* FROM unnest(ARRAY['old-1'], ARRAY['key-1']) AS asked (user_id, key) \
         CROSS JOIN LATERAL (SELECT * FROM orders WHERE product_id = $product \
            AND user_id = asked.user_id AND idempotency_key = asked.key LIMIT 1) AS found",
    ),
    (
        "known keys",
        "SELECT asked.user_id, asked.key FROM unnest(ARRAY['old-1'], ARRAY['key-1']) \
            AS asked (user_id, key) CROSS JOIN LATERAL ( \
            (SELECT 1 FROM orders WHERE product_id = $product AND user_id = asked.user_id \
                AND idempotency_key = asked.key LIMIT 1) \
            UNION ALL (SELECT 1 FROM (SELECT idempotency_key FROM waitlist_entries \
                WHERE product_id = $product AND user_id = asked.user_id \
                AND idempotency_key >= asked.key ORDER BY idempotency_key LIMIT 1) AS next \
                WHERE next.idempotency_key = asked.key)) AS found",
    ),
    (
        "places by key",
        "SELECT found.* FROM unnest(ARRAY['old-1'], ARRAY['place-1']) AS asked (user_id, key) \
         CROSS JOIN LATERAL (SELECT * FROM waitlist_entries WHERE product_id = $product \
            AND user_id = asked.user_id AND idempotency_key >= asked.key \
            ORDER BY idempotency_key LIMIT 1) AS found WHERE found.idempotency_key = asked.key",
    ),
    (
        "a user's orders",
        "SELECT * FROM orders WHERE user_id = 'old-1' ORDER BY id DESC LIMIT 21",
    ),
    (
        "a user's orders of a product",
        "SELECT * FROM orders WHERE user_id = 'old-1' AND product_id = $product \
         AND status = 'pending' ORDER BY id DESC LIMIT 21",
    ),
    (
        "the queue",
        "SELECT * FROM waitlist_entries WHERE product_id = $product AND status = 'waiting' \
         ORDER BY position LIMIT 1000",
    ),
    (
        "the entries that fit",
        "WITH RECURSIVE sizes AS (SELECT MIN(quantity) AS quantity FROM waitlist_entries \
                WHERE product_id = $product AND status = 'waiting' \
            UNION ALL SELECT (SELECT MIN(quantity) FROM waitlist_entries \
                WHERE product_id = $product AND status = 'waiting' AND quantity > sizes.quantity) \
                FROM sizes WHERE sizes.quantity < 3) \
         SELECT entries.* FROM sizes CROSS JOIN LATERAL (SELECT * FROM waitlist_entries \
            WHERE product_id = $product AND status = 'waiting' \
                AND quantity >= sizes.quantity AND quantity <= sizes.quantity \
            ORDER BY quantity, position LIMIT 4) AS entries \
         WHERE sizes.quantity <= 3 ORDER BY entries.position LIMIT 1000",
    ),
    (
        "open payments",
        "SELECT id, payment_begun_at FROM orders WHERE payment_asked_at IS NOT NULL \
         AND payment_begun_at < now() ORDER BY payment_begun_at LIMIT 1000",
    ),
    (
        "unfinished payments",
        "UPDATE orders SET payment_asked_at = now(), payment_lease = id WHERE payment_asked_at < now() AND id IN \
         (SELECT id FROM orders WHERE payment_asked_at < now() LIMIT 100)",
    ),
];

#[tokio::test]
async fn every_query_uses_an_index() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(500, json!({})).await;
    insert_rows(&shop.ledger).await;
    // A partition without rows is read from end to end at no cost.
    let tables = "SELECT DISTINCT tableoid::regclass::text FROM orders \
                  UNION SELECT DISTINCT tableoid::regclass::text FROM waitlist_entries";
    let tables = shop.ledger.texts(tables).await;
    assert_eq!(tables.len(), 2, "{tables:?}");

    for (name, sql) in QUERIES {
        let sql = sql.replace("$product", &format!("'{product}'"));
        let plan = shop
            .ledger
            .texts(&format!("EXPLAIN {sql}"))
            .await
            .join("\n");
        for table in &tables {
            let reads_all = plan.contains(&format!("Seq Scan on {table} "));
            assert!(!reads_all, "{name}:\n{plan}");
        }
    }
}

/// Covers all queries of the service, by PostgreSQL's own read statistics.
#[tokio::test]
async fn the_whole_api_reads_no_old_rows() {
    let mut shop = Shop::open(Backend::Postgres).await;
    let terms = json!({ "hold_seconds": 1, "waitlist": true, "max_per_user": 9 });
    let product = shop.service().product(500, terms).await;
    insert_rows(&shop.ledger).await;
    reset_counts(&shop.ledger).await;

    make_all_calls(&shop, product).await;
    flush_counts(&mut shop).await;

    assert_zero(&shop.ledger, "seq_scan").await;
    assert_few_reads(&shop.ledger, 50_000).await;
    let used = "SELECT indexrelname::text FROM pg_stat_user_indexes WHERE idx_scan > 0";
    let used = shop.ledger.texts(used).await;
    assert!(used.len() > 5, "no index was counted: {used:?}");
}

/// PostgreSQL keeps a plan that it made while a table had one page, until it analyzes the table,
/// which takes it a minute: at the start of a drop a new shop's tables are as good as empty.
#[rstest]
#[case::never_analyzed("SELECT 1", json!({}))]
#[case::analyzed("ANALYZE", json!({}))]
#[case::with_limits("SELECT 1", json!({ "waitlist": true, "max_per_user": 100 }))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_made_for_a_small_table_does_not_read_a_large_one(
    #[case] before: &str,
    #[case] terms: Value,
) {
    let mut shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5_000, terms).await;
    shop.ledger.execute(before).await;
    // From its sixth execution on, a prepared statement may use one generic plan for all values.
    buy_with_keys(&shop, product, "small").await;
    for statement in OLD {
        shop.ledger.execute(statement).await;
    }
    reset_counts(&shop.ledger).await;

    buy_with_keys(&shop, product, "large").await;
    flush_counts(&mut shop).await;

    assert_zero(&shop.ledger, "seq_tup_read").await;
    assert_few_reads(&shop.ledger, 5_000).await;
}

/// Several batches of several users.
async fn buy_with_keys(shop: &Shop, product: Uuid, key: &str) {
    for _ in 0..12 {
        let users = (0..20).map(|user| format!("user-{user}"));
        let orders = users.map(|user| shop.service().order(&user, product, 1).key(&unique(key)));
        for answer in together(orders.collect()).await {
            answer.success(201);
        }
    }
}

fn unique(key: &str) -> String {
    format!("{key}-{}", Uuid::now_v7())
}

/// Each call of the contract that reads orders or places, and each job.
async fn make_all_calls(shop: &Shop, product: Uuid) {
    let service = shop.service();
    let mut events = Events::open(service.get("/me/events").bearer(&tokens::user("ann"))).await;
    for round in 0..5 {
        let key = format!("k-{round}");
        for _ in 0..2 {
            let call = service.order("ann", product, 1).key(&key);
            call.send().await.success(201);
        }
        service.buy("old-7", product, 1).await.success(201);
        let big = service.order_or_wait("old-8", product, 9).key(&key);
        let answer = big.send().await;
        assert!([201, 202, 409].contains(&answer.status), "{answer:?}");
        let orders = service.orders_of("ann", product).await;
        let order = orders[0]["id"].as_str().unwrap();
        let cancelled = service.cancel(&tokens::user("ann"), order).send().await;
        cancelled.success(200);
        let path = format!("/orders/{order}");
        let read = service.get(&path).bearer(&tokens::user("ann")).send().await;
        read.success(200);
        let wait = format!("wait-{}", 150 + round);
        let left = service.leave(&wait, product).send().await;
        assert!([204, 404].contains(&left.status), "{left:?}");
        assert_eq!(service.position(&wait, product).await, None);
        service.restock(product, 1).await.success(200);
    }
    let expired =
        |kind: &str, data: &serde_json::Value| kind == "order" && data["status"] == "expired";
    service.buy("ann", product, 1).await.success(201);
    events.until(expired, SOON).await;
    let path = format!("/products/{product}/waitlist");
    let foreign = service.call(Method::GET, &path).bearer(&tokens::admin());
    foreign.send().await.refusal(404, "not_waiting");
}

/// The sold-out gate and the search for entries to serve, which run many times a second.
#[tokio::test]
async fn the_jobs_read_no_products_that_nobody_wants() {
    let mut shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(0, json!({ "waitlist": true })).await;
    for statement in [
        "INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version, max_per_order, \
            waitlist, created_at, updated_at) \
         SELECT gen_random_uuid(), 'other-' || n, 'Other', 1, 'EUR', 1, 0, 1, 1, false, now(), now() \
         FROM generate_series(1, 20000) AS n",
        "ANALYZE",
    ] {
        shop.ledger.execute(statement).await;
    }
    shop.service().join("ann", product, 1).await;
    // PostgreSQL would rather read 20,000 rows than so many by their ids.
    let many = "SELECT id::text FROM products WHERE NOT waitlist LIMIT 400";
    let ids = shop.ledger.texts(many).await;
    let products = ids.iter().map(|id| id.parse::<Uuid>().unwrap());
    let orders = products.map(|sold_out| shop.service().order("late", sold_out, 1));
    for answer in together(orders.collect()).await {
        answer.refusal(409, "sold_out");
    }
    reset_counts(&shop.ledger).await;

    let run = |table: &str, index: &str, scans: u32| {
        format!(
            "EXISTS (SELECT 1 FROM pg_stat_user_indexes WHERE relname ~ '^{table}' \
             AND indexrelname ~ '{index}' AND idx_scan > {scans})"
        )
    };
    let search = run("waitlist_counts", "product_idx", 3);
    let gate = run("products", "pkey", 20);
    let both = format!("SELECT ({search} AND {gate})::text");
    eventually("both have run", SOON, async || {
        let late = shop.service().buy("late", product, 1).await;
        late.refusal(409, "sold_out");
        when(shop.ledger.texts(&both).await == ["true"])
    })
    .await;
    flush_counts(&mut shop).await;

    // A read before the reset may be counted late; the table has 20,000 rows.
    let read = "SELECT relname || ' ' || seq_tup_read FROM pg_stat_user_tables \
                WHERE relname ~ '^products' AND seq_tup_read > 1000";
    let read = shop.ledger.texts(read).await;
    assert!(read.is_empty(), "{read:?}");
    let whole = "SELECT indexrelname || ' ' || idx_tup_read FROM pg_stat_user_indexes \
                 WHERE relname ~ '^products' AND idx_tup_read > 100 * idx_scan";
    let whole = shop.ledger.texts(whole).await;
    assert!(whole.is_empty(), "{whole:?}");
}

/// With sequential scans forbidden, a plan that needs one counts as costly, and PostgreSQL would compile it for longer
/// than it runs.
#[tokio::test]
async fn the_service_has_no_plan_compiled() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(1, json!({})).await;
    for statement in [
        "CREATE TABLE compiled (setting text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
            $$ BEGIN INSERT INTO compiled VALUES (current_setting('jit')); RETURN NULL; END $$",
        "CREATE TRIGGER note AFTER INSERT ON orders EXECUTE FUNCTION note()",
    ] {
        shop.ledger.execute(statement).await;
    }

    shop.service().buy("ann", product, 1).await.success(201);

    let settings = shop.ledger.texts("SELECT setting FROM compiled").await;
    assert_eq!(settings, ["off"]);
}
