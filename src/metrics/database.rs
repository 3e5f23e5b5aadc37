//! Metrics of the database's connections.

use metrics::{counter, describe_counter, describe_gauge, gauge};

pub(super) fn init() {
    describe_gauge!(
        "flash_sale_db_pool_connections",
        "Database connections by state: idle, used."
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

pub fn pool(idle: u32, used: u32) {
    gauge!("flash_sale_db_pool_connections", "state" => "idle").set(idle);
    gauge!("flash_sale_db_pool_connections", "state" => "used").set(used);
}

pub fn only_reads(only_reads: bool) {
    gauge!("flash_sale_db_only_reads").set(u8::from(only_reads));
}

/// Counts that all connections of a pool were given up.
pub fn revoked() {
    counter!("flash_sale_db_connections_revoked_total").increment(1);
}
