//! Secrets: where they are read from, which starts need them, and who can read what is stored.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;
use test_support::process::redis_servers_of;

use crate::{
    cli::refused_start,
    support::{
        postgres::Database,
        redis::Nodes,
        service::{Service, Settings, ended, program},
        shop::{Backend, Shop},
        tokens,
    },
};

const POSTGRES: (&str, &str) = ("DATABASE_URL", "postgres://shop@127.0.0.1:1/shop");
const NODE: &str = "redis://127.0.0.1:1";

/// The only line of the error.
fn refusal(settings: &[(&str, &str)]) -> String {
    let output = refused_start(settings);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
    stderr
}

/// Otherwise each node makes a secret of its own, and refuses the tokens of the others.
#[rstest]
#[case(POSTGRES)]
#[case(("DATABASE_URL", "sqlite:///nonexistent/shop.db"))]
#[case(("REDIS_URL", NODE))]
#[case(("REDIS_LOCK_URLS", NODE))]
fn a_shared_database_or_redis_needs_a_configured_secret(#[case] shared: (&str, &str)) {
    for secret in [&[][..], &[("AUTH_SECRET", "")]] {
        let line = refusal(&[&[shared], secret].concat());
        assert!(
            line.contains("AUTH_SECRET") && line.contains(shared.0),
            "{line}"
        );
    }
    let short = refusal(&[shared, ("AUTH_SECRET", "0123456789abcdef0123456789abcde")]);
    assert!(short.contains("AUTH_SECRET"), "{short}");
    assert!(!short.contains("0123456789"), "{short}");
    for blank in [
        " ".repeat(38),
        "\t0123456789abcdef0123456789abcde ".to_owned(),
    ] {
        let blank = refusal(&[shared, ("AUTH_SECRET", &blank)]);
        assert!(blank.contains("AUTH_SECRET"), "{blank}");
    }
}

/// Else the tokens that the provider makes for any other application would be accepted.
#[test]
fn an_identity_provider_needs_an_issuer_and_an_audience() {
    let url = ("AUTH_JWKS_URL", "https://login.example/keys");
    let issuer = ("AUTH_ISSUER", "https://login.example");
    let line = refusal(&[url, ("AUTH_AUDIENCE", "shop")]);
    assert!(line.contains("AUTH_ISSUER"), "{line}");
    let line = refusal(&[url, issuer]);
    assert!(line.contains("AUTH_AUDIENCE"), "{line}");
}

/// Else the connection is made without what the parameter asks for.
#[rstest]
#[case("#?sslmode=require", "fragment")]
#[case("?sslmode=require#", "fragment")]
#[case("?sslmode=require&sslmode=disable", "twice")]
#[case("?sslmode=require&ssl-mode=disable", "twice")]
#[case("?ssl-ca=/a&sslrootcert=/b", "twice")]
fn a_database_url_that_would_lose_a_parameter_is_refused(#[case] end: &str, #[case] why: &str) {
    let url = format!("{}{end}", POSTGRES.1);
    let secret = ("AUTH_SECRET", tokens::SECRET);
    let line = refusal(&[("DATABASE_URL", &url), secret]);
    assert!(
        line.contains("DATABASE_URL") && line.contains(why),
        "{line}"
    );
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let mut plan = Shop::plan(Backend::Sqlite);
    for name in [
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "DATABASE_POOL_MAX",
        "REDIS_LOCK_URLS",
        "REDIS_URL",
        "AUTH_PUBLIC_KEY",
        "PAYMENTS",
        "PAYMENT_URL",
        "PAYMENT_KEY",
        "CORS_ORIGINS",
        "LOCK_TTL_MS",
        "ORDER_BATCH_MAX",
        "METRICS_PRODUCTS_MAX",
        "LOG_FORMAT",
        "RUST_LOG",
    ] {
        plan = plan.set(name, "");
    }
    let shop = plan.open().await;

    let product = shop.service().product(1, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    let redis = redis_servers_of(shop.service().process.pid()).unwrap();
    assert_eq!(redis.len(), 3, "the embedded default");
}

#[tokio::test]
async fn secrets_are_read_from_files_and_lists_may_have_spaces() {
    let directory = TempDir::new().unwrap();
    let (nodes, database) = (Nodes::start(3).await, Database::create().await);
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        (format!("{name}_FILE"), path.display().to_string())
    };
    let variables = BTreeMap::from([
        file("AUTH_SECRET", &format!("{}\n", tokens::SECRET)),
        file("DATABASE_URL", &format!("{}\n", database.url())),
        (
            "REDIS_LOCK_URLS".to_owned(),
            nodes.urls().replace(',', ", "),
        ),
        file("REDIS_URL", &format!("{}\n", nodes.0[0].url())),
        (
            "CORS_ORIGINS".to_owned(),
            "https://a.example, https://b.example".to_owned(),
        ),
    ]);
    let settings = Settings {
        variables,
        ..Settings::default()
    };
    let client = test_support::http::client().unwrap();
    let log = directory.path().join("log");
    let service = Service::start(&settings, &log, client).await;

    let product = service.product(1, json!({})).await;
    service.buy("ann", product, 1).await.success(201);

    let listed = service
        .get(&format!("/products/{product}"))
        .header("Origin", "https://b.example");
    let listed = listed.send().await;
    assert_eq!(
        listed.header("access-control-allow-origin"),
        Some("https://b.example")
    );
    let metrics = service.metrics().await;
    assert!(metrics.shows("flash_sale_lock_nodes_healthy", &[], 3));
}

#[test]
fn a_file_of_a_secret_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    for path in [Path::new("/nonexistent/secret"), &empty] {
        let line = refusal(&[("AUTH_SECRET_FILE", path.to_str().unwrap())]);
        assert!(line.contains("AUTH_SECRET_FILE"), "{line}");
        assert!(line.contains(path.to_str().unwrap()), "{line}");
    }
    let both = refusal(&[
        ("PAYMENT_KEY", "sk_test_1"),
        ("PAYMENT_KEY_FILE", empty.to_str().unwrap()),
    ]);
    assert!(both.contains("PAYMENT_KEY_FILE"), "{both}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Also what a former version left readable.
#[tokio::test]
async fn the_data_folder_and_its_files_are_private() {
    let mut shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(2, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);
    let data = shop.data();
    let readable = [
        "flash-sale.db",
        "flash-sale.db-wal",
        "flash-sale.db-shm",
        "flash-sale.db.migrating",
        "redis-1/log",
    ];
    let assert_private = || {
        assert_eq!(mode(&data), 0o700);
        for file in readable.iter().chain(&["redis-1/redis.conf"]) {
            assert_eq!(mode(&data.join(file)), 0o600, "{file}");
        }
    };
    assert_private();

    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    for file in readable {
        fs::set_permissions(data.join(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    shop.restart(0).await;
    shop.service().buy("bob", product, 1).await.success(201);

    assert_private();
}

/// Other users of the machine can reach the ports, and see every command line.
#[tokio::test]
async fn private_redis_nodes_need_a_password_that_no_command_line_shows() {
    let shop = Shop::open(Backend::Sqlite).await;
    let settings = fs::read_to_string(shop.data().join("redis-1/redis.conf")).unwrap();
    let password = settings.trim().strip_prefix("requirepass ").unwrap();
    assert!(password.len() >= 32, "{password}");

    for pid in redis_servers_of(shop.service().process.pid()).unwrap() {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!line.contains(password), "{line}");
        // The program shows `redis-server 127.0.0.1:PORT`.
        let address = line.split_whitespace().last().unwrap();
        let address = address.trim_end_matches('\0');
        let mut node = TcpStream::connect(address).unwrap();
        node.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 7];
        node.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"-NOAUTH");
    }
    for pid in test_support::process::descendants_of(shop.service().process.pid()).unwrap() {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!line.contains(password), "{line}");
    }
    let (status, health) = shop.service().health().await;
    assert_eq!((status, &health["redis"]), (200, &json!("up")), "{health}");
}

#[test]
fn the_help_of_a_secret_names_the_variable_of_its_file() {
    for (command, names) in [
        ("serve", &["AUTH_SECRET", "PAYMENT_KEY", "OPS_PASSWORD"][..]),
        ("token", &["AUTH_SECRET"]),
        ("verify", &["DATABASE_URL"]),
    ] {
        let help = ended(program().args([command, "--help"])).stdout;
        let help = String::from_utf8(help).unwrap();
        for name in names {
            assert!(help.contains(&format!("{name}_FILE")), "{name}:\n{help}");
        }
        assert!(!help.contains("LOCK_TTL_MS_FILE"), "{help}");
    }
}

/// Who runs it in another folder than the service learns why the answer is 401.
#[test]
fn a_token_of_a_new_secret_comes_with_a_warning() {
    let folder = TempDir::new().unwrap();
    let warning = |secret: &str| {
        let mut command = program();
        command.args(["token", "--user", "ann"]);
        command.env("DATA_DIR", folder.path());
        command.env("AUTH_SECRET", secret);
        let output = ended(&mut command);
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).unwrap();
        assert_eq!(token.trim().split('.').count(), 3, "{token}");
        String::from_utf8(output.stderr).unwrap()
    };

    assert_eq!(warning(tokens::SECRET), "");
    let first = warning("");
    assert!(first.contains(folder.path().to_str().unwrap()), "{first}");
    assert_eq!(first.lines().count(), 1, "{first}");
    assert_eq!(warning(""), "");
}
