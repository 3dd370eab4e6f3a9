//! What values are and how they merge: pure, without a clock, a thread or a byte of I/O.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod change;
mod context;
mod element;
pub mod encoding;
pub mod membership;
pub mod number;
mod position;
mod score;
mod stamp;

pub use change::{Change, Changes, Kind, Lifetime, Operation, Operations, Reset, Resets, Stamps};
pub use context::VersionVector;
pub use element::{Contribution, Element};
pub use encoding::{DecodeError, Reader};
pub use membership::{Membership, NodeIdentity};
pub use number::{ExactFloat, Number, parse_integer};
pub use position::{POSITION_STEPS_MAX, Position, Side, Step};
pub use score::{Score, ScoreBytes};
pub use stamp::{NODE_NUMBERS_MAX, NodeNumber, STAMP_EPOCH_MS, Stamp, UnixMillis};
