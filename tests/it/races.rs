//! Concurrent orders for one product: no unit is sold twice and none stays unsold.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    race::{rush, rush_of},
    shop::{Backend, Shop},
};

struct Race {
    buyers: usize,
    stock: usize,
    quantity: usize,
}

impl Race {
    fn winners(&self) -> usize {
        self.buyers.min(self.stock / self.quantity)
    }

    fn left(&self) -> usize {
        self.stock - self.winners() * self.quantity
    }
}

#[rstest]
#[case::a_thousand_for_the_last_unit(Race { buyers: 1_000, stock: 1, quantity: 1 })]
#[case::many_for_five(Race { buyers: 1_500, stock: 5, quantity: 1 })]
#[case::many_for_none(Race { buyers: 1_500, stock: 0, quantity: 1 })]
#[case::a_hundred_for_ten(Race { buyers: 100, stock: 10, quantity: 1 })]
#[case::all_units_in_one_order(Race { buyers: 300, stock: 10, quantity: 10 })]
#[case::one_unit_short(Race { buyers: 300, stock: 299, quantity: 1 })]
#[case::a_rest_smaller_than_an_order(Race { buyers: 300, stock: 10, quantity: 4 })]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_possible_orders_are_created(
    #[case] race: Race,
    #[values(Backend::Sqlite, Backend::Postgres, Backend::ThreeNodes)] backend: Backend,
) {
    let shop = Shop::open(backend).await;
    let stock = i64::try_from(race.stock).unwrap();
    let quantity = i64::try_from(race.quantity).unwrap();
    let product = shop.service().product(stock, json!({})).await;

    let tally = rush(&shop.nodes, product, race.buyers, quantity).await;

    let (winners, left) = (race.winners(), race.left());
    let refusal = if left == 0 {
        "sold_out"
    } else {
        "insufficient_stock"
    };
    assert_eq!(tally.orders.len(), winners, "{:?}", tally.refusals.keys());
    assert_eq!(
        tally.refused(refusal),
        race.buyers - winners,
        "{:?}",
        tally.refusals.keys()
    );
    for answer in tally.refusals.values().flatten() {
        let body = answer.refusal(409, refusal);
        if left > 0 {
            assert!(
                body["available"]
                    .as_u64()
                    .is_some_and(|n| (1..4).contains(&n)),
                "{body}"
            );
        }
    }
    let rows = shop.ledger.orders(product).await;
    assert_eq!(rows.len(), winners);
    for order in &tally.orders {
        let row = rows
            .iter()
            .find(|row| order["id"] == json!(row.id))
            .unwrap();
        assert_eq!(order["user_id"], row.user_id);
        assert_eq!(order["quantity"], row.quantity);
    }
    assert_eq!(
        usize::try_from(shop.ledger.product(product).await.stock).unwrap(),
        left
    );
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_are_sold_side_by_side(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let mut races = Vec::new();
    for stock in 1..=8 {
        races.push((shop.service().product(stock, json!({})).await, stock));
    }

    let all = races
        .iter()
        .map(|(product, _)| rush(&shop.nodes, *product, 40, 1));
    let tallies = futures::future::join_all(all).await;

    for ((product, stock), tally) in races.into_iter().zip(tallies) {
        assert_eq!(tally.orders.len(), usize::try_from(stock).unwrap());
        assert_eq!(tally.refused("sold_out"), 40 - tally.orders.len());
        shop.ledger.assert_conserved(product).await;
    }
}

/// Small and large orders compete: no unit is oversold, and none is left that fits an order.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_unit_is_left_while_a_fitting_order_waits(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(50, json!({})).await;

    let last = shop.nodes.len() - 1;
    let (large, small) = tokio::join!(
        rush_of("large", &shop.nodes[..1], product, 60, 7),
        rush_of("small", &shop.nodes[last..], product, 60, 1),
    );

    let (large, small) = (large.orders.len(), small.orders.len());
    assert_eq!(
        large * 7 + small,
        50,
        "{large} large and {small} small orders"
    );
    assert_eq!(shop.ledger.product(product).await.stock, 0);
    shop.assert_books(product).await;
}
