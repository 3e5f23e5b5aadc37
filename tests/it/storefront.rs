//! The demo storefront, in a real browser: buying, waiting, paying, and a connection that is lost.

use serde_json::{Value, json};
use test_support::browser::driven::{Browser, Tab};
use uuid::Uuid;

use crate::support::{
    front::Front,
    in_seconds, page,
    shop::{Backend, Shop},
    tokens,
};

mod files;

/// Steps of the keyboard from the top of the page to a button, at most.
const TABS_MAX: usize = 40;

/// Functions that the tests call in the page.
const PAGE: &str = "
    window.card = name => [...document.querySelectorAll('.card')].find(card => card.innerText.includes(name));
    window.says = (name, text) => card(name).innerText.includes(text);
    window.find = (name, text) => [...card(name).querySelectorAll('button')]
        .find(button => button.innerText.startsWith(text));
    window.click = (name, text) => find(name, text).click();
    window.choose = (name, method) => card(name).querySelector(`input[value=${method}]`).click();
    window.orders = () => [...document.querySelectorAll('#orders li')].map(order => order.innerText);
";

/// A guest at one tab.
struct Visitor<'a> {
    browser: &'a mut Browser,
    tab: Tab,
}

impl Visitor<'_> {
    async fn run(&mut self, action: &str) -> Value {
        self.browser.run(&self.tab, action).await.unwrap()
    }

    async fn until(&mut self, condition: &str) {
        self.browser.until(&self.tab, condition).await.unwrap();
    }

    async fn click(&mut self, product: &str, button: &str) {
        self.until(&format!("find('{product}', '{button}')")).await;
        self.run(&format!("click('{product}', '{button}')")).await;
    }

    async fn sees(&mut self, product: &str, text: &str) {
        self.until(&format!("says('{product}', '{text}')")).await;
    }

    async fn pays_with(&mut self, product: &str, method: &str) {
        self.run(&format!("choose('{product}', '{method}')")).await;
        self.click(product, "Pay").await;
    }

    async fn reload(&mut self) {
        self.browser.reload(&self.tab).await.unwrap();
        self.run(PAGE).await;
    }
}

fn at<'a>(browser: &'a mut Browser, tab: &Tab) -> Visitor<'a> {
    let tab = tab.clone();
    Visitor { browser, tab }
}

async fn shop() -> Shop {
    Shop::plan(Backend::Sqlite).flag("--demo").open().await
}

/// A product that is held until it is paid for, with a waitlist.
async fn drop_of(front: &Front, name: &str, stock: i64, mut fields: Value) -> Uuid {
    fields["name"] = json!(name);
    fields["waitlist"] = json!(true);
    if fields["hold_seconds"].is_null() {
        fields["hold_seconds"] = json!(120);
    }
    front.product(stock, fields).await
}

async fn enter(browser: &mut Browser, front: &Front) -> Tab {
    let tab = browser.open(&format!("{}/", front.url)).await.unwrap();
    browser.run(&tab, PAGE).await.unwrap();
    let is_ready = "document.querySelector('.card') && /^You are guest/.test(document.getElementById('who').innerText)";
    browser.until(&tab, is_ready).await.unwrap();
    tab
}

#[tokio::test]
async fn guests_buy_until_sold_out_wait_and_are_promoted() {
    let shop = shop().await;
    let front = shop.service();
    let product = drop_of(front, "Seat", 1, json!({})).await;
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, front).await;
    let bob = enter(&mut browser, front).await;

    let mut visitor = at(&mut browser, &ann);
    visitor.click("Seat", "Buy").await;
    visitor.sees("Seat", "1 held for you, ").await;
    visitor.pays_with("Seat", "pm_card_chargeDeclined").await;
    visitor.sees("Seat", "Your card was declined").await;

    let mut visitor = at(&mut browser, &bob);
    visitor.sees("Seat", "Sold out").await;
    visitor.click("Seat", "Join the waitlist").await;
    visitor
        .sees("Seat", "You are number 1 on the waitlist")
        .await;

    let mut visitor = at(&mut browser, &ann);
    visitor.click("Seat", "Give it back").await;
    visitor.sees("Seat", "Given back").await;

    let mut visitor = at(&mut browser, &bob);
    visitor.sees("Seat", "It is your turn").await;
    visitor
        .pays_with("Seat", "pm_card_authenticationRequired")
        .await;
    visitor.until("document.getElementById('bank').open").await;
    visitor
        .run("document.getElementById('bank-reject').click()")
        .await;
    visitor.sees("Seat", "Your bank did not approve").await;
    visitor
        .pays_with("Seat", "pm_card_authenticationRequired")
        .await;
    visitor.until("document.getElementById('bank').open").await;
    visitor
        .run("document.getElementById('bank-approve').click()")
        .await;
    visitor.sees("Seat", "It is yours! Order FS-").await;
    visitor
        .until("orders().length === 1 && orders()[0].includes('Bought')")
        .await;

    let path = format!("/orders?product_id={product}&status=confirmed");
    let sold = front.get(&path).bearer(&tokens::admin());
    let sold = sold.send().await.success(200);
    assert_eq!(sold["orders"].as_array().unwrap().len(), 1);
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn one_guest_buys_until_sold_out() {
    let shop = shop().await;
    let front = shop.service();
    drop_of(
        front,
        "Badge",
        3,
        json!({ "price": 100, "max_per_order": 1 }),
    )
    .await;
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, front).await;
    let mut visitor = at(&mut browser, &ann);

    for bought in 1..=3 {
        visitor.click("Badge", "Buy").await;
        visitor.sees("Badge", "held for you, ").await;
        visitor.pays_with("Badge", "pm_card_visa").await;
        visitor
            .until(&format!(
                "orders().filter(order => order.includes('Bought')).length === {bought}"
            ))
            .await;
    }

    visitor.sees("Badge", "None left").await;
    visitor.sees("Badge", "Sold out").await;
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_found_again_after_a_reload() {
    let shop = shop().await;
    let front = shop.service();
    drop_of(front, "Seat", 5, json!({})).await;
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, front).await;

    browser
        .lose_answer(&ann, "*/orders", "click('Seat', 'Buy')")
        .await
        .unwrap();

    // Whether the page tries again before it is loaded again makes no difference.
    let mut visitor = at(&mut browser, &ann);
    visitor.reload().await;
    visitor.sees("Seat", "1 held for you, ").await;
    visitor.sees("Seat", "4 of 5 left").await;
    visitor.until("orders().length === 1").await;
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_page_says_that_the_connection_is_lost_and_recovers() {
    let shop = shop().await;
    let front = shop.service();
    drop_of(front, "Seat", 5, json!({})).await;
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, front).await;

    browser.set_offline(&ann, true).await.unwrap();
    let mut visitor = at(&mut browser, &ann);
    visitor
        .until("document.getElementById('banner').innerText.includes('Connection lost')")
        .await;
    visitor.click("Seat", "Buy").await;
    visitor.sees("Seat", "Your order is not lost").await;
    browser.set_offline(&ann, false).await.unwrap();

    let mut visitor = at(&mut browser, &ann);
    visitor.sees("Seat", "1 held for you, ").await;
    visitor
        .until("document.getElementById('banner').hidden")
        .await;
    visitor.until("orders().length === 1").await;
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_drop_opens_when_its_countdown_ends_and_the_keyboard_buys_it() {
    let shop = shop().await;
    let front = shop.service();
    let opens = json!({ "starts_at": in_seconds(6) });
    drop_of(front, "Record", 5, opens).await;
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, front).await;
    let mut visitor = at(&mut browser, &ann);

    visitor.sees("Record", "Opens in 0:0").await;
    // The button that waits keeps the focus, and says so when it is pressed.
    let focus = "document.activeElement.getAttribute('aria-label')";
    for _ in 0..TABS_MAX {
        visitor.browser.press(&ann, "Tab").await.unwrap();
        if visitor.run(focus).await == "Buy: Record" {
            break;
        }
    }
    visitor.browser.press(&ann, "Enter").await.unwrap();
    visitor
        .until("document.getElementById('announcements').innerText.startsWith('It opens in')")
        .await;
    visitor.sees("Record", "On sale").await;
    visitor
        .until("document.activeElement.innerText === 'Buy'")
        .await;
    visitor.browser.press(&ann, "Enter").await.unwrap();
    visitor
        .until("document.activeElement.innerText.startsWith('Pay')")
        .await;
    visitor.browser.press(&ann, "Enter").await.unwrap();
    visitor.sees("Record", "It is yours!").await;
    visitor
        .until("/It is yours/.test(document.getElementById('announcements').innerText)")
        .await;
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn names_with_markup_are_text() {
    let shop = shop().await;
    let front = shop.service();
    let name =
        "<b>Bold</b><script>document.title = 'broken in'</script><img src=x onerror=alert(1)>";
    let description = json!({ "description": name });
    drop_of(front, name, 5, description).await;
    for sold_out in ["Seat", "Badge"] {
        drop_of(front, sold_out, 0, json!({})).await;
    }
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, front).await;
    let mut visitor = at(&mut browser, &ann);

    visitor.click("<b>Bold", "Buy").await;
    visitor.sees("<b>Bold", "1 held for you, ").await;
    visitor
        .until("orders()[0].includes('<b>Bold</b><script>')")
        .await;

    let markup = "document.querySelectorAll('main b, main script, main img, aside b').length";
    assert_eq!(visitor.run(markup).await, 0);
    page::assert_light(visitor.browser, &ann).await;
    page::assert_accessible(visitor.browser, &ann).await;
    let title = visitor.run("document.title").await;
    assert!(title.as_str().unwrap().contains("Demo drops"), "{title}");
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

/// The other tests would find what this page does wrong.
#[tokio::test]
async fn errors_of_a_page_are_found() {
    let shop = shop().await;
    let mut browser = Browser::start().unwrap();
    let ann = enter(&mut browser, shop.service()).await;
    let mut visitor = at(&mut browser, &ann);

    let inline = "document.head.append(Object.assign(document.createElement('script'), { text: 'window.ran = 1' }))";
    visitor.run(inline).await;
    visitor.run("console.error('by hand')").await;
    visitor
        .run("setTimeout(() => { throw new Error('late') })")
        .await;
    visitor
        .run("new Promise(resolve => setTimeout(resolve))")
        .await;

    assert_eq!(visitor.run("window.ran ?? 0").await, 0);
    let errors = browser.errors().await.unwrap();
    for expected in ["Content Security Policy", "by hand", "late"] {
        let found = errors.iter().any(|error| error.contains(expected));
        assert!(found, "{expected}: {errors:?}");
    }
}
