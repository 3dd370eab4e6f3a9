//! Where a backup goes: what is there of earlier ones, and how the new one takes its place.
//!
//! SUBTLE: until the new cut counts, nothing of the one before is altered: its files are appended to at most, and what
//! differs from it goes into a file of another name. What an interrupted run has left is offered to the node by checksum
//! as everything else is, so it need not be known which bytes of it are good.

use super::source::{Cut, Piece, Source};
use super::stopped;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use server::persistence::backup::{BACKUP_FILES, BACKUP_MANIFEST, Backup, BackupChecksum, BackupFile, BackupManifest};
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
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

/// How many bytes came over the network, and how many were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub copied: u64,
    pub reused: u64,
}

/// A piece that was asked for.
struct Asked {
    offset: u64,
    bytes: u64,
    /// What is here of it; all of it or nothing.
    here: Option<Vec<u8>>,
}

/// Whether a file could be made in the place that was tried.
enum Made {
    /// It is there, with this checksum.
    Whole(String),
    /// The cut before has something else there.
    Differs,
}

const LOCK: &str = "backup.lock";
/// Pieces that are asked for before the first has come: a far node is asked without waiting, and this much of its answers is
/// on the way.
const PIECES_AHEAD: usize = 4;

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

    /// Copies a file of the cut, as far as it is not here.
    pub(super) fn copy(
        &self,
        source: &mut Source,
        name: &str,
        length: u64,
        amount: &mut Amount,
        stop: &Stop,
        note: &dyn Fn(&Amount),
    ) -> Result<BackupFile> {
        let before = self.before.iter().flat_map(|before| &before.files).find(|file| file.name == name);
        let (first, kept) = before.map_or((name.to_owned(), 0), |file| (file.stored.clone(), file.bytes));
        let other = format!("{name}.{}", self.cut_number());
        for (stored, kept) in [(first, kept), (other, 0)] {
            let begun = *amount;
            match self.make(source, (name, &stored), (length, kept), amount, stop, note)? {
                Made::Whole(checksum) => {
                    return Ok(BackupFile { name: name.to_owned(), stored, bytes: length, checksum });
                }
                Made::Differs => *amount = begun,
            }
        }
        // Nothing is kept of the second, so it cannot differ.
        Err(Failure::Arguments(format!("{name} could not be copied; try again")))
    }

    /// Makes `stored` the file `name` with `length` bytes, of which the first `kept` must not be altered.
    fn make(
        &self,
        source: &mut Source,
        (name, stored): (&str, &str),
        (length, kept): (u64, u64),
        amount: &mut Amount,
        stop: &Stop,
        note: &dyn Fn(&Amount),
    ) -> Result<Made> {
        let path = self.files.join(stored);
        let failed = |doing| {
            let path = path.clone();
            move |error| Failure::File { doing, path, error }
        };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(failed("write"))?;
        let here = file.metadata().map_err(failed("read"))?.len();
        let (mut checksum, mut is_changed) = (BackupChecksum::default(), here == 0);
        let (mut next, mut asked) = (0, VecDeque::new());
        loop {
            while asked.len() < PIECES_AHEAD && next < length {
                let piece = ask(source, name, &file, (next, length, here)).map_err(|error| match error {
                    Unasked::Here(error) => failed("read")(error),
                    Unasked::There(failure) => failure,
                })?;
                next += piece.bytes;
                asked.push_back(piece);
            }
            let Some(Asked { offset, bytes, here }) = asked.pop_front() else { break };
            match source.piece()? {
                Piece::Same => {
                    checksum.add(here.as_deref().unwrap_or_default());
                    amount.reused += bytes;
                }
                Piece::Bytes(came) if came.len() as u64 == bytes => {
                    let must_stay = usize::try_from(kept.saturating_sub(offset).min(bytes)).unwrap_or(usize::MAX);
                    if here.is_some_and(|here| here[..must_stay] != came[..must_stay]) {
                        asked.into_iter().try_for_each(|_| source.piece().map(drop))?;
                        return Ok(Made::Differs);
                    }
                    file.write_all_at(came, offset).map_err(failed("write"))?;
                    checksum.add(came);
                    is_changed = true;
                    amount.copied += bytes;
                }
                Piece::Bytes(came) => {
                    let text = format!("{name} was answered with {} bytes instead of {bytes}", came.len());
                    return Err(Failure::Arguments(text));
                }
            }
            note(amount);
            if stop.is_told() {
                return Err(stopped());
            }
        }
        if is_changed {
            file.sync_all().map_err(failed("make durable"))?;
        }
        Ok(Made::Whole(checksum.text()))
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

/// Why a piece could not be asked for.
enum Unasked {
    Here(io::Error),
    There(Failure),
}

/// Asks for the piece of a file that begins at `next`: what is here is offered, and what is not begins a piece of its own.
fn ask(
    source: &mut Source,
    name: &str,
    file: &File,
    (next, length, here): (u64, u64, u64),
) -> std::result::Result<Asked, Unasked> {
    let end = if next < here { here.min(length) } else { length };
    let bytes = (end - next).min(source.piece_bytes);
    let found = if next < here {
        let mut found = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut found, next).map_err(Unasked::Here)?;
        Some(found)
    } else {
        None
    };
    let checksum = found.as_deref().map(BackupChecksum::of);
    source.ask(name, next, bytes, checksum.as_deref()).map_err(Unasked::There)?;
    Ok(Asked { offset: next, bytes, here: found })
}
