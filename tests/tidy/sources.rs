//! Reads source files, and strips comments and string literals from their code.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every folder with sources of ours.
pub(crate) const FOLDERS: &[&str] = &[
    "src",
    "tests",
    "entities",
    "migration",
    "contention",
    "test-support",
];

pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The top-level module of a file of the service; `None` for the crate's root.
    pub(crate) fn module(&self) -> Option<&str> {
        top_level(self.path.strip_prefix("src/")?, "lib")
    }

    /// The same for the load runner.
    pub(crate) fn contention_module(&self) -> Option<&str> {
        top_level(self.path.strip_prefix("contention/src/")?, "main")
    }
}

fn top_level<'a>(inside: &'a str, root: &str) -> Option<&'a str> {
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    (name != root).then_some(name)
}

pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    files.sort();
    let relative = |file: &PathBuf| file.strip_prefix(root).unwrap().display().to_string();
    files
        .iter()
        .map(|file| Source {
            path: relative(file),
            text: fs::read_to_string(file).unwrap(),
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code of a line: what stands before a comment and outside of quotes.
pub(crate) fn code(text: &str) -> String {
    let without = |line: &str| {
        let mut kept = String::new();
        let mut quoted = false;
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if quoted => drop(letters.next()),
                '"' => quoted = !quoted,
                '/' if !quoted && letters.peek() == Some(&'/') => break,
                _ if quoted => {}
                _ => kept.push(letter),
            }
        }
        kept
    };
    text.lines().map(without).collect::<Vec<_>>().join("\n")
}

pub(crate) fn is_part_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether the code says this word as a whole.
pub(crate) fn says(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_part_of_word) && !after.is_some_and(is_part_of_word)
    })
}

#[track_caller]
pub(crate) fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
