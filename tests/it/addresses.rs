//! The rate limit per client address, and whose `X-Forwarded-For` counts.

use serde_json::json;

use crate::support::{
    front::Front,
    http::Answer,
    shop::{Backend, Plan, Shop},
};

fn limited(limit: &str) -> Plan {
    Shop::plan(Backend::Sqlite).set("ADDRESS_RATE_LIMIT_PER_MINUTE", limit)
}

/// A request without a token, which a proxy has forwarded for `client`.
async fn anonymous(front: &Front, client: &str) -> Answer {
    let call = front.post("/orders").header("x-forwarded-for", client);
    call.json(&json!({})).send().await
}

#[tokio::test]
async fn a_flood_is_refused_before_any_token_is_checked() {
    let origin = "https://shop.example";
    let shop = limited("5").set("CORS_ORIGINS", origin).open().await;
    let front = shop.service().front();
    for number in 0..5 {
        // Without trusted proxies a client cannot choose its address.
        let answer = anonymous(&front, &format!("198.51.100.{number}")).await;
        answer.refusal(401, "unauthenticated");
    }

    let refused = anonymous(&front, "198.51.100.99").await;
    let problem = refused.refusal(429, "rate_limited");
    assert_eq!(problem["limit"], 5);
    assert!((1..=12).contains(&refused.retry_after()), "{refused:?}");
    assert_eq!(refused.header("ratelimit-limit"), Some("5"));
    // Such a request is refused without its handler.
    let unknown = front.get("/products?x=1").send().await;
    unknown.refusal(429, "rate_limited");
    for path in ["/products", "/health/live", "/nothing"] {
        let call = front.get(path).header("origin", origin);
        let refused = call.send().await;
        refused.refusal(429, "rate_limited");
        // Else a shop's page could not read the refusal.
        let allowed = refused.header("access-control-allow-origin");
        assert_eq!(allowed, Some(origin), "{path}");
    }
    let metrics = shop.service().metrics().await;
    assert!(metrics.shows("flash_sale_address_rate_limited_total", &[], 5));
    assert!(metrics.shows("flash_sale_rate_limited_total", &[], 0));
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_a_client_cannot() {
    let shop = limited("2")
        .set("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8,fd00::/8")
        .open()
        .await;
    let front = shop.service().front();
    for forwarded in ["198.51.100.1", "203.0.113.5, 198.51.100.1, 10.1.2.3"] {
        let answer = anonymous(&front, forwarded).await;
        answer.refusal(401, "unauthenticated");
    }

    // Whatever the client itself puts in front does not count.
    let refused = anonymous(&front, "203.0.113.6, 198.51.100.1").await;

    refused.refusal(429, "rate_limited");
    let other = anonymous(&front, "198.51.100.2").await;
    other.refusal(401, "unauthenticated");
    // One client has a whole /64 network of IPv6 addresses.
    for (client, code) in [
        ("2001:db8:1:2::1", "unauthenticated"),
        ("2001:db8:1:2:ffff::2", "unauthenticated"),
        ("2001:db8:1:2:3::3", "rate_limited"),
        ("2001:db8:1:3::1", "unauthenticated"),
    ] {
        assert_eq!(anonymous(&front, client).await.code(), code, "{client}");
    }
    // The proxy's own health checks have no X-Forwarded-For.
    for _ in 0..9 {
        front.get("/health/live").send().await.success(200);
    }
}

#[tokio::test]
async fn without_the_setting_no_address_is_limited() {
    let shop = Shop::open(Backend::Sqlite).await;
    let front = shop.service().front();
    for _ in 0..200 {
        let answer = anonymous(&front, "198.51.100.1").await;
        answer.refusal(401, "unauthenticated");
    }
}
