//! `HAProxy` with the shipped configuration: all requests about a product reach one node, and none is
//! sent twice.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    front::Front,
    haproxy::Haproxy,
    http::Call,
    service::Service,
    shop::{Backend, Shop},
    tokens, when,
};

const PRODUCTS: usize = 12;
/// The routes of [`calls`], as metrics name them.
const ROUTES: [&str; 5] = [
    "/orders",
    "/products/{id}",
    "/products/{id}/availability",
    "/products/{id}/restock",
    "/products/{id}/waitlist",
];

/// One call of each kind that names the product, in the path, the query or the body.
fn calls(front: &Front, product: Uuid) -> Vec<Call> {
    let path = |rest: &str| format!("/products/{product}{rest}");
    let (admin, buyer) = (tokens::admin(), tokens::user("ann"));
    let capitals = product.to_string().to_uppercase();
    let id = product.to_string();
    let query = [("product_id", id.as_str())];
    vec![
        front.get(&path("")),
        front.get(&format!("/products/{capitals}")),
        front.call(Method::HEAD, &path("")),
        front.get(&path("/availability")),
        front.get(&path("/waitlist")).bearer(&buyer),
        front.leave("ann", product),
        front.order("ann", product, 1),
        front.post("/orders").bearer(&buyer).body(format!(
            " {{\"quantity\": 1,\n \"product_id\" : \"{capitals}\"}}"
        )),
        front.get("/orders").bearer(&buyer).query(&query),
        front
            .patch(&path(""))
            .bearer(&admin)
            .json(&json!({ "name": "Other" })),
        front
            .post(&path("/restock"))
            .bearer(&admin)
            .json(&json!({ "quantity": 1 })),
    ]
}

async fn requests_of(node: &Service) -> usize {
    let metrics = node.metrics().await;
    let of = |route| metrics.value("flash_sale_http_requests_total", &[("route", route)]);
    let sum: f64 = ROUTES.into_iter().filter_map(of).sum();
    format!("{sum:.0}").parse().unwrap()
}

/// The nodes behind `HAProxy` that are alive, by their numbers, each with the streams that it serves.
struct Nodes<'a> {
    front: &'a Front,
    alive: Vec<(usize, &'a Service, Vec<Events>)>,
}

impl<'a> Nodes<'a> {
    fn new(front: &'a Front, alive: impl Iterator<Item = (usize, &'a Service)>) -> Self {
        let alive = alive.map(|(number, node)| (number, node, Vec::new()));
        Self {
            front,
            alive: alive.collect(),
        }
    }

    /// The only node that receives requests about this product, also long ones.
    async fn owner(&mut self, product: Uuid) -> usize {
        let owner = self.requests_owner(product).await;
        self.stream(product, owner).await;
        owner
    }

    async fn requests_owner(&self, product: Uuid) -> usize {
        let mut before = Vec::new();
        for (_, node, _) in &self.alive {
            before.push(requests_of(node).await);
        }
        let calls = calls(self.front, product);
        let sent = calls.len();
        for call in calls {
            let answer = call.send().await;
            assert!(answer.status < 500 && answer.status != 422, "{answer:?}");
        }
        let mut received = Vec::new();
        for ((_, node, _), before) in self.alive.iter().zip(before) {
            received.push(requests_of(node).await - before);
        }
        let place = received.iter().position(|count| *count == sent);
        let place = place.unwrap_or_else(|| panic!("{product} is split: {received:?}"));
        let total: usize = received.iter().sum();
        assert_eq!(total, sent, "{product} is split: {received:?}");
        self.alive[place].0
    }

    /// Opens a stream and keeps it: `HAProxy` tells a node only later that a client has gone.
    async fn stream(&mut self, product: Uuid, owner: usize) {
        let path = format!("/products/{product}/events");
        let stream = Events::open(self.front.get(&path)).await;
        let mut nodes = self.alive.iter_mut();
        let place = nodes.find(|(number, ..)| *number == owner);
        place.unwrap().2.push(stream);
        eventually("its node alone has the stream", SOON, async || {
            for (_, node, streams) in &self.alive {
                let open = u32::try_from(streams.len()).unwrap();
                when(node.metrics().await.shows("flash_sale_streams", &[], open))?;
            }
            Some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_has_one_node_and_a_dead_node_moves_its_own_products_only() {
    let mut shop = Shop::plan(Backend::ThreeNodes)
        .set("STREAMS_PER_ADDRESS_MAX", "0")
        .open()
        .await;
    let urls: Vec<&str> = shop.nodes.iter().map(|node| node.url.as_str()).collect();
    let haproxy = Haproxy::start(&urls).await;
    let mut products = Vec::new();
    for _ in 0..PRODUCTS {
        let body = json!({ "waitlist": true });
        products.push(haproxy.front.product(100, body).await);
    }
    let mut nodes = Nodes::new(&haproxy.front, shop.nodes.iter().enumerate());
    let mut owners = Vec::new();
    for product in &products {
        owners.push(nodes.owner(*product).await);
    }
    drop(nodes);
    // Of twelve products, all on one of three nodes would be one case in 177,147.
    let dead = owners[0];
    assert!(owners.iter().any(|owner| *owner != dead), "{owners:?}");

    shop.nodes[dead].process.kill();
    haproxy.sees(dead + 1, "DOWN").await;

    let alive = shop.nodes.iter().enumerate();
    let nodes = Nodes::new(&haproxy.front, alive.filter(|(node, _)| *node != dead));
    for (product, before) in products.iter().zip(owners) {
        let owner = nodes.requests_owner(*product).await;
        assert!(
            owner == before || before == dead,
            "{product}: {before} to {owner}"
        );
        shop.ledger.assert_conserved(*product).await;
    }
}

/// A node that is ready, reads each other request and ends the connection without an answer.
async fn silent_node(received: Arc<AtomicUsize>, running: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    running.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or_default();
            if request.starts_with(b"GET /health/ready") {
                let ready = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(ready).await.unwrap();
            } else if read > 0 {
                received.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    url
}

/// An order that a node has received may exist: only its buyer, who has the key, may repeat it.
#[tokio::test]
async fn a_request_that_a_node_has_received_is_not_sent_to_another() {
    let (received, mut running) = (Arc::default(), JoinSet::new());
    let first = silent_node(Arc::clone(&received), &mut running).await;
    let second = silent_node(Arc::clone(&received), &mut running).await;
    let haproxy = Haproxy::start(&[&first, &second]).await;

    let call = haproxy.front.order("ann", Uuid::now_v7(), 1).key("one");
    let answer = call.send().await;

    answer.refusal(502, "outcome_unknown");
    answer.retry_after();
    assert_eq!(received.load(Ordering::Relaxed), 1);

    running.shutdown().await;
    for node in 1..=2 {
        haproxy.sees(node, "DOWN").await;
    }
    let answer = haproxy.front.buy("ann", Uuid::now_v7(), 1).await;
    answer.refusal(503, "unavailable");
    answer.retry_after();
}

/// Who sends half an order gets an answer that a storefront can read, from `HAProxy` itself.
#[tokio::test]
async fn half_a_request_is_answered_with_a_problem() {
    let (received, mut running) = (Arc::default(), JoinSet::new());
    let [first, second] = [
        silent_node(Arc::clone(&received), &mut running).await,
        silent_node(Arc::clone(&received), &mut running).await,
    ];
    let haproxy = Haproxy::start(&[&first, &second]).await;
    let address = haproxy.front.url.trim_start_matches("http://");
    let mut client = TcpStream::connect(address).await.unwrap();
    let half = b"POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 90\r\n\r\n{";
    client.write_all(half).await.unwrap();

    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 408"), "{head}");
    assert!(head.contains("application/problem+json"), "{head}");
    assert!(head.contains("x-request-id: "), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "request_timeout");
    assert_eq!(received.load(Ordering::Relaxed), 0);
}
