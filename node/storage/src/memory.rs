//! A catalogue in memory, for the simulator and for nodes without a directory. A crash takes what was not flushed.

use crate::catalogue::{Catalogue, CatalogueError, Result, check_size};
use crate::simulated_fs::SimulatedFs;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows in memory. Clones are the same catalogue, so that it outlives a simulated process.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalogue {
    kept: Arc<Mutex<Kept>>,
    /// The disk that it lies on, if that matters.
    disk: Option<SimulatedFs>,
}

#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<String, Vec<u8>>,
    durable: BTreeMap<String, Vec<u8>>,
}

impl MemoryCatalogue {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty catalogue on a disk: what is done with it counts as the disk's operations, and fails without power.
    pub fn on(disk: &SimulatedFs) -> Self {
        Self { disk: Some(disk.clone()), ..Self::default() }
    }

    /// The host crashes: what was not flushed is lost.
    pub fn crash(&self) {
        let mut kept = self.kept();
        kept.rows = kept.durable.clone();
    }

    /// The disk is lost.
    pub fn lose_everything(&self) {
        *self.kept() = Kept::default();
    }

    /// What a backup of the durable rows holds: another catalogue, as it was now.
    pub fn backup(&self) -> Self {
        let durable = self.kept().durable.clone();
        Self { kept: Arc::new(Mutex::new(Kept { rows: durable.clone(), durable })), disk: None }
    }

    /// What a backup holds takes the place of everything.
    pub fn restore(&self, backup: &Self) {
        let durable = backup.kept().durable.clone();
        *self.kept() = Kept { rows: durable.clone(), durable };
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept, for one operation of a node.
    fn operate(&self, doing: &'static str) -> Result<MutexGuard<'_, Kept>> {
        let worked = self.disk.as_ref().map_or(Ok(()), SimulatedFs::operate_beside);
        worked.map_err(|error| CatalogueError::File { doing, path: PathBuf::from("catalogue"), error })?;
        Ok(self.kept())
    }
}

impl Catalogue for MemoryCatalogue {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.operate("read")?.rows.get(key).cloned())
    }

    fn put(&self, key: &str, row: &[u8]) -> Result<()> {
        check_size(key, row)?;
        self.operate("write")?.rows.insert(key.to_owned(), row.to_vec());
        Ok(())
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.operate("write")?.rows.remove(key);
        Ok(())
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let kept = self.operate("read")?;
        let found = kept.rows.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    fn flush(&self) -> Result<()> {
        let mut kept = self.operate("make durable")?;
        kept.durable = kept.rows.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_takes_what_was_not_flushed_and_nothing_else() {
        let catalogue = MemoryCatalogue::new();
        catalogue.put("a/1", b"kept").unwrap();
        catalogue.flush().unwrap();
        catalogue.put("a/2", b"lost").unwrap();
        catalogue.remove("a/1").unwrap();
        assert_eq!(catalogue.rows("a/").unwrap(), [("a/2".to_owned(), b"lost".to_vec())]);
        catalogue.clone().crash();
        assert_eq!(catalogue.rows("a/").unwrap(), [("a/1".to_owned(), b"kept".to_vec())]);
        let backup = catalogue.backup();
        catalogue.lose_everything();
        assert_eq!((catalogue.get("a/1").unwrap(), backup.get("a/1").unwrap()), (None, Some(b"kept".to_vec())));
    }
}
