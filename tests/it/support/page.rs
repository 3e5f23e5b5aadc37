//! What holds for every page of the service: its weight, and that everybody can use it.

use serde_json::Value;
use test_support::browser::driven::{Browser, Tab, Theme};

use super::python;

/// The bytes of a page with all that it loads.
const WEIGHT_MAX: u64 = 150_000;

/// The bytes that the first load took from the network, with the heads of the answers.
const WEIGHT: &str =
    "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .reduce((sum, entry) => sum + entry.transferSize, 0)";

/// The rules of axe that the page breaks in a way that keeps people from using it.
const VIOLATIONS: &str =
    "axe.run(document, { resultTypes: ['violations'] }).then(result => result.violations
    .filter(rule => ['serious', 'critical'].includes(rule.impact))
    .map(rule => `${rule.id}: ${rule.nodes.map(node => node.html).join(' ')}`))";

/// Names that several buttons have: who goes through a list of them cannot tell which is which.
const NAMESAKES: &str = "[...document.querySelectorAll('button')]
    .filter(button => button.checkVisibility()).map(button => button.getAttribute('aria-label') ?? button.innerText)
    .filter((name, at, names) => names.indexOf(name) !== at)";

pub(crate) async fn assert_light(browser: &mut Browser, tab: &Tab) {
    let weight = browser.run(tab, WEIGHT).await.unwrap();
    let weight = weight.as_u64().unwrap();
    assert!((10_000..WEIGHT_MAX).contains(&weight), "{weight} bytes");
}

/// Checks the page as it is, in both themes, with axe-core.
pub(crate) async fn assert_accessible(browser: &mut Browser, tab: &Tab) {
    browser.run(tab, &axe()).await.unwrap();
    for theme in [Theme::Light, Theme::Dark] {
        browser.set_theme(tab, theme).await.unwrap();
        let found = browser.run(tab, VIOLATIONS).await.unwrap();
        assert_eq!(found, Value::Array(Vec::new()), "{theme:?}");
    }
    let namesakes = browser.run(tab, NAMESAKES).await.unwrap();
    assert_eq!(namesakes, Value::Array(Vec::new()));
}

/// The script, which a Python package ships.
fn axe() -> String {
    let print = "import pathlib, axe_core_python as axe
print((pathlib.Path(axe.__file__).parent / 'axe.min.js').read_text())";
    let mut python = python::command("axe-core-python", "python");
    let printed = python.args(["-c", print]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    // The value of the script would be sent back.
    format!("{};0", String::from_utf8(printed.stdout).unwrap())
}
