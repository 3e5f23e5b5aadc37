//! Check of the database invariants of `flash-sale verify`.

use super::{Evidence, check_result};
use crate::report::Check;

pub(super) fn invariants(evidence: &Evidence) -> Option<Check> {
    if evidence.invariants.is_empty() {
        return None;
    }
    let breaches = evidence
        .invariants
        .iter()
        .flat_map(|(name, breaches)| {
            breaches
                .iter()
                .map(move |breach| format!("{name}: {breach}"))
        })
        .collect();
    let detail = format!("{} invariants", evidence.invariants.len());
    Some(check_result(
        "the database invariants hold",
        detail,
        breaches,
    ))
}
