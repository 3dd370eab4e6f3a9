//! The changes that queues and logs are made of: one element put at an end of a list or taken from there, one entry added
//! to a stream, and nothing else. They are read in one look, without what any other operation might carry.

use crate::change::{Change, Kind, PUT, REMOVE};
use crate::encoding::Reader;
use crate::position::Step;
use crate::stream::{StreamEntry, StreamId};
use core::ops::Deref;

/// A change of one operation that names no dots and resets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementWrite<'a> {
    /// An element of a list that stands one step from an edge.
    AtEdge {
        /// The step. If it is put, it is made by this change.
        step: Step,
        /// What is put there; nothing if the element is removed.
        value: Option<&'a [u8]>,
    },
    /// An entry that is put into a stream.
    Entry {
        /// Its id.
        id: StreamId,
        /// What is put there: [`StreamEntry::of_checked`] reads it.
        value: &'a [u8],
    },
}

/// The name of an element that stands one step from an edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeName {
    bytes: [u8; EDGE_NAME_BYTES_MAX],
    length: u8,
}

/// An index of 32 bits with the side below it in groups of seven, and a stamp.
const EDGE_NAME_BYTES_MAX: usize = 5 + size_of::<u64>();

impl<'a> ElementWrite<'a> {
    /// What a change says. Nothing if it says anything else, or is not valid; then reading its operations tells why.
    #[inline]
    pub fn of(change: &Change<'a>) -> Option<Self> {
        let [tag @ (PUT | REMOVE), kind, rest @ ..] = change.operations else { return None };
        let mut reader = Reader::new(rest);
        let name = reader.slice("an element's name").ok()?;
        let value = if *tag == PUT { Some(reader.slice("a value").ok()?) } else { None };
        if !reader.is_empty() {
            return None;
        }
        if *kind == Kind::List as u8 {
            let mut inside = Reader::new(name);
            let step = Step::decode(&mut inside)?;
            let is_edge = inside.is_empty() && (value.is_none() || step.stamp == change.stamp);
            is_edge.then_some(Self::AtEdge { step, value })
        } else if *kind == Kind::Stream as u8 {
            let (id, value) = (StreamId::of_name(name)?, value?);
            StreamEntry::of(value).map(|_| Self::Entry { id, value })
        } else {
            None
        }
    }
}

impl Step {
    /// The name of the element that stands this one step from an edge.
    #[inline]
    pub fn edge_name(&self) -> EdgeName {
        let (mut bytes, mut used) = ([0; EDGE_NAME_BYTES_MAX], 0);
        let mut rest = u64::from(self.index) << 1 | self.side as u64;
        while rest >= 0x80 {
            bytes[used] = rest as u8 | 0x80;
            rest >>= 7;
            used += 1;
        }
        bytes[used] = rest as u8;
        let length = used + 1 + size_of::<u64>();
        bytes[used + 1..length].copy_from_slice(&self.stamp.bits().to_le_bytes());
        EdgeName { bytes, length: length as u8 }
    }
}

impl Deref for EdgeName {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::ElementWrite;
    use crate::change::encode_operation;
    use crate::{Change, Kind, NodeNumber, Operation, Operations, Position, Reset, Resets, STAMP_EPOCH_MS};
    use crate::{Number, Side, Stamp, Stamps, Step, StreamEntry, StreamHead, StreamId, StreamName};
    use alloc::vec::Vec;

    fn stamp(ms: u64) -> Stamp {
        Stamp::at(STAMP_EPOCH_MS + ms, NodeNumber::new(3).unwrap())
    }

    fn encoded(operations: &[Operation<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        operations.iter().for_each(|operation| encode_operation(&mut out, stamp(9), operation));
        out
    }

    fn read(operations: &[u8]) -> (Option<ElementWrite<'_>>, bool) {
        let change = Change { stamp: stamp(9), tied: false, database: 0, key: b"k", operations };
        let is_valid = Operations::of(&change).all(|operation| operation.is_ok());
        (ElementWrite::of(&change), is_valid)
    }

    fn put<'a>(kind: Kind, name: &'a [u8], value: &'a [u8]) -> Operation<'a> {
        Operation::Put { kind, name, drops: Stamps::new(), resets: Resets::new(), value }
    }

    fn removal(kind: Kind, name: &[u8]) -> Operation<'_> {
        Operation::Remove { kind, name, drops: Stamps::new(), resets: Resets::new() }
    }

    #[test]
    fn the_name_of_a_step_is_that_of_its_position() {
        for (side, index) in [(Side::Behind, 0), (Side::InFront, 63), (Side::Behind, 64), (Side::InFront, u32::MAX)] {
            let step = Step { side, stamp: stamp(9), index };
            assert_eq!(*step.edge_name(), *Position::at_edge(side, stamp(9), index).name());
        }
    }

    #[test]
    fn one_element_put_at_an_end_or_removed_and_one_entry_are_read_at_once() {
        let step = Step { side: Side::Behind, stamp: stamp(9), index: 2 };
        let name = step.edge_name();
        let found = encoded(&[put(Kind::List, &name, b"v")]);
        let expected = ElementWrite::AtEdge { step, value: Some(b"v") };
        assert_eq!(read(&found), (Some(expected), true));

        let earlier = Step { stamp: stamp(4), ..step };
        let name = earlier.edge_name();
        let found = encoded(&[removal(Kind::List, &name)]);
        let expected = ElementWrite::AtEdge { step: earlier, value: None };
        assert_eq!(read(&found), (Some(expected), true));

        let mut value = Vec::new();
        StreamEntry::write(&mut value, 7, [(&b"f"[..], &b"v"[..])].into_iter());
        let (id, name) = (StreamId::new(5, 6), StreamId::new(5, 6).name());
        let found = encoded(&[put(Kind::Stream, &name, &value)]);
        assert_eq!(read(&found), (Some(ElementWrite::Entry { id, value: &value }), true));
        assert_eq!(StreamEntry::of_checked(&value), StreamEntry::of(&value));
        assert_eq!(StreamEntry::of_checked(&[0x80]), None);
    }

    #[test]
    fn what_else_a_change_may_say_is_not_read_so() {
        let step = Step { side: Side::Behind, stamp: stamp(9), index: 0 };
        let (name, entry) = (step.edge_name(), StreamId::new(5, 6).name());
        let drops: Stamps = [stamp(1)].into_iter().collect();
        let reset = Reset { node: stamp(1).author(), birth: stamp(1), stamp: stamp(1), cumulative: Number::integer(1) };
        let earlier = Step { stamp: stamp(4), ..step }.edge_name();
        let later = Step { stamp: stamp(10), ..step }.edge_name();
        let first = Position::at_edge(Side::Behind, stamp(3), 0);
        let longer = Position::between(None, Some(&first), stamp(9), 0);
        let longer = Position::between(longer.as_ref(), Some(&first), stamp(9), 1).unwrap().name();
        assert!(longer.len() > 9);
        let head = StreamName::Head.name();
        let with_drops = Operation::Put { kind: Kind::List, name: &name, drops, resets: Resets::new(), value: b"v" };
        let with_resets = Operation::Remove {
            kind: Kind::List,
            name: &name,
            drops: Stamps::new(),
            resets: [reset].into_iter().collect(),
        };
        for (operations, is_valid) in [
            (&[with_drops][..], true),
            (&[with_resets], true),
            // Set where it stands: its position is that of an earlier change.
            (&[put(Kind::List, &earlier, b"v")], true),
            (&[put(Kind::List, &later, b"v")], false),
            (&[put(Kind::List, &longer, b"v")], true),
            (&[put(Kind::List, b"name", b"v")], false),
            (&[put(Kind::Hash, &name, b"v")], true),
            (&[put(Kind::String, b"", b"v")], true),
            (&[put(Kind::Stream, &entry, b"\x01\x01")], false),
            (&[put(Kind::Stream, &head, &StreamHead::default().encode())], true),
            (&[removal(Kind::Stream, &entry)], true),
            (&[put(Kind::List, &name, b"v"), removal(Kind::List, &earlier)], true),
            (&[], true),
        ] {
            assert_eq!(read(&encoded(operations)), (None, is_valid), "{operations:?}");
        }
        let whole = encoded(&[put(Kind::List, &name, b"v")]);
        (1..whole.len()).for_each(|end| assert_eq!(read(&whole[..end]), (None, false)));
    }
}
