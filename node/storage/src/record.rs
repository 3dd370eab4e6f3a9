//! What the journal is made of: batches, pieces of state sessions, and vectors that such sessions end with.

use crate::frame::{Place, put_frame};
use bytes::Bytes;
use crdt::encoding::{Reader, put_vector};
use crdt::{NodeNumber, Stamp, VersionVector};

/// One record of the journal, to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A batch, own or received, as it travels.
    Batch {
        /// The last stamp of the batch of the same origin before it; zero if there is none.
        previous: Stamp,
        /// Its last stamp, which names its origin.
        last: Stamp,
        /// The batch.
        bytes: Bytes,
    },
    /// Slots that a state session brought, as they travelled.
    Slots(Bytes),
    /// A state session is through: the vector rises to this one.
    Raised(VersionVector),
}

/// One record of the journal, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordView<'a> {
    /// A batch.
    Batch {
        /// The last stamp of the batch of the same origin before it.
        previous: Stamp,
        /// Its last stamp, which names its origin.
        last: Stamp,
        /// The batch.
        bytes: &'a [u8],
    },
    /// Slots that a state session brought.
    Slots(&'a [u8]),
    /// The vector of a session that is through.
    Raised(VersionVector),
}

const BATCH: u8 = 1;
const SLOTS: u8 = 2;
const RAISED: u8 = 3;

impl Record {
    /// Bytes that it takes in a queue.
    pub fn weight(&self) -> u64 {
        let contents = match self {
            Self::Batch { bytes, .. } | Self::Slots(bytes) => bytes.len(),
            Self::Raised(vector) => vector.len() * 16,
        };
        contents as u64 + 64
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>, place: Place) {
        match self {
            Self::Batch { previous, last, bytes } => {
                let stamps = [previous.bits().to_le_bytes(), last.bits().to_le_bytes()];
                put_frame(out, place, BATCH, &[&stamps[0], &stamps[1], bytes]);
            }
            Self::Slots(bytes) => put_frame(out, place, SLOTS, &[bytes]),
            Self::Raised(vector) => {
                let mut encoded = Vec::new();
                put_vector(&mut encoded, Stamp::ZERO, vector);
                put_frame(out, place, RAISED, &[&encoded]);
            }
        }
    }

    /// The batch's origin and stamps: what the index of a segment keeps.
    pub(crate) fn link(&self) -> Option<(NodeNumber, Stamp, Stamp)> {
        match self {
            Self::Batch { previous, last, .. } => Some((last.author(), *previous, *last)),
            Self::Slots(_) | Self::Raised(_) => None,
        }
    }
}

impl<'a> RecordView<'a> {
    /// Reads the payload of a frame; nothing if it is no record of this version.
    pub(crate) fn read(kind: u8, payload: &'a [u8]) -> Option<Self> {
        match kind {
            BATCH => {
                let (previous, rest) = payload.split_first_chunk::<8>()?;
                let (last, bytes) = rest.split_first_chunk::<8>()?;
                let stamp = |word: &[u8; 8]| Stamp::from_bits(u64::from_le_bytes(*word));
                Some(Self::Batch { previous: stamp(previous), last: stamp(last), bytes })
            }
            SLOTS => Some(Self::Slots(payload)),
            RAISED => {
                let mut reader = Reader::new(payload);
                let vector = reader.vector(Stamp::ZERO, "a vector").ok()?;
                reader.is_empty().then_some(Self::Raised(vector))
            }
            _ => None,
        }
    }

    pub(crate) fn link(&self) -> Option<(NodeNumber, Stamp, Stamp)> {
        match self {
            Self::Batch { previous, last, .. } => Some((last.author(), *previous, *last)),
            Self::Slots(_) | Self::Raised(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Step, step};

    #[test]
    fn records_come_back_as_they_were_put() {
        let stamp = |bits: u64| Stamp::from_bits(bits << 10 | 5);
        let vector: VersionVector =
            [stamp(7), Stamp::from_bits(9 << 10 | 6)].map(|s| (s.author(), s)).into_iter().collect();
        let place = Place { file: 1, sequence: 2 };
        let read = |record: &Record| {
            let mut bytes = Vec::new();
            record.put(&mut bytes, place);
            let Step::Frame { kind, payload, .. } = step(&bytes, place) else { panic!("no frame") };
            format!("{:?}", RecordView::read(kind, payload).unwrap())
        };
        let batch = Record::Batch { previous: stamp(1), last: stamp(2), bytes: Bytes::from_static(b"batch") };
        let expected = RecordView::Batch { previous: stamp(1), last: stamp(2), bytes: b"batch" };
        assert_eq!(read(&batch), format!("{expected:?}"));
        assert_eq!(read(&Record::Slots(Bytes::from_static(b"s"))), format!("{:?}", RecordView::Slots(b"s")));
        assert_eq!(read(&Record::Raised(vector.clone())), format!("{:?}", RecordView::Raised(vector)));
        assert_eq!(RecordView::read(9, b""), None);
        assert_eq!(RecordView::read(BATCH, &[0; 15]), None);
        assert_eq!(RecordView::read(RAISED, &[0, 0]), None);
    }
}
