//! Settings of connections, event streams and client addresses.

use std::num::NonZeroU32;

use clap::Args;
use ipnet::IpNet;

use super::{Error, value};

/// Streams of one address while `TRUSTED_PROXIES` is set: more than an office or a school has open
/// at once, and few enough that a flood needs many addresses.
const STREAMS_PER_ADDRESS: u32 = 50;

#[derive(Args, Clone, Debug)]
pub struct Connections {
    /// Connections that the API serves at once; fewer if the limit of open files has no room for
    /// them. A further one gets the place of one that waits for a request or for its client; while
    /// all are served it waits to be accepted
    #[arg(long, env, value_name = "CONNECTIONS_MAX", default_value_t = 20_000,
          value_parser = value::number(1..=1_000_000))]
    pub connections_max: u32,

    /// Event streams at once, below `CONNECTIONS_MAX`, so that requests always find a connection;
    /// further ones get 503. Half of `CONNECTIONS_MAX` when not given
    #[arg(long, env, value_name = "STREAMS_MAX",
          value_parser = value::number(0..=1_000_000))]
    pub streams_max: Option<u32>,

    /// Event streams of one signed-in user at once; 0 disables the limit
    #[arg(long, env, value_name = "STREAMS_PER_USER_MAX", default_value_t = 5,
          value_parser = value::number(0..=1_000_000))]
    pub streams_per_user_max: u32,

    /// Event streams of one client address at once; 0 disables the limit. 50 when not given and
    /// `TRUSTED_PROXIES` is set, else no limit: behind a proxy all clients have its address
    #[arg(long, env, value_name = "STREAMS_PER_ADDRESS_MAX",
          value_parser = value::number(0..=1_000_000))]
    pub streams_per_address_max: Option<u32>,

    /// Requests a minute of one client address (IPv6: of its /64 network), on this node, before
    /// 429; checked before any token; 0 disables the limit
    #[arg(long, env, value_name = "ADDRESS_RATE_LIMIT_PER_MINUTE", default_value_t = 0,
          value_parser = value::number(0..=100_000_000))]
    pub address_rate_limit_per_minute: u32,

    /// Addresses and networks of the proxies in front, comma-separated. Their `X-Forwarded-For`
    /// names the client: its right-most address that is not a trusted proxy; nobody else's counts
    #[arg(long, env, value_name = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = value::network)]
    pub trusted_proxies: Vec<IpNet>,
}

impl Connections {
    pub fn streams_max(&self) -> u32 {
        self.streams_max.unwrap_or(self.connections_max / 2)
    }

    /// The same with `connections_max` connections, and streams in proportion.
    #[must_use]
    pub fn lowered(&self, connections_max: u32) -> Self {
        let share = |streams: u32| {
            let streams = u64::from(streams) * u64::from(connections_max);
            u32::try_from(streams / u64::from(self.connections_max.max(1))).unwrap_or(u32::MAX)
        };
        Self {
            connections_max,
            streams_max: self.streams_max.map(share),
            ..self.clone()
        }
    }

    /// `None` without a limit.
    pub fn streams_per_user_max(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.streams_per_user_max)
    }

    /// `None` without a limit.
    pub fn streams_per_address_max(&self) -> Option<NonZeroU32> {
        let default = if self.trusted_proxies.is_empty() {
            0
        } else {
            STREAMS_PER_ADDRESS
        };
        NonZeroU32::new(self.streams_per_address_max.unwrap_or(default))
    }

    /// Whether anything depends on the address of a client.
    pub fn need_addresses(&self) -> bool {
        self.address_rate_limit_per_minute > 0 || self.streams_per_address_max().is_some()
    }

    pub fn check(&self) -> Result<(), Error> {
        if self.streams_max() >= self.connections_max {
            return Err(Error::Streams(self.connections_max));
        }
        match self.trusted_proxies.iter().find(|network| is_wide(network)) {
            Some(network) => Err(Error::TrustsClients(*network)),
            None => Ok(()),
        }
    }
}

/// Whether a network is larger than any that one operator has for proxies, so that clients are in it.
fn is_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        // Unique local addresses, such as fd00::/8, are private.
        IpNet::V6(network) => network.prefix_len() < 16 && !network.network().is_unique_local(),
    }
}
