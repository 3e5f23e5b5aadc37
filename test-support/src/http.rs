//! An HTTP client for many connections to services on this machine.

use std::time::Duration;

use reqwest::{Client, redirect::Policy};

/// Well over the service's own limit of 5 s: a call that exceeds it has found a hanging request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client with a pool large enough for a race; it ignores the machine's proxy settings.
pub fn client() -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(1024)
        .build()
}
