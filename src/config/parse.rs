//! Command-line parser; `serve` is the default command.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

use super::{
    Cli,
    environment::{self, Environment},
};

/// A command line without a command to run: it is invalid, or requests help or the version.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// Prints the requested help, or the error in one line.
    pub fn tell(&self) -> ExitCode {
        if self.0.use_stderr() {
            let text = self.0.to_string();
            drop(writeln!(io::stderr(), "{}", first_paragraph(&text)));
            return ExitCode::from(2);
        }
        drop(self.0.print());
        ExitCode::SUCCESS
    }
}

/// The error in one line: clap puts the possible values and missing arguments on lines of their
/// own, and tips and the usage after an empty line.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    lines.join(" ")
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
    let command = with_settings(environment::with_files_of_secrets(Cli::command()));
    let subcommand = arguments.get(1).and_then(|name| name.to_str());
    let command = match subcommand.filter(|name| command.find_subcommand(name).is_some()) {
        Some(name) => {
            let read = Environment::read(command, name, &arguments);
            let mut environment = read.map_err(refuse)?;
            // After the name of the subcommand.
            arguments.splice(2..2, environment.arguments.drain(..));
            environment.command
        }
        None => command,
    };
    let matches = command.try_get_matches_from(arguments).map_err(Refusal)?;
    Cli::from_arg_matches(&matches).map_err(Refusal)
}

/// Shows the settings of `serve` in the general help too.
fn with_settings(command: clap::Command) -> clap::Command {
    let mut built = command.clone();
    // Otherwise the usage would lack the program's name.
    built.build();
    let settings = built
        .find_subcommand_mut("serve")
        .map(|serve| serve.render_long_help().to_string())
        .unwrap_or_default();
    command
        .override_usage("flash-sale [COMMAND] [OPTIONS]")
        .after_help(format!("The default command is `serve`:\n\n{settings}"))
}

fn refuse(line: String) -> Refusal {
    Refusal(clap::Error::raw(ErrorKind::ValueValidation, line))
}
