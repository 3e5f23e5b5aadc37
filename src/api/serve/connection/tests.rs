//! A parked connection serves, ends and loses nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
/// More than the buffers of two sockets take.
const LARGE: usize = 16 << 20;

fn is_idle(activity: &Activity) -> bool {
    activity.is_idle(Instant::now())
}

fn shop() -> Router {
    Router::new().route("/", get(async || "sold"))
}

struct Client {
    stream: TcpStream,
    activity: Arc<Activity>,
    served: JoinHandle<hyper::Result<()>>,
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    (stream, accepted)
}

impl Client {
    async fn connect(router: Router) -> Self {
        let (stream, accepted) = pair().await;
        let activity = Arc::new(Activity::new(Instant::now()));
        let answering = Answering::new(router, None, Arc::clone(&activity));
        #[expect(clippy::disallowed_methods, reason = "a test waits for it")]
        let served = tokio::spawn(serve(accepted, answering));
        Self {
            stream,
            activity,
            served,
        }
    }

    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until so many answers have come.
    async fn answers(&mut self, count: usize) {
        let mut read = String::new();
        while read.matches("sold").count() < count {
            let mut buffer = [0; 1024];
            let length = timeout(SOON, self.stream.read(&mut buffer)).await.unwrap();
            let bytes = buffer.get(..length.unwrap()).unwrap();
            assert!(!bytes.is_empty(), "closed after {read}");
            read.push_str(std::str::from_utf8(bytes).unwrap());
        }
        assert_eq!(read.matches("200 OK").count(), count, "{read}");
        assert!(!read.contains("connection: close"), "{read}");
    }

    async fn until(&self, what: &str, holds: impl Fn(&Activity) -> bool) {
        let held = async {
            while !holds(&self.activity) {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, held).await.expect(what);
    }

    async fn parks(&self) {
        self.until("it is idle", is_idle).await;
        self.activity.send(Signal::Park);
        self.until("it is parked", Activity::is_parked).await;
    }

    async fn parked() -> Self {
        let mut client = Self::connect(shop()).await;
        client.send(REQUEST).await;
        client.answers(1).await;
        client.parks().await;
        client
    }

    async fn ends(self) {
        timeout(SOON, self.served).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_parked_connection_serves_the_next_requests() {
    let mut client = Client::parked().await;
    client.send(&REQUEST.repeat(3)).await;
    client.answers(3).await;
    client.send(REQUEST).await;
    client.answers(1).await;
    client.until("it is idle again", is_idle).await;
}

#[tokio::test]
async fn a_parked_connection_serves_a_request_that_comes_in_parts() {
    let mut client = Client::parked().await;
    let (first, second) = REQUEST.split_at(20);
    client.send(first).await;
    let has_begun = |activity: &Activity| !activity.is_parked();
    client.until("the head has begun", has_begun).await;
    client.activity.send(Signal::Park);
    client.send(second).await;
    client.answers(1).await;
}

#[tokio::test]
async fn a_parked_connection_ends_when_it_is_to_finish_or_its_client_leaves() {
    let client = Client::parked().await;
    client.activity.send(Signal::Finish);
    client.ends().await;

    let mut client = Client::parked().await;
    client.stream.shutdown().await.unwrap();
    client.ends().await;
}

#[tokio::test]
async fn an_empty_line_behind_a_request_keeps_no_connection_open() {
    let mut client = Client::connect(shop()).await;
    client.send(&format!("{REQUEST}\r\n")).await;
    client.answers(1).await;
    client.parks().await;
    client.activity.send(Signal::Finish);
    client.ends().await;
}

#[tokio::test]
async fn a_connection_that_is_to_close_begins_no_request() {
    let (mut stream, accepted) = pair().await;
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let router = Router::new().route(
        "/",
        get(async move || count.fetch_add(1, Ordering::Relaxed).to_string()),
    );
    let activity = Arc::new(Activity::new(Instant::now()));
    activity.send(Signal::Close);
    let answering = Answering::new(router, None, activity);

    timeout(SOON, serve(accepted, answering))
        .await
        .unwrap()
        .unwrap();

    assert_eq!(begun.load(Ordering::Relaxed), 0);
}

/// Also that of a request that asks for another protocol.
#[tokio::test]
async fn an_answer_that_began_before_the_stop_is_written_whole() {
    let (release, entered) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (gate, inside) = (Arc::clone(&release), Arc::clone(&entered));
    let router = Router::new().route(
        "/",
        get(async move || {
            inside.notify_one();
            gate.notified().await;
            vec![b'a'; LARGE]
        }),
    );
    let mut client = Client::connect(router).await;
    let upgrade = "\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    client.send(&REQUEST.replace("\r\n\r\n", upgrade)).await;
    entered.notified().await;
    client.activity.send(Signal::Finish);
    release.notify_one();

    let mut answer = Vec::new();
    let read = client.stream.read_to_end(&mut answer);
    timeout(SOON, read).await.unwrap().unwrap();

    assert!(answer.len() > LARGE, "{} bytes", answer.len());
    client.ends().await;
}
