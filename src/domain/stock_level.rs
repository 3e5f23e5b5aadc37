//! Stock arithmetic: units of a product offered, on hand, reserved for the waitlist and for sale.

use serde::{Deserialize, Serialize};

use super::STOCK_MAX;

/// The stock of a product, in units. Always `0 ≤ reserved ≤ on_hand ≤ total ≤ STOCK_MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevel {
    /// Every unit put up for sale and not withdrawn: those on hand and those of live orders.
    pub total: i32,
    /// Units that no live order holds; the lock key names this quantity.
    pub on_hand: i32,
    /// Units of `on_hand` that were returned and are reserved for the waitlist.
    pub reserved: i32,
}

impl StockLevel {
    /// The level of a new product, all of whose units are for sale.
    pub fn new(total: i32) -> Self {
        Self {
            total,
            on_hand: total,
            reserved: 0,
        }
    }

    /// Units that a new order may take.
    pub fn for_sale(self) -> i32 {
        self.on_hand - self.reserved
    }

    /// Moves `quantity` units from the stock to a new order. Takes units that are for sale first,
    /// reserved ones after them.
    pub fn sell(&mut self, quantity: i32) {
        self.on_hand -= quantity;
        self.reserved = self.reserved.min(self.on_hand);
    }

    /// Moves `quantity` units from an ended order back to the stock, reserved for the waitlist until
    /// [`Self::end_reservation`].
    pub fn give_back(&mut self, quantity: i32) {
        self.on_hand += quantity;
        self.reserved += quantity;
    }

    /// Moves `quantity` units from the stock to an order made for a waitlist entry. Takes reserved
    /// units first.
    pub fn offer(&mut self, quantity: i32) {
        self.on_hand -= quantity;
        self.reserved = (self.reserved - quantity).max(0);
    }

    /// Adds `quantity` new units, reserved for the waitlist; false, and no change, when
    /// the total would exceed [`STOCK_MAX`].
    #[must_use]
    pub fn restock(&mut self, quantity: i32) -> bool {
        match self.total.checked_add(quantity) {
            Some(total) if total <= STOCK_MAX => {
                self.total = total;
                self.give_back(quantity);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes `quantity` units from the stock that no order holds; false, and no change, when there are
    /// fewer. Takes units that are for sale first, reserved ones after them.
    #[must_use]
    pub fn withdraw(&mut self, quantity: i32) -> bool {
        if quantity > self.on_hand {
            return false;
        }
        self.total -= quantity;
        self.sell(quantity);
        true
    }

    /// Puts all reserved units up for sale, once the waitlist is empty.
    pub fn end_reservation(&mut self) {
        self.reserved = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_units_are_not_for_sale_until_the_reservation_ends() {
        let mut level = StockLevel::new(5);
        level.sell(3);
        assert_eq!(level.for_sale(), 2);
        level.give_back(3);
        assert_eq!((level.on_hand, level.for_sale()), (5, 2));
        level.offer(2);
        assert_eq!((level.on_hand, level.for_sale()), (3, 2));
        level.end_reservation();
        assert_eq!(level.for_sale(), 3);
    }

    #[test]
    fn an_order_that_may_take_reserved_units_takes_them_last() {
        let mut level = StockLevel::new(2);
        assert!(level.restock(3));
        level.sell(2);
        assert_eq!((level.on_hand, level.reserved), (3, 3));
        level.sell(1);
        assert_eq!((level.on_hand, level.reserved), (2, 2));
    }

    #[test]
    fn units_that_orders_hold_cannot_be_withdrawn() {
        let mut level = StockLevel::new(5);
        level.sell(2);
        let before = level;
        assert!(!level.withdraw(4));
        assert_eq!(level, before);
        assert!(level.withdraw(3));
        assert_eq!((level.total, level.on_hand, level.reserved), (2, 0, 0));
    }

    #[test]
    fn a_restock_beyond_the_maximum_changes_nothing() {
        let mut level = StockLevel::new(STOCK_MAX);
        assert!(!level.restock(1));
        assert!(!level.restock(i32::MAX));
        assert_eq!(level, StockLevel::new(STOCK_MAX));
    }
}
