//! Streams: how their entries are named and made, and what a stream knows of itself.
//!
//! A stream is a collection of elements. An entry is named by its id, so the order of names is that of the stream. What is
//! known of the stream as a whole is an element as well, the *head*, which is written by removals alone: that the stream
//! is there although nothing is in it, the greatest id that it ever had, and how many entries each node has added of which
//! none is left to tell.

use crate::acknowledged::{DotRange, EntryDot, GroupStart};
use crate::encoding::{DecodeError, Reader, put_signed, put_slice, put_varint};
use crate::{NodeNumber, Stamp};
use alloc::vec::Vec;
use core::fmt;
use smallvec::SmallVec;

/// The id of an entry: usually a time and a number beside it. The order is that of the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds since the Unix epoch, unless the client gave something else.
    pub ms: u64,
    /// Tells entries of one millisecond apart. In generated ones the lower ten bits are the node's number.
    pub sequence: u64,
}

/// What an element of a stream is, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName<'a> {
    /// An entry.
    Entry(StreamId),
    /// What is known of the stream as a whole.
    Head,
    /// A consumer group.
    Group(&'a [u8]),
    /// Entries that need not be delivered any more in a round of a group: a range that begins at this dot.
    Acknowledged {
        /// The round.
        round: u64,
        /// The first dot.
        first: EntryDot,
    },
}

/// What is known of a stream beside its entries. Concurrent ones are joined by who reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHead {
    /// No entry had a greater id when this was written.
    pub last_id: StreamId,
    /// The greatest id that `XDEL` has removed.
    pub max_deleted_id: StreamId,
    /// What a client said that the count of entries ever added differs by from what the nodes have added.
    pub offset: i64,
    /// How many entries each node had added, in the order of their numbers.
    pub added: Ordinals,
}

/// For each node how many entries it has added to a stream, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordinals(SmallVec<[(NodeNumber, u64); 1]>);

/// The value of an entry: its author's count of entries in the stream, then fields and values in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEntry<'a> {
    /// Which of the entries that its author has added to the stream, from 1 on.
    pub ordinal: u64,
    /// Slices: fields and values in turn.
    pairs: &'a [u8],
}

/// Bytes of an entry's name. All other names are longer.
pub const STREAM_ID_BYTES: usize = 16;

const TAG_HEAD: u8 = 1;
const TAG_GROUP: u8 = 2;
const TAG_ACKNOWLEDGED: u8 = 3;
/// Bits of a stamp, and of a generated sequence number, that say whose it is.
const NODE_BITS: u32 = 10;
/// Bits of a stamp below its milliseconds.
const BELOW_MS_BITS: u32 = 23;

impl StreamId {
    /// Before all entries: no entry has it.
    pub const ZERO: Self = Self { ms: 0, sequence: 0 };
    /// The greatest.
    pub const MAX: Self = Self { ms: u64::MAX, sequence: u64::MAX };

    /// An id of its parts.
    pub const fn new(ms: u64, sequence: u64) -> Self {
        Self { ms, sequence }
    }

    /// The id that a stamp makes: no other stamp makes the same one.
    pub const fn of_stamp(stamp: Stamp) -> Self {
        Self { ms: stamp.unix_ms(), sequence: stamp.bits() & ((1 << BELOW_MS_BITS) - 1) }
    }

    /// The id that the command `stamp` generates in a stream whose last id is `last`: its own, or if that is not greater
    /// the next one that belongs to its node. Nothing if there is none left.
    pub fn generated(last: Self, stamp: Stamp) -> Option<Self> {
        let own = Self::of_stamp(stamp);
        if own > last {
            return Some(own);
        }
        let node = stamp.author();
        let behind = || Some(Self { ms: last.ms.checked_add(1)?, sequence: u64::from(node.value()) });
        Self::generated_in(last, last.ms, node).or_else(behind)
    }

    /// The next id with these milliseconds that belongs to a node. Nothing if all of them are taken.
    pub fn generated_in(last: Self, ms: u64, node: NodeNumber) -> Option<Self> {
        if ms < last.ms {
            return None;
        }
        let node = u64::from(node.value());
        let after = if ms == last.ms { last.sequence } else { 0 };
        let same = after >> NODE_BITS << NODE_BITS | node;
        let is_taken = same <= after && (ms == last.ms || same == 0 && ms == 0);
        let sequence = if is_taken { same.checked_add(1 << NODE_BITS)? } else { same };
        Some(Self { ms, sequence })
    }

    /// The next greater one.
    pub fn next(self) -> Option<Self> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(Self { ms: self.ms, sequence }),
            None => Some(Self { ms: self.ms.checked_add(1)?, sequence: 0 }),
        }
    }

    /// The next smaller one.
    pub fn previous(self) -> Option<Self> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(Self { ms: self.ms, sequence }),
            None => Some(Self { ms: self.ms.checked_sub(1)?, sequence: u64::MAX }),
        }
    }

    /// The name of the entry with this id.
    pub fn name(self) -> [u8; STREAM_ID_BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.sequence)).to_be_bytes()
    }

    /// The id of the entry with this name; nothing if it is not the name of an entry.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let word = u128::from_be_bytes(name.try_into().ok()?);
        Some(Self { ms: (word >> 64) as u64, sequence: word as u64 })
    }

    fn encode(self, out: &mut Vec<u8>) {
        put_varint(out, self.ms);
        put_varint(out, self.sequence);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { ms: reader.varint("an id")?, sequence: reader.varint("an id")? })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

impl<'a> StreamName<'a> {
    /// What a name says; nothing if no element of a stream has it.
    pub fn of(name: &'a [u8]) -> Option<Self> {
        if let Some(id) = StreamId::of_name(name) {
            return Some(Self::Entry(id));
        }
        let (&tag, rest) = name.split_first()?;
        if tag == TAG_ACKNOWLEDGED {
            return DotRange::read_name(rest).map(|(round, first)| Self::Acknowledged { round, first });
        }
        let (padding, group) = rest.split_at_checked(STREAM_ID_BYTES)?;
        let is_padded = *padding == [0; STREAM_ID_BYTES];
        match tag {
            TAG_HEAD if is_padded && group.is_empty() => Some(Self::Head),
            TAG_GROUP if is_padded => Some(Self::Group(group)),
            _ => None,
        }
    }

    /// Writes the name, in place of what is in `out`.
    pub fn write<'o>(&self, out: &'o mut Vec<u8>) -> &'o [u8] {
        const PADDING: [u8; STREAM_ID_BYTES] = [0; STREAM_ID_BYTES];
        out.clear();
        match *self {
            Self::Entry(id) => out.extend_from_slice(&id.name()),
            Self::Head => {
                out.push(TAG_HEAD);
                out.extend_from_slice(&PADDING);
            }
            Self::Group(group) => {
                out.push(TAG_GROUP);
                out.extend_from_slice(&PADDING);
                out.extend_from_slice(group);
            }
            Self::Acknowledged { round, first } => {
                out.push(TAG_ACKNOWLEDGED);
                DotRange::write_name(round, first, out);
            }
        }
        out
    }

    /// Before the names of all ranges of a round, and behind those of all rounds before it.
    pub fn of_round(round: u64) -> Vec<u8> {
        let mut name = Vec::with_capacity(1 + size_of::<u64>());
        name.push(TAG_ACKNOWLEDGED);
        name.extend_from_slice(&round.to_be_bytes());
        name
    }

    /// The name.
    pub fn name(&self) -> Vec<u8> {
        let mut name = Vec::new();
        self.write(&mut name);
        name
    }

    /// Whether the element can hold this value.
    pub fn has_value(&self, value: &[u8]) -> bool {
        match self {
            Self::Entry(_) => StreamEntry::of(value).is_some(),
            Self::Head => StreamHead::decode(value).is_ok(),
            Self::Group(_) => GroupStart::decode(value).is_ok(),
            Self::Acknowledged { first, .. } => DotRange::from_value(*first, value).is_some(),
        }
    }
}

impl StreamHead {
    /// The head as a value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.last_id.encode(&mut out);
        self.max_deleted_id.encode(&mut out);
        put_signed(&mut out, self.offset);
        put_varint(&mut out, self.added.0.len() as u64);
        for (node, ordinal) in &self.added.0 {
            put_varint(&mut out, u64::from(node.value()));
            put_varint(&mut out, *ordinal);
        }
        out
    }

    /// What [`StreamHead::encode`] wrote.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let (last_id, max_deleted_id) = (StreamId::decode(&mut reader)?, StreamId::decode(&mut reader)?);
        let offset = reader.signed("a stream's head")?;
        let mut added = Ordinals::default();
        for _ in 0..reader.count("a stream's head")? {
            let node = u16::try_from(reader.varint("a node")?).ok().and_then(NodeNumber::new);
            added.raise(node.ok_or(DecodeError::Invalid("a node"))?, reader.varint("a stream's head")?);
        }
        if reader.is_empty() {
            Ok(Self { last_id, max_deleted_id, offset, added })
        } else {
            Err(DecodeError::Invalid("a stream's head"))
        }
    }

    /// What concurrent heads say together: the greatest of everything, and of what a client said the latest.
    pub fn joined<'v>(siblings: impl Iterator<Item = (Stamp, &'v [u8])>) -> Self {
        let (mut joined, mut latest) = (Self::default(), Stamp::ZERO);
        for (dot, value) in siblings {
            let Ok(head) = Self::decode(value) else { continue };
            joined.last_id = joined.last_id.max(head.last_id);
            joined.max_deleted_id = joined.max_deleted_id.max(head.max_deleted_id);
            joined.added.join(&head.added);
            if dot > latest {
                (joined.offset, latest) = (head.offset, dot);
            }
        }
        joined
    }
}

impl Ordinals {
    /// How many entries a node has added.
    pub fn of(&self, node: NodeNumber) -> u64 {
        self.0.iter().find(|(found, _)| *found == node).map_or(0, |(_, ordinal)| *ordinal)
    }

    /// Notes that a node has added so many.
    pub fn raise(&mut self, node: NodeNumber, ordinal: u64) {
        match self.0.binary_search_by_key(&node, |(node, _)| *node) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(ordinal),
            Err(at) => self.0.insert(at, (node, ordinal)),
        }
    }

    /// The greater of both for each node.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|(node, ordinal)| self.raise(*node, *ordinal));
    }

    /// The nodes that have added any.
    pub fn nodes(&self) -> impl Iterator<Item = NodeNumber> {
        self.0.iter().map(|(node, _)| *node)
    }

    /// How many all of them have added.
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, ordinal)| sum.saturating_add(*ordinal))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        if self.0.spilled() { self.0.capacity() * size_of::<(NodeNumber, u64)>() } else { 0 }
    }
}

impl<'a> StreamEntry<'a> {
    /// Writes the value of an entry, in place of what is in `out`.
    pub fn write<'f>(out: &mut Vec<u8>, ordinal: u64, pairs: impl Iterator<Item = (&'f [u8], &'f [u8])>) {
        out.clear();
        put_varint(out, ordinal);
        for (field, value) in pairs {
            put_slice(out, field);
            put_slice(out, value);
        }
    }

    /// The entry that has this value. Nothing if it is not one: an entry has one form, since its digest is that of its bytes.
    pub fn of(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let ordinal = reader.varint("an entry").ok()?;
        let pairs = reader.rest();
        let mut is_shortest = value.len() - pairs.len() == varint_bytes(ordinal);
        while !reader.is_empty() {
            for _ in 0..2 {
                let before = reader.rest().len();
                let slice = reader.slice("an entry").ok()?;
                let taken = before - reader.rest().len();
                is_shortest &= taken - slice.len() == varint_bytes(slice.len() as u64);
            }
        }
        is_shortest.then_some(Self { ordinal, pairs })
    }

    /// The entry that has this value, of which [`StreamEntry::of`] has been asked before: it is not looked at again what the
    /// pairs are. Nothing if not even the ordinal can be read.
    #[inline]
    pub fn of_checked(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let ordinal = reader.varint("an entry").ok()?;
        Some(Self { ordinal, pairs: reader.rest() })
    }

    /// Bytes of fields and values together, with their lengths.
    pub fn pairs_bytes(&self) -> usize {
        self.pairs.len()
    }

    /// Fields with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.pairs);
        core::iter::from_fn(move || Some((reader.slice("a field").ok()?, reader.slice("a value").ok()?)))
    }
}

/// Bytes of the shortest form of an unsigned integer.
const fn varint_bytes(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STAMP_EPOCH_MS;
    use alloc::vec;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    #[test]
    fn a_generated_id_is_the_stamp_while_that_is_later_and_else_the_nodes_next() {
        let stamp = Stamp::at(STAMP_EPOCH_MS + 5_000, node(3));
        let own = StreamId::new(STAMP_EPOCH_MS + 5_000, 3);
        assert_eq!(StreamId::generated(StreamId::ZERO, stamp), Some(own));
        for (last, next) in [
            (own, StreamId::new(own.ms, 1024 + 3)),
            (StreamId::new(own.ms + 9, 0), StreamId::new(own.ms + 9, 3)),
            (StreamId::new(own.ms + 9, 3), StreamId::new(own.ms + 9, 1024 + 3)),
            (StreamId::new(own.ms + 9, u64::MAX), StreamId::new(own.ms + 10, 3)),
        ] {
            assert_eq!(StreamId::generated(last, stamp), Some(next), "{last}");
        }
        assert_eq!(StreamId::generated(StreamId::MAX, stamp), None);
    }

    #[test]
    fn generated_sequence_numbers_are_greater_and_carry_the_node() {
        let id = StreamId::new;
        for (last, ms, number, found) in [
            (StreamId::ZERO, 5, 0, Some(id(5, 0))),
            (StreamId::ZERO, 0, 0, Some(id(0, 1024))),
            (StreamId::ZERO, 0, 7, Some(id(0, 7))),
            (id(5, 1), 5, 0, Some(id(5, 1024))),
            (id(5, 1), 5, 2, Some(id(5, 2))),
            (id(5, 2), 5, 2, Some(id(5, 1026))),
            (id(5, u64::MAX), 5, 2, None),
            (id(6, 0), 5, 2, None),
            (id(4, u64::MAX), 5, 2, Some(id(5, 2))),
        ] {
            assert_eq!(StreamId::generated_in(last, ms, node(number)), found, "{last} {ms} {number}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_entries_and_say_what_they_name() {
        let ids = [StreamId::ZERO, StreamId::new(0, 1), StreamId::new(1, 0), StreamId::new(256, 3), StreamId::MAX];
        assert!(ids.windows(2).all(|pair| pair[0].name() < pair[1].name()));
        let names = [
            StreamName::Entry(ids[3]),
            StreamName::Head,
            StreamName::Group(b""),
            StreamName::Group(b"workers"),
            StreamName::Acknowledged { round: 77, first: EntryDot::bottom(node(7)) },
        ];
        for name in names {
            assert_eq!(StreamName::of(&name.name()), Some(name));
        }
        for other in [vec![], vec![0; 15], vec![0; 17], vec![1; 17], vec![9; 20], vec![2; 17]] {
            assert_eq!(StreamName::of(&other), None, "{other:?}");
        }
    }

    #[test]
    fn an_entry_has_one_form_and_others_are_refused() {
        let mut value = Vec::new();
        StreamEntry::write(&mut value, 300, [(&b"f"[..], &b"v"[..]), (b"", b"x")].into_iter());
        let entry = StreamEntry::of(&value).unwrap();
        assert_eq!(entry.ordinal, 300);
        assert_eq!(entry.pairs().collect::<Vec<_>>(), [(&b"f"[..], &b"v"[..]), (b"", b"x")]);
        for hostile in [&b""[..], b"\x01\x01f", b"\x01\x01f\x02v", b"\x81\x00", b"\x01\x81\x00f\x01v", b"\x01\x01f\xff"]
        {
            assert_eq!(StreamEntry::of(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn concurrent_heads_are_joined() {
        let mut one = StreamHead { last_id: StreamId::new(5, 0), offset: 7, ..StreamHead::default() };
        one.added.raise(node(2), 4);
        let mut other = StreamHead { max_deleted_id: StreamId::new(3, 1), offset: -1, ..StreamHead::default() };
        other.added.raise(node(1), 1);
        other.added.raise(node(2), 3);
        let (one, other) = (one.encode(), other.encode());
        let at = |ms| Stamp::at(STAMP_EPOCH_MS + ms, node(1));
        let joined = StreamHead::joined([(at(9), &*one), (at(8), &*other)].into_iter());
        assert_eq!((joined.last_id, joined.max_deleted_id), (StreamId::new(5, 0), StreamId::new(3, 1)));
        assert_eq!((joined.offset, joined.added.sum()), (7, 5));
        assert_eq!(StreamHead::decode(&joined.encode()), Ok(joined));
        assert!(StreamHead::decode(b"\x01").is_err());
    }
}
