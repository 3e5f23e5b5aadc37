//! The alerts of a real Alertmanager on the page: which of them, in which order, and that none are
//! known while it does not answer.

use serde_json::{Value, json};
use test_support::browser::driven::Browser;

use crate::support::{alertmanager::Alertmanager, in_seconds, page};

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
    let mut browser = Browser::start().unwrap();
    let tab = watch(&mut browser, &shop, "").await;
    let tile = "document.querySelector('.tile').innerText.split('\\n')";
    let calm = format!("alerts.hidden && {tile}.join() === 'Alerts,0,none firing'");
    browser.until(&tab, &calm).await.unwrap();

    let mut alerts = vec![
        alert("FlashSaleLockDegraded", "page", 600),
        // Follows from the one above, which inhibits it.
        alert("FlashSaleLockNodeDown", "ticket", 600),
    ];
    alerts.extend((0..OTHERS).map(|number| alert(&format!("<i>{number}</i>"), "ticket", 600)));
    alerts[2]["annotations"]["runbook_url"] = json!("javascript:alert(1)");
    alertmanager.post(&json!(alerts)).await;

    let rows = "[...document.querySelectorAll('#alerts li')]";
    let first = format!("{rows}[0].innerText");
    for condition in [
        format!("{rows}.length === {SHOWN_MAX} && {tile}.join() === 'Alerts,3,001,firing'"),
        "document.getElementById('alerts-more').innerText === 'and 2991 more'".to_owned(),
        format!("{rows}.every((row, at) => (row.dataset.tone === 'bad') === (at === 0))"),
        format!("{first}.includes('page') && {first}.includes('FlashSaleLockDegraded')"),
        format!("{first}.includes('It is <b>page</b>') && {first}.includes('seat · node-1:9464')"),
        format!("/for 1 min \\d+ s/.test({first})"),
        format!("{rows}[0].querySelector('a').href.startsWith('https://runbooks.example/#Flash')"),
        format!("{rows}.every(row => !row.innerText.includes('LockNodeDown'))"),
        "document.querySelectorAll('#alerts i, #alerts b b, #alerts [href^=java]').length === 0"
            .to_owned(),
        "alerts.compareDocumentPosition(tiles) & Node.DOCUMENT_POSITION_FOLLOWING".to_owned(),
    ] {
        browser.until(&tab, &condition).await.unwrap();
    }
    page::assert_accessible(&mut browser, &tab).await;

    for alert in &mut alerts {
        alert["endsAt"] = json!(in_seconds(-1));
    }
    alertmanager.post(&json!(alerts)).await;
    browser.until(&tab, &calm).await.unwrap();

    alertmanager
        .post(&json!([alert("FlashSaleDown", "page", 600)]))
        .await;
    let fires = format!("{rows}.length === 1 && {first}.includes('FlashSaleDown')");
    browser.until(&tab, &fires).await.unwrap();
    alertmanager.kill();
    let says = format!(
        "{tile}[1] === '?' && {fires} && /Alertmanager cannot be asked.*last answer is of/.test(alerts.innerText)"
    );
    browser.until(&tab, &says).await.unwrap();
    let page = browser.run(&tab, "document.body.innerText").await.unwrap();
    assert!(!page.to_string().contains("horse") && !shop.log().contains("horse"));
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}
