//! Offline verification of a node's directory: its store and its catalogue.

use super::STORE_DIRECTORY;
use super::backup::{BACKUP_MANIFEST, Backup, BackupError};
use crate::setup::CATALOGUE_DIRECTORY;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use storage::{CatalogueCopy, CatalogueError, CheckReport, HeldCatalogue, StdFs, StoreError, StoreFigures, check};

/// What a node's directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// What the store holds.
    #[serde(flatten)]
    pub store: StoreFigures,
    /// Rows of the catalogue.
    pub catalogue_rows: usize,
    /// What it is a copy of, if it is a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupFacts>,
    /// What is damaged, each in a sentence.
    pub damage: Vec<String>,
    /// What is worth knowing and no damage, each in a sentence.
    pub notes: Vec<String>,
}

/// What a backup says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackupFacts {
    /// The node.
    pub node: String,
    /// When its cut was made, in Unix milliseconds.
    pub taken_ms: u64,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a directory cannot be verified. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no such thing.
    #[error("there is no data of a node in {0}; give the directory that has pelago.toml in it, or that of a backup")]
    NoData(String),
    /// A node uses it, or the catalogue cannot be read for another reason than damage.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// The store cannot be read for another reason than damage.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The backup cannot be used.
    #[error("{0}")]
    Backup(#[from] BackupError),
}

/// Reads every byte of what a node keeps in its directory, which no node may be using, or of a backup. Changes nothing, and
/// keeps nodes from starting there meanwhile.
pub fn check_store(directory: &Path) -> Result<StoreReport, CheckError> {
    if directory.join(BACKUP_MANIFEST).exists() {
        return check_backup(&Backup::open(directory)?);
    }
    let (store, catalogue) = (directory.join(STORE_DIRECTORY), directory.join(CATALOGUE_DIRECTORY));
    if !store.is_dir() && !catalogue.is_dir() {
        return Err(CheckError::NoData(directory.display().to_string()));
    }
    let mut report = StoreReport::default();
    let held = if catalogue.is_dir() { Some(HeldCatalogue::take(&catalogue)?) } else { None };
    let copy = CatalogueCopy::look(&StdFs::existing(&store))?;
    match held.as_ref().map(HeldCatalogue::verify) {
        Some(Ok(rows)) => report.catalogue_rows = rows,
        Some(Err(CatalogueError::Damaged(reason))) => report.add_lost_catalogue(&format!("is damaged: {reason}"), copy),
        Some(Err(error)) => return Err(error.into()),
        None => report.add_lost_catalogue("is missing", copy),
    }
    if copy == CatalogueCopy::Damaged {
        report.damage.push("the copy of the catalogue in the store is damaged".to_owned());
    }
    if store.is_dir() {
        report.add_store(check(Arc::new(StdFs::existing(&store)), None)?);
    }
    if report.damage.is_empty() && report.store.segments == 0 && report.store.checkpoint == 0 {
        let told = "no keys are kept here: the node starts without any, and gets them from the other regions";
        report.notes.push(told.to_owned());
    }
    Ok(report)
}

fn check_backup(backup: &Backup) -> Result<StoreReport, CheckError> {
    let manifest = &backup.manifest;
    let facts = BackupFacts {
        node: manifest.node.clone(),
        taken_ms: manifest.taken_ms,
        files: manifest.files.len(),
        bytes: manifest.bytes(),
    };
    let damage = backup.damage(&mut |_| ())?;
    let mut report = StoreReport { backup: Some(facts), damage, ..StoreReport::default() };
    report.add_store(backup.check()?);
    Ok(report)
}

impl StoreReport {
    /// The catalogue cannot be used. What that costs depends on its copy.
    fn add_lost_catalogue(&mut self, what: &str, copy: CatalogueCopy) {
        match copy {
            CatalogueCopy::Sound(rows) => {
                self.catalogue_rows = rows;
                self.notes.push(format!("the catalogue {what}; the next start takes its copy in the store"));
            }
            CatalogueCopy::Missing | CatalogueCopy::Damaged => {
                self.damage.push(format!("the catalogue {what}: a peer must give the node another number"));
            }
        }
    }

    fn add_store(&mut self, found: CheckReport) {
        self.store = found.figures;
        for problem in found.problems {
            let list = if problem.is_damage() { &mut self.damage } else { &mut self.notes };
            list.push(problem.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::{Catalogue, MirroredCatalogue};

    #[test]
    fn what_is_not_there_is_told() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(check_store(home.path()), Err(CheckError::NoData(_))));
        std::fs::create_dir(home.path().join(STORE_DIRECTORY)).unwrap();
        let report = check_store(home.path()).unwrap();
        assert!(report.damage[0].starts_with("the catalogue is missing"), "{report:?}");
        drop(storage::SledCatalogue::open(&home.path().join(CATALOGUE_DIRECTORY)).unwrap());
        let report = check_store(home.path()).unwrap();
        assert!(report.damage.is_empty() && report.notes[0].starts_with("no keys are kept here"), "{report:?}");
    }

    #[test]
    fn a_lost_catalogue_is_damage_unless_its_copy_is_there() {
        let home = tempfile::tempdir().unwrap();
        let (store, catalogue) = (home.path().join(STORE_DIRECTORY), home.path().join(CATALOGUE_DIRECTORY));
        let (sled, _) = storage::SledCatalogue::open(&catalogue).unwrap();
        let fs = Arc::new(StdFs::open(&store).unwrap());
        let (mirrored, _) = MirroredCatalogue::open(Arc::new(sled), fs).unwrap();
        mirrored.put("a", b"row").unwrap();
        mirrored.flush().unwrap();
        drop(mirrored);
        std::fs::remove_dir_all(&catalogue).unwrap();
        let report = check_store(home.path()).unwrap();
        assert_eq!((report.damage.len(), report.catalogue_rows), (0, 1), "{report:?}");
        assert!(report.notes[0].contains("is missing; the next start takes its copy"), "{report:?}");
        std::fs::write(store.join("catalogue"), b"rubbish").unwrap();
        let report = check_store(home.path()).unwrap();
        assert_eq!(report.damage.len(), 2, "{report:?}");
    }
}
