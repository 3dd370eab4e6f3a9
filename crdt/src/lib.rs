//! What values are and how they merge: pure, without a clock, a thread or a byte of I/O.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod context;
pub mod membership;
mod stamp;

pub use context::VersionVector;
pub use membership::{Membership, NodeIdentity};
pub use stamp::{NODE_NUMBERS_MAX, NodeNumber, STAMP_EPOCH_MS, Stamp, UnixMillis};
