//! A holder that is stopped for longer than its lock lives: the database refuses what it does afterwards.

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
async fn a_paused_process_oversells_nothing_and_tells_the_truth() {
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
            "the other node sells while the lock runs out",
            SOON,
            async || when(stopped.elapsed() > PAUSE && loads[1].told().orders.len() > before + 20),
        )
        .await;
        shop.nodes[0].process.signal(Signal::SIGCONT).unwrap();
        loads[1].sells(50).await;
    }

    let mut orders = Vec::new();
    for load in loads {
        let told = load.finish().await;
        assert_eq!(
            (told.broken, told.refused("internal")),
            (0, 0),
            "{:?}",
            told.refusals
        );
        orders.extend(told.orders);
    }
    for order in &orders {
        assert!(
            shop.ledger.has_order(order).await,
            "{order} was answered 201"
        );
    }
    shop.assert_books(product).await;
}

/// A service behind a proxy that can hold its transactions, and the way past the proxy.
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

    /// An order that has its lock and hangs in its transaction until the fault is taken away.
    async fn hang(&self) -> JoinSet<Answer> {
        self.proxy.set(Fault::HoldTransaction);
        let (front, product) = (self.shop.service().front(), self.product);
        let late = JoinSet::from_iter([async move { front.buy("late", product, 1).await }]);
        eventually("the holder hangs", SOON, async || {
            when(self.proxy.hits() >= 1)
        })
        .await;
        late
    }

    async fn lock_has_run_out(&self) {
        eventually("its lock runs out", SOON, async || {
            when(self.shop.redis().lock_keys().await.is_empty())
        })
        .await;
    }

    /// Lets it go on, and returns what its buyer is told.
    async fn go_on(&self, late: JoinSet<Answer>) -> Answer {
        self.proxy.set(Fault::None);
        late.join_all().await.remove(0)
    }
}

/// The same for certain: one order hangs between its lock and its writing until others have sold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_writes_too_late_is_fenced_off() {
    let held = Held::open("300").await;
    let mut direct = held.shop.settings.clone();
    direct.set("DATABASE_URL", &held.database.url());
    let log = held.shop.data().with_extension("direct.log");
    let other = Service::start(&direct, &log, held.shop.client.clone()).await;

    let mut rounds = 0;
    for round in 1..=5 {
        let late = held.hang().await;
        for quick in ["quick", "quicker"] {
            eventually(
                "the other node sells when the lock has run out",
                SOON,
                async || (other.buy(quick, held.product, 1).await.status == 201).then_some(()),
            )
            .await;
        }
        held.go_on(late).await.success(201);
        assert_eq!(
            held.shop.ledger.orders(held.product).await.len(),
            1 + 3 * round
        );
        rounds = round;
        // On a busy machine PostgreSQL may have ended the hanging transaction before it went on.
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

/// PostgreSQL has ended the transaction in the meantime: nothing was written, so it is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_paused_in_its_transaction_sells_when_it_goes_on() {
    let held = Held::open("2000").await;

    let late = held.hang().await;
    held.lock_has_run_out().await;
    held.go_on(late).await.success(201);

    assert_eq!(held.shop.ledger.orders(held.product).await.len(), 2);
    held.shop.assert_books(held.product).await;
}

/// By the time the holder lets go, the key is somebody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_release_leaves_the_next_holder_its_lock() {
    let held = Held::open("300").await;
    let key = format!("lock:product:{}:stock:99", held.product);

    let late = held.hang().await;
    held.lock_has_run_out().await;
    held.shop.redis().set(&key, "somebody-else").await;
    let answer = held.go_on(late).await;

    // Had its transaction been ended meanwhile, it would wait for the lock in vain.
    assert!(
        answer.status == 201 || answer.code() == "high_demand",
        "{answer:?}"
    );
    eventually("it has let go", SOON, async || {
        let metrics = held.shop.service().metrics().await;
        when(metrics.value("flash_sale_lock_hold_seconds_count", &[])? >= 2.0)
    })
    .await;
    for node in &held.shop.redis().0 {
        assert_eq!(node.run::<String>(&["GET", &key]).await, "somebody-else");
    }
    held.shop.assert_books(held.product).await;
}
