//! From the command line to a command; `serve` when none is named.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches};

use super::Cli;

/// Why the command line gave no command: wrong, or a question for help.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// Prints the help that was asked for, or what is wrong in one line.
    pub fn tell(&self) -> ExitCode {
        if self.0.use_stderr() {
            let text = self.0.to_string();
            let line = text.lines().next().unwrap_or_default();
            drop(writeln!(io::stderr(), "{line}"));
            return ExitCode::from(2);
        }
        drop(self.0.print());
        ExitCode::SUCCESS
    }
}

/// Reads the command line and the environment. `serve` is the command when none is named, also
/// with flags of its own.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Cli, Refusal> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let first = arguments.get(1).and_then(|first| first.to_str());
    let names_command = first.is_some_and(|first| {
        matches!(first, "-h" | "--help" | "-V" | "--version" | "help")
            || Cli::command().find_subcommand(first).is_some()
    });
    if !names_command {
        arguments.insert(1.min(arguments.len()), OsString::from("serve"));
    }
    let mut command = Cli::command();
    if let Some(serve) = command.find_subcommand_mut("serve") {
        let settings = serve.render_long_help().to_string();
        command = command.after_help(format!("Without a command it serves:\n\n{settings}"));
    }
    let matches = command.try_get_matches_from(arguments).map_err(Refusal)?;
    Cli::from_arg_matches(&matches).map_err(Refusal)
}
