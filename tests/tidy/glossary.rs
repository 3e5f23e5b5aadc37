//! Glossary check: retired words do not come back, in code, comments, scripts or docs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::sources::assert_none;

/// Beginnings of words. Written in two parts, so that this file passes its own check.
const RETIRED_PREFIXES: &[&str] = &[
    concat!("wi", "sh"),
    concat!("ver", "dict"),
    concat!("te", "nd"),
    concat!("kno", "ck"),
    concat!("after", "math"),
];
/// Whole words.
const RETIRED_WORDS: &[&str] = &[concat!("fa", "te"), concat!("who", "ever")];
const ENDINGS: &[&str] = &[
    "rs", "md", "toml", "yml", "yaml", "json", "lua", "sh", "py", "js", "jsx", "mjs", "css", "html",
];

/// The text files of the repository, as far as people wrote them.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [
        "src",
        "tests",
        "entities",
        "migration",
        "contention",
        "test-support",
        "docs",
        "grafana",
        "prometheus",
        "deploy",
        "scripts",
        "storefront",
        "monitor",
        ".ci",
    ] {
        collect(&root.join(folder), &mut files);
    }
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_some_and(|ending| ending == "md") {
            files.push(path);
        }
    }
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        Some((name, fs::read_to_string(path).ok()?))
    };
    files.into_iter().filter_map(read).collect()
}

/// Scripts have no ending.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().map(|ending| ending.to_string_lossy());
        if path.is_dir() {
            collect(&path, files);
        } else if ending.is_none_or(|ending| ENDINGS.contains(&&*ending)) {
            files.push(path);
        }
    }
}

fn words(line: &str) -> impl Iterator<Item = String> {
    let separates = |letter: char| !letter.is_alphanumeric();
    line.split(separates).map(str::to_lowercase)
}

fn retired(line: &str) -> Option<String> {
    words(line).find(|word| {
        RETIRED_PREFIXES
            .iter()
            .any(|prefix| word.starts_with(prefix))
            || RETIRED_WORDS.contains(&word.as_str())
    })
}

#[test]
fn no_retired_word_is_used() {
    let texts = texts();
    assert!(texts.len() > 300, "only {} files were read", texts.len());
    let mut breaches = Vec::new();
    for (name, text) in &texts {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = retired(line) {
                breaches.push(format!("{name}:{number} uses the retired word {word}"));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn a_retired_word_is_found() {
    let plural = concat!("The wi", "shes of a batch");
    assert!(retired(plural).is_some());
    assert!(retired("extended intentions and a swishing sound").is_none());
}
