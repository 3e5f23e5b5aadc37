//! Tokens: without the key no token is accepted, whatever its header and claims say.

#![no_main]

use std::sync::LazyLock;

use flash_sale::{
    api::{auth::Keys, fuzzing::is_accepted},
    config::Auth,
    domain::Secret,
};
use libfuzzer_sys::fuzz_target;

/// That of RFC 8032, section 7.1, test 1; an attacker knows it, as every public key.
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let secret = Secret::new("only the fuzz target knows this secret, 1b7f0c");
    let auth = Auth {
        auth_public_key: Some(PUBLIC.to_owned()),
        ..Auth::default()
    };
    Keys::new(&[secret], &auth).expect("both keys are usable")
});

fuzz_target!(|data: &[u8]| {
    assert!(!is_accepted(&KEYS, data), "a forged token");
});
