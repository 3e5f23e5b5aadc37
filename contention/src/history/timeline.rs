//! A contradiction for people: the calls that belong to it, as a timeline.

use super::{
    Answer, Call, Contradiction, History, Request, Time,
    model::{Kind, Step},
};

/// Calls that are shown at most.
const LINES_MAX: usize = 40;

/// The contradiction of these steps.
pub(super) fn contradiction(reason: String, steps: &[Step]) -> Contradiction {
    let mut steps: Vec<&Step> = steps.iter().collect();
    steps.sort_by_key(|step| step.start);
    let mut calls: Vec<usize> = Vec::new();
    let mut read = Vec::new();
    for step in steps {
        for call in &step.calls {
            if !calls.contains(call) {
                calls.push(*call);
            }
        }
        match &step.kind {
            Kind::Reading {
                stock,
                total,
                waiting,
            } => {
                let waiting: Vec<String> = waiting
                    .iter()
                    .map(|session| format!("s{session}"))
                    .collect();
                let waiting = waiting.join(" ");
                read.push(format!(
                    "{stock} of {total} units left; waiting: [{waiting}]"
                ));
            }
            Kind::Return(quantity) if step.calls.is_empty() => {
                read.push(format!("the hold of s{} ended: {quantity}", step.session));
            }
            _ => {}
        }
    }
    Contradiction {
        reason,
        calls,
        read,
    }
}

impl Contradiction {
    /// A line for each call, with times since the first one, and what was read afterwards.
    pub(crate) fn timeline(&self, history: &History) -> Vec<String> {
        let calls = self
            .calls
            .iter()
            .filter_map(|call| history.calls.get(*call));
        let mut calls: Vec<&Call> = calls.collect();
        calls.sort_by_key(|call| call.start);
        let first = calls.first().map_or(0, |call| call.start);
        let shown = calls.iter().take(LINES_MAX).map(|call| line(call, first));
        let mut lines: Vec<String> = shown.collect();
        if calls.len() > LINES_MAX {
            lines.push(format!("… and {} calls more", calls.len() - LINES_MAX));
        }
        let others = history.calls.len() - calls.len();
        if others > 0 && !calls.is_empty() {
            lines.push(format!("whatever the other {others} calls were answered"));
        }
        lines.extend(
            self.read
                .iter()
                .map(|line| format!("read afterwards: {line}")),
        );
        lines
    }
}

fn line(call: &Call, first: Time) -> String {
    let (start, end) = (since(call.start, first), since(call.end, first));
    let (session, node) = (call.session, call.node);
    let (request, answer) = (request(&call.request), answer(&call.answer));
    format!("{start:>10} … {end:>10} ms  s{session:<4} node {node}  {request:<22} {answer}")
}

/// Milliseconds with three decimals.
fn since(at: Time, first: Time) -> String {
    let micros = at.saturating_sub(first) / 1_000;
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

fn request(request: &Request) -> String {
    match request {
        Request::Place {
            quantity,
            keyed,
            waits,
        } => {
            let key = if *keyed { " key" } else { "" };
            let waits = if *waits { " waitlist" } else { "" };
            format!("order {quantity}{key}{waits}")
        }
        Request::Cancel => "cancel".to_owned(),
        Request::Leave => "leave".to_owned(),
        Request::Restock(quantity) => format!("restock {quantity}"),
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Created { order, replayed } => {
            let replayed = if *replayed { ", replayed" } else { "" };
            format!("created {order}{replayed}")
        }
        Answer::Waiting { position, replayed } => {
            let replayed = if *replayed { ", replayed" } else { "" };
            let position = position.map_or_else(|| "none".to_owned(), |it| it.to_string());
            format!("waitlist, position {position}{replayed}")
        }
        Answer::SoldOut => "sold out".to_owned(),
        Answer::Insufficient(available) => format!("only {available} left"),
        Answer::Cancelled => "cancelled".to_owned(),
        Answer::NotPending(status) => format!("not pending: {status}"),
        Answer::Left => "left".to_owned(),
        Answer::NotWaiting => "not waiting".to_owned(),
        Answer::Restocked => "restocked".to_owned(),
        Answer::NotWritten(code) => format!("nothing written: {code}"),
        Answer::Unknown(code) => format!("outcome unknown: {code}"),
        Answer::Unexpected(what) => format!("unexpected: {what}"),
    }
}
