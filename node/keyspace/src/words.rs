//! How stamps and numbers are taken apart to be written in few bytes.

use crdt::Stamp;

/// Bits of a stamp that say who made it; those above are its clock.
pub const AUTHOR_BITS: u32 = 10;
/// The same as a mask.
pub const AUTHOR_MASK: u64 = (1 << AUTHOR_BITS) - 1;
/// Bits of a clock that count within a millisecond; those above count milliseconds.
pub const COUNT_BITS: u32 = 13;
/// The same as a mask.
pub const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The part of a stamp that is no author.
#[inline]
pub const fn clock(stamp: Stamp) -> u64 {
    stamp.bits() >> AUTHOR_BITS
}

/// The stamp of a clock and an author.
#[inline]
pub const fn stamped(clock: u64, author: u64) -> Stamp {
    Stamp::from_bits(clock << AUTHOR_BITS | author)
}

/// A signed number as one that is small if it is near zero (zigzag).
#[inline]
pub const fn fold(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The number of which this is the small one.
#[inline]
pub const fn unfold(word: u64) -> i64 {
    (word >> 1) as i64 ^ -((word & 1) as i64)
}

/// Reads a number that [`crdt::encoding::put_varint`] has written here, and says what is behind it.
#[inline]
pub fn varint(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (value, at);
        }
        shift += 7;
    }
}
