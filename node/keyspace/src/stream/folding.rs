//! How acknowledged entries become ranges.
//!
//! An entry that is acknowledged is put into one range with the acknowledged entries of its author next to it, if nothing
//! lies between them that still has to be delivered; and if nothing of its author is left before it, the range begins at
//! the bottom. So a group has hardly more ranges than authors, and one more for each entry that was passed over.

use super::regional::{EntryDots, GroupState, Others, RANGES_LOOKED_AT_MIN, ranges_of};
use crdt::{DotRange, DotSet, EntryDot, NodeNumber, StreamId, StreamName};
use std::collections::HashSet;
use std::ops::Bound;

/// The elements that an acknowledgement changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Ranges that are written, of the group's latest round.
    pub put: Vec<(Vec<u8>, DotRange)>,
    /// Names of elements that say nothing any more.
    pub removed: Vec<Vec<u8>>,
}

/// Entries that are looked at, on each side of an acknowledged one, for the next one of its author. In a stream of several
/// authors each finds its next one after as many entries as the others have put between. Where none is found the range
/// stays one of its own.
const NEIGHBOURS_MAX: usize = 4096;

/// The entry of the same author next to an entry.
enum Neighbour {
    /// There is none.
    Nothing,
    /// This one.
    At(EntryDot),
    /// It is too far away to know.
    Far,
}

impl GroupState {
    /// Acknowledges entries that are not yet, and says which elements change with that.
    pub(super) fn fold(&mut self, entries: &impl EntryDots, others: &Others, dots: &[EntryDot]) -> Folded {
        for &dot in dots {
            if self.known.acknowledged.contains(dot) {
                continue;
            }
            let range = DotRange { first: self.first_of(entries, dot), last: self.last_of(entries, dot) };
            self.known.acknowledged.insert(range);
        }
        let mut ranges: Vec<DotRange> = dots.iter().filter_map(|dot| self.known.acknowledged.range_of(*dot)).collect();
        ranges.sort_unstable_by_key(|range| (range.author(), range.first));
        ranges.dedup();
        let mut folded = Folded::default();
        for range in ranges {
            self.write(others, range, &mut folded);
        }
        self.forget_gone(entries, others, &mut folded);
        folded
    }

    /// Where the range of an entry begins.
    fn first_of(&self, entries: &impl EntryDots, dot: EntryDot) -> EntryDot {
        let acknowledged = &self.known.acknowledged;
        match neighbour(entries.dots_back_before(dot.id), dot.author()) {
            Neighbour::Far => dot,
            Neighbour::Nothing => EntryDot::bottom(dot.author()),
            Neighbour::At(below) => match acknowledged.range_of(below) {
                Some(range) => range.first,
                // SUBTLE: also if it is before the start: another region may have created the group at the same time from
                // an earlier start. Ranges between both are of entries that are gone.
                None => acknowledged.after(below).map_or(dot, |range| range.first.min(dot)),
            },
        }
    }

    /// Where it ends.
    fn last_of(&self, entries: &impl EntryDots, dot: EntryDot) -> EntryDot {
        let acknowledged = &self.known.acknowledged;
        let Some((_, next)) = acknowledged.after(dot).zip(dot.id.next()) else { return dot };
        match neighbour(entries.dots_from(next), dot.author()) {
            Neighbour::Far => dot,
            Neighbour::Nothing => {
                let top = EntryDot::top(dot.author());
                acknowledged.up_to(top).map_or(dot, |range| range.last)
            }
            // Also where that is not acknowledged: ranges of entries between both, which are gone.
            Neighbour::At(above) => acknowledged.up_to(above).map_or(dot, |range| range.last.max(dot)),
        }
    }

    /// Writes a range in place of those that have become a part of it.
    fn write(&self, others: &Others, range: DotRange, folded: &mut Folded) {
        let round = self.known.start().round;
        let name = StreamName::Acknowledged { round, first: range.first }.name();
        let end = StreamName::Acknowledged { round, first: range.last }.name();
        let mut is_there = false;
        let within = (Bound::Included(&*name), Bound::Included(&*end));
        for (found, _) in others.range::<[u8], _>(within) {
            if **found == *name {
                is_there = others.get(found).is_some_and(|element| {
                    let ends = element.siblings.iter();
                    let mut ends = ends.filter_map(|(_, value)| DotRange::from_value(range.first, value));
                    ends.any(|found| found.last == range.last)
                });
            } else {
                folded.removed.push(found.to_vec());
            }
        }
        if !is_there {
            folded.put.push((name, range));
        }
    }

    /// Ranges of which no entry can be left say nothing. They are looked for now and then, when there are twice as many
    /// ranges as the last time.
    fn forget_gone(&mut self, entries: &impl EntryDots, others: &Others, folded: &mut Folded) {
        if self.known.acknowledged.len() < self.ranges_looked_at {
            return;
        }
        let first = entries.dots_from(StreamId::ZERO).next().map_or(StreamId::MAX, |dot| dot.id);
        let (mut written, mut gone) = (DotSet::default(), HashSet::new());
        for (_, put) in &folded.put {
            written.insert(*put);
        }
        let removed: HashSet<Vec<u8>> = folded.removed.iter().cloned().collect();
        for start in &self.known.starts {
            for (name, range) in ranges_of(others, start.round) {
                if range.last.id < first && !written.contains(range.first) && !removed.contains(name) {
                    folded.removed.push(name.to_vec());
                    gone.insert(range);
                }
            }
        }
        self.known.acknowledged.retain(|range| !gone.contains(range));
        self.ranges_looked_at = (2 * self.known.acknowledged.len()).max(RANGES_LOOKED_AT_MIN);
    }
}

/// The first of these entries that is of this author.
///
/// SUBTLE: where a known range ends must not end the search: after `XSETID` its entry may have had a greater id than later
/// ones, and one of those may still have to be delivered.
fn neighbour(entries: impl Iterator<Item = EntryDot>, author: NodeNumber) -> Neighbour {
    for (looked, dot) in entries.enumerate() {
        if dot.author() == author {
            return Neighbour::At(dot);
        }
        if looked == NEIGHBOURS_MAX {
            return Neighbour::Far;
        }
    }
    Neighbour::Nothing
}

/// Elements of rounds that no group has any more: what was acknowledged while a group was destroyed or begun again
/// elsewhere.
pub fn left_over(others: &Others, is_live: impl Fn(u64) -> bool) -> Vec<Vec<u8>> {
    let names = others.keys().filter(|name| match StreamName::of(name) {
        Some(StreamName::Acknowledged { round, .. }) => !is_live(round),
        Some(StreamName::Entry(_) | StreamName::Head | StreamName::Group(_)) | None => false,
    });
    names.map(|name| name.to_vec()).collect()
}
