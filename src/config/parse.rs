//! Command-line parser; `serve` is the default command.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches};

use super::Cli;

/// A command line without a command to run: it is invalid, or requests help or the version.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// Prints the requested help, or the error in one line.
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

/// Parses the command line and the environment. `serve` is the default command, also when its
/// flags come first.
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
        command = command.after_help(format!("The default command is `serve`:\n\n{settings}"));
    }
    let matches = command.try_get_matches_from(arguments).map_err(Refusal)?;
    Cli::from_arg_matches(&matches).map_err(Refusal)
}
