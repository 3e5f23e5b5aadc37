//! Creates the products of a run, and reads their stock and orders after the load.

use std::time::Duration;

use anyhow::Context;
use axum::http::HeaderValue;
use bytes::Bytes;
use flash_sale::{
    domain::OrderStatus,
    store::{OrderFilter, Store},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    client::{Address, Connection, Response, request},
    scenario::Scenario,
};

/// Orders per database query.
const PAGE: u64 = 5_000;
/// Pages of an existing service's API at most: more orders than a run makes.
const PAGES_MAX: usize = 20_000;

/// Reads are at most a second old (`ARCHITECTURE.md`, Reading).
pub(crate) const READS_LAG: Duration = Duration::from_millis(1_100);

#[derive(Deserialize)]
struct Stock {
    stock: i64,
    stock_total: i64,
}

/// A product that was created for a run.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) id: Uuid,
    pub(crate) sku: String,
    pub(crate) stock: u32,
    pub(crate) is_yardstick: bool,
    /// The body of an order, and the paths of availability and product.
    pub(crate) order: Bytes,
    pub(crate) look: String,
    pub(crate) detail: String,
}

/// Stock and orders of a product after the load.
#[derive(Clone, Debug)]
pub(crate) struct ProductRows {
    pub(crate) stock: i64,
    pub(crate) stock_total: i64,
    pub(crate) orders: Vec<OrderRow>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OrderRow {
    pub(crate) id: Uuid,
    pub(crate) user_id: String,
    pub(crate) quantity: u32,
    pub(crate) status: OrderStatus,
}

impl OrderRow {
    /// Whether the order holds its units.
    pub(crate) fn is_live(&self) -> bool {
        match self.status {
            OrderStatus::Pending | OrderStatus::Confirming | OrderStatus::Confirmed => true,
            OrderStatus::Cancelled | OrderStatus::Expired => false,
        }
    }
}

/// API client with one connection, one call at a time.
#[derive(Debug)]
pub(crate) struct Api {
    address: Address,
    connection: Option<Connection>,
}

impl Api {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    pub(crate) fn host(&self) -> &HeaderValue {
        &self.address.host
    }

    pub(crate) async fn call(
        &mut self,
        call: (&str, &str),
        token: Option<&HeaderValue>,
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let request = request(call, &self.address.host, token, body.as_ref());
        self.send(request).await
    }

    pub(crate) async fn send(
        &mut self,
        request: axum::http::Request<crate::client::Body>,
    ) -> anyhow::Result<Response> {
        let path = request.uri().path().to_owned();
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_usable() => connection,
            Some(_) | None => Connection::open(&self.address).await?,
        };
        let response = connection.send(request).await.with_context(|| path)?;
        self.connection = Some(connection);
        Ok(response)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        token: Option<&HeaderValue>,
    ) -> anyhow::Result<T> {
        let response = self.call(("GET", path), token, None).await?;
        expect(&response, 200, path)
    }

    /// Creates the products of a scenario, and one for the yardstick phase if there is one.
    pub(crate) async fn offer(
        &mut self,
        scenario: &Scenario,
        run: &str,
        admin: &HeaderValue,
    ) -> anyhow::Result<Vec<Offer>> {
        let mut offers = Vec::new();
        for number in 1..=scenario.products {
            let sku = format!("{run}-{number}");
            offers.push(self.offer_one(scenario, sku, scenario.stock, admin).await?);
        }
        if scenario.phase.iter().any(|phase| phase.yardstick) {
            let plenty = scenario.users.saturating_mul(scenario.quantity);
            let sku = format!("{run}-yardstick");
            let mut offer = self.offer_one(scenario, sku, plenty, admin).await?;
            offer.is_yardstick = true;
            offers.push(offer);
        }
        Ok(offers)
    }

    async fn offer_one(
        &mut self,
        scenario: &Scenario,
        sku: String,
        stock: u32,
        admin: &HeaderValue,
    ) -> anyhow::Result<Offer> {
        #[derive(Deserialize)]
        struct Created {
            id: Uuid,
        }
        let product = &scenario.product;
        let body = json!({
            "sku": sku, "name": sku, "price": 1_999, "currency": "EUR", "stock": stock,
            "max_per_order": product.max_per_order.unwrap_or(scenario.quantity.max(10)),
            "max_per_user": product.max_per_user,
            "hold_seconds": product.hold_seconds,
            "waitlist": product.waitlist,
        });
        let response = self
            .call(("POST", "/products"), Some(admin), Some(&body))
            .await?;
        let created: Created = expect(&response, 201, "POST /products")
            .context("cannot create a product (an admin's token is needed)")?;
        let mut order = json!({ "product_id": created.id, "quantity": scenario.quantity });
        if product.waitlist
            && let Some(order) = order.as_object_mut()
        {
            order.insert("waitlist".to_owned(), json!(true));
        }
        Ok(Offer {
            id: created.id,
            sku,
            stock,
            is_yardstick: false,
            order: Bytes::from(order.to_string()),
            look: format!("/products/{}/availability", created.id),
            detail: format!("/products/{}", created.id),
        })
    }

    /// Stock and orders of a product, from the database of an own service, else from the API.
    pub(crate) async fn rows(
        &mut self,
        offer: &Offer,
        store: Option<&Store>,
        admin: &HeaderValue,
    ) -> anyhow::Result<ProductRows> {
        if let Some(store) = store {
            let product = store.product(offer.id).await?.context("no such product")?;
            return Ok(ProductRows {
                stock: product.stock.on_hand.into(),
                stock_total: product.stock.total.into(),
                orders: stored(store, offer.id).await?,
            });
        }
        let Stock { stock, stock_total } = self.get(&offer.detail, None).await?;
        Ok(ProductRows {
            stock,
            stock_total,
            orders: self.listed(offer.id, admin).await?,
        })
    }

    /// Every order of a product, page by page.
    async fn listed(
        &mut self,
        product: Uuid,
        admin: &HeaderValue,
    ) -> anyhow::Result<Vec<OrderRow>> {
        #[derive(Deserialize)]
        struct Page {
            orders: Vec<OrderRow>,
            next_cursor: Option<Uuid>,
        }
        let first = format!("/orders?product_id={product}&limit=100");
        let mut path = first.clone();
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let page: Page = self.get(&path, Some(admin)).await?;
            found.extend(page.orders);
            match page.next_cursor {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => return Ok(found),
            }
        }
        anyhow::bail!("product {product} has more orders than {PAGES_MAX} pages")
    }
}

async fn stored(store: &Store, product: Uuid) -> anyhow::Result<Vec<OrderRow>> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let filter = OrderFilter {
            product_id: Some(product),
            before,
            limit: PAGE,
            ..OrderFilter::default()
        };
        let page = store.orders(filter).await?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        before = Some(last.id);
        found.extend(page.into_iter().map(|order| OrderRow {
            id: order.id,
            user_id: order.user_id.to_string(),
            quantity: order.quantity.try_into().unwrap_or(0),
            status: order.status,
        }));
    }
}

fn expect<T: DeserializeOwned>(response: &Response, status: u16, call: &str) -> anyhow::Result<T> {
    let body = || String::from_utf8_lossy(&response.body).into_owned();
    anyhow::ensure!(
        response.status == status,
        "{call}: {} instead of {status}: {}",
        response.status,
        body()
    );
    serde_json::from_slice(&response.body).with_context(|| format!("{call}: {}", body()))
}
