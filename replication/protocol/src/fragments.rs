//! A large batch on its way, in fragments: what has arrived of it is not sent again after a cut, nor by another peer.
//!
//! A batch is the same bytes wherever it is, so fragments fit together whoever sends them. The receiver says what it has when a
//! link stands and when it asks for batches; the sender goes on from there. A fragment that comes twice changes nothing, one
//! that comes too early is left out, and a gap is closed by asking again. What is whole is a batch like any other.

use crate::wire::Reader;
use crate::{Batch, FrameError, limits};
use bincode::{Decode, Encode};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp};
use std::collections::BTreeMap;

/// The first byte of a fragment, where a batch has that of its format.
const FRAGMENT: u8 = 2;

/// Which batch a fragment is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Whole {
    /// The last stamp of the batch.
    pub last: Stamp,
    /// Its checksum.
    pub checksum: u64,
    /// Bytes of all fragments together.
    pub bytes: usize,
}

impl Whole {
    pub(crate) fn of(batch: &Batch) -> Self {
        Self { last: batch.last, checksum: batch.checksum, bytes: batch.bytes().len() }
    }
}

/// What somebody has of a batch that came in fragments, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct HeldFragments {
    last: u64,
    checksum: u64,
    bytes: u64,
    have: u64,
}

impl HeldFragments {
    pub(crate) fn new(whole: Whole, have: usize) -> Self {
        let Whole { last, checksum, bytes } = whole;
        Self { last: last.bits(), checksum, bytes: bytes as u64, have: have as u64 }
    }

    /// Of which batch, and how many bytes.
    pub(crate) fn open(&self) -> Result<(Whole, usize), FrameError> {
        let [bytes, have] = [self.bytes, self.have].map(|word| usize::try_from(word).unwrap_or(usize::MAX));
        if have >= bytes || bytes > limits::BATCH_BYTES_MAX {
            return Err(FrameError::OutOfRange("a fragment of a batch"));
        }
        Ok((Whole { last: Stamp::from_bits(self.last), checksum: self.checksum, bytes }, have))
    }
}

/// A frame with a fragment of a batch.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Fragment {
    pub whole: Whole,
    /// Where it belongs.
    pub offset: usize,
    pub bytes: Bytes,
}

impl Fragment {
    /// The fragment of a batch at `offset`, and whether it is the last one.
    pub(crate) fn cut(batch: &Batch, offset: usize, bytes_max: usize) -> (Self, bool) {
        let end = batch.bytes().len().min(offset.saturating_add(bytes_max));
        let bytes = batch.bytes().slice(offset.min(end)..end);
        (Self { whole: Whole::of(batch), offset, bytes }, end == batch.bytes().len())
    }

    /// Whether a frame on the lane of batches is a fragment.
    pub(crate) fn is_one(frame: &[u8]) -> bool {
        frame.first() == Some(&FRAGMENT)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(33 + self.bytes.len());
        out.push(FRAGMENT);
        for word in [self.whole.last.bits(), self.whole.checksum, self.whole.bytes as u64, self.offset as u64] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
        out.into()
    }

    pub(crate) fn decode(frame: &Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader::new(frame);
        if reader.byte()? != FRAGMENT {
            return Err(FrameError::Unknown("batch format"));
        }
        let (last, checksum) = (Stamp::from_bits(reader.word()?), reader.word()?);
        let [bytes, offset] = [reader.word()?, reader.word()?].map(|word| usize::try_from(word).unwrap_or(usize::MAX));
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(FrameError::TooLong { what: "a batch", bytes });
        }
        let fragment = frame.slice(frame.len() - reader.rest().len()..);
        let fits = offset.checked_add(fragment.len()).is_some_and(|end| end <= bytes);
        if fragment.is_empty() || !fits || last == Stamp::ZERO {
            return Err(FrameError::OutOfRange("a fragment of a batch"));
        }
        Ok(Self { whole: Whole { last, checksum, bytes }, offset, bytes: fragment })
    }
}

/// What became of a fragment.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// It was here already.
    Known,
    /// Something before it is missing.
    Gap,
    /// More is to come.
    More,
    /// This is the batch.
    Whole(Bytes),
}

/// Batches that are not whole yet. They are kept when a link ends.
#[derive(Default, Debug)]
pub(crate) struct Assemblies(BTreeMap<Stamp, (Whole, Vec<u8>)>);

impl Assemblies {
    /// Takes a fragment in.
    pub(crate) fn add(&mut self, fragment: &Fragment) -> Progress {
        let last = fragment.whole.last;
        if self.0.get(&last).is_some_and(|(whole, _)| *whole != fragment.whole) {
            // One of the two is wrong: the batch that comes out of it says which.
            self.0.remove(&last);
        }
        if !self.0.contains_key(&last) && fragment.offset > 0 {
            return Progress::Gap;
        }
        let (whole, bytes) = self.0.entry(last).or_insert_with(|| (fragment.whole, Vec::new()));
        let Some(known) = bytes.len().checked_sub(fragment.offset) else { return Progress::Gap };
        if known >= fragment.bytes.len() {
            return Progress::Known;
        }
        // Only what has come counts, whatever is claimed: but it does not double.
        let more = &fragment.bytes[known..];
        if bytes.capacity() < bytes.len() + more.len() {
            bytes.reserve_exact((bytes.len() / 4).max(more.len()).min(whole.bytes - bytes.len()));
        }
        bytes.extend_from_slice(more);
        if bytes.len() < whole.bytes {
            self.keep_few(last.author());
            return Progress::More;
        }
        Progress::Whole(self.0.remove(&last).map(|(_, bytes)| bytes).unwrap_or_default().into())
    }

    /// What there is of each batch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Whole, usize)> {
        self.0.values().map(|(whole, bytes)| (*whole, bytes.len()))
    }

    /// What there is of batches of this origin, and their bytes.
    pub(crate) fn of(&self, origin: NodeNumber) -> (usize, usize) {
        let own = self.0.iter().filter(|(last, _)| last.author() == origin);
        own.fold((0, 0), |(count, sum), (_, (_, bytes))| (count + 1, sum + bytes.capacity()))
    }

    /// Forgets those that nobody wants any more.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(Stamp) -> bool) {
        self.0.retain(|&last, _| is_wanted(last));
    }

    /// Of one origin the first in line are kept: the others cannot be applied before them.
    fn keep_few(&mut self, origin: NodeNumber) {
        let own: Vec<Stamp> = self.0.keys().copied().filter(|last| last.author() == origin).collect();
        own.iter().skip(limits::ASSEMBLIES_OF_ORIGIN_MAX).for_each(|last| drop(self.0.remove(last)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchTail;
    use crate::Compression;
    use crdt::VersionVector;

    fn batch(ms: u64) -> std::sync::Arc<Batch> {
        let last = Stamp::at(crdt::STAMP_EPOCH_MS + ms, NodeNumber::new(3).unwrap());
        let raw: Vec<u8> = (0..1_000_u32).map(|index| (index * index / 7) as u8).collect();
        Batch::seal(BatchTail::default(), last, last, VersionVector::new(), 1, &raw, &mut Compression::default())
    }

    fn fragments(batch: &Batch, bytes_max: usize) -> Vec<Fragment> {
        let starts = (0..batch.bytes().len()).step_by(bytes_max);
        starts.map(|offset| Fragment::cut(batch, offset, bytes_max).0).collect()
    }

    #[test]
    fn parts_that_come_twice_or_too_early_or_in_other_sizes_make_the_same_batch() {
        let batch = batch(10);
        let (small, large) = (fragments(&batch, 100), fragments(&batch, 333));
        let mut assemblies = Assemblies::default();
        assert_eq!(assemblies.add(&small[1]), Progress::Gap);
        assert_eq!(assemblies.add(&small[0]), Progress::More);
        assert_eq!(assemblies.add(&small[0]), Progress::Known);
        assert_eq!(assemblies.add(&small[2]), Progress::Gap);
        assert_eq!(assemblies.add(&large[0]), Progress::More);
        assert_eq!(assemblies.iter().map(|(_, have)| have).collect::<Vec<_>>(), [333]);
        assert_eq!(assemblies.add(&small[2]), Progress::Known);
        small[3..small.len() - 1].iter().for_each(|fragment| assert_eq!(assemblies.add(fragment), Progress::More));
        let Progress::Whole(bytes) = assemblies.add(&small[small.len() - 1]) else { panic!("it is whole") };
        assert_eq!(Batch::decode(bytes).unwrap(), batch);
        assert_eq!(assemblies.of(batch.origin), (0, 0));
    }

    #[test]
    fn of_one_origin_few_are_kept_those_that_come_first() {
        let mut assemblies = Assemblies::default();
        for ms in [30, 10, 20, 40] {
            assemblies.add(&fragments(&batch(ms), 100)[0]);
        }
        let kept: Vec<Stamp> = assemblies.iter().map(|(whole, _)| whole.last).collect();
        assert_eq!(kept, [batch(10).last, batch(20).last]);
    }

    #[test]
    fn frames_come_back_and_claims_are_checked() {
        let batch = batch(10);
        for fragment in fragments(&batch, 100) {
            assert_eq!(Fragment::decode(&fragment.encode()), Ok(fragment));
        }
        let honest = Fragment::cut(&batch, 0, 100).0.encode();
        for at in [17, 25] {
            let mut bytes = honest.to_vec();
            bytes[at + 7] = 0xff;
            assert!(Fragment::decode(&bytes.into()).is_err());
        }
        assert!(Fragment::decode(&honest.slice(..33)).is_err());
    }
}
