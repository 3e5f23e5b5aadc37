//! Lanes inside the test, for what no request can bring about; they use the database of a shop.

use std::{sync::Arc, time::Duration};

use flash_sale::{
    domain::{OrderId, OrderRequest},
    lock::Lock,
    sequencer::{LaneBounds, Parts, Sequencer, write_within},
    stock_events::StockEvents,
    store::{Connections, Store, Url},
    tasks::Tasks,
    telemetry::traces::Tracer,
    user_events::UserEvents,
};
use uuid::Uuid;

pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn sequencer(database_url: &str, draw_reference: fn() -> String) -> Sequencer {
    let tasks = Tasks::default();
    let connections = Connections {
        max: 4,
        write_within: write_within(REQUEST_TIMEOUT),
    };
    let parts = Parts {
        store: Store::connect(&Url::new(database_url), connections)
            .await
            .unwrap(),
        lock: Lock::local(Duration::from_secs(2)),
        stock_events: StockEvents::new(None, &tasks),
        user_events: UserEvents::new(None, &tasks),
        redis: None,
        tasks,
        tracer: Tracer::default(),
        draw_reference,
    };
    let bounds = LaneBounds {
        batch_max: 32,
        queue_max: 1_000,
        patience: Duration::from_secs(5),
        request_timeout: REQUEST_TIMEOUT,
    };
    Sequencer::new(parts, bounds)
}

/// An order of one unit.
pub(crate) fn order(user: &str, product: Uuid) -> OrderRequest {
    OrderRequest {
        order_id: OrderId::now_v7(),
        product_id: product,
        user_id: Arc::from(user),
        quantity: 1,
        waitlist: false,
        key: None,
    }
}
