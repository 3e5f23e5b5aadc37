//! Lists the files of `scenarios/` for embedding, so that a new scenario needs only a file.

use std::{
    env, fs,
    io::{self, Error, Write},
    path::PathBuf,
};

fn main() -> io::Result<()> {
    // At run time: a target folder that two checkouts share keeps the program of the first one.
    let folder = variable("CARGO_MANIFEST_DIR")?.join("scenarios");
    let out = variable("OUT_DIR")?;
    let mut files = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    let items = files.iter().map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = file.display().to_string();
        format!("({name:?}, include_str!({path:?})),\n")
    });
    let list = format!("&[\n{}]\n", items.collect::<String>());
    fs::write(out.join("scenarios.rs"), list)?;
    writeln!(io::stdout(), "cargo::rerun-if-changed={}", folder.display())
}

fn variable(name: &str) -> io::Result<PathBuf> {
    let value = env::var_os(name).ok_or_else(|| Error::other(format!("{name} is not set")))?;
    Ok(PathBuf::from(value))
}
