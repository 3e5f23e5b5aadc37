//! Writes the report as a JSON file, for other programs.
//!
//! Files are written to a temporary name and then renamed, so that a reader never gets a part.

use std::{ffi::OsString, fs, path::Path};

use anyhow::Context;

use super::Report;

/// Writes the report to `path` and replaces an existing file.
pub(crate) fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    replace(path, &text)
}

/// Replaces a file atomically.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written.with_context(|| format!("{}: cannot be written", path.display()))
}
