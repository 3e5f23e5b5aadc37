//! `PgBouncer` before PostgreSQL: sessions are kept, or the start is refused.

use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::product_body,
    ledger::connect,
    pgbouncer::PgBouncer,
    postgres::Database,
    race::rush,
    service::{ended, program},
    shop::{Backend, Shop},
    tokens,
    upgrade::Place,
    when,
};

/// Notes the settings of each session that inserts an order.
const NOTE_SETTINGS: [&str; 3] = [
    "CREATE TABLE noted (settings text)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted \
        SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) \
        FROM unnest(ARRAY['statement_timeout', 'lock_timeout', 'enable_seqscan', 'jit', \
            'idle_in_transaction_session_timeout', 'application_name']) AS name; \
        RETURN NULL; END $$",
    "CREATE TRIGGER note AFTER INSERT ON orders EXECUTE FUNCTION note()",
];

/// At the default `REQUEST_TIMEOUT_MS`.
const SETTINGS: &str = "application_name flash-sale, enable_seqscan off, \
    idle_in_transaction_session_timeout 1s, jit off, lock_timeout 500ms, statement_timeout 1s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_behind_a_pooler_have_their_time_limits_also_after_it_was_killed() {
    let database = Database::create().await;
    let mut pooler = PgBouncer::before(&database.url(), &[]).await;
    let url = pooler.url(&database.url());
    let shop = Shop::plan(Backend::Postgres)
        .database(&url, &database.url())
        .set("DATABASE_DIRECT_URL", &database.url());
    let shop = shop.open().await;
    for statement in NOTE_SETTINGS {
        shop.ledger.execute(statement).await;
    }
    let product = shop.service().product(1_000, json!({})).await;
    let tally = rush(&shop.nodes, product, 50, 1).await;
    assert_eq!(tally.orders.len(), 50, "{:?}", tally.refusals.keys());

    pooler.kill();
    let refused = shop.service().buy("ann", product, 1).await;
    // `outcome_unknown` where the order was sent on a connection that had broken unnoticed.
    assert_eq!(refused.status, 503, "{refused:?}");
    pooler.start().await;
    eventually("orders are taken again", SOON, async || {
        when(shop.service().buy("ann", product, 1).await.status == 201)
    })
    .await;
    let tally = rush(&shop.nodes, product, 50, 1).await;
    assert_eq!(tally.orders.len(), 50, "{:?}", tally.refusals.keys());

    let noted = "SELECT DISTINCT settings FROM noted";
    assert_eq!(shop.ledger.texts(noted).await, [SETTINGS]);
    shop.assert_books(product).await;
    let verify = ["verify", "--database-url", &url];
    let verified = ended(program().args(verify));
    assert!(verified.status.success(), "{verified:?}");
}

/// Clients without a session wait for one, and are told that the database cannot be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_with_fewer_sessions_than_the_service_opens_loses_no_order() {
    let database = Database::create().await;
    let pooler = PgBouncer::before(&database.url(), &[("default_pool_size", "5")]).await;
    let url = pooler.url(&database.url());
    let plan = Shop::plan(Backend::Postgres).database(&url, &database.url());
    let shop = plan.set("DATABASE_POOL_MAX", "40").open().await;
    let mut products = Vec::new();
    for _ in 0..8 {
        let body = product_body(20, json!({}));
        let created = eventually("a product is created", SOON, async || {
            let answer = shop.service().create(&body).await;
            (answer.status == 201).then(|| answer.json())
        });
        let id: Uuid = created.await["id"].as_str().unwrap().parse().unwrap();
        products.push(id);
    }

    let rushes = products
        .iter()
        .map(|product| rush(&shop.nodes, *product, 20, 1));
    for tally in futures::future::join_all(rushes).await {
        let others = tally.refusals.keys().filter(|code| *code != "unavailable");
        assert_eq!(others.count(), 0, "{:?}", tally.refusals.keys());
    }

    for product in products {
        eventually("the rest is sold", SOON, async || {
            let answer = shop.service().buy("ann", product, 1).await;
            when(answer.status == 409)
        })
        .await;
        assert_eq!(shop.ledger.product(product).await.stock, 0);
        shop.assert_books(product).await;
    }
}

/// With several idle sessions and with one, whichever the pooler hands out next.
#[rstest]
#[case::transactions(&[("pool_mode", "transaction")], 1)]
#[case::statements(&[("pool_mode", "statement")], 1)]
#[case::last_in_first_out(&[("pool_mode", "transaction")], 3)]
#[case::two_in_turn(&[("pool_mode", "transaction"), ("server_round_robin", "1")], 2)]
#[case::three_in_turn(&[("pool_mode", "transaction"), ("server_round_robin", "1")], 3)]
#[case::four_in_turn(&[("pool_mode", "transaction"), ("server_round_robin", "1")], 4)]
#[tokio::test]
async fn a_pooler_that_shares_sessions_is_refused(
    #[case] changed: &[(&str, &str)],
    #[case] sessions: usize,
) {
    let place = Place::empty(Backend::Postgres).await;
    place.migrate();
    // For the connections of the test.
    let ignored = ("ignore_startup_parameters", "extra_float_digits");
    let pooler = PgBouncer::before(&place.url, &[changed, &[ignored]].concat()).await;
    let url = pooler.url(&place.url);
    fill(&url, sessions).await;

    for command in ["serve", "migrate", "verify"] {
        let mut command = place.command(command);
        let settings = [("DATABASE_URL", &*url), ("AUTH_SECRET", tokens::SECRET)];
        let refused = ended(command.envs(settings));
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{stderr}");
        let line = stderr.trim();
        assert!(!line.contains('\n'), "{line}");
        assert!(
            line.starts_with("error: DATABASE_URL") && line.contains("pool_mode = session"),
            "{line}"
        );
    }
    let direct = [
        ("DATABASE_DIRECT_URL", &*url),
        ("DATABASE_URL", &*place.url),
    ];
    let refused = ended(place.command("migrate").envs(direct));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: DATABASE_DIRECT_URL"), "{stderr}");
}

/// Leaves so many idle sessions in the pool.
async fn fill(url: &str, sessions: usize) {
    if sessions == 1 {
        return;
    }
    let mut transactions = Vec::new();
    for _ in 0..sessions {
        let connection = connect(url).await;
        let transaction = connection.begin().await.unwrap();
        transaction.execute_unprepared("SELECT 1").await.unwrap();
        transactions.push(transaction);
    }
    for transaction in transactions {
        transaction.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_direct_url_of_another_database_is_refused() {
    let [place, other] = [
        Place::empty(Backend::Postgres).await,
        Place::empty(Backend::Postgres).await,
    ];
    let direct = ("DATABASE_DIRECT_URL", &other.url);

    let refused = ended(place.command("migrate").envs([direct]));

    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    let last = stderr.trim().lines().last().unwrap_or_default();
    assert!(last.starts_with("error: DATABASE_DIRECT_URL"), "{stderr}");
    place.migrate();
    let migrated = ended(place.command("migrate").env(direct.0, &place.url));
    assert!(migrated.status.success(), "{migrated:?}");
}
