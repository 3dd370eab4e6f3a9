//! Which entries of a stream a consumer group has done with: ranges of dots, for each author.
//!
//! An entry's dot is the stamp that put it there and its id. Of the entries that are there of one author, the later ones
//! have the greater ids and the later stamps; and whoever has one of them has, or has seen removed, all that the author
//! had put there before. So two acknowledged entries between which none is left that is not acknowledged make one range,
//! and nothing can ever arrive inside it, as it could between two ids. Ranges only grow, and concurrent ones say what they
//! say together.
//!
//! A range is an element of its stream. Its name says the *round* it belongs to (a group that is read again from an id
//! begins a new one) and where it begins, its value where it ends. So a group that acknowledges in order writes one and
//! the same element for each author, again and again.

use crate::encoding::{DecodeError, Reader, put_varint, put_vector};
use crate::stream::{STREAM_ID_BYTES, StreamId};
use crate::{NODE_NUMBERS_MAX, NodeNumber, Stamp, VersionVector};
use alloc::vec::Vec;

/// The dot of an entry: the stamp of the change that put it there, and its id. One change may put several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryDot {
    /// The stamp.
    pub stamp: Stamp,
    /// The id.
    pub id: StreamId,
}

/// Dots of one author, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DotRange {
    /// The first.
    pub first: EntryDot,
    /// The last.
    pub last: EntryDot,
}

/// Dots, as ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotSet {
    /// By author, and of each author in order.
    ranges: Vec<DotRange>,
}

/// What a group says of itself, as the value of its element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStart {
    /// The change that created the group: one that is destroyed and created again is another group.
    pub created: Stamp,
    /// Its round, see [`GroupStart::round_of`]: what was acknowledged in others does not count.
    pub round: u64,
    /// Entries with ids up to here are before the start, if the group's creator had seen them...
    pub id: StreamId,
    /// ...or if their ids are beyond this, which was the stream's last id then: those the creator did not want.
    pub top: StreamId,
    /// What the creator had seen.
    pub seen: VersionVector,
    /// How many entries of the stream are before the start, if the client said so.
    pub entries_read: Option<u64>,
}

impl EntryDot {
    /// Before all dots of an author.
    pub const fn bottom(author: NodeNumber) -> Self {
        let stamp = Stamp::from_bits(author.value() as u64);
        Self { stamp, id: StreamId::of_stamp(stamp) }
    }

    /// Behind all dots of an author.
    pub const fn top(author: NodeNumber) -> Self {
        let clock = u64::MAX << NODE_BITS;
        Self { stamp: Stamp::from_bits(clock | author.value() as u64), id: StreamId::MAX }
    }

    /// Whose it is.
    pub const fn author(self) -> NodeNumber {
        self.stamp.author()
    }

    /// Appends the dot. The order of what is written is that of authors, and for each that of dots.
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.stamp.bits().rotate_right(NODE_BITS).to_be_bytes());
        // Nearly always the entry's id was made of its stamp.
        if self.id != StreamId::of_stamp(self.stamp) {
            out.extend_from_slice(&self.id.name());
        }
    }

    /// The dot that these bytes are, if they are one: each has one form.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (stamp, id) = bytes.split_at_checked(size_of::<u64>())?;
        let stamp = Stamp::from_bits(u64::from_be_bytes(stamp.try_into().ok()?).rotate_left(NODE_BITS));
        let own = StreamId::of_stamp(stamp);
        if id.is_empty() {
            return Some(Self { stamp, id: own });
        }
        StreamId::of_name(id).filter(|id| *id != own).map(|id| Self { stamp, id })
    }

    fn place(self) -> (NodeNumber, Self) {
        (self.author(), self)
    }
}

impl DotRange {
    /// One dot.
    pub const fn of(dot: EntryDot) -> Self {
        Self { first: dot, last: dot }
    }

    /// Whose dots they are.
    pub const fn author(&self) -> NodeNumber {
        self.first.author()
    }

    /// Whether a dot is in it.
    pub fn contains(&self, dot: EntryDot) -> bool {
        self.author() == dot.author() && self.first <= dot && dot <= self.last
    }

    /// Appends what follows the tag in the name of the range in a round.
    pub(crate) fn write_name(round: u64, first: EntryDot, out: &mut Vec<u8>) {
        out.extend_from_slice(&round.to_be_bytes());
        first.write(out);
    }

    /// The round and the beginning that a name says behind its tag.
    pub(crate) fn read_name(name: &[u8]) -> Option<(u64, EntryDot)> {
        let (round, first) = name.split_at_checked(size_of::<u64>())?;
        Some((u64::from_be_bytes(round.try_into().ok()?), EntryDot::read(first)?))
    }

    /// The end of a range as a value.
    pub fn end_value(last: EntryDot) -> Vec<u8> {
        let mut value = Vec::with_capacity(size_of::<u64>() + STREAM_ID_BYTES);
        last.write(&mut value);
        value
    }

    /// The range that begins at `first` and has this value.
    pub fn from_value(first: EntryDot, value: &[u8]) -> Option<Self> {
        let last = EntryDot::read(value)?;
        (last >= first && last.author() == first.author()).then_some(Self { first, last })
    }
}

impl DotSet {
    /// Whether a dot is in it.
    pub fn contains(&self, dot: EntryDot) -> bool {
        self.range_of(dot).is_some()
    }

    /// The range that a dot is in.
    pub fn range_of(&self, dot: EntryDot) -> Option<DotRange> {
        self.up_to(dot).filter(|range| range.contains(dot))
    }

    /// The last range of the dot's author that begins at it or before.
    pub fn up_to(&self, dot: EntryDot) -> Option<DotRange> {
        let behind = self.ranges.partition_point(|range| range.first.place() <= dot.place());
        let range = self.ranges.get(behind.checked_sub(1)?)?;
        (range.author() == dot.author()).then_some(*range)
    }

    /// The first range of the dot's author that begins after it.
    pub fn after(&self, dot: EntryDot) -> Option<DotRange> {
        let behind = self.ranges.partition_point(|range| range.first.place() <= dot.place());
        self.ranges.get(behind).filter(|range| range.author() == dot.author()).copied()
    }

    /// Adds a range, and returns the one that it has become a part of.
    pub fn insert(&mut self, range: DotRange) -> DotRange {
        let start = self.ranges.partition_point(|known| known.last.place() < range.first.place());
        let behind = self.ranges.partition_point(|known| known.first.place() <= range.last.place());
        if start >= behind {
            self.ranges.insert(start, range);
            return range;
        }
        let first = range.first.min(self.ranges[start].first);
        let last = range.last.max(self.ranges[behind - 1].last);
        self.ranges.drain(start + 1..behind);
        self.ranges[start] = DotRange { first, last };
        self.ranges[start]
    }

    /// Takes out the ranges of which `stays` does not say that they stay.
    pub fn retain(&mut self, stays: impl FnMut(&DotRange) -> bool) {
        self.ranges.retain(stays);
    }

    /// The ranges, by author and in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &DotRange> {
        self.ranges.iter()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<DotRange>()
    }
}

impl GroupStart {
    /// The name of the round that a change begins for a group: another one for each change and group. A copy of a stream
    /// begins all its groups in one change.
    pub fn round_of(stamp: Stamp, group: &[u8]) -> u64 {
        // FNV-1a, the stamp's bytes first.
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let bytes = stamp.bits().to_le_bytes();
        bytes.iter().chain(group).fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
    }

    /// Whether an entry is before the start, so that it is not to be delivered.
    pub fn is_before(&self, dot: EntryDot) -> bool {
        dot.id <= self.id && (dot.id > self.top || self.seen.covers(dot.stamp))
    }

    /// The start as a value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.extend_from_slice(&self.round.to_le_bytes());
        out.extend_from_slice(&self.created.bits().to_le_bytes());
        for id in [self.id, self.top] {
            put_varint(&mut out, id.ms);
            put_varint(&mut out, id.sequence);
        }
        put_vector(&mut out, self.created, &self.seen);
        match self.entries_read {
            None => out.push(0),
            Some(read) => {
                out.push(1);
                put_varint(&mut out, read);
            }
        }
        out
    }

    /// What [`GroupStart::encode`] wrote.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a group";
        let mut reader = Reader::new(value);
        let (round, created) = (reader.word(WHAT)?, Stamp::from_bits(reader.word(WHAT)?));
        let mut id = || Ok(StreamId::new(reader.varint(WHAT)?, reader.varint(WHAT)?));
        let (id, top) = (id()?, id()?);
        let seen = reader.vector(created, WHAT)?;
        let entries_read = match reader.byte(WHAT)? {
            0 => None,
            1 => Some(reader.varint(WHAT)?),
            _ => return Err(DecodeError::Invalid(WHAT)),
        };
        let start = Self { created, round, id, top, seen, entries_read };
        if reader.is_empty() { Ok(start) } else { Err(DecodeError::Invalid(WHAT)) }
    }
}

/// Bits of a stamp that say whose it is.
const NODE_BITS: u32 = NODE_NUMBERS_MAX.ilog2();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STAMP_EPOCH_MS;
    use alloc::vec;
    use std::collections::BTreeSet;

    fn dot(ms: u64, node: u16) -> EntryDot {
        let stamp = Stamp::at(STAMP_EPOCH_MS + ms, NodeNumber::new(node).unwrap());
        EntryDot { stamp, id: StreamId::of_stamp(stamp) }
    }

    fn range(first: u64, last: u64, node: u16) -> DotRange {
        DotRange { first: dot(first, node), last: dot(last, node) }
    }

    #[test]
    fn ranges_that_overlap_become_one_and_others_stay_apart() {
        let mut set = DotSet::default();
        for (first, last) in [(10, 12), (20, 20), (14, 15), (1, 1)] {
            assert_eq!(set.insert(range(first, last, 7)), range(first, last, 7));
        }
        set.insert(range(11, 14, 6));
        assert_eq!(set.len(), 5);
        assert_eq!(set.insert(range(12, 14, 7)), range(10, 15, 7));
        assert_eq!(set.len(), 4);
        assert!(set.contains(dot(13, 7)) && set.contains(dot(15, 7)) && !set.contains(dot(16, 7)));
        assert!(set.contains(dot(13, 6)) && !set.contains(dot(13, 5)));
        assert_eq!(set.up_to(dot(9, 7)), Some(range(1, 1, 7)));
        assert_eq!(set.after(dot(9, 7)), Some(range(10, 15, 7)));
        assert_eq!((set.up_to(dot(0, 7)), set.after(dot(20, 7))), (None, None));
        set.retain(|known| *known != range(10, 15, 7));
        assert!(!set.contains(dot(13, 7)) && set.contains(dot(13, 6)));
    }

    /// Random ranges against a set of numbers.
    #[test]
    fn a_set_of_dots_is_the_union_of_what_was_put_in() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let (mut set, mut model) = (DotSet::default(), BTreeSet::new());
            for _ in 0..12 {
                let (first, length, node) = (draw(40), draw(6), draw(3) as u16);
                set.insert(range(first, first + length, node));
                (first..=first + length).for_each(|ms| {
                    model.insert((node, ms));
                });
            }
            for node in 0..3 {
                for ms in 0..50 {
                    assert_eq!(set.contains(dot(ms, node)), model.contains(&(node, ms)), "{set:?} {node} {ms}");
                }
            }
            let ranges: Vec<_> = set.iter().collect();
            assert!(ranges.windows(2).all(|pair| pair[0].last.place() < pair[1].first.place()));
        }
    }

    #[test]
    fn the_bottom_is_before_all_dots_of_its_author() {
        let bottom = EntryDot::bottom(NodeNumber::new(9).unwrap());
        assert!(
            bottom < EntryDot { stamp: Stamp::at(0, bottom.author()).next(0, bottom.author()), id: StreamId::ZERO }
        );
        assert_eq!(bottom.author().value(), 9);
        let mut set = DotSet::default();
        set.insert(DotRange { first: bottom, last: dot(5, 9) });
        assert!(set.contains(dot(1, 9)) && !set.contains(dot(6, 9)) && !set.contains(dot(1, 8)));
    }

    #[test]
    fn names_are_in_the_order_of_authors_and_dots_and_have_one_form() {
        let own_id = EntryDot { id: StreamId::new(5, 1), ..dot(9, 3) };
        let dots = [EntryDot::bottom(dot(0, 3).author()), dot(1, 3), dot(9, 3), own_id, dot(10, 3), dot(2, 4)];
        let round = GroupStart::round_of(dot(77, 1).stamp, b"workers");
        let names: Vec<Vec<u8>> = dots
            .iter()
            .map(|&first| {
                let mut name = vec![];
                DotRange::write_name(round, first, &mut name);
                assert_eq!(DotRange::read_name(&name), Some((round, first)));
                name
            })
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        let mut long = names[1].clone();
        long.extend_from_slice(&dots[1].id.name());
        for other in [&long[..], &names[3][..31], &names[1][..15], b""] {
            assert_eq!(DotRange::read_name(other), None);
        }
    }

    #[test]
    fn a_range_ends_behind_its_beginning_with_its_author() {
        let value = DotRange::end_value(dot(9, 3));
        assert_eq!(DotRange::from_value(dot(9, 3), &value), Some(range(9, 9, 3)));
        assert_eq!(DotRange::from_value(dot(10, 3), &value), None);
        assert_eq!(DotRange::from_value(dot(1, 2), &value), None);
    }

    #[test]
    fn a_group_is_written_and_read_and_only_what_its_creator_saw_is_before_its_start() {
        let seen: VersionVector = [(dot(5, 3).author(), dot(5, 3).stamp)].into_iter().collect();
        let created = dot(4, 1).stamp;
        let round = GroupStart::round_of(created, b"g");
        assert_ne!(round, GroupStart::round_of(created, b"h"));
        assert_ne!(round, GroupStart::round_of(dot(5, 1).stamp, b"g"));
        for entries_read in [None, Some(0), Some(u64::MAX)] {
            let (id, top) = (dot(7, 0).id, dot(6, 9).id);
            let start = GroupStart { created, round, id, top, seen: seen.clone(), entries_read };
            let value = start.encode();
            assert_eq!(GroupStart::decode(&value), Ok(start.clone()));
            (0..value.len()).for_each(|end| assert!(GroupStart::decode(&value[..end]).is_err()));
            assert!(start.is_before(dot(5, 3)));
            // The creator had not seen it, or it has a greater id.
            assert!(!start.is_before(dot(6, 3)) && !start.is_before(dot(5, 4)));
            assert!(!start.is_before(EntryDot { id: dot(8, 0).id, ..dot(5, 3) }));
            // Nobody had seen it, but the stream was not there yet when the creator named a greater id.
            assert!(start.is_before(EntryDot { id, ..dot(8, 4) }));
        }
    }
}
