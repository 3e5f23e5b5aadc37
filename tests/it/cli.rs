//! Command line: invalid settings, help, `migrate`, `verify` and the output of `serve`.

use std::{net::TcpListener, process::Output};

use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    postgres::Database,
    service::{ended, program},
    shop::{Backend, Shop},
};

const SETTINGS: &[&str] = &[
    "LISTEN_ADDR",
    "OPS_ADDR",
    "DATA_DIR",
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "DATABASE_POOL_MAX",
    "MIGRATE",
    "REDIS_LOCK_URLS",
    "REDIS_URL",
    "AUTH_SECRET",
    "AUTH_PUBLIC_KEY",
    "AUTH_JWKS_URL",
    "AUTH_JWKS_REFRESH_SECONDS",
    "AUTH_ISSUER",
    "AUTH_AUDIENCE",
    "AUTH_ADMIN_CLAIM",
    "PAYMENTS",
    "PAYMENT_URL",
    "PAYMENT_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "PAYMENT_AUTHENTICATION_SECONDS",
    "CORS_ORIGINS",
    "OPS_PASSWORD",
    "MONITOR_VIEWERS_MAX",
    "ALERTMANAGER_URL",
    "LOCK_TTL_MS",
    "LOCK_PATIENCE_MS",
    "ORDER_BATCH_MAX",
    "LANE_QUEUE_MAX",
    "RATE_LIMIT_PER_MINUTE",
    "REQUEST_TIMEOUT_MS",
    "SHUTDOWN_TIMEOUT_MS",
    "SHUTDOWN_DELAY_MS",
    "CONNECTIONS_MAX",
    "STREAMS_MAX",
    "STREAMS_PER_USER_MAX",
    "STREAMS_PER_ADDRESS_MAX",
    "ADDRESS_RATE_LIMIT_PER_MINUTE",
    "TRUSTED_PROXIES",
    "METRICS_PRODUCTS_MAX",
    "VERIFY_SECONDS",
    "ACCESS_LOG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_SERVICE_NAME",
    "LOG_FORMAT",
    "RUST_LOG",
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `serve` on free ports with one setting that must make it exit at once.
fn serve_with(name: &str, value: &str) -> Output {
    refused_start(&[(name, value)])
}

/// Runs `serve` on free ports with settings that must make it exit at once.
pub(crate) fn refused_start(settings: &[(&str, &str)]) -> Output {
    let data = TempDir::new().unwrap();
    let mut command = program();
    command
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("OPS_ADDR", "127.0.0.1:0");
    command
        .env("DATA_DIR", data.path())
        .envs(settings.iter().copied())
        .arg("serve");
    ended(&mut command)
}

#[rstest]
#[case("LISTEN_ADDR", "nope")]
#[case("OPS_ADDR", "127.0.0.1:99999")]
#[case("DATABASE_URL", "mysql://user@localhost/shop")]
#[case("DATABASE_URL", "nonsense")]
#[case("DATABASE_URL", "postgres://shop@127.0.0.1:1/shop?sslmode=requird")]
#[case("DATABASE_URL", "postgres://shop@127.0.0.1:1/shop?sslmod=require")]
#[case("DATABASE_POOL_MAX", "0")]
#[case("DATABASE_POOL_MAX", "many")]
#[case("REDIS_LOCK_URLS", "redis://127.0.0.1:1,redis://127.0.0.1:2")]
#[case("REDIS_LOCK_URLS", "http://127.0.0.1:1")]
#[case(
    "REDIS_LOCK_URLS",
    "redis://127.0.0.1:1,redis://127.0.0.1:1,redis://127.0.0.1:1"
)]
#[case("REDIS_URL", "http://127.0.0.1:1")]
#[case("AUTH_SECRET", "one secret of 32 bytes that was cut, here")]
#[case("AUTH_PUBLIC_KEY", "no key at all")]
#[case("AUTH_JWKS_URL", "http://login.example/keys")]
#[case("AUTH_JWKS_URL", "https://user:word@login.example/keys")]
#[case("AUTH_JWKS_REFRESH_SECONDS", "0")]
#[case("AUTH_AUDIENCE", "shop,,other")]
#[case("AUTH_ADMIN_CLAIM", "roles")]
#[case("PAYMENTS", "cash")]
#[case("PAYMENTS", "stripe")]
#[case("PAYMENT_URL", "api.stripe.com")]
#[case("PAYMENT_KEY", "sk:with-a-colon")]
#[case("STRIPE_WEBHOOK_SECRET", "two words")]
#[case("PAYMENT_AUTHENTICATION_SECONDS", "0")]
#[case("CORS_ORIGINS", "no origin \u{1F600}")]
#[case("ACCESS_LOG", "1.5")]
#[case("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]
#[case("OTEL_TRACES_SAMPLER_ARG", "1%")]
#[case("LOCK_TTL_MS", "abc")]
#[case("LOCK_TTL_MS", "0")]
#[case("LOCK_TTL_MS", "-5")]
#[case("LOCK_PATIENCE_MS", "2s")]
#[case("ORDER_BATCH_MAX", "0")]
#[case("LANE_QUEUE_MAX", "0")]
#[case("RATE_LIMIT_PER_MINUTE", "1.5")]
#[case("RATE_LIMIT_PER_MINUTE", "99999999999999999999")]
#[case("REQUEST_TIMEOUT_MS", "0")]
#[case("SHUTDOWN_TIMEOUT_MS", "soon")]
#[case("SHUTDOWN_DELAY_MS", "-1")]
#[case("CONNECTIONS_MAX", "0")]
#[case("STREAMS_MAX", "20000")]
#[case("STREAMS_PER_ADDRESS_MAX", "few")]
#[case("ADDRESS_RATE_LIMIT_PER_MINUTE", "1.5")]
#[case("TRUSTED_PROXIES", "proxy.example")]
#[case("TRUSTED_PROXIES", "0.0.0.0/0")]
#[case("TRUSTED_PROXIES", "0.0.0.0/1,128.0.0.0/1")]
#[case("TRUSTED_PROXIES", "10.0.0.0/8,2000::/3")]
#[case("ALERTMANAGER_URL", "alertmanager:9093")]
#[case("METRICS_PRODUCTS_MAX", "-1")]
#[case("VERIFY_SECONDS", "86401")]
#[case("MIGRATE", "later")]
#[case("LOG_FORMAT", "xml")]
fn an_invalid_setting_stops_the_start_with_one_line_that_names_it(
    #[case] name: &str,
    #[case] value: &str,
) {
    let output = serve_with(name, value);

    let stderr = text(&output.stderr);
    assert_eq!(
        output.status.code().filter(|code| *code != 0).map(|_| ()),
        Some(()),
        "{output:?}"
    );
    assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
    assert!(
        stderr.to_uppercase().replace('-', "_").contains(name),
        "{stderr}"
    );
    assert_eq!(text(&output.stdout), "");
    // It says what can be given, and not only that this cannot.
    assert!(!stderr.contains("invalid digit") && !stderr.contains("syntax"));
}

#[test]
fn the_error_names_a_port_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();

    let output = serve_with("LISTEN_ADDR", &listener.local_addr().unwrap().to_string());

    let stderr = text(&output.stderr);
    assert!(!output.status.success());
    let last = stderr.trim().lines().last().unwrap();
    assert!(
        last.contains(&listener.local_addr().unwrap().to_string()),
        "{stderr}"
    );
}

#[test]
fn an_unknown_flag_is_refused() {
    let mut command = program();
    command.args(["serve", "--no-such-flag"]);

    let output = ended(&mut command);

    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("--no-such-flag"),
        "{output:?}"
    );
}

/// clap puts them on a line of their own.
#[rstest]
#[case(&["serve", "--payments", "cash"], "stripe")]
#[case(&["serve", "--log-format", "xml"], "json")]
#[case(&["token"], "--user")]
fn the_error_line_has_the_possible_values_and_missing_flags(
    #[case] arguments: &[&str],
    #[case] expected: &str,
) {
    let mut command = program();
    command.args(arguments);

    let output = ended(&mut command);

    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
    assert!(stderr.contains(expected), "{stderr}");
}

#[rstest]
#[case::embedded("DATA_DIR", "")]
#[case::configured("DATABASE_URL", "sqlite://")]
fn verify_names_a_missing_database_and_its_setting(#[case] name: &str, #[case] scheme: &str) {
    let data = TempDir::new().unwrap();
    let missing = data.path().join("missing");
    let mut command = program();
    let value = format!("{scheme}{}", missing.display());
    command.arg("verify").env(name, value);

    let output = ended(&mut command);

    let stderr = text(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(stderr.starts_with(&format!("error: {name}: ")), "{stderr}");
    assert_eq!(
        stderr.matches("there is no database").count(),
        1,
        "{stderr}"
    );
    assert!(!missing.exists(), "verify creates nothing");
}

#[test]
fn the_usage_names_the_program() {
    let mut command = program();
    let help = text(&ended(command.arg("--help")).stdout);
    assert!(help.contains("Usage: flash-sale serve [OPTIONS]"), "{help}");
    assert!(!help.contains("Usage: serve"), "{help}");
}

#[test]
fn help_names_every_setting_and_shows_no_secret() {
    let secret = "do-not-show-this-0123456789abcdef0123456789";
    for arguments in [vec!["--help"], vec!["serve", "--help"]] {
        let mut command = program();
        command.args(&arguments);
        for name in [
            "AUTH_SECRET",
            "DATABASE_URL",
            "REDIS_URL",
            "REDIS_LOCK_URLS",
        ] {
            command.env(name, secret);
        }
        let output = ended(&mut command);
        let help = text(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(!help.contains(secret), "{help}");
        if arguments.contains(&"serve") {
            for name in SETTINGS {
                let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
                assert!(
                    help.contains(name) && help.contains(&flag),
                    "{name} is missing:\n{help}"
                );
            }
        }
    }
}

/// A password in an invalid URL must not appear in the log.
#[rstest]
#[case("DATABASE_URL", "mysql://user:hunter2secret@127.0.0.1:1/shop")]
#[case("DATABASE_DIRECT_URL", "mysql://user:hunter2secret@127.0.0.1:1/shop")]
#[case("DATABASE_DIRECT_URL", "postgres://u:hunter2secret@127.0.0.1:1/shop")]
#[case(
    "DATABASE_URL",
    "postgres://user:hunter2secret@127.0.0.1:notaport/shop"
)]
#[case("REDIS_LOCK_URLS", "http://user:hunter2secret@127.0.0.1:1")]
#[case("REDIS_URL", "redis://user:hunter2secret@127.0.0.1:notaport")]
fn the_error_of_an_invalid_setting_shows_no_password(#[case] name: &str, #[case] value: &str) {
    let output = serve_with(name, value);

    assert!(!output.status.success(), "{output:?}");
    let printed = text(&output.stderr) + &text(&output.stdout);
    assert!(
        printed.to_uppercase().replace('-', "_").contains(name),
        "{printed}"
    );
    assert!(!printed.contains("hunter2secret"), "{printed}");
}

#[tokio::test]
async fn a_flag_is_equivalent_to_its_variable() {
    let mut command = program();
    command.args(["serve", "--lock-ttl-ms", "abc"]);

    let output = ended(&mut command);

    assert!(!output.status.success());
    let stderr = text(&output.stderr);
    assert!(
        stderr
            .to_uppercase()
            .replace('-', "_")
            .contains("LOCK_TTL_MS"),
        "{stderr}"
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn migrating_twice_changes_nothing(#[case] backend: Backend) {
    let directory = TempDir::new().unwrap();
    let database = Database::empty().await;
    let mut settings = vec![("DATA_DIR", directory.path().display().to_string())];
    if backend == Backend::Postgres {
        settings.push(("DATABASE_URL", database.url()));
    }
    let run = |command: &str| {
        let mut program = program();
        program.arg(command).envs(settings.iter().cloned());
        ended(&mut program)
    };

    for _ in 0..2 {
        let output = run("migrate");
        assert!(output.status.success(), "{output:?}");
    }
    let verified = run("verify");

    assert!(verified.status.success(), "{verified:?}");
    assert!(
        !verified.stdout.is_empty(),
        "`verify` prints what it checked"
    );
}

/// Nodes of one release start together: one migrates, the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_migrations_succeed() {
    let database = Database::empty().await;
    let running: Vec<_> = (0..4)
        .map(|_| {
            let mut command = program();
            command.arg("migrate").env("DATABASE_URL", database.url());
            std::thread::spawn(move || ended(&mut command))
        })
        .collect();

    for migration in running {
        let output = migration.join().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn serve_prints_only_its_addresses_to_stdout() {
    let mut shop = Shop::open(Backend::Sqlite).await;
    shop.service().product(1, json!({})).await;

    shop.nodes[0].stop().await;

    assert_eq!(shop.nodes[0].rest_of_stdout().await, Vec::<String>::new());
}
