//! How acknowledged entries become ranges.
//!
//! An entry that is acknowledged is put into one range with the acknowledged entries of its author next to it, if nothing
//! lies between them that still has to be delivered; and if nothing of its author is left before it, the range begins at
//! the bottom. So a group has hardly more ranges than authors, and one more for each entry that was passed over.
//!
//! Ranges of entries that are gone stay, one for each author: in another region such an entry may be pending. A range that
//! comes to cover what is gone from here, and pending nowhere here, ends it there too.

use super::regional::{EntryDots, GroupState, Others, RANGES_LOOKED_AT_MIN};
use crdt::{DotRange, EntryDot, NodeNumber, StreamId, StreamName};
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
        let joined = self.join_gone(entries);
        let changed = dots.iter().chain(&joined);
        let mut ranges: Vec<DotRange> = changed.filter_map(|dot| self.known.acknowledged.range_of(*dot)).collect();
        ranges.sort_unstable_by_key(|range| (range.author(), range.first));
        ranges.dedup();
        let mut folded = Folded::default();
        for range in ranges {
            self.write(others, range, &mut folded);
        }
        folded
    }

    /// Where the range of an entry begins.
    fn first_of(&self, entries: &impl EntryDots, dot: EntryDot) -> EntryDot {
        let acknowledged = &self.known.acknowledged;
        let below = match neighbour(entries.dots_back_before(dot.id), dot.author()) {
            Neighbour::Far => return dot,
            Neighbour::Nothing => EntryDot::bottom(dot.author()),
            Neighbour::At(below) => below,
        };
        match neighbour(self.open_within(below, dot).rev(), dot.author()) {
            Neighbour::Far => dot,
            Neighbour::Nothing if below == EntryDot::bottom(dot.author()) => below,
            Neighbour::Nothing => match acknowledged.range_of(below) {
                Some(range) => range.first,
                // SUBTLE: also if it is before the start: another region may have created the group at the same time from
                // an earlier start. Ranges between both are of entries that are gone.
                None => acknowledged.after(below).map_or(dot, |range| range.first.min(dot)),
            },
            Neighbour::At(open) => acknowledged.after(open).map_or(dot, |range| range.first.min(dot)),
        }
    }

    /// Where it ends.
    fn last_of(&self, entries: &impl EntryDots, dot: EntryDot) -> EntryDot {
        let acknowledged = &self.known.acknowledged;
        let Some((_, next)) = acknowledged.after(dot).zip(dot.id.next()) else { return dot };
        let above = match neighbour(entries.dots_from(next), dot.author()) {
            Neighbour::Far => return dot,
            Neighbour::Nothing => EntryDot::top(dot.author()),
            Neighbour::At(above) => above,
        };
        let end = match neighbour(self.open_within(dot, above), dot.author()) {
            Neighbour::Far => return dot,
            Neighbour::Nothing => above,
            Neighbour::At(open) => open,
        };
        // Also where that is not acknowledged: ranges of entries between both, which are gone.
        acknowledged.up_to(end).map_or(dot, |range| range.last.max(dot))
    }

    /// What is pending here between two dots of one author, of all authors. If no entry of the author is between both, then
    /// what is pending of it is gone, and as in Redis it stays pending until somebody acknowledges it.
    fn open_within(&self, first: EntryDot, last: EntryDot) -> impl DoubleEndedIterator<Item = EntryDot> {
        let delivery = self.delivery.as_deref();
        let is_within = move |dot: &EntryDot| first < *dot && *dot < last || dot.author() != first.author();
        // What is between two dots has an id between both, unless later ones may have lower ids.
        let ids = match delivery {
            Some(delivery) if delivery.ids_went_back => StreamId::ZERO..=StreamId::MAX,
            Some(_) | None => first.id..=last.id,
        };
        let pending = delivery.into_iter().flat_map(move |delivery| delivery.pending.range(ids.clone()));
        pending.map(|(id, pending)| EntryDot { stamp: pending.stamp, id }).filter(is_within)
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

    /// Makes the ranges of an author of which no entry can be left one, if nothing between them is pending here, and says
    /// where they begin. They are looked for now and then, when there are twice as many ranges as the last time.
    fn join_gone(&mut self, entries: &impl EntryDots) -> Vec<EntryDot> {
        if self.known.acknowledged.len() < self.ranges_looked_at {
            return Vec::new();
        }
        let first = entries.dots_from(StreamId::ZERO).next().map_or(StreamId::MAX, |dot| dot.id);
        let gone: Vec<DotRange> =
            self.known.acknowledged.iter().filter(|range| range.last.id < first).copied().collect();
        let is_open = |one: &DotRange, other: &DotRange| {
            !matches!(neighbour(self.open_within(one.last, other.first), one.author()), Neighbour::Nothing)
        };
        let pairs = gone.iter().zip(gone.iter().skip(1));
        let pairs = pairs.filter(|(one, other)| one.author() == other.author() && !is_open(one, other));
        let joined: Vec<DotRange> = pairs.map(|(one, other)| DotRange { first: one.first, last: other.last }).collect();
        for range in &joined {
            self.known.acknowledged.insert(*range);
        }
        self.ranges_looked_at = (2 * self.known.acknowledged.len()).max(RANGES_LOOKED_AT_MIN);
        joined.iter().map(|range| range.first).collect()
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
