//! Every kind of answer that Stripe documents, and those that it does not.

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const ORDER: Uuid = Uuid::from_u128(7);

fn attempt(number: u32, intent: Option<&str>, mode: SendMode) -> Charge<'_> {
    Charge {
        order_id: ORDER,
        amount: 1_999,
        currency: "EUR",
        payment_method: "pm_card_visa",
        intent,
        attempt: number,
        mode,
    }
}

fn first() -> Charge<'static> {
    attempt(1, None, SendMode::First)
}

fn again() -> Charge<'static> {
    attempt(1, None, SendMode::Retry)
}

fn answer(status: u16, body: &Value) -> StripeResponse {
    StripeResponse {
        status,
        body: body.to_string().into_bytes(),
    }
}

fn intent(status: &str) -> Value {
    json!({
        "id": "pi_1", "object": "payment_intent", "status": status, "amount": 1999,
        "currency": "eur", "metadata": { "order_id": ORDER },
    })
}

fn fault(kind: &str, more: &Value) -> Value {
    let mut error = json!({ "type": kind });
    let members = more.as_object().unwrap().clone();
    error.as_object_mut().unwrap().extend(members);
    json!({ "error": error })
}

fn paid() -> ChargeResult {
    ChargeResult::Paid(Payment {
        id: "pi_1".to_owned(),
        status: PaymentStatus::Succeeded,
    })
}

fn is_unknown<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Unknown(_)))
}

fn is_not_charged<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::NotCharged(_)))
}

#[test]
fn the_status_of_the_intent_decides() {
    let of = |status| charged(&answer(200, &intent(status)), &first());
    let known = Some("pi_1".to_owned());
    assert_eq!(of("succeeded").unwrap(), paid());
    for (status, intent, reason) in [
        ("requires_payment_method", known.clone(), "card_declined"),
        ("requires_action", known, "authentication_required"),
        ("canceled", None, "canceled"),
    ] {
        assert_eq!(of(status).unwrap(), declined(intent, reason));
    }
    for status in [
        "processing",
        "requires_capture",
        "requires_confirmation",
        "",
    ] {
        assert!(is_unknown(&of(status)), "{status}");
    }
}

#[test]
fn an_intent_of_another_payment_confirms_nothing() {
    for (member, value) in [
        ("amount", json!(1_998)),
        ("amount", json!("1999")),
        ("currency", json!("usd")),
        ("metadata", json!({ "order_id": Uuid::from_u128(8) })),
        ("metadata", json!({})),
        ("id", json!("pi_1/../2")),
        ("id", json!("")),
    ] {
        let mut other = intent("succeeded");
        other[member] = value;
        assert!(
            is_unknown(&charged(&answer(200, &other), &first())),
            "{other}"
        );
    }
    let other = attempt(2, Some("pi_2"), SendMode::First);
    assert!(is_unknown(&charged(
        &answer(200, &intent("succeeded")),
        &other
    )));
}

#[test]
fn a_decline_names_the_intent_and_keeps_the_banks_secrets() {
    let card = json!({
        "code": "card_declined", "decline_code": "stolen_card",
        "payment_intent": intent("requires_payment_method"),
    });
    let outcome = charged(&answer(402, &fault("card_error", &card)), &first());
    let known = Some("pi_1".to_owned());
    assert_eq!(outcome.unwrap(), declined(known.clone(), "card_declined"));
    // localstripe names neither the kind nor the intent.
    let bare = fault("invalid_request_error", &json!({ "code": "card_declined" }));
    let outcome = charged(&answer(402, &bare), &first());
    assert_eq!(outcome.unwrap(), declined(None, "card_declined"));
    let second = attempt(2, Some("pi_1"), SendMode::First);
    let outcome = charged(&answer(402, &bare), &second);
    assert_eq!(outcome.unwrap(), declined(known, "card_declined"));
}

#[test]
fn an_intent_that_has_succeeded_already_is_paid() {
    let of = |status| {
        let state = json!({
            "code": "payment_intent_unexpected_state", "payment_intent": intent(status),
        });
        let second = attempt(2, Some("pi_1"), SendMode::First);
        charged(
            &answer(400, &fault("invalid_request_error", &state)),
            &second,
        )
    };
    assert_eq!(of("succeeded").unwrap(), paid());
    assert_eq!(of("canceled").unwrap(), declined(None, "canceled"));
    assert!(is_unknown(&of("processing")));
}

#[test]
fn a_method_that_nobody_knows_is_declined_and_any_other_fault_is_ours() {
    let of = |status, more: Value, charge: Charge<'_>| {
        charged(
            &answer(status, &fault("invalid_request_error", &more)),
            &charge,
        )
    };
    let method = json!({ "code": "resource_missing", "param": "payment_method" });
    let refused = declined(None, "invalid_payment_method");
    assert_eq!(of(400, method, first()).unwrap(), refused);
    assert_eq!(of(404, json!({}), first()).unwrap(), refused);
    let amount = json!({ "code": "amount_too_small", "param": "amount" });
    assert!(is_not_charged(&of(400, amount.clone(), first())));
    assert!(is_not_charged(&of(400, amount, again())));
    let lost = json!({ "code": "resource_missing", "param": "intent" });
    assert!(is_not_charged(&of(404, lost.clone(), first())));
    assert!(is_unknown(&of(404, lost, again())));
}

#[test]
fn a_bad_key_settles_only_what_was_never_asked_before() {
    let body = fault("invalid_request_error", &json!({}));
    for status in [401, 403] {
        assert!(is_not_charged(&charged(&answer(status, &body), &first())));
        assert!(is_unknown(&charged(&answer(status, &body), &again())));
    }
}

#[test]
fn whatever_else_comes_is_unknown() {
    let reused = fault("idempotency_error", &json!({}));
    assert!(is_unknown(&charged(&answer(400, &reused), &first())));
    for status in [100, 201, 204, 302, 409, 418, 429, 500, 502, 503, 504] {
        let outcome = charged(&answer(status, &intent("succeeded")), &first());
        assert!(is_unknown(&outcome), "{status}");
    }
    let whole = intent("succeeded").to_string();
    for body in [
        "",
        "null",
        "[]",
        "<html>",
        "{\"id\":1}",
        &whole[..whole.len() - 1],
    ] {
        for status in [200, 400, 402, 404] {
            let answer = StripeResponse {
                status,
                body: body.into(),
            };
            assert!(is_unknown(&charged(&answer, &first())), "{status} {body}");
        }
    }
}

#[test]
fn a_refund_counts_when_it_is_of_this_payment_or_was_made_before() {
    let of = |status, body: Value| refunded(&answer(status, &body), "pi_1");
    let refund = |status| json!({ "status": status, "payment_intent": "pi_1" });
    assert!(of(200, refund("succeeded")).is_ok());
    assert!(of(200, refund("pending")).is_ok());
    assert!(is_not_charged(&of(200, refund("failed"))));
    let other = json!({ "status": "succeeded", "payment_intent": "pi_2" });
    assert!(is_unknown(&of(200, other)));
    let before = fault(
        "invalid_request_error",
        &json!({ "code": "charge_already_refunded" }),
    );
    assert!(of(400, before).is_ok());
    let unpaid = fault("invalid_request_error", &json!({}));
    assert!(is_not_charged(&of(400, unpaid)));
    let reused = fault("idempotency_error", &json!({}));
    assert!(is_unknown(&of(400, reused)));
    assert!(is_unknown(&of(503, json!({}))));
}

proptest! {
    #[test]
    fn garbage_never_pays(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let outcome = charged(&StripeResponse { status, body }, &first());
        prop_assert!(!matches!(outcome, Ok(ChargeResult::Paid(_))));
    }
}
