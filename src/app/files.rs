//! The system's limit of open files, and how many connections it has room for.
//!
//! Each connection is an open file. Connections that used up the limit would leave none to accept
//! the next one, probes included, or to open the database again; so they are bounded below it.

use std::io::{self, Write};

use crate::{
    app::connect::{OPERATORS_MAX, VIEWERS},
    config,
};

/// Files besides those counted below: standard streams, runtimes, Redis and its private nodes, the
/// payment gateway. An idle service has about 40.
const OTHER_FILES: u64 = 128;
/// With fewer connections no sale is possible, so that the start is refused.
const CONNECTIONS_MIN: u64 = 10;

/// Raises the limit of open files as far as the system allows, and returns it: most systems'
/// default is 1,024. `None` when it is unknown.
pub(super) fn raise_limit() -> Option<u64> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => Some(limit),
        Err(error) => {
            drop(writeln!(
                io::stderr(),
                "cannot raise the limit of open files: {error}"
            ));
            rlimit::Resource::NOFILE.get_soft().ok()
        }
    }
}

/// Settings whose bounds the limit has room for.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) config: config::Serve,
    /// What was lowered, and why. Logged after the start: the error of a failed one is one line.
    pub(super) warning: Option<String>,
}

/// Lowers the bounds of connections and streams to what the limit has room for.
///
/// # Errors
/// When the limit has room for hardly any connection.
pub(super) fn fit(config: &config::Serve, limit: Option<u64>) -> anyhow::Result<Fitted> {
    let mut config = config.clone();
    let wanted = config.connections.connections_max;
    let reserve = reserve(&config.database);
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(reserve));
    // Viewers of the monitor get what buyers leave.
    let spare = u32::try_from(room.saturating_sub(wanted.into())).unwrap_or(u32::MAX);
    let viewers = &mut config.monitor.monitor_viewers_max;
    *viewers = (*viewers).min(spare.saturating_add(VIEWERS));
    if room >= u64::from(wanted) {
        let warning = None;
        return Ok(Fitted { config, warning });
    }
    let limit = limit.unwrap_or_default();
    let least = reserve + CONNECTIONS_MIN;
    anyhow::ensure!(
        room >= CONNECTIONS_MIN,
        "the limit of open files is {limit}, and the service needs {least} at least: raise it \
         (LimitNOFILE, ulimit -n)"
    );
    let lowered = u32::try_from(room).unwrap_or(wanted);
    config.connections = config.connections.lowered(lowered);
    let streams = config.connections.streams_max();
    let warning = format!(
        "CONNECTIONS_MAX is {wanted}, but the limit of open files, {limit}, has room for {room} \
         connections beside {reserve} other files: using {room} and {streams} event streams; raise \
         the limit to {} (LimitNOFILE, ulimit -n) or lower CONNECTIONS_MAX",
        reserve.saturating_add(wanted.into())
    );
    let warning = Some(warning);
    Ok(Fitted { config, warning })
}

/// The files that are not connections of the API.
fn reserve(database: &config::Database) -> u64 {
    // A connection to SQLite has the database, its log and its index open.
    let each = if database.is_sqlite() { 3 } else { 1 };
    let pool = u64::from(database.database_pool_max);
    OTHER_FILES + pool * each + u64::from(OPERATORS_MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Cli, Command};

    fn serve(flags: &[&str]) -> config::Serve {
        let arguments = ["flash-sale", "serve"].iter().chain(flags);
        let Command::Serve(config) = Cli::parse_from(arguments).command else {
            panic!("another command");
        };
        *config
    }

    fn fitted(flags: &[&str], limit: Option<u64>) -> Option<(u32, u32)> {
        let fitted = fit(&serve(flags), limit).ok()?.config.connections;
        Some((fitted.connections_max, fitted.streams_max()))
    }

    #[test]
    fn connections_and_streams_are_lowered_in_proportion_to_what_the_limit_has_room_for() {
        // 128, the operators' 64, and 3 for each of the pool's 20 connections.
        assert_eq!(fitted(&[], Some(4_096)), Some((3_844, 1_922)));
        assert_eq!(fitted(&[], Some(20_252)), Some((20_000, 10_000)));
        assert_eq!(fitted(&[], Some(20_251)), Some((19_999, 9_999)));
        assert_eq!(fitted(&[], None), Some((20_000, 10_000)));
        let postgres = ["--database-url", "postgres://shop@db/shop"];
        assert_eq!(fitted(&postgres, Some(4_096)), Some((3_884, 1_942)));
        let few = ["--streams-max", "200"];
        assert_eq!(fitted(&few, Some(2_252)), Some((2_000, 20)));
        let nearly_all = ["--streams-max", "19999"];
        assert_eq!(fitted(&nearly_all, Some(352)), Some((100, 99)));
    }

    #[test]
    fn viewers_of_the_monitor_get_the_files_that_buyers_leave() {
        let viewers = |limit| {
            let fitted = fit(&serve(&[]), limit).unwrap();
            fitted.config.monitor.monitor_viewers_max
        };
        assert_eq!(viewers(Some(4_096)), 32);
        assert_eq!(viewers(Some(20_252)), 32);
        assert_eq!(viewers(Some(20_352)), 132);
        assert_eq!(viewers(Some(1 << 20)), 1_000);
        assert_eq!(viewers(None), 1_000);
    }

    #[test]
    fn a_limit_without_room_for_connections_is_refused() {
        assert!(fitted(&[], Some(262)).is_some());
        assert!(fitted(&[], Some(261)).is_none());
        assert!(fitted(&[], Some(64)).is_none());
    }
}
