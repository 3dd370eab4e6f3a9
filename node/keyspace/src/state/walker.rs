//! A walk over all that a slot holds, in looks of which each takes some hundred microseconds. Keys come as they are, but for
//! large collections, which come last and element by element.
//!
//! Whoever walks sees to it that the slot does not change between two looks, or asks whether it has.

use super::steps::{Cursor, LargeKey, READ_AT_ONCE, Step, some_elements};
use crate::body::{KeyEntry, key_of};
use crate::entry::View;
use crate::shared::Shared;
use crate::slot::Slot;
use crate::slot_walk::SlotWalk;
use crdt::{Element, Kind};

/// How far a walk has come.
#[derive(Default)]
pub(super) struct Walker {
    walk: SlotWalk,
    has_all_keys: bool,
    /// Large collections that are still to come, the next one last.
    large: Vec<LargeKey>,
    is_in_large: bool,
    cursor: Option<Cursor>,
}

/// What a walk comes upon.
pub(super) enum Shown<'s> {
    /// A key with all that it holds.
    Key(u8, &'s KeyEntry),
    /// A key of which the elements follow.
    Begin(u8, &'s [u8]),
    /// An element of that key.
    Element(u8, &'s [u8], Kind, &'s [u8], &'s Element),
    /// The end of that key.
    End(u8, &'s KeyEntry),
}

/// What came of a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    More,
    Over,
    /// The slot is not what it was at the last look.
    Changed,
}

impl Walker {
    /// Shows what comes next, until `each` has seen enough, which it says by `false`.
    pub(super) fn look(&mut self, slot: &Slot, shared: &Shared, each: &mut dyn FnMut(Shown<'_>) -> bool) -> Look {
        if !self.has_all_keys {
            let large = &mut self.large;
            let looked = self.walk.look(slot, |database, entry| match LargeKey::of(database, key_of(entry), entry) {
                Some(key) => {
                    large.push(key);
                    true
                }
                None => each(Shown::Key(database, entry)),
            });
            self.has_all_keys = looked.is_over;
            return if looked.is_over && self.large.is_empty() { Look::Over } else { Look::More };
        }
        let Some(key) = self.large.last() else { return Look::Over };
        let (database, name) = (key.database, &*key.key);
        let Some(entry) = slot.find(shared, database, name) else { return Look::Changed };
        let View::Wide(body) = entry.view() else { return Look::Changed };
        if !std::mem::replace(&mut self.is_in_large, true) {
            each(Shown::Begin(database, name));
        }
        let mut show = |element_name: &[u8], element: &Element| {
            each(Shown::Element(database, name, key.kind, element_name, element))
        };
        match some_elements(body, key.kind, &mut self.cursor, &mut show) {
            Step::More => return Look::More,
            Step::Moved | Step::Other => return Look::Changed,
            Step::Last => {}
        }
        each(Shown::End(database, entry));
        (self.is_in_large, self.cursor) = (false, None);
        self.large.pop();
        if self.large.is_empty() { Look::Over } else { Look::More }
    }
}

/// Keys that one look at a slot may have before what is done with them takes steps.
const KEYS_AT_ONCE_MAX: usize = 4 * READ_AT_ONCE;

/// Whether what concerns all elements of a slot is done at once.
pub(super) fn is_small(slot: &Slot) -> bool {
    let tables = || slot.databases().filter_map(|database| slot.table(database).map(|table| (database, table)));
    tables().map(|(_, table)| table.len()).sum::<usize>() <= KEYS_AT_ONCE_MAX
        && tables()
            .all(|(database, table)| table.iter().all(|entry| LargeKey::of(database, key_of(entry), entry).is_none()))
}
