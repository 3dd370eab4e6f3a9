//! Which keys were told of while one command, transaction or batch runs on a thread.
//!
//! Not who was told: those who are told by prefix all are.

use crate::limits::TRACKING_TOLD_BYTES_MAX;
use std::collections::BTreeSet;

/// The keys.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What they were told of.
    number: u64,
    keys: BTreeSet<(u8, Box<[u8]>)>,
    bytes: usize,
}

/// What a key takes beside its own bytes.
const KEY_OVERHEAD_BYTES: usize = 48;

impl Told {
    /// Whether a key is told for the first time since what has this number began, as far as is known.
    pub(super) fn is_first(&mut self, number: u64, database: u8, key: &[u8]) -> bool {
        if self.number != number {
            (self.number, self.bytes) = (number, 0);
            self.keys.clear();
        }
        let bytes = key.len() + KEY_OVERHEAD_BYTES;
        let name = (database, key.into());
        if self.bytes + bytes > TRACKING_TOLD_BYTES_MAX {
            return !self.keys.contains(&name);
        }
        let is_first = self.keys.insert(name);
        self.bytes += if is_first { bytes } else { 0 };
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_and_again_when_something_else_begins() {
        let mut told = Told::default();
        let asked = [(1, 0, "a"), (1, 0, "a"), (1, 1, "a"), (1, 0, "b"), (1, 0, "a"), (2, 0, "a")];
        let first = asked.map(|(number, database, key)| told.is_first(number, database, key.as_bytes()));
        assert_eq!(first, [true, false, true, true, false, true]);
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut told = Told::default();
        let long = vec![b'k'; TRACKING_TOLD_BYTES_MAX];
        assert!(told.is_first(1, 0, &long) && told.is_first(1, 0, &long));
        for number in 0..10_000_u32 {
            assert!(told.is_first(1, 0, &number.to_le_bytes()));
        }
        assert!(told.bytes <= TRACKING_TOLD_BYTES_MAX && !told.is_first(1, 0, &0_u32.to_le_bytes()));
    }
}
