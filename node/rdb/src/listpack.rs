//! Listpacks: short strings and integers in one block, the small form of most collections since Redis 7.0.
//!
//! Six bytes of header (total length, number of elements), then elements, each followed by its own length so that it can
//! be read from the end, then 0xff.

use crate::error::RdbError;
use crate::score::score;
use std::io::Write as _;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed<'b> {
    /// A string.
    Text(&'b [u8]),
    /// A string that is an integer.
    Integer(i64),
}

/// A block ends within an element.
pub(crate) const SHORT: RdbError = RdbError::Corrupt("a packed collection ends too early");

impl<'b> Packed<'b> {
    /// The text of `length` bytes after an element's header, and where it ends.
    pub(crate) fn text_at(bytes: &'b [u8], header: usize, length: usize) -> Result<(Self, usize), RdbError> {
        let end = header.checked_add(length).ok_or(SHORT)?;
        bytes.get(header..end).map(|text| (Self::Text(text), end)).ok_or(SHORT)
    }

    /// The integer of `width` bytes after the one that says so, and where it ends.
    pub(crate) fn integer_at(bytes: &'b [u8], width: usize) -> Result<(Self, usize), RdbError> {
        let digits = bytes.get(1..width + 1).ok_or(SHORT)?;
        Ok((Self::Integer(little_endian(digits)), width + 1))
    }

    /// Appends it as text.
    pub(crate) fn write_to(self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Integer(value) => write!(out, "{value}")?,
        }
        Ok(())
    }

    /// Its value, if it is an integer.
    pub(crate) fn integer(self) -> Result<i64, RdbError> {
        match self {
            Self::Integer(value) => Ok(value),
            Self::Text(_) => Err(RdbError::Corrupt("a text where an integer belongs")),
        }
    }

    /// Its value as a score of a sorted set.
    pub(crate) fn score(self) -> Result<f64, RdbError> {
        match self {
            Self::Integer(value) => Ok(value as f64),
            Self::Text(text) => score(text),
        }
    }
}

/// The elements of a listpack, one after the other.
pub(crate) struct Listpack<'b> {
    rest: &'b [u8],
}

impl<'b> Listpack<'b> {
    /// Looks at the header.
    pub(crate) fn new(bytes: &'b [u8]) -> Result<Self, RdbError> {
        let total = bytes.first_chunk::<4>().map(|total| u32::from_le_bytes(*total) as usize);
        match (total, bytes.get(HEADER_BYTES..)) {
            (Some(total), Some(rest)) if total == bytes.len() && !rest.is_empty() => Ok(Self { rest }),
            _ => Err(RdbError::Corrupt("the length of a listpack is wrong")),
        }
    }

    /// The next element, which must be there.
    pub(crate) fn expect(&mut self) -> Result<Packed<'b>, RdbError> {
        self.next()?.ok_or(RdbError::Corrupt("a listpack has too few elements"))
    }

    /// The next element; nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Packed<'b>>, RdbError> {
        let bytes = self.rest;
        let (&first, after) = bytes.split_first().ok_or(SHORT)?;
        let text = |header, length| Packed::text_at(bytes, header, length);
        let integer = |count| Packed::integer_at(bytes, count);
        let second = || after.first().map(|byte| usize::from(*byte)).ok_or(SHORT);
        let (packed, length) = match first {
            END => {
                return if after.is_empty() {
                    Ok(None)
                } else {
                    Err(RdbError::Corrupt("a listpack goes on after its end"))
                };
            }
            0..=0x7f => (Packed::Integer(i64::from(first)), 1),
            0x80..=0xbf => text(1, usize::from(first & 0x3f))?,
            0xc0..=0xdf => {
                let value = (i64::from(first & 0x1f) << 8) | second()? as i64;
                (Packed::Integer(if value >= 1 << 12 { value - (1 << 13) } else { value }), 2)
            }
            0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | second()?)?,
            0xf0 => {
                let length = after.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
                text(5, length.ok_or(SHORT)?)?
            }
            0xf1 => integer(2)?,
            0xf2 => integer(3)?,
            0xf3 => integer(4)?,
            0xf4 => integer(8)?,
            0xf5..=0xfe => return Err(RdbError::Corrupt("a listpack has an unknown encoding")),
        };
        self.rest = bytes.get(length + back_length_bytes(length)..).ok_or(SHORT)?;
        Ok(Some(packed))
    }
}

/// An integer of one to eight bytes, the last with the sign.
pub(crate) fn little_endian(bytes: &[u8]) -> i64 {
    let magnitude = bytes.iter().rev().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    if unused == 64 { 0 } else { (magnitude << unused) as i64 >> unused }
}

/// A listpack as it is written.
pub(crate) struct ListpackWriter {
    bytes: Vec<u8>,
    elements: usize,
}

impl ListpackWriter {
    /// One without elements.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], elements: 0 }
    }

    /// Adds a string; as an integer if it is one in its shortest form.
    pub(crate) fn push(&mut self, text: &[u8]) {
        match integer_of(text) {
            Some(value) => self.push_integer(value),
            None => self.push_text(text),
        }
    }

    /// Adds an integer.
    pub(crate) fn push_integer(&mut self, value: i64) {
        let start = self.bytes.len();
        let little = value.to_le_bytes();
        match value {
            0..=0x7f => self.bytes.push(value as u8),
            -0x1000..=0xfff => {
                let bits = value as u16 & 0x1fff;
                self.bytes.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            -0x8000..=0x7fff => self.push_sized(0xf1, &little[..2]),
            -0x80_0000..=0x7f_ffff => self.push_sized(0xf2, &little[..3]),
            -0x8000_0000..=0x7fff_ffff => self.push_sized(0xf3, &little[..4]),
            _ => self.push_sized(0xf4, &little),
        }
        self.end_element(start);
    }

    fn push_text(&mut self, text: &[u8]) {
        let start = self.bytes.len();
        match text.len() {
            length @ 0..=0x3f => self.bytes.push(0x80 | length as u8),
            length @ 0x40..=0xfff => self.bytes.extend_from_slice(&[0xe0 | (length >> 8) as u8, length as u8]),
            length => self.push_sized(0xf0, &(length as u32).to_le_bytes()),
        }
        self.bytes.extend_from_slice(text);
        self.end_element(start);
    }

    fn push_sized(&mut self, encoding: u8, bytes: &[u8]) {
        self.bytes.push(encoding);
        self.bytes.extend_from_slice(bytes);
    }

    /// The element's length, seven bits a byte, so that it can be read backwards.
    fn end_element(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        let count = back_length_bytes(length);
        for index in (0..count).rev() {
            let bits = (length >> (7 * index)) as u8 & 0x7f;
            self.bytes.push(if index + 1 == count { bits } else { bits | 0x80 });
        }
        self.elements += 1;
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.elements
    }

    /// Bytes so far.
    pub(crate) fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// The whole block.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = (self.bytes.len() as u32).to_le_bytes();
        let elements = u16::try_from(self.elements).unwrap_or(u16::MAX).to_le_bytes();
        self.bytes[..4].copy_from_slice(&total);
        self.bytes[4..HEADER_BYTES].copy_from_slice(&elements);
        self.bytes
    }
}

/// The integer whose shortest decimal text this is.
pub(crate) fn integer_of(text: &[u8]) -> Option<i64> {
    if text.len() > INTEGER_TEXT_BYTES_MAX {
        return None;
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] if digits.len() == text.len() => {}
        [b'1'..=b'9', ..] if digits.iter().all(u8::is_ascii_digit) => {}
        _ => return None,
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// How many bytes the length behind an element takes.
const fn back_length_bytes(length: usize) -> usize {
    match length {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// `-9223372036854775808`.
const INTEGER_TEXT_BYTES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, RdbError> {
        let (mut pack, mut texts) = (Listpack::new(bytes)?, Vec::new());
        while let Some(packed) = pack.next()? {
            let mut text = Vec::new();
            packed.write_to(&mut text)?;
            texts.push(text);
        }
        Ok(texts)
    }

    #[test]
    fn what_was_written_is_read() {
        let mut texts: Vec<Vec<u8>> =
            [0, 1, 63, 64, 127, 128, 4095, 4096, 16_384, 70_000].map(|length| vec![b'x'; length]).to_vec();
        for bits in 0..63 {
            for value in [1i64 << bits, (1 << bits) - 1, -(1 << bits), -(1 << bits) - 1, i64::MIN, i64::MAX] {
                texts.push(value.to_string().into_bytes());
            }
        }
        texts.extend(["-0", "01", "+1", "-", "1a", "9223372036854775808"].map(|text| text.as_bytes().to_vec()));
        let mut writer = ListpackWriter::new();
        texts.iter().for_each(|text| writer.push(text));
        assert_eq!(writer.len(), texts.len());
        let bytes = writer.finish();
        assert_eq!(read(&bytes).unwrap(), texts);
        for length in 0..bytes.len().min(400) {
            assert!(read(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn integers_of_every_width_keep_their_sign() {
        assert_eq!(little_endian(&[0xff]), -1);
        assert_eq!(little_endian(&[0xff, 0x7f]), 0x7fff);
        assert_eq!(little_endian(&[0, 0, 0x80]), -0x80_0000);
        assert_eq!(little_endian(&i64::MIN.to_le_bytes()), i64::MIN);
    }
}
