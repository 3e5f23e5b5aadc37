//! Entry point of the `flash-sale` binary: parses the command line, runs the command, exits.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use flash_sale::{
    api::auth::{self, Role, sign::Signer},
    app,
    config::{self, Command, LogFormat, Migrate},
    domain, embedded,
    store::{OpenPayment, OpenState, Store},
    telemetry::{self, output},
    verify,
};
use tokio::runtime::Runtime;

/// Time for jobs of the runtime, when the command has ended.
const JOBS_END_WITHIN: Duration = Duration::from_secs(1);
/// The log filter of `migrate`.
const MIGRATE_LOG: &str = "info,sqlx=warn";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => return refusal.tell(),
    };
    let code = in_runtime(run(cli.command)).unwrap_or_else(|error| {
        // One line: the setting or the failed step, and its chain of causes.
        let causes = domain::in_one_line(error.chain());
        drop(output::Lines.write_all(format!("error: {causes}\n").as_bytes()));
        ExitCode::FAILURE
    });
    output::flush(output::LAST_WITHIN);
    code
}

/// A job of the runtime that waits in a system call does not keep the process from ending.
fn in_runtime<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(JOBS_END_WITHIN);
    ended
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    // The binary links two crypto providers, so rustls needs an explicit choice.
    drop(rustls::crypto::ring::default_provider().install_default());
    match command {
        Command::Serve(config) => app::run(&config).await,
        Command::Migrate(config) => {
            // Its warnings say what a migration waits for.
            telemetry::log(LogFormat::Text, MIGRATE_LOG)?;
            let store = app::open_store(&config, Migrate::Auto, app::WRITE_WITHIN).await?;
            store.close().await;
            print_line("the schema is up to date")
        }
        Command::Token(config) => token(&config),
        Command::Verify(config) => check(&config).await,
    }
}

fn token(config: &config::Token) -> anyhow::Result<ExitCode> {
    let path = embedded::secret_path(&config.data_dir);
    let had_secret = !config.auth.auth_secret.is_empty() || path.exists();
    let secrets = app::auth_secrets(&config.auth, &config.data_dir)?;
    let secret = secrets.first().ok_or(auth::Error::NoSecret)?;
    if !had_secret {
        // In the wrong folder, or without the nodes' AUTH_SECRET, every answer would be 401.
        let path = path.display();
        writeln!(
            io::stderr(),
            "AUTH_SECRET is not set: signing with a new secret in {path}, which a service that \
             runs with another one refuses"
        )?;
    }
    let signer = Signer::new(secret, &config.auth);
    let role = if config.admin {
        Role::Admin
    } else {
        Role::Buyer
    };
    print_line(&signer.sign(&config.user, role, config.ttl)?)
}

async fn check(config: &config::Database) -> anyhow::Result<ExitCode> {
    let store: Store = app::connect_store(config, app::WRITE_WITHIN).await?;
    let mut out = io::stdout();
    let mut all_hold = true;
    for invariant in verify::INVARIANTS {
        let breaches = invariant.breaches(&store).await?;
        let mark = if breaches.is_empty() {
            "ok    "
        } else {
            "BROKEN"
        };
        writeln!(out, "{mark}  {}", invariant.name)?;
        for breach in &breaches {
            writeln!(out, "        {}: {}", breach.subject, breach.detail)?;
        }
        all_hold &= breaches.is_empty();
    }
    for payment in store.open_payments(store.now()).await? {
        let OpenPayment {
            order_id, since, ..
        } = payment;
        let open = match payment.state {
            OpenState::Repeated => "is being repeated",
            OpenState::Left => "is left to a person",
            OpenState::Stray => "is to be refunded",
        };
        writeln!(
            out,
            "OPEN    a payment of order {order_id} {open}, since {since}"
        )?;
    }
    store.close().await;
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_line(line: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}
