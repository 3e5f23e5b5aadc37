//! Reads a JSON Web Key Set (RFC 7517): the keys of it that verify signatures of tokens.
//!
//! A key that is of no use here, or of a kind that is unknown, is left out; the others count.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::verifier::{Checks, Verifier};

/// Keys of one set. Providers have a few: the current, the next and some former ones.
const KEYS_MAX: usize = 100;

/// A public key of the provider.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) verifier: Verifier,
}

/// Why a document is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the answer is not a JSON Web Key Set")]
    Malformed,
    #[error("the answer has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("the answer has no key that verifies signatures")]
    NoKeys,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

pub(super) fn read(text: &[u8], checks: &Checks) -> Result<Vec<Key>, Unusable> {
    let document: Document = serde_json::from_slice(text).map_err(|_| Unusable::Malformed)?;
    if document.keys.len() > KEYS_MAX {
        return Err(Unusable::TooMany);
    }
    let keys = document.keys.into_iter();
    let keys: Vec<Key> = keys.filter_map(|key| usable(key, checks)).collect();
    if keys.is_empty() {
        return Err(Unusable::NoKeys);
    }
    Ok(keys)
}

fn usable(key: Value, checks: &Checks) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let algorithms = algorithms(&jwk);
    if algorithms.is_empty() || !verifies(&jwk) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key {
        id: jwk.common.key_id,
        verifier: Verifier::new(key, algorithms, checks),
    })
}

/// The algorithms that the key may be used with: those of its kind, or the one that it names. Never
/// HMAC: a secret in a public document is none.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    let of = &jwk.algorithm;
    let mut fitting: &[Algorithm] = &[];
    if let AlgorithmParameters::RSA(_) = of {
        fitting = &RSA;
    } else if let AlgorithmParameters::EllipticCurve(key) = of {
        if key.curve == EllipticCurve::P256 {
            fitting = &[Algorithm::ES256];
        } else if key.curve == EllipticCurve::P384 {
            fitting = &[Algorithm::ES384];
        }
    } else if let AlgorithmParameters::OctetKeyPair(key) = of
        && key.curve == EllipticCurve::Ed25519
    {
        fitting = &[Algorithm::EdDSA];
    }
    let named = jwk.common.key_algorithm;
    let is_named =
        |algorithm: &&Algorithm| named.is_none_or(|named| KeyAlgorithm::from(**algorithm) == named);
    fitting.iter().filter(is_named).copied().collect()
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Whether the set does not say that the key is for something else, such as encryption.
fn verifies(jwk: &Jwk) -> bool {
    let (usage, operations) = (&jwk.common.public_key_use, &jwk.common.key_operations);
    usage
        .as_ref()
        .is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && (operations.as_ref()).is_none_or(|all| all.contains(&KeyOperations::Verify))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::config::Auth;

    /// Those of RFC 8037, appendix A.2, and RFC 7515, appendix A.3.
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn ec() -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "1" })
    }

    fn rsa() -> Value {
        json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "1" })
    }

    #[rstest]
    #[case(ec(), &[Algorithm::ES256])]
    #[case(with(ec(), "use", json!("sig")), &[Algorithm::ES256])]
    #[case(with(ec(), "alg", json!("ES256")), &[Algorithm::ES256])]
    #[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": ED }), &[Algorithm::EdDSA])]
    #[case(rsa(), &RSA)]
    #[case(with(rsa(), "alg", json!("PS256")), &[Algorithm::PS256])]
    #[case(with(rsa(), "x5c", json!(["MIIC"])), &RSA)]
    #[case(with(ec(), "alg", json!("HS256")), &[])]
    #[case(with(rsa(), "alg", json!("HS256")), &[])]
    #[case(with(rsa(), "alg", json!("none")), &[])]
    #[case(with(rsa(), "alg", json!("RSA-OAEP")), &[])]
    #[case(with(rsa(), "use", json!("enc")), &[])]
    #[case(with(rsa(), "key_ops", json!(["encrypt"])), &[])]
    #[case(with(ec(), "crv", json!("secp256k1")), &[])]
    #[case(with(ec(), "crv", json!("P-521")), &[])]
    #[case(json!({ "kty": "OKP", "crv": "X25519", "x": ED }), &[])]
    #[case(json!({ "kty": "oct", "k": ED, "alg": "HS256" }), &[])]
    #[case(json!({ "kty": "oct", "k": ED }), &[])]
    #[case(json!({ "kty": "RSA", "n": "not base64!", "e": "AQAB" }), &[])]
    #[case(json!({ "kty": "AKP", "pub": ED }), &[])]
    #[case(json!("a key"), &[])]
    fn only_keys_that_verify_are_used(#[case] key: Value, #[case] algorithms: &[Algorithm]) {
        let checks = Checks::from(&Auth::default());
        // Beside one that is used, so that a bad key does not spoil the set.
        let good = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED, "kid": "good" });
        let text = json!({ "keys": [key, good] }).to_string();
        let keys = read(text.as_bytes(), &checks).unwrap();
        let used: Vec<_> = keys
            .iter()
            .filter(|key| key.id.as_deref() != Some("good"))
            .collect();
        assert_eq!(used.len(), usize::from(!algorithms.is_empty()));
        for algorithm in RSA.into_iter().chain([
            Algorithm::HS256,
            Algorithm::HS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ]) {
            let accepts = used.iter().any(|key| key.verifier.accepts(algorithm));
            assert_eq!(accepts, algorithms.contains(&algorithm), "{algorithm:?}");
        }
    }

    #[rstest]
    #[case("", Unusable::Malformed)]
    #[case("<html>", Unusable::Malformed)]
    #[case("[]", Unusable::Malformed)]
    #[case(r#"{"keys": {}}"#, Unusable::Malformed)]
    #[case(r#"{"keys": []}"#, Unusable::NoKeys)]
    #[case(r#"{"keys": [1, null]}"#, Unusable::NoKeys)]
    fn another_document_is_no_set(#[case] text: &str, #[case] why: Unusable) {
        let checks = Checks::from(&Auth::default());
        assert_eq!(read(text.as_bytes(), &checks).err(), Some(why));
    }
}
