//! What every decision must keep, whatever the batch: checked over random batches.

use std::{collections::HashSet, sync::Arc};

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{IdempotencyKey, ProductId, STOCK_MAX, now, reference},
    store::Remembered,
};

mod waiting;

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
        stock_total: 1_000,
        stock,
        version: 7,
        max_per_order: 10,
        max_per_user,
        hold_seconds: None,
        waitlist: false,
        waitlist_skip: false,
        stock_reserved: 0,
        starts_at: None,
        ends_at: None,
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

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        9 => (0..4_usize, 1..12, prop::option::of(0..6_u8))
            .prop_map(|(user, quantity, key)| Wish::Order(Box::new(request(user, quantity, key)))),
        1 => (1..20).prop_map(Wish::Restock),
    ]
}

fn run(product: &Product, wishes: &[Wish]) -> Decision {
    decide(product, Facts::default(), wishes.iter(), now(), reference)
}

fn created(verdict: &Verdict) -> Option<&Order> {
    if let Verdict::Order(Outcome::Created(order)) = verdict {
        return Some(order);
    }
    None
}

proptest! {
    #[test]
    fn units_are_conserved(
        stock in 0..60, limit in prop::option::of(1..20), wishes in prop::collection::vec(wish(), 0..80),
    ) {
        let product = product(stock, limit);
        let decision = run(&product, &wishes);
        let sold: i32 = decision.verdicts.iter().filter_map(created).map(|o| o.quantity).sum();
        let restocked: i32 = wishes.iter().map(|wish| match wish {
            Wish::Restock(quantity) => *quantity,
            Wish::Order(_) | Wish::Cancel(..) | Wish::Leave(_) | Wish::Tend => 0,
        }).sum();
        prop_assert_eq!(decision.stock, stock + restocked - sold);
        prop_assert_eq!(decision.stock_total, product.stock_total + restocked);
        prop_assert!(decision.stock >= 0);
        prop_assert_eq!(decision.units(), u64::try_from(sold).unwrap());
        prop_assert_eq!(decision.verdicts.len(), wishes.len());
        prop_assert_eq!(decision.changes(&product), sold != 0 || restocked != 0);
    }

    #[test]
    fn no_unit_stays_while_a_request_that_fits_waits(
        stock in 0..60, wishes in prop::collection::vec(wish(), 0..80),
    ) {
        let decision = run(&product(stock, None), &wishes);
        let mut left = stock;
        for (wish, verdict) in wishes.iter().zip(&decision.verdicts) {
            match (wish, verdict) {
                (Wish::Restock(quantity), _) => left += quantity,
                (Wish::Order(_), Verdict::Order(Outcome::Created(order))) => left -= order.quantity,
                (Wish::Order(_), Verdict::Order(Outcome::SoldOut { .. })) => prop_assert_eq!(left, 0),
                (Wish::Order(request), Verdict::Order(Outcome::InsufficientStock { available })) => {
                    prop_assert_eq!(*available, left);
                    prop_assert!(left < request.quantity);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn who_came_first_is_served_first(
        stock in 0..30, wishes in prop::collection::vec((0..4_usize, Just(1)), 1..60),
    ) {
        let wishes: Vec<Wish> = wishes.into_iter()
            .map(|(user, quantity)| Wish::Order(Box::new(request(user, quantity, None))))
            .collect();
        let decision = run(&product(stock, None), &wishes);
        let first_refused = decision.verdicts.iter().position(|v| created(v).is_none());
        let last_served = decision.verdicts.iter().rposition(|v| created(v).is_some());
        if let (Some(refused), Some(served)) = (first_refused, last_served) {
            prop_assert!(served < refused);
        }
    }

    #[test]
    fn nobody_gets_more_than_the_limit(
        limit in 1..12, held in 0..12_i64, wishes in prop::collection::vec(wish(), 0..80),
    ) {
        let product = product(500, Some(limit));
        let facts = Facts {
            held: USERS.iter().map(|user| (UserId::from(*user), held)).collect(),
            ..Facts::default()
        };
        let decision = decide(&product, facts, wishes.iter(), now(), reference);
        for user in USERS {
            let bought: i64 = decision.verdicts.iter().filter_map(created)
                .filter(|order| &*order.user_id == user)
                .map(|order| i64::from(order.quantity)).sum();
            prop_assert!(bought == 0 || held + bought <= i64::from(limit));
        }
    }

    #[test]
    fn a_key_buys_once(wishes in prop::collection::vec(wish(), 0..80)) {
        let decision = run(&product(500, None), &wishes);
        let keys: Vec<_> = decision.new.orders.iter()
            .filter_map(|new| Some((&new.order.user_id, &new.key.as_ref()?.key)))
            .collect();
        let distinct: HashSet<_> = keys.iter().collect();
        prop_assert_eq!(keys.len(), distinct.len());
    }
}

#[test]
fn an_answer_is_given_again_even_when_sold_out_and_over() {
    let mut product = product(1, Some(1));
    let first = request(0, 1, Some(1));
    let sold = run(&product, &[Wish::Order(Box::new(first.clone()))]);
    let order = created(&sold.verdicts[0]).unwrap().clone();
    product.stock = 0;
    product.ends_at = Some(now() - TimeDelta::days(1));
    let facts = Facts {
        known: [(
            (Arc::clone(&first.user_id), "1".to_owned()),
            Known {
                answer: Remembered::Order(Box::new(order.clone())),
                request: "1".to_owned(),
            },
        )]
        .into(),
        ..Facts::default()
    };
    let again = [Wish::Order(Box::new(request(0, 1, Some(1))))];
    let decision = decide(&product, facts, again.iter(), now(), reference);
    assert_eq!(
        decision.verdicts,
        [Verdict::Order(Outcome::Replayed(order))]
    );
    assert!(!decision.changes(&product));
}

#[test]
fn a_hold_makes_the_order_pending() {
    let mut product = product(1, None);
    product.hold_seconds = Some(90);
    let at = now();
    let wishes = [Wish::Order(Box::new(request(0, 1, None)))];
    let decision = decide(&product, Facts::default(), wishes.iter(), at, reference);
    let order = created(&decision.verdicts[0]).unwrap();
    assert_eq!(order.status, OrderStatus::Pending);
    assert_eq!(order.expires_at, Some(at + TimeDelta::seconds(90)));
    assert_eq!(order.confirmed_at, None);
}

#[test]
fn a_restock_beyond_the_bound_changes_nothing() {
    let product = product(0, None);
    let decision = run(
        &product,
        &[Wish::Restock(i32::MAX), Wish::Restock(STOCK_MAX)],
    );
    assert_eq!(
        decision.verdicts,
        [Verdict::RestockTooLarge, Verdict::RestockTooLarge]
    );
    assert!(!decision.changes(&product));
}
