//! Buyers and admins whose tokens an identity provider signs (`AUTH_JWKS_URL`).

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    front::{Front, product_body},
    identity::{AUDIENCE, ISSUER, Identity, Signer, claims},
    openid::OpenId,
    service::{ended, program},
    shop::{Backend, Shop},
    tokens::{self, expiry, sign_with},
};

async fn product_of(front: &Front, admin: &str) -> Uuid {
    let call = front.post("/products").bearer(admin);
    let body = product_body(9, json!({}));
    let product = call.json(&body).send().await.success(201);
    product["id"].as_str().unwrap().parse().unwrap()
}

async fn buyer_of(front: &Front, token: &str, product: Uuid) -> Value {
    let order = json!({ "product_id": product, "quantity": 1 });
    let call = front.post("/orders").bearer(token).json(&order);
    call.send().await.success(201)["user_id"].clone()
}

/// The whole way with a real provider: it names itself in its discovery document, its tokens name
/// no key, and it replaces its key without notice.
#[tokio::test]
async fn a_user_signs_in_at_an_openid_provider_and_buys() {
    let mut provider = OpenId::start().await;
    let plan = provider.trusted_by(Shop::plan(Backend::Sqlite)).await;
    let plan = plan.set("AUTH_ADMIN_CLAIM", "realm_access.roles=shop-admin");
    let shop = plan.open().await;
    let service = shop.service();
    let roles = json!({ "realm_access": { "roles": ["offline", "shop-admin"] } });
    provider.set_claims("boss", &roles).await;
    let (boss, ann) = (
        provider.sign_in("boss").await,
        provider.sign_in("ann").await,
    );

    let product = product_of(service, &boss).await;
    assert_eq!(buyer_of(service, &ann, product).await, "ann");
    let refused = service.post("/products").bearer(&ann).json(&json!({}));
    refused.send().await.refusal(403, "forbidden");

    provider.rotate().await;
    let bob = provider.sign_in("bob").await;
    assert_eq!(buyer_of(service, &bob, product).await, "bob");
    let former = service.get("/orders").bearer(&ann).send().await;
    former.refusal(401, "unauthenticated");

    provider.process.kill();
    assert_eq!(buyer_of(service, &bob, product).await, "bob");
    shop.assert_books(product).await;
}

/// The keys of a provider, one of each kind.
struct Keys {
    rsa: Signer,
    pss: Signer,
    ec: Signer,
    ed: Signer,
}

/// Seconds of Unix time, as some libraries write them.
fn fraction(seconds: f64) -> f64 {
    f64::from(i32::try_from(expiry(0)).unwrap()) + seconds
}

impl Keys {
    fn new() -> Self {
        Self {
            rsa: Signer::new("rsa", Algorithm::RS256),
            pss: Signer::new("pss", Algorithm::PS256),
            ec: Signer::new("ec", Algorithm::ES256),
            ed: Signer::new("ed", Algorithm::EdDSA),
        }
    }

    fn good_tokens(&self) -> [String; 6] {
        let fractions = json!({
            "exp": fraction(600.5), "nbf": fraction(-1.5), "iat": fraction(-0.5),
        });
        [
            self.rsa.token("ann", json!({})),
            self.pss.token("ann", json!({})),
            self.ec
                .token("ann", json!({ "aud": ["account", AUDIENCE] })),
            self.ed.token("ann", fractions),
            // The provider's clock is ahead.
            self.ed.token("ann", json!({ "nbf": fraction(4.0) })),
            self.ed.token("ann", json!({ "role": ["admin"] })),
        ]
    }

    /// Tokens that this key has not signed, or under a header that is not its own.
    fn forged_tokens(&self) -> Vec<(&'static str, String)> {
        let valid = claims("ann", json!({}));
        let under = |id: Option<&str>, algorithm| Header {
            kid: id.map(str::to_owned),
            ..Header::new(algorithm)
        };
        let hmac = |secret: &str| {
            let key = EncodingKey::from_secret(secret.as_bytes());
            encode(&under(Some("rsa"), Algorithm::HS256), &valid, &key).unwrap()
        };
        let (rsa, pss) = (&self.rsa, &self.pss);
        let stranger = Signer::new("rsa", Algorithm::RS256);
        let other_id = under(Some("rsa"), Algorithm::PS256);
        let other_algorithm = under(Some("pss"), Algorithm::RS256);
        let crit = Header {
            crit: Some(vec!["exp".to_owned()]),
            ..rsa.header()
        };
        vec![
            ("the public key as a secret", hmac(&rsa.public)),
            ("the modulus", hmac(rsa.jwk["n"].as_str().unwrap())),
            ("a secret", hmac(tokens::SECRET)),
            ("no signature", tokens::unsigned()),
            ("another key", stranger.token("ann", json!({}))),
            ("another id", pss.sign(&other_id, &valid)),
            ("another algorithm", pss.sign(&other_algorithm, &valid)),
            ("crit", rsa.sign(&crit, &valid)),
        ]
    }

    fn unfit_tokens(&self) -> Vec<(&'static str, String)> {
        let with = |more| self.ed.token("ann", more);
        let realm = "https://login.example/realms/other";
        vec![
            ("another issuer", with(json!({ "iss": realm }))),
            ("no issuer", with(json!({ "iss": null }))),
            (
                "others' audience",
                with(json!({ "aud": ["account", ISSUER] })),
            ),
            ("no audience", with(json!({ "aud": null }))),
            ("not yet", with(json!({ "nbf": fraction(60.5) }))),
            ("expired", with(json!({ "exp": fraction(-1.5) }))),
            ("no time", with(json!({ "exp": "1e10" }))),
        ]
    }
}

#[tokio::test]
async fn only_tokens_of_the_provider_for_this_service_are_accepted() {
    let keys = Keys::new();
    let provider = Identity::start(&[&keys.rsa, &keys.pss, &keys.ec, &keys.ed]).await;
    let shop = provider
        .trusted_by(Shop::plan(Backend::Sqlite))
        .open()
        .await;
    let service = shop.service();
    let boss = keys.ed.token("boss", json!({ "role": "admin" }));
    let product = product_of(service, &boss).await;

    let good = keys.good_tokens();
    for token in &good {
        assert_eq!(buyer_of(service, token, product).await, "ann", "{token}");
        let call = service.post("/products").bearer(token).json(&json!({}));
        call.send().await.refusal(403, "forbidden");
    }
    for (name, token) in keys.forged_tokens().iter().chain(&keys.unfit_tokens()) {
        let answer = service.get("/orders").bearer(token).send().await;
        assert_eq!(answer.code(), "unauthenticated", "{name}: {answer:?}");
    }

    // A stream of a browser, whose ticket needs no secret of the operator.
    let ticket = service.post("/me/events/ticket").bearer(&good[0]);
    let ticket = ticket.send().await.success(201)["ticket"].clone();
    let stream = service.get("/me/events");
    let stream = stream.query(&[("ticket", ticket.as_str().unwrap())]);
    let mut stream = Events::open(stream).await;
    let seen = stream.until(|kind, _| kind == "order", SOON).await;
    assert_eq!(seen[0].1["user_id"], "ann");
}

/// Secrets are replaced in three steps: the new one verifies, then it signs, then the old one goes.
/// What the service itself signs has what it asks of every token.
#[tokio::test]
async fn a_secret_is_replaced_while_its_tokens_are_in_use() {
    let (new, old) = (tokens::SECRET, "the former secret of more than 32 bytes");
    let shop = Shop::plan(Backend::Sqlite)
        .generated_secret()
        .set("AUTH_SECRET", &format!("{new}, {old}"))
        .set("AUTH_ISSUER", ISSUER)
        .set("AUTH_AUDIENCE", &format!("{AUDIENCE},other"))
        .set("AUTH_ADMIN_CLAIM", "realm_access.roles=shop-admin")
        .flag("--demo")
        .open()
        .await;
    let service = shop.service();
    let orders = async |token: &str| {
        let answer = service.get("/orders").bearer(token).send().await;
        answer.status
    };

    for (secret, status) in [
        (new, 200),
        (old, 200),
        ("a secret that was never one of them", 401),
    ] {
        let token = sign_with(secret, &claims("ann", json!({})));
        assert_eq!(orders(&token).await, status, "{secret}");
    }
    assert_eq!(orders(&tokens::user("ann")).await, 401, "no issuer");

    let mut command = program();
    command.args(["token", "--user", "boss", "--admin"]);
    let output = ended(command.envs(&shop.settings.variables));
    let boss = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let product = product_of(service, &boss).await;
    let by_role = sign_with(new, &claims("ann", json!({ "role": "admin" })));
    let call = service.post("/products").bearer(&by_role).json(&json!({}));
    call.send().await.refusal(403, "forbidden");
    let guest = service.post("/guest-sessions").send().await.success(201);
    let guest_token = guest["token"].as_str().unwrap();
    assert_eq!(
        buyer_of(service, guest_token, product).await,
        guest["user_id"]
    );
    let key = DecodingKey::from_secret(new.as_bytes());
    for token in [&*boss, guest_token] {
        let mut validation = Validation::default();
        validation.set_audience(&[AUDIENCE]);
        let claims = decode::<Value>(token, &key, &validation);
        assert_eq!(
            claims.unwrap().claims["iss"],
            ISSUER,
            "the first secret signs"
        );
    }
}
