//! The small forms of collections before Redis 7.0, which are only read: ziplists, zipmaps, and sets of integers (these
//! are still written).

use crate::error::RdbError;
use crate::listpack::{Packed, SHORT, little_endian};

/// The elements of a ziplist, one after the other.
pub(crate) struct Ziplist<'b> {
    rest: &'b [u8],
}

impl<'b> Ziplist<'b> {
    /// Looks at the header: total length, place of the last element, number of elements.
    pub(crate) fn new(bytes: &'b [u8]) -> Result<Self, RdbError> {
        let total = bytes.first_chunk::<4>().map(|total| u32::from_le_bytes(*total) as usize);
        match (total, bytes.get(10..)) {
            (Some(total), Some(rest)) if total == bytes.len() && !rest.is_empty() => Ok(Self { rest }),
            _ => Err(RdbError::Corrupt("the length of a ziplist is wrong")),
        }
    }

    /// The next element; nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Packed<'b>>, RdbError> {
        // The length of the element before this one comes first.
        let bytes = match self.rest {
            [0xff] => return Ok(None),
            [0xff, ..] => return Err(RdbError::Corrupt("a ziplist goes on after its end")),
            [0xfe, rest @ ..] => rest.get(4..).ok_or(SHORT)?,
            [_, rest @ ..] => rest,
            [] => return Err(SHORT),
        };
        let (&first, after) = bytes.split_first().ok_or(SHORT)?;
        let text = |header, length| Packed::text_at(bytes, header, length);
        let integer = |count| Packed::integer_at(bytes, count);
        let (packed, length) = match first {
            0..=0x3f => text(1, usize::from(first))?,
            0x40..=0x7f => text(2, usize::from(first & 0x3f) << 8 | usize::from(*after.first().ok_or(SHORT)?))?,
            0x80..=0xbf => {
                let length = after.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
                text(5, length.ok_or(SHORT)?)?
            }
            0xc0 => integer(2)?,
            0xd0 => integer(4)?,
            0xe0 => integer(8)?,
            0xf0 => integer(3)?,
            0xfe => integer(1)?,
            0xf1..=0xfd => (Packed::Integer(i64::from(first & 0x0f) - 1), 1),
            _ => return Err(RdbError::Corrupt("a ziplist has an unknown encoding")),
        };
        self.rest = bytes.get(length..).ok_or(SHORT)?;
        Ok(Some(packed))
    }
}

/// Fields and values of a zipmap in turn.
pub(crate) fn read_zipmap(bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), RdbError> {
    let mut rest = bytes.get(1..).ok_or(SHORT)?;
    let mut is_value = false;
    loop {
        let (length, header) = match rest {
            [0xff] if !is_value => return Ok(()),
            [0xfe, length @ ..] => {
                let length = length.first_chunk::<4>().ok_or(SHORT)?;
                (u32::from_le_bytes(*length) as usize, 5)
            }
            [0xff, ..] => return Err(RdbError::Corrupt("a zipmap ends in the wrong place")),
            [length, ..] => (usize::from(*length), 1),
            [] => return Err(SHORT),
        };
        // A value may have unused bytes after it, counted in a byte before it.
        let (start, unused) =
            if is_value { (header + 1, usize::from(*rest.get(header).ok_or(SHORT)?)) } else { (header, 0) };
        let end = start.checked_add(length).ok_or(SHORT)?;
        each(rest.get(start..end).ok_or(SHORT)?);
        rest = rest.get(end + unused..).ok_or(SHORT)?;
        is_value = !is_value;
    }
}

/// The members of a set of integers.
pub(crate) fn read_intset(bytes: &[u8], mut each: impl FnMut(i64)) -> Result<(), RdbError> {
    let (header, members) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
    let [a, b, c, d, e, f, g, h] = *header;
    let (width, count) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width) != Some(members.len()) {
        return Err(RdbError::Corrupt("the length of a set of integers is wrong"));
    }
    members.chunks_exact(width).for_each(|member| each(little_endian(member)));
    Ok(())
}

/// A set of integers, which are in order and different.
pub(crate) fn write_intset(members: &[i64]) -> Vec<u8> {
    let fits = |low: i64, high: i64| members.iter().all(|member| (low..=high).contains(member));
    let width = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    let mut bytes = Vec::with_capacity(8 + members.len() * width);
    bytes.extend_from_slice(&(width as u32).to_le_bytes());
    bytes.extend_from_slice(&(members.len() as u32).to_le_bytes());
    members.iter().for_each(|member| bytes.extend_from_slice(&member.to_le_bytes()[..width]));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ziplist(entries: &[u8]) -> Result<Vec<String>, RdbError> {
        let mut bytes = ((11 + entries.len()) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(entries);
        bytes.push(0xff);
        let (mut list, mut texts) = (Ziplist::new(&bytes)?, Vec::new());
        while let Some(packed) = list.next()? {
            let mut text = Vec::new();
            packed.write_to(&mut text)?;
            texts.push(String::from_utf8_lossy(&text).into_owned());
        }
        Ok(texts)
    }

    #[test]
    fn elements_of_a_ziplist_have_every_width() {
        let entries = [
            &[0, 1, b'a'][..],
            &[3, 0x40, 2, b'b', b'c'],
            &[5, 0x80, 0, 0, 0, 1, b'd'],
            &[7, 0xf1],
            &[2, 0xfd],
            &[0xfe, 2, 0, 0, 0, 0xfe, 0xff],
            &[7, 0xc0, 0, 0x80],
            &[4, 0xf0, 0xff, 0xff, 0x7f],
            &[5, 0xd0, 1, 0, 0, 0],
            &[6, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ];
        let expected = ["a", "bc", "d", "0", "12", "-1", "-32768", "8388607", "1", "-1"];
        assert_eq!(ziplist(&entries.concat()).unwrap(), expected);
        assert!(ziplist(&[0, 2, b'a']).is_err());
        assert!(ziplist(&[0, 0xff]).is_err());
    }

    #[test]
    fn a_zipmap_has_room_after_its_values() {
        let mut texts = Vec::new();
        let mut each = |text: &[u8]| texts.push(text.to_vec());
        read_zipmap(&[1, 1, b'f', 2, 3, b'v', b'w', 0, 0, 0, 0xff], &mut each).unwrap();
        assert_eq!(texts, [b"f".to_vec(), b"vw".to_vec()]);
        for bytes in [&[][..], &[1], &[1, 1, b'f', 0xff], &[1, 1], &[1, 1, b'f', 1, 9, b'v', 0xff], &[1, 0xff, 0xff]] {
            assert!(read_zipmap(bytes, |_| ()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn sets_of_integers_are_as_wide_as_their_widest_member() {
        for members in [&[-1, 0, 32_767][..], &[-32_769, 5], &[0, i64::MAX], &[]] {
            let bytes = write_intset(members);
            let mut read = Vec::new();
            read_intset(&bytes, |member| read.push(member)).unwrap();
            assert_eq!(read, members);
            assert!(read_intset(&[bytes, vec![0]].concat(), |_| ()).is_err());
        }
    }
}
