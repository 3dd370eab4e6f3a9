//! A catalogue that is only looked at: no node can start on it meanwhile, and nothing in its directory is changed.
//!
//! sled has no way to open a database without writing to it, so what is read is a copy.

use crate::catalogue::{Catalogue, CatalogueError, Result};
use crate::sled_catalogue::{BLOBS_DIRECTORY, DATABASE_FILE, SledCatalogue, file_error, when_free};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A catalogue that no node uses while this is held.
#[derive(Debug)]
pub struct HeldCatalogue {
    directory: PathBuf,
    /// The database with a lock on it that keeps those away who would write. Nothing if there is no such file.
    _database: Option<File>,
}

impl HeldCatalogue {
    /// Takes hold of the catalogue in a directory. Refused while a node uses it.
    pub fn take(directory: &Path) -> Result<Self> {
        let path = directory.join(DATABASE_FILE);
        let database = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file_error("read", &path, error)),
        };
        if let Some(database) = &database {
            lock(directory, database)?;
        }
        Ok(Self { directory: directory.to_owned(), _database: database })
    }

    /// Reads it, and says how many rows it has. Damage is an error.
    pub fn verify(&self) -> Result<usize> {
        let copy = self.copy()?;
        Ok(SledCatalogue::open_sound(copy.path())?.rows("")?.len())
    }

    /// A copy that nobody else can read, in the place for temporary files; it goes when it is dropped.
    fn copy(&self) -> Result<TempDir> {
        let place = std::env::temp_dir();
        let made = tempfile::Builder::new().prefix("pelago-check-").tempdir_in(&place);
        let copy = made.map_err(|error| file_error("make a copy of the catalogue in", &place, error))?;
        copy_files(&self.directory, copy.path())?;
        let blobs = self.directory.join(BLOBS_DIRECTORY);
        if blobs.is_dir() {
            let to = copy.path().join(BLOBS_DIRECTORY);
            fs::create_dir(&to).map_err(|error| file_error("create", &to, error))?;
            copy_files(&blobs, &to)?;
        }
        Ok(copy)
    }
}

/// Shares the lock that a node has for itself.
fn lock(directory: &Path, database: &File) -> Result<()> {
    when_free(|| match flock(database, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(CatalogueError::InUse(directory.to_owned())),
        Err(error) => Err(file_error("lock", directory, error.into())),
    })
}

/// Copies the files of a directory, without what is below it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let unreadable = |error| file_error("read", from, error);
    for entry in fs::read_dir(from).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_type().map_err(unreadable)?.is_file() {
            let copied = fs::copy(entry.path(), to.join(entry.file_name()));
            copied.map_err(|error| file_error("copy", &entry.path(), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    /// Everything below a directory with its times and contents.
    fn seen(directory: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
        let mut all = BTreeMap::from([(directory.to_owned(), (modified(directory), Vec::new()))]);
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.append(&mut seen(&path));
            } else {
                all.insert(path.clone(), (modified(&path), fs::read(&path).unwrap()));
            }
        }
        all
    }

    fn modified(path: &Path) -> SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    /// A catalogue with rows of its own files, as a node leaves it.
    fn left(directory: &Path) {
        let (catalogue, _) = SledCatalogue::open(directory).unwrap();
        catalogue.put("small", b"row").unwrap();
        catalogue.put("large", &vec![7; 3 << 20]).unwrap();
        catalogue.flush().unwrap();
        catalogue.put("not flushed", b"row").unwrap();
    }

    #[test]
    fn a_look_changes_nothing_in_the_directory() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("data");
        left(&directory);
        let before = seen(home.path());
        assert!(before.len() > 4, "{before:?}");
        assert_eq!(HeldCatalogue::take(&directory).unwrap().verify().unwrap(), 3);
        assert!(seen(home.path()) == before);
        // Neither does one at a damaged catalogue, and one at a directory in which there is none yet.
        let database = directory.join(DATABASE_FILE);
        let bytes = fs::read(&database).unwrap();
        fs::write(&database, &bytes[..bytes.len() / 3]).unwrap();
        let before = seen(home.path());
        let error = HeldCatalogue::take(&directory).unwrap().verify().unwrap_err();
        assert!(matches!(error, CatalogueError::Damaged(_)), "{error}");
        assert!(seen(home.path()) == before);
        let empty = tempfile::tempdir().unwrap();
        let before = seen(empty.path());
        assert_eq!(HeldCatalogue::take(empty.path()).unwrap().verify().unwrap(), 0);
        assert!(seen(empty.path()) == before);
    }

    #[test]
    fn a_catalogue_is_held_by_those_who_look_or_by_one_who_writes() {
        let home = tempfile::tempdir().unwrap();
        left(home.path());
        let (writer, _) = SledCatalogue::open(home.path()).unwrap();
        assert!(matches!(HeldCatalogue::take(home.path()), Err(CatalogueError::InUse(_))));
        drop(writer);
        let held = [HeldCatalogue::take(home.path()).unwrap(), HeldCatalogue::take(home.path()).unwrap()];
        assert!(matches!(SledCatalogue::open(home.path()), Err(CatalogueError::InUse(_))));
        drop(held);
        drop(SledCatalogue::open(home.path()).unwrap());
    }
}
