//! The text of the table.

use super::{
    super::{Report, fixture},
    *,
};

fn plain(report: &Report) -> String {
    let mut text = Vec::new();
    write(&mut text, report, Style::Plain).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_run_has_three_lines() {
    let text = plain(&fixture::report(vec![fixture::held()]));

    for line in [
        "held    hyper · 3 nodes: created 250 · sold_out 2,250",
        "                      2,500     250       0        0    1,234      212      17      0      0     212",
        "                       4.00    9.60    20.4     56.0     0.60     1.44    3.06   8.40   1.18    4.00",
        "        cache hit rate 98.2 %",
        "       253 × orders/s to the naive design",
        "every promise held (3 checks, 1 run, 12.3 s)",
    ] {
        assert!(
            text.contains(&format!("\n{line}\n")),
            "{line:?} is not in\n{text}"
        );
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut run = fixture::held();
    for number in 0..40_u16 {
        run.answers.push(super::super::Answers {
            code: format!("a_rather_long_code_{number}"),
            status: 400,
            count: 1,
        });
    }
    let text = plain(&fixture::report(vec![run]));
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    assert!(text.contains("a_rather_long_code_39"), "{text}");
}

#[test]
fn a_breach_is_named_with_its_ids() {
    let text = plain(&fixture::report(vec![fixture::held(), fixture::broken()]));

    for part in [
        "BROKEN  redis-down",
        "✗ nothing oversold: 251 sold of 250\n      order 01a1-b2 took unit 251",
        "at 2.00 s: all Redis nodes killed",
        "the client was the limit: 0.99 cores",
        "BROKEN: 1 of 7 checks (7 checks, 2 runs",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn plain_output_has_no_colours() {
    let report = fixture::report(vec![fixture::broken()]);
    assert!(!plain(&report).contains('\x1b'));

    let mut coloured = Vec::new();
    write(&mut coloured, &report, Style::Coloured).unwrap();
    let coloured = String::from_utf8(coloured).unwrap();
    assert!(
        coloured.contains("\x1b[1;31mBROKEN  \x1b[0m"),
        "{coloured:?}"
    );
}

#[test]
fn unknown_figures_are_not_shown_as_zero() {
    let mut run = fixture::broken();
    run.latency.winners = Latency::default();
    run.batches.count = 0;
    run.sold_out_after_ms = None;
    let text = plain(&fixture::report(vec![run]));
    assert!(text.matches('–').count() >= 12, "{text}");
}

#[test]
fn a_wide_number_is_never_cut() {
    let line = row("", &["18,446,744,073,709,551,615"; 10]);
    assert_eq!(line.matches(" 18,446,744,073,709,551,615").count(), 10);
}
