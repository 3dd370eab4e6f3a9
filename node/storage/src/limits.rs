//! Every bound of this crate, with the reason for its number.

use std::time::Duration;

/// The longest key of a row.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest row. Membership of 1023 nodes and large function libraries fit; bulk data does not belong here.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// A copy of all rows: as many of the longest as a node has kinds of rows.
pub const CATALOGUE_COPY_BYTES_MAX: usize = 64 << 20;
/// What decoding the copy may take in memory.
pub const COPY_DECODED_BYTES_MAX: usize = 2 * CATALOGUE_COPY_BYTES_MAX;
/// sled's page cache: it is good for at least this much, and the catalogue is smaller.
pub const CACHE_BYTES: u64 = 64 << 20;
/// Bytes of the disk that are kept for the catalogue: some times what it is lent, as somebody else may take that.
pub const RESERVE_BYTES: u64 = 8 << 20;
/// Bytes of these that the catalogue is lent at a time. sled writes segments of half a megabyte, and a copy of its rows comes to
/// that.
pub const RESERVE_LENT_BYTES: u64 = 2 << 20;
/// Damaged catalogues that are kept aside for inspection; further ones replace the last.
pub const MOVED_ASIDE_MAX: usize = 100;
/// What decoding a typed row may take in memory.
pub const DECODED_BYTES_MAX: usize = 32 << 20;
/// How often a directory that is in use is tried again: a process that is just ending lets go within this time.
pub const OPEN_TRIES: u32 = 10;
/// The wait between those tries.
pub const OPEN_WAIT: Duration = Duration::from_millis(30);

/// Bytes of one record of the journal or frame of an image: what a length of 32 bits can say. The largest batch has 576
/// MiB, the largest piece of a state session 1 GiB. A slot that is larger takes several frames of its image.
pub const RECORD_BYTES_MAX: usize = u32::MAX as usize - 64;
/// Bytes at which a segment of the journal is closed, unless it is set otherwise: small enough to be read at one go, and
/// for the oldest part of the journal to go soon after it is no longer needed.
pub const SEGMENT_BYTES: u64 = 32 << 20;
/// Bytes of records that the node may have handed to the disk's thread and that are in no file yet. Past it the node
/// stops closing batches and applying those of others, so that a slow disk costs this much memory and no more.
pub const JOURNAL_QUEUE_BYTES_MAX: u64 = 32 << 20;
/// Bytes of small records that are gathered before they are written in one go.
pub const WRITE_BYTES_TARGET: usize = 1 << 20;
/// Milliseconds after a failed write or flush until the journal is tried again: often enough for an operator who has
/// just mended the disk, and far too seldom to load a failing one.
pub const RETRY_MS: u64 = 1_000;
/// Milliseconds that one write or flush may take. Past it the node warns and says so in `INFO` and metrics: a healthy disk
/// needs some hundredths of that, and until it is done what is written is not durable.
pub const STALL_MS_MAX: u64 = 2_000;
/// Bytes between two places that the index of a segment remembers: so much is read in vain at most.
pub const PLACE_BYTES: u64 = 256 << 10;
/// Bytes of journal that a peer which catches up is read at one go.
pub const READ_BACK_BYTES: usize = 1 << 20;
/// Groups of slots; each has an image of its own.
pub const GROUPS: u16 = 256;
/// Bytes of one block of an image, about: what is read and written at one go, with its checksum. Some hundred
/// microseconds of work, between two looks at how long the thread has worked.
pub const IMAGE_BLOCK_BYTES: usize = 64 << 10;
/// Bytes of a frame of a block that takes several: what is copied to put its checksum before it.
pub const IMAGE_PART_BYTES: usize = 64 << 20;
/// Files that could not be used and are kept for inspection; older ones go.
pub const DAMAGED_FILES_MAX: usize = 16;
/// Bytes of a manifest: 256 groups, vectors of 1024 nodes and their notes fit many times.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
