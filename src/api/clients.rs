//! Addresses of clients: which one a request came from, and how many requests it may send.
//!
//! A proxy in front hides them behind its own, so they count only where the operator names the
//! proxies, and only a named proxy's `X-Forwarded-For` is read: any client can send that header.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{Extensions, HeaderMap, HeaderName, request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;

use super::{SharedState, problem::Problem, serve::Peer};
use crate::{
    admission::{AddressLimiter, RateLimited},
    metrics,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The most entries of `X-Forwarded-For` that are read; more proxies in a row than anyone has.
const HOPS_MAX: usize = 16;

#[derive(Debug)]
pub struct Clients {
    /// The proxies whose `X-Forwarded-For` counts.
    trusted: Vec<IpNet>,
    limiter: Option<AddressLimiter>,
}

impl Clients {
    pub fn new(trusted: Vec<IpNet>, limiter: Option<AddressLimiter>) -> Self {
        Self { trusted, limiter }
    }

    /// Whether the number of requests of an address is limited.
    pub(super) fn are_limited(&self) -> bool {
        self.limiter.is_some()
    }

    /// The address that the request came from, of IPv6 its /64 network: one client has all of its
    /// addresses. `None` where listeners do not note addresses, and for a trusted proxy's own
    /// request, without `X-Forwarded-For`, such as a health check.
    pub(super) fn address(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        let Peer(peer) = *extensions.get()?;
        let peer = peer.to_canonical();
        let client = if self.trust(peer) {
            self.forwarded(peer, headers)?
        } else {
            peer
        };
        Some(match client {
            IpAddr::V4(_) => client,
            IpAddr::V6(address) => IpAddr::V6(network(address)),
        })
    }

    /// The right-most address that is no trusted proxy; each proxy appends the one that it sees.
    /// What a proxy appended that is no address hides the client: then the proxy's own counts.
    fn forwarded(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
        let mut hops = entries
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .take(HOPS_MAX)
            .peekable();
        hops.peek()?;
        let mut client = peer;
        for address in hops.map_while(parse) {
            client = address;
            if !self.trust(address) {
                break;
            }
        }
        Some(client)
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    pub(super) fn admit(&self, request: &Request) -> Result<(), RateLimited> {
        let address = self.address(request.extensions(), request.headers());
        match self.limiter.as_ref().zip(address) {
            Some((limiter, address)) => limiter.admit(address, Instant::now()),
            None => Ok(()),
        }
    }
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with a port or in brackets.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry
        .strip_prefix('[')
        .and_then(|entry| entry.strip_suffix(']'));
    let address = bare.unwrap_or(entry).parse::<IpAddr>();
    let with_port = || entry.parse().map(|address: SocketAddr| address.ip());
    let address = address.or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}

fn network(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))
}

/// Middleware that refuses requests of addresses that have sent too many, before anything else of
/// them is read.
pub(super) async fn limit(
    State(state): State<SharedState>,
    request: Request,
    next: Next,
) -> Response {
    match state.clients.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

pub(super) fn refused(refusal: RateLimited) -> Response {
    metrics::connections::address_limited();
    Problem::AddressRateLimited(refusal).into_response()
}

/// The address that a request came from, where it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) Option<IpAddr>);

impl FromRequestParts<SharedState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut request::Parts,
        state: &SharedState,
    ) -> Result<Self, Infallible> {
        Ok(Self(
            state.clients.address(&parts.extensions, &parts.headers),
        ))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn address(peer: &str, forwarded: &[&'static str]) -> Option<IpAddr> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let clients = Clients::new(trusted.to_vec(), None);
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        clients.address(&extensions, &headers)
    }

    #[track_caller]
    fn assert_client(peer: &str, forwarded: &[&'static str], expected: &str) {
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(address(peer, forwarded), Some(expected), "{forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        assert_client("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        assert_client("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        assert_client("fd00::1", &["198.51.100.7"], "198.51.100.7");
        assert_client("::ffff:10.0.0.1", &["192.0.2.9"], "192.0.2.9");
        assert_eq!(address("10.0.0.1", &[]), None);
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        for forwarded in [
            &["1.1.1.1, 198.51.100.7, 10.2.3.4"][..],
            &["1.1.1.1", "198.51.100.7,10.2.3.4", "10.9.9.9"],
            &["spoofed, 198.51.100.7:4711"],
            &["::ffff:198.51.100.7"],
            &["198.51.100.7, "],
        ] {
            assert_client("10.0.0.1", forwarded, "198.51.100.7");
        }
        assert_client("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1");
    }

    #[test]
    fn an_entry_that_is_no_address_hides_the_client() {
        assert_client("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1");
        let hidden = ["198.51.100.7, unknown, 10.2.2.2"];
        assert_client("10.0.0.1", &hidden, "10.2.2.2");
    }

    #[test]
    fn a_client_has_all_addresses_of_its_network() {
        for client in [
            "2001:db8:1:2::1",
            "[2001:db8:1:2:ffff::9]:443",
            "[2001:db8:1:2::]",
        ] {
            assert_client("10.0.0.1", &[client], "2001:db8:1:2::");
        }
        assert_client("2001:db8:1:3::5", &[], "2001:db8:1:3::");
    }
}
