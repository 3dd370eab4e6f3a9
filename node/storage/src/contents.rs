//! What a start reads again and again, after it has looked at the whole once: images, and the journal behind them.
//!
//! Nothing of it is written or removed before the first checkpoint of the new life counts, which is not taken while
//! anybody reads.

use crate::checkpoint::{ImageFacts, image_name, read_image};
use crate::fs::{Fs, StoreError, move_aside};
use crate::record::RecordView;
use crate::segment::{StoreOwner, scan};
use crate::store::Problem;
use std::sync::Arc;

/// The images of the last checkpoint, and the journal behind it up to some place.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) owner: StoreOwner,
    /// The numbers of the segments with records that the checkpoint does not contain, in order.
    pub(crate) segments: Vec<u64>,
    /// The first record and the one behind the last.
    pub(crate) records: std::ops::Range<u64>,
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
    /// [`FoundStore::replay`](crate::FoundStore::replay) has shown.
    pub fn replay(&self, visit: &mut dyn FnMut(u64, RecordView<'_>)) -> Result<(), StoreError> {
        for &number in &self.segments {
            scan(&*self.fs, number, &mut |sequence, record| {
                if self.records.contains(&sequence) {
                    visit(sequence, record);
                }
            })?;
        }
        Ok(())
    }

    /// Moves an image aside that cannot be used.
    pub fn set_aside(&self, group: u16, facts: ImageFacts) -> Result<(), StoreError> {
        move_aside(&*self.fs, &image_name(facts.checkpoint, group))
    }
}
