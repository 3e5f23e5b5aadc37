//! Finds the smallest set of answers that is still contradictory (delta debugging).
//!
//! An operation cannot simply be left out: without a sale, a refusal that it explains would be
//! contradictory. It is weakened instead: it may have happened, at any time after its start, or
//! never, and nobody has seen its answer. Every order that explains all answers explains the weaker
//! ones too, so what contradicts them contradicts the whole history.

use super::{
    Time,
    model::{After, Step},
};

/// Configurations that one try visits at most; a try that needs more keeps its steps.
pub(super) const CONFIGURATIONS_MAX: usize = 2_000;
/// Tries at most; the result is then less small, and as contradictory.
const TRIES_MAX: usize = 100;

/// The steps up to a time that no order gets past.
pub(super) fn until(steps: &[Step], until: Time) -> Vec<Step> {
    let before = steps.iter().filter(|step| step.start <= until);
    before.cloned().collect()
}

/// The steps that are still contradictory when all others are weakened.
pub(super) fn shrink(steps: &[Step], is_contradictory: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut kept = vec![true; steps.len()];
    let mut tries = 0;
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < steps.len() && tries < TRIES_MAX {
            let chunk = from..(from + size).min(steps.len());
            from = chunk.end;
            let mut fewer = kept.clone();
            let flags = fewer.iter_mut().skip(chunk.start).take(chunk.len());
            let weakened = flags
                .filter(|flag| **flag)
                .map(|flag| *flag = false)
                .count();
            if weakened == 0 {
                continue;
            }
            tries += 1;
            if is_contradictory(&weaken(steps, &fewer)) {
                kept = fewer;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    let kept = steps.iter().zip(&kept).filter(|(_, kept)| **kept);
    kept.map(|(step, _)| step.clone()).collect()
}

fn weaken(steps: &[Step], kept: &[bool]) -> Vec<Step> {
    let weaker = |(step, kept): (&Step, &bool)| {
        if *kept {
            return Some(step.clone());
        }
        // What only reads explains itself once its answer does not count.
        (!step.kind.reads()).then(|| Step {
            is_required: false,
            end: Time::MAX,
            after: After::Nothing,
            position: 0,
            ..step.clone()
        })
    };
    steps.iter().zip(kept).filter_map(weaker).collect()
}
