//! The walk of a checkpoint over the keyspace: one group of slots after the other, each slot under its own lock for as
//! long as it takes to copy it.

use crdt::{Stamp, VersionVector};
use keyspace::Keyspace;
use storage::limits::{GROUPS, IMAGE_BLOCK_BYTES};
use storage::{CheckpointWriter, Manifest, StoreError};

/// A checkpoint on its way.
#[derive(Debug)]
pub(crate) struct Walk {
    writer: CheckpointWriter,
    next_group: u16,
    /// Groups that have not changed since then keep their images; none if all are to be written.
    unchanged_since: Option<Stamp>,
    /// The keyspace's clock at the beginning.
    pub clock: Stamp,
    /// Groups that were written.
    pub written: u64,
}

impl Walk {
    pub(crate) fn new(writer: CheckpointWriter, clock: Stamp, unchanged_since: Option<Stamp>) -> Self {
        Self { writer, next_group: 0, unchanged_since, clock, written: 0 }
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

    /// Does the next group. True if there are more.
    pub(crate) fn step(&mut self, keyspace: &Keyspace) -> Result<bool, StoreError> {
        let group = self.next_group;
        let slots = slots_of(group);
        if self.unchanged_since.is_some_and(|since| !keyspace.has_changed_since(&slots, since)) {
            self.writer.keep(group);
        } else {
            self.write(keyspace, group, &slots)?;
        }
        self.next_group += 1;
        Ok(self.next_group < GROUPS)
    }

    fn write(&mut self, keyspace: &Keyspace, group: u16, slots: &[u16]) -> Result<(), StoreError> {
        let mut image = None;
        let mut rest = slots;
        while !rest.is_empty() {
            let (block, done) = keyspace.read_image(rest, IMAGE_BLOCK_BYTES);
            rest = &rest[done..];
            if block.is_empty() {
                continue;
            }
            let image = match &mut image {
                Some(image) => image,
                None => image.insert(self.writer.image(group)?),
            };
            image.write(&block)?;
        }
        if let Some(image) = image {
            self.writer.finish(image)?;
            self.written += 1;
        }
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

/// The group of a slot.
pub(crate) fn group_of(slot: u16) -> u16 {
    slot / (keyspace::SLOTS / GROUPS)
}

/// The slots of a group.
pub(crate) fn slots_of(group: u16) -> Vec<u16> {
    let size = keyspace::SLOTS / GROUPS;
    (group * size..(group + 1) * size).collect()
}
