//! The storefront's files: who gets them, their headers and their size; and the client's own tests.

use std::process::Command;

use flash_sale::domain::Code;

use super::shop;
use crate::support::{
    repository,
    shop::{Backend, Shop},
    tokens,
};

/// The page with everything that it loads.
const WEIGHT_MAX: usize = 150 * 1024;

/// The addresses in the attributes of a page, of its own files.
fn linked(page: &str) -> Vec<String> {
    let attributes = page
        .split('"')
        .filter(|text| text.starts_with("/storefront/"));
    let mut files: Vec<String> = attributes.map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

#[tokio::test]
async fn the_files_are_small_and_load_nothing_but_themselves() {
    let shop = shop().await;
    let front = shop.service();
    let page = front.get("/").send().await;
    let files = linked(&String::from_utf8(page.body.clone()).unwrap());
    assert!(files.len() > 5, "{files:?}");

    let mut answers = vec![("/".to_owned(), page)];
    for file in files {
        let answer = front.get(&file).send().await;
        answers.push((file, answer));
    }

    let mut weight = 0;
    for (file, answer) in &answers {
        assert_eq!(answer.status, 200, "{file}");
        weight += answer.body.len();
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';"),
            "{file}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{file}: {policy}");
        assert!(
            !policy.contains("http") && !policy.contains('*'),
            "{file}: {policy}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff", "{file}");
        assert_eq!(header("cache-control"), "no-cache", "{file}");
        let ending = file.rsplit_once('.').map_or("html", |(_, ending)| ending);
        let expected = match ending {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(header("content-type"), expected, "{file}");
    }
    assert!(weight < WEIGHT_MAX, "{weight} bytes");
    for other in [
        "/storefront",
        "/storefront/README.md",
        "/storefront/..%2fCargo.toml",
    ] {
        front.get(other).send().await.refusal(404, "not_found");
    }
    front
        .post("/")
        .send()
        .await
        .refusal(405, "method_not_allowed");
}

#[tokio::test]
async fn without_demo_there_is_no_page_and_no_bank() {
    let shop = Shop::open(Backend::Sqlite).await;
    let front = shop.service();

    for path in ["/", "/storefront/shop.js", "/storefront/flash-sale.js"] {
        front.get(path).send().await.refusal(404, "not_found");
    }
    let bank = front.post("/guest-authentications");
    let bank = bank.bearer(&tokens::user("ann"));
    bank.send().await.refusal(404, "not_found");
}

/// On answers that a small server gives or drops, and on a real service.
#[tokio::test]
async fn the_tests_of_the_client_pass() {
    let shop = shop().await;
    let url = shop.service().url.clone();
    let codes: Vec<&str> = Code::all().map(Code::name).collect();
    let run = tokio::task::spawn_blocking(move || {
        let mut node = Command::new("node");
        node.args(["--test", "tests/words.test.js", "tests/calls.test.js"])
            .args(["tests/streams.test.js", "tests/service.test.js"])
            .current_dir(repository("storefront"))
            .env("FLASH_SALE_URL", url)
            .env("FLASH_SALE_CODES", codes.join(","))
            .env("FLASH_SALE_ADMIN", tokens::admin());
        node.output()
    });
    let run = run.await.unwrap();
    let run = run.expect("node is not installed: run ./scripts/test");
    let report = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{report}");
    assert!(report.contains("# skipped 0"), "{report}");
}
