//! Who waits has a place of their own, and the places have no gaps.

use std::collections::BTreeMap;

use super::{Evidence, verdict};
use crate::report::Check;

/// None where nobody was put on a waitlist.
pub(super) fn positions(evidence: &Evidence) -> Option<Check> {
    let mut waiting = 0_u64;
    let mut breaches = Vec::new();
    let mut taken: BTreeMap<(usize, u32), Vec<&str>> = BTreeMap::new();
    for shot in evidence.buys().filter(|shot| shot.answer.status == 202) {
        waiting += 1;
        let user = evidence.user(shot.planned.user);
        match shot.answer.position {
            None => breaches.push(format!("user {user} waits at no position")),
            Some(position) => taken
                .entry((shot.planned.product, position))
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
                "position {position} is of users {}",
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
    Some(verdict(
        "waitlist positions are distinct and without gaps",
        detail,
        breaches,
    ))
}
