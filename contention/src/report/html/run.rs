//! One run on the page: the question, the result, the figures, the pictures, the checks.

use super::{
    super::{Run, figures},
    latency, mark, panels, plural,
    text::{escaped, joined},
    timeline::{self, Time},
};

pub(super) fn section(run: &Run, number: usize) -> String {
    let time = Time::of(run);
    let pictures = joined(
        [
            latency::distribution(&run.latency),
            timeline::answers(&time),
            timeline::stock(run, &time),
            latency::course(&time),
        ]
        .into_iter()
        .map(|picture| format!("<figure>{picture}</figure>")),
    );
    format!(
        r#"<section class="run" id="run-{number}">{head}{warning}<div class="tiles">{tiles}</div>{checks}<div class="pictures">{pictures}</div>{faults}<div class="panels"><div>{answers}{latencies}</div><div>{machinery}</div></div></section>
"#,
        head = head(run),
        warning = warning(run),
        tiles = tiles(run),
        checks = panels::checks(&run.checks),
        faults = faults(run),
        answers = panels::answers(&run.answers),
        latencies = panels::latencies(run),
        machinery = panels::machinery(run),
    )
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

fn head(run: &Run) -> String {
    let nodes = usize::try_from(run.service.nodes).unwrap_or(usize::MAX);
    format!(
        r#"<h2>{} {}</h2><p class="question">{}</p><p class="setting">{} users, {} units, {} each · {} · {} · {} · seed {} · {}</p>"#,
        mark(held(run)),
        escaped(&title(run)),
        escaped(&run.question),
        figures::count(run.users),
        figures::count(run.stock),
        run.quantity,
        plural(nodes, "node"),
        escaped(&run.service.database),
        escaped(&run.service.lock),
        run.seed,
        figures::time(run.seconds * 1_000.0),
    )
}

fn warning(run: &Run) -> String {
    if !run.client.bottleneck {
        return String::new();
    }
    format!(
        r#"<p class="warning"><b>The client was the limit.</b> It used {} cores, and requests left up to {} after their time (p99): the service may be faster than shown.</p>"#,
        figures::decimal(run.client.cores),
        figures::time(run.client.late_p99_ms)
    )
}

fn tiles(run: &Run) -> String {
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
    tiles.concat()
}

fn faults(run: &Run) -> String {
    if run.faults.is_empty() {
        return String::new();
    }
    let items = joined(run.faults.iter().map(|fault| {
        format!(
            "<li><b>{}</b> {}</li>",
            figures::time(fault.at_ms),
            escaped(&fault.what)
        )
    }));
    format!(r#"<h4>Faults, as numbered in the pictures</h4><ol class="faults">{items}</ol>"#)
}
