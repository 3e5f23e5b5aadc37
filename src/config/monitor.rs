//! Settings of the operators' pages: the live monitor and `/metrics`.

use clap::Args;
use reqwest::Url;

use super::{Error, value};
use crate::domain::Secret;

/// Shorter passwords are found by trying.
const PASSWORD_MIN: usize = 8;

#[derive(Args, Clone, Debug)]
pub struct Monitor {
    /// Password of the live monitor and of `/metrics` (HTTP basic authentication, any user name), 8
    /// bytes or more; without it anybody who reaches `OPS_ADDR` reads them. The probes need none
    #[arg(long, env, value_name = "OPS_PASSWORD", hide_env_values = true)]
    pub ops_password: Option<Secret>,

    /// Viewers of the live monitor at once; further ones get 503. Fewer if the limit of open files
    /// has no room for them
    #[arg(long, env, value_name = "MONITOR_VIEWERS_MAX", default_value_t = 1_000,
          value_parser = value::number(0..=100_000))]
    pub monitor_viewers_max: u32,

    /// Alertmanager whose firing alerts the live monitor shows, `http(s)://[user:password@]host[:port][/path]`; a query
    /// such as `?filter=team="shop"` is sent along. Without it the monitor shows no alerts
    #[arg(long, env, value_name = "ALERTMANAGER_URL", hide_env_values = true)]
    pub alertmanager_url: Option<Secret>,
}

const ALERTMANAGER_FORM: &str = "http(s)://[user:password@]host[:port][/path][?filter=…]";

impl Monitor {
    pub fn check(&self) -> Result<(), Error> {
        let password = self.ops_password.as_ref();
        if password.is_some_and(|password| password.expose().trim().len() < PASSWORD_MIN) {
            return Err(Error::ShortPassword);
        }
        let alertmanager = self.alertmanager_url.as_ref();
        if alertmanager.is_some_and(|url| !is_web_url(url.expose())) {
            return Err(Error::Url("ALERTMANAGER_URL", ALERTMANAGER_FORM));
        }
        Ok(())
    }
}

fn is_web_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()
    })
}
