//! The files of a backup as a directory that is only read: those of its cut, and of each as much as belongs to it.

use super::BackupFile;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{FileFacts, FileId, Fs, FsFile, StdFs};

/// A cut's files.
#[derive(Debug)]
pub(super) struct CutFiles {
    beneath: StdFs,
    /// By their names in the store: those in the backup, and how many bytes count.
    files: BTreeMap<String, (String, u64)>,
}

impl CutFiles {
    pub(super) fn new(directory: PathBuf, files: &[BackupFile]) -> Self {
        let files = files.iter().map(|file| (file.name.clone(), (file.stored.clone(), file.bytes))).collect();
        Self { beneath: StdFs::existing(Path::new(&directory)), files }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a backup is only read"))
}

impl Fs for CutFiles {
    fn create(&self, _: &str) -> io::Result<Arc<dyn FsFile>> {
        refused()
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        Ok(self.files.iter().map(|(name, (_, bytes))| FileFacts { name: name.clone(), bytes: *bytes }).collect())
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let (stored, bytes) = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let left = usize::try_from(bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.beneath.read(stored, offset, left.min(bytes_max))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_directory(&self) -> io::Result<()> {
        refused()
    }

    fn sync_file(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn space(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        let (stored, _) = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.beneath.file_id(stored)
    }
}
