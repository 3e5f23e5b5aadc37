//! Offers of returned units: waiting users come first, in their order, before new buyers.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    shop::{Backend, Shop},
    tokens, when,
};

/// A sold-out product; `owner-0`, `owner-1`, … hold one unit each.
async fn sold_out(front: &Front, units: i64, more: &Value) -> Uuid {
    let mut terms = json!({ "hold_seconds": 600, "waitlist": true });
    let more = more.as_object().unwrap().clone();
    terms.as_object_mut().unwrap().extend(more);
    let product = front.product(units, terms).await;
    for owner in 0..units {
        let answer = front.buy(&format!("owner-{owner}"), product, 1).await;
        answer.success(201);
    }
    product
}

/// Returns the unit of one owner by a cancellation.
async fn give_back(front: &Front, product: Uuid, owner: usize) {
    let owner = format!("owner-{owner}");
    let order = &front.orders_of(&owner, product).await[0];
    let order = order["id"].as_str().unwrap();
    let answer = front.cancel(&tokens::user(&owner), order).send().await;
    answer.success(200);
}

/// The positions of these users; `None` for a user without a place.
async fn places<const N: usize>(
    front: &Front,
    product: Uuid,
    users: [&str; N],
) -> [Option<i64>; N] {
    let mut places = [None; N];
    for (place, user) in places.iter_mut().zip(users) {
        *place = front.position(user, product).await;
    }
    places
}

async fn assert_holds(front: &Front, product: Uuid, user: &str, quantity: i64) {
    let orders = front.orders_of(user, product).await;
    assert_eq!(orders.len(), 1, "{user}: {orders:?}");
    assert_eq!(orders[0]["quantity"], quantity, "{user}");
    assert_eq!(orders[0]["status"], "pending", "{user}");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn returned_units_are_offered_in_the_order_of_the_waitlist(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let product = sold_out(service, 2, &json!({})).await;
    let users = ["ann", "bob", "carl", "dora"];
    for (place, (user, node)) in (1..).zip(users.iter().zip(shop.nodes.iter().cycle())) {
        assert_eq!(node.join(user, product, 1).await, place);
    }

    give_back(last, product, 0).await;
    assert_holds(service, product, "ann", 1).await;
    let now = places(last, product, users).await;
    assert_eq!(now, [None, Some(1), Some(2), Some(3)]);

    let restocked = last.restock(product, 1).await.success(200);
    assert_eq!(
        (&restocked["stock"], &restocked["stock_total"]),
        (&json!(0), &json!(3))
    );
    assert_holds(service, product, "bob", 1).await;

    let over = crate::support::in_seconds(-1);
    let expire = format!("UPDATE orders SET expires_at = '{over}' WHERE user_id = 'owner-1'");
    shop.ledger.execute(&expire).await;
    eventually("carl is served", SOON, async || {
        when(service.position("carl", product).await.is_none())
    })
    .await;
    assert_holds(service, product, "carl", 1).await;
    let now = places(last, product, users).await;
    assert_eq!(now, [None, None, None, Some(1)]);

    let mut offers = 0.0;
    for node in &shop.nodes {
        let metrics = node.metrics().await;
        offers += metrics
            .value("flash_sale_waitlist_promoted_total", &[])
            .unwrap();
    }
    assert!((offers - 3.0).abs() < 0.1, "{offers}");
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_entry_that_does_not_fit_blocks_the_later_ones(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = sold_out(service, 3, &json!({})).await;
    service.join("big", product, 3).await;
    service.join("small", product, 1).await;

    for owner in 0..2 {
        give_back(service, product, owner).await;
        let newcomer = service.buy("newcomer", product, 1).await;
        newcomer.refusal(409, "sold_out");
        assert_eq!(
            places(service, product, ["big", "small"]).await,
            [Some(1), Some(2)]
        );
    }
    assert_eq!(service.join("late", product, 1).await, 3);
    give_back(service, product, 2).await;

    assert_holds(service, product, "big", 3).await;
    assert_eq!(
        places(service, product, ["small", "late"]).await,
        [Some(1), Some(2)]
    );
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn with_waitlist_skip_an_entry_that_fits_passes(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = sold_out(service, 4, &json!({ "waitlist_skip": true })).await;
    service.join("big", product, 3).await;
    service.join("small", product, 1).await;
    service.join("other", product, 2).await;

    give_back(service, product, 0).await;
    assert_holds(service, product, "small", 1).await;
    give_back(service, product, 1).await;
    // Reserved: too few units for either entry, enough for a request that may wait too.
    let refusal = service.buy("newcomer", product, 1).await;
    refusal.refusal(409, "sold_out");
    let answer = service.buy_or_wait("one-more", product, 1).await;
    answer.success(201);
    let now = places(service, product, ["big", "small", "other"]).await;
    assert_eq!(now, [Some(1), None, Some(2)]);
    service.restock(product, 3).await.success(200);

    assert_holds(service, product, "big", 3).await;
    assert_eq!(service.position("other", product).await, Some(1));
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn units_never_sold_are_not_reserved(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let terms = json!({ "hold_seconds": 600, "waitlist": true });
    let product = service.product(4, terms).await;
    assert_eq!(service.join("big", product, 5).await, 1);

    let short = service.buy("ann", product, 5).await;
    assert_eq!(short.refusal(409, "insufficient_stock")["available"], 4);
    service.buy("ann", product, 3).await.success(201);
    service.buy_or_wait("bob", product, 1).await.success(201);

    assert_eq!(service.position("big", product).await, Some(1));
    service.restock(product, 5).await.success(200);
    assert_holds(service, product, "big", 5).await;
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn when_an_entry_leaves_the_later_ones_are_served(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let product = sold_out(service, 2, &json!({})).await;
    for (user, quantity) in [("big", 2), ("small", 1), ("middle", 3), ("rear", 1)] {
        service.join(user, product, quantity).await;
    }
    give_back(service, product, 0).await;

    let left = last.leave("big", product).send().await;
    assert_eq!((left.status, left.body.len()), (204, 0), "{left:?}");
    let again = service.leave("big", product).send().await;
    again.refusal(404, "not_waiting");
    assert_holds(service, product, "small", 1).await;
    let now = places(service, product, ["big", "small", "middle", "rear"]).await;
    assert_eq!(now, [None, None, Some(1), Some(2)]);

    give_back(last, product, 1).await;
    service
        .buy("new", product, 1)
        .await
        .refusal(409, "sold_out");
    for user in ["middle", "rear"] {
        let left = last.leave(user, product).send().await;
        assert!([204, 404].contains(&left.status), "{left:?}");
    }
    assert_holds(service, product, "rear", 1).await;
    service.restock(product, 1).await.success(200);
    // The waitlist is empty, so no unit is reserved.
    service.buy("new", product, 1).await.success(201);
    assert_eq!(service.join("big", product, 1).await, 1);
    shop.assert_books(product).await;
}

#[tokio::test]
async fn without_hold_seconds_an_offer_is_a_confirmed_order() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = sold_out(service, 0, &json!({ "hold_seconds": null })).await;
    service.join("ann", product, 2).await;

    service.restock(product, 2).await.success(200);

    let order = &service.orders_of("ann", product).await[0];
    assert_eq!(order["status"], "confirmed");
    assert_eq!(order["confirmed_at"], order["created_at"]);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn enabling_waitlist_skip_serves_the_entries_that_fit(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = sold_out(service, 2, &json!({})).await;
    service.join("big", product, 2).await;
    service.join("small", product, 1).await;
    give_back(service, product, 0).await;
    assert_eq!(service.position("small", product).await, Some(2));

    let change = json!({ "waitlist_skip": true });
    service.change(product, &change).await.success(200);

    eventually("small is served", SOON, async || {
        when(service.position("small", product).await.is_none())
    })
    .await;
    assert_holds(service, product, "small", 1).await;
    assert_eq!(service.position("big", product).await, Some(1));
    shop.assert_books(product).await;
}

/// The state that a node leaves if it dies between two batches of a large restock.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn units_reserved_by_a_dead_node_are_offered(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = sold_out(service, 0, &json!({})).await;
    for user in ["ann", "bob", "carl"] {
        service.join(user, product, 1).await;
    }

    let reserved = "UPDATE products SET stock = 2, stock_reserved = 2, stock_total = 2, \
                version = version + 1";
    shop.ledger.execute(reserved).await;

    eventually("two are served", SOON, async || {
        when(places(service, product, ["ann", "bob", "carl"]).await == [None, None, Some(1)])
    })
    .await;
    shop.assert_books(product).await;
}
