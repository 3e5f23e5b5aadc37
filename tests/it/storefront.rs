//! The demo storefront, in a real browser: buying, waiting, paying, and a connection that is lost.

use serde_json::{Value, json};
use test_support::browser::Browser;
use uuid::Uuid;

use crate::support::{
    front::Front,
    in_seconds,
    page::Page,
    shop::{Backend, Shop},
    tokens,
};

mod files;

/// Steps of the keyboard from the top of the page to a button, at most.
const TABS_MAX: usize = 40;

/// A guest at one tab.
struct Visitor {
    page: Page,
}

/// A drop's card, by its whole name.
fn card(product: &str) -> String {
    format!(".card:has(h2:text-is({product:?}))")
}

fn button(product: &str, name: &str) -> String {
    format!("{} >> role=button[name=/^{name}/]", card(product))
}

impl Visitor {
    async fn enter(browser: &Browser, front: &Front) -> Self {
        let page = Page::open(browser, &format!("{}/", front.url)).await;
        page.sees(".card").await;
        page.sees("#who:has-text('You are guest')").await;
        Self { page }
    }

    async fn click(&self, product: &str, name: &str) {
        self.page.click(&button(product, name)).await;
    }

    async fn sees(&self, product: &str, text: &str) {
        let text = format!("{} >> text={text}", card(product));
        self.page.sees(&text).await;
    }

    /// Pays with the card that has this effect.
    async fn pays(&self, product: &str, effect: &str) {
        let choice = format!("{} .choice:has-text({effect:?})", card(product));
        self.page.click(&choice).await;
        self.click(product, "Pay").await;
    }

    async fn answers_the_bank(&self, answer: &str) {
        let button = format!("role=dialog >> role=button[name={answer:?}]");
        self.page.click(&button).await;
    }

    /// The list of orders has exactly one.
    async fn has_one_order(&self, text: &str) {
        let order = format!("#orders li:only-child:has-text({text:?})");
        self.page.sees(&order).await;
    }
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

#[tokio::test]
async fn guests_buy_until_sold_out_wait_and_are_promoted() {
    let shop = shop().await;
    let front = shop.service();
    let product = drop_of(front, "Seat", 1, json!({})).await;
    let browser = Browser::start().unwrap();
    let ann = Visitor::enter(&browser, front).await;
    let bob = Visitor::enter(&browser, front).await;

    ann.click("Seat", "Buy").await;
    ann.sees("Seat", "1 held for you,").await;
    ann.pays("Seat", "is declined").await;
    ann.sees("Seat", "Your card was declined").await;

    bob.sees("Seat", "Sold out").await;
    bob.click("Seat", "Join the waitlist").await;
    bob.sees("Seat", "You are number 1 on the waitlist").await;

    ann.click("Seat", "Give it back").await;
    ann.sees("Seat", "Given back").await;

    bob.sees("Seat", "It is your turn").await;
    bob.pays("Seat", "asks your bank").await;
    bob.page.sees("role=dialog").await;
    bob.page.assert_accessible().await;
    bob.answers_the_bank("No, reject").await;
    bob.sees("Seat", "Your bank did not approve").await;
    bob.pays("Seat", "asks your bank").await;
    bob.answers_the_bank("Yes, approve").await;
    bob.sees("Seat", "It is yours! Order FS-").await;
    bob.has_one_order("Bought").await;

    let path = format!("/orders?product_id={product}&status=confirmed");
    let sold = front.get(&path).bearer(&tokens::admin());
    let sold = sold.send().await.success(200);
    assert_eq!(sold["orders"].as_array().unwrap().len(), 1);
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
    let browser = Browser::start().unwrap();
    let ann = Visitor::enter(&browser, front).await;

    for bought in 1..=3 {
        ann.click("Badge", "Buy").await;
        ann.sees("Badge", "held for you,").await;
        ann.pays("Badge", "works").await;
        let orders = format!(":nth-match(#orders li:has-text('Bought'), {bought})");
        ann.page.sees(&orders).await;
    }

    ann.sees("Badge", "None left").await;
    ann.sees("Badge", "Sold out").await;
    ann.page.misses(&button("Badge", "Buy")).await;
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_found_again_after_a_reload() {
    let shop = shop().await;
    let front = shop.service();
    drop_of(front, "Seat", 5, json!({})).await;
    let browser = Browser::start().unwrap();
    let ann = Visitor::enter(&browser, front).await;

    let buy = button("Seat", "Buy");
    ann.page.lose_answer(&buy, "**/orders").await;

    // Whether the page tries again before it is loaded again makes no difference.
    ann.page.reload().await;
    ann.sees("Seat", "1 held for you,").await;
    ann.sees("Seat", "4 of 5 left").await;
    ann.has_one_order("Seat").await;
}

#[tokio::test]
async fn the_page_says_that_the_connection_is_lost_and_recovers() {
    let shop = shop().await;
    let front = shop.service();
    drop_of(front, "Seat", 5, json!({})).await;
    let browser = Browser::start().unwrap();
    let ann = Visitor::enter(&browser, front).await;

    browser.set_offline(true).await.unwrap();
    ann.page.sees("#banner:has-text('Connection lost')").await;
    ann.click("Seat", "Buy").await;
    ann.sees("Seat", "Your order is not lost").await;
    browser.set_offline(false).await.unwrap();

    ann.sees("Seat", "1 held for you,").await;
    ann.page.misses("#banner").await;
    ann.has_one_order("Held for you").await;
}

#[tokio::test]
async fn a_drop_opens_when_its_countdown_ends_and_the_keyboard_buys_it() {
    let shop = shop().await;
    let front = shop.service();
    let browser = Browser::start().unwrap();
    let ann = Visitor::enter(&browser, front).await;
    let opens = json!({ "starts_at": in_seconds(8) });
    drop_of(front, "Record", 5, opens).await;

    ann.sees("Record", "Opens in 0:0").await;
    // The button that waits keeps the focus, and says so when it is pressed.
    let focus = "document.activeElement.getAttribute('aria-label')";
    for _ in 0..TABS_MAX {
        ann.page.press("Tab").await;
        if ann.page.run(focus).await == "Buy: Record" {
            break;
        }
    }
    ann.page.press("Enter").await;
    ann.page
        .sees("#announcements:text-matches('^It opens in')")
        .await;
    ann.sees("Record", "On sale").await;
    ann.page.sees(":focus:text-is('Buy')").await;
    ann.page.press("Enter").await;
    ann.page.sees(":focus:text-matches('^Pay')").await;
    ann.page.press("Enter").await;
    ann.sees("Record", "It is yours!").await;
    ann.page
        .sees("#announcements:has-text('It is yours')")
        .await;
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
    let browser = Browser::start().unwrap();
    let ann = Visitor::enter(&browser, front).await;

    ann.click(name, "Buy").await;
    ann.sees(name, "1 held for you,").await;
    ann.has_one_order(name).await;

    let markup = "document.querySelectorAll('main b, main script, main img, aside b').length";
    assert_eq!(ann.page.run(markup).await, 0);
    ann.page.assert_light().await;
    ann.page.assert_accessible().await;
    let title = ann.page.run("document.title").await;
    assert!(title.as_str().unwrap().contains("Demo drops"), "{title}");
}
