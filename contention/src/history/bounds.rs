//! Bounds of the stock level: how many units there were at least and at most at each moment.
//!
//! They decide what the search would decide too, for a product without a waitlist, in the time of a
//! sort: more was sold than there was, or a buyer was refused while units were certainly for sale.

use super::{
    Time,
    model::{Kind, Step},
};

/// At each moment at which one of them changes, the least and the greatest number of units.
struct Bounds(Vec<(Time, i64, i64)>);

/// The first breach, in words.
pub(super) fn broken(stock: i64, steps: &[Step]) -> Option<String> {
    let bounds = Bounds::new(stock, steps);
    if let Some((_, _, most)) = bounds.0.iter().find(|(_, _, most)| *most < 0) {
        let sold = -most;
        return Some(format!(
            "oversold: {sold} more units than there can have been"
        ));
    }
    steps.iter().find_map(|step| {
        let (least, most) = bounds.within(step.start, step.end);
        match step.kind {
            Kind::SoldOut if least > 0 => Some(format!(
                "a buyer was refused as sold out, and all that time {least} or more were for sale"
            )),
            Kind::Available(available) if available < least || available > most => Some(format!(
                "{available} are said to be left, but there were between {least} and {most}"
            )),
            _ => None,
        }
    })
}

impl Bounds {
    fn new(stock: i64, steps: &[Step]) -> Self {
        // When, and by how much the least and the greatest number change.
        let mut changes: Vec<(Time, i64, i64)> = Vec::new();
        for step in steps {
            let required = i64::from(step.is_required);
            match step.kind {
                Kind::Sell(quantity) => {
                    changes.push((step.start, -quantity, 0));
                    // A moment later: at its end itself a return may still come first.
                    let after = step.end.saturating_add(1);
                    changes.push((after, 0, -quantity * required));
                }
                Kind::Return(quantity) | Kind::Restock(quantity) => {
                    changes.push((step.start, 0, quantity));
                    let after = step.end.saturating_add(1);
                    changes.push((after, quantity * required, 0));
                }
                _ => {}
            }
        }
        changes.sort_unstable_by_key(|(at, _, _)| *at);
        let (mut least, mut most) = (stock, stock);
        let mut levels = vec![(0, stock, stock)];
        for (at, of_least, of_most) in changes {
            least += of_least;
            most += of_most;
            match levels.last_mut() {
                Some(level) if level.0 == at => *level = (at, least, most),
                _ => levels.push((at, least, most)),
            }
        }
        Self(levels)
    }

    /// The least and the greatest number at any moment of this time.
    fn within(&self, start: Time, end: Time) -> (i64, i64) {
        let from = self.0.partition_point(|(at, _, _)| *at <= start);
        let until = self.0.partition_point(|(at, _, _)| *at <= end);
        let levels = self
            .0
            .get(from.saturating_sub(1)..until)
            .unwrap_or_default();
        let least = levels.iter().map(|(_, least, _)| *least).min();
        let most = levels.iter().map(|(_, _, most)| *most).max();
        (least.unwrap_or(0), most.unwrap_or(0))
    }
}
