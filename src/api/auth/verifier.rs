//! A key, the algorithms that it is used with, and what a token has to claim besides.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors};

use super::{Error, claims::Claims};
use crate::config::{self, AdminClaim};

/// How far the clock that made `nbf` may be ahead, in seconds: providers write the present time, and
/// a buyer who has just signed in must not be refused because two clocks differ. `exp` has no leeway.
const NBF_LEEWAY_SECONDS: u64 = 5;

/// What is asked of every token, whatever key has signed it.
#[derive(Clone, Debug)]
pub(super) struct Checks {
    issuer: Option<String>,
    /// A token has one of these; empty means any.
    audiences: Vec<String>,
    admin: Option<AdminClaim>,
}

impl From<&config::Auth> for Checks {
    fn from(auth: &config::Auth) -> Self {
        Self {
            issuer: auth.auth_issuer.clone(),
            audiences: auth.audiences().to_vec(),
            admin: auth.auth_admin_claim.clone(),
        }
    }
}

/// A key and what it verifies. All its algorithms are of the key's family, so that a public key is
/// never the secret of an HMAC.
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
    admin: Option<AdminClaim>,
}

impl Verifier {
    pub(super) fn new(key: DecodingKey, algorithms: Vec<Algorithm>, checks: &Checks) -> Self {
        let mut required = vec!["exp", "sub"];
        let mut validation = Validation {
            algorithms,
            leeway: NBF_LEEWAY_SECONDS,
            validate_nbf: true,
            validate_aud: !checks.audiences.is_empty(),
            ..Validation::default()
        };
        if validation.validate_aud {
            validation.set_audience(&checks.audiences);
            required.push("aud");
        }
        if let Some(issuer) = &checks.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.required_spec_claims = required.into_iter().map(str::to_owned).collect();
        Self {
            key,
            validation,
            admin: checks.admin.clone(),
        }
    }

    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        self.validation.algorithms.contains(&algorithm)
    }

    /// The claims of a token that this key has signed, that is valid now, and for this service.
    pub(super) fn claims(&self, token: &str) -> Result<Claims, errors::Error> {
        let Some(admin) = &self.admin else {
            let token = jsonwebtoken::decode(token, &self.key, &self.validation)?;
            return Ok(token.claims);
        };
        let token = jsonwebtoken::decode(token, &self.key, &self.validation)?;
        Claims::read(token.claims, admin)
    }
}

pub(super) fn secret(secret: &str, checks: &Checks) -> Verifier {
    let key = DecodingKey::from_secret(secret.as_bytes());
    Verifier::new(key, vec![Algorithm::HS256], checks)
}

/// The keys of PEM text, or of a file with it.
pub(super) fn public_keys(text: &str, checks: &Checks) -> Result<Vec<Verifier>, Error> {
    let pem = if text.trim_start().starts_with(BEGIN) {
        // Environment files often hold a line break as the two characters `\n`.
        text.replace("\\n", "\n")
    } else {
        std::fs::read_to_string(text).map_err(|_| Error::PublicKey)?
    };
    let blocks = pem.split(BEGIN).skip(1);
    let keys = blocks.map(|block| public_key(&format!("{BEGIN}{block}"), checks));
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Error::PublicKey);
    }
    Ok(keys)
}

const BEGIN: &str = "-----BEGIN";

fn public_key(pem: &str, checks: &Checks) -> Result<Verifier, Error> {
    let pem = pem.as_bytes();
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    let ec = || DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
    let key = rsa.or_else(|_| ec()).or_else(|_| ed());
    let (key, algorithm) = key.map_err(|_| Error::PublicKey)?;
    if !can_verify(&key, algorithm) {
        return Err(Error::PublicKey);
    }
    Ok(Verifier::new(key, vec![algorithm], checks))
}

/// An RSA key of 2,048 bits, and a point of P-256, in bytes.
const RSA_BYTES_MIN: usize = 256;
const P256_BYTES: usize = 65;

/// Whether a key that could be read can verify a signature: a shorter RSA key, one of another curve
/// and a private key in place of the public one would refuse every token, long after the start.
fn can_verify(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let bytes = key.try_get_as_bytes().unwrap_or_default();
    if algorithm == Algorithm::RS256 {
        return bytes.len() >= RSA_BYTES_MIN && !is_rsa_private(bytes);
    }
    algorithm != Algorithm::ES256 || bytes.len() == P256_BYTES
}

/// A private key (RFC 8017, appendix A.1.2) begins with its version, the integer 0, behind the tag
/// and the length of the sequence; a public one with the modulus.
fn is_rsa_private(der: &[u8]) -> bool {
    let length = match der.get(1) {
        Some(first) if first & 0x80 != 0 => 1 + usize::from(first & 0x7f),
        Some(_) | None => 1,
    };
    let version = der.get(1 + length..);
    version.is_some_and(|rest| rest.starts_with(&[0x02, 0x01, 0x00]))
}
