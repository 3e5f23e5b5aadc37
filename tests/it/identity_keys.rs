//! When the keys of the identity provider are fetched, and what counts while they cannot be.

use std::time::Instant;

use futures::future::join_all;
use jsonwebtoken::{Algorithm, Header};
use serde_json::json;

use crate::support::{
    SOON, eventually,
    http::Answer,
    identity::{Fault, Identity, Signer, claims},
    service::Service,
    shop::{Backend, Shop},
    when,
};

/// The least time between two fetches that tokens with unknown keys cause.
const COOL_DOWN_SECONDS: u64 = 10;

async fn orders(service: &Service, token: &str) -> Answer {
    service.get("/orders").bearer(token).send().await
}

async fn status(service: &Service, path: &str) -> u16 {
    service.get(path).send().await.status
}

#[tokio::test]
async fn a_new_key_is_fetched_at_once_and_made_up_keys_cause_no_flood() {
    let [old, new] = ["old", "new"].map(|id| Signer::new(id, Algorithm::ES256));
    let provider = Identity::start(&[&old]).await;
    let shop = provider
        .trusted_by(Shop::plan(Backend::Sqlite))
        .open()
        .await;
    let service = shop.service();
    let (of_old, of_new) = (old.token("ann", json!({})), new.token("ann", json!({})));
    orders(service, &of_old).await.success(200);
    assert_eq!(provider.fetches(), 1, "the one of the start");

    provider.publish(&[&new]);
    let began = Instant::now();
    // Many at once share the fetch.
    let calls = (0..20).map(|_| orders(service, &of_new));
    for answer in join_all(calls).await {
        answer.success(200);
    }
    assert_eq!(provider.fetches(), 2);
    // Although this very token had been accepted, and would be for ten minutes.
    orders(service, &of_old)
        .await
        .refusal(401, "unauthenticated");

    let made_up = |number: usize| {
        let header = Header {
            kid: Some(format!("made-up-{number}")),
            ..old.header()
        };
        old.sign(&header, &claims("ann", json!({})))
    };
    let tokens: Vec<_> = (0..300).map(made_up).collect();
    for flood in tokens.chunks(50) {
        let calls = flood.iter().map(|token| orders(service, token));
        for answer in join_all(calls).await {
            answer.refusal(401, "unauthenticated");
        }
        orders(service, &of_new).await.success(200);
    }
    let allowed = 2 + usize::try_from(began.elapsed().as_secs() / COOL_DOWN_SECONDS).unwrap();
    assert!(provider.fetches() <= allowed, "{}", provider.fetches());
}

#[tokio::test]
async fn without_keys_nobody_can_sign_in_and_a_silent_provider_delays_no_known_key() {
    let key = Signer::new("a", Algorithm::EdDSA);
    let token = key.token("ann", json!({}));
    let provider = Identity::start(&[&key]).await;
    provider.set(Fault::Hold);
    let began = Instant::now();
    // It starts all the same.
    let plan = provider.trusted_by(Shop::plan(Backend::Sqlite));
    let shop = plan.set("REQUEST_TIMEOUT_MS", "5000").open().await;
    let service = shop.service();

    let calls = (0..20).map(|_| orders(service, &token));
    for answer in join_all(calls).await {
        answer.refusal(503, "unavailable");
        answer.retry_after();
    }
    // They wait for the one of the start, which is given up after 5 s, and repeated 5 s later.
    let allowed = 1 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
    assert!(provider.fetches() <= allowed, "{}", provider.fetches());
    orders(service, "no token")
        .await
        .refusal(401, "unauthenticated");
    assert_eq!(status(service, "/health/ready").await, 503);
    assert_eq!(service.health().await.1["identity_provider"], "down");
    // Everybody may look, and a token makes nobody wait.
    let products = service.get("/products").bearer(&token).send().await;
    products.success(200);

    provider.set(Fault::None);
    eventually("the keys are fetched", SOON, async || {
        when(status(service, "/health/ready").await == 200)
    })
    .await;
    orders(service, &token).await.success(200);

    provider.set(Fault::Hold);
    let asked = provider.fetches();
    let unknown = Signer::new("b", Algorithm::EdDSA).token("ann", json!({}));
    let (refused, known) = tokio::join!(orders(service, &unknown), async {
        eventually("the provider is asked", SOON, async || {
            when(provider.fetches() > asked)
        })
        .await;
        // Not from the cache of accepted tokens.
        let other = key.token("bob", json!({}));
        orders(service, &other).await
    });
    refused.refusal(401, "unauthenticated");
    known.success(200);
}

#[tokio::test]
async fn the_last_keys_count_until_the_provider_gives_others() {
    let [old, new] = ["old", "new"].map(|id| Signer::new(id, Algorithm::ES256));
    let token = old.token("ann", json!({}));
    let provider = Identity::start(&[&old]).await;
    let plan = provider.trusted_by(Shop::plan(Backend::Sqlite));
    let shop = plan.set("AUTH_JWKS_REFRESH_SECONDS", "1").open().await;
    let service = shop.service();
    orders(service, &token).await.success(200);
    let is = async |state: &str| {
        let (status, health) = service.health().await;
        assert_eq!(status, 200, "{health}");
        when(health["identity_provider"] == state)
    };

    for fault in [
        Fault::Status(500),
        Fault::Redirect,
        Fault::Long,
        Fault::Empty,
        Fault::Garbage,
    ] {
        let asked = provider.fetches();
        provider.set(fault);
        eventually("the fault shows", SOON, async || is("degraded").await).await;
        if fault == Fault::Status(500) {
            eventually("it is asked again", SOON, async || {
                when(provider.fetches() >= asked + 3)
            })
            .await;
        }
        assert_eq!(status(service, "/health/ready").await, 200, "{fault:?}");
        let bob = old.token("bob", json!({}));
        orders(service, &bob).await.success(200);
        provider.set(Fault::None);
        eventually("the provider is back", SOON, async || is("up").await).await;
    }
    assert_eq!(provider.redirected(), 0);
    let warnings = shop
        .log()
        .matches("cannot fetch the identity provider's keys")
        .count();
    assert_eq!(warnings, 5, "one for each fault, however long it lasts");
    let metrics = service.metrics().await;
    assert!(metrics.shows("flash_sale_auth_keys", &[], 1));
    let failed = [("outcome", "failed")];
    let failed = metrics.value("flash_sale_auth_key_fetches_total", &failed);
    assert!(failed >= Some(5.0), "{failed:?}");

    // Nobody has sent a token of the new key.
    provider.publish(&[&new]);
    eventually("the removed key is refused", SOON, async || {
        when(orders(service, &token).await.status == 401)
    })
    .await;
    orders(service, &new.token("ann", json!({})))
        .await
        .success(200);
}
