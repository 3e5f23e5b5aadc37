//! A lock holder paused for longer than its lock's TTL: the version guard rejects its late writes.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    http::Answer,
    load::{Load, door},
    postgres::Database,
    proxy::{Fault, Proxy},
    service::Service,
    shop::{Backend, Shop},
    when,
};

/// Longer than `LOCK_TTL_MS`.
const PAUSE: Duration = Duration::from_millis(2_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_process_oversells_nothing_and_answers_correctly() {
    let shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let [paused, other] = [0, 1].map(|node| door(shop.nodes[node].front()));
    let loads = [
        Load::start(&[paused], product, 24),
        Load::start(&[other], product, 24),
    ];

    for _ in 0..2 {
        loads[0].sells(50).await;
        shop.nodes[0].process.signal(Signal::SIGSTOP).unwrap();
        let stopped = Instant::now();
        let before = loads[1].told().orders.len();
        eventually(
            "the other node sells while the lock expires",
            SOON,
            async || when(stopped.elapsed() > PAUSE && loads[1].told().orders.len() > before + 20),
        )
        .await;
        shop.nodes[0].process.signal(Signal::SIGCONT).unwrap();
        loads[1].sells(50).await;
    }

    let mut orders = Vec::new();
    for load in loads {
        let received = load.finish().await;
        assert_eq!(
            (received.broken, received.refused("internal")),
            (0, 0),
            "{:?}",
            received.refusals
        );
        orders.extend(received.orders);
    }
    for order in &orders {
        assert!(
            shop.ledger.has_order(order).await,
            "{order} was answered 201"
        );
    }
    shop.assert_books(product).await;
}

/// A service behind a proxy that can hold its transactions, and direct access to its database.
struct Held {
    proxy: Proxy,
    shop: Shop,
    product: Uuid,
    database: Database,
}

impl Held {
    async fn open(lock_ttl_ms: &str) -> Self {
        let database = Database::create().await;
        let proxy = Proxy::before(&database.url()).await;
        let plan = Shop::plan(Backend::Postgres).set("LOCK_TTL_MS", lock_ttl_ms);
        let plan = plan
            .set("LOCK_PATIENCE_MS", "4000")
            .set("REQUEST_TIMEOUT_MS", "20000");
        let shop = plan
            .database(&proxy.url(&database.url()), &database.url())
            .open()
            .await;
        let product = shop.service().product(100, json!({})).await;
        shop.service().buy("warm", product, 1).await.success(201);
        Self {
            proxy,
            shop,
            product,
            database,
        }
    }

    /// Starts an order that has its lock and blocks in its transaction until the fault is removed.
    async fn block(&self) -> JoinSet<Answer> {
        self.proxy.set(Fault::HoldSale);
        let (front, product) = (self.shop.service().front(), self.product);
        let late = JoinSet::from_iter([async move { front.buy("late", product, 1).await }]);
        eventually("the holder blocks", SOON, async || {
            when(self.proxy.hits() >= 1)
        })
        .await;
        late
    }

    async fn lock_has_expired(&self) {
        eventually("its lock expires", SOON, async || {
            when(self.shop.redis().lock_keys().await.is_empty())
        })
        .await;
    }

    /// Removes the fault and returns the answer to the buyer.
    async fn resume(&self, late: JoinSet<Answer>) -> Answer {
        self.proxy.set(Fault::None);
        late.join_all().await.remove(0)
    }
}

/// Deterministic variant: one order blocks between its lock and its write until others have sold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_write_of_a_holder_is_rejected_by_the_fence() {
    let held = Held::open("300").await;
    let mut direct = held.shop.settings.clone();
    direct.set("DATABASE_URL", &held.database.url());
    let log = held.shop.data().with_extension("direct.log");
    let other = Service::start(&direct, &log, held.shop.client.clone()).await;

    let mut rounds = 0;
    for round in 1..=5 {
        let late = held.block().await;
        for quick in ["quick", "quicker"] {
            eventually("the other node passes the lock by", SOON, async || {
                (other.buy(quick, held.product, 1).await.status == 201).then_some(())
            })
            .await;
        }
        // The other node has passed it by before.
        held.lock_has_expired().await;
        held.resume(late).await.success(201);
        assert_eq!(
            held.shop.ledger.orders(held.product).await.len(),
            1 + 3 * round
        );
        rounds = round;
        // On a busy machine PostgreSQL may have ended the blocked transaction before it resumed.
        let metrics = held.shop.service().metrics().await;
        if metrics.value("flash_sale_fence_rejected_total", &[]) > Some(0.0) {
            break;
        }
    }

    let metrics = held.shop.service().metrics().await;
    for counted in [
        "flash_sale_fence_rejected_total",
        "flash_sale_lock_lost_total",
    ] {
        assert!(
            metrics.value(counted, &[]).unwrap() >= 1.0,
            "{counted} after {rounds} rounds"
        );
    }
    held.shop.assert_books(held.product).await;
}

/// PostgreSQL has ended the transaction meanwhile: nothing was written, so the lane tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_paused_in_its_transaction_sells_when_it_resumes() {
    let held = Held::open("2000").await;

    let late = held.block().await;
    held.lock_has_expired().await;
    held.resume(late).await.success(201);

    assert_eq!(held.shop.ledger.orders(held.product).await.len(), 2);
    held.shop.assert_books(held.product).await;
}

/// When the holder releases its lock, the key belongs to another owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_release_does_not_delete_the_lock_of_the_next_holder() {
    let held = Held::open("300").await;
    let key = format!("lock:product:{}:stock:99", held.product);

    let late = held.block().await;
    held.lock_has_expired().await;
    held.shop.redis().set(&key, "somebody-else").await;
    let answer = held.resume(late).await;

    // If PostgreSQL has ended its transaction meanwhile, the order passes the other owner by.
    answer.success(201);
    eventually("the holder has released its lock", SOON, async || {
        let metrics = held.shop.service().metrics().await;
        when(metrics.value("flash_sale_lock_hold_seconds_count", &[])? >= 2.0)
    })
    .await;
    for node in &held.shop.redis().0 {
        assert_eq!(node.run::<String>(&["GET", &key]).await, "somebody-else");
    }
    held.shop.assert_books(held.product).await;
}
