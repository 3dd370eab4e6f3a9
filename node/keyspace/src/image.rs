//! Images: slots read out for the node's own disk, and loaded again at its next start.
//!
//! An image of a slot is what a state session would list of it for a peer that has nothing, with what the slot has seen
//! at that moment. So loading is merging into an empty slot, and batches that are replayed over it meet the same rules as
//! those that reach a slot ahead of the vector. Nothing here knows a file.

use crate::hash::SLOTS;
use crate::keyspace::Keyspace;
use crate::slot::Slot;
use crdt::{DecodeError, Stamp, UnixMillis};

impl Keyspace {
    /// Reads slots until about `bytes_max` bytes are there, each under its own lock, without those that hold nothing.
    /// Returns the bytes, none if no slot holds anything, and how many of the slots are done.
    pub fn read_image(&self, numbers: &[u16], bytes_max: usize) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        let done = self.read_image_into(numbers, bytes_max, &mut out);
        (out, done)
    }

    /// The same into memory that is there already, in the place of what it held.
    pub fn read_image_into(&self, numbers: &[u16], bytes_max: usize, out: &mut Vec<u8>) -> usize {
        out.clear();
        let applied = self.begin_chunk_in(out);
        let head = out.len();
        let mut done = 0;
        for &number in numbers {
            if out.len() >= bytes_max {
                break;
            }
            done += 1;
            if number < SLOTS && !holds_nothing(&self.slot(number)) {
                self.read_slot_for_image(number, &applied, out);
            }
        }
        if out.len() == head {
            out.clear();
        }
        done
    }

    /// Loads what [`Keyspace::read_image`] wrote, before the node has a number and serves anybody. The vector does not
    /// rise; the slots know how far they have seen.
    pub fn load_image(&self, block: &[u8], now: UnixMillis) -> Result<(), DecodeError> {
        self.merge_image(block, now)
    }

    /// Images of some slots are lost: the node does not have everything up to its vector after all. The other slots do, and
    /// know it of themselves; the vector begins anew, and peers bring the rest.
    ///
    /// SUBTLE: what the journal had of a lost slot stays in it, so it is not what any vector says until the node's has come
    /// as far again. Neither does it have all that a state session has brought on top of what was lost.
    pub fn forget_applied(&self, is_lost: &dyn Fn(u16) -> bool) {
        let known = self.applied();
        for number in 0..SLOTS {
            let mut slot = self.slot(number);
            // Also of one that holds nothing: what it held was removed.
            let context = slot.memory.context_or_new();
            if is_lost(number) {
                let brought = std::mem::take(&mut context.vector);
                context.in_part.join(&brought);
                context.in_part.join(&known);
            } else {
                context.vector.join(&known);
            }
        }
        self.shared.forget_applied();
    }

    /// Whether anything that an image contains has changed in these slots after `since`.
    pub fn has_changed_since(&self, numbers: &[u16], since: Stamp) -> bool {
        numbers.iter().any(|&number| self.slot(number).memory.last_imaged() > since)
    }

    /// Memory of the changes that workers have handed over and no batch contains yet.
    pub fn undrained_bytes(&self) -> u64 {
        self.logs.lock().iter().map(|log| log.buffer.lock().memory() as u64).sum()
    }
}

/// Whether there is nothing about a slot that its node's vector does not say.
fn holds_nothing(slot: &Slot) -> bool {
    let is_empty = |database| slot.table(database).is_none_or(|table| table.is_empty());
    slot.databases().all(is_empty) && slot.memory.context().is_none() && slot.memory.resets().len() == 0
}

#[cfg(test)]
mod tests {
    use crate::{Database, Drain, Keyspace, NewLifetime, slot_of};
    use crdt::{NodeNumber, STAMP_EPOCH_MS, VersionVector};

    #[test]
    fn only_an_image_says_that_a_slot_has_lost_something() {
        let now = STAMP_EPOCH_MS + 1000;
        let keyspaces = [Keyspace::new(1), Keyspace::new(2), Keyspace::new(3)];
        let [lossy, back, peer] = &keyspaces;
        lossy.set_number(NodeNumber::new(1).unwrap());
        let mut writer = lossy.writer();
        writer.access(now, &[b"k"]).put_string(Database(0), b"k", b"v", NewLifetime::Keep);
        drop(Drain::default().take(lossy));
        let slot = slot_of(b"k");
        let mut applied = VersionVector::new();
        applied.raise(NodeNumber::new(1).unwrap(), lossy.clock());
        lossy.raise_applied(&applied);
        lossy.forget_applied(&|number| number == slot);
        let (block, _) = lossy.read_image(&[slot], usize::MAX);
        back.load_image(&block, now).unwrap();
        assert!(lossy.is_in_part(slot) && back.is_in_part(slot));
        assert!(peer.merge_slots(&[block], now).is_err() && !peer.is_in_part(slot));
    }
}
