//! Every bound of this crate, with the reason for its number.

use std::time::Duration;

/// The longest key of a row.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest row. Membership of 1023 nodes and large function libraries fit; bulk data does not belong here.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// sled's page cache: it is good for at least this much, and the catalogue is smaller.
pub const CACHE_BYTES: u64 = 64 << 20;
/// Damaged catalogues that are kept aside for inspection; further ones replace the last.
pub const MOVED_ASIDE_MAX: usize = 100;
/// What decoding a typed row may take in memory.
pub const DECODED_BYTES_MAX: usize = 32 << 20;
/// How often a directory that is in use is tried again: a process that is just ending lets go within this time.
pub const OPEN_TRIES: u32 = 10;
/// The wait between those tries.
pub const OPEN_WAIT: Duration = Duration::from_millis(30);
