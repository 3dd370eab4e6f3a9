//! Access, writing parts of strings: bits, ranges, what is appended, registers of sketches.
//!
//! A patch is written down and sent as what it is, and stands beside patches of others. A string that patches have written
//! is wide until something writes it as a whole.

use crate::access::{Access, Database};
use crate::body::{KeyBody, KeyEntry};
use crate::entry::View;
use crate::hash::SLOTS;
use crate::hash::{digest_of_dot, digest_of_element, digest_of_key};
use crate::in_place::log;
use crate::keyspace::Keyspace;
use crate::shared::Shared;
use crate::write::{NewLifetime, begin_element, end_element};
use crdt::patch::Text;
use crdt::{Element, Kind, Lifetime, Operation, VersionVector};
use std::borrow::Cow;

/// Bytes that the patches of one string may take, with what they have replaced, besides as many as the string has itself.
/// Past it the string is written as a whole, which costs each of so many patches hardly more than itself.
pub const PATCHES_BYTES_MIN: usize = 64 << 10;

impl Access<'_> {
    /// Writes parts of a string: the pieces in `patch`. The caller has seen to it that the key holds a string or nothing, and
    /// that it stays within the length allowed.
    ///
    /// # Panics
    /// If the patch is not valid: no node could read the batch that contained it, nor what comes behind it.
    pub fn patch_string(&mut self, database: Database, key: &[u8], patch: &[u8]) {
        assert!(crdt::patch::check(patch).is_ok(), "patches are made by commands");
        if self.patch_in_place(database, key, patch) {
            return;
        }
        if let Some(whole) = self.whole_instead(database, key, patch) {
            return self.put_string(database, key, &whole, NewLifetime::Keep);
        }
        let earlier = self.earlier_pieces(database, key);
        let patch = if earlier.is_empty() { Cow::Borrowed(patch) } else { Cow::Owned([&*earlier, patch].concat()) };
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::String, recorder);
            recorder.record(&Operation::Patch { patch: &patch });
            end_element(entry, &found, recorder);
        });
    }

    /// The same of a string that has patches already, no increments and no end. False if the case is not that simple.
    fn patch_in_place(&mut self, database: Database, key: &[u8], patch: &[u8]) -> bool {
        let shared = &self.keyspace.shared;
        let hash = self.hash_of(key);
        let Some((entry, memory)) = self.held.slot(key).find_in_place(hash, database.0, key) else { return false };
        let Some(body) = entry.wide_mut() else { return false };
        if body.kinds() != 1 || body.lifetime() != Lifetime::Never {
            return false;
        }
        let Some(element) = body.string.as_deref_mut() else { return false };
        let last = element.patches().last().map(|last| last.stamp);
        let writer = &mut *self.writer;
        // The first patch of a string is for the general way, which notes it.
        if last.is_none_or(|last| Some(last) == self.stamp) || !element.contributions.is_empty() || is_too_much(element)
        {
            return false;
        }
        let now = self.now;
        let stamp = *self.stamp.get_or_insert_with(|| writer.stamp(shared, now));
        element.patch(stamp, patch);
        body.access = shared.access_after(body.access);
        let name = digest_of_element(digest_of_key(database.0, key), Kind::String as u8, &[]);
        memory.digest ^= digest_of_dot(name, stamp, patch);
        memory.changed = stamp;
        memory.touched(database.0, key);
        self.lookups.note(key, true);
        log(self.writer, stamp, self.in_group, database, key, &Operation::Patch { patch });
        true
    }

    /// The whole text to write where a patch does not stand well: over increments, which it would not take away, and over
    /// too many other patches.
    fn whole_instead(&mut self, database: Database, key: &[u8], patch: &[u8]) -> Option<Vec<u8>> {
        let known = self.shared().known();
        let shared = self.shared();
        let now = self.now;
        let slot = self.held.slot(key);
        let hash = shared.hasher.hash(key);
        slot.table(database.0)?;
        let entry = slot.table_mut(database.0).find_mut(hash, |entry| crate::body::key_of(entry) == key)?;
        if crate::body::lifetime_of(entry).is_over(now) {
            return None;
        }
        let is_counted = match entry.view() {
            View::Counter(_) => true,
            View::Wide(body) => body.string.as_ref().is_some_and(|element| !element.contributions.is_empty()),
            View::Packed(_) | View::Bundle(_) => false,
        };
        let is_full = entry.wide_mut().and_then(|body| body.string.as_deref_mut()).is_some_and(|element| {
            if is_too_much(element) {
                fold(database.0, key, element, &known);
            }
            is_too_much(element)
        });
        if !is_counted && !is_full {
            return None;
        }
        if is_full {
            shared.count_made_whole();
        }
        let bytes = self.string(database, key).ok()??.into_owned();
        let mut text = Text { bytes, is_there: true };
        text.apply(patch, true);
        Some(text.bytes)
    }

    /// What the same command has patched before.
    fn earlier_pieces(&mut self, database: Database, key: &[u8]) -> Vec<u8> {
        let Some(stamp) = self.stamp else { return Vec::new() };
        let shared = self.shared();
        let entry = self.locked(key).find(shared, database.0, key);
        let Some(View::Wide(KeyBody { string: Some(element), .. })) = entry.map(|entry| entry.view()) else {
            return Vec::new();
        };
        let last = element.patches().last().filter(|last| last.stamp == stamp);
        last.map_or_else(Vec::new, |last| last.payload.to_vec())
    }
}

/// Whether a string has no room for another patch.
fn is_too_much(element: &Element) -> bool {
    element.patch_bytes() > PATCHES_BYTES_MIN + element.text_len()
}

/// Folds what every member has of a string.
fn fold(database: u8, key: &[u8], element: &mut Element, known: &VersionVector) -> bool {
    let name = digest_of_element(digest_of_key(database, key), Kind::String as u8, &[]);
    element.fold_known(|dot| known.covers(dot), |dot, value| digest_of_dot(name, dot, value))
}

impl Keyspace {
    /// Every member has applied everything up to here, and nobody's writes that had not seen it are still to come: what
    /// patches are kept for is over for those it covers.
    pub fn note_known(&self, known: VersionVector) {
        self.shared.set_known(known);
    }

    /// Folds patches that every member has, slot by slot until `is_late` says that the time is used up; the next call goes
    /// on there. Call it now and then.
    pub fn fold_patches(&self, is_late: &dyn Fn() -> bool) {
        if self.shared.patched() == 0 {
            return;
        }
        let known = self.shared.known();
        let first = self.shared.fold_from();
        for number in (first..SLOTS).chain(0..first) {
            match self.slot(number).fold_patches(&self.shared, &known, is_late) {
                Folded::Nothing => {}
                Folded::All if !is_late() => {}
                Folded::All => return self.shared.set_fold_from((number + 1) % SLOTS),
                // Others may have the slot in between.
                Folded::Some => return self.shared.set_fold_from(number),
            }
        }
    }

    /// How many patches were made whole writes because their string had too many.
    pub fn patches_made_whole(&self) -> u64 {
        self.shared.made_whole()
    }

    /// How many strings have patches that may not be everywhere yet.
    pub fn patched_strings(&self) -> u64 {
        self.shared.patched()
    }
}

/// How far the strings of a slot were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folded {
    /// There are none.
    Nothing,
    /// The time was used up: those that are left come next.
    Some,
    /// All of them.
    All,
}

impl crate::slot::Slot {
    /// Folds the strings of the slot one after the other until `is_late` says that the time is used up.
    fn fold_patches(&mut self, shared: &Shared, known: &VersionVector, is_late: &dyn Fn() -> bool) -> Folded {
        let Some(mut noted) = self.memory.take_patched() else { return Folded::Nothing };
        let count = noted.len();
        let mut left = std::collections::BTreeSet::new();
        let mut is_over = false;
        while !is_over {
            let Some((database, hash)) = noted.pop_first() else { break };
            is_over = is_late();
            let is_patched = |entry: &KeyEntry| match entry.view() {
                View::Wide(body) => body.string.as_ref().is_some_and(|element| !element.patches().is_empty()),
                View::Packed(_) | View::Counter(_) | View::Bundle(_) => false,
            };
            let entry = self.table_mut(database).find_mut(hash, is_patched);
            let Some(body) = entry.and_then(|entry| entry.wide_mut()) else { continue };
            let Some(element) = body.string.as_deref_mut() else { continue };
            fold(database, &body.key, element, known);
            if !element.patches().is_empty() {
                left.insert((database, hash));
            }
        }
        noted.extend(left);
        let has_folded = noted.len() < count;
        shared.count_patched(noted.len() as i64 - count as i64);
        self.memory.put_patched(noted);
        // Where nothing can be folded yet the others come next.
        if is_over && has_folded { Folded::Some } else { Folded::All }
    }
}

#[cfg(test)]
mod tests;
