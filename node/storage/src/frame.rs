//! Frames: how the journal, images and the manifest are cut into pieces that can be checked one by one.
//!
//! A frame is its length, a check of that, a checksum, a kind and the payload. The checks also hash where the frame
//! belongs, so that one that lies in the wrong place is no better than one that is damaged. The check of the length tells
//! a frame that was cut off from one that was altered. `FORMAT.md` has the bytes.

use crate::limits::RECORD_BYTES_MAX;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before a frame's payload.
pub(crate) const HEAD: usize = 17;

/// Where a frame belongs: in which file, as the how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file's number.
    pub file: u64,
    /// The frame's number.
    pub sequence: u64,
}

impl Place {
    fn seed(self) -> u64 {
        self.file.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.sequence.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
    }
}

/// What stands at a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A frame, of so many bytes in all.
    Frame { kind: u8, payload: &'a [u8], bytes: usize },
    /// The end.
    End,
    /// The beginning of a frame, and then the end.
    Torn,
    /// A frame whose contents are not what was written; the next one begins after so many bytes.
    Damaged { bytes: usize },
    /// Nothing that a frame begins with.
    Lost,
}

/// Appends a frame whose payload is all parts together.
pub(crate) fn put_frame(out: &mut Vec<u8>, place: Place, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= RECORD_BYTES_MAX, "whoever makes a record keeps to its limit");
    let start = out.len();
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&head_check(length as u32, place).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.push(kind);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    let checksum = xxh3_64_with_seed(&out[start + HEAD - 1..], place.seed());
    out[start + 8..start + 16].copy_from_slice(&checksum.to_le_bytes());
}

/// Looks at what `bytes` begin with.
pub(crate) fn step(bytes: &[u8], place: Place) -> Step<'_> {
    if bytes.is_empty() {
        return Step::End;
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Step::Torn };
    let length = word32(&head[..4]);
    if word32(&head[4..8]) != head_check(length, place) || length as usize > RECORD_BYTES_MAX {
        return Step::Lost;
    }
    let Some(payload) = rest.get(..length as usize) else { return Step::Torn };
    let whole = HEAD + length as usize;
    let mut checksum = [0; 8];
    checksum.copy_from_slice(&head[8..16]);
    if u64::from_le_bytes(checksum) != xxh3_64_with_seed(&bytes[HEAD - 1..whole], place.seed()) {
        return Step::Damaged { bytes: whole };
    }
    Step::Frame { kind: head[16], payload, bytes: whole }
}

/// How long the frame is that begins so, if its head is sound.
pub(crate) fn frame_length(head: &[u8], place: Place) -> Option<usize> {
    let head = head.get(..HEAD)?;
    let length = word32(&head[..4]);
    (word32(&head[4..8]) == head_check(length, place)).then_some(HEAD + length as usize)
}

fn head_check(length: u32, place: Place) -> u32 {
    xxh3_64_with_seed(&length.to_le_bytes(), place.seed()) as u32
}

fn word32(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { file: 3, sequence: 9 };

    #[test]
    fn a_frame_is_read_where_it_was_put_and_nowhere_else() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, HERE, 7, &[b"ab", b"", b"cde"]);
        assert_eq!(step(&bytes, HERE), Step::Frame { kind: 7, payload: b"abcde", bytes: HEAD + 5 });
        assert_eq!(step(&bytes, Place { file: 4, ..HERE }), Step::Lost);
        assert_eq!(step(&bytes, Place { sequence: 8, ..HERE }), Step::Lost);
        assert_eq!(step(&[], HERE), Step::End);
    }

    #[test]
    fn a_cut_is_told_from_an_alteration() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, HERE, 1, &[&[5; 40]]);
        for length in 1..bytes.len() {
            assert_eq!(step(&bytes[..length], HERE), Step::Torn, "cut at {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 { Step::Lost } else { Step::Damaged { bytes: bytes.len() } };
            assert_eq!(step(&altered, HERE), expected, "bit {bit}");
        }
        assert_eq!(step(&[0; 100], HERE), Step::Lost);
    }
}
