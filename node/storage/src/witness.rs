//! Whether a store is where its last life left it, or a copy of that: each life leaves a file that names itself.
//!
//! A copy of a file is another file: it has another inode and another time of birth, and neither can be chosen. So a
//! directory that was copied back by whatever copies files is told from the one that was left, before anything is written.
//! Not recognised is what puts whole volumes or machines back: there the very file comes back. But it also says under which
//! mount of its file system the life that left it wrote: what that had not made durable may be gone when it is another one.

use crate::fs::{Fs, StoreError, UNFINISHED, is_damage, read_if_sound, remove_if_there};
use crate::segment::Life;

/// What a store says about where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The life that left it.
    pub life: Life,
    /// It lies where it was left: it is no copy.
    pub is_original: bool,
    /// The volume went away and came back since that life began.
    pub is_remounted: bool,
}

/// The file.
pub(crate) const WITNESS: &str = "witness";
const WITNESS_BYTES: usize = 48;

/// Reads it. Nothing if it is not there or damaged: then nothing can be said.
pub(crate) fn read(fs: &dyn Fs) -> Result<Option<Witness>, StoreError> {
    let Some(bytes) = read_if_sound(fs, WITNESS, WITNESS_BYTES + 1)? else { return Ok(None) };
    let Ok(words) = <[u8; WITNESS_BYTES]>::try_from(bytes) else { return Ok(None) };
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&words[at..at + 8]);
        u64::from_le_bytes(word)
    };
    if word(40) != xxhash_rust::xxh3::xxh3_64(&words[..40]) {
        return Ok(None);
    }
    let found = match fs.file_id(WITNESS) {
        Ok(found) => found,
        Err(error) if is_damage(&error) => return Ok(None),
        Err(error) => return Err(StoreError::file("look at", WITNESS, error)),
    };
    let is_original = [found.inode, found.born_ns] == [word(16), word(24)];
    let is_remounted = found.mount != word(32);
    Ok(Some(Witness { life: Life { generation: word(0), nonce: word(8) }, is_original, is_remounted }))
}

/// Leaves that of a new life, as a new file: what the last one was is not used again while it is there.
pub(crate) fn leave(fs: &dyn Fs, life: Life) -> Result<(), StoreError> {
    let beside = format!("{WITNESS}{UNFINISHED}");
    remove_if_there(fs, &beside)?;
    let write = || -> std::io::Result<()> {
        let file = fs.create(&beside)?;
        let id = fs.file_id(&beside)?;
        let mut bytes = Vec::with_capacity(WITNESS_BYTES);
        let words = [life.generation, life.nonce, id.inode, id.born_ns, id.mount];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        let check = xxhash_rust::xxh3::xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        file.append(&bytes)?;
        file.sync()?;
        fs.rename(&beside, WITNESS)?;
        fs.sync_directory()
    };
    write().map_err(|error| StoreError::file("write", WITNESS, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SimulatedFs, StdFs};
    use std::path::Path;

    const FIRST: Life = Life { generation: 1, nonce: 7 };
    const SECOND: Life = Life { generation: 2, nonce: 8 };

    fn copy(source: &Path, target: &Path) {
        std::fs::create_dir_all(target).unwrap();
        for entry in std::fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
    }

    #[test]
    fn a_directory_that_was_moved_is_the_one_that_was_left_and_a_copy_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let fs = StdFs::open(&path("store")).unwrap();
        assert_eq!(read(&fs).unwrap(), None);
        leave(&fs, FIRST).unwrap();
        assert_eq!(read(&fs).unwrap(), Some(Witness { life: FIRST, is_original: true, is_remounted: false }));
        copy(&path("store"), &path("backup"));
        std::fs::rename(path("store"), path("moved")).unwrap();
        let moved = StdFs::existing(&path("moved"));
        assert_eq!(read(&moved).unwrap(), Some(Witness { life: FIRST, is_original: true, is_remounted: false }));
        assert_eq!(
            read(&StdFs::existing(&path("backup"))).unwrap(),
            Some(Witness { life: FIRST, is_original: false, is_remounted: false })
        );
        // A later life, and what the copy has written into its file, as `rsync --inplace` and `cp` over it do.
        leave(&moved, SECOND).unwrap();
        assert_eq!(read(&moved).unwrap(), Some(Witness { life: SECOND, is_original: true, is_remounted: false }));
        copy(&path("backup"), &path("moved"));
        assert_eq!(read(&moved).unwrap(), Some(Witness { life: FIRST, is_original: false, is_remounted: false }));
    }

    #[test]
    fn a_simulated_disk_that_was_put_back_is_a_copy_too() {
        let fs = SimulatedFs::new(1);
        leave(&fs, FIRST).unwrap();
        let backup = fs.backup();
        leave(&fs, SECOND).unwrap();
        fs.crash();
        assert_eq!(read(&fs).unwrap(), Some(Witness { life: SECOND, is_original: true, is_remounted: true }));
        fs.restore(&backup);
        assert_eq!(read(&fs).unwrap(), Some(Witness { life: FIRST, is_original: false, is_remounted: true }));
        leave(&fs, SECOND).unwrap();
        assert_eq!(read(&fs).unwrap(), Some(Witness { life: SECOND, is_original: true, is_remounted: false }));
    }

    #[test]
    fn rubbish_says_nothing() {
        let fs = SimulatedFs::new(1);
        fs.create(WITNESS).unwrap().append(&[1; WITNESS_BYTES]).unwrap();
        assert_eq!(read(&fs).unwrap(), None);
    }
}
