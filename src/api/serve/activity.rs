//! What a connection waits for, and since when: the request's head or body, the next request, a
//! client that reads nothing, or nothing while the service answers.
//!
//! Its socket, its service and the watch of all connections share it. A connection that keeps
//! silent between requests may do so for longer than one that has begun a head: load balancers
//! keep connections for a minute, and closing one as its next request arrives loses that request.

use std::{
    task::Context,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    message::{Body, Message},
    signal::{Signal, Signals},
};
use crate::metrics::connections::Cut;

/// Time limit for a request's head, from its first byte on, or from the start of the connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit between two requests; above the 60 s for which load balancers keep a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A connection keeps its place for this long while all are taken: a client sends its request right
/// after it has connected.
const HEAD_WAIT_MIN: Duration = Duration::from_millis(250);
/// The same between two requests: a connection that is in use sends the next one within this time.
const IDLE_WAIT_MIN: Duration = Duration::from_secs(2);
/// The same for a request's body after its head, and for a client that reads nothing: most answers
/// and bodies fit into the buffers of the systems in between.
const TRANSFER_WAIT_MIN: Duration = Duration::from_secs(2);
/// A connection is parked after this time without a request.
const PARK_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Nothing or a part of a request's head has arrived since then.
    Head(Instant),
    /// The last request was answered then, and no byte of the next one has arrived.
    NextRequest(Instant),
    /// The service answers a request, whose head had arrived whole then.
    Answer(Instant),
}

#[derive(Debug)]
struct State {
    wait: Wait,
    message: Message,
    /// Since when a write is blocked; the write time-out decides how long.
    blocked: Option<Instant>,
    is_parked: bool,
}

impl State {
    fn waits_idly(&self, now: Instant) -> bool {
        let idle = |since| now.saturating_duration_since(since) >= PARK_AFTER;
        self.blocked.is_none() && matches!(self.wait, Wait::NextRequest(since) if idle(since))
    }
}

#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    signals: Signals,
}

impl Activity {
    /// A new connection waits for its first head.
    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            wait: Wait::Head(now),
            message: Message::default(),
            blocked: None,
            is_parked: false,
        };
        Self {
            state: Mutex::new(state),
            signals: Signals::default(),
        }
    }

    /// Bytes were read from the client.
    pub(super) fn received(&self, bytes: &[u8], now: Instant) {
        let mut state = self.state.lock();
        state.is_parked = false;
        if let Wait::NextRequest(_) = state.wait {
            state.wait = Wait::Head(now);
        }
        let is_head = !matches!(state.wait, Wait::Answer(_));
        state.message.receive(bytes, is_head);
    }

    /// A head has arrived whole, and the service begins to answer.
    pub(super) fn begin(&self, body: Body, now: Instant) {
        let mut state = self.state.lock();
        state.wait = Wait::Answer(now);
        state.message.body = body;
    }

    /// The response has been made and is in the write buffer.
    pub(super) fn answered(&self, now: Instant) {
        let mut state = self.state.lock();
        let message = std::mem::take(&mut state.message);
        state.wait = if message.ends() {
            Wait::NextRequest(now)
        } else {
            Wait::Head(now)
        };
    }

    /// The client does not read, so that a write has to wait.
    pub(super) fn blocked(&self, now: Instant) {
        self.state.lock().blocked = Some(now);
    }

    /// The client reads again; its time limit begins anew.
    pub(super) fn unblocked(&self, now: Instant) {
        let mut state = self.state.lock();
        state.blocked = None;
        state.wait = match state.wait {
            Wait::Head(_) => Wait::Head(now),
            Wait::NextRequest(_) => Wait::NextRequest(now),
            Wait::Answer(since) => Wait::Answer(since),
        };
    }

    /// Why the connection has to be closed now, if it has to.
    pub(super) fn overdue(&self, now: Instant) -> Option<Cut> {
        let state = self.state.lock();
        let past = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        match state.wait {
            _ if state.blocked.is_some() => None,
            Wait::Head(since) => past(since, HEAD_TIMEOUT).then_some(Cut::Silent),
            Wait::NextRequest(since) => past(since, IDLE_TIMEOUT).then_some(Cut::Idle),
            Wait::Answer(_) => None,
        }
    }

    /// From when on the connection makes room for a new one that finds no place; `None` while the
    /// service, not the client, is due to do something.
    pub(super) fn yields_from(&self) -> Option<Instant> {
        let state = self.state.lock();
        match (state.blocked, state.wait) {
            (None, Wait::Head(since)) => Some(since + HEAD_WAIT_MIN),
            (None, Wait::NextRequest(since)) => Some(since + IDLE_WAIT_MIN),
            (None, Wait::Answer(_)) if state.message.is_whole() => None,
            (Some(since), _) | (None, Wait::Answer(since)) => Some(since + TRANSFER_WAIT_MIN),
        }
    }

    /// Whether the connection has been without a request for so long that it is to be parked.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let state = self.state.lock();
        !state.is_parked && state.waits_idly(now)
    }

    /// Tells the connection to do something.
    pub(super) fn send(&self, signal: Signal) {
        self.signals.send(signal);
    }

    /// Whether the connection is told to close at once; the next signal wakes its task.
    pub(super) fn is_to_close(&self, context: &Context<'_>) -> bool {
        self.signals.watch(context) == Some(Signal::Close)
    }

    /// What the connection is told to do.
    pub(super) fn signal(&self) -> Option<Signal> {
        let signal = self.signals.take()?;
        (signal != Signal::Park || self.parks(Instant::now())).then_some(signal)
    }

    #[cfg(test)]
    pub(super) fn is_parked(&self) -> bool {
        self.state.lock().is_parked
    }

    /// Whether the connection parks now: a request may have arrived after the signal.
    fn parks(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.is_parked = state.waits_idly(now);
        state.is_parked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost:";

    fn served(parts: &[&[u8]], body: Body, late: &[&[u8]]) -> (Activity, Instant) {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        for part in parts {
            activity.received(part, begun);
        }
        activity.begin(body, begun);
        for part in late {
            activity.received(part, begun);
        }
        activity.answered(begun);
        (activity, begun)
    }

    #[test]
    fn a_head_is_due_in_ten_seconds_however_slowly_it_comes() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        for second in 0..10 {
            let now = begun + Duration::from_secs(second);
            assert_eq!(activity.overdue(now), None, "{second}");
            activity.received(b"G", now);
        }
        assert_eq!(activity.overdue(begun + HEAD_TIMEOUT), Some(Cut::Silent));
    }

    #[test]
    fn a_client_may_keep_silent_for_longer_between_requests() {
        let (activity, begun) = served(&[HEAD], Body::None, &[]);
        assert_eq!(activity.overdue(begun + Duration::from_secs(74)), None);
        assert_eq!(activity.overdue(begun + IDLE_TIMEOUT), Some(Cut::Idle));

        let later = begun + Duration::from_mins(1);
        activity.received(b"G", later);
        assert_eq!(activity.overdue(later + Duration::from_secs(9)), None);
        assert_eq!(activity.overdue(later + HEAD_TIMEOUT), Some(Cut::Silent));
    }

    #[test]
    fn a_request_may_take_any_time() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        activity.received(HEAD, begun);
        activity.begin(Body::None, begun);
        let later = begun + Duration::from_hours(1);
        assert_eq!(
            (activity.overdue(later), activity.yields_from()),
            (None, None)
        );
    }

    #[test]
    fn half_a_head_behind_a_request_is_due_in_ten_seconds() {
        let sized = [HEAD, b"{}"].concat();
        let chunked = [HEAD, b"2\r\n{}\r\n0\r\n\r\n"].concat();
        for (whole, body) in [
            (HEAD.to_vec(), Body::None),
            (sized, Body::Sized(2)),
            (chunked, Body::Chunked),
        ] {
            let (clean, begun) = served(&[&whole], body, &[]);
            let soon = begun + HEAD_TIMEOUT;
            assert_eq!(clean.overdue(soon), None, "{body:?}");
            let (behind, begun) = served(&[&[&whole, HALF].concat()], body, &[]);
            let soon = begun + HEAD_TIMEOUT;
            assert_eq!(behind.overdue(soon), Some(Cut::Silent), "{body:?}");
            let (late, begun) = served(&[&whole], body, &[HALF]);
            let soon = begun + HEAD_TIMEOUT;
            assert_eq!(late.overdue(soon), Some(Cut::Silent), "{body:?}");
        }
    }

    #[test]
    fn a_body_that_comes_later_belongs_to_its_request() {
        let (activity, begun) = served(&[HEAD], Body::Sized(4), &[b"{", b" }\n"]);
        assert_eq!(activity.overdue(begun + HEAD_TIMEOUT), None);
    }

    #[test]
    fn a_client_that_does_not_read_is_left_to_the_write_time_out() {
        let (activity, begun) = served(&[HEAD], Body::None, &[]);
        activity.blocked(begun);
        assert_eq!(activity.overdue(begun + IDLE_TIMEOUT), None);
        let later = begun + Duration::from_secs(80);
        activity.unblocked(later);
        assert_eq!(activity.overdue(later), None);
        assert_eq!(activity.overdue(later + IDLE_TIMEOUT), Some(Cut::Idle));
    }

    /// The service waits for its client then, whatever it does for the request.
    #[test]
    fn a_client_that_does_not_read_makes_room_after_two_seconds() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        activity.received(HEAD, begun);
        activity.begin(Body::None, begun);
        let later = begun + Duration::from_secs(5);
        activity.blocked(later);
        assert_eq!(activity.yields_from(), Some(later + Duration::from_secs(2)));
        activity.unblocked(later + Duration::from_secs(1));
        assert_eq!(activity.yields_from(), None);
    }

    #[test]
    fn a_request_without_its_whole_body_makes_room_after_two_seconds() {
        for (body, parts) in [
            (Body::Sized(4), ["{", "} ", "\n"]),
            (Body::Chunked, ["2\r\n{}\r", "\n0\r\n\r", "\n"]),
        ] {
            // A read can end anywhere in a head; empty lines before it are no part of it.
            for split in 0..HEAD.len() {
                let begun = Instant::now();
                let activity = Activity::new(begun);
                let (first, second) = HEAD.split_at(split);
                for part in [&b"\r\n\r\n"[..], first, second] {
                    activity.received(part, begun);
                }
                activity.begin(body, begun);
                for part in parts {
                    let due = Some(begun + Duration::from_secs(2));
                    assert_eq!(activity.yields_from(), due, "{body:?}, {split}");
                    activity.received(part.as_bytes(), begun + Duration::from_secs(1));
                }
                assert_eq!(activity.yields_from(), None, "{body:?}, {split}");
                activity.answered(begun);
                let due = activity.overdue(begun + HEAD_TIMEOUT);
                assert_eq!(due, None, "{body:?}, {split}: the next request is due");
            }
        }
    }

    #[test]
    fn a_silent_connection_makes_room_before_one_between_two_requests() {
        let (served, begun) = served(&[HEAD], Body::None, &[]);
        let silent = Activity::new(begun + Duration::from_secs(1));
        assert!(silent.yields_from() < served.yields_from());
    }
}
