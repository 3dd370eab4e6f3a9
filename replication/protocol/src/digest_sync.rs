//! The standing proof: two nodes compare digests of slots that rest, all the time, and a mismatch is an alarm.
//!
//! A slot that has not changed here since vector U is that slot at every cut from U to now. Two nodes whose spans of a
//! slot meet (each one's U is covered by what the other has now), with no early dots in it, must hold the same. This
//! file says what is compared and what the comparison means; who asks whom and when is the node's affair.

use crate::wire::{Reader, write_integer, write_vector};
use crate::{FrameError, limits};
use crdt::VersionVector;

/// What a digest stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// The whole keyspace in one digest.
    Root,
    /// 128 slots in one digest.
    Group,
    /// One slot.
    Slot,
}

/// A run of digests of one level: `first..first + count`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Range {
    /// What each digest stands for.
    pub level: Level,
    /// The first group or slot; 0 at the root.
    pub first: u16,
    /// How many.
    pub count: u16,
}
