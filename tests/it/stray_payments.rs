//! A payment that the gateway took for an order that has ended meanwhile is refunded, never lost.

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    gateway::{Fault, Gateway},
    shop::{Backend, Shop},
    when,
};

/// A node of the version before, or an operator, ends the order while the gateway charges it.
const EXPIRE: &str = "UPDATE orders SET status = 'expired', payment_lease = NULL, \
                      payment_asked_at = NULL WHERE status = 'confirming'";
const RETURN_UNITS: &str = "UPDATE products SET stock = stock + 1, version = version + 1";

struct Expired {
    gateway: Gateway,
    shop: Shop,
    product: Uuid,
    order: Uuid,
}

impl Expired {
    /// The order is charged and has expired before the gateway's answer arrives. Refunds fail.
    async fn open(backend: Backend) -> Self {
        let gateway = Gateway::start().await;
        let plan = Shop::plan(backend)
            .paying(&gateway)
            .set("REQUEST_TIMEOUT_MS", "2000");
        let shop = plan.open().await;
        let service = shop.service();
        let product = service.product(1, json!({ "hold_seconds": 600 })).await;
        let order = service.buy("ann", product, 1).await.success(201);
        let order: Uuid = order["id"].as_str().unwrap().parse().unwrap();
        gateway.set(Fault::HoldAnswer).await;
        let mut paying = JoinSet::new();
        paying.spawn(service.pay("ann", order, "pm_card_visa").send());
        eventually("the order is charged", SOON, async || {
            when(gateway.charges_of(order).await.len() == 1)
        })
        .await;
        shop.ledger.execute(EXPIRE).await;
        shop.ledger.execute(RETURN_UNITS).await;
        gateway.set(Fault::Status(500)).await;
        drop(paying.join_all().await);
        Self {
            gateway,
            shop,
            product,
            order,
        }
    }

    async fn is_kept(&self) {
        let kept = "SELECT payment_id FROM stray_payments WHERE refunded_at IS NULL";
        eventually("the payment is kept", SOON, async || {
            when(self.shop.ledger.texts(kept).await.len() == 1)
        })
        .await;
        assert!(self.gateway.refunds_of(self.order).await.is_empty());
    }

    async fn is_refunded(&self) {
        let refunded = "SELECT payment_id FROM stray_payments WHERE refunded_at IS NOT NULL";
        eventually("the payment is refunded", SOON, async || {
            when(self.shop.ledger.texts(refunded).await.len() == 1)
        })
        .await;
        assert_eq!(self.gateway.refunds_of(self.order).await.len(), 1);
        let audit = "SELECT actor_role FROM audit WHERE action = 'order.refund'";
        assert_eq!(self.shop.ledger.texts(audit).await, ["service"]);
        self.shop.assert_books(self.product).await;
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_of_an_expired_order_is_reported_and_refunded(#[case] backend: Backend) {
    let expired = Expired::open(backend).await;
    let shop = &expired.shop;
    expired.is_kept().await;

    let output = shop.verify();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("is not refunded"), "{printed}");
    let metrics = shop.service().metrics().await;
    assert!(metrics.shows("flash_sale_payments_stray_total", &[], 1));
    let log = shop.log();
    let line = log
        .lines()
        .find(|line| line.contains("was taken for order"));
    assert!(line.is_some_and(|line| line.contains("ERROR")), "{log}");

    expired.gateway.set(Fault::None).await;
    expired.is_refunded().await;
}

/// What is to be refunded outlives the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_does_not_lose_the_refund() {
    let mut expired = Expired::open(Backend::Postgres).await;
    expired.is_kept().await;
    expired.shop.nodes[0].process.kill();

    expired.gateway.set(Fault::None).await;
    expired.shop.restart(0).await;

    expired.is_refunded().await;
}
