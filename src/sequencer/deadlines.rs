//! When the next hold ends, for the job that ends holds: told by the lanes that make them, so that
//! nobody has to look for it again and again.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

#[derive(Debug)]
pub struct Deadlines {
    /// The earliest one that the job does not know yet.
    next: watch::Sender<Option<DateTime<Utc>>>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            next: watch::Sender::new(None),
        }
    }
}

impl Deadlines {
    /// A hold ends at this time.
    pub(super) fn is_known(&self, end: DateTime<Utc>) {
        self.next.send_if_modified(|next| {
            let earlier = next.is_none_or(|next| end < next);
            if earlier {
                *next = Some(end);
            }
            earlier
        });
    }

    /// The job has looked: only what is earlier than `found` is news from now on.
    pub fn looked(&self, found: Option<DateTime<Utc>>) {
        self.next.send_if_modified(|next| {
            *next = found;
            false
        });
    }

    /// Wakes when an earlier end becomes known.
    pub fn watch(&self) -> watch::Receiver<Option<DateTime<Utc>>> {
        self.next.subscribe()
    }
}
