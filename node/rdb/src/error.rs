//! What can be wrong with bytes that should be RDB.

use std::io;

/// Why bytes are not understood, or could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// The source or the target failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ends in the middle of something.
    #[error("it ends too early")]
    Truncated,
    /// It does not begin as such files do.
    #[error("it is no RDB file: it does not begin with REDIS or VALKEY and a version")]
    NotRdb,
    /// A version nobody has told us about.
    #[error("its version {0} is not known here")]
    Version(u32),
    /// A value of an unknown type, whose end cannot be found.
    #[error("it has a value of the unknown type {0}")]
    Type(u8),
    /// Something that only this version of the format and later ones have.
    #[error("it needs version {0} of the format")]
    NeedsVersion(u32),
    /// Something known that is not taken apart here.
    #[error("it has {0}, which is not supported")]
    Unsupported(&'static str),
    /// A string longer than [`limits::TEXT_BYTES_MAX`](crate::limits::TEXT_BYTES_MAX).
    #[error("it has a string of {0} bytes, more than any client could send")]
    TextTooLong(u64),
    /// Contradictions in the bytes.
    #[error("it is damaged: {0}")]
    Corrupt(&'static str),
    /// A small value that stands for so many bytes, which whoever takes it would have to keep.
    #[error("it stands for {0} bytes, far more than it has")]
    Expanded(u64),
    /// The bytes are not those that were written.
    #[error("it is damaged: its checksum is {found:016x} instead of {expected:016x}")]
    Checksum {
        /// What stands there.
        expected: u64,
        /// What comes out.
        found: u64,
    },
}
