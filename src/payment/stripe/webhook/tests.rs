//! Signed, forged, late and replayed events. The signatures were made with Python's `hmac`.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const SECRET: &str = "whsec_test_secret";
const SENT: i64 = 1_767_225_600;
const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
/// Of `SECRET`, `SENT` and `BODY`.
const SIGNATURE: &str = "238d47ccc3251152491130a4587f0a855c0e33e88993ce968255c6d168ef7601";
/// Of another secret.
const OTHER: &str = "63c6684a0f37643c6a33989cb85a0bd5ad16aaebc40a129aad57d3efe775ff23";

fn verified(header: &str, body: &[u8], seconds_later: i64) -> Result<(), Error> {
    let now = DateTime::from_timestamp(SENT + seconds_later, 0).unwrap();
    verify(&Secret::new(SECRET), header, body, now)
}

/// The header of a body that is sent at `SENT`.
fn signed(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{SENT}.").as_bytes());
    mac.update(body);
    let tag = mac.finalize().into_bytes();
    let mut header = format!("t={SENT},v1=");
    for byte in tag {
        write!(header, "{byte:02x}").unwrap();
    }
    header
}

fn read_at_once(body: &serde_json::Value) -> Result<Option<Notice>, Error> {
    let body = body.to_string();
    let now = DateTime::from_timestamp(SENT, 0).unwrap();
    let header = signed(body.as_bytes());
    read(&Secret::new(SECRET), Some(&header), body.as_bytes(), now)
}

#[test]
fn one_right_signature_of_several_is_enough() {
    for header in [
        format!("t={SENT},v1={SIGNATURE}"),
        format!("t={SENT},v1={OTHER},v1={SIGNATURE},v0={OTHER}"),
        format!("v1={SIGNATURE}, t={SENT}"),
    ] {
        assert_eq!(verified(&header, BODY, 0), Ok(()), "{header}");
    }
}

#[test]
fn a_forged_event_is_refused() {
    let header = format!("t={SENT},v1={SIGNATURE}");
    let refused = Err(Error::Signature);
    assert_eq!(verified(&header, b"{}", 0), refused);
    for header in [
        format!("t={},v1={SIGNATURE}", SENT + 1),
        format!("t=+{SENT},v1={SIGNATURE}"),
        format!("t={SENT},v1={OTHER}"),
        format!("t={SENT},v0={SIGNATURE}"),
        format!("t={SENT},v1={}", &SIGNATURE[..62]),
        format!("t={SENT},v1={SIGNATURE}00"),
        format!("t={SENT},v1="),
        format!("t={SENT}"),
        format!("t={SENT}{}", format!(",v1={OTHER}").repeat(8)) + &format!(",v1={SIGNATURE}"),
    ] {
        assert_eq!(verified(&header, BODY, 0), refused, "{header}");
    }
    for header in [
        String::new(),
        format!("v1={SIGNATURE}"),
        format!("t=,v1={SIGNATURE}"),
        format!("t={SENT},t={SENT},v1={SIGNATURE}"),
        format!("t=99999999999999999,v1={SIGNATURE}"),
        format!("t={SENT},v1={SIGNATURE},"),
    ] {
        assert_eq!(
            verified(&header, BODY, 0),
            Err(Error::Malformed),
            "{header}"
        );
    }
}

#[test]
fn an_event_is_valid_for_five_minutes_around_its_time() {
    let header = format!("t={SENT},v1={SIGNATURE}");
    for seconds in [-300, 300] {
        assert_eq!(verified(&header, BODY, seconds), Ok(()));
        let late = seconds + seconds.signum();
        assert_eq!(verified(&header, BODY, late), Err(Error::Time));
    }
}

#[test]
fn an_event_that_ends_a_payment_names_the_order_and_the_intent() {
    let order = OrderId::from_u128(7);
    let event = |kind: &str, object| json!({ "type": kind, "data": { "object": object } });
    let intent = json!({ "id": "pi_1", "metadata": { "order_id": order } });
    let notice = Notice {
        order_id: order,
        intent: "pi_1".to_owned(),
    };
    for kind in TYPES {
        let read = read_at_once(&event(kind, intent.clone()));
        assert_eq!(read, Ok(Some(notice.clone())), "{kind}");
    }
    assert_eq!(read_at_once(&event("charge.succeeded", intent)), Ok(None));
    for object in [
        json!({}),
        json!(null),
        json!({ "id": "pi_1", "metadata": { "order_id": 7 } }),
    ] {
        assert_eq!(read_at_once(&event(TYPES[0], object)), Ok(None));
    }
    assert_eq!(read_at_once(&json!({})), Err(Error::Event));
}

proptest! {
    #[test]
    fn no_header_is_accepted_without_the_secret(header in ".{0,200}") {
        prop_assert!(verified(&header, BODY, 0).is_err());
    }
}
