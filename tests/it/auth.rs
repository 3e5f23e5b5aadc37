//! Authentication and authorization: rejected tokens (401) and admin-only calls (403).

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    SOON, eventually,
    front::product_body,
    http::Call,
    shop::{Backend, Shop},
    tokens::{self, expiry, sign, sign_with},
    when,
};

fn tampered() -> String {
    let (user, admin) = (tokens::user("ann"), tokens::admin());
    let mut parts: Vec<&str> = user.split('.').collect();
    parts[1] = admin.split('.').nth(1).unwrap();
    parts.join(".")
}

fn bad_tokens() -> Vec<(&'static str, String)> {
    let signed = |claims: Value| format!("Bearer {}", sign(&claims));
    vec![
        ("alg none", format!("Bearer {}", tokens::unsigned())),
        ("other claims", format!("Bearer {}", tampered())),
        (
            "another secret",
            format!(
                "Bearer {}",
                sign_with(
                    "another-secret-of-the-same-length-0123456789",
                    &json!({ "sub": "ann", "exp": expiry(60) }),
                )
            ),
        ),
        ("an empty secret", {
            let claims = json!({ "sub": "ann", "exp": expiry(60) });
            format!("Bearer {}", sign_with("", &claims))
        }),
        (
            "expired",
            signed(json!({ "sub": "ann", "exp": expiry(-3600) })),
        ),
        (
            "expires now",
            signed(json!({ "sub": "ann", "exp": expiry(0) })),
        ),
        ("no exp", signed(json!({ "sub": "ann" }))),
        (
            "exp is text",
            signed(json!({ "sub": "ann", "exp": "tomorrow" })),
        ),
        ("no sub", signed(json!({ "exp": expiry(60) }))),
        ("empty sub", signed(json!({ "sub": "", "exp": expiry(60) }))),
        (
            "sub is a number",
            signed(json!({ "sub": 7, "exp": expiry(60) })),
        ),
        (
            "sub with NUL",
            signed(json!({ "sub": "an\0n", "exp": expiry(60) })),
        ),
        ("claims are a list", signed(json!(["ann"]))),
        ("garbage", "Bearer garbage".to_owned()),
        ("dots", "Bearer ..".to_owned()),
        ("long garbage", format!("Bearer {}", "x".repeat(10_000))),
        ("nothing after the scheme", "Bearer ".to_owned()),
        ("no scheme", tokens::user("ann")),
        ("another scheme", format!("Basic {}", tokens::user("ann"))),
        ("empty", String::new()),
    ]
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn calls_with_an_invalid_token_are_unauthenticated(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let order = json!({ "product_id": product, "quantity": 1 });
    let before = shop.ledger.everything().await;

    for (name, header) in bad_tokens() {
        let calls: [Call; 6] = [
            service.post("/orders").json(&order),
            service.get("/orders"),
            service.get(&format!("/orders/{product}")),
            service.post("/products").json(&product_body(1, json!({}))),
            service
                .patch(&format!("/products/{product}"))
                .json(&json!({ "name": "x" })),
            service
                .post(&format!("/products/{product}/restock"))
                .json(&json!({ "quantity": 1 })),
        ];
        for call in calls {
            let answer = call.header("authorization", &header).send().await;
            assert_eq!(answer.code(), "unauthenticated", "{name}: {answer:?}");
            answer.refusal(401, "unauthenticated");
            assert!(
                answer
                    .header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer"),
                "{name}"
            );
        }
    }
    // A gateway in front may have checked either.
    for (first, second) in [("ann", "bob"), ("bob", "ann")] {
        let call = service.get("/orders").bearer(&tokens::user(first));
        let call = call.header("authorization", format!("Bearer {}", tokens::user(second)));
        call.send().await.refusal(401, "unauthenticated");
    }
    assert_eq!(shop.ledger.everything().await, before);
}

#[tokio::test]
async fn the_bearer_scheme_is_case_insensitive() {
    let shop = Shop::open(Backend::Sqlite).await;
    let header = format!("bearer {}", tokens::user("ann"));

    let answer = shop
        .service()
        .get("/orders")
        .header("authorization", header)
        .send()
        .await;

    answer.success(200);
}

/// The login service chooses the text of user ids: no text may cause a server error.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn unusual_user_ids_cause_no_server_error(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(50, json!({})).await;
    // Long and incompressible: an index row of PostgreSQL holds 2,704 bytes.
    let long: String = (0..300)
        .map(|_| uuid::Uuid::now_v7().simple().to_string())
        .collect();
    let mut bought = 0;

    for sub in [
        "a b",
        "ann@example.org",
        "Ünïcødé ✓",
        "'; DROP TABLE orders; --",
        "\u{202e}",
        &long,
    ] {
        let token = sign(&json!({ "sub": sub, "exp": expiry(60) }));
        let call = shop
            .service()
            .post("/orders")
            .bearer(&token)
            .key(&"k".repeat(255));
        let answer = call
            .json(&json!({ "product_id": product, "quantity": 1 }))
            .send()
            .await;
        assert!(answer.status < 500, "{sub}: {answer:?}");
        bought += usize::from(answer.status == 201);
    }

    assert!(
        bought >= 2,
        "an e-mail address and a name with a space are valid user ids"
    );
    assert_eq!(shop.ledger.orders(product).await.len(), bought);
}

#[rstest]
#[case::create("/products", "POST")]
#[case::patch("/products/{id}", "PATCH")]
#[case::restock("/products/{id}/restock", "POST")]
#[case::archive("/products/{id}", "DELETE")]
#[tokio::test]
async fn only_an_admin_changes_products(#[case] path: &str, #[case] method: &str) {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let before = shop.ledger.everything().await;
    let path = path.replace("{id}", &product.to_string());
    let body = match (method, path.ends_with("restock")) {
        (_, true) => json!({ "quantity": 1 }),
        ("PATCH", false) => json!({ "name": "mine" }),
        (_, false) => product_body(1, json!({})),
    };
    let call = || service.call(method.parse().unwrap(), &path).json(&body);

    call()
        .bearer(&tokens::user("ann"))
        .send()
        .await
        .refusal(403, "forbidden");
    let roles = json!(["boss", "ADMIN", ["admin"], { "admin": true }, 1]);
    for role in roles.as_array().unwrap() {
        let token = sign(&json!({ "sub": "ann", "role": role, "exp": expiry(60) }));
        let answer = call().bearer(&token).send().await;
        assert!([401, 403].contains(&answer.status), "{role}: {answer:?}");
    }
    call().send().await.refusal(401, "unauthenticated");

    assert_eq!(shop.ledger.everything().await, before);
    let admin = call().bearer(&tokens::admin()).send().await;
    assert!([200, 201, 204].contains(&admin.status), "{admin:?}");
}

/// Valid tokens are cached; the cache must not extend their lifetime.
#[tokio::test]
async fn an_accepted_token_is_rejected_once_it_expires() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let token = sign(&json!({ "sub": "ann", "exp": expiry(1) }));
    let orders = async || service.get("/orders").bearer(&token).send().await;

    orders().await.success(200);
    orders().await.success(200);
    eventually("the token expires", SOON, async || {
        when(orders().await.code() == "unauthenticated")
    })
    .await;
}
