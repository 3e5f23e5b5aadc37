//! The next hold expiry: lanes report the holds they make, so that the expiry job need not poll.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

#[derive(Debug)]
pub struct Deadlines {
    /// The earliest expiry that the job has not read yet.
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
    /// Adds the expiry of a new hold.
    pub(super) fn add(&self, end: DateTime<Utc>) {
        self.next.send_if_modified(|next| {
            let earlier = next.is_none_or(|next| end < next);
            if earlier {
                *next = Some(end);
            }
            earlier
        });
    }

    /// Records that the job has read `found` from the database: from now on only an earlier
    /// expiry wakes it.
    pub fn set(&self, found: Option<DateTime<Utc>>) {
        self.next.send_if_modified(|next| {
            *next = found;
            false
        });
    }

    /// Wakes its receiver when a lane adds an earlier expiry.
    pub fn watch(&self) -> watch::Receiver<Option<DateTime<Utc>>> {
        self.next.subscribe()
    }
}
