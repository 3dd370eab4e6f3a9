//! Typed rows over a catalogue: what a node must never forget about itself.
//!
//! Every row is a version byte and bincode behind it, decoded within a limit. The numbers of versions are never
//! reused; a row of an unknown version stops the node rather than being guessed at.

use crate::catalogue::{Catalogue, CatalogueError, Result};
use crate::limits::DECODED_BYTES_MAX;
use bincode::{Decode, Encode};
use std::sync::Arc;

/// Who the node is that this directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeFacts {
    /// The node's identity, from its certificate.
    pub identity: [u8; 32],
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The node's name.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// One start of the process.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Boot {
    /// Which boot of the host this was, in the operating system's words.
    pub host_boot: String,
    /// Drawn at this start. Two live processes with one identity are told apart by it.
    pub nonce: u64,
    /// Counts the starts of this directory. A peer that knows a later one knows that this is a restored backup.
    pub generation: u64,
    /// The process ended in order, with everything that it had sent on disk.
    pub ended_cleanly: bool,
}

/// What a start finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// This start, durable.
    pub boot: Boot,
    /// The one before it; nothing in a new directory.
    pub before: Option<Boot>,
    /// The host went down under the process before, so the tail of what it sent may be missing here.
    pub host_crashed: bool,
}

/// Why a node may not give itself a number, although it has a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NumberNeeded {
    /// The catalogue was lost, and what there is of the membership is from the time of the admission.
    CatalogueLost,
    /// The directory is a copy, perhaps an old one.
    Copied,
    /// It may not go on under the number it had, and has used up all that it was given.
    NoneLeft,
}

/// The typed rows of one catalogue.
pub struct CatalogueRows {
    catalogue: Arc<dyn Catalogue>,
}

const NODE: &str = "node";
const BOOT: &str = "boot";
const MEMBERSHIP: &str = "membership";
const NUMBER_NEEDED: &str = "number-needed";
const UNFILLED: &str = "unfilled";
const FORKED: &str = "forked";
const NEWCOMER: &str = "newcomer";

const VERSION: u8 = 1;

impl CatalogueRows {
    /// The typed rows of this catalogue.
    pub fn new(catalogue: Arc<dyn Catalogue>) -> Self {
        Self { catalogue }
    }

    /// The catalogue beneath, for rows of other rooms.
    pub fn catalogue(&self) -> &Arc<dyn Catalogue> {
        &self.catalogue
    }

    /// Who this directory belongs to.
    pub fn node(&self) -> Result<Option<NodeFacts>> {
        self.read(NODE)
    }

    /// Writes who this directory belongs to, durably.
    pub fn set_node(&self, facts: &NodeFacts) -> Result<()> {
        self.write_durably(NODE, facts)
    }

    /// Notes a start of the process, durably, and tells what the one before left.
    pub fn begin(&self, host_boot: &str, nonce: u64) -> Result<Start> {
        let before: Option<Boot> = self.read(BOOT)?;
        let generation = before.as_ref().map_or(1, |boot| boot.generation + 1);
        let boot = Boot { host_boot: host_boot.to_owned(), nonce, generation, ended_cleanly: false };
        self.write_durably(BOOT, &boot)?;
        let host_crashed = before.as_ref().is_some_and(|before| !before.ended_cleanly && before.host_boot != host_boot);
        Ok(Start { boot, before, host_crashed })
    }

    /// Notes, durably, that the process ends in order. Only called when the journal is durable as well.
    pub fn end_cleanly(&self) -> Result<()> {
        match self.read::<Boot>(BOOT)? {
            Some(boot) => self.write_durably(BOOT, &Boot { ended_cleanly: true, ..boot }),
            None => Ok(()),
        }
    }

    /// The membership, as it was last written.
    pub fn membership(&self) -> Result<Option<Vec<u8>>> {
        self.read(MEMBERSHIP)
    }

    /// Writes the membership, durably: a change is fsynced before it is sent.
    pub fn set_membership(&self, encoded: &[u8]) -> Result<()> {
        self.write_durably(MEMBERSHIP, &encoded)
    }

    /// Whether others must give this node a number, before it may write, and why.
    pub fn number_needed(&self) -> Result<Option<NumberNeeded>> {
        self.read(NUMBER_NEEDED)
    }

    /// Notes, durably, that others must give this node a number, or that they have.
    pub fn set_number_needed(&self, needed: Option<NumberNeeded>) -> Result<()> {
        match needed {
            Some(why) => self.write_durably(NUMBER_NEEDED, &why),
            None => {
                self.catalogue.remove(NUMBER_NEEDED)?;
                self.catalogue.flush()
            }
        }
    }

    /// Whether the store lacks keys that the node once had, and that its peers have not brought back yet.
    pub fn is_unfilled(&self) -> Result<bool> {
        Ok(self.read(UNFILLED)?.unwrap_or(false))
    }

    /// Notes, durably, that the store lacks keys, or that it has them again.
    pub fn set_unfilled(&self, is_unfilled: bool) -> Result<()> {
        self.write_durably(UNFILLED, &is_unfilled)
    }

    /// Whether the node has lost some of what it wrote under its number, and then wrote other things under it: what the store
    /// says that it has seen is not so.
    pub fn is_forked(&self) -> Result<bool> {
        Ok(self.read(FORKED)?.unwrap_or(false))
    }

    /// Notes that, durably, or that it is over.
    pub fn set_forked(&self, is_forked: bool) -> Result<()> {
        self.write_durably(FORKED, &is_forked)
    }

    /// Whether the node was admitted to a cluster that was there before, and never had what its members have.
    pub fn is_newcomer(&self) -> Result<bool> {
        Ok(self.read(NEWCOMER)?.unwrap_or(false))
    }

    /// Notes that, durably, or that it is over.
    pub fn set_newcomer(&self, is_newcomer: bool) -> Result<()> {
        self.write_durably(NEWCOMER, &is_newcomer)
    }

    fn read<T: Decode<()>>(&self, key: &str) -> Result<Option<T>> {
        self.catalogue.get(key)?.map(|row| decode(key, &row)).transpose()
    }

    fn write_durably(&self, key: &str, value: &impl Encode) -> Result<()> {
        self.catalogue.put(key, &encode(key, value)?)?;
        self.catalogue.flush()
    }
}

impl std::fmt::Debug for CatalogueRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CatalogueRows")
    }
}

fn encoding() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ DECODED_BYTES_MAX }>()
}

fn encode(key: &str, value: &impl Encode) -> Result<Vec<u8>> {
    let mut row = vec![VERSION];
    let written = bincode::encode_into_std_write(value, &mut row, encoding());
    written.map_err(|error| CatalogueError::Row { row: key.to_owned(), error: error.to_string() })?;
    Ok(row)
}

fn decode<T: Decode<()>>(key: &str, row: &[u8]) -> Result<T> {
    let refused = |error: String| CatalogueError::Row { row: key.to_owned(), error };
    let (version, body) = row.split_first().ok_or_else(|| refused("it is empty".to_owned()))?;
    if *version != VERSION {
        return Err(CatalogueError::NewerRow { row: key.to_owned(), version: *version });
    }
    let (value, used) = bincode::decode_from_slice(body, encoding()).map_err(|error| refused(error.to_string()))?;
    if used == body.len() { Ok(value) } else { Err(refused("it goes on after its end".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryCatalogue;

    fn rows(catalogue: &MemoryCatalogue) -> CatalogueRows {
        CatalogueRows::new(Arc::new(catalogue.clone()))
    }

    #[test]
    fn every_row_survives_a_crash_as_soon_as_it_is_written() {
        let disk = MemoryCatalogue::new();
        let facts = NodeFacts { identity: [1; 32], cluster: [2; 16], name: "a-1".into(), region: "a".into() };
        let now = rows(&disk);
        now.set_node(&facts).unwrap();
        now.set_membership(b"members").unwrap();
        now.set_unfilled(true).unwrap();
        disk.crash();
        let later = rows(&disk);
        assert_eq!(later.node().unwrap(), Some(facts));
        assert_eq!(later.membership().unwrap().as_deref(), Some(&b"members"[..]));
        assert!(later.is_unfilled().unwrap());
    }

    #[test]
    fn a_start_tells_a_host_crash_from_a_process_crash_and_from_an_end_in_order() {
        let disk = MemoryCatalogue::new();
        let first = rows(&disk).begin("host boot 1", 11).unwrap();
        assert_eq!((first.before, first.host_crashed, first.boot.generation), (None, false, 1));
        let process_crashed = rows(&disk).begin("host boot 1", 12).unwrap();
        assert_eq!((process_crashed.host_crashed, process_crashed.boot.generation), (false, 2));
        let host_crashed = rows(&disk).begin("host boot 2", 13).unwrap();
        assert!(host_crashed.host_crashed);
        rows(&disk).end_cleanly().unwrap();
        let in_order = rows(&disk).begin("host boot 3", 14).unwrap();
        assert!(!in_order.host_crashed && in_order.before.unwrap().ended_cleanly);
        assert_eq!(in_order.boot.generation, 4);
    }

    #[test]
    fn foreign_bytes_in_a_row_are_an_error_that_names_it() {
        let disk = MemoryCatalogue::new();
        // The third claims 2^62 elements, the fourth goes on after its end.
        let hostile: [&[u8]; 4] = [b"", &[1, 7], &[1, 253, 0, 0, 0, 0, 0, 0, 0, 64], &[1, 0, 9]];
        for row in hostile {
            disk.put(MEMBERSHIP, row).unwrap();
            let error = rows(&disk).membership().unwrap_err().to_string();
            assert!(error.starts_with("the catalogue's row membership cannot be read"), "{error}");
        }
        disk.put(MEMBERSHIP, &[2, 0]).unwrap();
        assert!(matches!(rows(&disk).membership(), Err(CatalogueError::NewerRow { version: 2, .. })));
    }
}
