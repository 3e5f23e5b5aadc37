//! Property tests of the waitlist: random batches against a model of the product's rows.

use super::*;
use crate::domain::WaitlistStatus;

mod model;

use self::model::{Model, Step, step};

/// Offered entries precede all entries that still wait and would have fitted.
fn offered_in_order(before: &[Queued], decision: &Decision, skips: bool) {
    let mut offered = decision
        .offered
        .iter()
        .map(|(id, _)| *id)
        .collect::<Vec<_>>();
    offered.retain(|id| before.iter().any(|queued| queued.id == *id));
    let order: Vec<_> = before.iter().map(|queued| queued.id).collect();
    let left = |queued: &&Queued| decision.left.contains(&queued.id);
    let left_ids: Vec<_> = before.iter().filter(left).map(|queued| queued.id).collect();
    if !skips {
        let expected: Vec<_> = order
            .iter()
            .filter(|id| !left_ids.contains(id))
            .copied()
            .collect();
        assert_eq!(offered, expected[..offered.len()], "served out of order");
    }
}

/// With `waitlist_skip`, no later request gets units that a waiting entry could have had.
fn no_fitting_entry_was_passed(before: &[Queued], model: &Model, decision: &Decision) {
    let sold = decision.replies.iter().filter_map(created);
    let most = sold.map(|order| order.quantity).max().unwrap_or(0);
    let waits = |queued: &&Queued| model.queue.iter().any(|still| still.id == queued.id);
    for queued in before.iter().filter(waits) {
        assert!(
            queued.quantity > most,
            "{queued:?} waits, but a later request got {most} units"
        );
    }
}

/// Runs a batch, and the further batches that it requires.
fn run_batches(model: &mut Model, steps: &[Step], queue_max: usize) -> Vec<Reply> {
    let commands: Vec<_> = steps
        .iter()
        .filter_map(|step| model.command(step))
        .collect();
    let (mut next, mut replies) = (commands, None);
    loop {
        let before = model.queue.clone();
        let facts = model.facts(&next, queue_max);
        let decision = decide(&model.product, facts, next.iter(), model.now, reference);
        assert_eq!(decision.replies.len(), next.len());
        offered_in_order(&before, &decision, model.product.waitlist_skip);
        model.write(&decision);
        model.check_places(&decision);
        if model.product.waitlist_skip {
            no_fitting_entry_was_passed(&before, model, &decision);
        }
        let more = decision.more;
        replies.get_or_insert(decision.replies);
        if !more {
            model.check();
            return replies.unwrap();
        }
        next = vec![Command::ExpireHolds];
    }
}

proptest! {
    #[test]
    fn units_are_conserved_over_many_batches(
        stock in 0..12, skips in any::<bool>(), limit in prop::option::of(1..8),
        queue_max in 1..6_usize,
        batches in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..30),
    ) {
        let mut model = Model::open(stock, skips, limit);
        for batch in batches {
            run_batches(&mut model, &batch, queue_max);
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
fn returned_units_are_reserved_while_an_entry_waits() {
    let mut model = Model::open(1, false, None);
    run_batches(&mut model, &[buy(0, 1, false)], 9);
    run_batches(&mut model, &[buy(1, 2, true)], 9);
    let cancelled = run_batches(&mut model, &[Step::Cancel(0)], 9);
    assert!(matches!(cancelled[..], [Reply::Cancelled(_)]));
    assert_eq!(
        model.product.stock.on_hand, 1,
        "too few units for the waiting entry"
    );
    let newcomer = run_batches(&mut model, &[buy(2, 1, false)], 9);
    let sold_out = Outcome::Refused(Refusal::SoldOut { waitlist: true });
    assert_eq!(newcomer, [Reply::Order(sold_out)]);
    run_batches(&mut model, &[Step::Restock(1)], 9);
    assert_eq!(
        model.product.stock.on_hand, 0,
        "the restocked units complete the entry"
    );
}

#[test]
fn an_entry_for_more_than_the_total_blocks_no_order() {
    let mut model = Model::open(5, false, None);
    let waits = run_batches(&mut model, &[buy(0, 6, true)], 9);
    assert!(matches!(waits[..], [Reply::Order(Outcome::Waitlisted(_))]));
    let buys = run_batches(&mut model, &[buy(1, 5, false)], 9);
    assert!(matches!(buys[..], [Reply::Order(Outcome::Created(_))]));
}

#[test]
fn a_user_who_leaves_and_joins_again_in_one_batch_has_one_last_place() {
    let mut model = Model::open(0, false, None);
    run_batches(&mut model, &[buy(0, 1, true), buy(1, 1, true)], 9);
    run_batches(
        &mut model,
        &[
            Step::Leave(0),
            buy(0, 2, true),
            Step::Leave(0),
            buy(0, 3, true),
        ],
        9,
    );
    let queue: Vec<_> = model.queue.iter().map(|queued| queued.quantity).collect();
    assert_eq!(queue, [1, 3]);
}

#[test]
fn an_entry_is_served_by_a_restock_of_the_same_batch() {
    let mut model = Model::open(0, true, None);
    run_batches(&mut model, &[buy(0, 9, true)], 9);
    run_batches(&mut model, &[buy(1, 2, true), Step::Restock(2)], 9);
    assert_eq!(model.queue.len(), 1);
    assert_eq!(model.live().count(), 1);
}
