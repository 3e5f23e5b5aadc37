//! Settings of the operators' pages: the live monitor and `/metrics`.

use clap::Args;

use super::Error;
use crate::domain::Secret;

/// Shorter passwords are found by trying.
const PASSWORD_MIN: usize = 8;

#[derive(Args, Clone, Debug)]
pub struct Monitor {
    /// Password of the live monitor and of `/metrics` (HTTP basic authentication, any user name), 8
    /// bytes or more; without it anybody who reaches `OPS_ADDR` reads them. The probes need none
    #[arg(long, env, value_name = "OPS_PASSWORD", hide_env_values = true)]
    pub ops_password: Option<Secret>,

    /// Viewers of the live monitor at once; further ones get 503. Fewer if the limit of open files
    /// has no room for them
    #[arg(long, env, value_name = "MONITOR_VIEWERS_MAX", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub monitor_viewers_max: u32,
}

impl Monitor {
    pub fn check(&self) -> Result<(), Error> {
        match &self.ops_password {
            Some(password) if password.expose().trim().len() < PASSWORD_MIN => {
                Err(Error::ShortPassword)
            }
            Some(_) | None => Ok(()),
        }
    }
}
