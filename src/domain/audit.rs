//! The audit trail: who changed a product or an order, and what the change was.
//!
//! Rows hold no secret and no payment method.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use strum::{Display, EnumIter, EnumString};
use uuid::{NoContext, Timestamp, Uuid};

use super::{Order, Product, TraceContext, UserId};

/// Who causes a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The `sub` of the caller's token, or `SERVICE`.
    pub id: UserId,
    pub role: ActorRole,
    /// The `X-Request-Id` of the call.
    pub request_id: Option<String>,
    /// The trace of the call, for the log; the row does not keep it.
    pub trace: Option<TraceContext>,
}

/// The actor of what the service does without a caller.
const SERVICE: &str = "flash-sale";

impl Actor {
    /// The service itself, for work that continues or starts without a caller.
    pub fn service() -> Arc<Self> {
        Arc::new(Self {
            id: UserId::from(SERVICE),
            role: ActorRole::Service,
            request_id: None,
            trace: None,
        })
    }
}

#[derive(Clone, Copy, Debug, Display, EnumString, PartialEq, Eq, Hash)]
#[strum(serialize_all = "snake_case")]
pub enum ActorRole {
    Admin,
    Buyer,
    Service,
}

/// What was done. `Other` holds an action that only a later release knows.
#[derive(Clone, Debug, Display, EnumIter, EnumString, PartialEq, Eq)]
pub enum AuditAction {
    #[strum(serialize = "product.create")]
    CreateProduct,
    #[strum(serialize = "product.change")]
    ChangeProduct,
    #[strum(serialize = "product.restock")]
    Restock,
    #[strum(serialize = "product.archive")]
    ArchiveProduct,
    #[strum(serialize = "order.cancel")]
    CancelOrder,
    /// A refund was requested; `order.cancel` follows when the money has been returned.
    #[strum(serialize = "order.refund")]
    RefundOrder,
    /// An admin settled a payment whose outcome no gateway reported.
    #[strum(serialize = "order.resolve")]
    ResolveOrder,
    /// An admin confirmed an order that was paid outside of the service.
    #[strum(serialize = "order.confirm")]
    ConfirmOrder,
    #[strum(default, to_string = "{0}")]
    Other(String),
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// A version 7 UUID of the time `at`, so that ids are in the order of time.
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub actor: Arc<Actor>,
    pub action: AuditAction,
    /// The id of the product or order.
    pub target: Uuid,
    /// What the action changed, as it was before; null for something new.
    pub before: Value,
    pub after: Value,
}

/// What an action changed: the state before, and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub before: Value,
    pub after: Value,
}

impl AuditRow {
    pub fn new(
        actor: &Arc<Actor>,
        action: AuditAction,
        target: Uuid,
        change: Change,
        at: DateTime<Utc>,
    ) -> Self {
        let Change { before, after } = change;
        let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
        let time = Timestamp::from_unix(NoContext, seconds, at.timestamp_subsec_nanos());
        Self {
            id: Uuid::new_v7(time),
            at,
            actor: Arc::clone(actor),
            action,
            target,
            before,
            after,
        }
    }
}

impl Change {
    /// Something that did not exist before.
    pub fn new(after: Value) -> Self {
        let before = Value::Null;
        Self { before, after }
    }

    /// The members of two objects that differ.
    pub fn between(before: Value, after: Value) -> Self {
        let (Value::Object(mut before), Value::Object(mut after)) = (before, after) else {
            return Self::new(Value::Null);
        };
        before.retain(|name, value| {
            let same = after.get(name) == Some(value);
            if same {
                after.remove(name);
            }
            !same
        });
        Self {
            before: before.into(),
            after: after.into(),
        }
    }
}

/// A product in the audit trail: its fields as the API names them.
pub fn product_state(product: &Product) -> Value {
    let Ok(Value::Object(mut state)) = serde_json::to_value(product) else {
        return Value::Null;
    };
    state.remove("id");
    let level = product.stock;
    let stock = [
        ("stock_total", level.total),
        ("stock", level.on_hand),
        ("stock_reserved", level.reserved),
    ];
    for (name, units) in stock {
        state.insert(name.to_owned(), units.into());
    }
    state.into()
}

/// An order in the audit trail: what a cancellation, a refund or a payment changes.
pub fn order_state(order: &Order) -> Value {
    let mut state = Map::new();
    state.insert("status".to_owned(), json!(order.status));
    if let Some(payment) = &order.payment {
        state.insert("payment".to_owned(), json!(payment));
    }
    if let Some(payment) = &order.external_payment {
        state.insert("external_payment".to_owned(), json!(payment));
    }
    state.into()
}

/// The lowest version 7 UUID of the millisecond of `at`.
pub fn first_id_of(at: DateTime<Utc>) -> Uuid {
    let milliseconds = u128::try_from(at.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(milliseconds << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_the_members_that_differ() {
        let before = json!({ "price": 1, "name": "a", "gone": true });
        let after = json!({ "price": 2, "name": "a", "new": [] });
        let change = Change::between(before, after);
        assert_eq!(change.before, json!({ "price": 1, "gone": true }));
        assert_eq!(change.after, json!({ "price": 2, "new": [] }));
    }

    #[test]
    fn every_action_is_read_as_it_is_written() {
        for action in ["product.create", "order.refund", "a.later.one"] {
            let read: AuditAction = action.parse().unwrap();
            assert_eq!(read.to_string(), action);
        }
        assert_eq!("order.cancel".parse(), Ok(AuditAction::CancelOrder));
    }

    #[test]
    fn ids_are_in_the_order_of_time() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let time = at("2026-05-01T10:00:00.123456Z");
        let change = Change::new(json!({}));
        let target = Uuid::nil();
        let row = AuditRow::new(
            &Actor::service(),
            AuditAction::Restock,
            target,
            change,
            time,
        );
        assert!(first_id_of(time) < row.id);
        assert!(row.id < first_id_of(at("2026-05-01T10:00:00.124Z")));
    }
}
