//! The data of one node: keys, their merge rules, and the doors for workers and for replication.
//!
//! Workers come in through [`Writer`] and [`Access`]; replication through [`Keyspace`]: it drains the logs into
//! batches, applies those of others, and reads and merges whole slots when a peer has been away too long. Nothing here
//! reads a clock, sends, or waits for anything but a slot's lock.

mod access;
mod apply;
mod arrival;
mod awaited;
mod beside;
mod body;
mod buckets;
mod bundle;
mod collection;
mod drain;
mod elements;
mod entry;
mod events;
mod evict;
mod field_life;
mod fields;
mod footprint;
mod frozen;
mod garbage;
mod groups;
mod hash;
mod hold;
mod holds;
mod image;
mod in_bundle;
mod in_place;
mod keyspace;
mod large;
mod list;
mod lock;
mod lock_order;
mod log;
mod merge;
mod merge_stream;
mod observe;
mod ordered;
#[cfg(test)]
mod pair;
mod part;
mod patched;
mod patching;
mod ranked;
mod relocate;
mod runs;
mod sequence;
mod shared;
mod slot;
mod slot_walk;
mod sorted;
mod state;
mod steps;
mod stream;
mod streams;
mod summary;
mod sweep;
mod text;
mod trim;
mod usage;
mod words;
mod write;

pub use access::{Access, Database, Elements, Lookups, Watch, WrongKind};
pub use apply::Prepared;
pub use awaited::{KeyObserver, Together};
pub use crdt::{ExactFloat, Kind, Lifetime, Score, UnixMillis};
pub use drain::{BATCH_BYTES_TARGET, Drain, GROUP_CHANGES_MAX, OpenBatch};
pub use events::{EventClass, EventSink};
pub use evict::{EVICTION_RESETS_MAX, Eviction, EvictionPolicy, EvictionRank, Evictor};
pub use frozen::Still;
pub use garbage::{GARBAGE_OBJECTS_MAX, GarbageFigures};
pub use groups::{GivenConsumer, GivenGroup, GivenPending, GroupPlace, Wish};
pub use hash::{SLOTS, slot_of};
pub use holds::{Holder, Holds};
pub use keyspace::{EXPECTED_MAX, Expected, Keyspace, PIPELINE_LOG_BYTES_MAX, Place, Removal, Writer};
pub use list::{End, List};
pub use relocate::{Permission, Relocated, Relocation};
pub use shared::{Conflicts, EndedNumber};
pub use slot::DATABASES;
pub use sorted::{InOrder, SortedElements};
pub use state::{Extent, Pack, SlotDigest, StateMerger, StateReader, StateStep, Unpack};
pub use stream::{
    Claim, Consumer, ConsumerNumber, Delivery, GroupMut, Item as StreamItem, OverRange, Pending, PendingList,
    StreamCounts, Text as StreamText,
};
pub use streams::{IdRefused, IdRequest, StreamView, Trim, TrimBy};
pub use sweep::{SweepPolicy, Swept};
pub use usage::Tracking;
pub use write::{Delta, NewLifetime};
