//! A walk over the keys of a slot that may take many looks, so that a slot with millions of keys is never locked for
//! longer than one look takes.

use crate::body::KeyEntry;
use crate::slot::Slot;

/// Cells that are looked at while a slot is locked: some ten microseconds, more if the keys are in no cache.
pub(crate) const CELLS_A_LOOK_MAX: usize = 1024;

/// How far the walk over a slot's keys has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotWalk {
    database: u8,
    /// The cell of the database's table that is looked at next.
    cell: usize,
    /// How many cells the table had: when that changes its keys have moved, and it is looked at from the beginning.
    cells: usize,
}

/// What one look has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// Cells looked at.
    pub cells: usize,
    /// Whether the slot's last key was among them.
    pub is_over: bool,
}

impl SlotWalk {
    /// Shows the next keys to `each`, with their databases, until it has seen enough, which it says by `false`.
    pub(crate) fn look<'s>(&mut self, slot: &'s Slot, mut each: impl FnMut(u8, &'s KeyEntry) -> bool) -> Looked {
        let (mut cells, mut wants_more) = (0, true);
        for database in self.database..slot.databases().end {
            let Some(table) = slot.table(database) else { continue };
            if self.database != database || self.cells != table.cells() {
                (self.database, self.cell, self.cells) = (database, 0, table.cells());
            }
            while self.cell < self.cells {
                if cells >= CELLS_A_LOOK_MAX || !wants_more {
                    return Looked { cells, is_over: false };
                }
                let entry = table.cell(self.cell);
                (self.cell, cells) = (self.cell + 1, cells + 1);
                wants_more = entry.is_none_or(|entry| each(database, entry));
            }
        }
        Looked { cells, is_over: true }
    }
}
