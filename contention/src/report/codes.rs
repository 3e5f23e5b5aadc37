//! Codes of answers, and their classes: a class decides a code's colour and its place in a stack.

use std::{cmp::Reverse, collections::BTreeMap};

use flash_sale::domain::Code;
use strum::IntoStaticStr;

use super::{Answers, Slice};

/// What a request was answered: a success, a code of the service, or nothing readable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum AnswerCode {
    Created,
    Replayed,
    Waitlisted,
    /// Another success.
    Ok,
    /// The connection failed.
    #[default]
    NoAnswer,
    /// The problem document has no code of the API.
    UnknownCode,
    #[strum(transparent)]
    Refused(Code),
}

/// The codes that are not the service's.
pub(crate) const OWN: [AnswerCode; 6] = [
    AnswerCode::Created,
    AnswerCode::Replayed,
    AnswerCode::Waitlisted,
    AnswerCode::Ok,
    AnswerCode::NoAnswer,
    AnswerCode::UnknownCode,
];

impl AnswerCode {
    /// The code as reports have it.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    fn parse(name: &str) -> Option<Self> {
        let own = OWN.into_iter().find(|code| code.name() == name);
        own.or_else(|| name.parse().ok().map(Self::Refused))
    }
}

/// From the best answer to the worst.
#[derive(Clone, Copy, Debug, Eq, IntoStaticStr, Ord, PartialEq, PartialOrd)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CodeClass {
    Won,
    Waiting,
    /// A success that is not an order.
    Served,
    /// A final refusal, which most buyers of a sold-out product get.
    Refused,
    /// Retry later: a rate limit, or too much contention.
    Pressed,
    /// The service did not decide.
    Failed,
}

impl CodeClass {
    /// The name of the class in style sheets.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    pub(super) fn of(code: &str) -> Self {
        match AnswerCode::parse(code) {
            Some(AnswerCode::Created | AnswerCode::Replayed) => Self::Won,
            Some(AnswerCode::Waitlisted) => Self::Waiting,
            Some(AnswerCode::Ok) => Self::Served,
            Some(AnswerCode::NoAnswer) => Self::Failed,
            Some(AnswerCode::Refused(code)) => Self::of_refusal(code),
            Some(AnswerCode::UnknownCode) | None => Self::Refused,
        }
    }

    fn of_refusal(code: Code) -> Self {
        match code {
            Code::RateLimited | Code::HighDemand | Code::StreamLimit => Self::Pressed,
            Code::RequestTimeout | Code::Unavailable | Code::OutcomeUnknown | Code::Internal => {
                Self::Failed
            }
            Code::PayloadTooLarge
            | Code::UnsupportedMediaType
            | Code::Unauthenticated
            | Code::MalformedJson
            | Code::InvalidRequest
            | Code::ProductNotFound
            | Code::NotOnSale
            | Code::IdempotencyKeyReused
            | Code::PurchaseLimit
            | Code::SoldOut
            | Code::InsufficientStock
            | Code::Forbidden
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::OrderNotFound
            | Code::OrderNotPending
            | Code::NotWaiting
            | Code::PaymentDeclined
            | Code::PaymentsDisabled
            | Code::SkuTaken
            | Code::InvalidSignature
            | Code::HasLiveOrders => Self::Refused,
        }
    }
}

/// Codes from the best class to the worst, the most frequent of a class first.
pub(super) fn ordered(answers: &[Answers]) -> Vec<&Answers> {
    let mut ordered: Vec<_> = answers.iter().filter(|answer| answer.count > 0).collect();
    ordered.sort_by_key(|answer| (CodeClass::of(&answer.code), Reverse(answer.count)));
    ordered
}

/// The codes of a timeline, in the same order.
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

    #[test]
    fn codes_of_undecided_requests_are_failures() {
        let of_class = |class| {
            let names = Code::all().map(Code::name);
            names
                .filter(|name| CodeClass::of(name) == class)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of_class(CodeClass::Failed),
            [
                "request_timeout",
                "unavailable",
                "outcome_unknown",
                "internal"
            ]
        );
        assert_eq!(
            of_class(CodeClass::Pressed),
            ["rate_limited", "high_demand", "stream_limit"]
        );
        assert_eq!(CodeClass::of("no_answer"), CodeClass::Failed);
    }

    #[test]
    fn every_code_is_parsed_from_its_name() {
        let of_service = Code::all().map(AnswerCode::Refused);
        for code in of_service.chain(OWN) {
            assert_eq!(AnswerCode::parse(code.name()), Some(code));
        }
    }
}
