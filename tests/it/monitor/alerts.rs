//! The alerts of a real Alertmanager on the page: which of them, in which order, and that none are
//! known while it does not answer.

use serde_json::{Value, json};
use test_support::browser::Browser;

use crate::support::{alertmanager::Alertmanager, in_seconds};

use super::{plan, watch};

/// Alerts that the page shows.
const SHOWN_MAX: usize = 10;

/// Alerts beside the first, as when every node of a large shop fails: megabytes.
const OTHERS: usize = 3_000;

/// As Prometheus sends it; `ends` as seconds from now.
fn alert(name: &str, severity: &str, ends: i64) -> Value {
    json!({
        "labels": { "alertname": name, "severity": severity, "instance": "node-1:9464", "product": "seat" },
        "annotations": { "summary": format!("It is <b>{severity}</b>"), "runbook_url": format!("https://runbooks.example/#{name}") },
        "startsAt": in_seconds(-90),
        "endsAt": in_seconds(ends),
    })
}

#[tokio::test]
async fn the_alerts_that_fire_are_shown_first_and_a_dead_alertmanager_is_no_silence() {
    let mut alertmanager = Alertmanager::start().await;
    let url = format!("http://ops:correct-horse@{}", alertmanager.address);
    let shop = plan().set("ALERTMANAGER_URL", &url).open().await;
    let browser = Browser::start().unwrap();
    let page = watch(&browser, &shop, "").await;
    let calm = tile("0", "none firing");
    page.sees(&calm).await;
    page.misses("#alerts").await;

    let mut alerts = vec![
        alert("FlashSaleLockDegraded", "page", 600),
        // Follows from the one above, which inhibits it.
        alert("FlashSaleLockNodeDown", "ticket", 600),
    ];
    alerts.extend((0..OTHERS).map(|number| alert(&format!("<i>{number}</i>"), "ticket", 600)));
    alerts[2]["annotations"]["runbook_url"] = json!("javascript:alert(1)");
    alertmanager.post(&json!(alerts)).await;

    page.sees(&tile("3,001", "firing")).await;
    let first = "#alerts li:first-child";
    for shown in [
        "[data-tone=bad] .badge:text-is('page')",
        " b:text-is('FlashSaleLockDegraded')",
        " p:text-is('It is <b>page</b>')",
        " .where:has-text('seat · node-1:9464')",
        " time:text-matches('^for 1 min \\\\d+ s$')",
        " a[href^='https://runbooks.example/#Flash']:text-is('Runbook')",
    ] {
        page.sees(&format!("{first}{shown}")).await;
    }
    page.sees(&format!(":nth-match(#alerts li, {SHOWN_MAX})"))
        .await;
    page.sees("#alerts-more:text-is('and 2991 more')").await;
    for absent in [
        &format!(":nth-match(#alerts li, {})", SHOWN_MAX + 1),
        "#alerts li:not(:first-child)[data-tone=bad]",
        "#alerts li:has-text('LockNodeDown')",
        "#alerts :is(i, b b, [href^=java])",
    ] {
        page.misses(absent).await;
    }
    let is_first = "alerts.compareDocumentPosition(tiles) & Node.DOCUMENT_POSITION_FOLLOWING";
    page.until(is_first).await;
    page.assert_accessible().await;

    for alert in &mut alerts {
        alert["endsAt"] = json!(in_seconds(-1));
    }
    alertmanager.post(&json!(alerts)).await;
    page.sees(&calm).await;
    page.misses("#alerts").await;

    alertmanager
        .post(&json!([alert("FlashSaleDown", "page", 600)]))
        .await;
    let fires = "#alerts li:only-child:has-text('FlashSaleDown')";
    page.sees(fires).await;
    alertmanager.kill();
    page.sees(&tile("?", "Alertmanager cannot be asked")).await;
    page.sees("#alerts-fault:text-matches('Alertmanager cannot be asked.*last answer is of')")
        .await;
    page.sees(fires).await;
    let text = page.run("document.body.innerText").await;
    assert!(!text.to_string().contains("horse") && !shop.log().contains("horse"));
}

/// The tile of the alerts, which is the first.
fn tile(value: &str, note: &str) -> String {
    format!(".tile:first-child:has(b:text-is({value:?})):has(small:text-is({note:?}))")
}
