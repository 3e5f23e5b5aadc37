//! An identity provider of a test: it publishes the keys that the test gives it, and has faults.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    shop::Plan,
    tokens::{expiry, key_pair},
};

pub(crate) const ISSUER: &str = "https://login.example/realms/shop";
pub(crate) const AUDIENCE: &str = "flash-sale";

/// Applies to the fetches that arrive while it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The call waits while it is set.
    Hold,
    Status(u16),
    /// The answer leads to the keys at another address.
    Redirect,
    /// The keys come after 300 KiB of blanks.
    Long,
    /// The answer has no keys.
    Empty,
    Garbage,
}

#[derive(Debug)]
pub(crate) struct Identity {
    port: u16,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    keys: Mutex<Vec<Value>>,
    fault: watch::Sender<Fault>,
    fetches: AtomicUsize,
    redirected: AtomicUsize,
}

impl Identity {
    pub(crate) async fn start(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            keys: Mutex::default(),
            fault: watch::channel(Fault::None).0,
            fetches: AtomicUsize::new(0),
            redirected: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/keys", get(answer))
            .route("/elsewhere", get(elsewhere))
            .with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let identity = Self {
            port,
            shared,
            _serving: serving,
        };
        identity.publish(keys);
        identity
    }

    /// A shop whose only keys are those of this provider; it waits long for them, so that a slow
    /// machine makes no difference.
    pub(crate) fn trusted_by(&self, plan: Plan) -> Plan {
        let url = format!("http://127.0.0.1:{}/keys", self.port);
        plan.generated_secret()
            .set("AUTH_JWKS_URL", &url)
            .set("AUTH_ISSUER", ISSUER)
            .set("AUTH_AUDIENCE", AUDIENCE)
            .set("REQUEST_TIMEOUT_MS", "60000")
    }

    /// Publishes these keys instead of the former ones.
    pub(crate) fn publish(&self, keys: &[&Signer]) {
        let keys = keys.iter().map(|key| key.jwk.clone()).collect();
        *self.shared.keys.lock().unwrap() = keys;
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// How often the keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// How often a redirection was followed.
    pub(crate) fn redirected(&self) -> usize {
        self.shared.redirected.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>) -> Response {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let mut fault = shared.fault.subscribe();
    let released = fault.wait_for(|fault| *fault != Fault::Hold);
    let fault = *released.await.unwrap();
    let keys = document(&shared);
    match fault {
        Fault::None | Fault::Hold => keys.into_response(),
        Fault::Status(status) => (StatusCode::from_u16(status).unwrap(), keys).into_response(),
        Fault::Redirect => {
            let location = [(header::LOCATION, "/elsewhere")];
            (StatusCode::FOUND, location).into_response()
        }
        Fault::Long => Body::from(" ".repeat(300 * 1024) + &keys).into_response(),
        Fault::Empty => json!({ "keys": [] }).to_string().into_response(),
        Fault::Garbage => "<html>Sign in</html>".into_response(),
    }
}

async fn elsewhere(State(shared): State<Arc<Shared>>) -> String {
    shared.redirected.fetch_add(1, Ordering::SeqCst);
    document(&shared)
}

fn document(shared: &Shared) -> String {
    json!({ "keys": *shared.keys.lock().unwrap() }).to_string()
}

/// A key of a provider.
pub(crate) struct Signer {
    id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    pub(crate) public: String,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let (mut kind, mut read): (&[&str], fn(&[u8]) -> _) = (
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            EncodingKey::from_rsa_pem,
        );
        if algorithm == Algorithm::ES256 {
            kind = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
            read = EncodingKey::from_ec_pem;
        } else if algorithm == Algorithm::EdDSA {
            (kind, read) = (&["-algorithm", "ED25519"], EncodingKey::from_ed_pem);
        }
        let (private, public) = key_pair(kind);
        let private = read(private.as_bytes()).unwrap();
        let mut jwk = Jwk::from_encoding_key(&private, algorithm).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        Self {
            id: id.to_owned(),
            algorithm,
            private,
            public,
            jwk: serde_json::to_value(jwk).unwrap(),
        }
    }

    /// The header of this key's tokens.
    pub(crate) fn header(&self) -> Header {
        Header {
            kid: Some(self.id.clone()),
            ..Header::new(self.algorithm)
        }
    }

    /// Signs these claims under a header that need not be that of this key.
    pub(crate) fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.private).unwrap()
    }

    /// A valid token with these claims besides.
    pub(crate) fn token(&self, user: &str, more: Value) -> String {
        self.sign(&self.header(), &claims(user, more))
    }
}

/// Those of a valid token; `more` adds to them, replaces them, or with null removes them.
pub(crate) fn claims(user: &str, more: Value) -> Value {
    let mut claims = json!({ "sub": user, "exp": expiry(600), "iss": ISSUER, "aud": AUDIENCE });
    let members = claims.as_object_mut().unwrap();
    let Value::Object(more) = more else {
        panic!("{more} is no object");
    };
    members.extend(more);
    members.retain(|_, value| !value.is_null());
    claims
}
