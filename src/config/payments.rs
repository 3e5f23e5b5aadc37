//! Payment settings: the provider, and the gateway's URL and key.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Error, Serve, value};
use crate::domain::Secret;

const URL_FORM: &str = "https://host[:port], without a user, a query or a fragment";

#[derive(Args, Clone, Debug)]
pub struct Payments {
    /// Provider that charges when an order is confirmed; `none` by default, `simulated` with
    /// `--demo`
    #[arg(long, env, value_name = "PAYMENTS", value_enum)]
    pub payments: Option<Provider>,

    /// Base URL of Stripe or of a server with the same API
    #[arg(
        long,
        env,
        value_name = "PAYMENT_URL",
        default_value = "https://api.stripe.com",
        hide_env_values = true
    )]
    pub payment_url: String,

    /// Secret key of the Stripe account
    #[arg(long, env, value_name = "PAYMENT_KEY", hide_env_values = true)]
    pub payment_key: Option<Secret>,

    /// Signing secret of the Stripe webhook whose URL is `/webhooks/stripe` of this service; without
    /// it the ends of 3-D Secure authentications are only asked for
    #[arg(
        long,
        env,
        value_name = "STRIPE_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    pub stripe_webhook_secret: Option<Secret>,

    /// How long a buyer may take to authenticate a payment (3-D Secure), in seconds; the order holds
    /// its units meanwhile
    #[arg(long, env, value_name = "PAYMENT_AUTHENTICATION_SECONDS", default_value_t = 600,
          value_parser = value::number(1..=3_600))]
    pub payment_authentication_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// No payments: an order with a total above 0 is confirmed by an admin, with an
    /// `external_payment`
    None,
    /// Stripe's `PaymentIntents`
    Stripe,
    /// Simulated payments without money: for trying the service out
    Simulated,
}

impl Serve {
    /// The payment provider. Only `--demo` simulates payments by default, so that a missing setting
    /// never gives orders away in a real sale.
    pub fn payment_provider(&self) -> Provider {
        match self.payments.payments {
            Some(provider) => provider,
            None if self.demo => Provider::Simulated,
            None => Provider::None,
        }
    }

    /// The secret that signs Stripe's webhook events, where Stripe takes the payments.
    pub fn stripe_webhook_secret(&self) -> Option<Secret> {
        let secret = self.payments.stripe_webhook_secret.clone();
        secret.filter(|_| self.payment_provider() == Provider::Stripe)
    }
}

impl Payments {
    /// How long a buyer may take to authenticate a payment.
    pub fn authentication_timeout(&self) -> Duration {
        Duration::from_secs(self.payment_authentication_seconds.into())
    }

    pub fn check(&self) -> Result<(), Error> {
        if !is_base_url(&self.payment_url) {
            return Err(Error::Url("PAYMENT_URL", URL_FORM));
        }
        let secret = self.stripe_webhook_secret.as_ref();
        if secret.is_some_and(|secret| !is_printable(secret.expose())) {
            return Err(Error::WebhookSecret);
        }
        match (self.payments, &self.payment_key) {
            (Some(Provider::Stripe), None) => Err(Error::NoPaymentKey),
            (_, Some(key)) if !is_key(key.expose()) => Err(Error::PaymentKey),
            (Some(Provider::Stripe | Provider::None | Provider::Simulated) | None, _) => Ok(()),
        }
    }
}

/// A user or a query could appear in logs, and the API's paths could not be appended to a query.
pub(super) fn is_base_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// The key is sent as the user of basic authentication, which a colon would end.
fn is_key(key: &str) -> bool {
    is_printable(key) && !key.contains(':')
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payments(provider: Provider, url: &str, key: Option<&str>) -> Payments {
        Payments {
            payments: Some(provider),
            payment_url: url.to_owned(),
            payment_key: key.map(Secret::new),
            stripe_webhook_secret: None,
            payment_authentication_seconds: 600,
        }
    }

    #[test]
    fn stripe_needs_a_key() {
        let with = |key| payments(Provider::Stripe, "https://api.stripe.com", key).check();
        assert_eq!(with(Some("sk_test_1")), Ok(()));
        assert_eq!(with(None), Err(Error::NoPaymentKey));
        for bad in ["", "sk:x", "sk x", "sk\n"] {
            assert_eq!(with(Some(bad)), Err(Error::PaymentKey), "{bad:?}");
        }
    }

    #[test]
    fn the_url_must_be_a_base_url() {
        let with = |url| payments(Provider::Stripe, url, Some("sk_test_1")).check();
        for good in ["http://127.0.0.1:8420", "https://pay.example/stripe/"] {
            assert_eq!(with(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "api.stripe.com",
            "ftp://pay.example",
            "https://",
            "https://user@pay.example",
            "https://:secret@pay.example",
            "https://pay.example?x=1",
            "https://pay.example#x",
        ] {
            assert!(matches!(with(bad), Err(Error::Url(..))), "{bad}");
        }
    }
}
