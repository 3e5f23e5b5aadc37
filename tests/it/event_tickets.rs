//! `POST /me/events/ticket`: opens the caller's event stream without a token in the address.

use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tempfile::TempDir;
use test_support::browser::Browser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    SOON,
    events::Events,
    eventually,
    front::Front,
    http::Call,
    page::Page,
    shop::{Backend, Shop},
    tokens::{self, expiry},
    when,
};

async fn ticket(front: &Front, token: &str) -> String {
    let call = front.post("/me/events/ticket").bearer(token);
    let answer = call.send().await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.success(201);
    let expires_at: DateTime<Utc> = body["expires_at"].as_str().unwrap().parse().unwrap();
    let left = expires_at - DateTime::<Utc>::from(std::time::SystemTime::now());
    assert!(left <= TimeDelta::seconds(60), "{left}");
    body["ticket"].as_str().unwrap().to_owned()
}

fn open_with(front: &Front, ticket: &str) -> Call {
    front.get("/me/events").query(&[("ticket", ticket)])
}

#[tokio::test]
async fn a_ticket_opens_only_the_stream_of_its_user() {
    let shop = Shop::open(Backend::ThreeNodes).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let product = service.product(9, json!({})).await;
    service.buy("bob", product, 1).await.success(201);
    service.buy("ann", product, 2).await.success(201);
    let token = tokens::user("ann");

    let ticket = ticket(service, &token).await;

    // On another node, and again: a browser may connect again.
    for _ in 0..2 {
        let mut stream = Events::open(open_with(last, &ticket)).await;
        let seen = stream.until(|kind, _| kind == "order", SOON).await;
        assert_eq!(seen[0].1["user_id"], "ann");
    }
    // A ticket is no token, and a token is no ticket.
    let orders = service.get("/orders").bearer(&ticket).send().await;
    orders.refusal(401, "unauthenticated");
    let renewed = service.post("/me/events/ticket").bearer(&ticket);
    renewed.send().await.refusal(401, "unauthenticated");
    for wrong in [&*token, "", "1", &format!("{ticket}x"), &tokens::unsigned()] {
        let answer = open_with(service, wrong).send().await;
        answer.refusal(401, "unauthenticated");
    }
    let unknown = service.get("/me/events").query(&[("token", &*token)]);
    unknown.bearer(&token).send().await.invalid("token");
}

#[tokio::test]
async fn the_stream_of_a_ticket_ends_with_the_token() {
    let shop = Shop::open(Backend::Sqlite).await;
    let token = tokens::sign(&json!({ "sub": "ann", "exp": expiry(3) }));
    let ticket = ticket(shop.service(), &token).await;

    let mut stream = Events::open(open_with(shop.service(), &ticket)).await;
    stream.end(SOON).await;

    // In the second in which it expires a token is still accepted.
    eventually("the ticket expires", SOON, async || {
        let late = open_with(shop.service(), &ticket).stream().await;
        when(late.status() == 401)
    })
    .await;
}

/// The nodes have no secret in common but the one that they share through the database.
#[tokio::test]
async fn nodes_with_a_public_key_accept_tickets_of_each_other() {
    let keys = TempDir::new().unwrap();
    let path = |name: &str| keys.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let run = Command::new("openssl").args(arguments).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    };
    let (private, public) = (path("private"), path("public"));
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    let shop = Shop::plan(Backend::ThreeNodes)
        .generated_secret()
        .set("AUTH_PUBLIC_KEY", &public)
        .open()
        .await;
    let private = EncodingKey::from_ed_pem(&std::fs::read(&private).unwrap()).unwrap();
    let claims = json!({ "sub": "ann", "exp": expiry(60) });
    let token = encode(&Header::new(Algorithm::EdDSA), &claims, &private).unwrap();

    let ticket = ticket(shop.service(), &token).await;

    for node in &shop.nodes {
        Events::open(open_with(node, &ticket)).await;
    }
}

/// Answers every request with the page, until the test ends.
async fn serve_page(listener: TcpListener, page: String) {
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        // A browser also opens connections that it does not use.
        if connection.read(&mut request).await.unwrap_or(0) == 0 {
            continue;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{page}", page.len());
        drop(connection.write_all(answer.as_bytes()).await);
    }
}

/// A storefront on another origin, in a real browser.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_follows_its_orders_with_event_source() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storefront = format!("http://{}", listener.local_addr().unwrap());
    let shop = Shop::plan(Backend::Sqlite)
        .set("CORS_ORIGINS", &storefront)
        .open()
        .await;
    let service = shop.service();
    let product = service.product(1, json!({})).await;
    let order = service.buy("ann", product, 1).await.success(201);
    let page = format!(
        "<body></body><script>
        const api = '{}', token = '{}';
        const show = text => document.body.append(text + ' ');
        fetch(api + '/me/events/ticket', {{
            method: 'POST', headers: {{ Authorization: 'Bearer ' + token }},
        }}).then(answer => answer.json()).then(({{ ticket }}) => {{
            const events = new EventSource(api + '/me/events?ticket=' + ticket);
            events.onerror = () => show('failed');
            events.addEventListener('order', event => {{
                const order = JSON.parse(event.data);
                show('order ' + order.id + ' ' + order.status);
                show('named ' + event.lastEventId.startsWith(order.id));
                events.close();
            }});
        }});
        </script>",
        service.url,
        tokens::user("ann")
    );

    let browser = Browser::start().unwrap();
    let follows = async {
        let page = Page::open(&browser, &storefront).await;
        let order = format!("order {} confirmed", order["id"].as_str().unwrap());
        page.sees(&format!("text={order}")).await;
        page.sees("text=named true").await;
    };
    tokio::select! {
        () = follows => {}
        () = serve_page(listener, page) => unreachable!("the page is served until the test ends"),
    }

    let token = tokens::user("ann");
    let requests = browser.requests().await.unwrap();
    assert!(requests.len() > 2, "{requests:?}");
    let leaked = requests.iter().any(|address| address.contains(&token));
    assert!(!leaked, "{requests:?}");
}
