//! The house rules that no compiler checks: who may use whom, how long a file may be, how tests wait.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends by panicking, also in the helpers that it calls"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The modules in reading order: each may use those before it and nothing else.
const LAYERS: &[&str] = &[
    "domain",
    "metrics",
    "config",
    "telemetry",
    "tasks",
    "embedded",
    "redis",
    "lock",
    "stock_events",
    "user_events",
    "store",
    "verify",
    "cache",
    "admission",
    "sequencer",
    "payment",
    "checkout",
    "jobs",
    "api",
    "app",
    "main",
];

/// The same for the load runner.
const CONTENTION_LAYERS: &[&str] = &[
    "client", "scenario", "args", "report", "tokens", "record", "timeline", "shop", "figures",
    "designs", "service", "driver", "faults", "evidence", "checks", "summary", "usage", "notes",
    "watch", "run", "plan",
];

/// Every folder with sources of ours.
const FOLDERS: &[&str] = &[
    "src",
    "tests",
    "entities",
    "migration",
    "contention",
    "test-support",
];

/// Aim for 300: this is where a file is certainly too long.
const LINES_MAX: usize = 400;

/// A word, and the one module that may say it.
const OWNED: &[(&str, &str)] = &[
    ("sea_orm", "store"),
    ("rslock", "lock"),
    ("counter!", "metrics"),
    ("gauge!", "metrics"),
    ("histogram!", "metrics"),
    ("describe_counter!", "metrics"),
    ("describe_gauge!", "metrics"),
    ("describe_histogram!", "metrics"),
];

struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module of a file of the service; `None` for the crate's root.
    fn module(&self) -> Option<&str> {
        top_level(self.path.strip_prefix("src/")?, "lib")
    }

    /// The same for the load runner.
    fn contention_module(&self) -> Option<&str> {
        top_level(self.path.strip_prefix("contention/src/")?, "main")
    }
}

fn top_level<'a>(inside: &'a str, root: &str) -> Option<&'a str> {
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    (name != root).then_some(name)
}

fn sources(folder: &str) -> Vec<Source> {
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
fn code(text: &str) -> String {
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

fn is_part_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether the code says this word as a whole.
fn says(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_part_of_word) && !after.is_some_and(is_part_of_word)
    })
}

/// The modules that the code reaches through `crate::…`, also through `crate::{…}`.
fn used_modules(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].chars().next_back().is_some_and(is_part_of_word) {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(heads(list)),
            None => found.push(head(rest)),
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

fn head(path: &str) -> String {
    let letters = path.trim_start().chars();
    letters.take_while(|c| is_part_of_word(*c)).collect()
}

/// The first names of a `use` list, up to the brace that closes it.
fn heads(list: &str) -> Vec<String> {
    let mut found = vec![head(list)];
    let mut depth = 0_usize;
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(head(&list[at + 1..])),
            _ => {}
        }
    }
    found
}

/// What is wrong with the place of a file in the order of its crate's layers.
fn layer_breaches(source: &Source) -> Vec<String> {
    if let Some(module) = source.contention_module() {
        return order_breaches(source, module, CONTENTION_LAYERS);
    }
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let mut breaches = order_breaches(source, module, LAYERS);
    let (path, code) = (&source.path, code(&source.text));
    for (word, owner) in OWNED {
        if module != *owner && says(&code, word.trim_end_matches('!')) && code.contains(word) {
            breaches.push(format!("{path} says {word}, which only {owner} may"));
        }
    }
    breaches
}

fn order_breaches(source: &Source, module: &str, layers: &[&str]) -> Vec<String> {
    let layer = |module: &str| layers.iter().position(|layer| *layer == module);
    let path = &source.path;
    let Some(own) = layer(module) else {
        return vec![format!("{path}: no layer {module}")];
    };
    let mut breaches = Vec::new();
    for used in used_modules(&code(&source.text)) {
        if layer(&used).is_some_and(|used| used > own) {
            breaches.push(format!("{path} uses {used}, which stands to its right"));
        }
    }
    breaches
}

/// The modules of a crate's code map, in its order.
fn listed_modules(root: &str, declaration: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let map = fs::read_to_string(root).unwrap();
    map.lines()
        .filter_map(|line| line.strip_prefix(declaration)?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_file_uses_only_what_stands_to_its_left() {
    for folder in ["src", "contention/src"] {
        let sources = sources(folder);
        assert!(sources.len() > 10, "the sources are looked at");
        assert_none(&sources.iter().flat_map(layer_breaches).collect::<Vec<_>>());
    }
}

#[test]
fn the_code_map_lists_the_layers_in_order() {
    let mut service = listed_modules("src/lib.rs", "pub mod ");
    service.push("main".to_owned());
    assert_eq!(service, LAYERS);
    assert_eq!(
        listed_modules("contention/src/main.rs", "mod "),
        CONTENTION_LAYERS
    );
}

#[test]
fn every_file_opens_with_its_purpose_and_is_short() {
    let mut breaches = Vec::new();
    for source in FOLDERS.iter().copied().flat_map(sources) {
        if !source.text.starts_with("//! ") {
            breaches.push(format!("{} does not open with //!", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            breaches.push(format!(
                "{} has {lines} lines, more than {LINES_MAX}",
                source.path
            ));
        }
    }
    assert_none(&breaches);
}

#[test]
fn no_test_is_ignored_and_none_sleeps() {
    let ignored = concat!("#[", "ignore");
    let mut breaches = Vec::new();
    for source in FOLDERS.iter().copied().flat_map(sources) {
        let code = code(&source.text);
        if code.contains(ignored) {
            breaches.push(format!("{} ignores a test", source.path));
        }
        if is_test(&source.path) && says(&code, "sleep") {
            breaches.push(format!(
                "{} sleeps instead of waiting for a condition",
                source.path
            ));
        }
    }
    assert_none(&breaches);
}

/// Whether a file is a test, and not part of the machinery that waits for conditions.
fn is_test(path: &str) -> bool {
    let inside = path.strip_prefix("contention/").unwrap_or(path);
    inside.starts_with("tests/") && !inside.starts_with("tests/it/support")
}

#[test]
fn a_path_attribute_is_nowhere() {
    let attribute = concat!("#[", "path");
    let mut breaches = Vec::new();
    for source in FOLDERS.iter().copied().flat_map(sources) {
        if code(&source.text).contains(attribute) {
            breaches.push(format!("{} includes a file by its path", source.path));
        }
    }
    assert_none(&breaches);
}

fn planted(path: &str, text: &str) -> Vec<String> {
    layer_breaches(&Source {
        path: path.to_owned(),
        text: text.to_owned(),
    })
}

#[test]
fn a_use_of_a_later_layer_is_found() {
    assert_eq!(
        planted(
            "src/lock.rs",
            "use crate::{\n    domain::{Id, store},\n    store::Rows,\n};"
        )
        .len(),
        1
    );
    assert_eq!(
        planted("src/store/orders.rs", "fn f() { crate::api::problem::x() }").len(),
        1
    );
    assert_eq!(planted("src/utils.rs", "").len(), 1);
    assert_eq!(planted("contention/src/utils.rs", "").len(), 1);
    assert_eq!(
        planted("contention/src/driver/bad.rs", "use crate::checks::all;").len(),
        1
    );
    assert_eq!(planted("src/api.rs", "use sea_orm::Statement;").len(), 1);
    assert_eq!(
        planted(
            "src/api.rs",
            "use metrics::counter;\nfn f() { counter!(\"x\"); }"
        )
        .len(),
        1
    );
}

#[test]
fn a_use_of_an_earlier_layer_is_none() {
    let allowed = "//! Says crate::api in a comment.\nuse crate::{domain::Id, metrics};\nconst A: &str = \"crate::api\";";
    let none = Vec::<String>::new();
    assert_eq!(planted("src/store/orders.rs", allowed), none);
    let of_runner = "use sea_orm::X;\nuse crate::driver::Load;";
    assert_eq!(planted("contention/src/checks.rs", of_runner), none);
    assert_eq!(planted("contention/src/main.rs", "use crate::plan;"), none);
    assert!(is_test("tests/it/cli.rs") && is_test("contention/tests/it/cli.rs"));
    assert!(!is_test("contention/tests/it/support/shop.rs"));
}
