//! Rules for single files: purpose, length, no ignored tests, no sleeps, no path attributes.

use crate::sources::{FOLDERS, assert_none, code, says, sources};

/// Aim for 300; the check fails at 400, so that nobody splits or inlines to please a counter.
const LINES_MAX: usize = 400;

#[test]
fn every_file_states_its_purpose_and_is_short() {
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
fn no_file_is_included_by_path() {
    let attribute = concat!("#[", "path");
    let mut breaches = Vec::new();
    for source in FOLDERS.iter().copied().flat_map(sources) {
        if code(&source.text).contains(attribute) {
            breaches.push(format!("{} includes a file by its path", source.path));
        }
    }
    assert_none(&breaches);
}

#[test]
fn support_modules_may_sleep_and_tests_may_not() {
    assert!(is_test("tests/it/cli.rs") && is_test("contention/tests/it/cli.rs"));
    assert!(!is_test("contention/tests/it/support/shop.rs"));
}
