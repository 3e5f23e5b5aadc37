//! Check of the waitlist: positions are distinct and without gaps.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, check_result};
use crate::report::Check;

/// `None` without a waiting buyer.
pub(super) fn positions(evidence: &Evidence) -> Option<Check> {
    let mut waiting = BTreeSet::new();
    let mut breaches = Vec::new();
    let mut taken: BTreeMap<(usize, u32), BTreeSet<&str>> = BTreeMap::new();
    for sample in evidence.buys().filter(|sample| sample.answer.status == 202) {
        let user = evidence.user(sample.planned.user);
        waiting.insert((sample.planned.product, user));
        match sample.answer.position {
            None => breaches.push(format!("user {user} is on the waitlist without a position")),
            Some(position) => {
                let users = taken.entry((sample.planned.product, position));
                users.or_default().insert(user);
            }
        }
    }
    if waiting.is_empty() {
        return None;
    }
    let mut expected: BTreeMap<usize, u32> = BTreeMap::new();
    for ((product, position), users) in &taken {
        if users.len() > 1 {
            breaches.push(format!(
                "position {position} is shared by users {}",
                users.iter().copied().collect::<Vec<_>>().join(", ")
            ));
        }
        let next = expected
            .entry(*product)
            .or_insert(evidence.waiting.saturating_add(1));
        if position != next {
            breaches.push(format!(
                "after position {} comes {position}",
                next.saturating_sub(1)
            ));
        }
        *next = position.saturating_add(1);
    }
    let detail = format!("{} on the waitlist", waiting.len());
    Some(check_result(
        "waitlist positions are distinct and without gaps",
        detail,
        breaches,
    ))
}
