//! 3-D Secure: a payment that its buyer has to authenticate keeps its units until it has certainly
//! succeeded or certainly ended.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    gateway::{Fault, Gateway},
    http::Answer,
    shop::{Backend, Plan, Shop},
    tokens, webhook, when,
};

const GOOD: &str = "pm_card_visa";

struct Buyer {
    front: Front,
    order: Uuid,
    product: Uuid,
}

impl Buyer {
    /// A buyer who holds one of `stock` units for so many seconds.
    async fn new(front: Front, stock: i64, hold_seconds: i64) -> Self {
        let terms = json!({ "hold_seconds": hold_seconds });
        let product = front.product(stock, terms).await;
        let order = front.buy("ann", product, 1).await.success(201);
        let order = order["id"].as_str().unwrap().parse().unwrap();
        Self {
            front,
            order,
            product,
        }
    }

    async fn confirm(&self, method: &str) -> Answer {
        self.front.pay("ann", self.order, method).send().await
    }

    /// Confirms with a card whose bank asks for authentication.
    async fn begin(&self, gateway: &Gateway) -> Value {
        let card = gateway.card("4000002500003155").await;
        self.confirm(&card).await.success(202)
    }

    async fn read(&self) -> Value {
        let call = self.front.get(&format!("/orders/{}", self.order));
        call.bearer(&tokens::user("ann")).send().await.success(200)
    }

    async fn becomes(&self, status: &str) {
        eventually(status, SOON, async || {
            when(self.read().await["status"] == status)
        })
        .await;
    }

    async fn tell(&self, kind: &str, waiting: &Value) {
        let event = webhook::event(kind, self.order, &waiting["payment"]["id"]);
        webhook::send(&self.front, &event).await.success(200);
    }
}

async fn paying(backend: Backend) -> (Gateway, Plan) {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(backend)
        .paying(&gateway)
        .set("STRIPE_WEBHOOK_SECRET", webhook::SECRET)
        .set("REQUEST_TIMEOUT_MS", "3000");
    (gateway, plan)
}

/// localstripe sends and signs the event, as Stripe does.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authenticated_payment_is_confirmed_by_the_webhook(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let buyer = Buyer::new(shop.service().front(), 3, 600).await;
    gateway
        .send_events(&shop.service().url, webhook::SECRET)
        .await;

    let waiting = buyer.begin(&gateway).await;
    assert_eq!(waiting["status"], "confirming");
    assert_eq!(waiting["payment"]["status"], "requires_action");
    let again = buyer.confirm(GOOD).await.success(202);
    assert_eq!(again, waiting, "the same secret, also with another card");
    let mut read = waiting.clone();
    let payment = read["payment"].as_object_mut().unwrap();
    assert!(payment.remove("client_secret").unwrap().is_string());
    assert_eq!(buyer.read().await, read, "a read shows no secret");
    gateway.authenticate(&waiting, true).await;
    buyer.becomes("confirmed").await;

    let confirmed = buyer.confirm(GOOD).await.success(200);
    assert_eq!(confirmed["payment"]["status"], "succeeded");
    assert_eq!(confirmed["payment"].get("client_secret"), None);
    let accepted = [("outcome", "accepted")];
    eventually("the webhook has answered", SOON, async || {
        let metrics = shop.service().metrics().await;
        when(metrics.shows("flash_sale_webhooks_total", &accepted, 1))
    })
    .await;
    // Stripe may send an event more than once.
    buyer.tell("payment_intent.succeeded", &waiting).await;
    assert_eq!(gateway.charges_of(buyer.order).await.len(), 1);
    assert_eq!(gateway.refunds_of(buyer.order).await.len(), 0);
    shop.assert_books(buyer.product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_outlasts_its_end_while_the_payment_may_be_authenticated(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let front = shop.service().front();
    let buyer = Buyer::new(front.clone(), 2, 1).await;

    let waiting = buyer.begin(&gateway).await;
    let later = front.buy("bob", buyer.product, 1).await.success(201);
    eventually("a later hold has expired", SOON, async || {
        let path = format!("/orders/{}", later["id"].as_str().unwrap());
        let call = front.get(&path).bearer(&tokens::user("bob"));
        when(call.send().await.success(200)["status"] == "expired")
    })
    .await;
    assert_eq!(buyer.read().await["status"], "confirming");
    gateway.authenticate(&waiting, true).await;

    // Without the webhook: the storefront confirms again, and the service asks the gateway.
    let confirmed = buyer.confirm(GOOD).await.success(200);
    assert_eq!(confirmed["payment"]["id"], waiting["payment"]["id"]);
    assert_eq!(gateway.charges_of(buyer.order).await.len(), 1);
    shop.assert_books(buyer.product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_authentication_cancels_the_payment_and_another_card_pays(
    #[case] backend: Backend,
) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let buyer = Buyer::new(shop.service().front(), 1, 600).await;

    let waiting = buyer.begin(&gateway).await;
    gateway.authenticate(&waiting, false).await;
    buyer.tell("payment_intent.payment_failed", &waiting).await;
    assert_eq!(buyer.read().await["status"], "pending");
    let intents = gateway.intents_of(buyer.order).await;
    assert_eq!(intents[0]["status"], "canceled", "it cannot succeed later");
    let confirmed = buyer.confirm(GOOD).await.success(200);

    assert_ne!(confirmed["payment"]["id"], waiting["payment"]["id"]);
    assert_eq!(gateway.charges_of(buyer.order).await.len(), 1);
    shop.assert_books(buyer.product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_authentication_ends_in_time_and_its_unit_returns(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let plan = plan.set("PAYMENT_AUTHENTICATION_SECONDS", "1");
    let shop = plan.open().await;
    let buyer = Buyer::new(shop.service().front(), 1, 1).await;

    buyer.begin(&gateway).await;
    buyer.becomes("expired").await;

    let intents = gateway.intents_of(buyer.order).await;
    assert_eq!(intents[0]["status"], "canceled");
    assert_eq!(shop.ledger.product(buyer.product).await.stock, 1);
    shop.assert_books(buyer.product).await;
}

/// The gateway does not answer when the time is over; meanwhile the buyer's payment succeeds.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_is_kept_until_the_gateway_has_answered_and_a_late_success_counts(
    #[case] backend: Backend,
) {
    let (gateway, plan) = paying(backend).await;
    let plan = plan.set("PAYMENT_AUTHENTICATION_SECONDS", "1");
    let mut shop = plan.open().await;
    let buyer = Buyer::new(shop.service().front(), 1, 1).await;

    let waiting = buyer.begin(&gateway).await;
    gateway.set(Fault::Status(500)).await;
    eventually("the service has asked after the end", SOON, async || {
        let asked = "SELECT reference FROM orders WHERE payment_asked_at >= payment_action_until";
        when(shop.ledger.texts(asked).await.len() == 1)
    })
    .await;
    assert_eq!(buyer.read().await["status"], "confirming");
    gateway.authenticate(&waiting, true).await;
    gateway.set(Fault::None).await;
    // The next node asks again.
    shop.restart(0).await;
    let long_ago = "UPDATE orders SET payment_asked_at = '2026-01-01 00:00:00+00:00'";
    shop.ledger.execute(long_ago).await;
    let buyer = Buyer {
        front: shop.service().front(),
        ..buyer
    };
    buyer.becomes("confirmed").await;

    assert_eq!(gateway.charges_of(buyer.order).await.len(), 1);
    shop.assert_books(buyer.product).await;
}

/// For example after an operator has ended the wait by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_that_no_order_keeps_is_refunded() {
    let (gateway, plan) = paying(Backend::Sqlite).await;
    let shop = plan.open().await;
    let buyer = Buyer::new(shop.service().front(), 1, 600).await;

    let waiting = buyer.begin(&gateway).await;
    let ended = "UPDATE orders SET status = 'cancelled', payment_client_secret = NULL, \
                 payment_asked_at = NULL";
    shop.ledger.execute(ended).await;
    gateway.authenticate(&waiting, true).await;
    for _ in 0..2 {
        buyer.tell("payment_intent.succeeded", &waiting).await;
    }

    let refunds = gateway.refunds_of(buyer.order).await;
    assert_eq!(refunds.len(), 1, "{refunds:?}");
    assert_eq!(buyer.read().await["status"], "cancelled");
}

/// A buyer with the client secret could still make the payment succeed.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_an_admin_ends_is_cancelled_at_the_gateway(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let buyer = Buyer::new(shop.service().front(), 2, 600).await;
    let resolve = async |order: Uuid| {
        let call = buyer.front.post(&format!("/orders/{order}/resolve"));
        let call = call
            .bearer(&tokens::admin())
            .json(&json!({ "paid": false }));
        call.send().await
    };

    buyer.begin(&gateway).await;
    let resolved = resolve(buyer.order).await.success(200);
    assert_eq!(resolved["status"], "pending");
    assert_eq!(
        gateway.intents_of(buyer.order).await[0]["status"],
        "canceled"
    );
    // The buyer's next card is charged as another payment.
    buyer.confirm("pm_card_visa").await.success(200);

    // The gateway knows better than the admin.
    let other = Buyer::new(buyer.front.clone(), 1, 600).await;
    let waiting = other.begin(&gateway).await;
    gateway.authenticate(&waiting, true).await;
    let refused = resolve(other.order).await;
    assert_eq!(refused.status, 409);
    other.becomes("confirmed").await;
    shop.assert_books(buyer.product).await;
}
