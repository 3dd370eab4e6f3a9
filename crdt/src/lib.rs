//! What values are and how they merge: pure, without a clock, a thread or a byte of I/O.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod acknowledged;
pub mod change;
mod context;
mod element;
mod element_life;
mod element_write;
pub mod encoding;
mod hexadecimal;
pub mod membership;
pub mod number;
pub mod patch;
mod patches;
mod position;
mod score;
pub mod sketch;
mod stamp;
mod stream;
mod text_write;

pub use acknowledged::{DotRange, DotSet, EntryDot, GroupStart};
pub use change::{Change, Changes, Kind, Lifetime, Operation, Operations, PlainChange, Reach, Reset, Resets, Stamps};
pub use context::VersionVector;
pub use element::{Contribution, Element};
pub use element_life::ElementLife;
pub use element_write::{EdgeName, ElementWrite};
pub use encoding::{DecodeError, Reader};
pub use membership::{Membership, NodeIdentity};
pub use number::{ExactFloat, Number, parse_integer};
pub use patches::{Dropped, Fold, Patch};
pub use position::{POSITION_STEPS_MAX, Position, Side, Step};
pub use score::{Score, ScoreBytes};
pub use stamp::{NODE_NUMBERS_MAX, NodeNumber, STAMP_EPOCH_MS, Stamp, UnixMillis};
pub use stream::{Ordinals, STREAM_ID_BYTES, StreamEntry, StreamHead, StreamId, StreamName};
pub use text_write::TextWrite;
