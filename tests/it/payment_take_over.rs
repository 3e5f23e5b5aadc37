//! Two nodes and one payment: a node that was paused until another has taken its payment over ends
//! nothing any more.

use std::path::Path;

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    gateway::{Fault, Gateway},
    http::Answer,
    postgres::Database,
    proxy::Proxy,
    service::Service,
    shop::{Backend, Shop},
    tokens, when,
};

/// No gateway listens there.
const NO_GATEWAY: &str = "http://127.0.0.1:9";

/// A shop with one pending order, whose node takes over what is open for 1.5 s.
struct Sale {
    gateway: Gateway,
    shop: Shop,
    product: Uuid,
    order: Uuid,
}

impl Sale {
    async fn open() -> Self {
        let gateway = Gateway::start().await;
        let plan = Shop::plan(Backend::Postgres)
            .paying(&gateway)
            .set("REQUEST_TIMEOUT_MS", "1000");
        let shop = plan.open().await;
        let service = shop.service();
        let product = service.product(1, json!({ "hold_seconds": 600 })).await;
        let order = service.buy("ann", product, 1).await.success(201);
        Self {
            gateway,
            product,
            order: order["id"].as_str().unwrap().parse().unwrap(),
            shop,
        }
    }

    /// Another node of the shop.
    async fn node(&self, gateway: &str, request_timeout_ms: &str) -> Service {
        let mut settings = self.shop.settings.clone();
        settings.set("PAYMENT_URL", gateway);
        settings.set("REQUEST_TIMEOUT_MS", request_timeout_ms);
        let log = self.shop.data().with_extension("other.log");
        Service::start(&settings, Path::new(&log), self.shop.client.clone()).await
    }

    async fn text(&self, column: &str) -> String {
        let sql = format!("SELECT COALESCE({column}::text, 'none') FROM orders");
        self.shop.ledger.texts(&sql).await.remove(0)
    }

    async fn is_charged(&self) {
        eventually("the order is charged", SOON, async || {
            when(self.gateway.charges_of(self.order).await.len() == 1)
        })
        .await;
    }

    async fn has_status(&self, status: &str) {
        eventually("the order has its last status", SOON, async || {
            when(self.text("status").await == status)
        })
        .await;
        self.shop.assert_books(self.product).await;
    }
}

async fn confirm(front: Front, order: Uuid) -> Answer {
    front.pay("ann", order, "pm_card_visa").send().await
}

async fn until_a_write_waits(shop: &Shop) {
    let waits = "SELECT 'x' FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    eventually("a write waits for the row", SOON, async || {
        // Within a transaction PostgreSQL returns its first statistics snapshot again.
        shop.ledger.execute("SELECT pg_stat_clear_snapshot()").await;
        when(!shop.ledger.texts(waits).await.is_empty())
    })
    .await;
}

/// The node is paused while the database marks the order as confirming, so it learns of that only
/// after another node has charged the order; then it cannot reach the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_wakes_late_does_not_end_the_payment_of_another() {
    let sale = Sale::open().await;
    let mut paused = sale.node(NO_GATEWAY, "10000").await;
    sale.gateway.set(Fault::HoldAnswer).await;
    sale.shop.ledger.execute("BEGIN").await;
    let lock = "SELECT id FROM orders FOR UPDATE";
    sale.shop.ledger.execute(lock).await;
    let paying = JoinSet::from_iter([confirm(paused.front(), sale.order)]);
    until_a_write_waits(&sale.shop).await;
    paused.process.signal(Signal::SIGSTOP).unwrap();
    sale.shop.ledger.execute("COMMIT").await;
    sale.is_charged().await;

    paused.process.signal(Signal::SIGCONT).unwrap();
    let answer = paying.join_all().await.remove(0);
    answer.refusal(503, "outcome_unknown");
    assert!(paused.stop().await.success(), "it has finished its work");
    assert_eq!(sale.text("status").await, "confirming");

    sale.gateway.set(Fault::None).await;
    sale.has_status("confirmed").await;
    assert_eq!(sale.gateway.charges_of(sale.order).await.len(), 1);
    assert!(sale.gateway.refunds_of(sale.order).await.is_empty());
}

/// Its gateway knows another account's payments only, and refuses the refund when another node,
/// which waits for less time, has already made it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_another_node_makes_is_not_abandoned() {
    let sale = Sale::open().await;
    let paid = confirm(sale.shop.service().front(), sale.order).await;
    paid.success(200);
    let stranger = Gateway::start().await;
    stranger.set(Fault::Hold).await;
    let slow = sale.node(&stranger.url(), "20000").await;
    sale.gateway.set(Fault::HoldAnswer).await;
    let front = slow.front();
    let order = sale.order.to_string();
    let cancelling =
        JoinSet::from_iter([async move { front.cancel(&tokens::admin(), &order).send().await }]);
    eventually("the order is refunded", SOON, async || {
        when(sale.gateway.refunds_of(sale.order).await.len() == 1)
    })
    .await;

    stranger.set(Fault::None).await;
    let answer = cancelling.join_all().await.remove(0);
    answer.refusal(503, "outcome_unknown");
    assert_eq!(sale.text("payment_status").await, "refunding");

    sale.gateway.set(Fault::None).await;
    sale.has_status("cancelled").await;
    assert_eq!(sale.gateway.refunds_of(sale.order).await.len(), 1);
    assert_eq!(sale.text("payment_status").await, "refunded");
}

/// The connection breaks while the order is marked as confirming; the mark is made nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_whose_begin_had_no_answer_is_made_at_once() {
    let database = Database::create().await;
    let proxy = Proxy::before(&database.url()).await;
    let gateway = Gateway::start().await;
    let plan = Shop::plan(Backend::Postgres).paying(&gateway);
    let plan = plan.database(&proxy.url(&database.url()), &database.url());
    let shop = plan.set("REQUEST_TIMEOUT_MS", "20000").open().await;
    let service = shop.service();
    let product = service.product(1, json!({ "hold_seconds": 600 })).await;
    let order = service.buy("ann", product, 1).await.success(201);
    let order = order["id"].as_str().unwrap().parse().unwrap();

    shop.ledger.execute("BEGIN").await;
    let lock = "SELECT id FROM orders FOR UPDATE";
    shop.ledger.execute(lock).await;
    let paying = JoinSet::from_iter([confirm(service.front(), order)]);
    until_a_write_waits(&shop).await;
    proxy.break_all().await;
    shop.ledger.execute("COMMIT").await;

    let paid = paying.join_all().await.remove(0).success(200);
    assert_eq!(paid["status"], "confirmed");
    assert_eq!(gateway.charges_of(order).await.len(), 1);
    shop.assert_books(product).await;
}

/// The statements of a node of the version before, which knows no lease.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_node_ends_only_payments_that_it_has_taken_over(#[case] backend: Backend) {
    const OLD_END: &str = "UPDATE orders SET status = 'pending', payment_method = NULL, \
                           payment_asked_at = NULL WHERE status = 'confirming'";
    const OLD_TAKE_OVER: &str = "UPDATE orders SET payment_asked_at = created_at \
                                 WHERE payment_asked_at IS NOT NULL";
    let gateway = Gateway::start().await;
    let mut shop = Shop::plan(backend).paying(&gateway).open().await;
    let product = shop
        .service()
        .product(1, json!({ "hold_seconds": 600 }))
        .await;
    let order = shop.service().buy("ann", product, 1).await.success(201);
    let order: Uuid = order["id"].as_str().unwrap().parse().unwrap();
    gateway.set(Fault::HoldAnswer).await;
    let mut paying = JoinSet::new();
    let call = shop.service().pay("ann", order, "pm_card_visa");
    paying.spawn(call.try_send());
    eventually("the order is charged", SOON, async || {
        when(gateway.charges_of(order).await.len() == 1)
    })
    .await;
    // It would take the payment over itself.
    shop.nodes[0].process.kill();

    let refusal = shop.ledger.refusal(OLD_END).await;
    assert!(
        refusal.contains("orders_pending_without_lease"),
        "{refusal}"
    );
    shop.ledger.execute(OLD_TAKE_OVER).await;
    let lease = "SELECT 'x' FROM orders WHERE payment_lease IS NOT NULL";
    assert!(
        shop.ledger.texts(lease).await.is_empty(),
        "the lease has ended"
    );
    shop.ledger.execute(OLD_END).await;
    let unknown = "UPDATE orders SET payment_status = 'lent'";
    let refusal = shop.ledger.refusal(unknown).await;
    assert!(refusal.contains("orders_payment_status_known"), "{refusal}");
}
