//! Traces: the spans of a request and of its batch, whose they are, and what a silent collector costs.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    SOON,
    collector::{Collector, Span, Trace},
    eventually,
    front::Front,
    gateway::{Fault, Gateway},
    race::together,
    rival::Rival,
    shop::{Backend, Shop},
    when,
};

const CALLER: &str = "00f067aa0ba902b7";

/// A trace id of this test.
fn trace_id(number: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{number:08x}")
}

/// The header of a caller that records its trace, or does not.
fn traceparent(number: u32, is_sampled: bool) -> String {
    let flags = if is_sampled { "01" } else { "00" };
    format!("00-{}-{CALLER}-{flags}", trace_id(number))
}

#[track_caller]
fn assert_says(span: &Span, attributes: &[(&str, &str)]) {
    for (key, value) in attributes {
        let said = span.attributes.get(*key).map(String::as_str);
        assert_eq!(said, Some(*value), "{key} of {span:#?}");
    }
}

/// The last unit is sold, and the next order is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_a_tree_of_spans_in_the_trace_of_its_caller() {
    let collector = Collector::start().await;
    let plan = collector.traces(Shop::plan(Backend::Postgres), "1");
    let shop = plan.set("OTEL_SERVICE_NAME", "drops").open().await;
    let product = shop.service().product(1, json!({})).await;
    let order = |number, is_sampled| {
        let order = shop.service().order(&format!("user-{number}"), product, 1);
        order.header("traceparent", traceparent(number, is_sampled))
    };

    let untraced = order(1, false)
        .key("first")
        .header("x-request-id", "call-1");
    untraced.send().await.success(201);
    shop.service().restock(product, 1).await.success(200);
    let sold = order(2, true)
        .key("second")
        .header("x-request-id", "call-2");
    sold.send().await.success(201);
    let refused = order(3, true).send().await;
    let problem = refused.refusal(409, "sold_out");

    let trace = collector.trace(&trace_id(2), "batch").await;
    assert_is_a_sale(&trace, &product.to_string());
    let refusal = collector.trace(&trace_id(3), "admission").await;
    let request = refusal.request();
    let (status, code) = ("http.response.status_code", "flash_sale.code");
    assert_says(request, &[(status, "409"), (code, "sold_out")]);
    assert!(!request.failed, "a refusal is no failure");
    let named = format!("00-{}-{}-01", trace_id(3), request.id);
    assert_eq!(problem["traceparent"], named);
    // The calls of this test that have no caller's trace.
    assert!(
        collector
            .spans()
            .iter()
            .any(|it| it.name == "POST /products")
    );
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| span.trace != trace_id(1)),
        "{spans:#?}"
    );
}

fn assert_is_a_sale(trace: &Trace, product: &str) {
    let request = trace.request();
    assert_eq!(request.name, "POST /orders");
    assert_eq!(
        (request.parent.as_str(), request.service.as_str()),
        (CALLER, "drops")
    );
    let (method, route) = ("http.request.method", "http.route");
    assert_says(
        request,
        &[
            (method, "POST"),
            (route, "/orders"),
            ("url.path", "/orders"),
        ],
    );
    let (status, id) = ("http.response.status_code", "flash_sale.request_id");
    assert_says(request, &[(status, "201"), (id, "call-2")]);
    assert_eq!(trace.below(request), ["admission", "queue", "batch"]);
    assert_says(
        trace.one("admission"),
        &[("flash_sale.admission.result", "admitted")],
    );
    let (queue, batch) = (trace.one("queue"), trace.one("batch"));
    assert_eq!(queue.links, [batch.id.as_str()]);
    assert!(queue.ended <= batch.began);
    assert_eq!(batch.links, [request.id.as_str()]);
    assert_says(
        batch,
        &[
            ("flash_sale.product.id", product),
            ("flash_sale.batch.result", "done"),
        ],
    );
    let mut steps = trace.below(batch);
    // The lane reads no row that it has just written.
    steps.retain(|step| *step != "read");
    // A batch that only sells commits with the statement that writes.
    assert_eq!(steps, ["lock", "connection", "facts", "write"]);
    assert_says(
        trace.one("lock"),
        &[
            ("flash_sale.lock.level", "1"),
            ("flash_sale.lock.result", "acquired"),
        ],
    );
    for statement in ["connection", "facts", "write"] {
        let statement = trace.one(statement);
        assert_eq!(statement.kind, SpanKind::Client);
        assert_says(statement, &[("db.system.name", "postgresql")]);
        assert!(trace.below(statement).is_empty() && !statement.failed);
    }
}

/// Two orders wait for a lock, and one batch serves both: its span is in one trace and links to both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_links_to_the_requests_that_share_it() {
    let collector = Collector::start().await;
    let plan = Shop::plan(Backend::Postgres).patient();
    let shop = collector.traces(plan, "0").open().await;
    let product = shop.service().product(5, json!({})).await;
    let rival = Rival::holds(&shop, product).await;
    let orders = (1..=2).map(|number| {
        let order = shop.service().order(&format!("user-{number}"), product, 1);
        order.header("traceparent", traceparent(number, true))
    });
    let waiting = JoinSet::from_iter([together(orders.collect())]);
    shop.service().has_queued(2).await;
    rival.leaves(shop.redis()).await;
    for answer in waiting.join_all().await.into_iter().flatten() {
        answer.success(201);
    }

    let result = |batch: &Span, result: &str| {
        let found = batch.attributes.get("flash_sale.batch.result");
        found.is_some_and(|it| it == result)
    };
    // A batch is recorded after all of its parts.
    eventually("the batch has arrived", SOON, async || {
        let spans = collector.spans();
        when(spans.iter().any(|span| result(span, "done")))
    })
    .await;
    let traces = [
        collector.trace(&trace_id(1), "queue").await,
        collector.trace(&trace_id(2), "queue").await,
    ];
    let requests: BTreeSet<_> = traces.iter().map(|it| it.request().id.clone()).collect();
    let spans = collector.spans();
    let done: Vec<_> = spans.iter().filter(|span| result(span, "done")).collect();
    assert_eq!(done.len(), 1, "{done:#?}");
    let batch = done[0];
    assert_eq!(BTreeSet::from_iter(batch.links.clone()), requests);
    assert!(requests.contains(&batch.parent));
    assert_says(batch, &[("flash_sale.batch.commands", "2")]);
    for trace in &traces {
        assert!(trace.request().contains(batch));
        let queue = trace.0.iter().filter(|span| span.name == "queue");
        let last = queue.max_by_key(|span| span.ended).unwrap();
        assert_eq!(last.links, [batch.id.as_str()]);
    }
    // The tries before met the rival's lock.
    let busy: Vec<_> = spans.iter().filter(|span| result(span, "busy")).collect();
    let locks = |batch: &Span| {
        let locks = spans
            .iter()
            .filter(move |span| span.parent == batch.id && span.name == "lock");
        locks
            .map(|lock| lock.attributes["flash_sale.lock.result"].clone())
            .collect::<Vec<_>>()
    };
    assert!(
        !busy.is_empty() && busy.iter().all(|batch| locks(batch) == ["busy"]),
        "{busy:#?}"
    );
}

/// Calls that leave a span each.
const CALLS: usize = 6_000;
/// Spans that the service may hold: its queue and one call of the exporter.
const HELD_MAX: f64 = 4_096.0 + 512.0;

async fn call(front: Front, calls: usize) {
    for _ in 0..calls {
        front.get("/health/live").send().await.success(200);
    }
}

/// A collector that never answers costs spans, which are counted, and a line in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_delays_nothing() {
    let collector = Collector::start().await;
    collector.hang(true);
    let plan = collector.traces(Shop::plan(Backend::Sqlite), "1");
    let mut shop = plan.open().await;
    let front = shop.service().front();
    let callers = (0..8).map(|_| call(front.clone(), CALLS / 8));
    callers.collect::<JoinSet<_>>().join_all().await;
    let product = shop.service().product(1, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    let metrics = shop.service().metrics().await;
    let count = |outcome| metrics.value("flash_sale_trace_spans_total", &[("outcome", outcome)]);
    let (dropped, exported) = (count("dropped").unwrap(), count("exported").unwrap());
    let calls = f64::from(u32::try_from(CALLS).unwrap());
    assert!(exported < 1.0, "{exported} were answered");
    assert!(
        dropped >= calls - HELD_MAX,
        "{dropped} of {calls} are dropped"
    );
    eventually("the failure is logged", SOON, async || {
        when(shop.log().contains("cannot export spans"))
    })
    .await;
    collector.hang(false);
    eventually("spans are exported again", SOON, async || {
        when(shop.log().contains("spans are exported again") && !collector.spans().is_empty())
    })
    .await;
    assert_eq!(
        shop.log().matches("OTEL_EXPORTER_OTLP_ENDPOINT").count(),
        2,
        "{}",
        shop.log()
    );

    // A stop exports what is left, and waits for no collector.
    let last = front
        .get("/health/live")
        .header("traceparent", traceparent(9, true));
    last.send().await.success(200);
    assert!(shop.nodes[0].stop().await.success());
    assert!(
        collector
            .spans()
            .iter()
            .any(|span| span.trace == trace_id(9))
    );
    shop.restart(0).await;
    collector.hang(true);
    call(shop.service().front(), 10).await;
    assert!(shop.nodes[0].stop().await.success());
}

/// The work of its caller's request goes on, and its spans have a parent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_caller_leaves_is_recorded() {
    let (collector, gateway) = (Collector::start().await, Gateway::start().await);
    let plan = Shop::plan(Backend::Sqlite).paying(&gateway);
    let plan = collector.traces(plan, "0").set("ACCESS_LOG", "1");
    let shop = plan.open().await;
    let terms = json!({ "hold_seconds": 600 });
    let product = shop.service().product(1, terms).await;
    let order = shop.service().buy("ann", product, 1).await.success(201);
    let order = order["id"].as_str().unwrap().parse().unwrap();
    gateway.set(Fault::Hold).await;

    let confirm = shop.service().pay("ann", order, "pm_card_visa");
    let confirm = confirm.header("x-request-id", "left");
    let confirm = confirm.header("traceparent", traceparent(1, true));
    let calls = gateway.calls().len();
    let waiting = JoinSet::from_iter([confirm.try_send()]);
    eventually("the payment is under way", SOON, async || {
        when(gateway.calls().len() > calls)
    })
    .await;
    drop(waiting);

    let line = eventually("the log has the request", SOON, async || {
        let log = shop.log();
        let line = log
            .lines()
            .find(|line| line.contains("access:") && line.contains("\"left\""));
        line.map(str::to_owned)
    })
    .await;
    let route = "POST /orders/{id}/confirm";
    assert!(
        line.contains(&format!("access: {route} abandoned")),
        "{line}"
    );
    assert!(line.contains(&trace_id(1)), "{line}");
    let spans = eventually("the trace has arrived", SOON, async || {
        let mut spans = collector.spans();
        spans.retain(|span| span.trace == trace_id(1));
        (!spans.is_empty()).then_some(spans)
    })
    .await;
    let request = &spans[0];
    assert!(request.is_request() && !request.failed, "{request:?}");
    assert_eq!((&*request.name, &*request.parent), (route, CALLER));
    let (result, id) = ("flash_sale.request.result", "flash_sale.request_id");
    assert_says(request, &[(result, "abandoned"), (id, "left")]);
}

/// Of those that the collector does not keep, it says how many.
#[tokio::test]
async fn spans_that_the_collector_rejects_are_counted_and_logged() {
    let collector = Collector::start().await;
    let plan = collector.traces(Shop::plan(Backend::Sqlite), "0");
    let shop = plan.open().await;
    collector.reject(1);
    let call = shop.service().get("/health/live");
    let call = call.header("traceparent", traceparent(1, true));
    call.send().await.success(200);

    let outcome = |outcome| [("outcome", outcome)];
    eventually("the span is counted as dropped", SOON, async || {
        let metrics = shop.service().metrics().await;
        when(metrics.shows("flash_sale_trace_spans_total", &outcome("dropped"), 1))
    })
    .await;
    let metrics = shop.service().metrics().await;
    assert!(metrics.shows("flash_sale_trace_spans_total", &outcome("exported"), 0));
    eventually("the reason is in the log, in one line", SOON, async || {
        when(shop.log().contains("rejects 1 of them: too old"))
    })
    .await;
}
