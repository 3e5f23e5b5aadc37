//! The tables of flash-sale as SeaORM entities: shape only, no behaviour.

pub mod order_status;
pub mod orders;
pub mod products;
pub mod waitlist_entries;
