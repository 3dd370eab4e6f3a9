//! Whether compressing pays: learnt from what was tried lately, for everything that a node packs.
//!
//! LZ4 takes a sixth of the time in which a node takes in changes that it cannot make smaller: images, encrypted texts,
//! hexadecimal digests. So a sample is tried first, and as long as that does not get smaller most of what comes is left as
//! it is. Who packs holds one [`Compression`] for batches and state together, since both consist of the same values.
//! What is packed is packed once, for every link, the ring and the disk.

use crate::limits::{
    COMPRESS_FROM_BYTES, COMPRESS_UP_TO_BYTES, PROBE_SAMPLE_BYTES, SAVED_ONE_OF, SCRATCH_BYTES_MAX, UNTRIED_BYTES_MAX,
    UNTRIED_BYTES_MIN,
};
use lz4_flex::block::{compress_into, get_maximum_output_size};

/// What has become of everything so far; counts only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressionFigures {
    /// Bytes of batches and state before they were packed.
    pub bytes_before: u64,
    /// The same afterwards, compressed or not.
    pub bytes_after: u64,
    /// Batches and pieces of state that were left as they were because compressing did not pay lately.
    pub left_untried: u64,
    /// Samples that were tried, and batches too small for one that were tried whole.
    pub probes: u64,
}

/// What was learnt.
#[derive(Debug, Default)]
pub struct Compression {
    /// Bytes that are left as they are before the next try; 0 while compressing pays.
    untried: u64,
    /// How many bytes that was the last time, doubled with each try that did not pay; 0 while compressing pays.
    rest: u64,
    /// What is compressed into, unless it is larger than this keeps.
    scratch: Vec<u8>,
    figures: CompressionFigures,
}

impl Compression {
    /// What has become of everything so far.
    pub fn figures(&self) -> CompressionFigures {
        self.figures
    }

    /// Appends `raw` as an LZ4 block, if that is tried and makes it smaller; else as it is. Says whether it is a block.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, raw: &[u8]) -> bool {
        let start = out.len();
        let packed = self.is_to_be_tried(raw) && self.try_whole(out, raw);
        if !packed {
            out.reserve_exact(raw.len());
            out.extend_from_slice(raw);
        }
        self.note_bytes(raw.len(), out.len() - start);
        packed
    }

    /// `raw` as an LZ4 block behind 4 bytes with its length, as state travels: a block of literals alone if compressing
    /// does not pay.
    ///
    /// # Panics
    /// If `raw` has 4 GiB or more: no piece of state may.
    pub fn block_with_size(&mut self, raw: &[u8]) -> Vec<u8> {
        let size = u32::try_from(raw.len()).expect("a piece of state is smaller than 4 GiB");
        let mut out = size.to_le_bytes().to_vec();
        if !(self.is_to_be_tried(raw) && self.try_whole(&mut out, raw)) {
            append_literals(&mut out, raw);
        }
        self.note_bytes(raw.len(), out.len());
        out
    }

    fn note_bytes(&mut self, before: usize, after: usize) {
        self.figures.bytes_before += before as u64;
        self.figures.bytes_after += after as u64;
    }

    /// Whether to compress all of it: a sample says so, unless the samples before it have said for long that it does not
    /// pay.
    fn is_to_be_tried(&mut self, raw: &[u8]) -> bool {
        if !(COMPRESS_FROM_BYTES..=COMPRESS_UP_TO_BYTES).contains(&raw.len()) {
            return false;
        }
        if let Some(untried) = self.untried.checked_sub(raw.len() as u64) {
            self.untried = untried;
            self.figures.left_untried += 1;
            return false;
        }
        self.figures.probes += 1;
        // A sample is worth its time where the rest is much more.
        if raw.len() < 4 * PROBE_SAMPLE_BYTES {
            return true;
        }
        let middle = (raw.len() - PROBE_SAMPLE_BYTES) / 2;
        let sample = &raw[middle..middle + PROBE_SAMPLE_BYTES];
        let scratch = scratch_of(&mut self.scratch, get_maximum_output_size(sample.len()));
        let packed = compress_into(sample, scratch).unwrap_or(sample.len());
        let paid = self.learn(sample.len(), packed);
        self.figures.left_untried += u64::from(!paid);
        paid
    }

    /// Notes how much smaller something became. True if it paid; if not, the next bytes are left as they are.
    fn learn(&mut self, before: usize, after: usize) -> bool {
        let paid = after <= before - before / SAVED_ONE_OF;
        self.rest = if paid { 0 } else { (self.rest * 2).clamp(UNTRIED_BYTES_MIN, UNTRIED_BYTES_MAX) };
        self.untried = self.rest;
        paid
    }

    /// Appends the whole as an LZ4 block; false, and nothing is appended, if that is no smaller. Nothing else holds a copy
    /// meanwhile: it may be half a gigabyte.
    fn try_whole(&mut self, out: &mut Vec<u8>, raw: &[u8]) -> bool {
        let (start, size) = (out.len(), get_maximum_output_size(raw.len()));
        let packed = if size <= SCRATCH_BYTES_MAX {
            let scratch = scratch_of(&mut self.scratch, size);
            let packed = compress_into(raw, scratch).unwrap_or(raw.len());
            if packed < raw.len() {
                out.reserve_exact(packed);
                out.extend_from_slice(&scratch[..packed]);
            }
            packed
        } else {
            out.resize(start + size, 0);
            let packed = compress_into(raw, &mut out[start..]).unwrap_or(raw.len());
            out.truncate(if packed < raw.len() { start + packed } else { start });
            out.shrink_to_fit();
            packed
        };
        self.learn(raw.len(), packed);
        packed < raw.len()
    }
}

/// So many bytes of the scratch, whatever is in them.
fn scratch_of(scratch: &mut Vec<u8>, size: usize) -> &mut [u8] {
    if scratch.len() < size {
        scratch.resize(size, 0);
    }
    &mut scratch[..size]
}

/// Appends an LZ4 block that holds `raw` as it is: one sequence, which is the last and so has literals alone.
fn append_literals(out: &mut Vec<u8>, raw: &[u8]) {
    const IN_TOKEN_MAX: usize = 15;
    out.reserve_exact(raw.len() + raw.len() / 255 + 2);
    out.push((raw.len().min(IN_TOKEN_MAX) as u8) << 4);
    if let Some(mut rest) = raw.len().checked_sub(IN_TOKEN_MAX) {
        while rest >= 255 {
            out.push(255);
            rest -= 255;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(raw);
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::block::{decompress, decompress_size_prepended};

    /// Bytes that nothing makes smaller.
    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    /// What people store: records with the same names and other values.
    fn records(bytes: usize, seed: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut number = seed;
        while out.len() < bytes {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (id, age) = (number >> 40, number >> 57);
            out.extend_from_slice(
                format!("{{\"id\":{id},\"age\":{age},\"country\":\"NL\",\"active\":true}}").as_bytes(),
            );
        }
        out.truncate(bytes);
        out
    }

    /// Bytes that come of packing everything, and how many were tried whole.
    fn packed(compression: &mut Compression, raws: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
        let (mut bytes, mut tried) = (0, 0);
        for raw in raws {
            let mut out = Vec::new();
            let is_block = compression.append(&mut out, &raw);
            let back = if is_block { decompress(&out, raw.len()).unwrap() } else { out.clone() };
            assert!(back == raw);
            bytes += out.len();
            tried += usize::from(is_block);
        }
        (bytes, tried)
    }

    #[test]
    fn what_does_not_get_smaller_is_hardly_tried() {
        let mut compression = Compression::default();
        let raws = (0..1_000).map(|seed| noise(256 << 10, seed));
        let (bytes, tried) = packed(&mut compression, raws);
        let figures = compression.figures();
        assert_eq!((bytes, tried), (1_000 * (256 << 10), 0));
        assert!(figures.probes <= 2 + 1_000 * (256 << 10) / UNTRIED_BYTES_MAX + 16, "{figures:?}");
        assert_eq!(figures.left_untried, 1_000);
        assert_eq!((figures.bytes_before, figures.bytes_after), (bytes as u64, bytes as u64));
    }

    #[test]
    fn what_gets_smaller_is_as_small_as_if_everything_was_tried() {
        for size in [200, 4_000, 60_000, 300_000] {
            let raws: Vec<Vec<u8>> = (0..200).map(|seed| records(size, seed)).collect();
            let each: usize = raws.iter().map(|raw| lz4_flex::block::compress(raw).len()).sum();
            let (bytes, tried) = packed(&mut Compression::default(), raws.into_iter());
            assert_eq!((bytes, tried), (each, 200), "{size}");
        }
    }

    #[test]
    fn some_noise_in_between_costs_the_rest_little() {
        // One batch in ten is a picture.
        let raws: Vec<Vec<u8>> =
            (0..500).map(|at| if at % 10 == 0 { noise(256 << 10, at) } else { records(256 << 10, at) }).collect();
        let pays = |raw: &Vec<u8>| lz4_flex::block::compress(raw).len().min(raw.len());
        let each: usize = raws.iter().map(pays).sum();
        let (bytes, _) = packed(&mut Compression::default(), raws.into_iter());
        assert!(bytes <= each + each / 8, "{bytes} instead of {each}");
    }

    #[test]
    fn what_begins_to_get_smaller_is_compressed_again_soon() {
        let mut compression = Compression::default();
        packed(&mut compression, (0..2_000).map(|seed| noise(64 << 10, seed)));
        let raws: Vec<Vec<u8>> = (0..1_000).map(|seed| records(64 << 10, seed)).collect();
        let (_, tried) = packed(&mut compression, raws.into_iter());
        assert!((1_000 - tried) * (64 << 10) <= UNTRIED_BYTES_MAX as usize + (64 << 10), "{tried}");
    }

    #[test]
    fn state_is_a_block_whether_it_was_compressed_or_not() {
        let mut compression = Compression::default();
        for size in [0, 1, 14, 15, 16, 127, 128, 269, 270, 271, 525, 70_000, 300_000] {
            for raw in [noise(size, 5), records(size, 5)] {
                let out = compression.block_with_size(&raw);
                assert!(decompress_size_prepended(&out).unwrap() == raw, "{size}");
                assert!(out.len() <= size + size / 255 + 6);
            }
        }
        assert!(compression.figures().left_untried > 0);
    }
}
