//! Checks of stock: nothing oversold, no demand unserved while stock is left, units conserved.

use super::{Evidence, check_result, is_open_ended};
use crate::{
    report::Check,
    scenario::Expect,
    shop::{Offer, ProductRows},
};

/// Every product sold the smaller of demand and stock.
pub(super) fn sold(evidence: &Evidence, expect: &Expect) -> Check {
    let (sold, possible) = (evidence.sold(), evidence.possible());
    let mut breaches = Vec::new();
    for (index, (sold, possible)) in sold.iter().zip(&possible).enumerate() {
        let Some(offer) = evidence.offers.get(index) else {
            continue;
        };
        let (sold, possible) = (*sold, *possible);
        let stock = u64::from(offer.stock);
        if sold > stock {
            breaches.push(format!(
                "{} oversold: {sold} units of {stock}; its last orders: {}",
                name(offer),
                last_orders(evidence, index)
            ));
        } else if sold > possible && evidence.is_full_service {
            breaches.push(format!(
                "{}: {sold} units sold, but the demand was {possible}",
                name(offer)
            ));
        } else if sold < possible && !is_open_ended(expect) {
            breaches.push(format!(
                "{}: {} of {possible} units unsold, and {}",
                name(offer),
                possible - sold,
                buyers_without(evidence, index)
            ));
        }
    }
    let (sold, possible) = (sold.iter().sum::<u64>(), possible.iter().sum::<u64>());
    let detail = if is_open_ended(expect) {
        format!("{sold} units sold; the load ended before the stock")
    } else {
        format!("{sold} units sold, {possible} possible")
    };
    let promise = if is_open_ended(expect) {
        "no more units sold than in stock"
    } else {
        "sold as many as possible, no more and no fewer"
    };
    check_result(promise, detail, breaches)
}

/// Every unit is in stock or in a live order.
pub(super) fn conserved(evidence: &Evidence) -> Check {
    let sold = evidence.sold();
    let mut breaches = Vec::new();
    for ((offer, row), sold) in evidence.offers.iter().zip(&evidence.rows).zip(&sold) {
        let sold = i64::try_from(*sold).unwrap_or(i64::MAX);
        let ProductRows {
            stock, stock_total, ..
        } = *row;
        if stock < 0 || stock.saturating_add(sold) != stock_total {
            breaches.push(format!(
                "{}: {stock} left and {sold} in live orders do not add up to {stock_total}",
                name(offer)
            ));
        }
        if stock_total != i64::from(offer.stock) {
            breaches.push(format!(
                "{}: created with {} units, but its stock_total is {stock_total}",
                name(offer),
                offer.stock
            ));
        }
    }
    let detail = format!("{} products", evidence.offers.len());
    check_result(
        "conservation: stock_total = left + in live orders",
        detail,
        breaches,
    )
}

fn name(offer: &Offer) -> String {
    format!("product {} ({})", offer.id, offer.sku)
}

fn last_orders(evidence: &Evidence, product: usize) -> String {
    let Some(row) = evidence.rows.get(product) else {
        return String::new();
    };
    let mut ids: Vec<_> = row.orders.iter().map(|order| order.id).collect();
    // UUIDs of version 7 are in order of creation.
    ids.sort();
    let last: Vec<String> = ids.iter().rev().take(3).map(ToString::to_string).collect();
    last.join(", ")
}

/// How many buyers have no order, and one of them by name.
fn buyers_without(evidence: &Evidence, product: usize) -> String {
    let last = evidence.last_answers();
    let mut buyers: Vec<_> = last
        .values()
        .filter(|sample| sample.planned.product == product && sample.answer.order.is_none())
        .collect();
    buyers.sort_by_key(|sample| sample.planned.number);
    match buyers.first() {
        None => "every buyer has an order".to_owned(),
        Some(sample) => format!(
            "{} buyers got none, such as {} ({})",
            buyers.len(),
            evidence.user(sample.planned.user),
            sample.answer.code.name()
        ),
    }
}
