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
    /// part of a group, whose earlier commands others would see without the later ones.
    pub fn hold_instead(&mut self, slots: &BTreeSet<u16>) {
        self.let_go();
        self.held = match slots.first() {
            Some(&number) if slots.len() == 1 => Held::One(number, self.keyspace.slot(number)),
            _ => Held::Few(self.keyspace.lock_slots(&slots.iter().copied().collect::<Vec<u16>>())),
        };
    }

    /// The same with every slot.
    pub fn hold_everything(&mut self) {
        self.let_go();
        self.held = Held::All(self.keyspace.lock_all_slots());
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
        access.hold_instead(&BTreeSet::from([b, c]));
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [false, true, true]);
        access.hold_instead(&BTreeSet::from([a]));
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [true, false, false]);
        access.hold_everything();
        assert_eq!([a, b, c].map(|slot| access.holds(slot)), [true; 3]);
        assert_eq!(access.add_member(Database(0), b"b", b"m"), Ok(true));
    }
}
