//! Settings from the environment: an empty variable counts as unset, and `NAME_FILE` names a file
//! that holds the value of the secret setting `NAME`.
//!
//! Every setting that hides its value in `--help` is a secret and can be read from a file.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{Arg, Command, builder::Resettable};

/// A command whose empty variables are ignored, and the arguments that secret files add.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) command: Command,
    pub(super) arguments: Vec<OsString>,
}

impl Environment {
    /// Reads the variables of the subcommand `name`.
    ///
    /// # Errors
    /// One line that names the variable, when a secret's file cannot be used.
    pub(super) fn read(command: Command, name: &str, given: &[OsString]) -> Result<Self, String> {
        let mut arguments = Vec::new();
        let mut problem = None;
        let command = command.mut_subcommand(name, |subcommand| {
            subcommand.mut_args(|arg| {
                let (arg, found) = resolve(arg, given);
                match found {
                    Ok(argument) => arguments.extend(argument),
                    Err(error) => drop(problem.get_or_insert(error)),
                }
                arg
            })
        });
        match problem {
            Some(problem) => Err(problem),
            None => Ok(Self { command, arguments }),
        }
    }
}

/// Adds to the help of each secret the variable that names its file.
pub(super) fn with_files_of_secrets(command: Command) -> Command {
    command.mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| {
            let (Some(help), Some(file)) = (arg.get_help(), file_variable(&arg)) else {
                return arg;
            };
            let help = format!("{help}. Or the path of its file in {file}");
            arg.help(help)
        })
    })
}

/// `NAME_FILE` of a secret.
fn file_variable(arg: &Arg) -> Option<String> {
    let name = arg.get_env().and_then(OsStr::to_str)?;
    arg.is_hide_env_values_set().then(|| format!("{name}_FILE"))
}

/// The argument without its variable if that is empty, and the flag that its secret's file stands
/// for. A flag of the command line wins over both.
fn resolve(arg: Arg, given: &[OsString]) -> (Arg, Result<Option<OsString>, String>) {
    let Some(name) = arg.get_env().and_then(OsStr::to_str).map(str::to_owned) else {
        return (arg, Ok(None));
    };
    let variable = env::var_os(&name);
    let is_set = variable.as_ref().is_some_and(|value| !value.is_empty());
    let file = file_variable(&arg);
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let lists = arg.get_value_delimiter().is_some();
    let arg = if variable.is_some() && !is_set {
        arg.env(Resettable::Reset)
    } else {
        arg
    };
    let found = file.map_or(Ok(None), |file| {
        let path = env::var_os(&file).filter(|path| !path.is_empty());
        match path {
            None => Ok(None),
            Some(_) if is_set => Err(format!("{name}: {file} is set too; set one of them")),
            Some(_) if is_given(&flag, given) => Ok(None),
            Some(path) => value_of(Path::new(&path), lists)
                .map(|value| Some(OsString::from(format!("{flag}={value}"))))
                .map_err(|reason| format!("{file}: {reason}")),
        }
    });
    (arg, found)
}

fn is_given(flag: &str, given: &[OsString]) -> bool {
    given
        .iter()
        .filter_map(|argument| argument.to_str())
        .any(|argument| {
            argument
                .strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
}

/// The text of the file without the white space around it; a list may have one item a line.
fn value_of(path: &Path, lists: bool) -> Result<String, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    if lists {
        let items: Vec<&str> = text.lines().map(str::trim).collect();
        return Ok(items.join(",").replace(",,", ","));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_with_and_without_its_value() {
        let given = |argument: &str| [OsString::from(argument)];
        assert!(is_given("--redis-url", &given("--redis-url")));
        assert!(is_given("--redis-url", &given("--redis-url=redis://x")));
        assert!(!is_given("--redis-url", &given("--redis-urls=x")));
    }

    #[test]
    fn a_file_of_a_list_has_commas_or_lines() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("urls");
        for text in ["a,b,c\n", "a\nb\nc\n", "a,\nb,\n c\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(value_of(&path, true), Ok("a,b,c".to_owned()), "{text:?}");
        }
        std::fs::write(&path, " \n").unwrap();
        assert!(value_of(&path, false).is_err());
    }
}
