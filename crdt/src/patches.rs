//! Strings with patches: what is made of whole writes and patches that no whole write has observed.
//!
//! **The text is what the writes that stand make in the order of their stamps**, whole ones and patches. So the latest whole
//! write counts, and the patches later than it; what is earlier shows again only if that write is removed. Contributions of
//! counters are added to the text as to any other.
//!
//! While patches show, the element's winner lends its bytes to the text, so that a patch costs what it changes and not what
//! it is done to. [`Element::lift`] takes the patches back, in which state siblings are what they are elsewhere, and
//! [`Element::lay`] does them again. Whoever looks at siblings of a string lifts it before.
//!
//! What every member has can be **folded**: the earliest writes become one sibling under the dot of the first of them, with
//! the sum of their hashes. A fold changes nothing that anybody reads or compares, so that nodes fold when they like. It is
//! sound because whoever observes one of these writes from then on has observed all: they go together.

use crate::patch::{Text, Undo};
use crate::{Element, Stamp};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A write of a part of a string.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Its dot.
    pub stamp: Stamp,
    /// Its pieces.
    pub payload: Box<[u8]>,
    undo: Undo,
}

/// The writes that one sibling stands for, whose own dot is the first of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The last of them. Every write of the string from its beginning up to here is in it, or was removed.
    pub last: Stamp,
    /// The exclusive or of the hashes of all of them.
    pub digest: u64,
}

/// What a string has besides whole writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patches {
    /// In the order of stamps.
    writes: Vec<Patch>,
    /// Folded writes, with the first of them: the dot of the sibling that stands for them. An earlier write may arrive
    /// after they were folded.
    fold: Option<(Stamp, Fold)>,
    /// What readers see, while patches are laid.
    text: Text,
    /// Whether patches are laid.
    is_laid: bool,
    /// Whether one of the laid patches can be taken back without those above it.
    can_redo: bool,
    /// Bytes of pieces and of what they replaced.
    bytes: usize,
}

/// A write that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped<'a> {
    /// One write: its dot and its value or pieces.
    Write(Stamp, &'a [u8]),
    /// Folded ones, with the exclusive or of their hashes.
    Fold(u64),
}

/// What one patch takes besides its pieces and what it replaces.
const PATCH_BYTES: usize = size_of::<Patch>();

impl Element {
    /// Patches that stand, in the order of their stamps.
    pub fn patches(&self) -> &[Patch] {
        self.patched.as_ref().map_or(&[], |patched| &patched.writes)
    }

    /// The dots of all writes, whole ones and patches; of folded ones the first.
    pub fn writes(&self) -> impl Iterator<Item = Stamp> + Clone + '_ {
        self.siblings.iter().map(|&(dot, _)| dot).chain(self.patches().iter().map(|patch| patch.stamp))
    }

    /// Whether there are patches or folded writes: then siblings alone are not what the element is.
    pub fn is_patched(&self) -> bool {
        self.patched.is_some()
    }

    /// Folded writes: the first of them and what is known of all.
    pub fn fold(&self) -> Option<(Stamp, Fold)> {
        let folded = self.patched.as_ref()?.fold;
        folded.filter(|(first, _)| self.siblings.iter().any(|(stamp, _)| stamp == first))
    }

    /// Bytes that patches take, with what they replace.
    pub fn patch_bytes(&self) -> usize {
        self.patched.as_ref().map_or(0, |patched| patched.bytes + patched.writes.len() * PATCH_BYTES)
    }

    /// Bytes of the text that is laid.
    pub(crate) fn laid_text(&self) -> Option<&[u8]> {
        let patched = self.patched.as_ref().filter(|patched| patched.is_laid)?;
        Some(&patched.text.bytes)
    }

    /// The length of the text that readers see.
    pub fn text_len(&self) -> usize {
        self.laid_text().or_else(|| self.winner().map(|(_, value)| &**value)).map_or(0, <[u8]>::len)
    }

    /// The room that the text on which patches are laid takes.
    pub fn text_room(&self) -> usize {
        self.patched.as_ref().map_or(0, |patched| patched.text.bytes.capacity())
    }

    /// Adds a patch. One with the same dot (an earlier one of the same command) gives way.
    pub fn patch(&mut self, stamp: Stamp, payload: &[u8]) {
        let winner = self.winner().map_or(Stamp::ZERO, |&(stamp, _)| stamp);
        let patched = self.patched.get_or_insert_default();
        let at = patched.writes.partition_point(|patch| patch.stamp < stamp);
        let is_there = patched.writes.get(at).is_some_and(|patch| patch.stamp == stamp);
        let is_hidden = stamp < winner;
        let is_last = at == patched.writes.len();
        if is_there || !patched.is_laid || !(is_hidden || is_last || patched.lets_in(at, payload)) {
            self.lift();
            if let Some(patched) = &mut self.patched {
                let patch = Patch { stamp, payload: payload.into(), undo: Undo::Nothing };
                if is_there {
                    patched.bytes -= patched.writes[at].payload.len();
                    patched.writes[at] = patch;
                } else {
                    patched.writes.insert(at, patch);
                }
                patched.bytes += payload.len();
            }
            self.lay();
            return;
        }
        let undo = if is_hidden { Undo::Nothing } else { patched.text.apply(payload, patched.can_redo) };
        patched.can_redo |= undo.is_whole();
        patched.bytes += payload.len() + undo.heap_bytes();
        patched.writes.insert(at, Patch { stamp, payload: payload.into(), undo });
    }

    /// Takes patches off the text: the winner has its bytes again.
    pub fn lift(&mut self) {
        let Some(patched) = self.patched.as_deref_mut().filter(|patched| patched.is_laid) else { return };
        let mut is_known = true;
        for patch in patched.writes.iter_mut().rev() {
            let undo = core::mem::replace(&mut patch.undo, Undo::Nothing);
            patched.bytes -= undo.heap_bytes();
            if is_known || undo.is_whole() {
                is_known = patched.text.undo(&undo);
            }
        }
        debug_assert!(is_known, "the first of those that cannot be taken back alone notes the whole text");
        (patched.is_laid, patched.can_redo) = (false, false);
        let text = core::mem::take(&mut patched.text);
        if let Some((_, value)) = self.siblings.iter_mut().max_by_key(|(stamp, _)| *stamp) {
            *value = text.bytes.into_boxed_slice();
        }
    }

    /// Lays the patches that show on the text again.
    pub fn lay(&mut self) {
        let Some(patched) = self.patched.as_deref_mut().filter(|patched| !patched.is_laid) else { return };
        let winner = self.siblings.iter_mut().max_by_key(|(stamp, _)| *stamp);
        let base = winner.as_ref().map_or(Stamp::ZERO, |(stamp, _)| *stamp);
        let first = patched.writes.partition_point(|patch| patch.stamp < base);
        if first == patched.writes.len() {
            if patched.writes.is_empty() && patched.fold.is_none() {
                self.patched = None;
            }
            return;
        }
        let is_there = winner.is_some();
        let bytes = winner.map(|(_, value)| core::mem::take(value).into_vec()).unwrap_or_default();
        patched.text = Text { bytes, is_there };
        patched.is_laid = true;
        for patch in &mut patched.writes[first..] {
            patch.undo = patched.text.apply(&patch.payload, patched.can_redo);
            patched.can_redo |= patch.undo.is_whole();
            patched.bytes += patch.undo.heap_bytes();
        }
    }

    /// Drops the writes, whole ones and patches, for which `goes` says so, and tells `dropped` of each. Folded writes go
    /// with the first of them.
    pub fn drop_writes(&mut self, mut goes: impl FnMut(Stamp) -> bool, mut dropped: impl FnMut(Dropped<'_>)) {
        self.lift();
        let fold = self.fold();
        self.siblings.retain(|(stamp, value)| {
            let gone = goes(*stamp);
            if gone {
                dropped(match fold {
                    Some((first, fold)) if first == *stamp => Dropped::Fold(fold.digest),
                    _ => Dropped::Write(*stamp, value),
                });
            }
            !gone
        });
        if let Some(patched) = &mut self.patched {
            if let Some((first, _)) = fold
                && self.siblings.iter().all(|&(stamp, _)| stamp != first)
            {
                patched.fold = None;
            }
            let bytes = &mut patched.bytes;
            patched.writes.retain(|patch| {
                let gone = goes(patch.stamp);
                if gone {
                    dropped(Dropped::Write(patch.stamp, &patch.payload));
                    *bytes -= patch.payload.len();
                }
                !gone
            });
        }
        self.lay();
    }

    /// Takes folded writes of another node over: their first dot, what is known of them, and their text.
    pub fn take_fold(&mut self, first: Stamp, fold: Fold, text: &[u8]) {
        self.lift();
        self.siblings.push((first, text.into()));
        self.patched.get_or_insert_default().fold = Some((first, fold));
        self.lay();
    }

    /// Folds the earliest writes, as far as `is_known` says that every member has them. `hash` is that of one write. True
    /// if there is a fold that was not there before.
    pub fn fold_known(&mut self, is_known: impl Fn(Stamp) -> bool, hash: impl Fn(Stamp, &[u8]) -> u64) -> bool {
        let Some(last) = self.last_known(is_known) else { return false };
        self.lift();
        let fold = self.fold();
        let Some(patched) = self.patched.as_deref_mut() else { return false };
        let mut digest = fold.map_or(0, |(_, fold)| fold.digest);
        for (stamp, value) in &self.siblings {
            digest ^= if fold.is_some_and(|(first, _)| first == *stamp) { 0 } else { hash(*stamp, value) };
        }
        let winner = self.siblings.iter_mut().max_by_key(|(stamp, _)| *stamp);
        let base = winner.as_ref().map_or(Stamp::ZERO, |(stamp, _)| *stamp);
        let is_there = winner.is_some();
        let bytes = winner.map(|(_, value)| core::mem::take(value).into_vec()).unwrap_or_default();
        let mut text = Text { bytes, is_there };
        let count = patched.writes.partition_point(|patch| patch.stamp <= last);
        let first = self.siblings.iter().map(|&(stamp, _)| stamp).chain([patched.writes[0].stamp]).min();
        for patch in patched.writes.drain(..count) {
            digest ^= hash(patch.stamp, &patch.payload);
            patched.bytes -= patch.payload.len();
            if patch.stamp > base {
                // Nothing has to be taken back any more.
                text.apply(&patch.payload, true);
            }
        }
        if patched.writes.capacity() > 2 * patched.writes.len() {
            patched.writes.shrink_to_fit();
        }
        // An earlier write that came after a fold must not cut what is in it.
        let last = fold.map_or(last, |(_, fold)| fold.last.max(last));
        patched.fold = first.map(|first| (first, Fold { last, digest }));
        self.siblings.clear();
        self.siblings.extend(first.map(|first| (first, text.bytes.into_boxed_slice())));
        self.lay();
        true
    }

    /// The last of the earliest writes that every member has, if there is a patch among them and the winner is.
    fn last_known(&self, is_known: impl Fn(Stamp) -> bool) -> Option<Stamp> {
        let patches = self.patches();
        patches.first().filter(|patch| is_known(patch.stamp))?;
        let whole = self.siblings.iter().map(|&(stamp, _)| stamp);
        // Folded ones are known already, and the first of all.
        let folded = self.fold().map(|(first, _)| first);
        let unknown = whole.clone().filter(|stamp| Some(*stamp) != folded && !is_known(*stamp)).min();
        let unknown_patch = patches.iter().map(|patch| patch.stamp).find(|stamp| !is_known(*stamp));
        let end = unknown.into_iter().chain(unknown_patch).min().unwrap_or(Stamp::MAX);
        let known = whole.clone().chain(patches.iter().map(|patch| patch.stamp)).filter(|stamp| *stamp < end);
        let last = known.max().filter(|last| patches[0].stamp <= *last)?;
        whole.max().is_none_or(|winner| winner <= last).then_some(last)
    }
}

impl Patches {
    /// The latest write among folded ones and patches.
    pub(crate) fn latest(&self) -> Stamp {
        let folded = self.fold.map_or(Stamp::ZERO, |(_, fold)| fold.last);
        self.writes.last().map_or(folded, |patch| patch.stamp)
    }

    /// Whether a patch can be done now although it comes before those from `at` on.
    fn lets_in(&self, at: usize, payload: &[u8]) -> bool {
        self.writes[at..].iter().all(|patch| patch.undo.lets_below(payload, &self.text))
    }
}
