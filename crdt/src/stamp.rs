//! Stamps: one 64-bit word that is clock reading, author and identity of a change.
//!
//! A stamp is a hybrid logical clock reading (Kulkarni et al., "Logical Physical Clocks", 2014) with the author in
//! its low bits: `| 41 bits: ms since 2020-01-01 | 13 bits: counter | 10 bits: node number |`. The natural order of the
//! word is the last-writer order, and two nodes can never make the same one. Nothing here reads a clock.

use core::fmt;
use serde::{Deserialize, Serialize};

/// The number of a node inside stamps, `0..=1023`. Handed out once and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeNumber(u16);

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// 2020-01-01T00:00:00Z in milliseconds since the Unix epoch: the origin of every stamp.
pub const STAMP_EPOCH_MS: UnixMillis = 1_577_836_800_000;
/// How many node numbers there are. A cluster that burns one a day has enough for almost three years.
pub const NODE_NUMBERS_MAX: u16 = 1 << NODE_BITS;

const NODE_BITS: u32 = 10;
const COUNTER_BITS: u32 = 13;
const NODE_MASK: u64 = (1 << NODE_BITS) - 1;

impl NodeNumber {
    /// The number `value`, or nothing if it does not fit ten bits.
    pub const fn new(value: u16) -> Option<Self> {
        if value < NODE_NUMBERS_MAX { Some(Self(value)) } else { None }
    }

    /// The number as an integer.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Clock, author and identity of a change in one word. `Stamp::ZERO` precedes every real stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp(u64);

impl Stamp {
    /// Before everything.
    pub const ZERO: Stamp = Stamp(0);
    /// After everything.
    pub const MAX: Stamp = Stamp(u64::MAX);

    /// A stamp from its word, as it travels.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word, as it travels.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The first stamp of `node` at `unix_ms`. Times before the stamp epoch count as the epoch.
    pub const fn at(unix_ms: UnixMillis, node: NodeNumber) -> Self {
        let ms = unix_ms.saturating_sub(STAMP_EPOCH_MS);
        Self((ms << (COUNTER_BITS + NODE_BITS)) | node.0 as u64)
    }

    /// Who made it.
    pub const fn author(self) -> NodeNumber {
        NodeNumber((self.0 & NODE_MASK) as u16)
    }

    /// The clock part, in milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> UnixMillis {
        (self.0 >> (COUNTER_BITS + NODE_BITS)) + STAMP_EPOCH_MS
    }

    /// The first stamp of `node` that is greater than `self` and not earlier than `now`: the hybrid logical clock's
    /// step. The counter carries into the milliseconds when it overflows.
    pub const fn next(self, now: UnixMillis, node: NodeNumber) -> Self {
        let by_clock = Self::at(now, node);
        if by_clock.0 > self.0 {
            return by_clock;
        }
        // One up in the (ms, counter) part, whoever the author of the greatest stamp seen was.
        Self((((self.0 >> NODE_BITS) + 1) << NODE_BITS) | node.0 as u64)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counter = (self.0 >> NODE_BITS) & ((1 << COUNTER_BITS) - 1);
        write!(f, "{}.{}@{}", self.0 >> (COUNTER_BITS + NODE_BITS), counter, self.author())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u16) -> NodeNumber {
        NodeNumber::new(n).unwrap()
    }

    #[test]
    fn a_stamp_says_when_and_by_whom() {
        let stamp = Stamp::at(STAMP_EPOCH_MS + 123_456, node(1023));
        assert_eq!(stamp.unix_ms(), STAMP_EPOCH_MS + 123_456);
        assert_eq!(stamp.author(), node(1023));
    }

    #[test]
    fn the_next_stamp_is_greater_even_when_the_clock_goes_back() {
        let mut last = Stamp::at(STAMP_EPOCH_MS + 1000, node(7));
        for now in [1000, 999, 5, 1001, 1001, 0] {
            let next = last.next(STAMP_EPOCH_MS + now, node(3));
            assert!(next > last && next.author() == node(3));
            last = next;
        }
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let mut last = Stamp::at(STAMP_EPOCH_MS + 1, node(1));
        for _ in 0..(1 << COUNTER_BITS) {
            last = last.next(STAMP_EPOCH_MS + 1, node(1));
        }
        assert_eq!(last.unix_ms(), STAMP_EPOCH_MS + 2);
    }

    #[test]
    fn words_beyond_31_32_and_53_bits_keep_their_order() {
        for bits in [31u32, 32, 53, 62] {
            let low = Stamp::from_bits((1 << bits) - 1);
            assert!(low.next(0, node(0)) > low);
        }
    }
}
