//! The name by which the operators' pages are called, where nothing but loopback keeps strangers out.
//!
//! A stranger's page can have a name that leads to this machine (DNS rebinding). To a browser on it,
//! what it then reads here is of the page's own origin: the monitor, `/metrics`, and the token that
//! starts a crowd.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::api::problem::Problem;

pub(super) async fn check(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    // A browser always sends one.
    let is_local = host.is_none_or(|host| host.to_str().is_ok_and(is_local));
    if is_local {
        next.run(request).await
    } else {
        Problem::ForeignHost.into_response()
    }
}

/// Whether nobody else can have the name: an address, `localhost` and what is below it, or a name
/// without a dot, such as that of the machine.
fn is_local(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if host.starts_with('[') {
        return true;
    }
    let name = host.split_once(':').map_or(&*host, |(name, _)| name);
    !name.contains('.') || name.parse::<IpAddr>().is_ok() || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::is_local;

    #[rstest]
    #[case("127.0.0.1:9464", true)]
    #[case("[::1]:9464", true)]
    #[case("localhost:9464", true)]
    #[case("LOCALHOST", true)]
    #[case("shop.localhost:9464", true)]
    #[case("node-1:9464", true)]
    #[case("shop.example:9464", false)]
    #[case("127.0.0.1.shop.example", false)]
    #[case("localhost.shop.example:9464", false)]
    #[case("notlocalhost.", false)]
    fn only_names_of_this_machine_are_local(#[case] host: &str, #[case] local: bool) {
        assert_eq!(is_local(host), local);
    }
}
