//! A target service on SQLite, and access to its database.

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use entities::{
    order_status::OrderStatus,
    orders,
    products::{Column, Entity as Products, Model},
};
use flash_sale::{app, config, verify};
use reqwest::Client;
use sea_orm::{
    ColumnTrait, ConnectOptions, Database, DatabaseConnection, EntityTrait, QueryFilter,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{
    http,
    process::Owned,
    service::{announced, clear_environment},
    tokens,
};
use uuid::Uuid;

use super::runner::program_file;

pub(crate) const SECRET: &str = "only-for-the-tests-0123456789abcdef0123456789abcdef";
const TTL: Duration = Duration::from_hours(1);
const DATABASE: &str = "shop.db";

pub(crate) fn admin() -> String {
    tokens::admin(SECRET, "the-admin", TTL).unwrap()
}

pub(crate) fn buyer(name: &str) -> String {
    tokens::buyer(SECRET, name, TTL).unwrap()
}

/// A running service; it ends before its folder is removed.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) url: String,
    /// The operators' listener.
    pub(crate) operations: String,
    client: Client,
    _process: Owned,
    directory: TempDir,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let directory = TempDir::new().unwrap();
        let log = directory.path().join("log");
        // The runner also contains the service.
        let mut command = Command::new(program_file());
        clear_environment(&mut command)
            .arg("serve")
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("OPS_ADDR", "127.0.0.1:0")
            .env("AUTH_SECRET", SECRET)
            .env("DATA_DIR", directory.path())
            .env("DATABASE_URL", url_in(&directory))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap());
        let mut process = Owned::new(command.spawn().unwrap());
        let stdout = process.child().stdout.take().unwrap();
        let prefixes = ["listening on ", "operations on "];
        let ([url, operations], _) = announced(stdout, prefixes, &log).await.unwrap();
        Self {
            url,
            operations,
            client: http::client().unwrap(),
            _process: process,
            directory,
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Creates a product.
    pub(crate) async fn product(&self, sku: &str, stock: u32) -> Uuid {
        let body = json!({
            "sku": sku, "name": sku, "price": 1_999, "currency": "EUR", "stock": stock,
        });
        let call = self.client.post(format!("{}/products", self.url));
        let answer = call.bearer_auth(admin()).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let product: Value = answer.json().await.unwrap();
        product["id"].as_str().unwrap().parse().unwrap()
    }

    /// Reads as an admin and returns the body.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let call = self.client.get(format!("{}{path}", self.url));
        let answer = call.bearer_auth(admin()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// The product's row.
    pub(crate) async fn row(&self, product: Uuid) -> Model {
        let database = self.database().await;
        let row = Products::find().filter(Column::Id.eq(product));
        let row = row.one(&database).await.unwrap().unwrap();
        database.close().await.unwrap();
        row
    }

    /// `stock_total = stock + Σ quantity of live orders`, and every invariant of the service.
    pub(crate) async fn assert_invariants(&self, product: Uuid) {
        let row = self.row(product).await;
        let sold = self.sold(product).await;
        assert!(row.stock >= 0, "{row:?}");
        assert_eq!(row.stock_total, row.stock + sold, "{row:?}");
        let config = config::Database {
            data_dir: self.folder(),
            database_url: Some(url_in(&self.directory).parse().unwrap()),
            database_direct_url: None,
            database_pool_max: 1,
        };
        let store = app::connect_store(&config, app::WRITE_WITHIN)
            .await
            .unwrap();
        for invariant in verify::INVARIANTS {
            let breaches = invariant.breaches(&store).await.unwrap();
            assert!(breaches.is_empty(), "{}: {breaches:?}", invariant.name);
        }
        store.close().await;
    }

    async fn sold(&self, product: Uuid) -> i32 {
        let database = self.database().await;
        let orders = orders::Entity::find().filter(orders::Column::ProductId.eq(product));
        let orders = orders.all(&database).await.unwrap();
        database.close().await.unwrap();
        let live = [
            OrderStatus::Pending,
            OrderStatus::Confirming,
            OrderStatus::Confirmed,
        ];
        let live = orders.iter().filter(|order| live.contains(&order.status));
        live.map(|order| order.quantity).sum()
    }

    async fn database(&self) -> DatabaseConnection {
        let mut options = ConnectOptions::new(url_in(&self.directory));
        options.max_connections(1).sqlx_logging(false);
        Database::connect(options).await.unwrap()
    }
}

fn url_in(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.path().join(DATABASE).display())
}
