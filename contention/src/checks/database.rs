//! The invariants that `flash-sale verify` checks, as the database tells them.

use super::{Evidence, verdict};
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
    Some(verdict(
        "the database itself finds no breach",
        detail,
        breaches,
    ))
}
