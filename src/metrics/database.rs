//! Metrics of the database's connections.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const CONNECTIONS: &str = "flash_sale_db_pool_connections";
const CONNECTIONS_MAX: &str = "flash_sale_db_pool_connections_max";

/// The connections of a pool; payments share the pool `write` on SQLite.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// `write` (orders), `read` or `payments`.
    pub name: &'static str,
    pub idle: u32,
    pub used: u32,
    pub max: u32,
}

pub(super) fn init() {
    describe_gauge!(
        CONNECTIONS,
        "Database connections by pool (write, read, payments) and state: idle, used."
    );
    describe_gauge!(
        CONNECTIONS_MAX,
        "Connections that a pool opens at most; while all are used, further statements wait."
    );
    describe_gauge!(
        "flash_sale_db_only_reads",
        "1 while the database server refuses writes, as after a fail-over."
    );
    describe_counter!(
        "flash_sale_db_connections_revoked_total",
        "Times that all connections of a pool were given up, because the server did not answer, broke one or refused writes."
    );
    only_reads(false);
    counter!("flash_sale_db_connections_revoked_total").absolute(0);
}

pub fn pool(pool: Pool) {
    let Pool {
        name,
        idle,
        used,
        max,
    } = pool;
    gauge!(CONNECTIONS, "pool" => name, "state" => "idle").set(idle);
    gauge!(CONNECTIONS, "pool" => name, "state" => "used").set(used);
    gauge!(CONNECTIONS_MAX, "pool" => name).set(max);
}

pub fn only_reads(only_reads: bool) {
    gauge!("flash_sale_db_only_reads").set(u8::from(only_reads));
}

/// Counts that all connections of a pool were given up.
pub fn revoked() {
    counter!("flash_sale_db_connections_revoked_total").increment(1);
}
