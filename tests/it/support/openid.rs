//! A real `OpenID` provider: oidc-provider-mock, in which anybody can sign in as any user.

use reqwest::{Client, Url, redirect::Policy};
use serde_json::Value;

use test_support::{free_port, process::Owned};

use super::{SOON, eventually, python, shop::Plan, when};

const TRIES: usize = 5;
/// The shop's storefront, as the provider knows it.
const CLIENT: &str = "the-shop";
const RETURN_TO: &str = "http://127.0.0.1/signed-in";

/// Its own command line cannot replace the key.
const START: &str = "
import os, sys
os.environ['AUTHLIB_INSECURE_TRANSPORT'] = '1'
import oidc_provider_mock, uvicorn
from authlib.jose import RSAKey
from oidc_provider_mock._storage import storage
app = oidc_provider_mock.app()
@app.post('/rotate')
def rotate():
    storage.jwk = RSAKey.generate_key(is_private=True)
    return ''
uvicorn.run(app, interface='wsgi', host='127.0.0.1', port=int(sys.argv[1]), log_config=None)
";

#[derive(Debug)]
pub(crate) struct OpenId {
    pub(crate) url: String,
    client: Client,
    pub(crate) process: Owned,
}

impl OpenId {
    /// Tries another port if another process has taken the free one before the server binds it.
    pub(crate) async fn start() -> Self {
        for _ in 0..TRIES {
            let port = free_port().unwrap();
            let client = Client::builder().no_proxy().redirect(Policy::none());
            let mut server = Self {
                url: format!("http://127.0.0.1:{port}"),
                client: client.build().unwrap(),
                process: Owned::new(python::serve("oidc-provider-mock", START, port)),
            };
            if server.is_ready().await {
                return server;
            }
        }
        panic!("the OpenID provider does not start");
    }

    async fn is_ready(&mut self) -> bool {
        eventually("the OpenID provider answers", SOON * 2, async || {
            if self.process.exited().unwrap().is_some() {
                return Some(false);
            }
            let answer = self.client.get(&self.url).send().await;
            when(answer.is_ok()).map(|()| true)
        })
        .await
    }

    /// A shop that was set up as the provider's discovery document says.
    pub(crate) async fn trusted_by(&self, plan: Plan) -> Plan {
        let path = format!("{}/.well-known/openid-configuration", self.url);
        let answer = self.client.get(path).send().await.unwrap();
        let document: Value = answer.json().await.unwrap();
        plan.generated_secret()
            .set("AUTH_JWKS_URL", document["jwks_uri"].as_str().unwrap())
            .set("AUTH_ISSUER", document["issuer"].as_str().unwrap())
            .set("AUTH_AUDIENCE", CLIENT)
            .set("REQUEST_TIMEOUT_MS", "60000")
    }

    /// Further claims of a user's tokens.
    pub(crate) async fn set_claims(&self, user: &str, claims: &Value) {
        let path = format!("{}/users/{user}", self.url);
        let answer = self.client.put(path).json(claims).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Signs with another key from now on, and publishes only that.
    pub(crate) async fn rotate(&self) {
        let path = format!("{}/rotate", self.url);
        let answer = self.client.post(path).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The authorization code flow, as the storefront and the user's browser go through it.
    pub(crate) async fn sign_in(&self, user: &str) -> String {
        let query = [
            ("client_id", CLIENT),
            ("redirect_uri", RETURN_TO),
            ("response_type", "code"),
            ("scope", "openid"),
        ];
        let form = self.client.post(format!("{}/oauth2/authorize", self.url));
        let answer = form.query(&query).form(&[("sub", user)]).send();
        let answer = answer.await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        let location = Url::parse(location).unwrap();
        let code = location.query_pairs().find(|(name, _)| name == "code");
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &*code.unwrap().1),
            ("redirect_uri", RETURN_TO),
        ];
        let call = self.client.post(format!("{}/oauth2/token", self.url));
        let call = call.basic_auth(CLIENT, Some("any")).form(&form);
        let tokens: Value = call.send().await.unwrap().json().await.unwrap();
        tokens["id_token"].as_str().unwrap().to_owned()
    }
}
