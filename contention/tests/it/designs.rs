//! Each baseline design sells as it says, so that a comparison with it is fair.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use flash_sale::{
    app,
    domain::Secret,
    embedded::RedisNodes,
    store::{Connections, Store, Url},
    verify,
};
use futures::future::join_all;
use nix::sys::signal::Signal;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};
use serde_json::json;
use tempfile::TempDir;
use test_support::{
    http,
    postgres::Postgres,
    process::Owned,
    service::{announced, clear_environment},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    runner::program_file,
    shop::{SECRET, buyer},
};

const STOCK: usize = 20;
const BUYERS: usize = 60;
const PRODUCT: &str = "0199aaaa-0000-7000-8000-000000000001";
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// PostgreSQL with one product, three Redis nodes, and a design that serves.
struct Served {
    url: String,
    process: Owned,
    database: DatabaseConnection,
    store: Store,
    _parts: (Postgres, RedisNodes, TempDir),
}

impl Served {
    async fn open(design: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let nodes = RedisNodes::start(folder.path()).unwrap().unwrap();
        let postgres = Postgres::open().await.unwrap();
        let url = postgres.create_database("designs").await.unwrap();
        Store::migrate(&Url::new(url.expose())).await.unwrap();
        let database = Database::connect(url.expose()).await.unwrap();
        let connections = Connections {
            max: 1,
            write_within: app::WRITE_WITHIN,
        };
        let store = Store::connect(&Url::new(url.expose()), connections).await;
        let log = folder.path().join("design.log");
        let locks = nodes.urls();
        let locks: Vec<&str> = locks.iter().map(Secret::expose).collect();
        let mut command = Command::new(program_file());
        clear_environment(&mut command)
            .args(["designs", "--design", design])
            .env("DATABASE_URL", url.expose())
            .env("REDIS_LOCK_URLS", locks.join(","))
            .env("AUTH_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap());
        let mut process = Owned::new(command.spawn().unwrap());
        let stdout = process.child().stdout.take().unwrap();
        let ([url], _) = announced(stdout, ["listening on "], &log).await.unwrap();
        let served = Self {
            url,
            process,
            database,
            store: store.unwrap(),
            _parts: (postgres, nodes, folder),
        };
        served.offer(design).await;
        served
    }

    async fn offer(&self, design: &str) {
        self.execute(&format!(
            "INSERT INTO products (id, sku, name, price, currency, stock_total, stock, version, \
                max_per_order, waitlist, created_at, updated_at) \
             VALUES ('{PRODUCT}', 'hot', 'Hot', 1999, 'EUR', {STOCK}, {STOCK}, 1, 1, false, \
                now(), now())"
        ))
        .await;
        if design == "skip-locked" {
            let units = format!("SELECT '{PRODUCT}'::uuid FROM generate_series(1, {STOCK})");
            let insert = format!("INSERT INTO units (product_id) {units}");
            self.execute(&insert).await;
        }
    }

    async fn execute(&self, sql: &str) {
        self.database.execute_unprepared(sql).await.unwrap();
    }

    async fn orders(&self) -> usize {
        let count = "SELECT count(DISTINCT user_id) AS buyers FROM orders";
        let backend = self.database.get_database_backend();
        let count = Statement::from_string(backend, count);
        let row = self.database.query_one_raw(count).await.unwrap().unwrap();
        let buyers: i64 = row.try_get("", "buyers").unwrap();
        usize::try_from(buyers).unwrap()
    }

    async fn place(&self, token: Option<String>) -> u16 {
        let client = http::client().unwrap();
        let mut call = client.post(format!("{}/orders", self.url));
        if let Some(token) = token {
            call = call.bearer_auth(token);
        }
        let body = json!({ "product_id": PRODUCT, "quantity": 1 });
        call.json(&body).send().await.unwrap().status().as_u16()
    }
}

#[rstest]
#[case::row_lock("row-lock")]
#[case::advisory_lock("advisory-lock")]
#[case::statement("statement")]
#[case::skip_locked("skip-locked")]
#[case::decrement("decrement")]
#[tokio::test]
async fn a_design_sells_every_unit_once_to_those_who_sign_in(#[case] design: &str) {
    let mut served = Served::open(design).await;
    assert_eq!(served.place(None).await, 401);
    let buyers = (0..BUYERS).map(|number| served.place(Some(buyer(&format!("buyer-{number}")))));
    let answers = join_all(buyers).await;
    let with = |status| answers.iter().filter(|one| **one == status).count();
    assert_eq!(
        (with(201), with(409)),
        (STOCK, BUYERS - STOCK),
        "{answers:?}"
    );
    served.process.signal(Signal::SIGTERM).unwrap();
    let ended = served.process.exit(STOPS_WITHIN).await.unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(served.orders().await, STOCK);
    for invariant in verify::INVARIANTS {
        let breaches = invariant.breaches(&served.store).await.unwrap();
        assert!(breaches.is_empty(), "{}: {breaches:?}", invariant.name);
    }
}

/// Of each direction.
const DELAY: Duration = Duration::from_millis(100);
/// One after another, each with the delay, its chunks of 64 KiB would take longer than `ALL_WITHIN`.
const MANY: usize = 16 * 1024 * 1024;
const ALL_WITHIN: Duration = Duration::from_secs(20);

/// A `contention designs link` that leads to this server, and its address.
fn link_to(server: &TcpListener) -> (Owned, String) {
    let server = server.local_addr().unwrap().to_string();
    let delay = DELAY.as_micros().to_string();
    let mut command = Command::new(program_file());
    clear_environment(&mut command)
        .args(["designs", "link", "--to", &server, "--delay-us", &delay])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = Owned::new(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.child().stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().strip_prefix("listening on tcp://").unwrap();
    (process, address.to_owned())
}

#[tokio::test]
async fn a_link_delays_each_direction_and_does_not_limit_the_throughput() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_process, address) = link_to(&server);
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut far, _) = server.accept().await.unwrap();

    let sent = Instant::now();
    client.write_u8(1).await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), 1);
    assert!(sent.elapsed() >= DELAY);
    far.write_u8(2).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 2);
    assert!(sent.elapsed() >= DELAY * 2);

    let sent = Instant::now();
    let writing = async {
        far.write_all(&vec![3; MANY]).await.unwrap();
        drop(far);
    };
    let mut got = Vec::new();
    let (read, ()) = tokio::join!(client.read_to_end(&mut got), writing);
    assert_eq!(read.unwrap(), MANY);
    assert!(sent.elapsed() < ALL_WITHIN, "{:?}", sent.elapsed());
}
