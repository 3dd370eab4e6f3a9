//! The compact codec of changes: LEB128 integers, length-checked slices, stamps relative to a base stamp.
//!
//! Bytes that come from outside are read by [`Reader`], which never panics and never allocates by a length that was
//! only claimed.

use crate::{NodeNumber, Stamp, VersionVector};
use alloc::vec::Vec;

/// Bytes from a peer or a disk that are not what the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// A field holds what no writer of this format writes.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// Bytes that an integer of 64 bits takes at most.
const VARINT_BYTES_MAX: usize = 10;

/// Appends an unsigned integer in LEB128.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long_varint(out, value);
    }
}

/// The same of one that takes several bytes: they are put together first, so that there is one look at the room for them.
fn put_long_varint(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut used = 0;
    while value >= 0x80 {
        bytes[used] = value as u8 | 0x80;
        value >>= 7;
        used += 1;
    }
    bytes[used] = value as u8;
    out.extend_from_slice(&bytes[..=used]);
}

/// Appends a signed integer: zig-zag, then LEB128.
#[inline]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a 128-bit signed integer: zig-zag, then LEB128.
pub fn put_wide(out: &mut Vec<u8>, value: i128) {
    let mut rest = ((value << 1) ^ (value >> 127)) as u128;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a slice with its length before it.
#[inline]
pub fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a stamp as its distance from `base`: the author, then the signed difference of the clock parts. Stamps of
/// one batch or one slot are near each other, so this takes 2 to 8 bytes instead of 8.
#[inline]
pub fn put_stamp(out: &mut Vec<u8>, base: Stamp, stamp: Stamp) {
    put_varint(out, u64::from(stamp.author().value()));
    put_signed(out, clock_part(base).wrapping_sub(clock_part(stamp)));
}

/// Appends a version vector, each entry relative to `base`.
pub fn put_vector(out: &mut Vec<u8>, base: Stamp, vector: &VersionVector) {
    put_varint(out, vector.len() as u64);
    for (_, stamp) in vector.iter() {
        put_stamp(out, base, stamp);
    }
}

fn clock_part(stamp: Stamp) -> i64 {
    (stamp.bits() >> 10) as i64
}

/// Reads what the functions above wrote, from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte; `what` names the field in the error.
    #[inline]
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (&first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(first)
    }

    /// An unsigned LEB128 integer of at most 64 bits.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        match self.rest {
            [first, rest @ ..] if *first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            _ => self.long_varint(what),
        }
    }

    /// The same of one that takes several bytes.
    fn long_varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (at, &byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == VARINT_BYTES_MAX - 1 && bits > 1 {
                return Err(DecodeError::Invalid(what));
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        let is_cut = self.rest.len() < VARINT_BYTES_MAX;
        Err(if is_cut { DecodeError::Truncated(what) } else { DecodeError::Invalid(what) })
    }

    /// A signed integer as [`put_signed`] writes it.
    #[inline]
    pub fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let word = self.varint(what)?;
        Ok((word >> 1) as i64 ^ -((word & 1) as i64))
    }

    /// A 128-bit signed integer as [`put_wide`] writes it.
    pub fn wide(&mut self, what: &'static str) -> Result<i128, DecodeError> {
        // Nearly all are short.
        let mut ahead = self.clone();
        if let Ok(short) = ahead.signed(what) {
            *self = ahead;
            return Ok(i128::from(short));
        }
        let mut value = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u128::from(byte & 0x7f);
            if shift == 126 && bits > 3 {
                return Err(DecodeError::Invalid(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i128 ^ -((value & 1) as i128));
            }
        }
        Err(DecodeError::Invalid(what))
    }

    /// Eight bytes, little endian.
    pub fn word(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    /// A slice of exactly `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::Truncated(what));
        }
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(head)
    }

    /// A slice with its length before it.
    #[inline]
    pub fn slice(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.varint(what)?;
        self.take(usize::try_from(length).map_err(|_| DecodeError::Invalid(what))?, what)
    }

    /// A count of things that each take at least one byte: never more than there are bytes left.
    pub fn count(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.varint(what)?;
        if count > self.rest.len() as u64 {
            return Err(DecodeError::Truncated(what));
        }
        Ok(count as usize)
    }

    /// A stamp as [`put_stamp`] writes it.
    #[inline]
    pub fn stamp(&mut self, base: Stamp, what: &'static str) -> Result<Stamp, DecodeError> {
        let author = u16::try_from(self.varint(what)?).ok().and_then(NodeNumber::new);
        let author = author.ok_or(DecodeError::Invalid(what))?;
        let clock = clock_part(base).wrapping_sub(self.signed(what)?);
        if !(0..1 << 54).contains(&clock) {
            return Err(DecodeError::Invalid(what));
        }
        Ok(Stamp::from_bits((clock as u64) << 10 | u64::from(author.value())))
    }

    /// A vector as [`put_vector`] writes it.
    pub fn vector(&mut self, base: Stamp, what: &'static str) -> Result<VersionVector, DecodeError> {
        let count = self.count(what)?;
        let mut vector = VersionVector::new();
        for _ in 0..count {
            let stamp = self.stamp(base, what)?;
            vector.raise(stamp.author(), stamp);
        }
        Ok(vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn integers_of_every_size_come_back() {
        let mut out = vec![];
        let words = [0, 1, 127, 128, 1 << 31, 1 << 32, 1 << 53, u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        let wide = [0, -1, i128::MAX, i128::MIN, 1 << 100];
        words.iter().for_each(|&w| put_varint(&mut out, w));
        signed.iter().for_each(|&w| put_signed(&mut out, w));
        wide.iter().for_each(|&w| put_wide(&mut out, w));
        let mut reader = Reader::new(&out);
        words.iter().for_each(|&w| assert_eq!(reader.varint("w"), Ok(w)));
        signed.iter().for_each(|&w| assert_eq!(reader.signed("w"), Ok(w)));
        wide.iter().for_each(|&w| assert_eq!(reader.wide("w"), Ok(w)));
        assert!(reader.is_empty());
        // Whatever an integer of 64 bits is, it is the same one as a wide one.
        for &word in &signed {
            let (mut short, mut long) = (vec![], vec![]);
            put_signed(&mut short, word);
            put_wide(&mut long, i128::from(word));
            assert_eq!(short, long);
            assert_eq!(Reader::new(&long).wide("w"), Ok(i128::from(word)));
        }
    }

    #[test]
    fn a_stamp_survives_any_base() {
        let stamps = [Stamp::ZERO, Stamp::from_bits(5), Stamp::from_bits(u64::MAX), Stamp::from_bits(1 << 53)];
        for base in stamps {
            for stamp in stamps {
                let mut out = vec![];
                put_stamp(&mut out, base, stamp);
                assert_eq!(Reader::new(&out).stamp(base, "s"), Ok(stamp));
            }
        }
    }

    #[test]
    fn claimed_lengths_are_not_believed() {
        let mut out = vec![];
        put_varint(&mut out, u64::MAX);
        assert_eq!(Reader::new(&out).slice("s"), Err(DecodeError::Truncated("s")));
        assert_eq!(Reader::new(&out).count("s"), Err(DecodeError::Truncated("s")));
        assert_eq!(Reader::new(&[0x80; 12]).varint("v"), Err(DecodeError::Invalid("v")));
        assert_eq!(Reader::new(&[0xff; 30]).wide("v"), Err(DecodeError::Invalid("v")));
        assert_eq!(Reader::new(&[0xff; 9]).varint("v"), Err(DecodeError::Truncated("v")));
        assert_eq!(Reader::new(&[]).varint("v"), Err(DecodeError::Truncated("v")));
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(Reader::new(&too_large).varint("v"), Err(DecodeError::Invalid("v")));
    }
}
