//! A shop with more products than the page shows.

use serde_json::{Value, json};

use crate::support::{SOON, events::Events};

use super::{operations, plan};

/// Drops that the page shows.
const SHOWN_MAX: usize = 50;

#[tokio::test]
async fn a_drop_that_sells_is_shown_however_old_it_is_and_few_others() {
    let shop = plan().open().await;
    let service = shop.service();
    let mut products = Vec::new();
    for number in 0..60 {
        let terms = json!({ "sku": format!("seat-{number}"), "name": format!("{number:0>200}") });
        products.push(service.product(5, terms).await);
    }
    service.buy("ann", products[0], 2).await.success(201);

    let mut viewer = Events::open(operations(&shop).get("/monitor/events")).await;
    let shows = |kind: &str, data: &Value| {
        let drops = data["drops"].as_array().into_iter().flatten();
        let sold = |drop: &&Value| drop["sku"] == "seat-0" && drop["sold"] == 2;
        kind == "snapshot" && drops.clone().count() == SHOWN_MAX && drops.filter(sold).count() == 1
    };
    viewer.until(shows, SOON).await;
}
