//! The seam to the disk: one directory of files that are only ever appended to, renamed and removed.
//!
//! Small on purpose: the simulator's disk implements it with all the ways in which a real one forgets. Synchronous, since
//! it is called from threads that do nothing else. Not for the catalogue, which is sled's own affair.

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A directory on a disk. Names are those of files in it; there are no directories below.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Makes a file that is not there yet, to be appended to. Its name is durable after [`Fs::sync_directory`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>>;
    /// All files, in the order of their names.
    fn list(&self) -> io::Result<Vec<FileFacts>>;
    /// Reads at most `bytes_max` bytes from `offset` on; fewer only where the file ends.
    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;
    /// Gives a file another name, in place of a file that had it.
    fn rename(&self, old: &str, new: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable: what was created, renamed and removed until now.
    fn sync_directory(&self) -> io::Result<()>;
    /// Makes a file durable that somebody else has written, such as an earlier process. [`FsFile::sync`] has the details.
    fn sync_file(&self, name: &str) -> io::Result<()>;
    /// Bytes that may still be written.
    fn space(&self) -> io::Result<u64>;
    /// What tells a file from every copy of it, and where it is.
    fn file_id(&self, name: &str) -> io::Result<FileId>;
}

/// What tells a file from every copy of it, and where it is. Renaming does not change it, and nobody can choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// Its number in its file system. Free again when the file is gone.
    pub inode: u64,
    /// When it was made, in nanoseconds; 0 where the file system does not say.
    pub born_ns: u64,
    /// Which mount of its file system it is seen under; 0 where the system does not say.
    pub mount: u64,
}

/// A file that is being written.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Writes at the end. After an error any part of it may have been written.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was appended durable.
    ///
    /// SUBTLE: after an error the system may have dropped what was not written, and a second call would succeed all the
    /// same. A file whose sync failed must be given up.
    fn sync(&self) -> io::Result<()>;
}

/// A file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Why the disk cannot do it. The node goes on in memory where that is safe; the operator mends the disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {doing} {name}: {error}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A checkpoint would not fit beside the one before, so it was not begun.
    #[error(
        "a checkpoint would take about {bytes} bytes and the disk has {space}: it was not begun, the journal keeps everything meanwhile, and it is tried again when there is more space, and now and then"
    )]
    NoRoom {
        /// About what its images take.
        bytes: u64,
        /// What may still be written.
        space: u64,
    },
    /// It has failed and is not tried again at once.
    #[error("the disk failed a moment ago and is tried again soon")]
    Paused,
    /// Somebody has asked for the end of the process while a store was read.
    #[error("the node was asked to stop while it read what is on its disk")]
    Stopped,
    /// Whoever did it met a defect in the middle.
    #[error("the thread \"{0}\" met a defect, which the log describes in a line before this one; please report it")]
    Panicked(&'static str),
    /// The directory is that of another node or cluster.
    #[error("{0} was written by another node or cluster; give this node its own directory")]
    Foreign(String),
    /// A file of a later version.
    #[error("{name} has format {version}, which this version of Pelago does not know")]
    Newer {
        /// Which.
        name: String,
        /// Its format.
        version: u16,
    },
}

impl StoreError {
    pub(crate) fn file(doing: &'static str, name: &str, error: io::Error) -> Self {
        Self::File { doing, name: name.to_owned(), error }
    }

    /// Whether there is no space left. The disk itself is sound then.
    pub fn is_full(&self) -> bool {
        match self {
            Self::File { error, .. } => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::NoRoom { .. } => true,
            Self::Paused | Self::Stopped | Self::Panicked(_) | Self::Foreign(_) | Self::Newer { .. } => false,
        }
    }

    /// Whether a file was not read because what it holds is lost.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::File { error, .. } => is_damage(error),
            Self::NoRoom { .. }
            | Self::Paused
            | Self::Stopped
            | Self::Panicked(_)
            | Self::Foreign(_)
            | Self::Newer { .. } => false,
        }
    }
}

/// Whether an error of a read says that the disk has lost what lies there.
///
/// SUBTLE: everything else, such as too many open files, no memory or no permission, says nothing about the file: whoever
/// took it for damage would move sound files aside.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    let lost = [Errno::IO, Errno::BADMSG, Errno::UCLEAN];
    error.raw_os_error().is_some_and(|number| lost.iter().any(|lost| lost.raw_os_error() == number))
}

/// Writes a small file as a whole: after a crash there is the old one or the new one.
pub(crate) fn replace_file(fs: &dyn Fs, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = format!("{name}{UNFINISHED}");
    remove_if_there(fs, &beside)?;
    let write = || -> io::Result<()> {
        let file = fs.create(&beside)?;
        file.append(bytes)?;
        file.sync()?;
        fs.rename(&beside, name)?;
        fs.sync_directory()
    };
    write().map_err(|error| StoreError::file("write", name, error))
}

/// Removes a file that may not be there. Every file of a store goes by way of this.
pub(crate) fn remove_if_there(fs: &dyn Fs, name: &str) -> Result<(), StoreError> {
    match fs.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("remove", name, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Keeps a file that cannot be used for inspection, under a name that no start takes for a part of the store.
pub(crate) fn move_aside(fs: &dyn Fs, name: &str) -> Result<(), StoreError> {
    fs.rename(name, &format!("{name}{DAMAGED}")).map_err(|error| StoreError::file("move aside", name, error))
}

/// All files of a store's directory.
pub(crate) fn list(fs: &dyn Fs) -> Result<Vec<FileFacts>, StoreError> {
    fs.list().map_err(|error| StoreError::file("list", "the store's directory", error))
}

/// Reads a whole file, if it is there.
pub(crate) fn read_whole(fs: &dyn Fs, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, StoreError> {
    match fs.read(name, 0, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("read", name, error)),
    }
}

/// Reads a whole small file, if it is there and the disk can read it.
pub(crate) fn read_if_sound(fs: &dyn Fs, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, StoreError> {
    match read_whole(fs, name, bytes_max) {
        Err(error) if error.is_damage() => {
            tracing::error!(%error, "the disk cannot read a file of the store");
            Ok(None)
        }
        found => found,
    }
}

/// What could be read of a file.
pub(crate) struct Readable {
    /// Its beginning, and mostly all of it.
    pub bytes: Vec<u8>,
    /// The disk cannot read what follows.
    pub is_cut: bool,
}

/// Reads a file to its end, or at most so many bytes of it, or as far as the disk can: a sector that it cannot read is
/// damage like any other, costs what lies in it and behind it, and must not keep a node from starting.
pub(crate) fn read_readable(fs: &dyn Fs, name: &str, bytes_max: usize) -> Result<Readable, StoreError> {
    let error = match fs.read(name, 0, bytes_max) {
        Ok(bytes) => return Ok(Readable { bytes, is_cut: false }),
        Err(error) if is_damage(&error) => error,
        Err(error) => return Err(StoreError::file("read", name, error)),
    };
    let mut bytes = Vec::new();
    let is_cut = loop {
        let left = bytes_max - bytes.len();
        match fs.read(name, bytes.len() as u64, left.min(SECTOR_BYTES)) {
            Ok(sector) if sector.is_empty() => break false,
            Ok(sector) => bytes.extend_from_slice(&sector),
            Err(error) if is_damage(&error) => break true,
            Err(error) => return Err(StoreError::file("read", name, error)),
        }
    };
    tracing::error!(name, %error, readable_bytes = bytes.len(), "the disk cannot read a file of the store");
    Ok(Readable { bytes, is_cut })
}

/// So much is read at once of a file that cannot be read as a whole: what disks lose at once is mostly larger.
const SECTOR_BYTES: usize = 512;

/// The end of the name of a file that is not finished: a crash may leave one behind, and the next start removes it.
pub(crate) const UNFINISHED: &str = ".new";
/// In the name of a file that could not be used and is kept for inspection.
pub(crate) const DAMAGED: &str = ".damaged";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_disk_has_lost_is_damage() {
        let is_lost = |errno: Errno| is_damage(&io::Error::from(errno));
        assert!([Errno::IO, Errno::BADMSG, Errno::UCLEAN].into_iter().all(is_lost));
        let transient = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::STALE, Errno::TIMEDOUT];
        assert!(!transient.into_iter().any(is_lost));
        assert!(!is_damage(&io::Error::other("the process has ended")));
    }
}
