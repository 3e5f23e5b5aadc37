//! A page in a browser, and what holds for every page of the service: its weight, and that
//! everybody can use it.

use serde_json::{Value, json};
use test_support::browser::{Browser, Tab, Theme};

/// The bytes of a page with all that it loads.
const WEIGHT_MAX: u64 = 150_000;

/// The bytes that the first load took from the network, with the heads of the answers.
const WEIGHT: &str =
    "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .reduce((sum, entry) => sum + entry.transferSize, 0)";

/// Names that several buttons have: who goes through a list of them cannot tell which is which.
const NAMESAKES: &str = "[...document.querySelectorAll('button')]
    .filter(button => button.checkVisibility()).map(button => button.getAttribute('aria-label') ?? button.innerText)
    .filter((name, at, names) => names.indexOf(name) !== at)";

/// A tab whose failures end the test, with the text of the page.
#[derive(Clone, Debug)]
pub(crate) struct Page(Tab);

impl Page {
    pub(crate) async fn open(browser: &Browser, url: &str) -> Self {
        Self(browser.open(url).await.unwrap())
    }

    pub(crate) async fn reload(&self) {
        self.0.reload().await.unwrap();
    }

    /// The value of an expression; a promise is awaited.
    pub(crate) async fn run(&self, expression: &str) -> Value {
        self.0.run(expression).await.unwrap()
    }

    /// Waits until an expression is true, where no selector says it.
    pub(crate) async fn until(&self, expression: &str) {
        self.0.until(expression).await.unwrap();
    }

    pub(crate) async fn sees(&self, selector: &str) {
        self.0.sees(selector).await.unwrap();
    }

    pub(crate) async fn misses(&self, selector: &str) {
        self.0.misses(selector).await.unwrap();
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.0.click(selector).await.unwrap();
    }

    pub(crate) async fn choose(&self, selector: &str, option: &str) {
        self.0.choose(selector, option).await.unwrap();
    }

    pub(crate) async fn press(&self, key: &str) {
        self.0.press(key).await.unwrap();
    }

    pub(crate) async fn lose_answer(&self, selector: &str, address: &str) {
        self.0.lose_answer(selector, address).await.unwrap();
    }

    pub(crate) async fn set_width(&self, width: u32) {
        self.0.set_width(width).await.unwrap();
    }

    pub(crate) async fn assert_light(&self) {
        let weight = self.run(WEIGHT).await;
        let weight = weight.as_u64().unwrap();
        assert!((10_000..WEIGHT_MAX).contains(&weight), "{weight} bytes");
    }

    /// Checks the page as it is, in both themes, with axe-core.
    pub(crate) async fn assert_accessible(&self) {
        for theme in [Theme::Dark, Theme::Light] {
            self.0.set_theme(theme).await.unwrap();
            let found = self.0.violations().await.unwrap();
            assert_eq!(found, [""; 0], "{theme:?}");
        }
        assert_eq!(self.run(NAMESAKES).await, json!([]));
    }
}
