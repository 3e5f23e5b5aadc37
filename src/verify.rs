//! The invariants, checked in the database: `flash-sale verify`.

use crate::store::{Breach, Error, Store};

/// A promise and the query that finds who breaks it.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    pub name: &'static str,
    query: &'static str,
}

/// Every promise that a database can be asked about.
pub const INVARIANTS: [Invariant; 7] = [
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
];

impl Invariant {
    /// The rows that break the promise; none when it holds.
    pub async fn breaches(&self, store: &Store) -> Result<Vec<Breach>, Error> {
        store.breaches(self.query).await
    }
}
