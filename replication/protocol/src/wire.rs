//! Reading and writing the hand-made parts of the wire: fixed words, variable integers, vectors. No frame is known here.

use crate::{FrameError, limits};
use crdt::{NodeNumber, Stamp, VersionVector};

/// The bits of a stamp that name its author; the rest is its time and travels as a difference.
const NODE_BITS: u32 = crdt::NODE_NUMBERS_MAX.trailing_zeros();

/// A cursor over bytes from outside: every step checks what is left.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(FrameError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, FrameError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn word(&mut self) -> Result<u64, FrameError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(word))
    }

    /// A variable integer: seven bits a byte, lowest first, at most ten bytes.
    pub(crate) fn integer(&mut self) -> Result<u64, FrameError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(FrameError::OutOfRange("a variable integer"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FrameError::OutOfRange("a variable integer"))
    }

    /// A variable integer that must not exceed `max`.
    pub(crate) fn integer_to(&mut self, max: u64, what: &'static str) -> Result<u64, FrameError> {
        let value = self.integer()?;
        if value <= max { Ok(value) } else { Err(FrameError::OutOfRange(what)) }
    }

    /// A vector written by [`write_vector`] against the same base.
    pub(crate) fn vector(&mut self, base: Stamp) -> Result<VersionVector, FrameError> {
        let count = self.integer_to(limits::VECTOR_ENTRIES_MAX as u64, "a vector")?;
        let mut vector = VersionVector::new();
        let mut next_number = 0u64;
        for _ in 0..count {
            let number = next_number.saturating_add(self.integer_to(u64::from(u16::MAX), "a node number")?);
            let node = u16::try_from(number).ok().and_then(NodeNumber::new);
            let node = node.ok_or(FrameError::OutOfRange("a node number"))?;
            let back = unzigzag(self.integer()?);
            let time = (time_of(base) as i64).checked_sub(back).ok_or(FrameError::OutOfRange("a stamp"))?;
            vector.raise(node, stamp_of(time as u64, node)?);
            next_number = number + 1;
        }
        Ok(vector)
    }

    pub(crate) fn finish(self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FrameError::TrailingBytes) }
    }
}

/// Writes a variable integer.
pub(crate) fn write_integer(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a vector as distances back from `base`: entries of one moment lie close together.
pub(crate) fn write_vector(out: &mut Vec<u8>, vector: &VersionVector, base: Stamp) {
    write_integer(out, vector.len() as u64);
    let mut next_number = 0u64;
    for (node, stamp) in vector.iter() {
        let number = u64::from(node.value());
        write_integer(out, number - next_number);
        write_integer(out, zigzag((time_of(base) as i64).wrapping_sub(time_of(stamp) as i64)));
        next_number = number + 1;
    }
}

/// The clock part of a stamp, counter included: what is left without the author.
pub(crate) fn time_of(stamp: Stamp) -> u64 {
    stamp.bits() >> NODE_BITS
}

/// The stamp of `node` with this clock part, if it fits the word.
pub(crate) fn stamp_of(time: u64, node: NodeNumber) -> Result<Stamp, FrameError> {
    if time >> (u64::BITS - NODE_BITS) != 0 {
        return Err(FrameError::OutOfRange("a stamp"));
    }
    Ok(Stamp::from_bits((time << NODE_BITS) | u64::from(node.value())))
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_size_come_back() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            let mut out = Vec::new();
            write_integer(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.integer(), Ok(value));
            reader.finish().unwrap();
            let signed = value as i64;
            assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn an_endless_integer_is_refused() {
        assert!(Reader::new(&[0xff; 32]).integer().is_err());
        assert!(Reader::new(&[0x80; 3]).integer().is_err());
    }

    #[test]
    fn vectors_come_back_whatever_the_base() {
        let node = |n| NodeNumber::new(n).unwrap();
        let vector: VersionVector = [(0, 1u64), (3, 1 << 52), (1023, (1 << 54) - 1)]
            .map(|(n, time)| (node(n), stamp_of(time, node(n)).unwrap()))
            .into_iter()
            .collect();
        for base in [Stamp::ZERO, Stamp::MAX, Stamp::from_bits(77 << 40)] {
            let mut out = Vec::new();
            write_vector(&mut out, &vector, base);
            assert_eq!(Reader::new(&out).vector(base), Ok(vector.clone()));
        }
    }
}
