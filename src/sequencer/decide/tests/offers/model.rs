//! A model of a product's rows: facts for the next batch, and the changes of the last one.

use std::collections::VecDeque;

use super::*;

/// The rows of a product as batches leave them.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) product: Product,
    pub(super) orders: Vec<StoredOrder>,
    pub(super) queue: Vec<Queued>,
    pub(super) now: DateTime<Utc>,
}

/// A command that names its order by index.
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
    /// Advances the time by these seconds and ends expired holds.
    ExpireHolds(i64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_usize, 1..6, any::<bool>())
            .prop_map(|(user, quantity, waits)| Step::Buy { user, quantity, waits }),
        1 => (1..5).prop_map(Step::Restock),
        3 => (0..40_usize).prop_map(Step::Cancel),
        1 => (0..12_usize).prop_map(Step::Leave),
        2 => (0..40_i64).prop_map(Step::ExpireHolds),
    ]
}

pub(super) fn user(number: usize) -> UserId {
    UserId::from(format!("user-{number}"))
}

impl Model {
    pub(super) fn open(stock: i32, waitlist_skip: bool, max_per_user: Option<i32>) -> Self {
        Self {
            product: Product {
                stock: StockLevel::new(stock),
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

    pub(super) fn command(&mut self, step: &Step) -> Option<Command> {
        Some(match step {
            Step::Buy {
                user: number,
                quantity,
                waits,
            } => {
                let mut request = request(0, *quantity, None);
                request.user_id = user(*number);
                request.waitlist = *waits;
                Command::Order(Box::new(request))
            }
            Step::Restock(quantity) => Command::Restock(*quantity, Actor::service()),
            Step::Cancel(index) => {
                let index = index.checked_rem(self.orders.len())?;
                let order = self.orders[index].order.id;
                Command::Cancel(order, Release::Cancel, Actor::service())
            }
            Step::Leave(number) => Command::Leave(user(*number)),
            Step::ExpireHolds(seconds) => {
                self.now += TimeDelta::seconds(*seconds);
                Command::ExpireHolds
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
                status: WaitlistStatus::Waiting,
                order_id: None,
                created_at: self.now,
            };
            (Arc::clone(&queued.user_id), entry)
        };
        self.queue.iter().enumerate().map(entry).collect()
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Order> {
        let orders = self.orders.iter().map(|stored| &stored.order);
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

    /// Units that these commands may return.
    fn returning(&self, commands: &[Command]) -> i32 {
        let over = |order: &&Order| order.expires_at.is_some_and(|end| end <= self.now);
        let of = |command: &Command| match command {
            Command::Restock(quantity, _) => *quantity,
            Command::Cancel(id, ..) => self
                .live()
                .filter(|o| o.id == *id)
                .map(|o| o.quantity)
                .sum(),
            Command::ExpireHolds => self.live().filter(over).map(|order| order.quantity).sum(),
            Command::Order(_) | Command::Leave(_) => 0,
        };
        commands.iter().map(of).sum()
    }

    /// The entries that the store would read, with at most `queue_max` in all.
    fn first(&self, commands: &[Command], units: i32, queue_max: usize) -> VecDeque<Queued> {
        let leaves = commands.iter().filter(|it| matches!(it, Command::Leave(_)));
        let limit = usize::try_from(units).unwrap() + leaves.count() + 1;
        if !self.product.waitlist_skip {
            let read = self.queue.iter().take(limit.min(queue_max));
            return read.cloned().collect();
        }
        let mut of_size = HashMap::<i32, usize>::new();
        let fitting = self.queue.iter().filter(|queued| {
            let seen = of_size.entry(queued.quantity).or_default();
            *seen += 1;
            queued.quantity <= units && *seen <= limit
        });
        fitting.take(queue_max).cloned().collect()
    }

    /// Asserts that the replies show new places where they are after the batch.
    pub(super) fn check_places(&self, decision: &Decision) {
        let is_new = |id| decision.joined.iter().any(|new| new.entry.id == id);
        for reply in &decision.replies {
            if let Reply::Order(Outcome::Waitlisted(entry)) = reply
                && is_new(entry.id)
            {
                let place = self.queue.iter().position(|queued| queued.id == entry.id);
                let place = place.map(|before| i64::try_from(before + 1).unwrap());
                assert_eq!(entry.position, place, "{entry:?}");
            }
        }
    }

    /// The facts that the store would read for these commands, with at most `queue_max` entries.
    pub(super) fn facts(&self, commands: &[Command], queue_max: usize) -> Facts {
        let units = self.product.stock.on_hand + self.returning(commands);
        let first = self.first(commands, units, queue_max);
        let over = |order: &&Order| order.expires_at.is_some_and(|end| end <= self.now);
        let expired = self.live().filter(over).map(|order| ExpiredHold {
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
                .map(|stored| (stored.order.id, stored.clone()))
                .collect(),
            expired_holds: expired.collect(),
            places: self.places(),
            queue: Queue {
                count: i64::try_from(self.queue.len()).unwrap(),
                is_complete: first.len() < queue_max,
                first,
            },
            ..Facts::default()
        }
    }

    /// Writes a decision as the store would.
    pub(super) fn write(&mut self, decision: &Decision) {
        for (id, release) in &decision.released {
            let stored = self
                .orders
                .iter_mut()
                .find(|stored| stored.order.id == *id)
                .unwrap();
            assert_eq!(stored.order.status, OrderStatus::Pending, "released twice");
            stored.order.status = release.status();
        }
        let new = decision.new.orders.iter();
        self.orders.extend(new.map(|new| StoredOrder {
            order: new.order.clone(),
            from_waitlist: new.from_waitlist,
        }));
        self.queue.retain(|queued| {
            !decision.left.contains(&queued.id)
                && !decision.offered.iter().any(|(id, _)| *id == queued.id)
        });
        let joined = decision.joined.iter().map(|new| &new.entry);
        let waiting = joined.filter(|entry| entry.status == WaitlistStatus::Waiting);
        self.queue.extend(waiting.map(|entry| Queued {
            id: entry.id,
            user_id: Arc::clone(&entry.user_id),
            quantity: entry.quantity,
        }));
        self.product.stock = decision.stock;
    }

    pub(super) fn check(&self) {
        let product = &self.product;
        let stock = product.stock;
        let held: i32 = self.live().map(|order| order.quantity).sum();
        assert_eq!(stock.total, stock.on_hand + held, "conservation");
        assert!(0 <= stock.reserved && stock.reserved <= stock.on_hand);
        if self.queue.is_empty() {
            assert_eq!(stock.reserved, 0, "reserved for an empty waitlist");
        }
        if stock.reserved > 0 {
            let fits = |queued: &Queued| queued.quantity <= stock.on_hand;
            let served = if product.waitlist_skip {
                self.queue.iter().any(fits)
            } else {
                self.queue.first().is_some_and(fits)
            };
            assert!(!served, "an entry that fits still waits");
        }
        let users: HashSet<_> = self.queue.iter().map(|queued| &queued.user_id).collect();
        assert_eq!(users.len(), self.queue.len(), "a user has two places");
        if let Some(limit) = product.max_per_user {
            for (user, held) in self.held() {
                assert!(held <= i64::from(limit), "{user} holds {held}");
            }
        }
    }
}
