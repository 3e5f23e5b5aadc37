//! One run on the page: question, result, tiles, checks, charts, tables.

use maud::{Markup, html};

use super::{
    super::{Run, figures},
    latency, mark, panels, plural,
    timeline::{self, Time},
};

pub(super) fn section(run: &Run, number: usize) -> Markup {
    let time = Time::of(run);
    let charts = [
        latency::distribution(&run.latency),
        timeline::answers(&time),
        timeline::stock(run, &time),
        latency::over_time(&time),
    ];
    html! {
        section.run id=(format_args!("run-{number}")) {
            (head(run))
            @if run.client.bottleneck { (warning(run)) }
            div.tiles { @for tile in tiles(run) { (tile) } }
            (panels::checks(&run.checks))
            div.pictures { @for chart in &charts { figure { (chart) } } }
            @if !run.faults.is_empty() { (faults(run)) }
            div.panels {
                div { (panels::answers(&run.answers)) (panels::latencies(run)) }
                div { (panels::machinery(run)) }
            }
        }
    }
}

pub(super) fn title(run: &Run) -> String {
    if run.variant.is_empty() {
        run.scenario.clone()
    } else {
        format!("{} · {}", run.scenario, run.variant)
    }
}

pub(super) fn held(run: &Run) -> bool {
    run.checks.iter().all(|check| check.held)
}

fn head(run: &Run) -> Markup {
    let nodes = usize::try_from(run.service.nodes).unwrap_or(usize::MAX);
    html! {
        h2 { (mark(held(run))) " " (title(run)) }
        p.question { (run.question) }
        p.setting {
            (figures::count(run.users)) " users, " (figures::count(run.stock)) " units, "
            (run.quantity) " each · " (plural(nodes, "node")) " · " (run.service.database) " · "
            (run.service.lock) " · seed " (run.seed) " · " (figures::time(run.seconds * 1_000.0))
        }
    }
}

fn warning(run: &Run) -> Markup {
    html! {
        p.warning {
            b { "The client was the limit." }
            " It used " (figures::decimal(run.client.cores)) " cores, and requests left up to "
            (figures::time(run.client.late_p99_ms))
            " after their time (p99): the service may be faster than shown."
        }
    }
}

fn tiles(run: &Run) -> Vec<Markup> {
    let units = &run.units;
    let judged = |number: u64| if number == 0 { "good" } else { "bad" };
    let sold = if units.sold == units.possible {
        "good"
    } else {
        "bad"
    };
    let answered = run
        .answers
        .iter()
        .fold(0, |sum: u64, answer| sum.saturating_add(answer.count));
    let mut tiles = vec![
        panels::tile(
            &figures::count(units.sold),
            &format!("sold of {} possible", figures::count(units.possible)),
            sold,
        ),
        panels::tile(
            &figures::count(units.unsold),
            "unsold",
            judged(units.unsold),
        ),
        panels::tile(
            &figures::count(units.oversold),
            "oversold",
            judged(units.oversold),
        ),
    ];
    let mut plain = |figure: Option<String>, name: &str| {
        tiles.extend(figure.map(|figure| panels::tile(&figure, name, "plain")));
    };
    let winners = &run.latency.winners;
    let refusals = &run.latency.refusals;
    plain(
        run.sold_out_after_ms.map(figures::time),
        "until the last unit was sold",
    );
    let orders = figures::per_second(winners.count, run.seconds).filter(|_| winners.count > 0);
    plain(orders.map(figures::decimal), "orders/s");
    plain(
        figures::per_second(answered, run.seconds).map(figures::decimal),
        "answers/s",
    );
    plain(
        (winners.count > 0).then(|| figures::time(winners.p99_ms)),
        "winners' p99",
    );
    plain(
        (refusals.count > 0).then(|| figures::time(refusals.p99_ms)),
        "refusals' p99",
    );
    tiles
}

fn faults(run: &Run) -> Markup {
    html! {
        h4 { "Faults, as numbered in the charts" }
        ol.faults {
            @for fault in &run.faults {
                li { b { (figures::time(fault.at_ms)) } " " (fault.what) }
            }
        }
    }
}
