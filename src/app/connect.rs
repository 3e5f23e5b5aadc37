//! Builds the service's connections from its settings: listeners, Redis, lock, payment gateway.

use std::{net::SocketAddr, num::NonZeroU32, path::Path, time::Instant};

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    admission::{AddressLimiter, StreamBounds, Streams},
    api::{clients::Clients, serve},
    config, embedded,
    lock::Lock,
    metrics::{connections::Listener, instance},
    payment::Gateway,
    redis::Redis,
    sequencer::LaneBounds,
    store::Store,
    tasks::{RequestRuntime, Tasks},
    telemetry::{self, traces::Exporter},
};

/// Size of the kernel's accept queue: thousands of clients connect at once when a drop opens, and
/// a client whose connection the kernel drops retries only a second later.
const BACKLOG: u32 = 4_096;

/// What the kernel keeps of answers that a client has not taken, in bytes; it takes twice that for its
/// own. By itself it would keep megabytes for each of a thousand streams that nobody reads, for
/// hours, and a container has to pay for them.
const SEND_BUFFER: u32 = 64 * 1024;

/// Connections of the operators' listener at once: probes, a few scrapers and people. Apart from the
/// API's, so that no flood takes them.
pub(super) const OPERATORS_MAX: u32 = 64;

/// Viewers of the monitor among them. Each further one has a connection beside these, so that
/// probes and scrapers always find one.
pub(super) const VIEWERS: u32 = 32;

/// The name of this machine, or of its container; the address that it listens on where neither has
/// one.
pub(super) fn host_name(address: SocketAddr) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return address.ip().to_string();
    }
    name.to_owned()
}

pub(super) fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        // Connections inherit it.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// Installs the metrics, and exports the bounds of the settings.
pub(super) fn recorder(config: &config::Serve) -> anyhow::Result<PrometheusHandle> {
    let recorder = telemetry::record(config.metrics_products_max)?;
    instance::bounds(&instance::Bounds {
        lane_queue: config.limits.lane_queue_max,
        batch_orders: config.limits.order_batch_max,
        request_timeout: config.limits.request_timeout_ms,
        lock_patience: config.redis.lock_patience_ms,
        lock_ttl: config.redis.lock_ttl_ms,
        rate_limit_per_minute: config.limits.rate_limit_per_minute,
    });
    Ok(recorder)
}

pub(super) fn private_nodes(
    config: &config::Redis,
    data_dir: &Path,
) -> anyhow::Result<Option<embedded::RedisNodes>> {
    if !config.lock_nodes().is_empty() {
        return Ok(None);
    }
    let nodes =
        embedded::RedisNodes::start(data_dir).context("cannot start private Redis nodes")?;
    if nodes.is_none() {
        tracing::warn!(
            "redis-server is not installed: using a lock inside this process, so run one node only"
        );
    }
    Ok(nodes)
}

pub(super) fn gateway(config: &config::Serve) -> anyhow::Result<Option<Gateway>> {
    let gateway = Gateway::new(config)?;
    if let Some(warning) = gateway.as_ref().and_then(Gateway::warning) {
        tracing::warn!("{warning}");
    }
    Ok(gateway)
}

pub(super) fn lock(
    config: &config::Redis,
    nodes: Option<&embedded::RedisNodes>,
    tasks: &Tasks,
) -> anyhow::Result<Lock> {
    let urls = nodes.map_or_else(|| config.lock_nodes(), embedded::RedisNodes::urls);
    if urls.is_empty() {
        return Ok(Lock::local(config.lock_ttl_ms));
    }
    Lock::redlock(&urls, config.lock_ttl_ms, tasks).context("REDIS_LOCK_URLS: cannot be used")
}

pub(super) fn redis(
    config: &config::Redis,
    nodes: Option<&embedded::RedisNodes>,
) -> anyhow::Result<Option<Redis>> {
    let first = nodes.map_or_else(|| config.lock_nodes(), embedded::RedisNodes::urls);
    let url = config.redis_url.clone().or(first.into_iter().next());
    url.map(|url| Redis::connect(&url).context("REDIS_URL: cannot be used"))
        .transpose()
}

pub(super) fn lane_bounds(config: &config::Serve) -> LaneBounds {
    let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    LaneBounds {
        batch_max: size(config.limits.order_batch_max),
        queue_max: size(config.limits.lane_queue_max),
        patience: config.redis.lock_patience_ms,
        request_timeout: config.limits.request_timeout_ms,
    }
}

pub(super) fn streams(config: &config::Connections) -> Streams {
    Streams::new(StreamBounds {
        node: config.streams_max(),
        user: config.streams_per_user_max(),
        address: config.streams_per_address_max(),
    })
}

pub(super) fn clients(config: &config::Connections) -> Clients {
    let limit = NonZeroU32::new(config.address_rate_limit_per_minute);
    let limiter = limit.map(|limit| AddressLimiter::new(limit, Instant::now()));
    Clients::new(config.trusted_proxies.clone(), limiter)
}

pub(super) fn connections(config: &config::Serve, listener: Listener) -> serve::Bounds {
    let limits = &config.limits;
    let connections_max = config.connections.connections_max;
    let (notes_peers, connections_max) = match listener {
        Listener::Api => (config.connections.need_addresses(), connections_max),
        Listener::Operations => {
            let viewers = config.monitor.monitor_viewers_max;
            let has_password = config.monitor.ops_password.is_some();
            (
                has_password,
                OPERATORS_MAX + viewers.saturating_sub(VIEWERS),
            )
        }
    };
    serve::Bounds {
        listener,
        peers: if notes_peers {
            serve::Peers::Noted
        } else {
            serve::Peers::Ignored
        },
        connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
        // Requests end within their time-out, and a busy machine writes the last answers after it; the
        // other steps of the stop need time too.
        finish_within: limits
            .request_timeout_ms
            .mul_f64(1.2)
            .min(limits.shutdown_timeout_ms.mul_f64(0.8)),
    }
}

/// Warns of products whose orders only an admin can confirm.
pub(super) async fn warn_of_unpayable_holds(store: &Store) -> anyhow::Result<()> {
    let skus = store.skus_with_priced_holds().await?;
    if !skus.is_empty() {
        let skus = skus.join(", ");
        tracing::warn!(
            "PAYMENTS is none, but these products have hold_seconds, so their orders expire unless \
             an admin confirms them with an external_payment: {skus}"
        );
    }
    Ok(())
}

/// Starts the export of traces: beside the lanes, and with a stop of its own, because the last spans
/// are made while the service stops.
pub(super) fn export(exporter: Option<Exporter>, runtime: &RequestRuntime) -> Tasks {
    let tasks = Tasks::default().on(runtime.runtime());
    if let Some(exporter) = exporter {
        let stop = tasks.clone();
        let stopped = async move { stop.stopped().await };
        tasks.spawn("trace export", exporter.run(stopped));
    }
    tasks
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::net::TcpStream;

    use super::*;

    /// On loopback the kernel would keep 2.5 MB of them.
    #[tokio::test]
    async fn a_client_that_reads_nothing_is_sent_little() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "OPS_ADDR").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        let mut sent = 0;
        let error = loop {
            stream.writable().await.unwrap();
            match stream.try_write(&[0; 16 * 1024]) {
                Ok(bytes) if sent < 4 * 1024 * 1024 => sent += bytes,
                Ok(_) => panic!("{sent} bytes"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        // The client's buffer has a part of them.
        assert!(sent < 512 * 1024, "{sent}");
        drop(client);
    }
}
