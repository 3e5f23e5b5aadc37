//! Prints tokens for many buyers, so that the benchmark has as many users as a real drop.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use flash_sale::domain::Secret;
use test_support::tokens;

/// Longer than any run of the benchmark.
const TTL: Duration = Duration::from_hours(24);

#[derive(clap::Args, Debug)]
pub(super) struct Tokens {
    #[arg(long)]
    count: usize,

    /// The `AUTH_SECRET` of the service
    #[arg(long)]
    secret: Secret,
}

impl Tokens {
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout());
        for number in 1..=self.count {
            let user = format!("buyer-{number}");
            let token = tokens::buyer(self.secret.expose(), &user, TTL)?;
            writeln!(out, "{token}")?;
        }
        Ok(out.flush()?)
    }
}
