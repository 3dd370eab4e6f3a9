//! The merge rules of strings with patches: what [`crate::merge`] says of elements, said of whole writes and patches alike.

use crate::body::KeyBody;
use crate::hash::{digest_of_dot, digest_of_element};
use crate::merge::{Site, Write};
use crdt::{Dropped, Element, Kind, Stamp};

impl Site<'_> {
    /// Adds a patch to the string.
    pub(crate) fn patch(&mut self, body: &mut KeyBody, stamp: Stamp, patch: &[u8]) {
        let digest = self.string_digest();
        if !self.is_new(stamp, digest) {
            return;
        }
        let element = body.string.get_or_insert_default();
        self.add_patch(digest, element, stamp, patch);
    }

    /// Adds a live patch; one with the same dot (an earlier one of the same command) gives way.
    pub(crate) fn add_patch(&mut self, digest: u64, element: &mut Element, stamp: Stamp, patch: &[u8]) {
        if let Ok(at) = element.patches().binary_search_by_key(&stamp, |patch| patch.stamp) {
            self.memory.digest ^= digest_of_dot(digest, stamp, &element.patches()[at].payload);
        }
        self.memory.digest ^= digest_of_dot(digest, stamp, patch);
        element.patch(stamp, patch);
        if element.patches().len() == 1 {
            self.note_patched();
        }
    }

    /// Drops what the author of a change had folded.
    pub(crate) fn remove_folded(&mut self, body: &mut KeyBody, last: Stamp) {
        let digest = self.string_digest();
        if let Some(element) = &mut body.string {
            self.drop_writes(digest, element, |dot| dot <= last);
        }
    }

    /// Drops writes of the string, and takes them out of the digest.
    pub(crate) fn drop_writes(&mut self, digest: u64, element: &mut Element, goes: impl FnMut(Stamp) -> bool) {
        let sum = &mut self.memory.digest;
        element.drop_writes(goes, |dropped| {
            *sum ^= match dropped {
                Dropped::Write(dot, value) => digest_of_dot(digest, dot, value),
                Dropped::Fold(digest) => digest,
            }
        });
    }

    /// The rules for a whole write or a removal of a string with patches.
    pub(crate) fn put_over_patches(&mut self, digest: u64, element: &mut Element, write: &Write<'_>) {
        // There may be as many as the string has patches: each with whether it was here, in the order of stamps.
        let mut drops: smallvec::SmallVec<[(Stamp, bool); 2]> = write.drops.iter().map(|&dot| (dot, false)).collect();
        drops.sort_unstable();
        drops.dedup();
        self.drop_writes(digest, element, |dot| {
            let drop = drops.binary_search_by_key(&dot, |(drop, _)| *drop).ok();
            drop.into_iter().for_each(|at| drops[at].1 = true);
            drop.is_some() || (dot.author() == write.stamp.author() && dot < write.stamp)
        });
        // What is folded has been seen by all, and is not remembered.
        drops.iter().filter(|(_, was_here)| !was_here).for_each(|&(dot, _)| self.remember_drop(dot, digest));
        let (kind, name) = (Kind::String, &[]);
        write.resets.iter().for_each(|reset| self.reset(kind, name, digest, element, reset, write.stamp));
        if let Some(value) = write.value
            && self.is_new(write.stamp, digest)
        {
            element.lift();
            self.add_sibling(digest, element, write.stamp, value);
            element.lay();
        }
    }

    /// Notes that the string has patches: they are folded when everybody has them.
    fn note_patched(&mut self) {
        let hash = self.shared.hasher.hash(self.key);
        let is_new = self.memory.note_patched(self.database, hash);
        self.shared.count_patched(i64::from(is_new));
    }

    /// The digest's hash of the string's name.
    pub(crate) fn string_digest(&self) -> u64 {
        digest_of_element(self.key_digest, Kind::String as u8, &[])
    }
}
