//! Reading back: the middle tier of catch-up, between the ring in memory and comparing state.
//!
//! May be used by another thread than the one that writes. Segments of earlier lives are looked through when something is
//! first sought in them.

use crate::fs::{Fs, StoreError};
use crate::journal::Segments;
use crate::limits::READ_BACK_BYTES;
use crate::record::RecordView;
use crate::segment::{read_from, scan};
use crdt::{NodeNumber, Stamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads batches of one origin back.
#[derive(Clone, Debug)]
pub struct JournalReader {
    fs: Arc<dyn Fs>,
    segments: Segments,
    /// The first record that this life writes.
    begins: u64,
    /// The first that may be read back.
    from: Arc<AtomicU64>,
}

/// A segment, with the offset and record in it.
type Found = (u64, (u64, u64));

impl JournalReader {
    /// Over the journal of a life whose first record is `begins`. Records before `from` are not read back.
    pub(crate) fn new(fs: Arc<dyn Fs>, segments: Segments, begins: u64, from: u64) -> Self {
        Self { fs, segments, begins, from: Arc::new(AtomicU64::new(from)) }
    }

    /// Reads back nothing any more that earlier lives wrote.
    ///
    /// SUBTLE: behind a hole there may be batches that this node never applied, though its vector passes them one day:
    /// peers bring what they have of the number, and where nobody has its tail, the number is sealed without it. A peer
    /// that was given such a batch would then have what nobody else has.
    pub fn forget_earlier_lives(&self) {
        self.from.fetch_max(self.begins, Ordering::AcqRel);
    }

    /// From here on nothing before this record is read back.
    pub fn forget_before(&self, record: u64) {
        self.from.fetch_max(record, Ordering::AcqRel);
    }

    /// The first record that may be read back.
    pub fn from(&self) -> u64 {
        self.from.load(Ordering::Acquire)
    }

    /// The batches of `origin` that follow `after`, an unbroken chain of about `bytes_max` bytes, at least one; none if
    /// the journal does not reach back so far, or holds nothing newer.
    pub fn batches_after(
        &self,
        origin: NodeNumber,
        after: Stamp,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut batches = Vec::new();
        let (mut reached, mut bytes) = (after, 0);
        while bytes < bytes_max {
            let Some((segment, place)) = self.find(origin, reached)? else { break };
            let before = reached;
            read_from(&*self.fs, segment, place, READ_BACK_BYTES, &mut |record| {
                let RecordView::Batch { previous, last, bytes: batch } = record else { return true };
                if last.author() != origin || last <= reached {
                    return true;
                }
                if previous > reached {
                    return false;
                }
                reached = last;
                bytes += batch.len();
                batches.push(batch.to_vec());
                bytes < bytes_max
            })?;
            if reached == before {
                break;
            }
        }
        Ok(batches)
    }

    /// The segment and place where what follows `after` begins.
    fn find(&self, origin: NodeNumber, after: Stamp) -> Result<Option<Found>, StoreError> {
        let mut unread = Vec::new();
        let from = self.from();
        {
            let segments = self.segments.lock();
            // Each life begins a segment of its own.
            for segment in segments.iter().rev().take_while(|segment| segment.first >= from) {
                match &segment.index {
                    Some(index) => {
                        if let Some(place) = index.place(origin, after) {
                            return Ok(Some((segment.number, place)));
                        }
                    }
                    None => unread.push(segment.number),
                }
            }
        }
        for number in unread {
            let Some(scanned) = scan(&*self.fs, number, &mut |_, _| Ok(()))? else { continue };
            let place = scanned.index.place(origin, after);
            // What the disk could not read this time it may read the next time.
            if !scanned.is_cut
                && let Some(segment) = self.segments.lock().iter_mut().find(|segment| segment.number == number)
            {
                segment.index = Some(scanned.index);
            }
            if let Some(place) = place {
                return Ok(Some((number, place)));
            }
        }
        Ok(None)
    }
}
