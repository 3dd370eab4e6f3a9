//! The walk of a checkpoint over the keyspace: one group of slots after the other, each slot under its own lock for as
//! long as it takes to copy it.

use super::room::Room;
use crdt::{Stamp, VersionVector};
use keyspace::Keyspace;
use storage::limits::{GROUPS, IMAGE_BLOCK_BYTES};
use storage::{CheckpointWriter, ImageForm, ImageWriter, Manifest, StoreError};

/// A checkpoint on its way.
#[derive(Debug)]
pub(crate) struct Walk {
    writer: CheckpointWriter,
    /// Until it is known whether there is room for it.
    room: Option<Room>,
    next_group: u16,
    /// The image of that group, once something of it is written, and how many of its slots are done.
    image: Option<ImageWriter>,
    slots_done: usize,
    /// The form that it has at least: what was met in it.
    form: ImageForm,
    /// Memory for the next block.
    block: Vec<u8>,
    /// Groups that have not changed since then keep their images; none if all are to be written.
    unchanged_since: Option<Stamp>,
    /// The keyspace's clock at the beginning.
    pub clock: Stamp,
    /// Which run of a checkpoint it is.
    pub run: u64,
    /// Groups that were written.
    pub written: u64,
}

impl Walk {
    /// The walk of this run, as [`Checkpoints::begun`](super::checkpoints::Checkpoints::begun) has numbered it.
    pub(crate) fn new(run: u64, writer: CheckpointWriter, clock: Stamp, unchanged_since: Option<Stamp>) -> Self {
        Self {
            writer,
            room: Some(Room::default()),
            next_group: 0,
            image: None,
            slots_done: 0,
            form: ImageForm::Plain,
            block: Vec::new(),
            unchanged_since,
            clock,
            run,
            written: 0,
        }
    }

    /// Where in the journal it began.
    pub(crate) fn position(&self) -> u64 {
        self.writer.start().position
    }

    /// Groups that are done.
    pub(crate) fn groups(&self) -> u64 {
        u64::from(self.next_group)
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Does the next block, or passes a group by that has not changed. True if there is more.
    pub(crate) fn step(&mut self, keyspace: &Keyspace) -> Result<bool, StoreError> {
        if let Some(room) = &mut self.room {
            if !room.step(keyspace, &self.writer, self.unchanged_since, &mut self.block)? {
                self.room = None;
            }
            return Ok(true);
        }
        let group = self.next_group;
        let slots = slots_of(group);
        let is_begun = self.slots_done > 0;
        if !is_begun && is_unchanged(keyspace, &slots, self.unchanged_since) {
            self.writer.keep(group);
        } else {
            self.write_block(keyspace, group, &slots)?;
            if self.slots_done < slots.len() {
                return Ok(true);
            }
            (self.slots_done, self.form) = (0, ImageForm::Plain);
            if let Some(image) = self.image.take() {
                self.writer.finish(image)?;
                self.written += 1;
            }
        }
        self.next_group += 1;
        Ok(self.next_group < GROUPS)
    }

    fn write_block(&mut self, keyspace: &Keyspace, group: u16, slots: &[u16]) -> Result<(), StoreError> {
        self.slots_done += keyspace.read_image_into(&slots[self.slots_done..], IMAGE_BLOCK_BYTES, &mut self.block);
        if !self.block.is_empty() {
            self.form = self.writer.form_for(&self.block, self.form);
            if let Some(image) = self.image.take_if(|image| !image.takes(&self.block)) {
                // What its head says must be so for every reader: it is begun anew.
                self.writer.take_back(image)?;
                self.slots_done = 0;
                return Ok(());
            }
            let image = match &mut self.image {
                Some(image) => image,
                None => {
                    // Slots come to be in part at a start alone, before anything of them is written.
                    let in_part = slots.iter().any(|&slot| keyspace.is_in_part(slot));
                    let form = if in_part { self.form.max(ImageForm::InPart) } else { self.form };
                    self.image.insert(self.writer.image(group, form)?)
                }
            };
            image.write(&self.block)?;
        }
        // A huge slot's memory is not kept for the small ones behind it.
        self.block.shrink_to(2 * IMAGE_BLOCK_BYTES);
        Ok(())
    }

    /// Makes it count.
    pub(crate) fn commit(
        self,
        end: VersionVector,
        notes: Vec<u8>,
        keys: u64,
        now_ms: u64,
    ) -> Result<Manifest, StoreError> {
        self.writer.commit(end, notes, keys, now_ms)
    }
}

/// Whether nothing has changed in some slots since then; nothing if that is not known of any.
pub(super) fn is_unchanged(keyspace: &Keyspace, slots: &[u16], since: Option<Stamp>) -> bool {
    since.is_some_and(|since| !keyspace.has_changed_since(slots, since))
}

/// The group of a slot.
pub(crate) fn group_of(slot: u16) -> u16 {
    slot / (keyspace::SLOTS / GROUPS)
}

/// The slots of a group.
pub(crate) fn slots_of(group: u16) -> Vec<u16> {
    let size = keyspace::SLOTS / GROUPS;
    (group * size..(group + 1) * size).collect()
}

#[cfg(test)]
mod tests;
