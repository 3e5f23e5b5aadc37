//! SeaORM entities of the tables: columns and enums only, no behaviour.

pub mod audit;
pub mod order_status;
pub mod orders;
pub mod payment_status;
pub mod products;
pub mod stray_payments;
pub mod waitlist_entries;
pub mod waitlist_status;
