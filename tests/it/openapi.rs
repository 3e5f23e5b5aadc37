//! The API does what `/openapi.json` says: checked by schemathesis, and by a generated client that buys.

use std::{path::Path, process::Command};

use serde_json::json;

use crate::support::{
    python,
    shop::{Backend, Shop},
    tokens,
};

/// Valid, invalid and chained requests to every operation, each answer checked against the document
/// (status, media type, headers, schema). The event streams never end, so that schemathesis cannot
/// read them; `streams_answer_as_documented` does.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_contradiction() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.sold_out().await;
    service
        .order_or_wait("the-admin", product, 1)
        .send()
        .await
        .success(202);
    let terms = json!({ "hold_seconds": 600, "sku": "reservable" });
    let reservable = service.product(5, terms).await;
    service.buy("the-admin", reservable, 1).await.success(201);
    let folder = tempfile::tempdir().unwrap();

    let mut command = python::command("schemathesis", "schemathesis");
    command
        .args(["--config-file", &file("schemathesis.toml")])
        .args(["run", &format!("{}/openapi.json", service.url)])
        .args(["-H", &format!("Authorization: Bearer {}", tokens::admin())])
        .args(["--max-examples", "25"])
        .args(["--exclude-operation-id", "watchStock"])
        .args(["--exclude-operation-id", "watchOwnOrders"])
        .args(["--generation-deterministic", "--no-color"])
        .args(["--continue-on-failure", "--request-timeout", "10"])
        // It writes a cache into its working directory.
        .current_dir(folder.path());
    let report = run(command).await;

    assert!(report.contains("passed"), "{report}");
}

/// An ordinary generator makes a client from the document; it compiles, buys, and reads a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_buys() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let folder = tempfile::tempdir().unwrap();
    let document = service.get("/openapi.json").send().await.success(200);
    let source = folder.path().join("openapi.json");
    std::fs::write(&source, document.to_string()).unwrap();
    let client = folder.path().join("client");

    let mut command = python::command("openapi-python-client", "openapi-python-client");
    command.arg("generate").arg("--path").arg(&source);
    command.arg("--output-path").arg(&client);
    command.args([
        "--meta",
        "none",
        "--fail-on-warning",
        "--config",
        &file("generator.yaml"),
    ]);
    run(command).await;
    let package = folder.path().join("flash_sale_client");
    std::fs::rename(&client, &package).unwrap();
    let mut command = python::command("openapi-python-client", "python");
    command.args(["-m", "compileall", "-q"]).arg(&package);
    run(command).await;
    let mut command = python::command("openapi-python-client", "python");
    command
        .arg(file("buy.py"))
        .arg(folder.path())
        .arg(&service.url);
    command.args([tokens::admin(), tokens::user("ann")]);
    let bought = run(command).await;

    assert!(bought.contains("bought FS-"), "{bought}");
}

#[tokio::test]
async fn streams_answer_as_documented() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let document = service.get("/openapi.json").send().await.success(200);
    let product = service.product(1, json!({})).await;
    let (stock, own) = ("/products/{id}/events", "/me/events");
    let path = format!("/products/{product}/events");
    let unknown = format!("/products/{}/events", uuid::Uuid::now_v7());
    let user = tokens::user("ann");

    for (template, path, token, status) in [
        (stock, path.as_str(), None, 200),
        (stock, &format!("{path}?fast=1"), None, 422),
        (stock, &unknown, None, 404),
        (own, own, Some(&user), 200),
        (own, own, None, 401),
    ] {
        let mut call = service.get(path);
        if let Some(token) = token {
            call = call.bearer(token);
        }
        let answer = call.stream().await;
        assert_eq!(answer.status(), status, "{path}");
        let described = &document["paths"][template]["get"]["responses"][status.to_string()];
        let media_type = answer.headers()["content-type"].to_str().unwrap();
        assert!(
            described["content"].get(media_type).is_some(),
            "{path}: {media_type} is not in {described}"
        );
    }
}

/// A file of the folder `openapi` beside this one.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi");
    folder.join(name).display().to_string()
}

/// What the command prints.
///
/// # Panics
/// When it fails.
async fn run(mut command: Command) -> String {
    let finished = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = finished.await.unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{printed}");
    printed
}
