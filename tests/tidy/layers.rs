//! The layer order: a module uses only the modules before it.

use std::{fs, path::Path};

use crate::sources::{Source, assert_none, code, is_part_of_word, sources};

/// The modules in reading order: each may use those before it and nothing else.
const LAYERS: &[&str] = &[
    "domain",
    "metrics",
    "http_client",
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
    "monitor",
    "api",
    "app",
    "main",
];

/// The same for the load runner.
const CONTENTION_LAYERS: &[&str] = &[
    "client", "history", "scenario", "args", "report", "tokens", "record", "exporter", "timeline",
    "shop", "figures", "designs", "service", "driver", "faults", "evidence", "checks", "summary",
    "usage", "notes", "watch", "run", "plan", "chaos",
];

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

/// The uses of later layers in a file.
fn layer_breaches(source: &Source) -> Vec<String> {
    if let Some(module) = source.contention_module() {
        return order_breaches(source, module, CONTENTION_LAYERS);
    }
    let Some(module) = source.module() else {
        return Vec::new();
    };
    order_breaches(source, module, LAYERS)
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
            breaches.push(format!("{path} uses {used}, a later layer"));
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

#[test]
fn a_file_uses_only_earlier_layers() {
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
}

#[test]
fn a_use_of_an_earlier_layer_is_allowed() {
    let allowed = "//! Says crate::api in a comment.\nuse crate::{domain::Id, metrics};\nconst A: &str = \"crate::api\";";
    let none = Vec::<String>::new();
    assert_eq!(planted("src/store/orders.rs", allowed), none);
    let of_runner = "use sea_orm::X;\nuse crate::driver::Load;";
    assert_eq!(planted("contention/src/checks.rs", of_runner), none);
    assert_eq!(planted("contention/src/main.rs", "use crate::plan;"), none);
}
