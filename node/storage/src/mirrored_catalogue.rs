//! A catalogue with a copy of its rows in the store's directory: a catalogue that is lost or damaged comes back from there
//! as it was, so that a node which can reach nobody goes on.
//!
//! The copy says what the catalogue says, or it is not there: it is written before each flush of the catalogue, and removed
//! where it cannot be written. It lies with the keys so that whoever takes those away lets the node forget both.

use crate::catalogue::{Catalogue, CatalogueError, Result};
use crate::frame::{Place, Step, put_frame, step};
use crate::fs::{Fs, StoreError, read_if_sound, remove_if_there, replace_file};
use crate::limits::{CATALOGUE_COPY_BYTES_MAX, COPY_DECODED_BYTES_MAX};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A catalogue, and where its copy is.
pub struct MirroredCatalogue {
    catalogue: Arc<dyn Catalogue>,
    fs: Arc<dyn Fs>,
    /// Something was written since the copy was made, or there may be none.
    has_changed: AtomicBool,
}

/// The copy.
pub(crate) const CATALOGUE_COPY: &str = "catalogue";
/// The row that says that rows come back from the copy, and that some may not be there yet.
const COMING_BACK: &str = "coming-back";
const MAGIC: &[u8; 8] = b"PELAGOK\n";
const ROWS_KIND: u8 = 0xf3;
const VERSION: u8 = 1;
const HERE: Place = Place { file: 0, sequence: 0 };

impl MirroredCatalogue {
    /// A catalogue with its copy in that directory. One that has no rows gets those of the copy; true if there were any. One
    /// into which rows had begun to come back, and that has perhaps not all of them, is damaged without its copy.
    pub fn open(catalogue: Arc<dyn Catalogue>, fs: Arc<dyn Fs>) -> Result<(Self, bool)> {
        let mirrored = Self { catalogue, fs, has_changed: AtomicBool::new(true) };
        let there = mirrored.catalogue.rows("")?;
        let has_begun = there.iter().any(|(key, _)| key == COMING_BACK);
        let mut rows = Rows::new();
        if there.is_empty() || has_begun {
            match read_copy(&*mirrored.fs)? {
                Some(Some(copied)) => rows = copied,
                Some(None) => tracing::error!("the copy of the catalogue in the store is damaged"),
                None => {}
            }
        }
        if rows.is_empty() {
            let sentence = "it was coming back from its copy in the store, which is lost or damaged now";
            return if has_begun { Err(CatalogueError::Damaged(sentence.to_owned())) } else { Ok((mirrored, false)) };
        }
        mirrored.bring_back(&rows)?;
        tracing::warn!(
            rows = rows.len(),
            "the catalogue was lost or damaged, and came back from its copy in the store"
        );
        Ok((mirrored, true))
    }

    /// SUBTLE: a disk that is full, or the end of the process, may leave some of the rows. Without the others a node would
    /// go on under a number that it may not have, so it is durable that they were not all there before any of them is.
    fn bring_back(&self, rows: &Rows) -> Result<()> {
        self.catalogue.put(COMING_BACK, b"")?;
        self.catalogue.flush()?;
        for (key, row) in rows {
            self.catalogue.put(key, row)?;
        }
        self.catalogue.flush()?;
        self.catalogue.remove(COMING_BACK)?;
        self.catalogue.flush()
    }

    /// Makes the copy say what the catalogue says, or removes it: then false.
    fn copy(&self) -> Result<bool> {
        let bytes = encode(&self.catalogue.rows("")?)?;
        let Err(error) = replace_file(&*self.fs, CATALOGUE_COPY, &bytes) else { return Ok(true) };
        tracing::debug!(%error, "the catalogue's copy could not be written");
        remove_if_there(&*self.fs, CATALOGUE_COPY).map_err(from_store)?;
        // It can come back by a power cut alone. A catalogue that is on the same disk cannot be flushed either.
        if let Err(error) = self.fs.sync_directory() {
            tracing::warn!(%error, "the catalogue's copy may be an old one after a power cut");
        }
        Ok(false)
    }
}

impl Catalogue for MirroredCatalogue {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.catalogue.get(key)
    }

    fn put(&self, key: &str, row: &[u8]) -> Result<()> {
        self.has_changed.store(true, Ordering::Release);
        self.catalogue.put(key, row)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.has_changed.store(true, Ordering::Release);
        self.catalogue.remove(key)
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.catalogue.rows(prefix)
    }

    fn flush(&self) -> Result<()> {
        if self.has_changed.swap(false, Ordering::AcqRel) {
            let copied = self.copy();
            if !matches!(copied, Ok(true)) {
                // The next flush tries it again, also if nothing is written until then.
                self.has_changed.store(true, Ordering::Release);
            }
            copied?;
        }
        self.catalogue.flush()
    }
}

impl std::fmt::Debug for MirroredCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirroredCatalogue").field("fs", &self.fs).finish_non_exhaustive()
    }
}

/// What there is of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueCopy {
    /// Nothing, or the disk cannot read it.
    Missing,
    /// What cannot be used.
    Damaged,
    /// So many rows.
    Sound(usize),
}

impl CatalogueCopy {
    /// Looks at the copy in a store's directory.
    pub fn look(fs: &dyn Fs) -> Result<Self> {
        Ok(match read_copy(fs)? {
            None => Self::Missing,
            Some(None) => Self::Damaged,
            Some(Some(rows)) => Self::Sound(rows.len()),
        })
    }
}

/// The rows of the copy in a store's directory, if there is one; inside, nothing if it is damaged.
fn read_copy(fs: &dyn Fs) -> Result<Option<Option<Rows>>> {
    let bytes = read_if_sound(fs, CATALOGUE_COPY, CATALOGUE_COPY_BYTES_MAX).map_err(from_store)?;
    Ok(bytes.map(|bytes| decode(&bytes)))
}

type Rows = Vec<(String, Vec<u8>)>;

fn encoding() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ COPY_DECODED_BYTES_MAX }>()
}

fn encode(rows: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let refused = |error: bincode::error::EncodeError| CatalogueError::Damaged(error.to_string());
    let body = bincode::encode_to_vec(rows, encoding()).map_err(refused)?;
    let mut out = MAGIC.to_vec();
    put_frame(&mut out, HERE, ROWS_KIND, &[&[VERSION], &body]);
    Ok(out)
}

fn decode(bytes: &[u8]) -> Option<Rows> {
    let Step::Frame { kind: ROWS_KIND, payload, bytes: whole } = step(bytes.strip_prefix(MAGIC.as_slice())?, HERE)
    else {
        return None;
    };
    let (&VERSION, body) = payload.split_first()? else { return None };
    let (rows, used) = bincode::decode_from_slice(body, encoding()).ok()?;
    (used == body.len() && MAGIC.len() + whole == bytes.len()).then_some(rows)
}

fn from_store(error: StoreError) -> CatalogueError {
    match error {
        StoreError::File { doing, name, error } => CatalogueError::File { doing, path: PathBuf::from(name), error },
        other => CatalogueError::Damaged(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ROW_BYTES_MAX;
    use crate::{DiskFaults, MemoryCatalogue, SimulatedFs};

    /// A catalogue and its copy, and what came back from that.
    fn opened(catalogue: &MemoryCatalogue, fs: &SimulatedFs) -> (MirroredCatalogue, Rows) {
        let opened = MirroredCatalogue::open(Arc::new(catalogue.clone()), Arc::new(fs.clone())).unwrap();
        let rows = opened.0.rows("").unwrap();
        assert_eq!(opened.1, !rows.is_empty(), "it was empty before");
        (opened.0, rows)
    }

    /// What was flushed last, with a row more that was not.
    fn written(fs: &SimulatedFs) -> Rows {
        let (mirrored, _) = opened(&MemoryCatalogue::new(), fs);
        mirrored.put("a", b"first").unwrap();
        mirrored.put("b", &vec![7; 100_000]).unwrap();
        mirrored.flush().unwrap();
        mirrored.remove("b").unwrap();
        mirrored.put("a", b"second").unwrap();
        mirrored.flush().unwrap();
        let rows = mirrored.rows("").unwrap();
        mirrored.put("c", b"not flushed").unwrap();
        rows
    }

    #[test]
    fn a_lost_catalogue_comes_back_as_it_was_flushed_last() {
        let fs = SimulatedFs::new(1);
        let rows = written(&fs);
        fs.crash();
        let lost = MemoryCatalogue::new();
        assert_eq!(opened(&lost, &fs).1, rows);
        lost.crash();
        assert_eq!(lost.rows("").unwrap(), rows, "it is durable before anybody builds on it");
        let (kept, came_back) = MirroredCatalogue::open(Arc::new(lost), Arc::new(fs)).unwrap();
        assert!(!came_back && kept.rows("").unwrap() == rows);
    }

    #[test]
    fn rows_that_are_long_come_back_together() {
        let (fs, catalogue) = (SimulatedFs::new(6), MemoryCatalogue::new());
        let (mirrored, _) = opened(&catalogue, &fs);
        for name in ["a", "b", "c"] {
            mirrored.put(name, &vec![7; ROW_BYTES_MAX]).unwrap();
        }
        mirrored.flush().unwrap();
        assert_eq!(CatalogueCopy::look(&fs).unwrap(), CatalogueCopy::Sound(3));
    }

    #[test]
    fn rows_that_came_back_in_part_are_not_taken_for_all() {
        let fs = SimulatedFs::new(4);
        let rows = written(&fs);
        fs.crash();
        let partial = MemoryCatalogue::new();
        for row in [COMING_BACK, "an older row"] {
            partial.put(row, b"").unwrap();
        }
        partial.put("a", b"second").unwrap();
        partial.flush().unwrap();
        let without_copy = MirroredCatalogue::open(Arc::new(partial.clone()), Arc::new(SimulatedFs::new(5)));
        assert!(matches!(without_copy, Err(CatalogueError::Damaged(_))));
        partial.remove("an older row").unwrap();
        assert_eq!(opened(&partial, &fs).1, rows);
        partial.crash();
        assert_eq!(partial.rows("").unwrap(), rows);
    }

    #[test]
    fn a_copy_that_cannot_be_written_is_not_there() {
        let fs = SimulatedFs::new(2);
        let catalogue = MemoryCatalogue::new();
        let (mirrored, _) = opened(&catalogue, &fs);
        mirrored.put("a", b"first").unwrap();
        mirrored.flush().unwrap();
        fs.set_faults(DiskFaults { capacity_bytes: 0, ..DiskFaults::default() });
        mirrored.put("a", b"second").unwrap();
        mirrored.flush().unwrap();
        assert_eq!(opened(&MemoryCatalogue::new(), &fs).1, [], "what it said is not so any more");
        fs.set_faults(DiskFaults::default());
        mirrored.flush().unwrap();
        let second = [("a".to_owned(), b"second".to_vec())];
        assert_eq!(opened(&MemoryCatalogue::new(), &fs).1, second, "nothing was written since");
        fs.set_faults(DiskFaults { capacity_bytes: 0, ..DiskFaults::default() });
        mirrored.put("a", b"third").unwrap();
        mirrored.flush().unwrap();
        fs.crash();
        assert_eq!(opened(&MemoryCatalogue::new(), &fs).1, [], "that it is gone is durable");
        // It is made again as soon as it can be, and who cannot is no reason not to go on.
        fs.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
        let again = Arc::new(catalogue.clone());
        MirroredCatalogue::open(again, Arc::new(fs.clone())).unwrap().0.flush().unwrap();
        fs.set_faults(DiskFaults::default());
        let (mirrored, _) = MirroredCatalogue::open(Arc::new(catalogue), Arc::new(fs.clone())).unwrap();
        mirrored.flush().unwrap();
        assert_eq!(opened(&MemoryCatalogue::new(), &fs).1, [("a".to_owned(), b"third".to_vec())]);
    }

    #[test]
    fn nothing_of_a_damaged_copy_is_believed() {
        let fs = SimulatedFs::new(3);
        written(&fs);
        let bytes = fs.list().unwrap().iter().find(|file| file.name == CATALOGUE_COPY).unwrap().bytes;
        for bit in 0..bytes * 8 {
            let damaged = fs.backup();
            damaged.flip(CATALOGUE_COPY, bit);
            assert_eq!(opened(&MemoryCatalogue::new(), &damaged).1, [], "bit {bit}");
            assert_eq!(CatalogueCopy::look(&damaged).unwrap(), CatalogueCopy::Damaged);
        }
    }
}
