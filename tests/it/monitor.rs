//! The live monitor in a real browser: its numbers, a connection that is lost, the demo's crowd.

use serde_json::{Value, json};
use test_support::browser::driven::{Browser, Tab};

use crate::support::{
    front::Front,
    page,
    shop::{Backend, Plan, Shop},
    tokens,
};

mod access;
mod alerts;
mod many;
mod nodes;

/// Functions that the tests call in the page.
const PAGE: &str = "
    window.card = name => [...document.querySelectorAll('.drop')].find(card => card.querySelector('h3').innerText.includes(name));
    window.fact = (name, title) => [...card(name).querySelectorAll('dl div')].find(div => div.innerText.startsWith(title))
        .querySelector('dd').innerText;
    window.left = name => card(name).querySelector('.left').innerText;
    window.row = (table, name) => [...document.querySelectorAll(`#${table} tbody tr`)].map(row => [...row.children].map(cell => cell.innerText))
        .find(cells => cells[0].includes(name));
    window.state = () => document.getElementById('link').dataset.state;
";

/// A name with markup, which is a text wherever it is shown.
const NAME: &str =
    "<b>Bold</b><script>document.title = 'broken in'</script><img src=x onerror=alert(1)>";

fn operations(shop: &Shop) -> Front {
    Front::new(shop.service().operations.clone(), shop.client.clone())
}

async fn watch(browser: &mut Browser, shop: &Shop, query: &str) -> Tab {
    let url = format!("{}/{query}", shop.service().operations);
    let tab = browser.open(&url).await.unwrap();
    browser.run(&tab, PAGE).await.unwrap();
    browser.until(&tab, "state() === 'live'").await.unwrap();
    tab
}

fn plan() -> Plan {
    Shop::plan(Backend::Sqlite)
}

#[tokio::test]
async fn the_page_shows_the_numbers_of_the_metrics_and_of_the_api() {
    let shop = plan().open().await;
    let service = shop.service();
    let terms = json!({ "name": NAME, "waitlist": true, "hold_seconds": 600, "sku": "bold" });
    let product = service.product(7, terms).await;
    let other = service.product(3, json!({ "name": "Other" })).await;
    let mut browser = Browser::start().unwrap();
    let tab = watch(&mut browser, &shop, "").await;

    for buyer in 0..7 {
        let buyer = format!("buyer-{buyer}");
        service.buy(&buyer, product, 1).await.success(201);
    }
    for late in ["ann", "bob"] {
        service.join(late, product, 1).await;
    }
    service
        .buy("cid", product, 1)
        .await
        .refusal(409, "sold_out");
    service.buy("dan", other, 1).await.success(201);

    let metrics = service.metrics().await;
    for (outcome, shown, count) in [
        ("created", "created", 8),
        ("waitlisted", "waitlisted", 2),
        ("sold_out", "sold out", 1),
    ] {
        let label = [("outcome", outcome)];
        assert!(metrics.shows("flash_sale_orders_total", &label, count));
        let shows = format!("row('answers', '{shown}')[2] === '{count}'");
        browser.until(&tab, &shows).await.unwrap();
    }
    let product = service.get(&format!("/products/{product}")).send().await;
    assert_eq!(product.success(200)["stock"], 0);
    for condition in [
        "left('Bold') === '0 of 7 left' && left('Other') === '2 of 3 left'",
        "fact('Bold', 'Sold') === '7' && fact('Bold', 'Waitlist') === '2'",
        "card('Bold').innerText.includes('Sold out within')",
        "row('locks', 'Other')[8] === '0' && /free|in use/.test(row('locks', 'Other')[1]) && row('nodes', '(this one)')[8].includes('.')",
        "document.querySelectorAll('.plot canvas').length === 4",
    ] {
        browser.until(&tab, condition).await.unwrap();
    }
    page::assert_light(&mut browser, &tab).await;
    let cut = "[...document.querySelectorAll('.scroll')].filter(table => table.scrollWidth > table.clientWidth)
        .map(table => table.ariaLabel)";
    for width in [1280, 1440, 2560] {
        browser.set_width(&tab, width).await.unwrap();
        assert_eq!(browser.run(&tab, cut).await.unwrap(), json!([]), "{width}");
    }
    let markup = "document.querySelectorAll('main b b, main script, main img, option b').length";
    assert_eq!(browser.run(&tab, markup).await.unwrap(), 0);
    let title = browser.run(&tab, "document.title").await.unwrap();
    assert_eq!(title, "Live monitor · flash-sale");
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_state_of_the_page_is_in_its_address() {
    let shop = plan().open().await;
    let service = shop.service();
    for sku in ["first", "second"] {
        service.product(3, json!({ "sku": sku, "name": sku })).await;
    }
    let mut browser = Browser::start().unwrap();
    let tab = watch(&mut browser, &shop, "?product=first&theme=dark&window=300").await;

    let only_first = "card('first') && !card('second') && !row('locks', 'second')";
    browser.until(&tab, only_first).await.unwrap();
    let is_dark = "getComputedStyle(document.body).backgroundColor === 'rgb(13, 14, 19)'";
    assert_eq!(browser.run(&tab, is_dark).await.unwrap(), true);
    let choose = "window.choose = (name, value) => { const select = document.getElementById(name);
        select.value = value; select.dispatchEvent(new Event('change')); }";
    browser.run(&tab, choose).await.unwrap();
    for (name, value) in [("product", ""), ("theme", "light")] {
        let action = format!("choose('{name}', '{value}')");
        browser.run(&tab, &action).await.unwrap();
    }
    browser.until(&tab, "card('second')").await.unwrap();
    assert_eq!(browser.run(&tab, is_dark).await.unwrap(), false);
    let address = browser.run(&tab, "location.search").await.unwrap();
    assert_eq!(address, "?window=300&theme=light");
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_page_says_that_the_connection_is_lost_and_recovers() {
    let mut shop = plan().open().await;
    let product = shop.service().product(5, json!({ "name": "Seat" })).await;
    let address = shop.service().operations.clone();
    let address = address.strip_prefix("http://").unwrap();
    shop.settings.flags.push(format!("--ops-addr={address}"));
    let mut browser = Browser::start().unwrap();
    let tab = watch(&mut browser, &shop, "").await;

    shop.nodes[0].process.kill();
    let says = "!document.getElementById('banner').hidden && state() === 'lost'
        && document.getElementById('banner').innerText.includes('Connection lost')";
    browser.until(&tab, says).await.unwrap();
    shop.restart(0).await;
    shop.service().buy("ann", product, 1).await.success(201);

    let recovered = "document.getElementById('banner').hidden && state() === 'live'";
    browser.until(&tab, recovered).await.unwrap();
    let current = "left('Seat') === '4 of 5 left' && row('answers', 'created')[2] === '1'";
    browser.until(&tab, current).await.unwrap();
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_crowd_sells_a_drop_of_the_demo_and_only_the_page_sends_it() {
    let shop = plan().flag("--demo").open().await;
    let service = shop.service();
    let product = service.product(30, json!({ "name": "Badge" })).await;
    let mut browser = Browser::start().unwrap();
    let tab = watch(&mut browser, &shop, "").await;
    let operations = operations(&shop);
    let address = operations.url.clone();
    let token = "document.querySelector('meta[name=crowd-token]').content";
    let token = browser.run(&tab, token).await.unwrap();
    let token = token.as_str().unwrap().to_owned();
    let body = json!({ "product_id": product });
    let send = |origin: &str, token: &str| {
        let call = operations.post("/monitor/crowd").json(&body);
        call.header("Origin", origin).header("X-Crowd-Token", token)
    };
    send(&address, "").send().await.refusal(403, "forbidden");
    let foreign = send("https://shop.example", &token).send().await;
    foreign.refusal(403, "forbidden");
    let unknown = operations.post("/monitor/crowd");
    let unknown = unknown.json(&json!({ "product_id": uuid::Uuid::now_v7() }));
    let unknown = unknown.header("Origin", &address);
    let unknown = unknown.header("X-Crowd-Token", &token).send().await;
    unknown.refusal(404, "product_not_found");

    let button = "card('Badge').querySelector('button')";
    browser.until(&tab, button).await.unwrap();
    browser
        .run(&tab, &format!("{button}.click()"))
        .await
        .unwrap();

    let said = "document.getElementById('crowd').innerText";
    let left = format!("/The crowd has left Badge: 30 bought, .* refused/.test({said})");
    browser.until(&tab, &left).await.unwrap();
    let sold = "left('Badge') === '0 of 30 left' && card('Badge').innerText.includes('Sold out')";
    browser.until(&tab, sold).await.unwrap();
    let path = format!("/orders?product_id={product}&status=confirmed&limit=100");
    let orders = service.get(&path).bearer(&tokens::admin()).send().await;
    let orders = orders.success(200)["orders"].as_array().unwrap().clone();
    assert_eq!(orders.len(), 30);
    let guests = |order: &Value| order["user_id"].as_str().unwrap().starts_with("guest-");
    assert!(orders.iter().all(guests));
    shop.assert_books(product).await;
    // The next crowd may come, now that this one has left.
    assert_eq!(send(&address, &token).send().await.status, 202);
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}
