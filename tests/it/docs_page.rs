//! API documentation: `/openapi.json` and the page `/docs`.

use std::collections::BTreeSet;

use flash_sale::domain::Code;
use serde_json::Value;
use test_support::browser::Browser;

use crate::support::{
    front::Front,
    page::Page,
    shop::{Backend, Shop},
};

const CALLS: &[(&str, &[&str])] = &[
    ("/orders", &["get", "post"]),
    ("/orders/{id}", &["get"]),
    ("/products", &["get", "post"]),
    ("/products/{id}", &["get", "patch", "delete"]),
    ("/products/{id}/restock", &["post"]),
    ("/products/{id}/availability", &["get"]),
    ("/products/{id}/events", &["get"]),
    ("/audit", &["get"]),
    ("/me/events", &["get"]),
    ("/me/events/ticket", &["post"]),
    ("/health", &["get"]),
    ("/health/live", &["get"]),
    ("/health/ready", &["get"]),
];

#[tokio::test]
async fn the_openapi_document_describes_every_call() {
    let shop = Shop::open(Backend::Sqlite).await;

    let document = shop
        .service()
        .get("/openapi.json")
        .send()
        .await
        .success(200);

    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        document["openapi"]
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for (path, methods) in CALLS {
        let described = document["paths"][path].as_object();
        let described = described.unwrap_or_else(|| panic!("{path} is missing"));
        for method in *methods {
            let responses = described[*method]["responses"].as_object();
            let responses = responses.unwrap_or_else(|| panic!("{method} {path} is missing"));
            let success = |status: &String| status.starts_with('2');
            assert!(
                responses.keys().any(success),
                "{method} {path} describes no success"
            );
        }
    }
    let order = &document["paths"]["/orders"]["post"]["responses"];
    for status in [
        "201", "400", "401", "404", "409", "413", "415", "422", "429", "503",
    ] {
        assert!(
            order.get(status).is_some(),
            "POST /orders does not describe {status}"
        );
    }
    assert_references_resolve(&document, &document);
}

/// The codes of the document are those of `domain::Code`, each under the status that it is sent with.
#[tokio::test]
async fn the_openapi_document_lists_the_codes_under_their_statuses() {
    let shop = Shop::open(Backend::Sqlite).await;
    let answer = shop.service().get("/openapi.json").send().await;
    let document = answer.success(200);

    let listed = document["components"]["schemas"]["Code"]["enum"].clone();
    let listed: BTreeSet<String> = serde_json::from_value(listed).unwrap();
    assert_eq!(listed, Code::all().map(|code| code.to_string()).collect());

    let mut of_orders = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let description = response["description"].as_str().unwrap_or_default();
                let codes = description
                    .split(", ")
                    .filter_map(|it| it.parse::<Code>().ok());
                for code in codes {
                    let sent = code.status().to_string();
                    assert_eq!(*status, sent, "{code} of {method} {path}");
                    if (method.as_str(), path.as_str()) == ("post", "/orders") {
                        of_orders.insert(code.to_string());
                    }
                }
            }
        }
    }
    let expected = Code::all().filter(|code| code.refuses_orders());
    assert_eq!(of_orders, expected.map(|code| code.to_string()).collect());
}

/// Generators name their functions by the ids, and show the descriptions.
#[tokio::test]
async fn every_call_has_an_id_of_its_own_and_every_answer_a_description() {
    let shop = Shop::plan(Backend::Sqlite).flag("--demo").open().await;
    let answer = shop.service().get("/openapi.json").send().await;
    let document = answer.success(200);

    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} names two calls");
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses {
                let context = format!("{status} of {method} {path}");
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{context}");
                let problem = &response["content"]["application/problem+json"];
                assert_eq!(
                    problem.is_object(),
                    status.starts_with(['4', '5']),
                    "{context}"
                );
            }
            let has = |status: &str| responses.contains_key(status);
            assert_eq!(
                has("401"),
                operation["security"].is_array(),
                "{method} {path}"
            );
            let has_body = operation["requestBody"].is_object();
            for status in ["408", "413", "415"] {
                assert_eq!(has(status), has_body, "{status} of {method} {path}");
            }
            assert!(has("422") && has("429") && has("503"), "{method} {path}");
        }
    }
}

/// Every `$ref` of the document resolves within it.
fn assert_references_resolve(document: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} does not resolve"
                );
            }
            for member in members.values() {
                assert_references_resolve(document, member);
            }
        }
        Value::Array(items) => {
            for item in items {
                assert_references_resolve(document, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The page in a browser, which loads only the service's own scripts and styles.
#[tokio::test]
async fn a_browser_renders_the_documented_calls() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();

    let browser = Browser::start().unwrap();
    let url = format!("{}{}", service.url, docs_path(service).await);
    let page = Page::open(&browser, &url).await;

    for path in ["/orders", "/products", "/health"] {
        page.sees(&format!("text={path}")).await;
    }
    let html = page.run("document.documentElement.outerHTML").await;
    let foreign = foreign_assets(html.as_str().unwrap(), &service.url);
    assert_eq!(foreign, BTreeSet::new());
    let requests = browser.requests().await.unwrap();
    let own = |address: &String| address.starts_with(&service.url);
    assert!(
        requests.len() > 2 && requests.iter().all(own),
        "{requests:?}"
    );
}

/// `/docs`, or the target of its redirect.
async fn docs_path(front: &Front) -> String {
    let answer = front.get("/docs").send().await;
    match answer.status {
        200 => "/docs".to_owned(),
        300..400 => answer.header("location").unwrap().to_owned(),
        _ => panic!("{answer:?}"),
    }
}

/// URLs on other hosts in `src`, and in `href` of a style or icon.
fn foreign_assets(page: &str, own: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for tag in page.split('<').filter(|tag| {
        ["script", "link", "img", "iframe"]
            .iter()
            .any(|name| tag.starts_with(name))
    }) {
        for attribute in ["src=\"", "href=\""] {
            let Some((_, rest)) = tag.split_once(attribute) else {
                continue;
            };
            let address = rest.split('"').next().unwrap_or_default();
            let absolute = address.contains("://") || address.starts_with("//");
            if absolute && !address.starts_with(own) {
                found.insert(address.to_owned());
            }
        }
    }
    found
}

#[test]
fn foreign_assets_are_detected() {
    let own = "http://127.0.0.1:1";
    let page = r#"<script src="https://cdn.example/x.js"></script><link href="//fonts.example/a">
        <img src="/own.png"><script src="http://127.0.0.1:1/a.js"></script>"#;
    let found = foreign_assets(page, own);
    assert_eq!(found.len(), 2, "{found:?}");
}
