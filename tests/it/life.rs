//! Randomized end-to-end test: buyers, admins and crashes in any order lose no unit and no answer.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    sync::Mutex,
    thread,
};

use entities::{order_status::OrderStatus, waitlist_status::WaitlistStatus};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    http::{Answer, Call},
    load::{Door, door},
    shop::{Backend, Shop},
    tokens, when,
};

const BUYERS: usize = 8;
const STEPS: usize = 60;
const STOCK: i64 = 6;
const MAX_PER_USER: i32 = 4;

/// Seed of all random choices; a failed test prints it. The same seed repeats the choices, but the
/// machine may interleave them differently.
#[derive(Debug)]
struct Seed(u64);

impl Seed {
    const NAME: &str = "FLASH_SALE_TEST_SEED";

    fn from_env_or_random() -> Self {
        let given = env::var_os(Self::NAME).map(|seed| seed.to_str().unwrap().parse().unwrap());
        Self(given.unwrap_or_else(rand::random))
    }

    fn rng_of(&self, buyer: usize) -> StdRng {
        StdRng::seed_from_u64(self.0.wrapping_add(u64::try_from(buyer).unwrap()))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            drop(writeln!(io::stderr(), "{}={}", Self::NAME, self.0));
        }
    }
}

/// What the answers confirmed.
#[derive(Debug, Default)]
struct Observed {
    steps: usize,
    orders: BTreeMap<String, String>,
    cancelled: Vec<String>,
    restocked: i64,
    /// Units of restocks whose answers were lost.
    uncertain: i64,
}

#[derive(Debug)]
struct Walk {
    doors: Vec<Door>,
    product: Uuid,
    /// Whether the admin toggles `waitlist_skip` now and then.
    toggles_skip: bool,
    seed: Seed,
    observed: Mutex<Observed>,
}

fn is_final(answer: &Answer) -> bool {
    !["high_demand", "unavailable", "outcome_unknown"].contains(&&*answer.code())
}

impl Walk {
    fn front(&self, random: &mut StdRng) -> Front {
        let door = random.random_range(0..self.doors.len());
        self.doors[door].lock().unwrap().clone()
    }

    /// Repeats a call until its answer is final; only for calls that are safe to repeat.
    async fn send_until_final(&self, random: &mut StdRng, call: impl Fn(&Front) -> Call) -> Answer {
        eventually("a final answer", SOON * 2, async || {
            let answer = call(&self.front(random)).try_send().await.ok()?;
            is_final(&answer).then_some(answer)
        })
        .await
    }

    async fn buyer(&self, number: usize) {
        let mut random = self.seed.rng_of(number);
        let user = format!("user-{number}");
        for step in 0..STEPS {
            match random.random_range(0..100) {
                0..40 => self.order(&user, step, &mut random).await,
                40..65 => self.cancel(&user, &mut random).await,
                65..75 => self.leave(&user, &mut random).await,
                75..83 => self.restock(&mut random).await,
                83..90 if self.toggles_skip => self.toggle_skip(&mut random).await,
                _ => self.read_place(&user, &mut random).await,
            }
            self.observed.lock().unwrap().steps += 1;
        }
    }

    async fn order(&self, user: &str, step: usize, random: &mut StdRng) {
        let (quantity, waits) = (random.random_range(1..=3), random.random_bool(0.6));
        let key = format!("step-{step}");
        let call = |front: &Front| {
            let order = if waits {
                Front::order_or_wait
            } else {
                Front::order
            };
            order(front, user, self.product, quantity).key(&key)
        };
        let answer = self.send_until_final(random, call).await;
        match answer.status {
            201 => {
                let id = answer.json()["id"].as_str().unwrap().to_owned();
                self.observed
                    .lock()
                    .unwrap()
                    .orders
                    .insert(id, user.to_owned());
            }
            202 => assert!(waits, "{answer:?}"),
            _ => {
                let codes = ["sold_out", "insufficient_stock", "purchase_limit"];
                assert!(codes.contains(&&*answer.code()), "{answer:?}");
            }
        }
    }

    async fn cancel(&self, user: &str, random: &mut StdRng) {
        let token = tokens::user(user);
        let list = |front: &Front| {
            let call = front.get("/orders").bearer(&token);
            call.query(&[("status", "pending")])
        };
        let page = self.send_until_final(random, list).await.success(200);
        let orders = page["orders"].as_array().unwrap();
        let Some(order) = orders.first() else { return };
        let order = order["id"].as_str().unwrap();
        let admin = random.random_bool(0.2).then(tokens::admin);
        let token = admin.as_ref().unwrap_or(&token);
        let call = |front: &Front| front.cancel(token, order);
        let answer = self.send_until_final(random, call).await;
        if answer.status == 200 {
            self.observed
                .lock()
                .unwrap()
                .cancelled
                .push(order.to_owned());
        } else {
            answer.refusal(409, "order_not_pending");
        }
    }

    async fn leave(&self, user: &str, random: &mut StdRng) {
        let call = |front: &Front| front.leave(user, self.product);
        let answer = self.send_until_final(random, call).await;
        assert!([204, 404].contains(&answer.status), "{answer:?}");
    }

    async fn restock(&self, random: &mut StdRng) {
        let path = format!("/products/{}/restock", self.product);
        let call = self.front(random).post(&path).bearer(&tokens::admin());
        let answer = call.json(&json!({ "quantity": 1 })).try_send().await;
        let mut observed = self.observed.lock().unwrap();
        match answer {
            Ok(answer) if answer.status == 200 => observed.restocked += 1,
            Ok(answer) if answer.code() != "outcome_unknown" => assert!(!is_final(&answer)),
            Ok(_) | Err(_) => observed.uncertain += 1,
        }
    }

    async fn toggle_skip(&self, random: &mut StdRng) {
        let change = json!({ "waitlist_skip": random.random_bool(0.5) });
        let path = format!("/products/{}", self.product);
        let call = |front: &Front| {
            let call = front.patch(&path).bearer(&tokens::admin());
            call.json(&change)
        };
        self.send_until_final(random, call).await.success(200);
    }

    async fn read_place(&self, user: &str, random: &mut StdRng) {
        let call = |front: &Front| front.place(user, self.product);
        let answer = self.send_until_final(random, call).await;
        if answer.status == 200 {
            let place = answer.json()["position"].as_i64().unwrap();
            assert!((1..=8).contains(&place), "{answer:?}");
        } else {
            answer.refusal(404, "not_waiting");
        }
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite, 1, true)]
#[case::strict_order(Backend::Postgres, 2, false)]
#[case::with_waitlist_skip(Backend::Postgres, 2, true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_and_crashes_keep_the_stock_invariant(
    #[case] backend: Backend,
    #[case] nodes: usize,
    #[case] toggles_skip: bool,
) {
    let mut shop = Shop::plan(backend).nodes(nodes).open().await;
    let terms = json!({ "hold_seconds": 1, "waitlist": true, "max_per_user": MAX_PER_USER });
    let product = shop.service().product(STOCK, terms).await;
    let walk = Walk {
        doors: shop.nodes.iter().map(|node| door(node.front())).collect(),
        product,
        toggles_skip,
        seed: Seed::from_env_or_random(),
        observed: Mutex::default(),
    };
    let buyers = (0..BUYERS).map(|buyer| walk.buyer(buyer));
    let crashes = async {
        for crash in 1..=3 {
            eventually("the walk makes progress", SOON * 2, async || {
                when(walk.observed.lock().unwrap().steps >= crash * BUYERS * STEPS / 4)
            })
            .await;
            let node = crash % nodes;
            shop.restart(node).await;
            *walk.doors[node].lock().unwrap() = shop.nodes[node].front();
        }
    };
    tokio::join!(futures::future::join_all(buyers), crashes);

    eventually("`flash-sale verify` succeeds", SOON, async || {
        when(shop.verify().status.success())
    })
    .await;
    check(&shop, &walk).await;
}

async fn check(shop: &Shop, walk: &Walk) {
    let observed = std::mem::take(&mut *walk.observed.lock().unwrap());
    shop.assert_books(walk.product).await;
    let rows = shop.ledger.orders(walk.product).await;
    let rows: BTreeMap<_, _> = rows.iter().map(|row| (row.id.to_string(), row)).collect();
    for (order, user) in &observed.orders {
        assert_eq!(&rows[order].user_id, user, "{order} was answered 201");
    }
    for order in &observed.cancelled {
        assert_eq!(rows[order].status, OrderStatus::Cancelled, "{order}");
    }
    let product = shop.ledger.product(walk.product).await;
    let added = i64::from(product.stock_total) - STOCK - observed.restocked;
    assert!(
        (0..=observed.uncertain).contains(&added),
        "{added} {observed:?}"
    );
    check_queue(shop, walk).await;
}

async fn check_queue(shop: &Shop, walk: &Walk) {
    let live = [OrderStatus::Pending, OrderStatus::Confirming];
    let mut held: BTreeMap<String, i32> = BTreeMap::new();
    for order in shop.ledger.orders(walk.product).await {
        if live.contains(&order.status) {
            *held.entry(order.user_id).or_default() += order.quantity;
        }
    }
    let entries = shop.ledger.entries(walk.product).await;
    for entry in entries
        .iter()
        .filter(|entry| entry.status == WaitlistStatus::Waiting)
    {
        *held.entry(entry.user_id.clone()).or_default() += entry.quantity;
    }
    for (user, units) in held {
        assert!(units <= MAX_PER_USER, "{user} holds and waits for {units}");
    }
    let last_offered = entries
        .iter()
        .rposition(|entry| entry.status == WaitlistStatus::Offered);
    let first_waiting = entries
        .iter()
        .position(|entry| entry.status == WaitlistStatus::Waiting);
    if let (Some(offered), Some(waiting), false) = (last_offered, first_waiting, walk.toggles_skip)
    {
        assert!(offered < waiting, "served out of order: {entries:?}");
    }
    assert!(last_offered.is_some(), "no entry was ever offered an order");
}
