//! Histories of a product that really was sold in some order are explained; one mistake in them is
//! not.

use proptest::prelude::*;

use self::sale::{MS, Sale, SaleTerms};
use super::{Answer, Call, History, Judgement, OrderSeen, Request, Time, judge};

/// A shop that sells one after another, and its history with overlapping calls.
mod sale;

/// The reason of a contradiction.
#[track_caller]
fn contradiction(history: &History) -> String {
    match judge(history) {
        Judgement::Contradicted(found) => found.reason,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_explained(history: &History) {
    let judged = judge(history);
    let lines = match &judged {
        Judgement::Contradicted(found) => found.timeline(history).join("\n"),
        _ => String::new(),
    };
    assert!(
        matches!(judged, Judgement::Explained { .. }),
        "{judged}\n{lines}"
    );
}

fn terms() -> impl Strategy<Value = SaleTerms> {
    (
        any::<u64>(),
        1..12_i64,
        any::<bool>(),
        any::<bool>(),
        1..=2_i64,
        5..120_usize,
    )
        .prop_map(
            |(seed, stock, waitlist, holds, quantity_max, operations)| SaleTerms {
                seed,
                stock,
                waitlist,
                holds,
                quantity_max,
                operations,
            },
        )
}

/// A call like this one of a new session.
fn another(history: &History, like: usize, answer: Answer) -> Call {
    let session = history.calls.iter().map(|call| call.session).max();
    Call {
        session: session.unwrap_or(0) + 1,
        answer,
        ..history.calls[like].clone()
    }
}

fn find(history: &History, is: impl Fn(&Call) -> bool) -> Option<usize> {
    history.calls.iter().position(is)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_sold_one_after_another_is_explained(terms in terms()) {
        assert_explained(&Sale::run(terms));
    }

    #[test]
    fn one_order_too_many_is_found(terms in terms()) {
        let mut history = Sale::run(terms);
        let created = find(&history, |call| matches!(call.answer, Answer::Created { replayed: false, .. }));
        prop_assume!(created.is_some());
        let id = uuid::Uuid::from_u128(7);
        let call = another(&history, created.unwrap_or(0), Answer::Created { order: id, replayed: false });
        let Request::Place { quantity, .. } = call.request else { unreachable!() };
        // Its units come from nowhere: the stock after the sale stays what it was.
        let order = OrderSeen {
            id,
            session: Some(call.session),
            quantity,
            status: "confirmed".to_owned(),
            deadline: None,
            made: call.start,
        };
        history.calls.push(call);
        history.reading.orders.push(order);
        contradiction(&history);
    }

    #[test]
    fn a_lost_order_is_found(terms in terms()) {
        let mut history = Sale::run(terms);
        let created = history.calls.iter().find_map(|call| match call.answer {
            Answer::Created { order, .. } => Some(order),
            _ => None,
        });
        prop_assume!(created.is_some());
        history.reading.orders.retain(|order| Some(order.id) != created);
        let reason = contradiction(&history);
        prop_assert!(reason.contains("is lost"), "{}", reason);
    }

    #[test]
    fn a_refusal_while_units_are_for_sale_is_found(terms in terms()) {
        // More units than the buyers can take, so that some are always for sale.
        let stock = 1_000;
        let mut history = Sale::run(SaleTerms { stock, ..terms });
        let place = find(&history, |call| matches!(call.request, Request::Place { .. }));
        prop_assume!(place.is_some());
        let refused = another(&history, place.unwrap_or(0), Answer::SoldOut);
        history.calls.push(refused);
        contradiction(&history);
    }

    #[test]
    fn a_second_order_of_one_key_is_found(terms in terms()) {
        let mut history = Sale::run(terms);
        let created = find(&history, |call| matches!(call.answer, Answer::Created { .. }));
        prop_assume!(created.is_some());
        let call = &history.calls[created.unwrap_or(0)];
        let again = Call {
            start: history.reading.start - 2,
            end: history.reading.start - 1,
            answer: Answer::Created { order: uuid::Uuid::from_u128(9), replayed: false },
            ..call.clone()
        };
        history.calls.push(again);
        let reason = contradiction(&history);
        prop_assert!(reason.contains("two orders"), "{}", reason);
    }

    #[test]
    fn a_place_that_is_overtaken_is_found(terms in terms()) {
        let terms = SaleTerms { waitlist: true, quantity_max: 1, ..terms };
        let mut history = Sale::run(terms);
        // Somebody was served from the waitlist, and somebody waits still who joined later.
        let joined = |session: usize| history.calls.iter().find(|call| {
            call.session == session && matches!(call.answer, Answer::Waiting { .. })
        });
        let served = history.reading.orders.iter().find_map(|order| joined(order.session?));
        let waits = history.reading.waiting.first().and_then(|(session, _)| joined(*session));
        let pair = served.zip(waits).filter(|(served, waits)| served.end < waits.start);
        prop_assume!(pair.is_some());
        let Some((served, waits)) = pair else { unreachable!() };
        let (served, waits) = (served.session, waits.session);
        for order in &mut history.reading.orders {
            if order.session == Some(served) {
                order.session = Some(waits);
            }
        }
        history.reading.waiting[0].0 = served;
        contradiction(&history);
    }
}

/// Five units, eight buyers one after another, and a refusal after the third.
fn refused_early() -> History {
    let mut history = Sale::run(SaleTerms {
        seed: 1,
        stock: 5,
        waitlist: false,
        holds: false,
        quantity_max: 1,
        operations: 0,
    });
    for buyer in 0..5_u32 {
        let order = uuid::Uuid::from_u128(u128::from(buyer) + 1);
        let start = Time::from(buyer) * 300 * MS;
        let session = usize::try_from(buyer).unwrap_or(0);
        history.calls.push(Call {
            session,
            node: 1,
            request: Request::Place {
                quantity: 1,
                keyed: true,
                waits: false,
            },
            start,
            end: start + MS,
            answer: Answer::Created {
                order,
                replayed: false,
            },
        });
        history.reading.orders.push(OrderSeen {
            id: order,
            session: Some(session),
            quantity: 1,
            status: "confirmed".to_owned(),
            deadline: None,
            made: start,
        });
    }
    history.reading.stock = 0;
    (history.reading.start, history.reading.end) = (10_000 * MS, 10_001 * MS);
    let mut refused = another(&history, 2, Answer::SoldOut);
    refused.start += 2 * MS;
    refused.end += 2 * MS;
    history.calls.push(refused);
    history
}

#[test]
fn the_smallest_contradiction_names_the_calls_that_matter() {
    let history = refused_early();
    let Judgement::Contradicted(found) = judge(&history) else {
        panic!("not found");
    };
    // The refusal alone: the sales that came later cannot explain it.
    assert_eq!(found.calls, [5], "{:#?}", found.timeline(&history));
}

/// The gate may refuse for 250 ms after a unit came back, and no longer.
#[test]
fn a_refusal_of_the_gate_is_explained_within_its_bound() {
    for (late, explained) in [(200, true), (300, false)] {
        let mut history = refused_early();
        history.calls.pop();
        let order = history.reading.orders[4].id;
        history.reading.orders[4].status = "cancelled".to_owned();
        history.reading.stock = 1;
        let cancelled = Call {
            request: Request::Cancel,
            start: 1_300 * MS,
            end: 1_301 * MS,
            answer: Answer::Cancelled,
            ..history.calls[4].clone()
        };
        let mut refused = another(&history, 4, Answer::SoldOut);
        refused.request = Request::Place {
            quantity: 1,
            keyed: false,
            waits: false,
        };
        refused.start = 1_301 * MS + late * MS;
        refused.end = refused.start + MS;
        history.calls.extend([cancelled, refused]);
        let judged = judge(&history);
        assert_eq!(
            matches!(judged, Judgement::Explained { .. }),
            explained,
            "{late}, {order}: {judged}"
        );
    }
}

/// Thousands of calls of which dozens overlap are decided.
#[test]
fn a_long_history_is_decided() {
    for (waitlist, holds) in [(false, true), (true, true)] {
        assert_explained(&Sale::run(SaleTerms {
            seed: 3,
            stock: 100,
            waitlist,
            holds,
            quantity_max: 2,
            operations: 3_000,
        }));
    }
}
