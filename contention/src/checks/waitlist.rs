//! Check of the waitlist: positions are distinct and without gaps.

use std::collections::BTreeMap;

use super::{Evidence, check_result};
use crate::report::Check;

/// `None` without a waiting buyer.
pub(super) fn positions(evidence: &Evidence) -> Option<Check> {
    let mut waiting = 0_u64;
    let mut breaches = Vec::new();
    let mut taken: BTreeMap<(usize, u32), Vec<&str>> = BTreeMap::new();
    for sample in evidence.buys().filter(|sample| sample.answer.status == 202) {
        waiting += 1;
        let user = evidence.user(sample.planned.user);
        match sample.answer.position {
            None => breaches.push(format!("user {user} is on the waitlist without a position")),
            Some(position) => taken
                .entry((sample.planned.product, position))
                .or_default()
                .push(user),
        }
    }
    if waiting == 0 {
        return None;
    }
    let mut expected: BTreeMap<usize, u32> = BTreeMap::new();
    for ((product, position), users) in &taken {
        if users.len() > 1 {
            breaches.push(format!(
                "position {position} is shared by users {}",
                users.join(", ")
            ));
        }
        let next = expected.entry(*product).or_insert(1);
        if position != next {
            breaches.push(format!(
                "after position {} comes {position}",
                next.saturating_sub(1)
            ));
        }
        *next = position.saturating_add(1);
    }
    let detail = format!("{waiting} on the waitlist");
    Some(check_result(
        "waitlist positions are distinct and without gaps",
        detail,
        breaches,
    ))
}
