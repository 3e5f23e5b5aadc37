//! Two stories of units that are kept, and of units that are not.

use super::*;

#[test]
fn what_comes_back_is_not_for_newcomers_while_somebody_waits() {
    let mut shop = Shop::open(1, false, None);
    let mut act = |step: Step| {
        let wish = [shop.wish(&step).unwrap()];
        let decision = decide(
            &shop.product,
            shop.facts(),
            wish.iter(),
            shop.now,
            reference,
        );
        shop.write(&decision);
        shop.check();
        (decision.verdicts[0].clone(), shop.product.stock)
    };
    let buy = |user, quantity, waits| Step::Buy {
        user,
        quantity,
        waits,
    };
    act(buy(0, 1, false));
    act(buy(1, 2, true));
    let (cancelled, stock) = act(Step::Cancel(0));
    assert!(matches!(cancelled, Verdict::Cancelled(_)));
    assert_eq!(stock, 1, "too little for who waits");
    let (newcomer, _) = act(buy(2, 1, false));
    assert_eq!(
        newcomer,
        Verdict::Order(Outcome::SoldOut { waitlist: true })
    );
    let (_, stock) = act(Step::Restock(1));
    assert_eq!(stock, 0, "now it is enough");
}

#[test]
fn one_who_wants_more_than_there_ever_was_keeps_nobody_from_buying() {
    let mut shop = Shop::open(5, false, None);
    let mut buy = |user, quantity, waits| {
        let wish = [shop
            .wish(&Step::Buy {
                user,
                quantity,
                waits,
            })
            .unwrap()];
        let decision = decide(
            &shop.product,
            shop.facts(),
            wish.iter(),
            shop.now,
            reference,
        );
        shop.write(&decision);
        decision.verdicts[0].clone()
    };
    assert!(matches!(
        buy(0, 6, true),
        Verdict::Order(Outcome::Waitlisted(_))
    ));
    assert!(matches!(
        buy(1, 5, false),
        Verdict::Order(Outcome::Created(_))
    ));
}
