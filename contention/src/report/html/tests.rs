//! The HTML of the page: figures, links, escaping, sizes.

use super::{
    super::{Latency, Slice, fixture},
    *,
};

#[test]
fn the_page_shows_the_figures() {
    let page = page(&fixture::report(vec![fixture::held()]));
    for part in [
        "Every promise held",
        "hyper · 3 nodes",
        "<strong>250</strong><span>sold of 250 possible</span>",
        "created 260",
        "redlock over 3 nodes",
        "cache hit rate",
        "98.2 %",
        "Stock over time: from 250 to 0 units",
    ] {
        assert!(page.contains(part), "{part:?} is not on the page");
    }
}

#[test]
fn the_summary_links_to_every_run() {
    let page = page(&fixture::report(vec![fixture::held(), fixture::broken()]));
    for number in [1, 2] {
        assert!(page.contains(&format!("href=\"#run-{number}\"")));
        assert!(page.contains(&format!("id=\"run-{number}\"")));
    }
    assert!(page.contains("order 01a1-b2 took unit 251"));
    assert!(page.contains("The client was the limit."));
    assert!(page.contains("all Redis nodes killed"));
}

#[test]
fn texts_of_a_server_never_become_markup() {
    let mut run = fixture::broken();
    "</title><script>'\"&\u{0}".clone_into(&mut run.question);
    let page = page(&fixture::report(vec![run]));
    assert!(!page.contains("<img"), "a code became markup");
    assert!(page.contains("&lt;img src=x&gt;"));
    assert!(!page.contains("<script"), "a question became markup");
    assert!(page.contains("&lt;/title&gt;&lt;script&gt;'&quot;&amp;\u{fffd}"));
}

#[test]
fn the_page_requests_nothing() {
    let page = page(&fixture::report(vec![fixture::broken()]));
    assert!(page.contains("default-src 'none'"));
    for word in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(word), "{word} is on the page");
    }
}

#[test]
fn charts_of_empty_and_extreme_figures_are_valid() {
    let mut empty = fixture::held();
    empty.timeline.clear();
    empty.answers.clear();
    empty.checks.clear();
    empty.seconds = 0.0;
    empty.latency.winners = Latency::default();
    empty.latency.refusals = Latency::default();
    let mut single = fixture::held();
    single.timeline.truncate(1);
    single.latency.winners.curve.truncate(1);
    let mut strange = fixture::held();
    strange.stock = u64::MAX;
    strange.latency.winners.curve =
        vec![(f64::NAN, f64::NAN), (50.0, f64::INFINITY), (100.0, 1e300)];
    strange.timeline = vec![
        Slice::default(),
        Slice {
            at_ms: f64::NAN,
            ..Slice::default()
        },
    ];
    strange.timeline.push(Slice {
        at_ms: 5.0,
        answers: [("x".repeat(10_000), u64::MAX)].into(),
        stock: Some(i64::MIN),
        p50_ms: Some(f64::NAN),
        p99_ms: None,
    });

    let page = page(&fixture::report(vec![empty, single, strange]));

    for word in ["NaN", "inf"] {
        let drawn = page
            .split("<svg")
            .skip(1)
            .filter_map(|part| part.split("</svg>").next());
        for picture in drawn {
            assert!(!picture.contains(word), "{word} in {picture}");
        }
    }
    assert!(page.contains("Nothing was answered."));
}

#[test]
fn a_page_of_a_hundred_thousand_points_stays_small() {
    let mut run = fixture::held();
    let slice = |number: u32| Slice {
        at_ms: f64::from(number) * 10.0,
        answers: [("created".to_owned(), 1)].into(),
        stock: Some(5),
        p50_ms: Some(1.0),
        p99_ms: Some(2.0),
    };
    run.timeline = (0..100_000).map(slice).collect();
    run.latency.winners.curve = (0..100_000_u32)
        .map(|at| (f64::from(at) / 1_000.0, 1.0))
        .collect();

    let page = page(&fixture::report(vec![run]));

    assert!(page.len() < 500_000, "{} bytes", page.len());
    assert!(page.contains("created 100,000"));
}
