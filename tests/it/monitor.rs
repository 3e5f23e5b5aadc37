//! The live monitor in a real browser: its numbers, a connection that is lost, the demo's crowd.

use serde_json::{Value, json};
use test_support::browser::Browser;

use crate::support::{
    front::Front,
    page::Page,
    shop::{Backend, Plan, Shop},
    tokens,
};

mod access;
mod alerts;
mod many;
mod nodes;

/// A name with markup, which is a text wherever it is shown.
const NAME: &str =
    "<b>Bold</b><script>document.title = 'broken in'</script><img src=x onerror=alert(1)>";

fn operations(shop: &Shop) -> Front {
    Front::new(shop.service().operations.clone(), shop.client.clone())
}

async fn watch(browser: &Browser, shop: &Shop, query: &str) -> Page {
    let url = format!("{}/{query}", shop.service().operations);
    let page = Page::open(browser, &url).await;
    page.sees("#link[data-state=live]").await;
    page
}

/// A drop's card, by its whole name.
fn card(drop: &str) -> String {
    format!(".drop:has(h3:text-is({drop:?}))")
}

/// What is left, as it is read.
fn left(drop: &str, text: &str) -> String {
    format!("{} .left:text-matches('^{text}$')", card(drop))
}

/// A number on a drop's card, beside its title.
fn fact(drop: &str, title: &str, value: &str) -> String {
    let title = format!("dt:text-is({title:?})");
    format!("{} dl div:has({title}) dd:text-is({value:?})", card(drop))
}

/// A cell of a table, by the number of its column, in the row of a name.
fn cell(table: &str, name: &str, column: usize, text: &str) -> String {
    format!("#{table} tr:has(th:text-is({name:?})) :nth-child({column}):text-matches('^({text})$')")
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
    let browser = Browser::start().unwrap();
    let page = watch(&browser, &shop, "").await;

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
        page.sees(&cell("answers", shown, 3, &count.to_string()))
            .await;
    }
    let product = service.get(&format!("/products/{product}")).send().await;
    assert_eq!(product.success(200)["stock"], 0);
    for shown in [
        &left(NAME, "0 of 7 left"),
        &left("Other", "2 of 3 left"),
        &fact(NAME, "Sold", "7"),
        &fact(NAME, "Waitlist", "2"),
        &format!("{} .speed:has-text('Sold out within')", card(NAME)),
        &cell("locks", "Other", 2, "free|in use"),
        &cell("locks", "Other", 9, "0"),
        "#nodes tr:has(th:has-text('(this one)')) :nth-child(9):has-text('.')",
        ":nth-match(.plot canvas, 4)",
    ] {
        page.sees(shown).await;
    }
    page.misses(":nth-match(.plot canvas, 5)").await;
    page.assert_light().await;
    let cut = "[...document.querySelectorAll('.scroll')].filter(table => table.scrollWidth > table.clientWidth)
        .map(table => table.ariaLabel)";
    for width in [1280, 1440, 2560] {
        page.set_width(width).await;
        assert_eq!(page.run(cut).await, json!([]), "{width}");
    }
    let markup = "document.querySelectorAll('main b b, main script, main img, option b').length";
    assert_eq!(page.run(markup).await, 0);
    assert_eq!(
        page.run("document.title").await,
        "Live monitor · flash-sale"
    );
}

#[tokio::test]
async fn the_state_of_the_page_is_in_its_address() {
    let shop = plan().open().await;
    let service = shop.service();
    for sku in ["first", "second"] {
        service.product(3, json!({ "sku": sku, "name": sku })).await;
    }
    let browser = Browser::start().unwrap();
    let page = watch(&browser, &shop, "?product=first&theme=dark&window=300").await;

    page.sees(&card("first")).await;
    let locks = |name| format!("#locks th:text-is({name:?})");
    page.sees(&locks("first")).await;
    for other in [card("second"), locks("second")] {
        page.misses(&other).await;
    }
    let is_dark = "getComputedStyle(document.body).backgroundColor === 'rgb(13, 14, 19)'";
    assert_eq!(page.run(is_dark).await, true);
    for (name, option) in [("Product", "All drops"), ("Theme", "Light")] {
        let list = format!("role=combobox[name={name:?}]");
        page.choose(&list, option).await;
    }
    page.sees(&card("second")).await;
    assert_eq!(page.run(is_dark).await, false);
    let address = page.run("location.search").await;
    assert_eq!(address, "?window=300&theme=light");
}

#[tokio::test]
async fn the_page_says_that_the_connection_is_lost_and_recovers() {
    let mut shop = plan().open().await;
    let product = shop.service().product(5, json!({ "name": "Seat" })).await;
    let address = shop.service().operations.clone();
    let address = address.strip_prefix("http://").unwrap();
    shop.settings.flags.push(format!("--ops-addr={address}"));
    let browser = Browser::start().unwrap();
    let page = watch(&browser, &shop, "").await;

    shop.nodes[0].process.kill();
    page.sees("#banner:has-text('Connection lost')").await;
    page.sees("#link[data-state=lost]").await;
    shop.restart(0).await;
    shop.service().buy("ann", product, 1).await.success(201);

    page.misses("#banner").await;
    page.sees("#link[data-state=live]").await;
    page.sees(&left("Seat", "4 of 5 left")).await;
    page.sees(&cell("answers", "created", 3, "1")).await;
}

#[tokio::test]
async fn the_crowd_sells_a_drop_of_the_demo_and_only_the_page_sends_it() {
    let shop = plan().flag("--demo").open().await;
    let service = shop.service();
    let product = service.product(30, json!({ "name": "Badge" })).await;
    let browser = Browser::start().unwrap();
    let page = watch(&browser, &shop, "").await;
    let operations = operations(&shop);
    let address = operations.url.clone();
    let token = "document.querySelector('meta[name=crowd-token]').content";
    let token = page.run(token).await;
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

    page.click("role=button[name='Send the crowd to Badge']")
        .await;

    page.sees("#crowd:text-matches('The crowd has left Badge: 30 bought, .* refused')")
        .await;
    page.sees(&left("Badge", "0 of 30 left")).await;
    let over = format!("{} .badge:text-is('Sold out')", card("Badge"));
    page.sees(&over).await;
    let path = format!("/orders?product_id={product}&status=confirmed&limit=100");
    let orders = service.get(&path).bearer(&tokens::admin()).send().await;
    let orders = orders.success(200)["orders"].as_array().unwrap().clone();
    assert_eq!(orders.len(), 30);
    let guests = |order: &Value| order["user_id"].as_str().unwrap().starts_with("guest-");
    assert!(orders.iter().all(guests));
    shop.assert_books(product).await;
    // The next crowd may come, now that this one has left.
    assert_eq!(send(&address, &token).send().await.status, 202);
}
