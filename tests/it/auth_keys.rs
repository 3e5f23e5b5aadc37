//! Token keys: a login service's public key, the `token` command and the generated secret.

use std::{fs, os::unix::fs::PermissionsExt};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rstest::rstest;
use serde_json::json;

use crate::{
    cli::refused_start,
    support::{
        front::product_body,
        service::{ended, program},
        shop::{Backend, Shop},
        tokens::{self, expiry, key_pair, sign_with},
    },
};

#[rstest]
#[case::rs256(
    Algorithm::RS256,
    EncodingKey::from_rsa_pem,
    &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
)]
#[case::es256(
    Algorithm::ES256,
    EncodingKey::from_ec_pem,
    &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
)]
#[case::eddsa(Algorithm::EdDSA, EncodingKey::from_ed_pem, &["-algorithm", "ED25519"])]
#[tokio::test]
async fn tokens_of_the_configured_public_keys_are_accepted(
    #[case] algorithm: Algorithm,
    #[case] read_private: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>,
    #[case] kind: &[&str],
) {
    let (private, public) = key_pair(kind);
    let (former, former_public) = key_pair(kind);
    let (foreign, _) = key_pair(kind);
    let shop = Shop::plan(Backend::Sqlite)
        .set("AUTH_PUBLIC_KEY", &format!("{public}{former_public}"))
        .open()
        .await;
    let service = shop.service();
    let claims = json!({ "sub": "ann", "role": "admin", "exp": expiry(60) });
    let with = |private: &str| {
        let key = read_private(private.as_bytes()).unwrap();
        encode(&Header::new(algorithm), &claims, &key).unwrap()
    };

    for signed in [with(&private), with(&former)] {
        let answer = service.get("/orders").bearer(&signed).send().await;
        answer.success(200);
    }
    let other = service.get("/orders").bearer(&with(&foreign)).send().await;
    other.refusal(401, "unauthenticated");
    // Algorithm confusion: the public key, which everyone can read, as the secret of HS256.
    let confused = service
        .get("/orders")
        .bearer(&sign_with(&public, &claims))
        .send()
        .await;
    confused.refusal(401, "unauthenticated");
    service
        .get("/orders")
        .bearer(&tokens::unsigned())
        .send()
        .await
        .refusal(401, "unauthenticated");
}

#[rstest]
#[case::user(&[], 403)]
#[case::admin(&["--admin"], 201)]
#[tokio::test]
async fn the_service_accepts_tokens_of_the_token_command(
    #[case] more: &[&str],
    #[case] status: u16,
) {
    let shop = Shop::open(Backend::Sqlite).await;
    let token = |ttl: &str| {
        let mut command = program();
        command
            .args(["token", "--user", "ann", "--ttl", ttl])
            .args(more);
        let output = ended(command.envs(&shop.settings.variables));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };

    let call = shop.service().post("/products").bearer(&token("1h"));
    let answer = call.json(&product_body(1, json!({}))).send().await;
    assert_eq!(answer.status, status, "{answer:?}");
    let product = shop.service().product(1, json!({})).await;
    let call = shop.service().post("/orders").bearer(&token("1h"));
    let order = call
        .json(&json!({ "product_id": product, "quantity": 1 }))
        .send()
        .await;
    assert_eq!(order.success(201)["user_id"], "ann");
}

/// Without a configured key the service generates a secret once, makes the file private and reuses
/// the secret after a restart.
#[tokio::test]
async fn a_generated_secret_is_private_and_survives_a_restart() {
    let mut shop = Shop::plan(Backend::Sqlite).generated_secret().open().await;
    let token = || {
        let mut command = program();
        command
            .args(["token", "--user", "ann"])
            .env("DATA_DIR", shop.data());
        String::from_utf8(ended(&mut command).stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    let token = token();

    shop.service()
        .get("/orders")
        .bearer(&token)
        .send()
        .await
        .success(200);
    let foreign = shop
        .service()
        .get("/orders")
        .bearer(&tokens::user("ann"))
        .send()
        .await;
    foreign.refusal(401, "unauthenticated");
    let files = fs::read_dir(shop.data()).unwrap().map(Result::unwrap);
    let secrets: Vec<_> = files
        .filter(|file| {
            file.file_name()
                .to_string_lossy()
                .to_lowercase()
                .contains("secret")
        })
        .collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(
        secrets[0].metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );

    shop.restart(0).await;
    shop.service()
        .get("/orders")
        .bearer(&token)
        .send()
        .await
        .success(200);
}

/// Else they would refuse every token, which is noticed when the sale begins.
#[test]
fn a_key_that_can_verify_nothing_ends_the_start() {
    let (rsa_private, _) = key_pair(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let (_, short) = key_pair(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    let (_, p384) = key_pair(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    for (name, key) in [("private", rsa_private), ("short", short), ("P-384", p384)] {
        let refused = refused_start(&[("AUTH_PUBLIC_KEY", key.as_str())]);
        let line = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{name}");
        assert!(line.contains("AUTH_PUBLIC_KEY"), "{name}: {line}");
    }
}
