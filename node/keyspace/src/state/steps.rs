//! Large collections of a slot, read out in steps with the slot let go between them.
//!
//! A collection of millions takes seconds to write down, and its slot has other keys, which somebody may want. So it comes
//! last, some elements at a time, while it may be written to.
//!
//! SUBTLE: what a slot says it has seen is of the moment before the first step, and an element may be of a later one. For an
//! image that is no matter. Whoever loads it has the journal from before that moment on, and a change that meets what it
//! has done already changes nothing: a value with its dot is put in its own place, what it drops is gone and known as seen, a
//! sum is as far or further. What another change has removed meanwhile is missing, and that change is in the journal. For
//! another node it is a matter ([`super::reader`]).
//!
//! What is beside the elements of a stream, such as what its groups have pending, is one step.

use super::Extent;
use super::bytes::{begin_key, end_key, write_element, write_key, write_lives};
use crate::body::{KeyBody, KeyEntry};
use crate::elements::{name_of, widened};
use crate::entry::View;
use crate::holds::Holder;
use crate::keyspace::Keyspace;
use crate::steps::STEP_BYTES;
use crate::summary::LARGE_ELEMENTS_MIN;
use crdt::{Element, Kind, Position, Stamp, StreamId, VersionVector};

/// Elements, or cells of a table, that are read with the slot locked, unless they have [`STEP_BYTES`] before: some hundred
/// microseconds. Builds for tests have fewer, so that their large collections take several steps.
pub(super) const READ_AT_ONCE: usize = if cfg!(debug_assertions) { 48 } else { 1024 };

/// A collection that is read in steps.
pub(super) struct LargeKey {
    pub(super) database: u8,
    pub(super) key: Box<[u8]>,
    pub(super) kind: Kind,
}

/// What is asked of a slot that is read for an image.
pub(super) struct Reading {
    pub(super) number: u16,
    pub(super) base: Stamp,
    /// Nothing: an image has everything.
    pub(super) since: VersionVector,
}

/// Where the next step goes on.
pub(super) enum Cursor {
    /// The next cell of a table, and what tells whether its elements are where they were.
    Map(usize, (u16, usize)),
    /// Behind this position.
    List(Position),
    /// The next entry.
    Stream(StreamId),
}

/// What came of a step.
pub(super) enum Step {
    /// There is more.
    More,
    /// That was all.
    Last,
    /// Elements have changed their places: it begins again.
    Moved,
    /// It is not the collection any more that it was.
    Other,
}

impl LargeKey {
    /// That of an entry which is worth it.
    pub(super) fn of(database: u8, key: &[u8], entry: &KeyEntry) -> Option<Self> {
        let View::Wide(body) = entry.view() else { return None };
        let is_large = body.elements() >= LARGE_ELEMENTS_MIN;
        let kind = Kind::ALL.into_iter().find(|&kind| is_large && body.keeps(kind))?;
        Some(Self { database, key: key.into(), kind })
    }
}

impl Keyspace {
    /// Reads a large collection for an image.
    pub(super) fn read_large(&self, large: &LargeKey, reading: &Reading, out: &mut Vec<u8>) {
        let start = out.len();
        begin_key(out, large.database, &large.key);
        let items = out.len();
        let (mut cursor, mut some) = (None, Vec::new());
        loop {
            {
                let slot = self.slot(reading.number);
                let _holding = self.shared.holds.begin(Holder::Image);
                let Some(entry) = slot.find(&self.shared, large.database, &large.key) else {
                    // What removed it is later than what the slot says.
                    out.truncate(start);
                    return;
                };
                let step = match entry.view() {
                    View::Wide(body) => step(body, large.kind, &mut cursor, reading, &mut some),
                    View::Packed(_) | View::Counter(_) | View::Bundle(_) => Step::Other,
                };
                match step {
                    Step::More => {}
                    Step::Moved => {
                        some.clear();
                        out.truncate(items);
                    }
                    Step::Last => {
                        out.append(&mut some);
                        write_lives(out, reading.base, entry, &reading.since, Extent::Image);
                        end_key(out, reading.base, entry, Extent::Image, (start, items));
                        return;
                    }
                    Step::Other => {
                        out.truncate(start);
                        write_key(out, reading.base, large.database, entry, &reading.since, Extent::Image);
                        return;
                    }
                }
            }
            out.append(&mut some);
            self.shared.holds.rest();
        }
    }
}

/// Reads some elements into `out`, which is empty.
fn step(body: &KeyBody, kind: Kind, cursor: &mut Option<Cursor>, reading: &Reading, out: &mut Vec<u8>) -> Step {
    some_elements(body, kind, cursor, &mut |name, element| {
        write_element(out, reading.base, kind, name, element, &reading.since);
        out.len() < STEP_BYTES
    })
}

/// Shows some elements to `each`, until it has seen enough, which it says by `false`.
pub(super) fn some_elements(
    body: &KeyBody,
    kind: Kind,
    cursor: &mut Option<Cursor>,
    each: &mut dyn FnMut(&[u8], &Element) -> bool,
) -> Step {
    // True until that is a step.
    let mut count = 0;
    let mut put = |name: &[u8], element: &Element| {
        count += 1;
        each(name, element) && count < READ_AT_ONCE
    };
    if body.elements() == 0 || !body.keeps(kind) {
        return Step::Other;
    }
    match (body.map(kind), &body.list, &body.stream) {
        (Some(map), _, _) => {
            let layout = map.layout();
            let from = match cursor {
                Some(Cursor::Map(at, known)) if *known == layout => *at,
                Some(_) => {
                    *cursor = None;
                    return if layout.1 == 0 { Step::Other } else { Step::Moved };
                }
                None if layout.1 == 0 => return Step::Other,
                None => 0,
            };
            let end = map.cells().min(from + READ_AT_ONCE);
            let enough =
                (from..end).find(|&at| map.cell(at).is_some_and(|entry| !put(name_of(entry), &widened(entry))));
            let end = enough.map_or(end, |last| last + 1);
            *cursor = Some(Cursor::Map(end, layout));
            if end < map.cells() { Step::More } else { Step::Last }
        }
        (None, Some(list), _) => {
            let behind = match cursor.take() {
                Some(Cursor::List(position)) => Some(position),
                Some(_) | None => None,
            };
            let mut name = Vec::new();
            for item in list.items_behind(behind.as_ref()) {
                if !put(item.name_into(&mut name), &list.widened(&item)) {
                    *cursor = Some(Cursor::List(item.position()));
                    return Step::More;
                }
            }
            // SUBTLE: without another look behind the end, where pushes would have this go on for ever.
            Step::Last
        }
        (None, None, Some(stream)) => {
            let from = match cursor {
                Some(Cursor::Stream(from)) => *from,
                Some(_) | None => StreamId::ZERO,
            };
            if let Some(next) = stream.each_entry_from(from, &mut put) {
                *cursor = Some(Cursor::Stream(next));
                return Step::More;
            }
            stream.each_other(|name, element| {
                put(name, element);
            });
            Step::Last
        }
        (None, None, None) => Step::Other,
    }
}

#[cfg(test)]
mod tests;
