//! Typed rows over a catalogue: what a node must never forget about itself.
//!
//! Every row is a version byte and bincode behind it, decoded within a limit. The numbers of versions are never
//! reused; a row of an unknown version stops the node rather than being guessed at.

use crate::catalogue::{Catalogue, CatalogueError, Result};
use crate::limits::DECODED_BYTES_MAX;
use crate::numbers::NumberLedger;
use bincode::{Decode, Encode};
use crdt::{NodeNumber, Stamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The typed rows of one catalogue.
pub struct CatalogueRows {
    catalogue: Arc<dyn Catalogue>,
    /// Held while the ledger is read, changed and made durable: two admissions at once take two numbers.
    ledger: Mutex<()>,
}

const NODE: &str = "node";
const BOOT: &str = "boot";
const NUMBERS: &str = "numbers";
const MEMBERSHIP: &str = "membership";
const STAMP_MARK: &str = "stamp-mark";
const CONFIGURATION: &str = "configuration/";

const VERSION: u8 = 1;

impl CatalogueRows {
    /// The typed rows of this catalogue.
    pub fn new(catalogue: Arc<dyn Catalogue>) -> Self {
        Self { catalogue, ledger: Mutex::new(()) }
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

    /// The ledger of numbers.
    pub fn numbers(&self) -> Result<NumberLedger> {
        Ok(self.read(NUMBERS)?.unwrap_or_default())
    }

    /// Changes the ledger; the change is durable when this returns.
    pub fn change_numbers<T>(&self, change: impl FnOnce(&mut NumberLedger) -> T) -> Result<T> {
        let _one_at_a_time = self.lock_ledger();
        let mut ledger = self.numbers()?;
        let outcome = change(&mut ledger);
        self.write_durably(NUMBERS, &ledger)?;
        Ok(outcome)
    }

    /// Takes a number out of the own ranges, for another node. It is burnt, durably, before it is returned.
    pub fn take_number(&self) -> Result<NodeNumber> {
        self.change_numbers(NumberLedger::take)?.ok_or(CatalogueError::NumbersUsedUp)
    }

    /// Takes a number out of the own ranges, for this node. It is burnt, durably, before it is returned.
    pub fn renumber(&self) -> Result<NodeNumber> {
        let taken = self.change_numbers(|ledger| {
            let number = ledger.take();
            number.into_iter().for_each(|number| ledger.use_number(number));
            number
        })?;
        taken.ok_or(CatalogueError::NumbersUsedUp)
    }

    /// Notes, durably, that this node stamps with a number that a peer gave.
    pub fn use_number(&self, number: NodeNumber) -> Result<()> {
        self.change_numbers(|ledger| ledger.use_number(number))
    }

    /// The membership, as it was last written.
    pub fn membership(&self) -> Result<Option<Vec<u8>>> {
        self.read(MEMBERSHIP)
    }

    /// Writes the membership, durably: a change is fsynced before it is sent.
    pub fn set_membership(&self, encoded: &[u8]) -> Result<()> {
        self.write_durably(MEMBERSHIP, &encoded)
    }

    /// No stamp that was ever given out exceeds this one.
    pub fn stamp_mark(&self) -> Result<Stamp> {
        Ok(Stamp::from_bits(self.read(STAMP_MARK)?.unwrap_or_default()))
    }

    /// Reserves stamps up to this one, durably. A mark never goes back.
    pub fn reserve_stamps(&self, up_to: Stamp) -> Result<()> {
        if up_to <= self.stamp_mark()? {
            return Ok(());
        }
        self.write_durably(STAMP_MARK, &up_to.bits())
    }

    /// Configuration that was set at run time and outlives restarts.
    pub fn configuration(&self) -> Result<BTreeMap<String, String>> {
        let rows = self.catalogue.rows(CONFIGURATION)?;
        let named = rows.into_iter().map(|(key, row)| {
            let name = key.strip_prefix(CONFIGURATION).unwrap_or(&key).to_owned();
            Ok((name, decode(&key, &row)?))
        });
        named.collect()
    }

    /// Sets a configuration value, durably.
    pub fn set_configuration(&self, name: &str, value: &str) -> Result<()> {
        self.write_durably(&format!("{CONFIGURATION}{name}"), &value)
    }

    /// Forgets a configuration value, durably: the file's counts again.
    pub fn clear_configuration(&self, name: &str) -> Result<()> {
        self.catalogue.remove(&format!("{CONFIGURATION}{name}"))?;
        self.catalogue.flush()
    }

    fn read<T: Decode<()>>(&self, key: &str) -> Result<Option<T>> {
        self.catalogue.get(key)?.map(|row| decode(key, &row)).transpose()
    }

    fn write_durably(&self, key: &str, value: &impl Encode) -> Result<()> {
        self.catalogue.put(key, &encode(key, value)?)?;
        self.catalogue.flush()
    }

    fn lock_ledger(&self) -> MutexGuard<'_, ()> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
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
    use crate::{MemoryCatalogue, NumberRange};

    fn rows(catalogue: &MemoryCatalogue) -> CatalogueRows {
        CatalogueRows::new(Arc::new(catalogue.clone()))
    }

    fn number(value: u16) -> NodeNumber {
        NodeNumber::new(value).unwrap()
    }

    #[test]
    fn every_row_survives_a_crash_as_soon_as_it_is_written() {
        let disk = MemoryCatalogue::new();
        let facts = NodeFacts { identity: [1; 32], cluster: [2; 16], name: "a-1".into(), region: "a".into() };
        let now = rows(&disk);
        now.set_node(&facts).unwrap();
        now.set_membership(b"members").unwrap();
        now.reserve_stamps(Stamp::from_bits(900)).unwrap();
        now.reserve_stamps(Stamp::from_bits(800)).unwrap();
        now.set_configuration("maxmemory", "1gb").unwrap();
        now.set_configuration("gone", "1").unwrap();
        now.clear_configuration("gone").unwrap();
        disk.crash();
        let later = rows(&disk);
        assert_eq!(later.node().unwrap(), Some(facts));
        assert_eq!(later.membership().unwrap().as_deref(), Some(&b"members"[..]));
        assert_eq!(later.stamp_mark().unwrap(), Stamp::from_bits(900));
        assert_eq!(later.configuration().unwrap(), BTreeMap::from([("maxmemory".to_owned(), "1gb".to_owned())]));
    }

    #[test]
    fn a_number_is_burnt_before_anybody_has_it() {
        let disk = MemoryCatalogue::new();
        let range = NumberRange::new(number(5), number(7)).unwrap();
        rows(&disk).change_numbers(|ledger| ledger.add_range(range)).unwrap();
        for expected in [5, 6] {
            assert_eq!(rows(&disk).take_number().unwrap(), number(expected));
            disk.crash();
        }
        assert_eq!(rows(&disk).renumber().unwrap(), number(7));
        disk.crash();
        assert_eq!(rows(&disk).numbers().unwrap().current(), Some(number(7)));
        assert!(matches!(rows(&disk).take_number(), Err(CatalogueError::NumbersUsedUp)));
        assert!(matches!(rows(&disk).renumber(), Err(CatalogueError::NumbersUsedUp)));
        assert_eq!(rows(&disk).numbers().unwrap().current(), Some(number(7)));
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
        let hostile: [&[u8]; 4] = [b"", &[1, 7], &[1, 253, 0, 0, 0, 0, 0, 0, 0, 64], &[1, 0, 0, 0, 9]];
        for row in hostile {
            disk.put(NUMBERS, row).unwrap();
            let error = rows(&disk).numbers().unwrap_err().to_string();
            assert!(error.starts_with("the catalogue's row numbers cannot be read"), "{error}");
        }
        disk.put(NUMBERS, &[2, 0, 0, 0]).unwrap();
        assert!(matches!(rows(&disk).numbers(), Err(CatalogueError::NewerRow { version: 2, .. })));
    }
}
