//! How frames lie on a stream: a short preamble that names the lane, then length and bytes, again and again.
//!
//! Pure. Bytes come from outside: nothing panics, and no length is believed before its bytes are there.

use crate::limits;
use bytes::Bytes;
use protocol::Lane;
use thiserror::Error;

/// What every stream begins with.
pub(crate) const PREAMBLE_BYTES: usize = 2;
/// The bytes of a frame's length, little endian.
pub(crate) const HEADER_BYTES: usize = 4;

const VERSION: u8 = 1;

/// Why a stream cannot be read on. It closes the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {bytes} bytes came on the {lane:?} lane, where {most} are allowed")]
    TooLong { lane: Lane, bytes: usize, most: usize },
    #[error("a stream began with {0:?} in place of the {1:?} lane")]
    Preamble([u8; PREAMBLE_BYTES], Lane),
}

/// What the stream of a lane begins with.
pub(crate) fn preamble(lane: Lane) -> [u8; PREAMBLE_BYTES] {
    [VERSION, lane_number(lane)]
}

/// The number of a lane on the wire.
const fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Batches => 1,
        Lane::State => 2,
        Lane::Messages => 3,
    }
}

/// Checks that a stream is the lane that is due.
pub(crate) fn check_preamble(found: [u8; PREAMBLE_BYTES], due: Lane) -> Result<(), FrameError> {
    if found == preamble(due) { Ok(()) } else { Err(FrameError::Preamble(found, due)) }
}

/// The length that stands before a frame.
pub(crate) fn header(bytes: usize) -> [u8; HEADER_BYTES] {
    (bytes as u32).to_le_bytes()
}

/// Puts the pieces of a stream together to frames.
pub(crate) struct FrameAssembler {
    lane: Lane,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    body: Vec<u8>,
    body_bytes: usize,
}

impl FrameAssembler {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, header: [0; HEADER_BYTES], header_bytes: 0, body: Vec::new(), body_bytes: 0 }
    }

    /// Takes bytes off the front of `input` until a frame is complete or the input is used up.
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, FrameError> {
        if self.header_bytes < HEADER_BYTES {
            let some = split(input, HEADER_BYTES - self.header_bytes);
            self.header[self.header_bytes..][..some.len()].copy_from_slice(some);
            self.header_bytes += some.len();
            if self.header_bytes < HEADER_BYTES {
                return Ok(None);
            }
            self.begin_body()?;
        }
        self.body.extend_from_slice(split(input, self.body_bytes - self.body.len()));
        if self.body.len() < self.body_bytes {
            return Ok(None);
        }
        self.header_bytes = 0;
        Ok(Some(Bytes::from(std::mem::take(&mut self.body))))
    }

    fn begin_body(&mut self) -> Result<(), FrameError> {
        let bytes = u32::from_le_bytes(self.header) as usize;
        let most = self.lane.frame_bytes_max();
        if bytes > most {
            return Err(FrameError::TooLong { lane: self.lane, bytes, most });
        }
        self.body_bytes = bytes;
        self.body = Vec::with_capacity(bytes.min(limits::FRAME_RESERVE_BYTES_MAX));
        Ok(())
    }
}

fn split<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (some, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(frames: &[&[u8]]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&header(frame.len())[..], frame].concat()).collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let long = vec![9; 5000];
        let frames: [&[u8]; 5] = [b"one", b"", &long, b"x", b""];
        let bytes = stream(&frames);
        for cut in [1, 2, 3, 5, 7, 64, 4999, bytes.len()] {
            let mut assembler = FrameAssembler::new(Lane::Batches);
            let mut found = Vec::new();
            for mut piece in bytes.chunks(cut) {
                while let Some(frame) = assembler.take(&mut piece).unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, frames, "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_length_is_refused_before_anything_is_reserved_for_it() {
        for lane in Lane::ALL {
            let most = lane.frame_bytes_max();
            let mut assembler = FrameAssembler::new(lane);
            assert_eq!(
                assembler.take(&mut &header(most + 1)[..]),
                Err(FrameError::TooLong { lane, bytes: most + 1, most })
            );
            let mut assembler = FrameAssembler::new(lane);
            assert_eq!(assembler.take(&mut &header(most)[..]), Ok(None));
            assert!(assembler.body.capacity() <= limits::FRAME_RESERVE_BYTES_MAX);
        }
    }

    #[test]
    fn a_stream_of_another_lane_is_refused() {
        assert!(check_preamble(preamble(Lane::State), Lane::State).is_ok());
        assert!(check_preamble(preamble(Lane::State), Lane::Control).is_err());
        assert!(check_preamble(*b"GE", Lane::Control).is_err());
    }
}
