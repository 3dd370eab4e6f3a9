//! The elements of one hash, set or sorted set: a short list while few, a table when many.
//!
//! A short list keeps the order of insertion, as Redis' listpacks do, and costs one pointer an element. Past
//! [`FLAT_ELEMENTS_MAX`] elements it becomes a table and stays one until it is empty. The table of a sorted set knows the
//! order of its members too; a list is sorted when it is read. A hash with a field that ends is a table, however small,
//! that knows the order in which its fields end: so it is known at any time how many are over, and which.

use crate::body::packed_counter;
use crate::buckets::{Buckets, TAGS};
use crate::collection::ElementView;
use crate::entry::{Entry, PackedLife, View};
use crate::hash::KeyHasher;
use crate::ranked::{RankedTable, by_end, by_score};
use crdt::{Element, Kind, Score, Stamp, UnixMillis};

/// An element that does not fit a packed entry: it has siblings or contributions.
#[derive(Debug)]
pub struct WideElement {
    /// The field or member.
    pub name: Box<[u8]>,
    /// What it holds; never empty.
    pub element: Element,
}

/// One field or member.
pub type ElementEntry = Entry<WideElement>;

/// The elements of one hash, set or sorted set.
#[derive(Debug)]
pub struct ElementMap {
    shape: Shape,
    /// Counts the moves of elements inside the table, so that scans notice them.
    moves: u16,
    /// Whether the elements have scores, by which they are ordered.
    is_sorted: bool,
}

#[derive(Debug)]
enum Shape {
    Flat(Vec<ElementEntry>),
    Indexed(Buckets<WideElement>),
    /// Members by their scores.
    Ranked(Box<RankedTable>),
    /// Fields, of which at least one has an end, by their ends.
    Timed(Box<RankedTable>),
}

/// Elements that a list is searched for one by one. Past this a table is faster, and its 9 to 20 bytes an element do
/// not matter any more.
pub const FLAT_ELEMENTS_MAX: usize = 24;
/// Elements from whose sizes that of all is reckoned.
const ELEMENTS_SAMPLED: usize = 64;
/// Cells that one call of a scan looks at for each element it was asked for, as Redis bounds it.
const SCAN_CELLS_PER_ELEMENT: usize = 10;
/// In a cursor: what follows is a tag and no cell.
const SCAN_BY_TAG: u64 = 1 << 47;

impl ElementMap {
    /// No elements of a collection of this kind.
    pub fn new(kind: Kind) -> Self {
        let is_sorted = match kind {
            Kind::String | Kind::Hash | Kind::Set | Kind::List | Kind::Stream => false,
            Kind::SortedSet => true,
        };
        Self { shape: Shape::Flat(Vec::new()), moves: 0, is_sorted }
    }

    /// No elements of a collection of this kind, with room for so many.
    pub fn with_room(kind: Kind, elements: usize, hasher: &KeyHasher) -> Self {
        let mut map = Self::new(kind);
        if elements > FLAT_ELEMENTS_MAX {
            let mut table = Buckets::new();
            table.make_room_for(elements, |entry| hasher.hash(name_of(entry)));
            map.shape = if map.is_sorted {
                Shape::Ranked(Box::new(RankedTable::unsorted(by_score, table)))
            } else {
                Shape::Indexed(table)
            };
        }
        map
    }

    /// A list of these elements, which are few and have names of their own.
    pub fn of_few(kind: Kind, elements: impl Iterator<Item = ElementEntry>) -> Self {
        Self { shape: Shape::Flat(elements.collect()), ..Self::new(kind) }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.shape {
            Shape::Flat(list) => list.len(),
            Shape::Indexed(_) | Shape::Ranked(_) | Shape::Timed(_) => self.table().map_or(0, Buckets::len),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the elements are still in a list.
    pub fn is_flat(&self) -> bool {
        matches!(self.shape, Shape::Flat(_))
    }

    /// The table of many elements with scores.
    pub fn ranked(&self) -> Option<&RankedTable> {
        match &self.shape {
            Shape::Flat(_) | Shape::Indexed(_) | Shape::Timed(_) => None,
            Shape::Ranked(ranked) => Some(ranked),
        }
    }

    /// The table of elements of which some have an end, in the order in which they end.
    pub fn timed(&self) -> Option<&RankedTable> {
        match &self.shape {
            Shape::Flat(_) | Shape::Indexed(_) | Shape::Ranked(_) => None,
            Shape::Timed(timed) => Some(timed),
        }
    }

    /// How many elements are over at `now`, ghosts included, and still there.
    pub fn over_at(&self, now: UnixMillis) -> usize {
        self.timed().map_or(0, |timed| timed.order().partition_point(|item| item.score().to_f64() <= now as f64))
    }

    /// Whether readers find anything at `now`.
    pub fn is_shown(&self, now: UnixMillis) -> bool {
        self.timed().map_or(!self.is_empty(), |timed| timed.table().len() > self.over_at(now))
    }

    /// The first end after `now`.
    pub fn next_end(&self, now: UnixMillis) -> Option<UnixMillis> {
        let (timed, over) = (self.timed()?, self.over_at(now));
        let first = timed.order().range(over..over + 1, false).next()?;
        end_of(timed.member(first.cell))
    }

    /// Whether it is large enough for a table: then it is looked up by hash.
    #[inline]
    pub fn is_table(&self) -> bool {
        self.table().is_some()
    }

    fn table(&self) -> Option<&Buckets<WideElement>> {
        match &self.shape {
            Shape::Flat(_) => None,
            Shape::Indexed(table) => Some(table),
            Shape::Ranked(ranked) | Shape::Timed(ranked) => Some(ranked.table()),
        }
    }

    /// The element called `name`.
    pub fn find(&self, hasher: &KeyHasher, name: &[u8]) -> Option<&ElementEntry> {
        match &self.shape {
            Shape::Flat(list) => list.iter().find(|entry| name_of(entry) == name),
            Shape::Indexed(_) | Shape::Ranked(_) | Shape::Timed(_) => {
                self.table()?.find(hasher.hash(name), |entry| name_of(entry) == name)
            }
        }
    }

    /// Lets `work` change the element called `name`, though not its name. Nothing if it is not there.
    pub fn change<T>(
        &mut self,
        hasher: &KeyHasher,
        name: &[u8],
        work: impl FnOnce(&mut ElementEntry) -> T,
    ) -> Option<T> {
        let mut ends = false;
        let is_sorted = self.is_sorted;
        let work = |entry: &mut ElementEntry| {
            let result = work(entry);
            ends = !is_sorted && end_of(entry).is_some();
            result
        };
        let result = match &mut self.shape {
            Shape::Flat(list) => list.iter_mut().find(|entry| name_of(entry) == name).map(work),
            Shape::Indexed(table) => table.find_mut(hasher.hash(name), |entry| name_of(entry) == name).map(work),
            Shape::Ranked(ranked) | Shape::Timed(ranked) => ranked.change(hasher, name, work),
        };
        if !ends {
            self.forget_order();
        } else if let Some(timed) = self.time(hasher) {
            timed.enter(hasher, name);
        }
        result
    }

    /// Asks for the line of the table that a lookup of this name reads first, without waiting for it.
    #[inline]
    pub fn fetch_bucket(&self, hash: u64) {
        if let Some(table) = self.table() {
            table.fetch_bucket(hash);
        }
    }

    /// Asks for the elements that a lookup of this name compares first, without waiting for them.
    #[inline]
    pub fn fetch_element(&self, hash: u64) {
        if let Some(table) = self.table() {
            table.fetch_entry(hash);
        }
    }

    /// Adds an element whose name is not there yet.
    pub fn insert_new(&mut self, hasher: &KeyHasher, entry: ElementEntry) {
        if !self.is_sorted && end_of(&entry).is_some() {
            self.time(hasher);
        }
        if let Shape::Flat(list) = &mut self.shape {
            if list.len() < FLAT_ELEMENTS_MAX {
                list.push(entry);
                return;
            }
            self.shape = if self.is_sorted {
                Shape::Ranked(Box::new(RankedTable::of(hasher, by_score, list.drain(..))))
            } else {
                Shape::Indexed(table_of(hasher, list.drain(..)))
            };
        }
        let cells = self.cells();
        match &mut self.shape {
            Shape::Flat(list) => list.push(entry),
            Shape::Indexed(table) => {
                table.insert_new(hasher.hash(name_of(&entry)), entry, |e| hasher.hash(name_of(e)));
            }
            Shape::Ranked(ranked) | Shape::Timed(ranked) => ranked.insert_new(hasher, entry),
        }
        self.note_moves(cells);
    }

    /// Becomes a table that knows the order in which its elements end. If it was none, no element had an end, so nothing is
    /// walked: whoever gives elements an end tells the table, which is returned.
    fn time(&mut self, hasher: &KeyHasher) -> Option<&mut RankedTable> {
        let table = match &mut self.shape {
            Shape::Flat(list) => table_of(hasher, list.drain(..)),
            Shape::Indexed(table) => std::mem::take(table),
            Shape::Ranked(_) | Shape::Timed(_) => return None,
        };
        self.shape = Shape::Timed(Box::new(RankedTable::unsorted(by_end, table)));
        match &mut self.shape {
            Shape::Timed(timed) => Some(timed),
            Shape::Flat(_) | Shape::Indexed(_) | Shape::Ranked(_) => None,
        }
    }

    /// With the last end the order of ends goes.
    fn forget_order(&mut self) {
        if self.timed().is_some_and(|timed| timed.order().len() == 0)
            && let Shape::Timed(timed) = std::mem::replace(&mut self.shape, Shape::Flat(Vec::new()))
        {
            self.shape = Shape::Indexed(timed.into_table());
        }
    }

    /// Takes out the element called `name`.
    pub fn remove(&mut self, hasher: &KeyHasher, name: &[u8]) -> Option<ElementEntry> {
        let cells = self.cells();
        let removed = match &mut self.shape {
            Shape::Flat(list) => {
                let at = list.iter().position(|entry| name_of(entry) == name)?;
                return Some(list.remove(at));
            }
            Shape::Indexed(table) => {
                let removed = table.remove(hasher.hash(name), |entry| name_of(entry) == name)?;
                // A table that has lost most of its elements gives its memory back.
                table.shrink(|e| hasher.hash(name_of(e)));
                removed
            }
            Shape::Ranked(ranked) | Shape::Timed(ranked) => ranked.remove(hasher, name)?,
        };
        self.note_moves(cells);
        self.forget_order();
        Some(removed)
    }

    /// Keeps only the elements for which `keep` says so; it may change them.
    pub fn retain(&mut self, hasher: &KeyHasher, mut keep: impl FnMut(&mut ElementEntry) -> bool) {
        let mut ends = false;
        let is_sorted = self.is_sorted;
        let keep = |entry: &mut ElementEntry| {
            let stays = keep(entry);
            ends |= !is_sorted && stays && end_of(entry).is_some();
            stays
        };
        match &mut self.shape {
            Shape::Flat(list) => list.retain_mut(keep),
            Shape::Indexed(table) => table.retain(keep, |e| hasher.hash(name_of(e))),
            Shape::Ranked(ranked) | Shape::Timed(ranked) => ranked.retain(hasher, keep),
        }
        if !ends {
            self.forget_order();
        } else if let Some(timed) = self.time(hasher) {
            timed.sort();
        }
    }

    /// All elements; the order means nothing to readers.
    pub fn iter(&self) -> impl Iterator<Item = &ElementEntry> {
        let list = match &self.shape {
            Shape::Flat(list) => Some(list.iter()),
            Shape::Indexed(_) | Shape::Ranked(_) | Shape::Timed(_) => None,
        };
        let table = self.table().map(Buckets::iter);
        list.into_iter().flatten().chain(table.into_iter().flatten())
    }

    /// One step of a scan: elements that are there from the first call to the last are seen at least once. Returns
    /// the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(&ElementEntry)) -> u64 {
        let Some(table) = self.table() else {
            self.iter().for_each(each);
            return 0;
        };
        let count = count.max(1);
        // A cursor is the next cell and the count of moves that it was made under. After a move cells say nothing any more,
        // and it begins again; but by tags, which stay through all moves: whoever began with cells again would never come
        // to an end while as many elements are added as it sees.
        let (moves, place) = ((cursor >> 48) as u16, cursor & (SCAN_BY_TAG - 1));
        if cursor & SCAN_BY_TAG != 0 {
            return scan_by_tag(table, u8::try_from(place).unwrap_or(TAGS), count, each);
        }
        if cursor != 0 && moves != self.moves {
            return scan_by_tag(table, 0, count, each);
        }
        let (mut index, mut seen, mut looked) = (place as usize, 0, 0);
        while index < table.cells() && seen < count && looked < count.saturating_mul(SCAN_CELLS_PER_ELEMENT) {
            if let Some(entry) = table.cell(index) {
                each(entry);
                seen += 1;
            }
            index += 1;
            looked += 1;
        }
        if index >= table.cells() { 0 } else { u64::from(self.moves) << 48 | index as u64 }
    }

    /// Some element, chosen by a random word.
    pub fn random(&self, random: u64) -> Option<&ElementEntry> {
        match &self.shape {
            Shape::Flat(list) if list.is_empty() => None,
            Shape::Flat(list) => list.get((random % list.len() as u64) as usize),
            Shape::Indexed(_) | Shape::Ranked(_) | Shape::Timed(_) => self.table()?.random(random),
        }
    }

    /// Bytes on the heap of the list or table alone.
    pub fn place_bytes(&self) -> usize {
        match &self.shape {
            Shape::Flat(list) => list.capacity() * std::mem::size_of::<ElementEntry>(),
            Shape::Indexed(table) => table.heap_bytes(),
            Shape::Ranked(ranked) | Shape::Timed(ranked) => ranked.heap_bytes(),
        }
    }

    /// About so many, reckoned from some of the elements.
    pub fn heap_bytes_about(&self) -> usize {
        let some: usize = self.iter().take(ELEMENTS_SAMPLED).map(Entry::heap_bytes).sum();
        self.place_bytes() + some * self.len() / self.len().clamp(1, ELEMENTS_SAMPLED)
    }

    /// Parts that [`ElementMap::take_apart`] counts; none of a list.
    pub fn parts(&self) -> usize {
        self.table().map_or(0, Buckets::parts)
    }

    /// Frees everything, and calls `freed` after each so many elements with how many parts went.
    pub fn take_apart(self, count: usize, freed: &mut dyn FnMut(usize)) {
        match self.shape {
            Shape::Flat(list) => drop(list),
            Shape::Indexed(table) => table.take_apart(count, freed),
            Shape::Ranked(ranked) | Shape::Timed(ranked) => ranked.take_apart(count, freed),
        }
    }

    /// What is in a cell of the table.
    pub fn cell(&self, at: usize) -> Option<&ElementEntry> {
        self.table()?.cell(at)
    }

    /// Cells of the table; none of a list.
    pub fn cells(&self) -> usize {
        self.table().map_or(0, Buckets::cells)
    }

    /// What is another as soon as elements have changed their places in the table: how often they have, and how many cells
    /// it has.
    pub fn layout(&self) -> (u16, usize) {
        (self.moves, self.cells())
    }

    /// Elements change their places when a table changes its size.
    fn note_moves(&mut self, cells_before: usize) {
        if self.cells() != cells_before {
            self.moves = self.moves.wrapping_add(1);
        }
    }
}

/// One step of a scan in the order of tags: as many tags as have about `count` elements, but at least one. So it takes no
/// more calls than there are tags, each of which looks at the tags of all cells, and at elements only where they fit.
fn scan_by_tag(table: &Buckets<WideElement>, first: u8, count: usize, each: impl FnMut(&ElementEntry)) -> u64 {
    let tags = count.saturating_mul(usize::from(TAGS)) / table.len().max(1);
    let next = first.saturating_add(u8::try_from(tags.max(1)).unwrap_or(TAGS)).min(TAGS);
    table.tagged(first..next).for_each(each);
    if next >= TAGS { 0 } else { SCAN_BY_TAG | u64::from(next) }
}

/// The field or member of an entry.
#[inline]
pub fn name_of(entry: &ElementEntry) -> &[u8] {
    entry.packed_name().unwrap_or_else(|| match entry.view() {
        View::Packed(packed) => packed.name,
        View::Counter(counter) => counter.name,
        View::Bundle(_) => unreachable!("an element is no collection"),
        View::Wide(wide) => &wide.name,
    })
}

/// What a reader sees of an entry of a sorted set.
pub fn score_of(entry: &ElementEntry) -> Score {
    ElementView::of(entry).score()
}

/// The latest live stamp of an entry.
pub fn latest_of(entry: &ElementEntry) -> Stamp {
    ElementView::of(entry).latest()
}

/// When readers see an entry no more; nothing if it has no end.
#[inline]
pub fn end_of(entry: &ElementEntry) -> Option<UnixMillis> {
    ElementView::of(entry).end()
}

/// The element as the algebra sees it.
pub fn widened(entry: &ElementEntry) -> Element {
    ElementView::of(entry).widened()
}

/// The smallest entry that holds `element`, which is not empty.
pub fn entry_of(name: &[u8], element: Element) -> ElementEntry {
    let packed = match (&element.siblings[..], &element.contributions[..]) {
        ([(stamp, value)], []) => packed_life(&element).map(|life| Entry::packed(*stamp, life, 0, name, value)),
        ([], [contribution]) => packed_life(&element).and_then(|life| packed_counter(contribution, life, 0, name)),
        _ => None,
    };
    packed.unwrap_or_else(|| Entry::wide(Box::new(WideElement { name: name.into(), element })))
}

/// The life of an element with one content in its packed form, if it has one.
fn packed_life(element: &Element) -> Option<PackedLife> {
    let assertions = element.life.as_ref().map_or(&[][..], |life| &life.assertions);
    match (assertions, element.asserting().next()) {
        ([], Some(_)) => Some(PackedLife::Own),
        ([], None) => Some(PackedLife::Unasserted),
        ([(stamp, lifetime)], None) => Some(PackedLife::Asserted(*stamp, *lifetime)),
        _ => None,
    }
}

/// A table of these elements.
pub fn table_of(hasher: &KeyHasher, elements: impl Iterator<Item = ElementEntry>) -> Buckets<WideElement> {
    let mut table = Buckets::new();
    for element in elements {
        table.insert_new(hasher.hash(name_of(&element)), element, |entry| hasher.hash(name_of(entry)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crdt::Lifetime;
    use std::collections::BTreeSet;

    fn member(n: u32) -> ElementEntry {
        Entry::packed(Stamp::from_bits(1), PackedLife::Own, 0, n.to_string().as_bytes(), b"")
    }

    #[test]
    fn a_scan_sees_every_element_that_stays_while_others_come_and_go() {
        let hasher = KeyHasher::fixed();
        let mut map = ElementMap::new(Kind::Set);
        (0..500).for_each(|n| map.insert_new(&hasher, member(n)));
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut round = 0;
        loop {
            cursor = map.scan(cursor, 10, |entry| {
                seen.insert(name_of(entry).to_vec());
            });
            if cursor == 0 {
                break;
            }
            round += 1;
            if round < 60 {
                (0..20).for_each(|n| map.insert_new(&hasher, member(10_000 + round * 100 + n)));
            }
        }
        (0..500).for_each(|n: u32| assert!(seen.contains(n.to_string().as_bytes()), "{n}"));
    }

    #[test]
    fn a_scan_ends_though_as_many_elements_are_added_as_it_sees() {
        const CALLS_MAX: u32 = 2_000;
        let hasher = KeyHasher::fixed();
        for kind in [Kind::Set, Kind::SortedSet] {
            let mut map = ElementMap::new(kind);
            (0..500).for_each(|n| map.insert_new(&hasher, member(n)));
            let (mut seen, mut cursor, mut calls) = (BTreeSet::new(), 0, 0);
            loop {
                let mut now = 0;
                cursor = map.scan(cursor, 10, |entry| {
                    seen.insert(name_of(entry).to_vec());
                    now += 1;
                });
                calls += 1;
                if cursor == 0 {
                    break;
                }
                assert!(calls < CALLS_MAX, "it does not end");
                (0..now).for_each(|n| map.insert_new(&hasher, member(10_000 + calls * 1_000 + n)));
            }
            (0..500).for_each(|n: u32| assert!(seen.contains(n.to_string().as_bytes()), "{n} after {calls} calls"));
        }
    }

    #[test]
    fn a_scan_may_ask_for_more_than_there_can_be() {
        let hasher = KeyHasher::fixed();
        let mut map = ElementMap::new(Kind::Set);
        (0..100).for_each(|n| map.insert_new(&hasher, member(n)));
        let mut seen = 0;
        assert_eq!(map.scan(0, usize::MAX, |_| seen += 1), 0);
        assert_eq!(seen, 100);
    }

    #[test]
    fn the_order_of_ends_comes_with_the_first_end_and_goes_with_the_last() {
        let hasher = KeyHasher::fixed();
        let ends = |n: u32, end| {
            let life = PackedLife::Asserted(Stamp::from_bits(2), Lifetime::Until(end));
            Entry::packed(Stamp::from_bits(1), life, 0, n.to_string().as_bytes(), b"")
        };
        for size in [3, 24, 25, 1000] {
            let mut map = ElementMap::new(Kind::Hash);
            (0..size).for_each(|n| map.insert_new(&hasher, member(n)));
            for round in 0..3u64 {
                assert!(map.timed().is_none());
                // The first end by a change, by a new element or by a walk; a second by a change.
                let first = if round == 1 { size } else { 1 };
                match round {
                    0 => _ = map.change(&hasher, b"1", |entry| *entry = ends(1, 70)),
                    1 => map.insert_new(&hasher, ends(first, 70)),
                    _ => map.retain(&hasher, |entry| {
                        if name_of(entry) == b"1" {
                            *entry = ends(1, 70);
                        }
                        true
                    }),
                }
                assert_eq!((map.over_at(69), map.over_at(70), map.next_end(0)), (0, 1, Some(70)));
                map.change(&hasher, b"2", |entry| *entry = ends(2, 60)).unwrap();
                assert_eq!((map.over_at(60), map.over_at(70), map.next_end(60)), (1, 2, Some(70)));
                map.change(&hasher, b"2", |entry| *entry = member(2)).unwrap();
                assert_eq!(map.timed().map(|timed| timed.order().len()), Some(1));
                map.remove(&hasher, first.to_string().as_bytes()).unwrap();
                if first == 1 {
                    map.insert_new(&hasher, member(1));
                }
            }
            assert_eq!(map.len(), size as usize);
        }
    }

    #[test]
    fn elements_are_found_and_removed_in_both_shapes() {
        let hasher = KeyHasher::fixed();
        for size in [3, 24, 25, 1000] {
            let mut map = ElementMap::new(Kind::Set);
            (0..size).for_each(|n| map.insert_new(&hasher, member(n)));
            assert_eq!((map.len(), map.is_flat()), (size as usize, size <= 24));
            assert!(map.random(12345).is_some());
            for n in 0..size {
                assert!(map.find(&hasher, n.to_string().as_bytes()).is_some());
                assert!(map.remove(&hasher, n.to_string().as_bytes()).is_some());
                assert!(map.remove(&hasher, n.to_string().as_bytes()).is_none());
            }
            assert!(map.is_empty() && map.random(1).is_none());
        }
    }
}
