//! Results of documented and undocumented Stripe responses.

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

fn retry() -> Charge<'static> {
    attempt(1, None, SendMode::Retry)
}

fn response(status: u16, body: &Value) -> StripeResponse {
    StripeResponse {
        status,
        body: body.to_string().into_bytes(),
    }
}

fn intent(status: &str) -> Value {
    json!({
        "id": "pi_1", "object": "payment_intent", "status": status, "amount": 1999,
        "currency": "eur", "metadata": { "order_id": ORDER },
        "client_secret": "pi_1_secret_2",
    })
}

fn error_body(kind: &str, members: &Value) -> Value {
    let mut error = json!({ "type": kind });
    let members = members.as_object().unwrap().clone();
    error.as_object_mut().unwrap().extend(members);
    json!({ "error": error })
}

fn paid() -> ChargeResult {
    ChargeResult::Paid(Payment::new("pi_1".to_owned(), PaymentStatus::Succeeded))
}

fn is_unknown<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Unknown(_)))
}

fn is_not_charged<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::NotCharged(_)))
}

#[test]
fn the_intent_status_decides_the_charge() {
    let result_of = |status| charged(&response(200, &intent(status)), &first());
    let same_intent = Some("pi_1".to_owned());
    assert_eq!(result_of("succeeded").unwrap(), paid());
    for (status, intent, reason) in [
        ("requires_payment_method", same_intent, "card_declined"),
        ("canceled", None, "canceled"),
    ] {
        assert_eq!(result_of(status).unwrap(), declined(intent, reason));
    }
    for status in [
        "processing",
        "requires_capture",
        "requires_confirmation",
        "",
    ] {
        assert!(is_unknown(&result_of(status)), "{status}");
    }
}

#[test]
fn an_action_names_the_intent_and_its_secret() {
    let expected = ChargeResult::RequiresAction {
        intent: "pi_1".to_owned(),
        client_secret: Secret::new("pi_1_secret_2"),
    };
    let outcome = charged(&response(200, &intent("requires_action")), &first()).unwrap();
    assert_eq!(outcome, expected);
    assert!(!format!("{outcome:?}").contains("secret_2"));
    for secret in [json!(null), json!(""), json!("a b"), json!("x".repeat(256))] {
        let mut without = intent("requires_action");
        without["client_secret"] = secret;
        assert!(is_unknown(&charged(&response(200, &without), &first())));
    }
}

#[test]
fn the_state_of_an_intent_is_read_from_it_or_from_the_refusal_to_cancel_it() {
    let state_of = |status, body: &Value| state(&response(status, body), &first(), "pi_1");
    assert_eq!(state_of(200, &intent("succeeded")).unwrap(), paid());
    assert_eq!(
        state_of(200, &intent("canceled")).unwrap(),
        declined(None, "canceled")
    );
    let mut failed = intent("requires_payment_method");
    failed["last_payment_error"] = json!({ "code": "payment_intent_authentication_failure" });
    assert_eq!(
        state_of(200, &failed).unwrap(),
        declined(
            Some("pi_1".to_owned()),
            "payment_intent_authentication_failure"
        )
    );
    let refusal = |status| {
        let state = json!({
            "code": "payment_intent_unexpected_state", "payment_intent": intent(status),
        });
        error_body("invalid_request_error", &state)
    };
    assert_eq!(state_of(400, &refusal("succeeded")).unwrap(), paid());
    assert!(is_unknown(&state_of(400, &refusal("processing"))));
    let bare = error_body("invalid_request_error", &json!({}));
    for status in [400, 401, 404, 409, 429, 500] {
        assert!(is_unknown(&state_of(status, &bare)), "{status}");
    }
    let other = state(&response(200, &intent("succeeded")), &first(), "pi_2");
    assert!(is_unknown(&other));
}

#[test]
fn an_intent_of_another_payment_is_unknown() {
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
            is_unknown(&charged(&response(200, &other), &first())),
            "{other}"
        );
    }
    let other = attempt(2, Some("pi_2"), SendMode::First);
    assert!(is_unknown(&charged(
        &response(200, &intent("succeeded")),
        &other
    )));
}

#[test]
fn a_decline_names_the_intent_and_hides_the_decline_code() {
    let card = json!({
        "code": "card_declined", "decline_code": "stolen_card",
        "payment_intent": intent("requires_payment_method"),
    });
    let outcome = charged(&response(402, &error_body("card_error", &card)), &first());
    let same_intent = Some("pi_1".to_owned());
    assert_eq!(
        outcome.unwrap(),
        declined(same_intent.clone(), "card_declined")
    );
    // localstripe names neither the kind nor the intent.
    let bare = error_body("invalid_request_error", &json!({ "code": "card_declined" }));
    let outcome = charged(&response(402, &bare), &first());
    assert_eq!(outcome.unwrap(), declined(None, "card_declined"));
    let second = attempt(2, Some("pi_1"), SendMode::First);
    let outcome = charged(&response(402, &bare), &second);
    assert_eq!(outcome.unwrap(), declined(same_intent, "card_declined"));
}

#[test]
fn an_error_with_a_succeeded_intent_is_paid() {
    let result_of = |status| {
        let state = json!({
            "code": "payment_intent_unexpected_state", "payment_intent": intent(status),
        });
        let second = attempt(2, Some("pi_1"), SendMode::First);
        charged(
            &response(400, &error_body("invalid_request_error", &state)),
            &second,
        )
    };
    assert_eq!(result_of("succeeded").unwrap(), paid());
    assert_eq!(result_of("canceled").unwrap(), declined(None, "canceled"));
    assert!(is_unknown(&result_of("processing")));
}

#[test]
fn an_unknown_payment_method_is_declined_and_other_invalid_fields_are_errors() {
    let result_of = |status, members: Value, charge: Charge<'_>| {
        charged(
            &response(status, &error_body("invalid_request_error", &members)),
            &charge,
        )
    };
    let method = json!({ "code": "resource_missing", "param": "payment_method" });
    let refused = declined(None, "invalid_payment_method");
    assert_eq!(result_of(400, method, first()).unwrap(), refused);
    assert_eq!(result_of(404, json!({}), first()).unwrap(), refused);
    let amount = json!({ "code": "amount_too_small", "param": "amount" });
    assert!(is_not_charged(&result_of(400, amount.clone(), first())));
    assert!(is_not_charged(&result_of(400, amount, retry())));
    let lost = json!({ "code": "resource_missing", "param": "intent" });
    assert!(is_not_charged(&result_of(404, lost.clone(), first())));
    assert!(is_unknown(&result_of(404, lost, retry())));
}

#[test]
fn a_rejected_api_key_rules_out_a_charge_only_at_the_first_attempt() {
    let body = error_body("invalid_request_error", &json!({}));
    for status in [401, 403] {
        assert!(is_not_charged(&charged(&response(status, &body), &first())));
        assert!(is_unknown(&charged(&response(status, &body), &retry())));
    }
}

#[test]
fn unexpected_responses_are_unknown() {
    let reused = error_body("idempotency_error", &json!({}));
    assert!(is_unknown(&charged(&response(400, &reused), &first())));
    for status in [100, 201, 204, 302, 409, 418, 429, 500, 502, 503, 504] {
        let outcome = charged(&response(status, &intent("succeeded")), &first());
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
            let response = StripeResponse {
                status,
                body: body.into(),
            };
            assert!(is_unknown(&charged(&response, &first())), "{status} {body}");
        }
    }
}

/// Found by the fuzz target `stripe_answers`.
#[test]
fn a_body_that_is_no_text_is_unknown_also_where_it_is_not_read() {
    let mut response = response(200, &intent("succeeded"));
    assert_eq!(charged(&response, &first()).unwrap(), paid());
    let unread = response.body.windows(7).position(|it| it == b"payment");
    response.body[unread.unwrap()] = 0xff;
    assert!(is_unknown(&charged(&response, &first())));
}

#[test]
fn a_refund_succeeds_when_it_names_the_payment_or_was_made_before() {
    let result_of = |status, body: Value| refunded(&response(status, &body), "pi_1");
    let refund = |status| json!({ "status": status, "payment_intent": "pi_1" });
    assert!(result_of(200, refund("succeeded")).is_ok());
    assert!(result_of(200, refund("pending")).is_ok());
    assert!(is_not_charged(&result_of(200, refund("failed"))));
    let other = json!({ "status": "succeeded", "payment_intent": "pi_2" });
    assert!(is_unknown(&result_of(200, other)));
    let before = error_body(
        "invalid_request_error",
        &json!({ "code": "charge_already_refunded" }),
    );
    assert!(result_of(400, before).is_ok());
    let unpaid = error_body("invalid_request_error", &json!({}));
    assert!(is_not_charged(&result_of(400, unpaid)));
    let reused = error_body("idempotency_error", &json!({}));
    assert!(is_unknown(&result_of(400, reused)));
    assert!(is_unknown(&result_of(503, json!({}))));
}

proptest! {
    #[test]
    fn random_responses_are_never_paid(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let outcome = charged(&StripeResponse { status, body }, &first());
        prop_assert!(!matches!(outcome, Ok(ChargeResult::Paid(_))));
    }
}
