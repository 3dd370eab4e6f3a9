//! Which keys are there while a start still reads the others from the disk: one bit for each group of slots.
//!
//! Only commands of a node that loads look here, so that it costs the others nothing.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::limits::GROUPS;

const WORDS: usize = GROUPS as usize / 64;

/// How much of the keyspace has been read.
#[derive(Debug, Default)]
pub struct Readiness {
    /// Whether what has been read is served already.
    is_partial: AtomicBool,
    read: [AtomicU64; WORDS],
    /// Groups that somebody has asked for before they were there.
    wanted: Mutex<BTreeSet<u16>>,
}

impl Readiness {
    /// From here on what has been read is served: nothing so far.
    pub fn begin(&self) {
        self.read.iter().for_each(|word| word.store(0, Ordering::Release));
        self.is_partial.store(true, Ordering::Release);
    }

    /// Nothing is served any more because of what has been read: all of it is there, or it is not to be relied on.
    pub fn end(&self) {
        self.is_partial.store(false, Ordering::Release);
        self.wanted.lock().clear();
    }

    /// Whether some keys are there and others are still being read.
    pub fn is_partial(&self) -> bool {
        self.is_partial.load(Ordering::Acquire)
    }

    /// Says that the keys of a group are there.
    pub fn note_read(&self, group: u16) {
        let (word, bit) = place(group);
        self.read[word].fetch_or(bit, Ordering::AcqRel);
    }

    /// Whether a key, if it exists, is there. If not, its group is read before others that nobody has asked for.
    pub fn has(&self, key: &[u8]) -> bool {
        if !self.is_partial() {
            return false;
        }
        let group = crate::persistence::group_of(keyspace::slot_of(key));
        let (word, bit) = place(group);
        let is_read = self.read[word].load(Ordering::Acquire) & bit != 0;
        if !is_read {
            self.wanted.lock().insert(group);
        }
        is_read
    }

    /// The groups that were asked for since this was last called.
    pub fn take_wanted(&self) -> BTreeSet<u16> {
        std::mem::take(&mut self.wanted.lock())
    }
}

fn place(group: u16) -> (usize, u64) {
    (usize::from(group / 64) % WORDS, 1 << (group % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_when_its_group_has_been_read_and_is_wanted_until_then() {
        let readiness = Readiness::default();
        let group = crate::persistence::group_of(keyspace::slot_of(b"k"));
        assert!(!readiness.has(b"k"));
        assert!(readiness.take_wanted().is_empty(), "nothing is read in parts");
        readiness.begin();
        assert!(!readiness.has(b"k"));
        assert_eq!(readiness.take_wanted(), BTreeSet::from([group]));
        assert!(readiness.take_wanted().is_empty());
        readiness.note_read(group);
        assert!(readiness.has(b"k") && readiness.take_wanted().is_empty());
        readiness.end();
        assert!(!readiness.has(b"k"));
        readiness.begin();
        assert!(!readiness.has(b"k"), "what an earlier reading had is forgotten");
    }
}
