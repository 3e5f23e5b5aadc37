//! Payment client against localstripe: an order is charged once, under every fault of the gateway.
//!
//! Not through the API, because it does not show how the client classifies each answer.

use std::time::Duration;

use flash_sale::{
    domain::{Payment, PaymentStatus, Secret},
    payment::{Charge, ChargeResult, Error, Gateway, SendMode, stripe::Stripe},
};
use rstest::rstest;
use uuid::Uuid;

use crate::support::gateway::{Fault, Gateway as Server};

const WITHIN: Duration = Duration::from_secs(10);
/// Time-out for unanswered calls: longer than an answer takes, short enough to wait for.
const SHORT_TIMEOUT: Duration = Duration::from_millis(700);

const GOOD: &str = "pm_card_visa";
/// localstripe's name for a card that is accepted and then declined.
const DECLINING: &str = "pm_card_chargeCustomerFail";

fn client_of(url: &str, key: &str) -> Gateway {
    Gateway::Stripe(Stripe::new(url, &Secret::new(key)).unwrap().into())
}

fn client(server: &Server) -> Gateway {
    client_of(&server.url(), Server::key())
}

fn first(order_id: Uuid, payment_method: &str) -> Charge<'_> {
    Charge {
        order_id,
        amount: 1_999,
        currency: "EUR",
        payment_method,
        intent: None,
        attempt: 1,
        mode: SendMode::First,
    }
}

fn again(charge: Charge<'_>) -> Charge<'_> {
    Charge {
        mode: SendMode::Retry,
        ..charge
    }
}

#[track_caller]
fn paid(charged: Result<ChargeResult, Error>) -> Payment {
    match charged {
        Ok(ChargeResult::Paid(payment)) => payment,
        other => panic!("not paid: {other:?}"),
    }
}

#[track_caller]
fn declined(charged: Result<ChargeResult, Error>) -> (Option<String>, String) {
    match charged {
        Ok(ChargeResult::Declined { intent, reason }) => (intent, reason),
        other => panic!("not declined: {other:?}"),
    }
}

#[track_caller]
fn unknown<T: std::fmt::Debug>(outcome: &Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_good_card_is_charged_once_and_the_order_is_named() {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());

    let payment = paid(gateway.charge(&first(order, GOOD), WITHIN).await);
    let repeated = paid(gateway.charge(&again(first(order, GOOD)), WITHIN).await);

    assert_eq!(payment, repeated);
    assert_eq!(payment.status, PaymentStatus::Succeeded);
    let charges = server.charges_of(order).await;
    assert_eq!(charges.len(), 1, "{charges:?}");
    assert_eq!(charges[0]["amount"], 1_999);
    assert_eq!(charges[0]["currency"], "eur");
    assert_eq!(charges[0]["payment_intent"], payment.id);
}

#[tokio::test]
async fn another_card_after_a_decline_pays_the_same_intent() {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());

    let (intent, reason) = declined(gateway.charge(&first(order, DECLINING), WITHIN).await);
    assert_eq!(reason, "card_declined");
    assert_eq!(server.charges_of(order).await.len(), 0);
    let mut next = first(order, DECLINING);
    (next.intent, next.attempt) = (intent.as_deref(), 2);
    let (same, _) = declined(gateway.charge(&next, WITHIN).await);
    assert_eq!(same, intent);
    (next.payment_method, next.attempt) = (GOOD, 3);
    let payment = paid(gateway.charge(&next, WITHIN).await);
    // Under a new key too: an intent that has succeeded is not charged again.
    next.attempt = 4;
    assert_eq!(paid(gateway.charge(&next, WITHIN).await), payment);

    assert_eq!(Some(payment.id), intent);
    assert_eq!(server.intents_of(order).await.len(), 1);
    assert_eq!(server.charges_of(order).await.len(), 1);
}

/// Until it is cancelled, the buyer can make it succeed.
#[tokio::test]
async fn a_payment_that_requires_authentication_is_cancelled_before_another_card_pays() {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());
    let secured = server.card("4000002500003155").await;

    let charged = gateway.charge(&first(order, &secured), WITHIN).await;
    let intent = match &charged {
        Ok(ChargeResult::RequiresAction { intent, .. }) => intent.clone(),
        other => panic!("no action is required: {other:?}"),
    };
    assert_eq!(server.charges_of(order).await.len(), 0);
    let mut next = again(first(order, GOOD));
    next.intent = Some(&intent);
    assert_eq!(
        gateway.state(&next, WITHIN).await.unwrap(),
        charged.unwrap()
    );
    for _ in 0..2 {
        let (left, _) = declined(gateway.cancel(&next, WITHIN).await);
        assert_eq!(left, None);
    }
    (next.intent, next.attempt) = (None, 2);
    let payment = paid(gateway.charge(&next, WITHIN).await);
    next.intent = Some(&payment.id);
    assert_eq!(paid(gateway.cancel(&next, WITHIN).await), payment);

    assert_ne!(payment.id, intent);
    assert_eq!(server.charges_of(order).await.len(), 1);
}

#[rstest]
#[case(Fault::LoseAnswer)]
#[case(Fault::HoldAnswer)]
#[case(Fault::Hold)]
#[case(Fault::Garbage)]
#[case(Fault::Truncated)]
#[case(Fault::Endless)]
#[case(Fault::WrongAmount)]
#[case(Fault::Status(500))]
#[case(Fault::Status(503))]
#[case(Fault::Status(429))]
#[case(Fault::Status(409))]
#[case(Fault::Status(302))]
#[tokio::test]
async fn a_retry_resolves_an_unclear_answer(#[case] fault: Fault) {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());

    server.set(fault).await;
    unknown(&gateway.charge(&first(order, GOOD), SHORT_TIMEOUT).await);
    unknown(
        &gateway
            .charge(&again(first(order, GOOD)), SHORT_TIMEOUT)
            .await,
    );
    server.set(Fault::None).await;
    let payment = paid(gateway.charge(&again(first(order, GOOD)), WITHIN).await);

    let charges = server.charges_of(order).await;
    assert_eq!(charges.len(), 1, "{charges:?}");
    assert_eq!(charges[0]["payment_intent"], payment.id);
}

#[tokio::test]
async fn a_retry_returns_a_lost_decline() {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());

    server.set(Fault::LoseAnswer).await;
    unknown(
        &gateway
            .charge(&first(order, DECLINING), SHORT_TIMEOUT)
            .await,
    );
    server.set(Fault::None).await;
    let (intent, _) = declined(
        gateway
            .charge(&again(first(order, DECLINING)), WITHIN)
            .await,
    );

    assert!(intent.is_some());
    assert_eq!(server.intents_of(order).await.len(), 1);
}

/// Nothing was sent, so nothing was charged, unless an earlier attempt was sent.
#[tokio::test]
async fn a_gateway_that_is_down_charges_nothing_but_a_retry_stays_unknown() {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());

    // Leaves an open connection in the pool, which the next call tries.
    paid(gateway.charge(&first(Uuid::now_v7(), GOOD), WITHIN).await);
    server.set(Fault::Down).await;
    let outcome = gateway.charge(&first(order, GOOD), SHORT_TIMEOUT).await;
    assert!(matches!(outcome, Err(Error::NotCharged(_))), "{outcome:?}");
    unknown(
        &gateway
            .charge(&again(first(order, GOOD)), SHORT_TIMEOUT)
            .await,
    );
    server.set(Fault::None).await;

    assert_eq!(server.intents_of(order).await.len(), 0);
}

/// The client sends its key only to a host that shows its certificate.
#[tokio::test]
async fn a_host_without_a_certificate_receives_no_request() {
    let server = Server::start().await;
    let order = Uuid::now_v7();
    let gateway = client_of(&server.url().replace("http:", "https:"), Server::key());

    let outcome = gateway.charge(&first(order, GOOD), WITHIN).await;

    assert!(matches!(outcome, Err(Error::NotCharged(_))), "{outcome:?}");
    assert_eq!(server.intents_of(order).await.len(), 0);
}

#[tokio::test]
async fn a_wrong_key_charges_nothing_and_is_not_shown() {
    let server = Server::start().await;
    let order = Uuid::now_v7();
    let gateway = client_of(&server.url(), "hunter2");

    let outcome = gateway.charge(&first(order, GOOD), WITHIN).await;

    assert!(matches!(outcome, Err(Error::NotCharged(_))), "{outcome:?}");
    assert!(!format!("{gateway:?}{outcome:?}").contains("hunter2"));
    assert_eq!(server.intents_of(order).await.len(), 0);
}

#[tokio::test]
async fn a_payment_method_cannot_inject_other_fields() {
    let server = Server::start().await;
    let gateway = client(&server);

    let long = format!("pm_{}", "x".repeat(100_000));
    for method in [
        "pm_card_visa&amount=1",
        "pm_x\r\nIdempotency-Key: other",
        "pm_\u{0}\u{1F600}",
        "pm_%26%3D+ ",
        "",
        "none",
        &long,
    ] {
        let order = Uuid::now_v7();
        let outcome = gateway.charge(&first(order, method), WITHIN).await;
        assert_eq!(
            declined(outcome).1,
            "invalid_payment_method",
            "{method:.40}"
        );
        assert_eq!(server.charges_of(order).await.len(), 0);
    }
}

#[tokio::test]
async fn a_payment_is_refunded_once() {
    let server = Server::start().await;
    let (gateway, order) = (client(&server), Uuid::now_v7());
    let payment = paid(gateway.charge(&first(order, GOOD), WITHIN).await);

    server.set(Fault::LoseAnswer).await;
    let charge = Charge {
        intent: Some(&payment.id),
        ..first(order, GOOD)
    };
    unknown(&gateway.refund(&charge, SHORT_TIMEOUT).await);
    server.set(Fault::None).await;
    for _ in 0..2 {
        gateway.refund(&charge, WITHIN).await.unwrap();
    }

    let refunds = server.refunds_of(order).await;
    assert_eq!(refunds.len(), 1, "{refunds:?}");
    assert_eq!(refunds[0]["amount"], 1_999);
}

/// Plain localstripe, as in a trial set-up of the service.
#[tokio::test]
async fn plain_localstripe_is_a_valid_gateway() {
    let server = crate::support::localstripe::Localstripe::start().await;
    let gateway = client_of(server.url(), Server::key());
    let order = Uuid::now_v7();

    let (intent, _) = declined(gateway.charge(&first(order, DECLINING), WITHIN).await);
    let mut next = first(order, GOOD);
    (next.intent, next.attempt) = (intent.as_deref(), 2);
    let payment = paid(gateway.charge(&next, WITHIN).await);

    next.intent = Some(&payment.id);
    gateway.refund(&next, WITHIN).await.unwrap();
}
