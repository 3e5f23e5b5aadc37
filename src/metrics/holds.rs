//! Metrics of expired holds and of waitlist offers with their outcomes.

use metrics::{Counter, counter, describe_counter, describe_gauge};

/// The outcomes of an offer.
const OFFER_OUTCOMES: [&str; 4] = ["offered", "confirmed", "expired", "cancelled"];

pub(super) fn init() {
    describe_counter!(
        "flash_sale_holds_expired_total",
        "Orders whose hold expired unpaid."
    );
    describe_counter!(
        "flash_sale_waitlist_promoted_total",
        "Waitlist entries that became orders."
    );
    describe_counter!(
        "flash_sale_waitlist_offers_total",
        "Orders made for waitlist entries, by outcome: offered, confirmed, expired, cancelled."
    );
    describe_gauge!(
        "flash_sale_waitlist",
        "Entries that wait for the product, as this node last counted them."
    );
    counter!("flash_sale_holds_expired_total").absolute(0);
    counter!("flash_sale_waitlist_promoted_total").absolute(0);
    for outcome in OFFER_OUTCOMES {
        offers(outcome).absolute(0);
    }
}

fn offers(outcome: &'static str) -> Counter {
    counter!("flash_sale_waitlist_offers_total", "outcome" => outcome)
}

pub fn expired(orders: usize) {
    counter!("flash_sale_holds_expired_total").increment(count(orders));
}

pub fn offered(orders: usize) {
    counter!("flash_sale_waitlist_promoted_total").increment(count(orders));
    offers("offered").increment(count(orders));
}

pub fn offer_confirmed() {
    offers("confirmed").increment(1);
}

pub fn offer_expired() {
    offers("expired").increment(1);
}

pub fn offer_cancelled() {
    offers("cancelled").increment(1);
}

fn count(orders: usize) -> u64 {
    u64::try_from(orders).unwrap_or(u64::MAX)
}
