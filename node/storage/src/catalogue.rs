//! What a catalogue promises: rows by name, and `flush`, after which they survive a power cut.

use crate::limits::{KEY_BYTES_MAX, ROW_BYTES_MAX};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Outcome of what is done with a catalogue.
pub type Result<T> = std::result::Result<T, CatalogueError>;

/// Small and precious state, by name.
///
/// A write is seen by every later read at once. It survives a crash of the process or the host for certain only after
/// `flush`; what is written in between may or may not survive, but always as a prefix of the writes.
pub trait Catalogue: Send + Sync {
    /// The row of this name.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Writes a row in place of what was there.
    fn put(&self, key: &str, row: &[u8]) -> Result<()>;
    /// Removes a row.
    fn remove(&self, key: &str) -> Result<()>;
    /// All rows whose names begin so, in the order of their names.
    fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;
    /// Makes everything written so far durable. Takes as long as the disk takes: tens of milliseconds.
    fn flush(&self) -> Result<()>;
    /// Takes room on the disk for later writes, where it has given up some and there is enough. Called now and then.
    fn keep_room(&self) {}
}

/// Why the catalogue cannot do it. The operator acts on it; a node stops rather than go on without its numbers.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// Another process has it open.
    #[error("{} is in use by another process; a node's directory serves one process at a time", .0.display())]
    InUse(PathBuf),
    /// The file system refused.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The stored bytes are not what was written.
    #[error("the catalogue is damaged: {0}")]
    Damaged(String),
    /// A row that holds something else than it should.
    #[error("the catalogue's row {row} cannot be read: {error}")]
    Row {
        /// Its name.
        row: String,
        /// What is wrong with it.
        error: String,
    },
    /// A row of a later version of Pelago.
    #[error("the catalogue's row {row} has version {version}, which this version of Pelago does not know")]
    NewerRow {
        /// Its name.
        row: String,
        /// Its version.
        version: u8,
    },
    /// Longer than a catalogue takes.
    #[error("a catalogue row {key} of {bytes} bytes is too long")]
    TooLong {
        /// Its name, or the beginning of it.
        key: String,
        /// Its length.
        bytes: usize,
    },
}

/// Refuses what is too long for a catalogue.
pub(crate) fn check_size(key: &str, row: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX && row.len() <= ROW_BYTES_MAX {
        return Ok(());
    }
    Err(CatalogueError::TooLong { key: key.chars().take(64).collect(), bytes: row.len() })
}
