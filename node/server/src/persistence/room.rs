//! Whether there is room for a checkpoint beside the one before it: looked at before anything of it is written, since one
//! that fills the disk takes the journal its place.
//!
//! Where the images of the checkpoint before would fit once more nothing else is asked. Where they would not, a block of
//! each group that is to be written is read out and thrown away: keys may have gone since, or only some groups have
//! changed. Of a group no more is expected than its last image took, nor more than its block and half of what that suggests of
//! the rest: what is refused does
//! clearly not fit, and what does not fit by little is found out on the way.

use super::walk::{is_unchanged, slots_of};
use crdt::Stamp;
use keyspace::Keyspace;
use storage::limits::{GROUPS, IMAGE_BLOCK_BYTES};
use storage::{CheckpointWriter, StoreError};

/// A look at how much is to be written.
#[derive(Debug, Default)]
pub(crate) struct Room {
    next_group: u16,
    /// Expected of the groups before that one.
    bytes: u64,
}

impl Room {
    /// Looks at the next group, with `block` as memory to read into. False once it is known that there is room, or nothing
    /// can be known.
    pub(crate) fn step(
        &mut self,
        keyspace: &Keyspace,
        writer: &CheckpointWriter,
        unchanged_since: Option<Stamp>,
        block: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let group = self.next_group;
        if group == 0 {
            let before: u64 = (0..GROUPS).map(|group| writer.bytes_before(group)).sum();
            if before == 0 || writer.space()? >= before {
                return Ok(false);
            }
        }
        let slots = slots_of(group);
        if !is_unchanged(keyspace, &slots, unchanged_since) {
            let read = keyspace.read_image_into(&slots, IMAGE_BLOCK_BYTES, block).max(1);
            // The slots that were read are known. What is told of the others by them is halved, and no more is told by one
            // that is larger than a block.
            let others = block.len().min(IMAGE_BLOCK_BYTES) * (slots.len() - read.min(slots.len())) / read;
            let suggested = (block.len() + others / 2) as u64;
            self.bytes += suggested.min(writer.bytes_before(group));
            block.shrink_to(2 * IMAGE_BLOCK_BYTES);
        }
        self.next_group += 1;
        if self.next_group < GROUPS {
            return Ok(true);
        }
        let (bytes, space) = (self.bytes, writer.space()?);
        if bytes > space { Err(StoreError::NoRoom { bytes, space }) } else { Ok(false) }
    }
}
