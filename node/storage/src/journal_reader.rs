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

/// Reads batches of one origin back.
#[derive(Clone, Debug)]
pub struct JournalReader {
    fs: Arc<dyn Fs>,
    segments: Segments,
}

/// A segment, with the offset and record in it.
type Found = (u64, (u64, u64));

impl JournalReader {
    pub(crate) fn new(fs: Arc<dyn Fs>, segments: Segments) -> Self {
        Self { fs, segments }
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
        {
            let segments = self.segments.lock();
            for segment in segments.iter().rev() {
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
            let index = scan(&*self.fs, number, &mut |_, _| {})?.map(|scanned| scanned.index).unwrap_or_default();
            let place = index.place(origin, after);
            if let Some(segment) = self.segments.lock().iter_mut().find(|segment| segment.number == number) {
                segment.index = Some(index);
            }
            if let Some(place) = place {
                return Ok(Some((number, place)));
            }
        }
        Ok(None)
    }
}
