//! Opens the database of the settings, and prepares its schema.

use std::time::Duration;

use anyhow::Context;

use crate::{
    config::{self, Migrate},
    embedded,
    store::{Connections, Store, Url},
};

/// The time that a batch has to write at the default time-out of requests, for commands that serve
/// none.
pub const WRITE_WITHIN: Duration = Duration::from_millis(1_250);

/// Opens the database, and does what `migrate` says about its schema.
pub async fn open_store(
    config: &config::Database,
    migrate: Migrate,
    write_within: Duration,
) -> anyhow::Result<Store> {
    let url = url(config)?;
    prepare_folder(config)?;
    if url.is_sqlite() {
        // A missing file is made by the migrations.
        prepare_schema(config, migrate, &url).await?;
        return connect_store(config, write_within).await;
    }
    // Connected first: a migration's lock is worth nothing behind a pooler that shares sessions.
    let store = connect_store(config, write_within).await?;
    prepare_schema(config, migrate, &url).await?;
    Ok(store)
}

/// Opens the database without migrating it.
pub async fn connect_store(
    config: &config::Database,
    write_within: Duration,
) -> anyhow::Result<Store> {
    let url = url(config)?;
    let source = source_of_url(config);
    if let Some(file) = url.path().filter(|_| url.is_missing_file()) {
        anyhow::bail!("{source}: there is no database {file}");
    }
    let connections = Connections {
        max: config.database_pool_max,
        write_within,
    };
    Store::connect(&url, connections)
        .await
        .with_context(|| format!("{source}: cannot open {url:?}"))
}

async fn prepare_schema(
    config: &config::Database,
    migrate: Migrate,
    url: &Url,
) -> anyhow::Result<()> {
    match migrate {
        Migrate::Auto => match &config.database_direct_url {
            Some(direct) => migrate_directly(&Url::new(direct.expose()), url).await,
            None => Store::migrate(url)
                .await
                .with_context(|| format!("{}: cannot prepare {url:?}", source_of_url(config))),
        },
        Migrate::Check => Store::check_schema(url)
            .await
            .with_context(|| format!("MIGRATE=check: cannot use the schema of {url:?}")),
        Migrate::Off => Ok(()),
    }
}

/// Migrates past the pooler that `url` leads to.
async fn migrate_directly(direct: &Url, url: &Url) -> anyhow::Result<()> {
    Store::check_sessions(direct)
        .await
        .with_context(|| format!("DATABASE_DIRECT_URL: cannot use {direct:?}"))?;
    Store::migrate(direct)
        .await
        .with_context(|| format!("DATABASE_DIRECT_URL: cannot prepare {direct:?}"))?;
    // Another database would have been migrated instead.
    Store::check_schema(url).await.with_context(|| {
        format!(
            "DATABASE_DIRECT_URL: was migrated, but is not the database of DATABASE_URL, {url:?}"
        )
    })
}

/// The setting that decides which database is used.
fn source_of_url(config: &config::Database) -> &'static str {
    match config.database_url {
        Some(_) => "DATABASE_URL",
        None => "DATA_DIR",
    }
}

pub(super) fn url(config: &config::Database) -> anyhow::Result<Url> {
    config.check()?;
    let embedded = embedded::database_path(&config.data_dir);
    Ok(Url::choose(config.database_url.as_ref(), &embedded))
}

/// The folder of the embedded database, which is created if it is missing.
fn prepare_folder(config: &config::Database) -> anyhow::Result<()> {
    if config.database_url.is_some() {
        return Ok(());
    }
    let folder = &config.data_dir;
    embedded::open_folder(folder)
        .with_context(|| format!("DATA_DIR: cannot create {}", folder.display()))?;
    embedded::make_database_private(folder)
        .with_context(|| format!("DATA_DIR: cannot change modes in {}", folder.display()))
}
