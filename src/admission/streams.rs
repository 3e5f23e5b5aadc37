//! The places of event streams: a stream holds a connection for hours, so streams have a bound of
//! their own below that of all connections, and a flood of them never keeps a request out.

use std::{collections::HashMap, hash::Hash, net::IpAddr, num::NonZeroU32, sync::Arc};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use crate::{
    domain::UserId,
    metrics::connections::{self, StreamBound},
};

/// The most streams that one node serves at once.
#[derive(Clone, Copy, Debug)]
pub struct StreamBounds {
    pub node: u32,
    /// Of one signed-in user; `None` disables the bound.
    pub user: Option<NonZeroU32>,
    /// Of one client address; `None` disables the bound.
    pub address: Option<NonZeroU32>,
}

/// Which bound refused a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many event streams")]
pub struct StreamRefused(pub StreamBound);

/// Who opens a stream; what is unknown is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watcher {
    pub user: Option<UserId>,
    pub address: Option<IpAddr>,
}

/// The open streams of this node; clones share them.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: StreamBounds,
    open: Mutex<Open>,
}

/// At most `StreamBounds::node` entries in each map.
#[derive(Debug, Default)]
struct Open {
    node: u32,
    users: HashMap<UserId, u32>,
    addresses: HashMap<IpAddr, u32>,
}

/// A stream's place, free again when it is dropped.
#[derive(Debug)]
pub struct StreamPlace {
    watcher: Watcher,
    streams: Streams,
}

impl Streams {
    pub fn new(bounds: StreamBounds) -> Self {
        connections::streams_max(bounds.node);
        Self(Arc::new(Shared {
            bounds,
            open: Mutex::default(),
        }))
    }

    /// Takes a place for as long as the result lives.
    pub fn open(&self, watcher: Watcher) -> Result<StreamPlace, StreamRefused> {
        let taken = self.0.open.lock().take(&watcher, self.0.bounds);
        if let Err(StreamRefused(bound)) = taken {
            connections::stream_refused(bound);
            return Err(StreamRefused(bound));
        }
        connections::streams().increment(1);
        Ok(StreamPlace {
            watcher,
            streams: self.clone(),
        })
    }
}

impl StreamPlace {
    /// The stream, which keeps the place until it is dropped.
    pub fn hold<S: Stream>(self, stream: S) -> impl Stream<Item = S::Item> {
        stream.map(move |item| {
            let _held = &self;
            item
        })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.streams.0.open.lock().leave(&self.watcher);
        connections::streams().decrement(1);
    }
}

impl Open {
    fn take(&mut self, watcher: &Watcher, bounds: StreamBounds) -> Result<(), StreamRefused> {
        if self.node >= bounds.node {
            return Err(StreamRefused(StreamBound::Node));
        }
        if reaches(&self.users, watcher.user.as_ref(), bounds.user) {
            return Err(StreamRefused(StreamBound::User));
        }
        if reaches(&self.addresses, watcher.address.as_ref(), bounds.address) {
            return Err(StreamRefused(StreamBound::Address));
        }
        self.node += 1;
        if let Some(user) = &watcher.user {
            *self.users.entry(Arc::clone(user)).or_default() += 1;
        }
        if let Some(address) = watcher.address {
            *self.addresses.entry(address).or_default() += 1;
        }
        Ok(())
    }

    fn leave(&mut self, watcher: &Watcher) {
        self.node = self.node.saturating_sub(1);
        if let Some(user) = &watcher.user {
            discount(&mut self.users, user);
        }
        if let Some(address) = &watcher.address {
            discount(&mut self.addresses, address);
        }
    }
}

fn reaches<K: Hash + Eq>(
    open: &HashMap<K, u32>,
    key: Option<&K>,
    bound: Option<NonZeroU32>,
) -> bool {
    let open = key.and_then(|key| open.get(key)).copied();
    bound
        .zip(open)
        .is_some_and(|(bound, open)| open >= bound.get())
}

fn discount<K: Hash + Eq>(open: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = open.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            open.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn streams(node: u32) -> Streams {
        Streams::new(StreamBounds {
            node,
            user: NonZeroU32::new(2),
            address: NonZeroU32::new(3),
        })
    }

    fn watcher(user: Option<&str>, address: u8) -> Watcher {
        Watcher {
            user: user.map(UserId::from),
            address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, address))),
        }
    }

    #[test]
    fn each_bound_refuses_and_a_closed_stream_frees_its_place() {
        let streams = streams(5);
        let ann: Vec<_> = (0..2)
            .map(|_| streams.open(watcher(Some("ann"), 1)).unwrap())
            .collect();
        let refused = |who: Watcher| streams.open(who).unwrap_err().0;
        assert_eq!(refused(watcher(Some("ann"), 2)), StreamBound::User);
        let third = streams.open(watcher(None, 1)).unwrap();
        assert_eq!(refused(watcher(None, 1)), StreamBound::Address);
        let others: Vec<_> = (0..2)
            .map(|_| streams.open(watcher(None, 2)).unwrap())
            .collect();
        assert_eq!(refused(watcher(None, 3)), StreamBound::Node);

        drop((ann, third, others));
        let open = streams.0.open.lock();
        assert_eq!(open.node, 0);
        assert!(open.users.is_empty() && open.addresses.is_empty());
    }
}
