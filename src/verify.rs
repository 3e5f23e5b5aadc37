//! The invariants, checked in the database: `flash-sale verify`.

use crate::store::{Breach, Error, Store};

/// A promise and the query that finds who breaks it.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    pub name: &'static str,
    query: &'static str,
}

/// Every promise that a database can be asked about.
pub const INVARIANTS: [Invariant; 11] = [
    Invariant {
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
        name: "no oversell: 0 <= stock <= stock_total",
        query: "SELECT 'product ' || sku AS subject, \
                'stock ' || stock || ' of ' || stock_total AS detail \
            FROM products WHERE stock < 0 OR stock > stock_total",
    },
    Invariant {
        name: "one order per idempotency key of a user",
        query: "SELECT 'user ' || user_id AS subject, \
                COUNT(*) || ' orders under key ' || idempotency_key AS detail \
            FROM orders WHERE idempotency_key IS NOT NULL \
            GROUP BY user_id, idempotency_key HAVING COUNT(*) > 1",
    },
    Invariant {
        name: "references are unique",
        query: "SELECT 'reference ' || reference AS subject, COUNT(*) || ' orders' AS detail \
            FROM orders GROUP BY reference HAVING COUNT(*) > 1",
    },
    Invariant {
        name: "every order is of a product that exists, with a positive quantity",
        query: "SELECT 'order ' || o.reference AS subject, \
                'quantity ' || o.quantity || CASE WHEN p.id IS NULL THEN ', no such product' \
                ELSE '' END AS detail \
            FROM orders o LEFT JOIN products p ON p.id = o.product_id \
            WHERE p.id IS NULL OR o.quantity < 1",
    },
    Invariant {
        name: "a pending order has a deadline, a confirmed one the time of its confirmation",
        query: "SELECT 'order ' || reference AS subject, 'status ' || status AS detail FROM orders \
            WHERE (status = 'pending' AND expires_at IS NULL) \
               OR (status = 'confirmed' AND confirmed_at IS NULL)",
    },
    Invariant {
        name: "one active waitlist entry per user and product",
        query: "SELECT 'user ' || user_id AS subject, COUNT(*) || ' active entries' AS detail \
            FROM waitlist_entries WHERE status = 'waiting' \
            GROUP BY product_id, user_id HAVING COUNT(*) > 1",
    },
    Invariant {
        name: "units are kept within the stock: 0 <= stock_reserved <= stock",
        query: "SELECT 'product ' || sku AS subject, \
                'stock_reserved ' || stock_reserved || ' of ' || stock AS detail \
            FROM products WHERE stock_reserved < 0 OR stock_reserved > stock",
    },
    Invariant {
        name: "units are kept only while somebody waits for them",
        query: "SELECT 'product ' || p.sku AS subject, \
                'stock_reserved ' || p.stock_reserved || ' for nobody' AS detail \
            FROM products p WHERE p.stock_reserved > 0 AND NOT EXISTS (SELECT 1 \
                FROM waitlist_entries w WHERE w.product_id = p.id AND w.status = 'waiting')",
    },
    // More than one batch can serve, or who may pass from now on, is served within a second.
    Invariant {
        name: "nobody waits who could be served",
        query: "SELECT 'product ' || p.sku AS subject, 'stock ' || p.stock || ', user ' || \
                w.user_id || ' waits for ' || w.quantity AS detail \
            FROM products p JOIN waitlist_entries w ON w.position = (SELECT MIN(e.position) \
                FROM waitlist_entries e WHERE e.product_id = p.id AND e.status = 'waiting' \
                AND (e.quantity <= p.stock OR NOT p.waitlist_skip)) \
            WHERE p.stock > 0 AND w.quantity <= p.stock",
    },
    Invariant {
        name: "whoever was offered something has an order, and nobody else",
        query: "SELECT 'user ' || w.user_id AS subject, 'entry ' || w.status || CASE \
                WHEN o.id IS NULL THEN ' without an order' ELSE ' with order ' || o.reference \
                END AS detail \
            FROM waitlist_entries w LEFT JOIN orders o ON o.id = w.order_id \
                AND o.user_id = w.user_id AND o.product_id = w.product_id \
                AND o.quantity = w.quantity AND o.from_waitlist \
            WHERE (w.status = 'offered') <> (o.id IS NOT NULL)",
    },
];

impl Invariant {
    /// The rows that break the promise; none when it holds.
    pub async fn breaches(&self, store: &Store) -> Result<Vec<Breach>, Error> {
        store.breaches(self.query).await
    }
}
