//! Python programs of the tests, which `scripts/python-package` installs.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// The command of a program of an installed package.
///
/// # Panics
/// Unless the package is installed.
pub(crate) fn command(package: &str, program: &str) -> Command {
    let folder = std::env::var_os("FLASH_SALE_TEST_PYTHON").map_or_else(
        || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../python"),
        PathBuf::from,
    );
    let path = folder.join(package).join("bin").join(program);
    assert!(
        path.exists(),
        "{} is missing: run the tests with scripts/test, which installs it",
        path.display()
    );
    Command::new(path)
}

/// Starts a server of an installed package by Python code that gets its port as the argument.
pub(crate) fn serve(package: &str, code: &str, port: u16) -> Child {
    command(package, "python")
        .args(["-c", code, &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
