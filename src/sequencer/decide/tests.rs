//! Property tests of decisions over random batches: conservation, order, limits, keys.

use std::{collections::HashSet, sync::Arc};

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{IdempotencyKey, ProductId, Refusal, STOCK_MAX, now, reference},
    store::Recorded,
};

mod offers;

const USERS: [&str; 4] = ["ada", "bob", "cleo", "dan"];

fn product(stock: i32, max_per_user: Option<i32>) -> Product {
    let at = now();
    Product {
        id: ProductId::now_v7(),
        sku: "sku".to_owned(),
        name: "Name".to_owned(),
        description: None,
        price: 1_999,
        currency: "EUR".to_owned(),
        stock: StockLevel {
            total: 1_000,
            on_hand: stock,
            reserved: 0,
        },
        version: 7,
        max_per_order: 10,
        max_per_user,
        hold_seconds: None,
        waitlist: false,
        waitlist_skip: false,
        starts_at: None,
        ends_at: None,
        published: true,
        archived_at: None,
        created_at: at,
        updated_at: at,
    }
}

fn request(user: usize, quantity: i32, key: Option<u8>) -> OrderRequest {
    OrderRequest {
        order_id: OrderId::now_v7(),
        product_id: ProductId::nil(),
        user_id: UserId::from(USERS[user % USERS.len()]),
        quantity,
        waitlist: false,
        key: key.map(|key| IdempotencyKey {
            key: key.to_string(),
            request: quantity.to_string(),
        }),
    }
}

fn restock(quantity: i32) -> Command {
    Command::Restock(quantity, Actor::service())
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        9 => (0..4_usize, 1..12, prop::option::of(0..6_u8))
            .prop_map(|(user, quantity, key)| Command::Order(Box::new(request(user, quantity, key)))),
        1 => (1..20).prop_map(restock),
    ]
}

fn run(product: &Product, commands: &[Command]) -> Decision {
    decide(product, Facts::default(), commands.iter(), now(), reference)
}

fn created(reply: &Reply) -> Option<&Order> {
    if let Reply::Order(Outcome::Created(order)) = reply {
        return Some(order);
    }
    None
}

proptest! {
    #[test]
    fn units_are_conserved(
        stock in 0..60, limit in prop::option::of(1..20), commands in prop::collection::vec(command(), 0..80),
    ) {
        let product = product(stock, limit);
        let decision = run(&product, &commands);
        let sold: i32 = decision.replies.iter().filter_map(created).map(|o| o.quantity).sum();
        let restocked: i32 = commands.iter().map(|command| match command {
            Command::Restock(quantity, _) => *quantity,
            Command::Order(_) | Command::Cancel(..) | Command::Leave(_) | Command::ExpireHolds => 0,
        }).sum();
        prop_assert_eq!(decision.stock.on_hand, stock + restocked - sold);
        prop_assert_eq!(decision.stock.total, product.stock.total + restocked);
        prop_assert!(decision.stock.on_hand >= 0);
        prop_assert_eq!(decision.units(), u64::try_from(sold).unwrap());
        prop_assert_eq!(decision.replies.len(), commands.len());
        prop_assert_eq!(decision.has_changes(&product), sold != 0 || restocked != 0);
    }

    #[test]
    fn a_request_that_fits_is_not_refused_for_stock(
        stock in 0..60, commands in prop::collection::vec(command(), 0..80),
    ) {
        let decision = run(&product(stock, None), &commands);
        let mut left = stock;
        for (command, reply) in commands.iter().zip(&decision.replies) {
            match (command, reply) {
                (Command::Restock(quantity, _), _) => left += quantity,
                (Command::Order(_), Reply::Order(Outcome::Created(order))) => left -= order.quantity,
                (Command::Order(_), Reply::Order(Outcome::Refused(Refusal::SoldOut { .. }))) => {
                    prop_assert_eq!(left, 0);
                }
                (
                    Command::Order(request),
                    Reply::Order(Outcome::Refused(Refusal::InsufficientStock { available })),
                ) => {
                    prop_assert_eq!(*available, left);
                    prop_assert!(left < request.quantity);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn commands_are_served_in_arrival_order(
        stock in 0..30, commands in prop::collection::vec((0..4_usize, Just(1)), 1..60),
    ) {
        let commands: Vec<Command> = commands.into_iter()
            .map(|(user, quantity)| Command::Order(Box::new(request(user, quantity, None))))
            .collect();
        let decision = run(&product(stock, None), &commands);
        let first_refused = decision.replies.iter().position(|reply| created(reply).is_none());
        let last_served = decision.replies.iter().rposition(|reply| created(reply).is_some());
        if let (Some(refused), Some(served)) = (first_refused, last_served) {
            prop_assert!(served < refused);
        }
    }

    #[test]
    fn no_user_exceeds_the_limit(
        limit in 1..12, held in 0..12_i64, commands in prop::collection::vec(command(), 0..80),
    ) {
        let product = product(500, Some(limit));
        let facts = Facts {
            held: USERS.iter().map(|user| (UserId::from(*user), held)).collect(),
            ..Facts::default()
        };
        let decision = decide(&product, facts, commands.iter(), now(), reference);
        for user in USERS {
            let bought: i64 = decision.replies.iter().filter_map(created)
                .filter(|order| &*order.user_id == user)
                .map(|order| i64::from(order.quantity)).sum();
            prop_assert!(bought == 0 || held + bought <= i64::from(limit));
        }
    }

    #[test]
    fn orders_that_join_no_waitlist_only_sell(
        stock in 0..60, reserved in 0..20_i32, skips in any::<bool>(),
        commands in prop::collection::vec(command(), 0..80),
    ) {
        let mut product = product(stock, None);
        product.stock.reserved = reserved.min(stock);
        (product.waitlist, product.waitlist_skip) = (true, skips);
        let orders = commands.iter().filter(|command| matches!(command, Command::Order(_)));
        let decision = decide(&product, Facts::default(), orders, now(), reference);
        prop_assert!(decision.only_sells() || !decision.has_changes(&product));
    }

    #[test]
    fn a_key_buys_once(commands in prop::collection::vec(command(), 0..80)) {
        let decision = run(&product(500, None), &commands);
        let keys: Vec<_> = decision.new.orders.iter()
            .filter_map(|new| Some((&new.order.user_id, &new.key.as_ref()?.key)))
            .collect();
        let distinct: HashSet<_> = keys.iter().collect();
        prop_assert_eq!(keys.len(), distinct.len());
    }
}

#[test]
fn a_key_is_replayed_even_when_sold_out_and_off_sale() {
    let mut product = product(1, Some(1));
    let first = request(0, 1, Some(1));
    let sold = run(&product, &[Command::Order(Box::new(first.clone()))]);
    let order = created(&sold.replies[0]).unwrap().clone();
    product.stock.on_hand = 0;
    product.ends_at = Some(now() - TimeDelta::days(1));
    let facts = Facts {
        idempotency_records: [(
            (Arc::clone(&first.user_id), "1".to_owned()),
            IdempotencyRecord {
                answer: Recorded::Order(Box::new(order.clone())),
                request: "1".to_owned(),
            },
        )]
        .into(),
        ..Facts::default()
    };
    let again = [Command::Order(Box::new(request(0, 1, Some(1))))];
    let decision = decide(&product, facts, again.iter(), now(), reference);
    assert_eq!(decision.replies, [Reply::Order(Outcome::Replayed(order))]);
    assert!(!decision.has_changes(&product));
}

#[test]
fn a_hold_makes_the_order_pending() {
    let mut product = product(1, None);
    product.hold_seconds = Some(90);
    let at = now();
    let commands = [Command::Order(Box::new(request(0, 1, None)))];
    let decision = decide(&product, Facts::default(), commands.iter(), at, reference);
    let order = created(&decision.replies[0]).unwrap();
    assert_eq!(order.status, OrderStatus::Pending);
    assert_eq!(order.expires_at, Some(at + TimeDelta::seconds(90)));
    assert_eq!(order.confirmed_at, None);
}

#[test]
fn a_restock_beyond_the_bound_changes_nothing() {
    let product = product(0, None);
    let decision = run(&product, &[restock(i32::MAX), restock(STOCK_MAX)]);
    assert_eq!(
        decision.replies,
        [Reply::RestockTooLarge, Reply::RestockTooLarge]
    );
    assert!(!decision.has_changes(&product));
}
