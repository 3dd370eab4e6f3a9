//! Positions in a list: names of elements that have an order, with room between any two of them.
//!
//! A position is a path from an edge of the list. Each step goes to one side of what it comes from and carries the stamp of
//! the command that made it, so no two commands ever make the same one, and nothing of a removed element has to stay: a
//! position means the same whether or not its neighbours are there.
//!
//! Behind what it comes from the latest step comes first, in front of it the latest step comes last: what is new is next
//! to what it was put beside. At the beginning of a list (steps behind the edge) the newest push is the first element, at
//! its end (steps in front of the edge) the last one, and a push needs one step, however long the list is and was.

use crate::Stamp;
use crate::encoding::{Reader, put_varint};
use alloc::vec::Vec;
use core::cmp::Ordering;
use smallvec::SmallVec;

/// To which side of what it comes from a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// Behind it; of the edges, behind the beginning of the list: where `LPUSH` puts.
    Behind = 0,
    /// In front of it; of the edges, in front of the end of the list: where `RPUSH` puts.
    InFront = 1,
}

/// One step of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// To which side it goes.
    pub side: Side,
    /// The command that made it.
    pub stamp: Stamp,
    /// Which of the elements of that command, in the order in which they were put there.
    pub index: u32,
}

/// Where an element of a list stands, relative to all others that ever were or will be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// From the edge on; never empty.
    steps: SmallVec<[Step; 1]>,
}

/// Steps of the longest position. A position gets longer only where elements are put by turns to both sides of the newest
/// one, by one step for two of them (`FORMAT.md`); a list in which that would go on is numbered anew.
pub const POSITION_STEPS_MAX: usize = 64;

impl Step {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.index) << 1 | self.side as u64);
        out.extend_from_slice(&self.stamp.bits().to_le_bytes());
    }

    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let before = reader.rest().len();
        let head = reader.varint("a position").ok()?;
        // A position has one form, since names are compared as bytes.
        let shortest = (u64::BITS - (head | 1).leading_zeros()).div_ceil(7) as usize;
        if before - reader.rest().len() != shortest {
            return None;
        }
        let side = if head & 1 == 0 { Side::Behind } else { Side::InFront };
        let index = u32::try_from(head >> 1).ok()?;
        Some(Self { side, stamp: Stamp::from_bits(reader.word("a position").ok()?), index })
    }

    /// The order of two steps from the same place, which is the edge itself if `is_first`.
    fn order(&self, other: &Self, is_first: bool) -> Ordering {
        let along = (self.stamp, self.index).cmp(&(other.stamp, other.index));
        match (self.side, other.side) {
            (Side::Behind, Side::Behind) => along.reverse(),
            (Side::InFront, Side::InFront) => along,
            // Everything behind the beginning comes before everything in front of the end. Of an element, what is in front
            // of it comes before what is behind it.
            (Side::Behind, Side::InFront) if is_first => Ordering::Less,
            (Side::InFront, Side::Behind) if is_first => Ordering::Greater,
            (Side::Behind, Side::InFront) => Ordering::Greater,
            (Side::InFront, Side::Behind) => Ordering::Less,
        }
    }
}

impl Position {
    /// Where the command `stamp` puts its element number `index` at an edge of the list.
    #[inline]
    pub fn at_edge(side: Side, stamp: Stamp, index: u32) -> Self {
        Self { steps: SmallVec::from_buf([Step { side, stamp, index }]) }
    }

    /// A position between two neighbours, an edge where there is none, for element number `index` of the command `stamp`,
    /// whose stamp is later than those of all positions that are there. Nothing if it would be longer than a position may
    /// be.
    pub fn between(before: Option<&Self>, behind: Option<&Self>, stamp: Stamp, index: u32) -> Option<Self> {
        let depth = |position: Option<&Self>| position.map_or(0, |position| position.steps.len());
        let (from, side) =
            if depth(before) <= depth(behind) { (before, Side::Behind) } else { (behind, Side::InFront) };
        // At an edge of the list the edge is never farther away than the neighbour.
        let mut steps: SmallVec<[Step; 1]> = from.map(|position| position.steps.clone()).unwrap_or_default();
        if steps.len() == POSITION_STEPS_MAX {
            return None;
        }
        steps.push(Step { side: if behind.is_none() { Side::InFront } else { side }, stamp, index });
        Some(Self { steps })
    }

    /// The steps, from the edge on. There is at least one.
    #[inline]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The position as the name of an element.
    pub fn name(&self) -> Vec<u8> {
        let mut name = Vec::with_capacity(9 * self.steps.len());
        self.write_name(&mut name);
        name
    }

    /// Appends the position as the name of an element.
    #[inline]
    pub fn write_name(&self, out: &mut Vec<u8>) {
        self.steps.iter().for_each(|step| step.encode(out));
    }

    /// The position with this name, if it is one.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(name);
        let mut steps: SmallVec<[Step; 1]> = SmallVec::new();
        while !reader.is_empty() {
            if steps.len() == POSITION_STEPS_MAX {
                return None;
            }
            steps.push(Step::decode(&mut reader)?);
        }
        (!steps.is_empty()).then_some(Self { steps })
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        let common = self.steps.iter().zip(&other.steps).position(|(one, two)| one != two);
        if let Some(at) = common {
            return self.steps[at].order(&other.steps[at], at == 0);
        }
        // One lies on the way to the other, if they differ at all.
        let beyond = |longer: &Self, from: usize| match longer.steps.get(from).map(|step| step.side) {
            None => Ordering::Equal,
            Some(Side::Behind) => Ordering::Greater,
            Some(Side::InFront) => Ordering::Less,
        };
        if self.steps.len() >= other.steps.len() {
            beyond(self, other.steps.len())
        } else {
            beyond(other, self.steps.len()).reverse()
        }
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeNumber;
    use alloc::vec;

    fn stamp(ms: u64, node: u16) -> Stamp {
        Stamp::at(crate::STAMP_EPOCH_MS + ms, NodeNumber::new(node).unwrap())
    }

    #[test]
    fn pushes_at_the_edges_need_one_step_and_stand_where_they_were_put() {
        let mut list = vec![Position::at_edge(Side::InFront, stamp(1, 1), 0)];
        for round in 2..50 {
            let first = Position::between(None, list.first(), stamp(round, round as u16 % 3), 0).unwrap();
            let last = Position::between(list.last(), None, stamp(round, 9), 0).unwrap();
            assert!(first < list[0] && *list.last().unwrap() < last);
            assert_eq!((first.steps().len(), last.steps().len()), (1, 1));
            assert_eq!(first, Position::at_edge(Side::Behind, stamp(round, round as u16 % 3), 0));
            list.insert(0, first);
            list.push(last);
        }
        assert!(list.is_sorted());
    }

    #[test]
    fn the_elements_of_one_push_stay_together() {
        let push = |side, ms, node| (0..3).map(move |index| Position::at_edge(side, stamp(ms, node), index));
        for side in [Side::Behind, Side::InFront] {
            let mut all: Vec<Position> = push(side, 5, 1).chain(push(side, 5, 2)).collect();
            all.sort();
            let authors: Vec<u16> = all.iter().map(|p| p.steps()[0].stamp.author().value()).collect();
            let expected = if side == Side::Behind { [2, 2, 2, 1, 1, 1] } else { [1, 1, 1, 2, 2, 2] };
            assert_eq!(authors, expected);
        }
    }

    #[test]
    fn a_position_has_one_name_and_other_bytes_are_none() {
        let first = Position::at_edge(Side::Behind, stamp(1, 1), 0);
        let last = Position::at_edge(Side::InFront, stamp(1, 1), 70_000);
        let middle = Position::between(Some(&first), Some(&last), stamp(3, 2), 1).unwrap();
        for position in [&first, &last, &middle] {
            assert_eq!(Position::of_name(&position.name()).as_ref(), Some(position));
            let name = position.name();
            (0..name.len()).for_each(|end| {
                assert_eq!(Position::of_name(&name[..end]).map(|p| p.steps.len()), {
                    // A path that ends at a step is the position that it comes from.
                    let is_step = end == 9 && position.steps.len() == 2;
                    is_step.then_some(1)
                })
            });
        }
        // The same head in two bytes instead of one.
        let mut padded = vec![0x80, 0];
        padded.extend_from_slice(&first.name()[1..]);
        assert_eq!(Position::of_name(&padded), None);
        assert_eq!(Position::of_name(&[0; 9 * (POSITION_STEPS_MAX + 1)]), None);
    }
}
