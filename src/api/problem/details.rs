//! The `detail` texts of problems; those of order refusals are in `order_refusal.rs`.

use std::borrow::Cow;

use super::{Problem, order_refusal};
use crate::{
    admission::{RateLimited, StreamRefused},
    domain::OrderId,
    metrics::connections::StreamBound,
};

const FOREIGN_HOST: &str = "Without OPS_PASSWORD these pages have no name but an address, localhost or \
                            the machine's.";
const KEYS_UNAVAILABLE: &str = "The identity provider cannot be reached, so that tokens cannot be \
                                checked yet. Please try again.";
const PAYMENT_UNAVAILABLE: &str = "The payment gateway or the database cannot be reached, or refused \
                                   the request; no money was moved. Please try again.";

impl Problem {
    pub(super) fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::PayloadTooLarge { limit } => {
                format!("The body is larger than {limit} bytes.").into()
            }
            Self::UnsupportedMediaType => "Send the body as application/json.".into(),
            Self::Unauthenticated { detail } => (*detail).into(),
            Self::Forbidden => "This needs the role admin.".into(),
            Self::ForeignHost => FOREIGN_HOST.into(),
            Self::MalformedJson { detail } => format!("The body is not JSON: {detail}.").into(),
            Self::InvalidRequest { errors } => errors
                .iter()
                .map(|error| format!("{}: {}", error.field, error.message))
                .collect::<Vec<_>>()
                .join("; ")
                .into(),
            Self::RateLimited(refusal) => too_many("orders", refusal),
            Self::ConfirmationsLimited(refusal) => too_many("confirmations", refusal),
            Self::PaymentsExhausted { limit, .. } => exhausted(*limit),
            Self::AddressRateLimited(refusal) => too_many("requests from your address", refusal),
            Self::StreamLimit(StreamRefused(bound)) => stream_limit(*bound),
            Self::NotFound => "There is nothing at this address.".into(),
            Self::MethodNotAllowed => "This address does not know the method.".into(),
            Self::ProductNotFound => "There is no such product.".into(),
            Self::OrderNotFound => "There is no such order, or it is not yours.".into(),
            Self::OrderNotPending { order_status } => {
                format!("The order is {order_status}.").into()
            }
            Self::NotWaiting => "You do not wait for this product.".into(),
            Self::PaymentDeclined { reason } => {
                format!("The payment was declined: {reason}. The order is held until it expires.")
                    .into()
            }
            Self::PaymentsDisabled => "This service takes no payments: PAYMENTS is none.".into(),
            Self::InvalidSignature { reason } => format!("The event is refused: {reason}.").into(),
            Self::SkuTaken => "Another product has this sku.".into(),
            Self::HasLiveOrders => "Pending or sold orders hold units of this product.".into(),
            Self::Refused(refusal) => order_refusal::detail(refusal),
            Self::HighDemand => "High demand! Please try again.".into(),
            Self::Unavailable => {
                "Orders cannot be taken right now; nothing was written. Please try again.".into()
            }
            Self::KeysUnavailable => KEYS_UNAVAILABLE.into(),
            Self::PaymentUnavailable => PAYMENT_UNAVAILABLE.into(),
            Self::NotInTime => "The database did not answer in time. Please try again.".into(),
            Self::RequestTimeout => "The body did not arrive in time.".into(),
            Self::OutcomeUnknown { order_id } => format!(
                "It is not known yet whether order {order_id} was taken. Ask for it, or repeat \
                 the request with the same Idempotency-Key."
            )
            .into(),
            Self::PaymentUnknown { order_id } => payment_unknown(*order_id),
            Self::Internal { .. } => "Something went wrong on our side; it was logged.".into(),
        }
    }
}

fn too_many(what: &str, refusal: &RateLimited) -> Cow<'static, str> {
    format!("You sent more than {} {what} a minute.", refusal.limit).into()
}

fn exhausted(limit: u32) -> Cow<'static, str> {
    let text = "payments of this order were declined; it cannot be paid any more and expires.";
    format!("{limit} {text}").into()
}

fn payment_unknown(order_id: OrderId) -> Cow<'static, str> {
    format!(
        "It is not known yet whether the payment of order {order_id} was made or refunded. Ask for \
         the order: the service completes what has begun by itself, and a pending order was not \
         charged."
    )
    .into()
}

fn stream_limit(bound: StreamBound) -> Cow<'static, str> {
    match bound {
        StreamBound::Node => "Too many event streams are open. Please try again.".into(),
        StreamBound::User => "You have too many event streams open.".into(),
        StreamBound::Address => "Your address has too many event streams open.".into(),
    }
}
