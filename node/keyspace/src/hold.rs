//! Changing which slots are locked in the middle of a command: for keys whose names are made of what other keys hold.
//!
//! A slot is never locked beside others out of ascending order, so everything is let go first. What was read before may
//! have changed by then, and has to be read again.

use crate::access::{Access, Held};
use crate::hash::SLOTS;
use std::collections::BTreeSet;

impl Access<'_> {
    /// Whether this slot is locked.
    pub fn holds(&self, slot: u16) -> bool {
        match &self.held {
            Held::None => false,
            Held::One(number, _) => *number == slot,
            Held::Few(slots) => slots.binary_search_by_key(&slot, |(number, _)| *number).is_ok(),
            Held::Wide(wide) => wide.slots.binary_search_by_key(&slot, |(number, _)| *number).is_ok(),
            Held::All(_) => slot < SLOTS,
        }
    }

    /// Lets go of everything and locks these slots instead. The command must not have written anything yet, and must not be
    /// part of a group, whose earlier commands others would see without the later ones. False if somebody holds one of them
    /// for very long: then nothing is held.
    #[must_use]
    pub fn hold_instead(&mut self, slots: &BTreeSet<u16>) -> bool {
        self.let_go();
        let held = match slots.first() {
            Some(&number) if slots.len() == 1 => {
                self.keyspace.slot_unless_busy(number).map(|slot| Held::One(number, slot))
            }
            _ => self.keyspace.slots_unless_busy(&slots.iter().copied().collect::<Vec<u16>>()).map(Held::Few),
        };
        let is_held = held.is_some();
        self.held = held.unwrap_or(Held::None);
        is_held
    }

    /// The same with every slot.
    #[must_use]
    pub fn hold_everything(&mut self) -> bool {
        self.let_go();
        let Some(slots) = self.keyspace.all_slots_unless_busy() else { return false };
        self.held = Held::All(slots);
        true
    }

    pub(crate) fn let_go(&mut self) {
        assert!(self.stamp.is_none() && !self.in_group, "what was written under locks is not whole without them");
        self.held = Held::None;
    }
}

#[cfg(test)]
mod tests {
    use crate::{Database, Keyspace, slot_of};
    use crdt::NodeNumber;
    use std::collections::BTreeSet;

    #[test]
    fn other_slots_can_be_locked_until_something_is_written() {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        let mut writer = keyspace.writer();
        let [a, b, c] = [b"a", b"b", b"c"].map(|key| slot_of(key));
        let mut access = writer.access(crdt::STAMP_EPOCH_MS + 1, &[b"a"]);
        access.begin_command();
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [true, false, false]);
        assert!(access.hold_instead(&BTreeSet::from([b, c])));
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [false, true, true]);
        assert!(access.hold_instead(&BTreeSet::from([a])));
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [true, false, false]);
        assert!(access.hold_everything());
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [true; 3]);
        assert_eq!(access.add_member(Database(0), b"b", b"m"), Ok(true));
    }
}
