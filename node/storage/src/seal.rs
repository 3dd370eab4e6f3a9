//! What a catalogue amounts to: how often it was written, and a digest of its rows. Kept in the database with every
//! write, and in a file beside it with every flush.

use crate::catalogue::{CatalogueError, Result};
use crate::sled_catalogue::file_error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How often a catalogue was written, and the digest of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) writes: u64,
    /// The exclusive or of all rows' digests.
    pub(crate) digest: u64,
}

const FILE: &str = "seal";
const NEW_FILE: &str = "seal.new";
const BYTES: usize = 24;

impl Seal {
    pub(crate) fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.writes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.digest.to_le_bytes());
        let check = xxh3_64(&bytes[..16]);
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        (word(16) == xxh3_64(&bytes[..16])).then(|| Self { writes: word(0), digest: word(8) })
    }

    /// The seal of a directory; nothing before the first flush.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => match Self::decode(&bytes) {
                Some(seal) => Ok(Some(seal)),
                None => Err(CatalogueError::Damaged("its seal cannot be read".to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("read", &path, error)),
        }
    }

    /// Replaces the seal of a directory, durably; a crash leaves the old one or the new one.
    pub(crate) fn write(self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let beside = directory.join(NEW_FILE);
        let written = || -> io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(&self.encode())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(directory)?.sync_all()
        };
        written().map_err(|error| file_error("write", &path, error))
    }
}

/// What one row contributes.
pub(crate) fn row_digest(key: &str, row: &[u8]) -> u64 {
    xxh3_64_with_seed(row, xxh3_64(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_as_it_was_written_and_never_guessed() {
        let directory = tempfile::tempdir().unwrap();
        let seal = Seal { writes: 5, digest: u64::MAX - 1 };
        assert_eq!(Seal::read(directory.path()).unwrap(), None);
        seal.write(directory.path()).unwrap();
        assert_eq!(Seal::read(directory.path()).unwrap(), Some(seal));
        for byte in 0..BYTES {
            let mut bytes = seal.encode();
            bytes[byte] ^= 1;
            assert_eq!(Seal::decode(&bytes), None);
        }
        fs::write(directory.path().join(FILE), b"short").unwrap();
        assert!(matches!(Seal::read(directory.path()), Err(CatalogueError::Damaged(_))));
    }
}
