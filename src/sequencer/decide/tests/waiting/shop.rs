//! A model of a product's rows: what batches find, and what they leave.

use std::collections::VecDeque;

use super::*;

/// The rows of a product as batches leave them.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) product: Product,
    pub(super) orders: Vec<(Order, bool)>,
    pub(super) queue: Vec<Queued>,
    pub(super) now: DateTime<Utc>,
}

/// A wish that names its order by its place among those that were ever made.
#[derive(Clone, Debug)]
pub(super) enum Step {
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

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_usize, 1..6, any::<bool>())
            .prop_map(|(user, quantity, waits)| Step::Buy { user, quantity, waits }),
        1 => (1..5).prop_map(Step::Restock),
        3 => (0..40_usize).prop_map(Step::Cancel),
        1 => (0..12_usize).prop_map(Step::Leave),
        2 => (0..40_i64).prop_map(Step::Tend),
    ]
}

pub(super) fn user(number: usize) -> UserId {
    UserId::from(format!("user-{number}"))
}

impl Shop {
    pub(super) fn open(stock: i32, waitlist_skip: bool, max_per_user: Option<i32>) -> Self {
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

    pub(super) fn wish(&mut self, step: &Step) -> Option<Wish> {
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

    pub(super) fn live(&self) -> impl Iterator<Item = &Order> {
        let orders = self.orders.iter().map(|(order, _)| order);
        orders.filter(|order| matches!(order.status, OrderStatus::Pending | OrderStatus::Confirmed))
    }

    pub(super) fn held(&self) -> HashMap<UserId, i64> {
        let mut held = HashMap::new();
        for order in self.live() {
            *held.entry(Arc::clone(&order.user_id)).or_default() += i64::from(order.quantity);
        }
        for queued in &self.queue {
            *held.entry(Arc::clone(&queued.user_id)).or_default() += i64::from(queued.quantity);
        }
        held
    }

    /// Units that these wishes may bring back.
    fn returning(&self, wishes: &[Wish]) -> i32 {
        let over = |order: &&Order| order.expires_at.is_some_and(|end| end <= self.now);
        let of = |wish: &Wish| match wish {
            Wish::Restock(quantity) => *quantity,
            Wish::Cancel(id, _) => self
                .live()
                .filter(|o| o.id == *id)
                .map(|o| o.quantity)
                .sum(),
            Wish::Tend => self.live().filter(over).map(|order| order.quantity).sum(),
            Wish::Order(_) | Wish::Leave(_) => 0,
        };
        wishes.iter().map(of).sum()
    }

    /// What the store shows to a batch of these wishes, as far as it looks.
    pub(super) fn facts(&self, wishes: &[Wish], looks: usize) -> Facts {
        let units = self.product.stock + self.returning(wishes);
        let is_seen = |queued: &&Queued| !self.product.waitlist_skip || queued.quantity <= units;
        let seen = self.queue.iter().filter(is_seen).take(looks);
        let first: VecDeque<_> = seen.cloned().collect();
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
                is_whole: first.len() < looks,
                first,
            },
            ..Facts::default()
        }
    }

    /// Writes a decision as the store would.
    pub(super) fn write(&mut self, decision: &Decision) {
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

    pub(super) fn check(&self) {
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
