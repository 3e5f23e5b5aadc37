//! The naive design as a service: the same source that `scripts/bench` measures.

use std::process::ExitCode;

use anyhow::Context;
use flash_sale::{config, tasks::Tasks};
use tokio::net::TcpListener;

use self::{design::Design, naive::Naive};

#[path = "../../../../benches/designs/http.rs"]
mod http;
#[path = "../../../../benches/designs/naive.rs"]
#[expect(
    clippy::module_inception,
    reason = "the design's name, in its own file"
)]
mod naive;
#[path = "../../../../benches/designs/wish.rs"]
mod wish;

/// Here there is one to choose from.
mod design {
    use super::{
        naive::Naive,
        wish::{Answer, Wish},
    };

    #[derive(Debug)]
    pub(crate) struct Design(pub(crate) Naive);

    impl Design {
        pub(crate) async fn place(&self, wish: Wish) -> anyhow::Result<Answer> {
            self.0.place(wish).await
        }
    }
}

/// Serves until it is told to end, and says on standard output where it listens.
pub(crate) async fn run(config: &config::Serve) -> anyhow::Result<ExitCode> {
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let url = config.database.database_url.as_ref();
    let url = url.context("DATABASE_URL: is needed")?.expose();
    let tasks = Tasks::default();
    let nodes = config.redis.lock_nodes();
    let naive = Naive::open(url, config.database.database_pool_max, &nodes, &tasks).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    http::run(listener, Design(naive), &tasks).await?;
    Ok(ExitCode::SUCCESS)
}
