//! `flash-sale verify` finds what must never be, and names the product.

use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    ledger::Ledger,
    load::{Load, door},
    shop::{Backend, Shop},
};

/// Lets a breach be planted: the database itself would refuse it.
async fn without_checks(ledger: &Ledger, backend: Backend) {
    if backend == Backend::Sqlite {
        ledger.execute("PRAGMA ignore_check_constraints = ON").await;
        return;
    }
    let checks = "SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(conname) \
                  FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace";
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
#[case::an_order_that_grew(
    "UPDATE orders SET quantity = 3 WHERE user_id = 'ann' AND idempotency_key IS NOT NULL"
)]
#[tokio::test]
async fn a_planted_breach_is_found(
    #[case] breach: &str,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (shop, broken, sound) = shop_with_two_orders(backend).await;
    let verdict = shop.verify();
    assert!(verdict.status.success(), "before the breach: {verdict:?}");

    without_checks(&shop.ledger, backend).await;
    shop.ledger.execute(breach).await;

    assert_found(&shop, broken, sound);
}

/// By hand, as the service removes none.
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
async fn a_key_that_bought_twice_is_found(#[case] backend: Backend) {
    let (shop, _, _) = shop_with_two_orders(backend).await;

    without_unique_keys(&shop.ledger, backend).await;
    let same = "UPDATE orders SET user_id = 'ann', idempotency_key = 'ann' WHERE user_id = 'bob' \
                AND idempotency_key IS NOT NULL";
    shop.ledger.execute(same).await;

    let said = assert_breach(&shop);
    assert!(said.contains("ann"), "{said}");
    assert!(!said.contains("bob"), "{said}");
}

#[rstest]
#[case::more_kept_than_there_is("UPDATE products SET stock_reserved = 2 WHERE sku = 'broken'")]
#[case::kept_for_nobody("UPDATE waitlist_entries SET status = 'left' WHERE user_id = 'big'")]
#[case::one_who_fits_was_forgotten(
    "UPDATE waitlist_entries SET quantity = 1 WHERE user_id = 'big'"
)]
#[case::one_who_may_pass_was_forgotten(
    "UPDATE products SET waitlist_skip = TRUE WHERE sku = 'broken'"
)]
#[case::an_offer_of_nothing("UPDATE waitlist_entries SET status = 'offered' WHERE user_id = 'big'")]
#[case::an_order_for_one_who_waits(
    "UPDATE waitlist_entries SET order_id = (SELECT id FROM orders WHERE user_id = 'first'), \
        user_id = 'first', quantity = 1 WHERE user_id = 'small'"
)]
#[tokio::test]
async fn a_waitlist_that_went_wrong_is_found(
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
    let kept = shop.ledger.product(product).await;
    assert_eq!((kept.stock, kept.stock_reserved), (1, 1));
    // Alive, it would mend some of it.
    shop.nodes[0].process.kill();
    let verdict = shop.verify();
    assert!(verdict.status.success(), "before the breach: {verdict:?}");

    without_checks(&shop.ledger, backend).await;
    shop.ledger.execute(breach).await;
    if breach.contains("'left'") {
        let all = "UPDATE waitlist_entries SET status = 'left' WHERE status = 'waiting'";
        shop.ledger.execute(all).await;
    }

    assert_breach(&shop);
}

/// Buyers notice nothing, and every invariant gets its line.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_during_sales_holds_nobody_up(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let load = Load::start(&[door(shop.service().front())], product, 8);

    for _ in 0..5 {
        load.sells(20).await;
        let verdict = shop.verify();
        let said = String::from_utf8(verdict.stdout).unwrap();
        assert!(verdict.status.success(), "{said}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), flash_sale::verify::INVARIANTS.len(), "{said}");
        assert!(lines.iter().all(|line| line.starts_with("ok ")), "{said}");
    }

    let told = load.finish().await;
    assert_eq!(told.broken, 0, "{:?}", told.refusals);
    assert_eq!(
        told.refused("unavailable") + told.refused("internal"),
        0,
        "{:?}",
        told.refusals
    );
    shop.assert_books(product).await;
}

#[track_caller]
fn assert_breach(shop: &Shop) -> String {
    let verdict = shop.verify();
    let said = String::from_utf8_lossy(&[verdict.stdout, verdict.stderr].concat()).into_owned();
    assert_eq!(verdict.status.code(), Some(1), "{said}");
    said
}

/// Exit code 1, and the one product by its sku or its id.
#[track_caller]
fn assert_found(shop: &Shop, broken: Uuid, sound: Uuid) {
    let verdict = shop.verify();
    let said = String::from_utf8_lossy(&[verdict.stdout, verdict.stderr].concat()).into_owned();
    assert_eq!(verdict.status.code(), Some(1), "{said}");
    assert!(
        said.contains("broken") || said.contains(&broken.to_string()),
        "{said}"
    );
    assert!(
        !said.contains("sound") && !said.contains(&sound.to_string()),
        "{said}"
    );
}

#[test]
fn a_database_that_is_not_there_is_no_success() {
    let directory = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}/none/flash-sale.db", directory.path().display());

    let verdict = crate::support::service::program()
        .args(["verify", "--database-url", &url])
        .output();

    assert!(!verdict.unwrap().status.success());
}
