//! Demo products of `serve --demo`, for trying the service out.

use crate::{
    domain::{Actor, ProductId, now},
    store::{Constraint, Error, NewProduct, Store},
};

/// Sku, name, price in cents, units, units per order.
const DROPS: [(&str, &str, i64, i32, i32); 3] = [
    ("demo-sneaker", "Sneaker, five pairs", 18_900, 5, 1),
    ("demo-ticket", "Concert ticket, front row", 7_500, 50, 4),
    (
        "demo-poster",
        "Poster, as many as you like",
        1_200,
        1_000_000,
        10,
    ),
];

/// Creates the demo products that do not exist yet.
pub(super) async fn create_products(store: &Store) -> Result<(), Error> {
    for (sku, name, price, stock, max_per_order) in DROPS {
        let product = NewProduct {
            id: ProductId::now_v7(),
            sku: sku.to_owned(),
            name: name.to_owned(),
            description: None,
            price,
            currency: "EUR".to_owned(),
            stock,
            max_per_order,
            max_per_user: None,
            hold_seconds: None,
            waitlist: false,
            waitlist_skip: false,
            starts_at: None,
            ends_at: None,
            published: true,
            now: now(),
        };
        let created = store.create_product(product, &Actor::service()).await;
        match created {
            Ok(_) | Err(Error::Violates(Constraint::Sku)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
