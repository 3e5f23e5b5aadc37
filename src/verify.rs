//! The invariants as SQL queries that find the rows that break them: for `flash-sale verify`, and for
//! the job that checks them on a schedule.

use std::time::Duration;

use crate::store::{Breach, Error, Store};

/// An invariant and the query that finds the rows that break it.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Its label in metrics.
    pub check: &'static str,
    pub name: &'static str,
    query: &'static str,
}

/// Every invariant that a query can check.
pub const INVARIANTS: [Invariant; 14] = [
    Invariant {
        check: "conservation",
        name: "conservation: stock_total = stock + units of live orders",
        query: "SELECT 'product ' || p.sku AS subject, \
                'stock_total ' || p.stock_total || ', stock ' || p.stock || ', live orders ' || \
                COALESCE(o.units, 0) AS detail \
            FROM products p LEFT JOIN (SELECT product_id, SUM(quantity) AS units FROM orders \
                WHERE status IN ('pending', 'confirming', 'confirmed') GROUP BY product_id) o \
                ON o.product_id = p.id \
            WHERE p.stock_total <> p.stock + COALESCE(o.units, 0)",
    },
    Invariant {
        check: "stock_range",
        name: "no oversell: 0 <= stock <= stock_total",
        query: "SELECT 'product ' || sku AS subject, \
                'stock ' || stock || ' of ' || stock_total AS detail \
            FROM products WHERE stock < 0 OR stock > stock_total",
    },
    Invariant {
        check: "idempotency_keys",
        name: "one order per idempotency key of a user and product",
        query: "SELECT 'user ' || user_id AS subject, \
                COUNT(*) || ' orders under key ' || idempotency_key AS detail \
            FROM orders WHERE idempotency_key IS NOT NULL \
            GROUP BY product_id, user_id, idempotency_key HAVING COUNT(*) > 1",
    },
    Invariant {
        check: "references",
        name: "references are unique",
        query: "SELECT 'reference ' || reference AS subject, COUNT(*) || ' orders' AS detail \
            FROM orders GROUP BY reference HAVING COUNT(*) > 1",
    },
    Invariant {
        check: "orders_of_products",
        name: "every order is of a product that exists, with a positive quantity",
        query: "SELECT 'order ' || o.reference AS subject, \
                'quantity ' || o.quantity || CASE WHEN p.id IS NULL THEN ', no such product' \
                ELSE '' END AS detail \
            FROM orders o LEFT JOIN products p ON p.id = o.product_id \
            WHERE p.id IS NULL OR o.quantity < 1",
    },
    Invariant {
        check: "deadlines",
        name: "a pending order has a deadline, a confirmed one the time of its confirmation",
        query: "SELECT 'order ' || reference AS subject, 'status ' || status AS detail FROM orders \
            WHERE (status = 'pending' AND expires_at IS NULL) \
               OR (status = 'confirmed' AND confirmed_at IS NULL)",
    },
    Invariant {
        check: "payments_kept",
        name: "only a confirmed order keeps a payment",
        query: "SELECT 'order ' || reference AS subject, \
                status || ', but payment ' || COALESCE(payment_id, '?') || ' ' || payment_status AS detail \
            FROM orders WHERE status <> 'confirmed' \
               AND payment_status IN ('succeeded', 'refunding')",
    },
    // Broken from when such a payment is found until the gateway has accepted its refund.
    Invariant {
        check: "stray_payments",
        name: "a payment that its order does not keep is refunded",
        query: "SELECT 'order ' || o.reference AS subject, o.status || ', and payment ' || \
                s.payment_id || ' is not refunded' AS detail \
            FROM stray_payments s JOIN orders o ON o.id = s.order_id \
            WHERE s.refunded_at IS NULL",
    },
    Invariant {
        check: "waitlist_places",
        name: "one active waitlist entry per user and product",
        query: "SELECT 'user ' || user_id AS subject, COUNT(*) || ' active entries' AS detail \
            FROM waitlist_entries WHERE status = 'waiting' \
            GROUP BY product_id, user_id HAVING COUNT(*) > 1",
    },
    Invariant {
        check: "reserved_range",
        name: "reserved units are within the stock: 0 <= stock_reserved <= stock",
        query: "SELECT 'product ' || sku AS subject, \
                'stock_reserved ' || stock_reserved || ' of ' || stock AS detail \
            FROM products WHERE stock_reserved < 0 OR stock_reserved > stock",
    },
    Invariant {
        check: "reserved_for_waiting",
        name: "units are reserved only while a user waits for them",
        query: "SELECT 'product ' || p.sku AS subject, \
                'stock_reserved ' || p.stock_reserved || ' for nobody' AS detail \
            FROM products p WHERE p.stock_reserved > 0 AND NOT EXISTS (SELECT 1 \
                FROM waitlist_entries w WHERE w.product_id = p.id AND w.status = 'waiting')",
    },
    // Can be broken for up to a second: when more entries could be served than one batch serves,
    // or when `waitlist_skip` has just been set.
    Invariant {
        check: "servable_entries",
        name: "no waiting entry could be served",
        query: "SELECT 'product ' || p.sku AS subject, 'stock ' || p.stock || ', user ' || \
                w.user_id || ' waits for ' || w.quantity AS detail \
            FROM products p JOIN waitlist_entries w ON w.position = (SELECT MIN(e.position) \
                FROM waitlist_entries e WHERE e.product_id = p.id AND e.status = 'waiting' \
                AND (e.quantity <= p.stock OR NOT p.waitlist_skip)) \
            WHERE p.stock > 0 AND w.quantity <= p.stock AND p.published AND p.archived_at IS NULL",
    },
    Invariant {
        check: "waitlist_offers",
        name: "a waitlist entry has an order if and only if it was offered",
        query: "SELECT 'user ' || w.user_id AS subject, 'entry ' || w.status || CASE \
                WHEN o.id IS NULL THEN ' without an order' ELSE ' with order ' || o.reference \
                END AS detail \
            FROM waitlist_entries w LEFT JOIN orders o ON o.id = w.order_id \
                AND o.user_id = w.user_id AND o.product_id = w.product_id \
                AND o.quantity = w.quantity AND o.from_waitlist \
            WHERE (w.status = 'offered') <> (o.id IS NOT NULL)",
    },
    Invariant {
        check: "waitlist_counts",
        name: "the counts of the waitlist are its waiting entries",
        query: "SELECT 'product ' || p.sku AS subject, 'level ' || level || ', block ' || block || \
                ': ' || SUM(waiting) || ' too many' AS detail \
            FROM (SELECT product_id, level, block, waiting FROM waitlist_counts \
                UNION ALL SELECT product_id, level, position >> (8 * level), -1 \
                FROM waitlist_entries CROSS JOIN \
                    (SELECT 1 AS level UNION ALL SELECT 2 UNION ALL SELECT 3) AS levels \
                WHERE status = 'waiting') AS counted JOIN products p ON p.id = product_id \
            GROUP BY p.sku, product_id, level, block HAVING SUM(waiting) <> 0",
    },
];

impl Invariant {
    /// The rows that break the invariant; empty when it holds.
    pub async fn breaches(&self, store: &Store) -> Result<Vec<Breach>, Error> {
        store.breaches(self.query).await
    }

    /// The same beside sales: with one core of the database at most, and for so long at most.
    pub async fn breaches_within(
        &self,
        store: &Store,
        within: Duration,
    ) -> Result<Vec<Breach>, Error> {
        store.breaches_within(self.query, within).await
    }
}
