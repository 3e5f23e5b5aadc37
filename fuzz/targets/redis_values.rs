//! What other nodes left in Redis: cached products and stock events, as foreign or older nodes write
//! them.

#![no_main]

use flash_sale::{domain::Product, stock_events::StockEvent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(product) = serde_json::from_slice::<Product>(data) {
        let text = serde_json::to_string(&product).expect("a product can be written");
        assert_eq!(serde_json::from_str::<Product>(&text).ok(), Some(product));
    }
    drop(serde_json::from_slice::<StockEvent>(data));
});
