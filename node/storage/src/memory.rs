//! A catalogue in memory, for the simulator and for nodes without a directory. A crash takes what was not flushed.

use crate::catalogue::{Catalogue, Result, check_size};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows in memory. Clones are the same catalogue, so that it outlives a simulated process.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalogue(Arc<Mutex<Kept>>);

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
        Self(Arc::new(Mutex::new(Kept { rows: durable.clone(), durable })))
    }

    /// What a backup holds takes the place of everything.
    pub fn restore(&self, backup: &Self) {
        let durable = backup.kept().durable.clone();
        *self.kept() = Kept { rows: durable.clone(), durable };
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue for MemoryCatalogue {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.kept().rows.get(key).cloned())
    }

    fn put(&self, key: &str, row: &[u8]) -> Result<()> {
        check_size(key, row)?;
        self.kept().rows.insert(key.to_owned(), row.to_vec());
        Ok(())
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.kept().rows.remove(key);
        Ok(())
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let kept = self.kept();
        let found = kept.rows.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    fn flush(&self) -> Result<()> {
        let mut kept = self.kept();
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
