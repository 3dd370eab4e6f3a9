//! Room on a full disk for the catalogue: a file that takes some space while there is enough, and gives a part of it up for as
//! long as the catalogue writes when there is not.
//!
//! Whatever fills the disk, a node can then note its start, its number and its membership, and so serve from memory. sled does
//! not survive a write that finds no space: it would take the catalogue for damaged at the next start. Not for keys: what
//! takes their place on a full disk is decided by the journal.

use crate::catalogue::{Catalogue, Result};
use crate::fs::Fs;
use crate::limits::{RESERVE_BYTES, RESERVE_LENT_BYTES};
use crate::std_fs::StdFs;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file, and what is free beside it.
pub struct Reserve {
    path: PathBuf,
    space: Box<dyn Fn() -> io::Result<u64> + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// So much is held.
    bytes: u64,
    /// It was told that it was given up, or could not be made, and not yet that it is there again.
    is_told: bool,
}

impl Reserve {
    /// The reserve at `path`, which is made when there is room for it.
    pub fn at(path: &Path) -> Self {
        let disk = StdFs::existing(path.parent().unwrap_or(Path::new(".")));
        Self::beside(path, Box::new(move || disk.space()))
    }

    fn beside(path: &Path, space: Box<dyn Fn() -> io::Result<u64> + Send + Sync>) -> Self {
        let bytes = fs::metadata(path).map_or(0, |facts| facts.len());
        Self { path: path.to_owned(), space, state: Mutex::new(State { bytes, is_told: false }) }
    }

    /// Does something that writes to the catalogue: on a full disk in the room that is given up for it.
    pub fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        let before = state.bytes;
        let is_full = (self.space)().is_ok_and(|space| space < RESERVE_BYTES);
        if is_full && before > 0 {
            self.give_up(&mut state);
        }
        let done = work();
        if state.bytes < before {
            // At once, or the journal would take it. What is said to be free is not asked: the system may keep some for
            // privileged accounts, and this may be one.
            self.take(&mut state, before);
        }
        done
    }

    /// Takes what it should have and does not, if there is room.
    pub fn keep(&self) {
        let mut state = self.state();
        let has_room = || (self.space)().is_ok_and(|space| space >= 2 * RESERVE_BYTES);
        if state.bytes < RESERVE_BYTES && has_room() {
            self.take(&mut state, RESERVE_BYTES);
            if state.bytes == RESERVE_BYTES && std::mem::take(&mut state.is_told) {
                tracing::info!("there is space on the disk again, and some is reserved for the catalogue");
            }
        }
    }

    fn give_up(&self, state: &mut State) {
        // Not all of it: somebody else who fills the disk may be there first.
        let left = state.bytes.saturating_sub(RESERVE_LENT_BYTES);
        match OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(left)) {
            Ok(()) => state.bytes = left,
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.bytes = 0,
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "the reserve cannot be given up"),
        }
        if !std::mem::replace(&mut state.is_told, true) {
            tracing::warn!("the disk is full: the catalogue is written in the space that is reserved for it");
        }
    }

    /// Makes the file so large, or as large as it can be.
    fn take(&self, state: &mut State, bytes: u64) {
        if let Err(error) = self.make(bytes) {
            tracing::debug!(bytes, %error, "no space could be reserved for the catalogue");
        }
        state.bytes = fs::metadata(&self.path).map_or(0, |facts| facts.len());
    }

    /// What could be had stays, also after an error.
    fn make(&self, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
        let had = file.metadata()?.len();
        let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        if allocated.is_err() {
            fill(&file, bytes.saturating_sub(had))?;
        }
        file.sync_all()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the file system gives space for what is written only. Zeros would take none in some.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
    let piece = [0x5a; 4096];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(piece.len() as u64);
        file.write_all(&piece[..count as usize])?;
        left -= count;
    }
    Ok(())
}

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserve").field("path", &self.path).field("state", &self.state).finish_non_exhaustive()
    }
}

/// A catalogue that has room on a full disk.
pub struct ReservedCatalogue {
    catalogue: Arc<dyn Catalogue>,
    reserve: Reserve,
}

impl ReservedCatalogue {
    /// This catalogue, with this reserve.
    pub fn new(catalogue: Arc<dyn Catalogue>, reserve: Reserve) -> Self {
        Self { catalogue, reserve }
    }
}

impl Catalogue for ReservedCatalogue {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.catalogue.get(key)
    }

    fn put(&self, key: &str, row: &[u8]) -> Result<()> {
        self.reserve.lend(|| self.catalogue.put(key, row))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.reserve.lend(|| self.catalogue.remove(key))
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.catalogue.rows(prefix)
    }

    fn flush(&self) -> Result<()> {
        self.reserve.lend(|| self.catalogue.flush())
    }

    fn keep_room(&self) {
        self.reserve.keep();
    }
}

impl std::fmt::Debug for ReservedCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReservedCatalogue").field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryCatalogue;

    /// A disk of so many bytes with nothing on it but this and what others have written.
    fn on_disk(path: &Path, capacity: u64, others: &Arc<Mutex<u64>>) -> Reserve {
        let (file, others) = (path.to_owned(), Arc::clone(others));
        let space = move || {
            let taken = fs::metadata(&file).map_or(0, |facts| facts.len()) + *others.lock().unwrap();
            Ok(capacity.saturating_sub(taken))
        };
        Reserve::beside(path, Box::new(space))
    }

    #[test]
    fn it_is_there_while_there_is_room_and_gives_way_while_the_catalogue_writes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("reserve");
        let length = || fs::metadata(&path).map_or(0, |facts| facts.len());
        let (capacity, others) = (3 * RESERVE_BYTES, Arc::new(Mutex::new(0)));
        let catalogue = ReservedCatalogue::new(Arc::new(MemoryCatalogue::new()), on_disk(&path, capacity, &others));
        catalogue.put("a", b"1").unwrap();
        assert_eq!(length(), 0);
        catalogue.keep_room();
        assert_eq!(length(), RESERVE_BYTES);
        let reserve = on_disk(&path, capacity, &others);
        assert_eq!(reserve.lend(length), RESERVE_BYTES, "there is room");
        *others.lock().unwrap() = 2 * RESERVE_BYTES;
        let lent = RESERVE_BYTES - RESERVE_LENT_BYTES;
        assert_eq!((reserve.lend(length), length()), (lent, RESERVE_BYTES));
        // Somebody was there first: what is lost comes back when there is room.
        fs::File::options().write(true).open(&path).unwrap().set_len(lent).unwrap();
        let reserve = on_disk(&path, capacity, &others);
        assert_eq!((reserve.lend(length), length()), (lent - RESERVE_LENT_BYTES, lent));
        reserve.keep();
        assert_eq!(length(), lent, "the disk is still full");
        *others.lock().unwrap() = 0;
        reserve.keep();
        assert_eq!(length(), RESERVE_BYTES);
    }

    #[test]
    fn where_space_is_given_for_what_is_written_only_it_is_written() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("a")).unwrap();
        fill(&file, 10_000).unwrap();
        fill(&file, 1).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_001);
    }
}
