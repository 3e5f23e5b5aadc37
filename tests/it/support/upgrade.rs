//! A database outside of a shop: as a former version left it, under the orders of such a version.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, TransactionTrait};
use tempfile::TempDir;
use test_support::process::threads_of;
use tokio::task::JoinSet;

use super::{
    SOON, eventually,
    ledger::{Ledger, connect},
    postgres::Database,
    repository,
    service::{Service, Settings, ended, program},
    shop::Backend,
    tokens, when,
};
use crate::cli::refused_start;

/// A database outside of a shop, and the folder of its service.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) database: Option<Database>,
    pub(crate) url: String,
}

impl Place {
    pub(crate) async fn empty(backend: Backend) -> Self {
        let directory = TempDir::new().unwrap();
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres | Backend::ThreeNodes => Some(Database::empty().await),
        };
        let url = match &database {
            Some(database) => database.url(),
            None => format!("sqlite://{}/shop.db", directory.path().display()),
        };
        Self {
            directory,
            database,
            url,
        }
    }

    /// With the data of version 0.1.0.
    pub(crate) async fn before(backend: Backend) -> Self {
        let place = Self::empty(backend).await;
        let (name, url) = match backend {
            Backend::Sqlite => ("sqlite.sql", format!("{}?mode=rwc", place.url)),
            Backend::Postgres | Backend::ThreeNodes => ("postgres.sql", place.url.clone()),
        };
        let fixture = repository("tests/fixtures/0.1.0").join(name);
        let connection = connect(&url).await;
        if backend == Backend::Sqlite {
            let wal = "PRAGMA journal_mode = WAL";
            connection.execute_unprepared(wal).await.unwrap();
        }
        let fixture = fs::read_to_string(fixture).unwrap();
        connection.execute_unprepared(&fixture).await.unwrap();
        connection.close().await.unwrap();
        place
    }

    pub(crate) fn command(&self, command: &str) -> Command {
        let mut program = program();
        program.arg(command).env("DATABASE_URL", &self.url);
        program
    }

    pub(crate) fn run(&self, command: &str) -> Output {
        ended(&mut self.command(command))
    }

    pub(crate) fn migrate(&self) {
        let output = self.run("migrate");
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn assert_books(&self) {
        let output = self.run("verify");
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::open(&self.url).await
    }

    pub(crate) fn settings<'a>(&'a self, migrate: &'a str) -> [(&'static str, &'a str); 3] {
        [
            ("DATABASE_URL", &self.url),
            ("AUTH_SECRET", tokens::SECRET),
            ("MIGRATE", migrate),
        ]
    }

    pub(crate) async fn serve(&self, more: &[(&str, &str)]) -> Service {
        let mut settings = Settings::default();
        for (name, value) in self.settings("auto").iter().chain(more) {
            settings.set(name, value);
        }
        let data = self.directory.path().join("data");
        settings.set("DATA_DIR", data.to_str().unwrap());
        let log = self.directory.path().join("log");
        Service::start(&settings, &log, test_support::http::client().unwrap()).await
    }

    /// The only line of the error of a start that fails.
    pub(crate) fn refusal(&self, migrate: &str) -> String {
        let output = refused_start(&self.settings(migrate));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{stderr}");
        stderr.trim().lines().last().unwrap_or_default().to_owned()
    }
}

/// Kills it some time after its database file appeared, or after it ended.
pub(crate) fn kill_while_it_writes(child: &mut Child, data: &Path, number: u32) {
    let database = data.join("flash-sale.db");
    let deadline = Instant::now() + SOON;
    while !database.exists() && child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let threads = threads_of(child.id());
            child.kill().unwrap();
            panic!("no database: {threads}");
        }
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_micros(700) * number);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Orders as version 0.1.0 writes them, on a connection of their own.
#[derive(Debug)]
pub(crate) struct OldNode {
    sold: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

const POSTGRES_ORDER: &str = "INSERT INTO orders (id, reference, product_id, user_id, quantity, \
    unit_price, currency, status, created_at, confirmed_at, payment_attempt, from_waitlist) \
    SELECT gen_random_uuid(), 'FS-' || upper(substr(md5(random()::text), 1, 8)), id, 'old', 1, \
    price, currency, 'confirmed', now(), now(), 0, false FROM products WHERE sku = 'plain'";
const SQLITE_ORDER: &str = "INSERT INTO orders (id, reference, product_id, user_id, quantity, \
    unit_price, currency, status, created_at, confirmed_at, payment_attempt, from_waitlist) \
    SELECT randomblob(16), 'FS-' || hex(randomblob(4)), p.id, 'old', 1, p.price, p.currency, \
    'confirmed', p.created_at, p.created_at, 0, false FROM products p WHERE sku = 'plain'";
const TAKE_UNIT: &str = "UPDATE products SET stock = stock - 1, stock_total = stock_total, \
    stock_reserved = stock_reserved, updated_at = updated_at, version = version + 1 \
    WHERE sku = 'plain'";
const ADD_UNITS: &str = "UPDATE products SET stock = stock + 1000000, \
    stock_total = stock_total + 1000000, version = version + 1 WHERE sku = 'plain'";

impl OldNode {
    /// The database fails an order that waits for a lock for 2 s.
    pub(crate) async fn start(place: &Place) -> Self {
        let connection = connect(&place.url).await;
        let is_postgres = place.url.starts_with("postgres");
        if is_postgres {
            let bound = "SET lock_timeout = '2s'";
            connection.execute_unprepared(bound).await.unwrap();
        }
        connection.execute_unprepared(ADD_UNITS).await.unwrap();
        let (sold, ending) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, end) = (Arc::clone(&sold), Arc::clone(&ending));
        let order = if is_postgres {
            POSTGRES_ORDER
        } else {
            SQLITE_ORDER
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let transaction = connection.begin().await.unwrap();
                transaction.execute_unprepared(TAKE_UNIT).await.unwrap();
                transaction.execute_unprepared(order).await.unwrap();
                transaction.commit().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                // SQLite has no queue of writers: one that never pauses would starve the others.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self {
            sold,
            ending,
            tasks,
        }
    }

    pub(crate) async fn sells(&self, more: usize) {
        let goal = self.sold.load(Ordering::Relaxed) + more;
        eventually("the old node sells", SOON, async || {
            assert!(!self.tasks.is_empty());
            when(self.sold.load(Ordering::Relaxed) >= goal)
        })
        .await;
    }

    /// The number of its orders; fails if one of them failed.
    pub(crate) async fn stop(mut self) -> usize {
        self.ending.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.sold.load(Ordering::Relaxed)
    }
}
