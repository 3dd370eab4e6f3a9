//! LZF, the compression of strings in RDB files; only the way back, because nothing here writes it.

use crate::error::RdbError;
use crate::limits::LZF_EXPANSION_MAX;

/// Appends what `compressed` stands for, which must be exactly `length` bytes.
pub(crate) fn decompress(compressed: &[u8], length: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
    if length > compressed.len() as u64 * LZF_EXPANSION_MAX {
        return Err(RdbError::Corrupt("a compressed string claims more than it can hold"));
    }
    let start = out.len();
    let length = length as usize;
    out.reserve(length);
    let mut rest = compressed;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        let control = usize::from(control);
        if control < LITERALS {
            // A run of bytes as they are.
            let (run, after) = rest.split_at_checked(control + 1).ok_or(SHORT)?;
            if out.len() - start + run.len() > length {
                return Err(LONG);
            }
            out.extend_from_slice(run);
            rest = after;
            continue;
        }
        // A piece of what came out before.
        let mut count = (control >> 5) + 2;
        if control >> 5 == MORE_FOLLOWS {
            let (&more, after) = rest.split_first().ok_or(SHORT)?;
            count += usize::from(more);
            rest = after;
        }
        let (&low, after) = rest.split_first().ok_or(SHORT)?;
        rest = after;
        let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
        let from = out.len().checked_sub(distance).filter(|from| *from >= start);
        let from = from.ok_or(RdbError::Corrupt("a compressed string refers to what is before it"))?;
        if out.len() - start + count > length {
            return Err(LONG);
        }
        if distance >= count {
            out.extend_from_within(from..from + count);
        } else {
            // SUBTLE: the piece overlaps itself: bytes that were just written are repeated.
            for position in from..from + count {
                out.push(out[position]);
            }
        }
    }
    if out.len() - start != length {
        return Err(RdbError::Corrupt("a compressed string is shorter than it says"));
    }
    Ok(())
}

/// Control bytes below this announce bytes as they are.
const LITERALS: usize = 32;
/// The length in the control byte that says that another byte of length follows.
const MORE_FOLLOWS: usize = 7;
const SHORT: RdbError = RdbError::Corrupt("a compressed string ends too early");
const LONG: RdbError = RdbError::Corrupt("a compressed string is longer than it says");

#[cfg(test)]
mod tests {
    use super::*;

    fn decompressed(bytes: &[u8], length: u64) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        decompress(bytes, length, &mut out).ok().map(|()| out.split_off(6))
    }

    #[test]
    fn runs_and_references_come_out_as_they_went_in() {
        assert_eq!(decompressed(&[2, b'a', b'b', b'c'], 3).unwrap(), b"abc");
        // "ab", then 8 bytes from 2 back: it overlaps itself.
        assert_eq!(decompressed(&[1, b'a', b'b', 0xc0, 1], 10).unwrap(), b"ababababab");
        // A long reference: 7 + 20 + 2 bytes from 1 back.
        assert_eq!(decompressed(&[0, b'x', 0xe0, 20, 0], 30).unwrap(), [b'x'; 30]);
        assert_eq!(decompressed(&[], 0).unwrap(), b"");
    }

    #[test]
    fn lies_about_lengths_and_distances_are_refused() {
        let cases: [(&[u8], u64); 8] = [
            (&[2, b'a', b'b'], 3),
            (&[0, b'a'], 2),
            (&[1, b'a', b'b'], 1),
            (&[1, b'a', b'b', 0xc0, 2], 10),
            (&[1, b'a', b'b', 0xc0], 10),
            (&[1, b'a', b'b', 0xe0], 10),
            (&[0x20, 0], 3),
            (&[0, b'a'], u64::MAX),
        ];
        for (bytes, length) in cases {
            assert_eq!(decompressed(bytes, length), None, "{bytes:?}");
        }
    }
}
