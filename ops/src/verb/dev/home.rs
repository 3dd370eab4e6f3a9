//! The directory of a cluster that nobody keeps: removed at the end, and at the next start if there was no end.
//!
//! SUBTLE: whether a directory that is found is anybody's is told by a lock, which the system lets go when a process has died,
//! however it did. The file comes to its name locked already, so that no moment is left in which a directory that has it
//! looks like a dead one's; one without it may be just beginning, or not ours, and stays.

use crate::failure::{Failure, Result};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A temporary directory, and the lock that says that it is used.
#[derive(Debug)]
pub(super) struct TemporaryHome {
    // Dropped in this order: the lock is held until the directory is gone.
    directory: TempDir,
    _lock: File,
}

impl TemporaryHome {
    /// Makes one among the others, and removes those that processes have left that are no more.
    pub(super) fn make(among: &Path) -> Result<Self> {
        // What cannot be removed, as it is another user's perhaps, is in nobody's way.
        let _ = remove_dead(among);
        let failed = |error| Failure::System { doing: "make a temporary directory", error };
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(among).map_err(failed)?;
        let lock = lock_in(directory.path()).map_err(failed)?;
        Ok(Self { directory, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn lock_in(directory: &Path) -> io::Result<File> {
    let early = directory.join("dev.lock.new");
    let lock = File::create_new(&early)?;
    lock.lock()?;
    fs::rename(&early, directory.join(LOCK))?;
    Ok(lock)
}

fn remove_dead(among: &Path) -> io::Result<()> {
    for entry in fs::read_dir(among)?.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Not through a link: it would lead to what somebody else has.
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = remove_if_dead(&entry.path());
        }
    }
    Ok(())
}

fn remove_if_dead(directory: &PathBuf) -> io::Result<()> {
    let path = directory.join(LOCK);
    // To open a pipe that somebody has put there would wait for ever.
    if path.symlink_metadata()?.is_file() && File::open(path)?.try_lock().is_ok() {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

const PREFIX: &str = "pelago-dev-";
const LOCK: &str = "dev.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_process_has_left_is_removed() {
        let among = tempfile::tempdir().unwrap();
        let lives = TemporaryHome::make(among.path()).unwrap();
        fs::create_dir(lives.path().join("us-east-1")).unwrap();
        let directory = |name: &str, lock: bool| {
            let path = among.path().join(name);
            fs::create_dir_all(path.join("us-east-1/store")).unwrap();
            if lock {
                fs::write(path.join(LOCK), "").unwrap();
            }
            path
        };
        let dead = directory("pelago-dev-dead", true);
        let stays = [directory("pelago-dev-begins", false), directory("another", true)];
        let linked = among.path().join("pelago-dev-linked");
        std::os::unix::fs::symlink(&stays[1], &linked).unwrap();
        let next = TemporaryHome::make(among.path()).unwrap();
        assert!(!dead.exists());
        assert!(lives.path().join("us-east-1").exists() && next.path().exists() && linked.exists());
        assert!(stays.iter().all(|path| path.join("us-east-1/store").exists()));
        let ended = lives.path().to_owned();
        drop(lives);
        assert!(!ended.exists());
    }
}
