//! What one value may claim. Everything else is bounded by the bytes that are really there.

/// Bytes of one string: the largest value of Redis' `proto-max-bulk-len` by default. What Redis was told to allow beyond
/// that is refused by name, since no client of a node could send it either.
pub const TEXT_BYTES_MAX: u64 = 512 << 20;

/// How often LZF may make its input longer: a reference of three bytes stands for at most 264. A claim beyond that is a
/// lie, and is refused before memory is taken.
pub const LZF_EXPANSION_MAX: u64 = 88;

/// Bytes reserved at once on the strength of an announced length; the rest comes as it arrives.
pub const RESERVED_BYTES_MAX: usize = 1 << 20;

/// Bytes a reader takes from its source at once: enough that system calls do not count.
pub const READ_BYTES: usize = 256 * 1024;

/// Bytes of one listpack that is written for a list, as Redis makes them by default.
pub const LIST_NODE_BYTES_MAX: usize = 8 * 1024;

/// Elements up to which a hash or sorted set is written as one listpack, Redis' default.
pub const LISTPACK_ELEMENTS_MAX: usize = 128;

/// Bytes of an element up to which a hash or sorted set is written as one listpack, Redis' default.
pub const LISTPACK_ELEMENT_BYTES_MAX: usize = 64;

/// Members up to which a set of integers is written as one sorted array, Redis' default.
pub const INTSET_MEMBERS_MAX: usize = 512;

/// Entries of a stream in one listpack, Redis' default.
pub const STREAM_NODE_ENTRIES_MAX: usize = 100;

/// Bytes of one listpack of a stream, Redis' default.
pub const STREAM_NODE_BYTES_MAX: usize = 4096;

/// What a compressed byte stands for in data that anybody has: so much is always allowed.
pub const USUAL_EXPANSION: u64 = 16;

/// Bytes that all compressed strings of a collection in one payload may stand for together, beyond [`USUAL_EXPANSION`]: a
/// client could else have a small request take 88 times its size, and several times that for elements of no length. A
/// string is bounded by [`TEXT_BYTES_MAX`] alone. So much also for the names of a stream's fields, which a payload has once
/// for a hundred entries and whoever takes it for each.
pub const PAYLOAD_EXPANDED_BYTES_MAX: u64 = 16 << 20;

/// The same for a collection in a file, or from a server that the operator has chosen: a list of a thousand million equal
/// letters is possible there, and must come in.
pub const FILE_EXPANDED_BYTES_MAX: u64 = 1 << 30;
