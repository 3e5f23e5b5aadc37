//! What every decision must keep while people wait: random wishes, batch after batch, against a
//! model of what was written.

use super::*;
use crate::domain::WaitingStatus;

/// The rows of a product as batches leave them.
#[derive(Debug)]
struct Shop {
    product: Product,
    orders: Vec<(Order, bool)>,
    queue: Vec<Queued>,
    now: DateTime<Utc>,
}

/// A wish that names its order by its place among those that were ever made.
#[derive(Clone, Debug)]
enum Step {
    Buy {
        user: usize,
        quantity: i32,
        waits: bool,
    },
    Restock(i32),
    Cancel(usize),
    Leave(usize),
    /// Seconds go by, and what is over ends.
    Tend(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_usize, 1..6, any::<bool>())
            .prop_map(|(user, quantity, waits)| Step::Buy { user, quantity, waits }),
        1 => (1..5).prop_map(Step::Restock),
        3 => (0..40_usize).prop_map(Step::Cancel),
        1 => (0..12_usize).prop_map(Step::Leave),
        2 => (0..40_i64).prop_map(Step::Tend),
    ]
}

fn user(number: usize) -> UserId {
    UserId::from(format!("user-{number}"))
}

impl Shop {
    fn open(stock: i32, waitlist_skip: bool, max_per_user: Option<i32>) -> Self {
        Self {
            product: Product {
                stock_total: stock,
                hold_seconds: Some(30),
                waitlist: true,
                waitlist_skip,
                ..product(stock, max_per_user)
            },
            orders: Vec::new(),
            queue: Vec::new(),
            now: now(),
        }
    }

    fn wish(&mut self, step: &Step) -> Option<Wish> {
        Some(match step {
            Step::Buy {
                user: number,
                quantity,
                waits,
            } => {
                let mut request = request(0, *quantity, None);
                request.user_id = user(*number);
                request.waitlist = *waits;
                Wish::Order(Box::new(request))
            }
            Step::Restock(quantity) => Wish::Restock(*quantity),
            Step::Cancel(place) => {
                let place = place.checked_rem(self.orders.len())?;
                Wish::Cancel(self.orders[place].0.id, Release::Cancel)
            }
            Step::Leave(number) => Wish::Leave(user(*number)),
            Step::Tend(seconds) => {
                self.now += TimeDelta::seconds(*seconds);
                Wish::Tend
            }
        })
    }

    fn places(&self) -> HashMap<UserId, WaitlistEntry> {
        let entry = |(place, queued): (usize, &Queued)| {
            let entry = WaitlistEntry {
                id: queued.id,
                product_id: self.product.id,
                user_id: Arc::clone(&queued.user_id),
                quantity: queued.quantity,
                position: Some(i64::try_from(place + 1).unwrap()),
                status: WaitingStatus::Waiting,
                order_id: None,
                created_at: self.now,
            };
            (Arc::clone(&queued.user_id), entry)
        };
        self.queue.iter().enumerate().map(entry).collect()
    }

    fn live(&self) -> impl Iterator<Item = &Order> {
        let orders = self.orders.iter().map(|(order, _)| order);
        orders.filter(|order| matches!(order.status, OrderStatus::Pending | OrderStatus::Confirmed))
    }

    fn held(&self) -> HashMap<UserId, i64> {
        let mut held = HashMap::new();
        for order in self.live() {
            *held.entry(Arc::clone(&order.user_id)).or_default() += i64::from(order.quantity);
        }
        for queued in &self.queue {
            *held.entry(Arc::clone(&queued.user_id)).or_default() += i64::from(queued.quantity);
        }
        held
    }

    fn facts(&self) -> Facts {
        let over = |order: &&Order| order.expires_at.is_some_and(|end| end <= self.now);
        let due = self.live().filter(over).map(|order| Due {
            id: order.id,
            user_id: Arc::clone(&order.user_id),
            quantity: order.quantity,
            from_waitlist: false,
        });
        Facts {
            held: self.held(),
            orders: self
                .orders
                .iter()
                .map(|(o, w)| (o.id, (o.clone(), *w)))
                .collect(),
            due: due.collect(),
            places: self.places(),
            queue: Queue {
                count: i64::try_from(self.queue.len()).unwrap(),
                first: self.queue.clone().into(),
                is_whole: true,
            },
            ..Facts::default()
        }
    }

    /// Writes a decision as the store would.
    fn write(&mut self, decision: &Decision) {
        for (id, release) in &decision.released {
            let order = self
                .orders
                .iter_mut()
                .find(|(order, _)| order.id == *id)
                .unwrap();
            assert_eq!(order.0.status, OrderStatus::Pending, "released twice");
            order.0.status = release.status();
        }
        let new = decision.new.orders.iter();
        self.orders
            .extend(new.map(|new| (new.order.clone(), new.from_waitlist)));
        self.queue.retain(|queued| {
            !decision.left.contains(&queued.id)
                && !decision.offered.iter().any(|(id, _)| *id == queued.id)
        });
        let joined = decision.joined.iter().map(|new| &new.entry);
        let waiting = joined.filter(|entry| entry.status == WaitingStatus::Waiting);
        self.queue.extend(waiting.map(|entry| Queued {
            id: entry.id,
            user_id: Arc::clone(&entry.user_id),
            quantity: entry.quantity,
        }));
        self.product.stock = decision.stock;
        self.product.stock_total = decision.stock_total;
        self.product.stock_reserved = decision.stock_reserved;
    }

    fn check(&self) {
        let product = &self.product;
        let held: i32 = self.live().map(|order| order.quantity).sum();
        assert_eq!(product.stock_total, product.stock + held, "conservation");
        assert!(0 <= product.stock_reserved && product.stock_reserved <= product.stock);
        if self.queue.is_empty() {
            assert_eq!(product.stock_reserved, 0, "kept for nobody");
        }
        if product.stock_reserved > 0 {
            let fits = |queued: &Queued| queued.quantity <= product.stock;
            let served = if product.waitlist_skip {
                self.queue.iter().any(fits)
            } else {
                self.queue.first().is_some_and(fits)
            };
            assert!(!served, "somebody who fits was left waiting");
        }
        let users: HashSet<_> = self.queue.iter().map(|queued| &queued.user_id).collect();
        assert_eq!(users.len(), self.queue.len(), "nobody waits twice");
        if let Some(limit) = product.max_per_user {
            for (user, held) in self.held() {
                assert!(held <= i64::from(limit), "{user} holds {held}");
            }
        }
    }
}

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

proptest! {
    #[test]
    fn units_go_round_and_none_is_lost(
        stock in 0..12, skips in any::<bool>(), limit in prop::option::of(1..8),
        batches in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..30),
    ) {
        let mut shop = Shop::open(stock, skips, limit);
        for batch in batches {
            let wishes: Vec<_> = batch.iter().filter_map(|step| shop.wish(step)).collect();
            let before = shop.queue.clone();
            let facts = shop.facts();
            let decision = decide(&shop.product, facts, wishes.iter(), shop.now, reference);
            prop_assert_eq!(decision.verdicts.len(), wishes.len());
            offered_in_order(&before, &decision, skips);
            shop.write(&decision);
            shop.check();
        }
    }
}

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
