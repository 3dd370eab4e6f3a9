//! A batch: what one node wrote between two drains, encoded and compressed once for every link, the ring and the disk.
//!
//! The changes inside are opaque here. A batch names its predecessor by stamp and checksum, so the batches of an origin
//! are a chain, and what it depends on by a version vector, so that an effect is never applied before its cause.

use crate::compression::Compression;
use crate::wire::{self, Reader, write_integer, write_vector};
use crate::{FrameError, limits};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, VersionVector};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The first byte of every encoded batch.
const FORMAT: u8 = 1;
const FLAG_COMPRESSED: u8 = 1;
const FLAG_HAS_PREDECESSOR: u8 = 2;
/// Format byte and checksum.
const PREFIX: usize = 9;

/// The end of an origin's chain of batches: what the next batch must name as its predecessor.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BatchTail {
    /// The last stamp of the batch; [`Stamp::ZERO`] before the first.
    pub last: Stamp,
    /// Its checksum; zero before the first.
    pub checksum: u64,
}

/// A closed batch, encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Who wrote it.
    pub origin: NodeNumber,
    /// The batch of the same origin before it.
    pub previous: BatchTail,
    /// The first stamp inside.
    pub first: Stamp,
    /// The last stamp inside: what a vector says once it is applied.
    pub last: Stamp,
    /// What the origin had applied when it wrote this. Its own entry says nothing and is left out.
    pub dependencies: VersionVector,
    /// How many changes it holds.
    pub changes: u32,
    /// Bytes of the changes before compression.
    pub raw_len: usize,
    /// Hash of everything else.
    pub checksum: u64,
    compressed: bool,
    header_len: usize,
    encoded: Bytes,
}

impl Batch {
    /// Encodes the changes `raw`, compressed if that pays as far as `compression` knows.
    ///
    /// The stamps are the origin's own, in order; whoever closes a batch has just taken them from its log.
    pub fn seal(
        previous: BatchTail,
        first: Stamp,
        last: Stamp,
        mut dependencies: VersionVector,
        changes: u32,
        raw: &[u8],
        compression: &mut Compression,
    ) -> Arc<Batch> {
        let origin = last.author();
        assert!(first.author() == origin && previous.last < first && first <= last, "a batch is a stretch of one node");
        assert!(previous.last == Stamp::ZERO || previous.last.author() == origin, "a chain belongs to one node");
        dependencies.forget(origin);
        let mut out = Vec::with_capacity(PREFIX + 48 + 12 * dependencies.len());
        out.push(FORMAT);
        out.extend_from_slice(&[0; 8]);
        let has_predecessor = previous.last != Stamp::ZERO;
        out.push(u8::from(has_predecessor) * FLAG_HAS_PREDECESSOR);
        out.extend_from_slice(&last.bits().to_le_bytes());
        write_integer(&mut out, wire::time_of(last) - wire::time_of(first));
        if has_predecessor {
            write_integer(&mut out, wire::time_of(first) - wire::time_of(previous.last));
            out.extend_from_slice(&previous.checksum.to_le_bytes());
        }
        write_vector(&mut out, &dependencies, last);
        write_integer(&mut out, u64::from(changes));
        write_integer(&mut out, raw.len() as u64);
        let header_len = out.len();
        let compressed = compression.append(&mut out, raw);
        out[PREFIX] |= u8::from(compressed) * FLAG_COMPRESSED;
        let checksum = xxh3_64(&out[PREFIX..]);
        out[1..PREFIX].copy_from_slice(&checksum.to_le_bytes());
        let previous = if has_predecessor { previous } else { BatchTail::default() };
        let raw_len = raw.len();
        let encoded = Bytes::from(out);
        Arc::new(Batch {
            origin,
            previous,
            first,
            last,
            dependencies,
            changes,
            raw_len,
            checksum,
            compressed,
            header_len,
            encoded,
        })
    }

    /// Reads the header of an encoded batch from a peer and checks the whole; the changes stay packed.
    pub fn decode(encoded: Bytes) -> Result<Arc<Batch>, FrameError> {
        if encoded.len() > limits::BATCH_BYTES_MAX {
            return Err(FrameError::TooLong { what: "a batch", bytes: encoded.len() });
        }
        Self::decode_up_to(encoded, limits::BATCH_BYTES_MAX)
    }

    /// The same with a batch that this node has kept itself. One that is too large to travel is kept all the same.
    pub fn decode_kept(encoded: Bytes) -> Result<Arc<Batch>, FrameError> {
        Self::decode_up_to(encoded, usize::MAX)
    }

    fn decode_up_to(encoded: Bytes, raw_bytes_max: usize) -> Result<Arc<Batch>, FrameError> {
        let mut reader = Reader::new(&encoded);
        if reader.byte()? != FORMAT {
            return Err(FrameError::Unknown("batch format"));
        }
        let checksum = reader.word()?;
        if checksum != xxh3_64(reader.rest()) {
            return Err(FrameError::Checksum);
        }
        let flags = reader.byte()?;
        if flags & !(FLAG_COMPRESSED | FLAG_HAS_PREDECESSOR) != 0 {
            return Err(FrameError::Unknown("batch flag"));
        }
        let last = Stamp::from_bits(reader.word()?);
        let origin = last.author();
        let first = earlier(last, reader.integer()?)?;
        let mut previous = BatchTail::default();
        if flags & FLAG_HAS_PREDECESSOR != 0 {
            let distance = reader.integer()?;
            previous = BatchTail { last: earlier(first, distance)?, checksum: reader.word()? };
            if distance == 0 || previous.last == Stamp::ZERO {
                return Err(FrameError::OutOfRange("a batch's predecessor"));
            }
        }
        if first == Stamp::ZERO {
            return Err(FrameError::OutOfRange("a batch's first stamp"));
        }
        let dependencies = reader.vector(last)?;
        let changes = reader.integer_to(u64::from(u32::MAX), "the changes of a batch")? as u32;
        let raw_len = reader.integer_to(raw_bytes_max as u64, "the size of a batch")? as usize;
        let compressed = flags & FLAG_COMPRESSED != 0;
        let payload_len = reader.rest().len();
        let honest = if compressed { raw_len / limits::EXPANSION_MAX <= payload_len } else { raw_len == payload_len };
        if !honest {
            return Err(FrameError::OutOfRange("the size of a batch"));
        }
        let header_len = encoded.len() - payload_len;
        Ok(Arc::new(Batch {
            origin,
            previous,
            first,
            last,
            dependencies,
            changes,
            raw_len,
            checksum,
            compressed,
            header_len,
            encoded,
        }))
    }

    /// The encoded form: what goes to every peer and to the journal, unchanged.
    pub fn bytes(&self) -> &Bytes {
        &self.encoded
    }

    /// The changes, unpacked. What is unpacked is bounded by the size the header claims, which `decode` has checked.
    pub fn open(&self) -> Result<Vec<u8>, FrameError> {
        let payload = &self.encoded[self.header_len..];
        if !self.compressed {
            return Ok(payload.to_vec());
        }
        let mut raw = vec![0; self.raw_len];
        self.unpack(&mut raw)?;
        Ok(raw)
    }

    /// The same, in `room` if it has to be unpacked: what is unpacked there next takes its place.
    pub fn open_in<'r>(&'r self, room: &'r mut Vec<u8>) -> Result<&'r [u8], FrameError> {
        let payload = &self.encoded[self.header_len..];
        if !self.compressed {
            return Ok(payload);
        }
        if room.len() < self.raw_len {
            // Sizes differ by a little from one batch to the next.
            let size =
                if self.raw_len > limits::SCRATCH_BYTES_MAX { self.raw_len } else { self.raw_len.next_power_of_two() };
            *room = vec![0; size];
        }
        let room = &mut room[..self.raw_len];
        self.unpack(room)?;
        Ok(room)
    }

    /// Unpacks the changes into room for exactly so many bytes as the header claims.
    fn unpack(&self, room: &mut [u8]) -> Result<(), FrameError> {
        match lz4_flex::block::decompress_into(&self.encoded[self.header_len..], room) {
            Ok(len) if len == room.len() => Ok(()),
            Ok(_) | Err(_) => Err(FrameError::Compression),
        }
    }

    /// Whether a peer would take it: what is larger reaches others as state, and never over the lane of batches.
    pub(crate) fn can_travel(&self) -> bool {
        self.raw_len <= limits::BATCH_BYTES_MAX && self.encoded.len() <= limits::BATCH_BYTES_MAX
    }

    /// The end of the chain once this batch is on it.
    pub fn tail(&self) -> BatchTail {
        BatchTail { last: self.last, checksum: self.checksum }
    }

    /// Bytes of memory that this batch takes in a ring or a waiting space, as allocators hand them out.
    pub(crate) fn weight(&self) -> usize {
        allocated(self.encoded.len()) + allocated(size_of::<Batch>() + 2 * size_of::<usize>())
    }
}

/// What an allocator takes for so many bytes: its classes are a quarter of a power of two apart.
fn allocated(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step)
}

/// The stamp of the same author that lies `distance` back.
fn earlier(stamp: Stamp, distance: u64) -> Result<Stamp, FrameError> {
    let time = wire::time_of(stamp).checked_sub(distance).ok_or(FrameError::OutOfRange("a stamp"))?;
    wire::stamp_of(time, stamp.author())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u16) -> NodeNumber {
        NodeNumber::new(n).unwrap()
    }

    fn at(ms: u64, n: u16) -> Stamp {
        Stamp::at(crdt::STAMP_EPOCH_MS + ms, node(n))
    }

    fn dependencies() -> VersionVector {
        [at(990, 0), at(2_000, 9), at(5, 1023)].map(|s| (s.author(), s)).into_iter().collect()
    }

    #[test]
    fn a_batch_comes_back_as_it_was_sealed() {
        let mut room = Vec::new();
        for (raw, previous) in [
            (vec![7u8; 10_000], BatchTail { last: at(900, 3), checksum: 99 }),
            (vec![], BatchTail::default()),
            (vec![8u8; 500], BatchTail::default()),
            ((0..=255).collect(), BatchTail::default()),
        ] {
            let sealed = Batch::seal(
                previous,
                at(1_000, 3),
                at(1_005, 3),
                dependencies(),
                17,
                &raw,
                &mut Compression::default(),
            );
            let decoded = Batch::decode(sealed.bytes().clone()).unwrap();
            assert_eq!(decoded, sealed);
            assert_eq!(decoded.open().unwrap(), raw);
            assert_eq!(decoded.open_in(&mut room).unwrap(), raw);
        }
    }

    #[test]
    fn a_batch_that_unpacks_to_less_than_it_claims_is_refused_and_what_was_unpacked_before_is_not_shown() {
        let sealed = |raw: &[u8]| {
            let compression = &mut Compression::default();
            Batch::seal(BatchTail::default(), at(1_000, 3), at(1_005, 3), dependencies(), 1, raw, compression)
        };
        let mut room = Vec::new();
        sealed(&[7; 10_000]).open_in(&mut room).unwrap();
        let short = sealed(&[8; 500]);
        assert!(short.compressed);
        for raw_len in [499, 501, 1_000] {
            let lying = Batch { raw_len, ..Batch::clone(&short) };
            assert_eq!(lying.open_in(&mut room), Err(FrameError::Compression), "{raw_len}");
            assert_eq!(lying.open(), Err(FrameError::Compression), "{raw_len}");
        }
        assert_eq!(short.open_in(&mut room).unwrap(), [8; 500]);
    }

    #[test]
    fn the_header_of_a_busy_chain_is_small() {
        let sealed = Batch::seal(
            BatchTail { last: at(999, 3), checksum: 99 },
            at(1_000, 3),
            at(1_002, 3),
            [at(990, 1), at(995, 2)].map(|s| (s.author(), s)).into_iter().collect(),
            17,
            &[],
            &mut Compression::default(),
        );
        assert!(sealed.bytes().len() <= 48, "{}", sealed.bytes().len());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let previous = BatchTail { last: at(900, 3), checksum: 99 };
        let sealed = Batch::seal(
            previous,
            at(1_000, 3),
            at(1_005, 3),
            dependencies(),
            17,
            &[5; 400],
            &mut Compression::default(),
        );
        for bit in 0..sealed.bytes().len() * 8 {
            let mut bytes = sealed.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Batch::decode(bytes.into()).is_err(), "bit {bit}");
        }
        for length in 0..sealed.bytes().len() {
            assert!(Batch::decode(sealed.bytes().slice(..length)).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_batch_with_an_honest_checksum_and_a_lying_body_does_no_harm() {
        let mut random = 1u64;
        for _ in 0..20_000 {
            let mut body: Vec<u8> = Vec::new();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for _ in 0..(random >> 58) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                body.push((random >> 56) as u8 & if random & 4 == 0 { 3 } else { 0xff });
            }
            let mut bytes = vec![FORMAT];
            bytes.extend_from_slice(&xxh3_64(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
            if let Ok(batch) = Batch::decode(bytes.into()) {
                let _ = batch.open_in(&mut Vec::new());
                let _ = batch.open();
            }
        }
    }
}
