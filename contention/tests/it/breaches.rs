//! `contention` against a service with a planted fault: each breach is found and named.

use rstest::rstest;
use serde_json::Value;

use crate::support::{
    liar::{Liar, Lie},
    runner::run,
    shop::{SECRET, Shop, admin, buyer},
};

/// Runs twenty buyers against a service behind a proxy with this lie, and returns the breaches.
async fn breaches(lie: Lie, stock: &str) -> (String, Shop) {
    let shop = Shop::open().await;
    let liar = Liar::before(&shop.url, lie).await;
    let target = ["--target", &liar.url, "--auth-secret", SECRET];
    let size = ["overbooking", "--users", "20", "--stock", stock];
    let outcome = run(&[&size[..], &target[..]].concat()).await;
    (outcome.breaches(), shop)
}

/// The ids of all orders of the service.
async fn orders(shop: &Shop) -> Vec<String> {
    let page = shop.get("/orders?limit=100").await;
    let orders = page["orders"].as_array().unwrap().iter();
    orders
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect()
}

#[rstest]
#[case::oversold(Lie::OneTooMany, "sold as many as possible", "oversold: 6 units of 5")]
#[case::restocked(Lie::OneTooMany, "conservation", "its stock_total is 6")]
#[case::kept_back(Lie::KeepBack { after: 4 }, "sold as many as possible", "1 of 5 units unsold")]
#[case::answer_lost(
    Lie::DenyWinner,
    "was answered to its buyer",
    "was never answered: the last answer was sold_out"
)]
#[case::answer_cut_off(Lie::CutOff, "every request is answered", "got no answer")]
#[case::two_winners(Lie::CopyWinner, "one winner", "was answered to users")]
#[case::order_lost(Lie::LoseOrders, "can be read", ": 401")]
#[case::server_error(Lie::ServerError, "no 5xx", "was answered 500")]
#[tokio::test]
async fn a_broken_promise_is_named(#[case] lie: Lie, #[case] promise: &str, #[case] words: &str) {
    let (breaches, shop) = breaches(lie, "5").await;
    let breach = breaches
        .lines()
        .find(|line| line.contains(promise) && line.contains(words));
    let breach = breach.unwrap_or_else(|| panic!("{promise}, {words}:\n{breaches}"));
    let named = breach.contains("contention-overbooking-")
        || orders(&shop)
            .await
            .iter()
            .any(|order| breach.contains(order));
    assert!(named, "{breach}");
}

#[tokio::test]
async fn a_forgotten_key_is_named_with_both_orders() {
    let (breaches, shop) = breaches(Lie::ForgetKeys, "200").await;
    let breach = breaches
        .lines()
        .find(|line| line.contains("a repeated key"));
    let breach = breach.unwrap_or_else(|| panic!("{breaches}"));
    let orders = orders(&shop).await;
    let named = orders
        .iter()
        .filter(|order| breach.contains(*order))
        .count();
    assert_eq!(named, 2, "{breach}");
}

/// The same through a proxy without a lie; existing products of the shop do not change.
#[tokio::test]
async fn a_sound_target_holds_and_keeps_its_own_products() {
    let shop = Shop::open().await;
    let own = shop.product("the-shop-s-own", 7).await;
    let before = shop.row(own).await;
    let liar = Liar::before(&shop.url, Lie::None).await;
    let arguments = [
        "overbooking",
        "limited",
        "--users",
        "20",
        "--target",
        &liar.url,
    ];

    let outcome = run(&[&arguments[..], &["--auth-secret", SECRET]].concat()).await;

    assert_eq!(outcome.held().len(), 2);
    assert!(!outcome.report.to_string().contains(SECRET));
    let after = shop.row(own).await;
    assert_eq!((after.stock, after.version), (before.stock, before.version));
    let page = shop.get("/products").await;
    for product in page["products"].as_array().unwrap() {
        let sku = product["sku"].as_str().unwrap();
        assert!(
            sku == "the-shop-s-own" || sku.starts_with("contention-"),
            "{sku}"
        );
    }
    shop.assert_invariants(own).await;
}

#[tokio::test]
async fn a_target_is_driven_with_tokens_from_a_file() {
    let shop = Shop::open().await;
    let file = shop.folder().join("tokens");
    let buyers = (0..20).map(|number| buyer(&format!("buyer-{number}")));
    let lines: Vec<String> = [admin()].into_iter().chain(buyers).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let tokens = ["--tokens", file.to_str().unwrap()];
    let target = ["overbooking", "--users", "20", "--target", &shop.url];

    let outcome = run(&[&target[..], &tokens[..]].concat()).await;

    assert_eq!(outcome.held()[0]["units"]["sold"], 10);
}

#[tokio::test]
async fn no_fault_is_injected_into_an_existing_service() {
    let shop = Shop::open().await;
    let target = ["redis-down", "--target", &shop.url, "--auth-secret", SECRET];
    let outcome = run(&target).await;
    assert_eq!((outcome.code, outcome.report), (Some(1), Value::Null));
    assert!(
        outcome
            .stderr
            .contains("only into a service that this run started"),
        "{}",
        outcome.stderr
    );
}
