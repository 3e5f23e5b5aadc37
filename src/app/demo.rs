//! Demo products of `serve --demo`, for trying the service out.

use chrono::TimeDelta;

use crate::{
    domain::{Actor, ProductId, now},
    store::{Constraint, Error, NewProduct, Store},
};

/// What the demo products differ in.
struct DemoProduct {
    sku: &'static str,
    name: &'static str,
    description: &'static str,
    /// In cents.
    price: i64,
    stock: i32,
    max_per_order: i32,
    max_per_user: Option<i32>,
    hold_seconds: Option<i32>,
    /// When it opens, from the first start on.
    opens_after: TimeDelta,
}

const DROPS: [DemoProduct; 4] = [
    DemoProduct {
        sku: "demo-record",
        name: "Vinyl record, numbered",
        description: "Opens two minutes after the first start of the demo. Watch the clock, and be quick.",
        price: 3_400,
        stock: 20,
        max_per_order: 1,
        max_per_user: Some(1),
        hold_seconds: Some(120),
        opens_after: TimeDelta::minutes(2),
    },
    DemoProduct {
        sku: "demo-sneaker",
        name: "Sneaker, five pairs",
        description: "One pair for each buyer. A pair that is not paid for in two minutes goes to the waitlist.",
        price: 18_900,
        stock: 5,
        max_per_order: 1,
        max_per_user: Some(1),
        hold_seconds: Some(120),
        opens_after: TimeDelta::zero(),
    },
    DemoProduct {
        sku: "demo-ticket",
        name: "Concert ticket, front row",
        description: "Up to four in one order, held for five minutes.",
        price: 7_500,
        stock: 50,
        max_per_order: 4,
        max_per_user: None,
        hold_seconds: Some(300),
        opens_after: TimeDelta::zero(),
    },
    DemoProduct {
        sku: "demo-poster",
        name: "Poster, as many as you like",
        description: "Sold at once: no hold, no payment step.",
        price: 1_200,
        stock: 1_000_000,
        max_per_order: 10,
        max_per_user: None,
        hold_seconds: None,
        opens_after: TimeDelta::zero(),
    },
];

/// Creates the demo products that do not exist yet.
pub(super) async fn create_products(store: &Store) -> Result<(), Error> {
    for demo in DROPS {
        let created = store
            .create_product(product(&demo), &Actor::service())
            .await;
        match created {
            Ok(_) | Err(Error::Violates(Constraint::Sku)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn product(demo: &DemoProduct) -> NewProduct {
    let now = now();
    let opens_later = demo.opens_after > TimeDelta::zero();
    NewProduct {
        id: ProductId::now_v7(),
        sku: demo.sku.to_owned(),
        name: demo.name.to_owned(),
        description: Some(demo.description.to_owned()),
        price: demo.price,
        currency: "EUR".to_owned(),
        stock: demo.stock,
        max_per_order: demo.max_per_order,
        max_per_user: demo.max_per_user,
        hold_seconds: demo.hold_seconds,
        waitlist: demo.hold_seconds.is_some(),
        waitlist_skip: false,
        starts_at: opens_later.then(|| now + demo.opens_after),
        ends_at: None,
        published: true,
        now,
    }
}
