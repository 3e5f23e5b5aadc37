//! Service processes: a clean environment, and the addresses that a service prints at its start.

use std::{
    env, fs,
    path::Path,
    process::{ChildStdout, Command},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process,
    time::timeout_at,
};

/// Includes migrations and a cold disk.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Lines of a log that an error message shows.
const LOG_LINES_MAX: usize = 30;

/// Standard output of a service after the lines that were read.
pub type Output = Lines<BufReader<process::ChildStdout>>;

/// Clears the environment except `PATH`, so that the caller's settings do not reach a service.
pub fn clear_environment(command: &mut Command) -> &mut Command {
    command.env_clear();
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Reads standard output until a line with each prefix has arrived, such as `listening on `, and
/// returns what follows the prefixes.
///
/// # Errors
/// With the end of the log, when another line comes, the process ends, or too much time passes.
pub async fn announced<const N: usize>(
    stdout: ChildStdout,
    prefixes: [&str; N],
    log: &Path,
) -> anyhow::Result<([String; N], Output)> {
    let stdout = process::ChildStdout::from_std(stdout).context("cannot read the output")?;
    let mut stdout = BufReader::new(stdout).lines();
    let deadline = tokio::time::Instant::now() + STARTS_WITHIN;
    let mut found = [const { None }; N];
    while found.iter().any(Option::is_none) {
        let line = timeout_at(deadline, stdout.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        let mut places = found.iter_mut().zip(prefixes);
        let place = places.find_map(|(place, prefix)| {
            let rest = line.as_deref()?.strip_prefix(prefix)?;
            place.is_none().then(|| (place, rest.to_owned()))
        });
        match place {
            Some((place, rest)) => *place = Some(rest),
            None => bail!(
                "the service did not start: it printed {line:?}; its log ends: {}",
                end_of(log)
            ),
        }
    }
    Ok((found.map(Option::unwrap_or_default), stdout))
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().rev().take(LOG_LINES_MAX).collect();
    lines.reverse();
    lines.join("\n")
}
