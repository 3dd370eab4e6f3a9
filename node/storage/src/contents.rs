//! What a start reads again and again, after it has looked at the whole once: images, and the journal behind them.
//!
//! Nothing of it is written or removed before the first checkpoint of the new life counts, which is not taken while
//! anybody reads.

use crate::checkpoint::{ImageFacts, image_name, read_image};
use crate::fs::{Fs, StoreError, move_aside};
use crate::record::RecordView;
use crate::segment::{StoreOwner, scan};
use crate::store::{Problem, Replayed};
use std::sync::Arc;

/// The images of the last checkpoint, and the journal behind it up to some place.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) owner: StoreOwner,
    /// The numbers of the segments with records that the checkpoint does not contain, in order.
    pub(crate) segments: Vec<u64>,
    /// The first record that the checkpoint does not contain.
    pub(crate) first: u64,
    /// What the first look at the journal came to.
    pub(crate) replayed: Replayed,
}

impl Contents {
    /// Shows the blocks of an image to `visit`, in order. Nothing if the image cannot be used; then nothing was shown.
    /// May be called from several threads at once.
    pub fn read_image(
        &self,
        group: u16,
        facts: ImageFacts,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Problem>, StoreError> {
        let fault = read_image(&*self.fs, self.owner, group, facts, visit)?;
        Ok(fault.map(|fault| Problem::Image { name: image_name(facts.checkpoint, group), fault }))
    }

    /// Shows every record that the checkpoint does not contain to `visit`, in order, with its number: those that
    /// [`FoundStore::replay`](crate::FoundStore::replay) has shown. False if not all of them are there any more, because
    /// the disk has lost some since. An error of `visit` ends it.
    pub fn replay(
        &self,
        visit: &mut dyn FnMut(u64, RecordView<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let (records, mut shown) = (self.first..self.replayed.next, 0);
        for &number in &self.segments {
            scan(&*self.fs, number, &mut |sequence, record| {
                if !records.contains(&sequence) {
                    return Ok(());
                }
                shown += 1;
                visit(sequence, record)
            })?;
        }
        Ok(shown == self.replayed.records)
    }

    /// Moves an image aside that cannot be used.
    pub fn set_aside(&self, group: u16, facts: ImageFacts) -> Result<(), StoreError> {
        move_aside(&*self.fs, &image_name(facts.checkpoint, group))
    }
}
