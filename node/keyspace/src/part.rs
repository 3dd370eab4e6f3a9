//! Parts: some slots of a keyspace that are read from disk beside it, and taken in when they are complete.
//!
//! A start shows the whole journal to each part, which keeps what belongs to its slots. So a part is a cut of its own,
//! built by the same rules as the whole would be, and the node may serve it and write to it while others are read.

use crate::arrival::Arrival;
use crate::hash::SLOTS;
use crate::keyspace::Keyspace;
use crdt::Stamp;
use std::sync::Arc;

/// A set of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotSet(Box<[bool]>);

impl SlotSet {
    fn of(numbers: &[u16]) -> Self {
        let mut set = vec![false; usize::from(SLOTS)];
        numbers.iter().for_each(|&number| set[usize::from(number)] = true);
        Self(set.into_boxed_slice())
    }

    pub(crate) fn contains(&self, number: u16) -> bool {
        self.0[usize::from(number)]
    }
}

impl Keyspace {
    /// An empty keyspace for these slots alone, to be filled and then taken in: what is applied to it or merged into it
    /// and belongs to other slots is passed over. It has no number, and its vector is empty.
    pub fn part(&self, slots: &[u16]) -> Arc<Self> {
        Self::made(self.shared.beside(), Some(SlotSet::of(slots)))
    }

    /// Takes in the slots of a part of this keyspace. They must be empty here, and nobody may have looked at them.
    ///
    /// What has not changed in the part after `as_read` has since then not changed here after `unchanged`: that is what
    /// [`Keyspace::has_changed_since`] is told of it.
    pub fn adopt(&self, part: &Self, as_read: Stamp, unchanged: Stamp) {
        let Some(only) = &part.only else { return };
        self.shared.observe(part.clock());
        let changed = self.shared.next_stamp(self.shared.now());
        for number in (0..SLOTS).filter(|&number| only.contains(number)) {
            let mut read = std::mem::take(&mut *part.slot(number));
            let is_unchanged = read.memory.last_imaged() <= as_read;
            read.memory.set_changed(if is_unchanged { unchanged } else { changed });
            self.shared.set_earliest(number, part.shared.earliest(number));
            let mut slot = self.slot(number);
            // Whoever watches a key did so before it was there.
            slot.memory.touch_all();
            let awaited = slot.memory.take_awaited();
            *slot = read;
            if let Some(awaited) = awaited {
                *slot.memory.awaited_mut() = awaited;
                slot.memory.touch_all();
            }
        }
        self.shared.absorb(&part.shared);
    }

    /// Whether a change, which may be that of a whole database, has anything to do here.
    #[inline]
    pub(crate) fn is_for_here(&self, arrival: &Arrival<'_>) -> bool {
        self.only.as_ref().is_none_or(|only| arrival.clears_database() || only.contains(arrival.place.slot))
    }
}
