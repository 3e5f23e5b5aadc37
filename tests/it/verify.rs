//! `flash-sale verify` finds broken invariants and names the product.

use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    ledger::Ledger,
    load::{Load, door},
    service::{ended, program},
    shop::{Backend, Shop},
};

/// Disables the CHECK constraints, which would refuse a breach.
async fn without_checks(ledger: &Ledger, backend: Backend) {
    if backend == Backend::Sqlite {
        ledger.execute("PRAGMA ignore_check_constraints = ON").await;
        return;
    }
    // Partitions lose theirs with their table's.
    let checks = "SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(conname) \
                  FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace \
                  AND coninhcount = 0";
    for statement in ledger.texts(checks).await {
        ledger.execute(&statement).await;
    }
}

/// Drops every unique key of the orders but the primary one.
async fn without_unique_keys(ledger: &Ledger, backend: Backend) {
    let (constraints, indexes) = if backend == Backend::Sqlite {
        (
            "SELECT '' WHERE 0",
            "SELECT 'DROP INDEX ' || name FROM sqlite_master \
             WHERE type = 'index' AND tbl_name = 'orders' AND sql LIKE '%UNIQUE%'",
        )
    } else {
        (
            "SELECT 'ALTER TABLE orders DROP CONSTRAINT ' || quote_ident(conname) FROM pg_constraint \
             WHERE contype = 'u' AND conrelid = 'orders'::regclass",
            "SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index \
             WHERE indisunique AND NOT indisprimary AND indrelid = 'orders'::regclass",
        )
    };
    for query in [constraints, indexes] {
        for statement in ledger.texts(query).await {
            ledger.execute(&statement).await;
        }
    }
}

async fn shop_with_two_orders(backend: Backend) -> (Shop, Uuid, Uuid) {
    let shop = Shop::open(backend).await;
    let broken = shop.service().product(10, json!({ "sku": "broken" })).await;
    let sound = shop.service().product(10, json!({ "sku": "sound" })).await;
    for user in ["ann", "bob"] {
        shop.service()
            .order(user, broken, 2)
            .key(user)
            .send()
            .await
            .success(201);
        shop.service().buy(user, sound, 2).await.success(201);
    }
    (shop, broken, sound)
}

#[rstest]
#[case::a_unit_too_many("UPDATE products SET stock = stock + 1 WHERE sku = 'broken'")]
#[case::a_unit_too_few("UPDATE products SET stock = stock - 1 WHERE sku = 'broken'")]
#[case::a_forgotten_total("UPDATE products SET stock_total = stock_total + 5 WHERE sku = 'broken'")]
#[case::stock_below_zero("UPDATE products SET stock = -1, stock_total = 3 WHERE sku = 'broken'")]
#[case::a_lost_order("DELETE FROM orders WHERE user_id = 'ann' AND idempotency_key IS NOT NULL")]
#[case::a_cancelled_order_that_kept_its_units(
    "UPDATE orders SET status = 'cancelled' WHERE user_id = 'ann' AND idempotency_key IS NOT NULL"
)]
#[case::an_order_with_a_changed_quantity(
    "UPDATE orders SET quantity = 3 WHERE user_id = 'ann' AND idempotency_key IS NOT NULL"
)]
#[tokio::test]
async fn a_broken_invariant_is_found(
    #[case] breach: &str,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (shop, broken, sound) = shop_with_two_orders(backend).await;
    let output = shop.verify();
    assert!(output.status.success(), "before the breach: {output:?}");

    without_checks(&shop.ledger, backend).await;
    shop.ledger.execute(breach).await;

    assert_found(&shop, broken, sound);
}

/// By SQL, because the service deletes no product.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_database_keeps_a_product_that_has_orders(#[case] backend: Backend) {
    let (shop, broken, _) = shop_with_two_orders(backend).await;
    let before = shop.ledger.everything().await;

    for sql in [
        "DELETE FROM products WHERE sku = 'broken'",
        "UPDATE products SET id = '00000000-0000-0000-0000-000000000000' WHERE sku = 'broken'",
    ] {
        shop.ledger.refusal(sql).await;
    }

    assert_eq!(shop.ledger.everything().await, before);
    assert_eq!(shop.ledger.product(broken).await.sku, "broken");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_key_with_two_orders_is_found(#[case] backend: Backend) {
    let (shop, _, _) = shop_with_two_orders(backend).await;

    without_unique_keys(&shop.ledger, backend).await;
    let same = "UPDATE orders SET user_id = 'ann', idempotency_key = 'ann' WHERE user_id = 'bob' \
                AND idempotency_key IS NOT NULL";
    shop.ledger.execute(same).await;

    let printed = assert_breach(&shop);
    assert!(printed.contains("ann"), "{printed}");
    assert!(!printed.contains("bob"), "{printed}");
}

#[rstest]
#[case::more_reserved_than_in_stock("UPDATE products SET stock_reserved = 2 WHERE sku = 'broken'")]
#[case::reserved_without_a_waiting_user(
    "UPDATE waitlist_entries SET status = 'left' WHERE user_id = 'big'"
)]
#[case::an_entry_that_fits_was_skipped(
    "UPDATE waitlist_entries SET quantity = 1 WHERE user_id = 'big'"
)]
#[case::an_entry_that_may_pass_was_skipped(
    "UPDATE products SET waitlist_skip = TRUE WHERE sku = 'broken'"
)]
#[case::an_offer_without_an_order(
    "UPDATE waitlist_entries SET status = 'offered' WHERE user_id = 'big'"
)]
#[case::a_waiting_entry_with_an_order(
    "UPDATE waitlist_entries SET order_id = (SELECT id FROM orders WHERE user_id = 'first'), \
        user_id = 'first', quantity = 1 WHERE user_id = 'small'"
)]
#[tokio::test]
async fn a_broken_waitlist_is_found(
    #[case] breach: &str,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let mut shop = Shop::open(backend).await;
    let service = shop.service();
    let terms = json!({ "sku": "broken", "waitlist": true });
    let product = service.product(0, terms).await;
    for (user, quantity) in [("first", 1), ("big", 3), ("small", 1)] {
        service.join(user, product, quantity).await;
    }
    service.restock(product, 2).await.success(200);
    let reserved = shop.ledger.product(product).await;
    assert_eq!((reserved.stock, reserved.stock_reserved), (1, 1));
    // A running service would repair some of the breaches.
    shop.nodes[0].process.kill();
    let output = shop.verify();
    assert!(output.status.success(), "before the breach: {output:?}");

    without_checks(&shop.ledger, backend).await;
    shop.ledger.execute(breach).await;
    if breach.contains("'left'") {
        let all = "UPDATE waitlist_entries SET status = 'left' WHERE status = 'waiting'";
        shop.ledger.execute(all).await;
    }

    assert_breach(&shop);
}

/// Orders do not fail meanwhile, and every invariant has its line of output.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_during_sales_fails_no_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let load = Load::start(&[door(shop.service().front())], product, 8);

    for _ in 0..5 {
        load.sells(20).await;
        let output = shop.verify();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{printed}");
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(
            lines.len(),
            flash_sale::verify::INVARIANTS.len(),
            "{printed}"
        );
        assert!(
            lines.iter().all(|line| line.starts_with("ok ")),
            "{printed}"
        );
    }

    let received = load.finish().await;
    assert_eq!(received.broken, 0, "{:?}", received.refusals);
    assert_eq!(
        received.refused("unavailable") + received.refused("internal"),
        0,
        "{:?}",
        received.refusals
    );
    shop.assert_books(product).await;
}

#[track_caller]
fn assert_breach(shop: &Shop) -> String {
    let output = shop.verify();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    printed
}

/// Asserts exit code 1 and that the output names only the broken product, by its sku or its id.
#[track_caller]
fn assert_found(shop: &Shop, broken: Uuid, sound: Uuid) {
    let output = shop.verify();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("broken") || printed.contains(&broken.to_string()),
        "{printed}"
    );
    assert!(
        !printed.contains("sound") && !printed.contains(&sound.to_string()),
        "{printed}"
    );
}

#[test]
fn a_missing_database_is_a_failure() {
    let directory = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}/none/flash-sale.db", directory.path().display());

    let output = ended(program().args(["verify", "--database-url", &url]));

    assert!(!output.status.success());
}
