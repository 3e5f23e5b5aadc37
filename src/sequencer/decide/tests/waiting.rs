//! What every decision must keep while people wait: random wishes, batch after batch, against a
//! model of what was written.

use super::*;
use crate::domain::WaitingStatus;

mod shop;

use self::shop::{Shop, Step, step};

/// Whoever was offered something came before everybody who still waits and would have fitted.
fn offered_in_order(before: &[Queued], decision: &Decision, skips: bool) {
    let mut offered = decision
        .offered
        .iter()
        .map(|(id, _)| *id)
        .collect::<Vec<_>>();
    offered.retain(|id| before.iter().any(|queued| queued.id == *id));
    let order: Vec<_> = before.iter().map(|queued| queued.id).collect();
    let left = |queued: &&Queued| decision.left.contains(&queued.id);
    let gone: Vec<_> = before.iter().filter(left).map(|queued| queued.id).collect();
    if !skips {
        let expected: Vec<_> = order
            .iter()
            .filter(|id| !gone.contains(id))
            .copied()
            .collect();
        assert_eq!(offered, expected[..offered.len()], "served out of turn");
    }
}

/// Where those who fit may pass, nobody who came later has what somebody waits for.
fn nobody_was_passed(before: &[Queued], shop: &Shop, decision: &Decision) {
    let sold = decision.verdicts.iter().filter_map(created);
    let most = sold.map(|order| order.quantity).max().unwrap_or(0);
    let waits = |queued: &&Queued| shop.queue.iter().any(|still| still.id == queued.id);
    for queued in before.iter().filter(waits) {
        assert!(queued.quantity > most, "{queued:?} saw {most} units go");
    }
}

/// One batch, and then those that it asks for.
fn act(shop: &mut Shop, steps: &[Step], looks: usize) -> Vec<Verdict> {
    let wishes: Vec<_> = steps.iter().filter_map(|step| shop.wish(step)).collect();
    let (mut next, mut verdicts) = (wishes, None);
    loop {
        let before = shop.queue.clone();
        let facts = shop.facts(&next, looks);
        let decision = decide(&shop.product, facts, next.iter(), shop.now, reference);
        assert_eq!(decision.verdicts.len(), next.len());
        offered_in_order(&before, &decision, shop.product.waitlist_skip);
        shop.write(&decision);
        if shop.product.waitlist_skip {
            nobody_was_passed(&before, shop, &decision);
        }
        let more = decision.more;
        verdicts.get_or_insert(decision.verdicts);
        if !more {
            shop.check();
            return verdicts.unwrap();
        }
        next = vec![Wish::Tend];
    }
}

proptest! {
    #[test]
    fn units_go_round_and_none_is_lost(
        stock in 0..12, skips in any::<bool>(), limit in prop::option::of(1..8), looks in 1..6_usize,
        batches in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..30),
    ) {
        let mut shop = Shop::open(stock, skips, limit);
        for batch in batches {
            act(&mut shop, &batch, looks);
        }
    }
}

fn buy(user: usize, quantity: i32, waits: bool) -> Step {
    Step::Buy {
        user,
        quantity,
        waits,
    }
}

#[test]
fn what_comes_back_is_not_for_newcomers_while_somebody_waits() {
    let mut shop = Shop::open(1, false, None);
    act(&mut shop, &[buy(0, 1, false)], 9);
    act(&mut shop, &[buy(1, 2, true)], 9);
    let cancelled = act(&mut shop, &[Step::Cancel(0)], 9);
    assert!(matches!(cancelled[..], [Verdict::Cancelled(_)]));
    assert_eq!(shop.product.stock, 1, "too little for who waits");
    let newcomer = act(&mut shop, &[buy(2, 1, false)], 9);
    let sold_out = Outcome::SoldOut { waitlist: true };
    assert_eq!(newcomer, [Verdict::Order(sold_out)]);
    act(&mut shop, &[Step::Restock(1)], 9);
    assert_eq!(shop.product.stock, 0, "now it is enough");
}

#[test]
fn one_who_wants_more_than_there_ever_was_keeps_nobody_from_buying() {
    let mut shop = Shop::open(5, false, None);
    let waits = act(&mut shop, &[buy(0, 6, true)], 9);
    assert!(matches!(
        waits[..],
        [Verdict::Order(Outcome::Waitlisted(_))]
    ));
    let buys = act(&mut shop, &[buy(1, 5, false)], 9);
    assert!(matches!(buys[..], [Verdict::Order(Outcome::Created(_))]));
}

#[test]
fn one_who_leaves_and_comes_again_in_one_batch_waits_once_and_last() {
    let mut shop = Shop::open(0, false, None);
    act(&mut shop, &[buy(0, 1, true), buy(1, 1, true)], 9);
    act(
        &mut shop,
        &[
            Step::Leave(0),
            buy(0, 2, true),
            Step::Leave(0),
            buy(0, 3, true),
        ],
        9,
    );
    let queue: Vec<_> = shop.queue.iter().map(|queued| queued.quantity).collect();
    assert_eq!(queue, [1, 3]);
}

#[test]
fn whoever_joins_before_a_restock_of_the_same_batch_is_served_by_it() {
    let mut shop = Shop::open(0, true, None);
    act(&mut shop, &[buy(0, 9, true)], 9);
    act(&mut shop, &[buy(1, 2, true), Step::Restock(2)], 9);
    assert_eq!(shop.queue.len(), 1);
    assert_eq!(shop.live().count(), 1);
}
