//! The ledger of node numbers: which a node may hand out, and which it has burnt.
//!
//! Pure. A number goes into stamps; two nodes under one number, or one node under a number whose earlier stamps it
//! has forgotten, would be silent divergence. So a number is burnt, durably, before it is used or handed out.

use bincode::{Decode, Encode};
use crdt::{NODE_NUMBERS_MAX, NodeNumber};

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NumberRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// What a node knows about numbers that are its to give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct NumberLedger {
    ranges: Vec<NumberRange>,
    /// Sorted.
    burnt: Vec<u16>,
    current: Option<u16>,
}

impl NumberRange {
    /// The numbers from `first` to `last`; nothing if there are none such.
    pub fn new(first: NodeNumber, last: NodeNumber) -> Option<Self> {
        (first <= last).then_some(Self { first: first.value(), last: last.value() })
    }

    fn contains(self, number: u16) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

impl NumberLedger {
    /// The number that this node stamps with.
    pub fn current(&self) -> Option<NodeNumber> {
        self.current.and_then(NodeNumber::new)
    }

    /// The ranges that are this node's to give from.
    pub fn ranges(&self) -> &[NumberRange] {
        &self.ranges
    }

    /// Every number that was ever used or handed out here, in order.
    pub fn burnt(&self) -> impl Iterator<Item = NodeNumber> + '_ {
        self.burnt.iter().copied().filter_map(NodeNumber::new)
    }

    /// How many numbers are left to give.
    pub fn left(&self) -> usize {
        (0..NODE_NUMBERS_MAX).filter(|number| self.is_free(*number)).count()
    }

    /// Adds a range that a peer has given for good.
    pub fn add_range(&mut self, range: NumberRange) {
        if !self.ranges.contains(&range) {
            self.ranges.push(range);
        }
    }

    /// Gives a range, or a part of one, away: its numbers are no longer this node's to give.
    pub fn give_range(&mut self, given: NumberRange) {
        let mut kept = Vec::with_capacity(self.ranges.len() + 1);
        for range in &self.ranges {
            if range.first < given.first {
                kept.push(NumberRange { first: range.first, last: range.last.min(given.first - 1) });
            }
            if range.last > given.last {
                kept.push(NumberRange { first: range.first.max(given.last + 1), last: range.last });
            }
        }
        kept.retain(|range| range.first <= range.last);
        self.ranges = kept;
    }

    /// Takes the smallest free number of the own ranges and burns it.
    pub fn take(&mut self) -> Option<NodeNumber> {
        let number = (0..NODE_NUMBERS_MAX).find(|number| self.is_free(*number))?;
        self.burn(NodeNumber::new(number)?);
        NodeNumber::new(number)
    }

    /// Burns a number, wherever it came from.
    pub fn burn(&mut self, number: NodeNumber) {
        if let Err(at) = self.burnt.binary_search(&number.value()) {
            self.burnt.insert(at, number.value());
        }
    }

    /// Whether it was burnt here.
    pub fn is_burnt(&self, number: NodeNumber) -> bool {
        self.burnt.binary_search(&number.value()).is_ok()
    }

    /// This node stamps with this number from now on; it is burnt with that.
    pub fn use_number(&mut self, number: NodeNumber) {
        self.burn(number);
        self.current = Some(number.value());
    }

    fn is_free(&self, number: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(number)) && self.burnt.binary_search(&number).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u16) -> NodeNumber {
        NodeNumber::new(value).unwrap()
    }

    fn range(first: u16, last: u16) -> NumberRange {
        NumberRange::new(number(first), number(last)).unwrap()
    }

    #[test]
    fn numbers_are_taken_in_order_and_never_twice() {
        let mut ledger = NumberLedger::default();
        assert_eq!(ledger.take(), None);
        ledger.add_range(range(8, 9));
        ledger.add_range(range(3, 4));
        ledger.add_range(range(8, 9));
        ledger.burn(number(4));
        assert_eq!(ledger.left(), 3);
        let taken: Vec<u16> = std::iter::from_fn(|| ledger.take()).map(NodeNumber::value).collect();
        assert_eq!(taken, [3, 8, 9]);
        ledger.add_range(range(1020, 1023));
        ledger.use_number(number(1023));
        assert_eq!((ledger.current(), ledger.left()), (Some(number(1023)), 3));
        assert_eq!(ledger.burnt().map(NodeNumber::value).collect::<Vec<_>>(), [3, 4, 8, 9, 1023]);
    }

    #[test]
    fn what_is_given_away_is_not_taken() {
        let mut ledger = NumberLedger::default();
        ledger.add_range(range(0, 9));
        ledger.give_range(range(2, 4));
        ledger.give_range(range(0, 0));
        ledger.give_range(range(9, 20));
        assert_eq!(ledger.ranges(), [range(1, 1), range(5, 8)]);
        ledger.give_range(range(0, 1023));
        assert_eq!((ledger.ranges().len(), ledger.take()), (0, None));
        assert_eq!(NumberRange::new(number(2), number(1)), None);
    }
}
