//! Where a backup goes: what is there of earlier ones, and how the new one takes its place.
//!
//! SUBTLE: until the new cut counts, nothing of the one before is altered: its files are appended to at most, and what
//! differs from it goes into a file of another name. What an interrupted run has left is offered to the node by checksum
//! as everything else is, so it need not be known which bytes of it are good.

use super::source::Cut;
use crate::failure::{Failure, Result};
use server::persistence::backup::{BACKUP_FILES, BACKUP_MANIFEST, Backup, BackupManifest};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The directory of a backup, which nobody else writes to meanwhile.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    files: PathBuf,
    before: Option<BackupManifest>,
    /// Held as long as this is.
    _lock: File,
}

const LOCK: &str = "backup.lock";

/// Where a file of the new cut may be made: under this name, and so many bytes of what is there must stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub stored: String,
    pub kept: u64,
}

impl Place {
    /// Opens a directory, and makes it if it is not there.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let failed = |doing| move |error| Failure::File { doing, path: directory.to_owned(), error };
        let files = directory.join(BACKUP_FILES);
        if directory.exists() && !directory.join(LOCK).exists() && !directory.join(BACKUP_MANIFEST).exists() {
            let is_empty = fs::read_dir(directory).map_err(failed("read"))?.next().is_none();
            if !is_empty {
                return Err(Failure::Arguments(format!(
                    "{} has something else in it than a backup; give an empty directory or a new one",
                    directory.display()
                )));
            }
        }
        fs::create_dir_all(&files).map_err(failed("make"))?;
        let lock =
            OpenOptions::new().create(true).append(true).open(directory.join(LOCK)).map_err(failed("write to"))?;
        if lock.try_lock().is_err() {
            return Err(Failure::Arguments(format!("another backup writes to {} just now", directory.display())));
        }
        let before = BackupManifest::read(directory).map_err(|error| {
            Failure::Arguments(format!("{error}; give another directory, or remove {} first", directory.display()))
        })?;
        Ok(Self { directory: directory.to_owned(), files, before, _lock: lock })
    }

    /// A directory holds backups of one node.
    pub(super) fn check_owner(&self, cut: &Cut) -> Result<()> {
        let (Some(before), now) = (&self.before, &cut.manifest) else { return Ok(()) };
        if (&before.cluster, &before.identity) == (&now.cluster, &now.identity) {
            return Ok(());
        }
        Err(Failure::Arguments(format!(
            "{} holds a backup of another node, {}; give {} a directory of its own",
            self.directory.display(),
            before.node,
            now.node
        )))
    }

    /// The number of the cut that is made now.
    pub(super) fn cut_number(&self) -> u64 {
        self.before.as_ref().map_or(1, |before| before.cut + 1)
    }

    /// Where a file of the cut is made first: over what the cut before has of it.
    pub(super) fn first_spot(&self, name: &str) -> Spot {
        let before = self.before.iter().flat_map(|before| &before.files).find(|file| file.name == name);
        before.map_or(Spot { stored: name.to_owned(), kept: 0 }, |file| Spot {
            stored: file.stored.clone(),
            kept: file.bytes,
        })
    }

    /// Where it is made if the cut before has something else there.
    pub(super) fn other_spot(&self, name: &str) -> Spot {
        Spot { stored: format!("{name}.{}", self.cut_number()), kept: 0 }
    }

    /// The path of a file.
    pub(super) fn path(&self, stored: &str) -> PathBuf {
        self.files.join(stored)
    }

    /// Makes the new cut the one that counts, after it was verified, and removes what belongs to none.
    pub(super) fn finish(&mut self, manifest: &BackupManifest) -> Result<()> {
        let failed = |doing, path: &Path, error| Failure::File { doing, path: path.to_owned(), error };
        let synced = File::open(&self.files).and_then(|files| files.sync_all());
        synced.map_err(|error| failed("make durable", &self.files, error))?;
        Backup::unfinished(&self.directory, manifest.clone()).verify_store().map_err(|error| {
            Failure::Arguments(format!(
                "{error}. That is how the node has it on its own disk: the backup before stands; look at the node with `pelago check`, and take a checkpoint there (BGSAVE) before the next backup"
            ))
        })?;
        manifest.commit(&self.directory).map_err(|error| failed("write", &self.directory, error))?;
        self.before = Some(manifest.clone());
        let used: BTreeSet<&str> = manifest.files.iter().map(|file| file.stored.as_str()).collect();
        self.remove_others(&used).map_err(|error| failed("tidy", &self.files, error))
    }

    fn remove_others(&self, used: &BTreeSet<&str>) -> io::Result<()> {
        for entry in fs::read_dir(&self.files)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| !used.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
