//! State that all lanes of this node share.

use super::{Deadlines, LaneBounds, Parts};

#[derive(Debug)]
pub(super) struct Context {
    pub(super) parts: Parts,
    pub(super) bounds: LaneBounds,
    pub(super) deadlines: Deadlines,
}
