//! What a code means to the crowd: it decides the code's colour and its place in a stack of them.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Answers, Slice};

/// From the best answer to the worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum CodeClass {
    Won,
    Waiting,
    /// A success that is no order.
    Served,
    /// A clear no: that is what most of a crowd gets.
    Refused,
    /// Come again: a limit, or too much competition.
    Pressed,
    /// The service could not say.
    Failed,
}

impl CodeClass {
    pub(super) fn of(code: &str) -> Self {
        match code {
            "created" | "replayed" => Self::Won,
            "waitlisted" => Self::Waiting,
            "ok" => Self::Served,
            "high_demand" | "rate_limited" => Self::Pressed,
            "no_answer" | "unavailable" | "outcome_unknown" | "internal" | "internal_error"
            | "slow_body" => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// Codes from the best to the worst kind, the most frequent of a kind first.
pub(super) fn ordered(answers: &[Answers]) -> Vec<&Answers> {
    let mut ordered: Vec<_> = answers.iter().filter(|answer| answer.count > 0).collect();
    ordered.sort_by_key(|answer| (CodeClass::of(&answer.code), Reverse(answer.count)));
    ordered
}

/// The codes that a timeline has, in the same order.
pub(super) fn of_timeline(timeline: &[Slice]) -> Vec<(String, u64)> {
    let mut totals = BTreeMap::<&str, u64>::new();
    for (code, count) in timeline.iter().flat_map(|slice| &slice.answers) {
        let total = totals.entry(code).or_default();
        *total = total.saturating_add(*count);
    }
    let mut ordered: Vec<_> = totals
        .into_iter()
        .filter(|(_, total)| *total > 0)
        .map(|(code, total)| (code.to_owned(), total))
        .collect();
    ordered.sort_by_key(|(code, total)| (CodeClass::of(code), Reverse(*total)));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_answers_come_first() {
        let answer = |code: &str, count| Answers {
            code: code.to_owned(),
            status: 0,
            count,
        };
        let answers = [
            answer("no_answer", 1),
            answer("sold_out", 5),
            answer("purchase_limit", 9),
            answer("rate_limited", 0),
            answer("created", 2),
        ];
        let codes: Vec<_> = ordered(&answers)
            .into_iter()
            .map(|answer| answer.code.as_str())
            .collect();
        assert_eq!(
            codes,
            ["created", "purchase_limit", "sold_out", "no_answer"]
        );
    }
}
