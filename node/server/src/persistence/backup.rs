//! A backup's directory: what is in it, whether that is what was copied, and the keys that it holds.
//!
//! `backup.json` names the files of the last complete cut, with lengths and checksums; what else lies beside them belongs
//! to a cut that is not complete yet. A file may be longer than what counts of it, because a later cut goes on where it
//! ended. Nothing here writes but [`BackupManifest::commit`]; copying is `pelago backup`'s business.

mod files;
mod keys;

pub use keys::BackupKeys;

use files::CutFiles;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use storage::{StoreError, StoreOwner, is_store_file};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The name of the manifest in a backup's directory.
pub const BACKUP_MANIFEST: &str = "backup.json";
/// The directory of the files, in a backup's directory.
pub const BACKUP_FILES: &str = "files";
/// The version of the manifest's form.
pub const BACKUP_FORMAT: u32 = 1;
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const PIECE_BYTES: usize = 1 << 20;

/// What a backup's directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// The form of this file.
    pub format: u32,
    /// Counts the cuts of this directory.
    pub cut: u64,
    /// The version of the node.
    pub version: String,
    /// The cluster, in hexadecimal.
    pub cluster: String,
    /// The node's identity, in hexadecimal.
    pub identity: String,
    /// The node's name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// When the cut was made, in Unix milliseconds by the node's clock.
    pub taken_ms: u64,
    /// The number of the checkpoint in it; 0 if there is none.
    pub checkpoint: u64,
    /// How many records of the node's journal it contains, with the checkpoint.
    pub position: u64,
    /// The last stamp of each node number that is certainly in it.
    pub vector: BTreeMap<String, String>,
    /// The files.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name in the store.
    pub name: String,
    /// Its name in the backup.
    pub stored: String,
    /// How many bytes of it count.
    pub bytes: u64,
    /// XXH3-64 of these, in hexadecimal.
    pub checksum: String,
}

impl BackupFile {
    /// Whether a store may have a file of this name, which leads nowhere else.
    pub fn may_be_named(name: &str) -> bool {
        is_store_file(name) && !name.contains(['/', '\\'])
    }
}

/// What stands in the file: the manifest, and the checksum of its compact form.
#[derive(Serialize, Deserialize)]
struct Sealed {
    backup: serde_json::Value,
    checksum: String,
}

/// Why a backup cannot be used. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is none.
    #[error("there is no complete backup in {0}: backup.json is missing")]
    NoBackup(String),
    /// Its manifest makes no sense.
    #[error("backup.json is damaged ({0}), so nothing of this backup can be believed")]
    Manifest(String),
    /// A later version wrote it.
    #[error("the backup has form {0}, which this version of Pelago does not know")]
    Newer(u32),
    /// Its files are not what was copied.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// A key holds what this version cannot show.
    #[error("the value of the key {0} in the backup cannot be read by this version of Pelago")]
    Key(String),
    /// The file system refused.
    #[error("cannot read {}: {error}", .path.display())]
    File {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The store in it cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// XXH3-64 of bytes that come one after the other.
#[derive(Default)]
pub struct BackupChecksum(Xxh3);

impl BackupChecksum {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As it stands in the manifest.
    pub fn text(&self) -> String {
        format!("{:016x}", self.0.digest())
    }

    /// The checksum of these bytes, as `PELAGO BACKUP READ ... UNLESS` takes it.
    pub fn of(bytes: &[u8]) -> String {
        format!("{:016x}", xxh3_64(bytes))
    }
}

impl std::fmt::Debug for BackupChecksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl BackupManifest {
    /// Reads the manifest of a directory; nothing if no cut of it was ever complete.
    pub fn read(directory: &Path) -> Result<Option<Self>, BackupError> {
        let path = directory.join(BACKUP_MANIFEST);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Self::decode(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BackupError::File { path, error }),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        let damaged = |error: serde_json::Error| BackupError::Manifest(error.to_string());
        let Sealed { backup, checksum } = serde_json::from_slice(bytes).map_err(damaged)?;
        if BackupChecksum::of(backup.to_string().as_bytes()) != checksum {
            return Err(BackupError::Manifest("its checksum is wrong".to_owned()));
        }
        match backup["format"].as_u64().and_then(|format| u32::try_from(format).ok()) {
            Some(BACKUP_FORMAT) => {}
            Some(format) => return Err(BackupError::Newer(format)),
            None => return Err(BackupError::Manifest("it has no form".to_owned())),
        }
        let manifest: Self = serde_json::from_value(backup).map_err(damaged)?;
        // Names become paths.
        let mut names = BTreeSet::new();
        for file in &manifest.files {
            if !is_name(file) || !names.insert(&file.name) || !names.insert(&file.stored) && file.stored != file.name {
                return Err(BackupError::Manifest(format!("a file is called {:?}", file.stored)));
            }
        }
        Ok(manifest)
    }

    /// Makes this cut the one that counts, durably: a crash leaves it or the one before. Its files must be durable.
    pub fn commit(&self, directory: &Path) -> io::Result<()> {
        let backup = serde_json::to_value(self)?;
        let checksum = BackupChecksum::of(backup.to_string().as_bytes());
        let text = serde_json::to_string(&Sealed { backup, checksum })?;
        crate::files::replace(&directory.join(BACKUP_MANIFEST), text.as_bytes(), crate::files::COMMON_MODE)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whose store it is a copy of.
    fn owner(&self) -> Result<StoreOwner, BackupError> {
        let damaged = || BackupError::Manifest("it does not say whose it is".to_owned());
        let cluster = unhex(&self.cluster).ok_or_else(damaged)?;
        let identity = unhex(&self.identity).ok_or_else(damaged)?;
        Ok(StoreOwner { cluster, identity })
    }
}

/// A complete backup.
#[derive(Debug)]
pub struct Backup {
    directory: PathBuf,
    /// What it says of itself.
    pub manifest: BackupManifest,
}

impl Backup {
    /// Opens the backup in a directory. Its files are not looked at yet.
    pub fn open(directory: &Path) -> Result<Self, BackupError> {
        let manifest = BackupManifest::read(directory)?;
        let manifest = manifest.ok_or_else(|| BackupError::NoBackup(directory.display().to_string()))?;
        Ok(Self { directory: directory.to_owned(), manifest })
    }

    /// A cut whose manifest is not there yet, to be looked at before it counts.
    pub fn unfinished(directory: &Path, manifest: BackupManifest) -> Self {
        Self { directory: directory.to_owned(), manifest }
    }

    /// Reads every byte, and says which files are not what was copied, each in a sentence. `note` hears of bytes.
    pub fn damage(&self, note: &mut dyn FnMut(u64)) -> Result<Vec<String>, BackupError> {
        let mut damage = Vec::new();
        for file in &self.manifest.files {
            let path = self.directory.join(BACKUP_FILES).join(&file.stored);
            match checksum_of(&path, file.bytes, note) {
                Ok(Some(checksum)) if checksum == file.checksum => {}
                Ok(Some(_)) => damage.push(format!("{}: its checksum is wrong", file.stored)),
                Ok(None) => damage.push(format!("{} ends too early", file.stored)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    damage.push(format!("{} is missing", file.stored));
                }
                Err(error) => return Err(BackupError::File { path, error }),
            }
        }
        Ok(damage)
    }

    /// What the store in it holds, and what is wrong with it, by its own checksums.
    pub(super) fn check(&self) -> Result<storage::CheckReport, BackupError> {
        Ok(storage::check(self.files(), Some(self.manifest.owner()?))?)
    }

    /// Fails if the store in it could not be recovered in full. Reads every byte.
    pub fn verify_store(&self) -> Result<(), BackupError> {
        let report = self.check()?;
        match report.problems.iter().find(|problem| problem.is_damage()) {
            Some(problem) => Err(BackupError::Damaged(problem.to_string())),
            None => Ok(()),
        }
    }

    fn files(&self) -> std::sync::Arc<CutFiles> {
        std::sync::Arc::new(CutFiles::new(self.directory.join(BACKUP_FILES), &self.manifest.files))
    }
}

/// The checksum of the first bytes of a file; nothing if it has fewer.
fn checksum_of(path: &Path, bytes: u64, note: &mut dyn FnMut(u64)) -> io::Result<Option<String>> {
    let (mut file, mut left) = (File::open(path)?, bytes);
    let (mut checksum, mut piece) = (BackupChecksum::default(), vec![0; PIECE_BYTES]);
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let read = match file.read(&mut piece[..wanted]) {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        checksum.add(&piece[..read]);
        note(read as u64);
        left -= read as u64;
    }
    Ok(Some(checksum.text()))
}

/// Whether a file is called as files of a store are, with the number of a cut behind it at most.
fn is_name(file: &BackupFile) -> bool {
    let suffix = file.stored.strip_prefix(&file.name);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_suffix = |text: &str| text.is_empty() || text.strip_prefix('.').is_some_and(is_number);
    BackupFile::may_be_named(&file.name) && suffix.is_some_and(is_suffix)
}

fn unhex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 2 * BYTES)
}

#[cfg(test)]
mod tests;
