//! The catalogue on disk: sled, with its two weaknesses made good here.
//!
//! - sled's `flush` does not fsync. Here it is followed by an fsync of sled's file, so that a power cut loses nothing.
//! - sled repairs a damaged file by forgetting rows, silently. A forgotten number would be silent divergence. So every
//!   write carries a digest of all rows with it in one atomic batch, and every flush leaves a seal beside the database
//!   that says how many writes there were: rows that differ from the digest, or are behind the seal, are damage.
//!
//! A damaged catalogue is moved aside under a name that says so, and an empty one takes its place; the caller learns
//! it, and asks its peers for what it needs. A disk that is full or forbids is not damage and moves nothing.

use crate::catalogue::{Catalogue, CatalogueError, Result, check_size};
use crate::limits::{CACHE_BYTES, MOVED_ASIDE_MAX, OPEN_TRIES, OPEN_WAIT};
use crate::seal::{Seal, row_digest};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A catalogue in a directory.
pub struct SledCatalogue {
    database: sled::Db,
    directory: PathBuf,
    written: Mutex<Written>,
}

/// A catalogue that was there and could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

struct Written {
    now: Seal,
    durable: Seal,
}

const SEAL_KEY: &[u8] = b"seal";
const ROW_PREFIX: &str = "row/";
/// sled's own name of its log.
pub(crate) const DATABASE_FILE: &str = "db";
/// sled's own name of what it was opened with first.
const SETTINGS_FILE: &str = "conf";
/// sled's own name of the place for large rows.
pub(crate) const BLOBS_DIRECTORY: &str = "blobs";

impl SledCatalogue {
    /// Opens the catalogue in `directory`, or makes one. A damaged one is moved aside and an empty one opened.
    pub fn open(directory: &Path) -> Result<(Self, Option<MovedAside>)> {
        let reason = match Self::open_sound(directory) {
            Ok(catalogue) => return Ok((catalogue, None)),
            Err(CatalogueError::Damaged(reason)) => reason,
            Err(error) => return Err(error),
        };
        let path = move_aside(directory)?;
        tracing::error!(moved_to = %path.display(), reason, "the catalogue is damaged and was moved aside");
        Ok((Self::open_sound(directory)?, Some(MovedAside { path, reason })))
    }

    pub(crate) fn open_sound(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|error| file_error("create", directory, error))?;
        let database = open_database(directory)?;
        let verified = guarded(directory, || read_rows(&database)).and_then(|found| {
            let sealed = Seal::read(directory)?;
            verify(&found, sealed)?;
            Ok((found.seal, sealed))
        });
        match verified {
            Ok((now, durable)) => {
                let written = Mutex::new(Written { now, durable: durable.unwrap_or_default() });
                Ok(Self { database, directory: directory.to_owned(), written })
            }
            Err(error) => {
                // What sled thinks of its own end does not matter any more.
                let _ = guarded(directory, || {
                    drop(database);
                    Ok(())
                });
                Err(error)
            }
        }
    }

    fn in_database<T>(&self, action: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T> {
        guarded(&self.directory, || action(&self.database))
    }

    /// Writes or removes a row together with the digest of all.
    fn change(&self, key: &str, row: Option<&[u8]>) -> Result<()> {
        let mut written = self.written();
        let full = row_key(key);
        let before = self.in_database(|database| database.get(&full))?;
        let mut next = written.now;
        next.writes += 1;
        next.digest ^= before.map_or(0, |before| row_digest(key, &before));
        next.digest ^= row.map_or(0, |row| row_digest(key, row));
        let mut batch = sled::Batch::default();
        match row {
            Some(row) => batch.insert(full.as_bytes(), row),
            None => batch.remove(full.as_bytes()),
        }
        batch.insert(SEAL_KEY, &next.encode());
        self.in_database(|database| database.apply_batch(batch))?;
        written.now = next;
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue for SledCatalogue {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.in_database(|database| Ok(database.get(row_key(key))?.map(|row| row.to_vec())))
    }

    fn put(&self, key: &str, row: &[u8]) -> Result<()> {
        check_size(key, row)?;
        self.change(key, Some(row))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.change(key, None)
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let found = self.in_database(|database| {
            database.scan_prefix(row_key(prefix)).collect::<sled::Result<Vec<(sled::IVec, sled::IVec)>>>()
        })?;
        found.into_iter().map(|(key, row)| Ok((row_name(&key)?, row.to_vec()))).collect()
    }

    fn flush(&self) -> Result<()> {
        let mut written = self.written();
        if written.now == written.durable {
            return Ok(());
        }
        self.in_database(|database| database.flush())?;
        sync(&self.directory.join(DATABASE_FILE))?;
        if written.durable == Seal::default() {
            // The database cannot be opened without it, and sled leaves it to the system.
            sync(&self.directory.join(SETTINGS_FILE))?;
        }
        // Rows of half a megabyte and more are files of their own.
        for blob in fs::read_dir(self.directory.join(BLOBS_DIRECTORY)).into_iter().flatten().flatten() {
            sync(&blob.path())?;
        }
        written.now.write(&self.directory)?;
        written.durable = written.now;
        Ok(())
    }
}

impl std::fmt::Debug for SledCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledCatalogue").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn open_database(directory: &Path) -> Result<sled::Db> {
    when_free(|| {
        guarded(directory, || {
            sled::Config::new()
                .path(directory)
                .mode(sled::Mode::LowSpace)
                .cache_capacity(CACHE_BYTES)
                .use_compression(false)
                .flush_every_ms(None)
                .open()
        })
    })
}

/// Tries again for a moment while another process has it: that may be at its end just now.
pub(crate) fn when_free<T>(mut take: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match take() {
            Err(CatalogueError::InUse(_)) if tries < OPEN_TRIES => std::thread::sleep(OPEN_WAIT),
            taken => return taken,
        }
    }
}

/// What the rows on disk amount to.
struct Found {
    /// As the last batch wrote it.
    seal: Seal,
    /// Of the rows that are there.
    digest: u64,
}

fn read_rows(database: &sled::Db) -> sled::Result<Found> {
    let mut found = Found { seal: Seal::default(), digest: 0 };
    for entry in database.iter() {
        let (key, row) = entry?;
        match key.strip_prefix(ROW_PREFIX.as_bytes()) {
            Some(name) => found.digest ^= row_digest(&String::from_utf8_lossy(name), &row),
            // Unreadable, it counts as none, and then the digest tells.
            None if *key == *SEAL_KEY => found.seal = Seal::decode(&row).unwrap_or_default(),
            None => found.digest ^= row_digest("a foreign row", &row),
        }
    }
    Ok(found)
}

fn verify(found: &Found, sealed: Option<Seal>) -> Result<()> {
    let sealed = sealed.unwrap_or_default();
    if found.digest != found.seal.digest {
        return Err(CatalogueError::Damaged("rows are missing or not as they were written".to_owned()));
    }
    if found.seal.writes < sealed.writes {
        let (writes, of) = (found.seal.writes, sealed.writes);
        return Err(CatalogueError::Damaged(format!("only {writes} of its {of} writes are there")));
    }
    if found.seal.writes == sealed.writes && found.seal.digest != sealed.digest {
        return Err(CatalogueError::Damaged("its rows are not those that were sealed".to_owned()));
    }
    Ok(())
}

/// Runs a step in sled. Damaged files make sled panic at times; that is an error like its others.
fn guarded<T>(directory: &Path, step: impl FnOnce() -> sled::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(outcome) => outcome.map_err(|error| from_sled(directory, error)),
        Err(_) => Err(CatalogueError::Damaged("the database gave up over its contents".to_owned())),
    }
}

fn from_sled(directory: &Path, error: sled::Error) -> CatalogueError {
    match error {
        // sled tells a held lock by its words only.
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            CatalogueError::InUse(directory.to_owned())
        }
        // The system's own errors (full, forbidden, failing) are about the disk, the others about what is on it.
        sled::Error::Io(error) if error.raw_os_error().is_some() => file_error("use", directory, error),
        error => CatalogueError::Damaged(error.to_string()),
    }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| file_error("make durable", path, error))
}

fn move_aside(directory: &Path) -> Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = |number: usize| directory.with_file_name(format!("{name}.damaged-{number}"));
    let free = (1..MOVED_ASIDE_MAX).find(|number| !place(*number).exists()).unwrap_or(MOVED_ASIDE_MAX);
    let path = place(free);
    let moved = || -> io::Result<()> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::rename(directory, &path)
    };
    moved().map_err(|error| file_error("move aside", directory, error))?;
    Ok(path)
}

fn row_key(key: &str) -> String {
    format!("{ROW_PREFIX}{key}")
}

fn row_name(key: &[u8]) -> Result<String> {
    let name = key.strip_prefix(ROW_PREFIX.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
    name.map(str::to_owned).ok_or_else(|| CatalogueError::Damaged("a row has a foreign name".to_owned()))
}

pub(crate) fn file_error(doing: &'static str, path: &Path, error: io::Error) -> CatalogueError {
    CatalogueError::File { doing, path: path.to_owned(), error }
}

#[cfg(test)]
#[path = "sled_catalogue/tests.rs"]
mod tests;
