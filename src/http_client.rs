//! What all HTTP clients of the service have in common.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect::Policy};

/// A client that follows no redirect and uses no proxy: reqwest would read it from the environment,
/// which only `config` may read.
pub fn builder(connect_within: Duration) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(connect_within)
        .user_agent(concat!("flash-sale/", env!("CARGO_PKG_VERSION")))
}
