//! Where a change meets a key: the merge rules, each with its effect on the slot's digest.
//!
//! The rules are those of the executable model in the property tests: drops always apply; a drop of a dot that has not
//! come yet is remembered; an add counts only if the slot's context does not know it; a reset takes away the part of
//! a contribution that it observed, and is remembered for increments that are still on their way.

use crate::body::KeyBody;
use crate::elements::{ElementMap, WideElement, entry_of, name_of, widened};
use crate::entry::{Entry, Packed, PackedLife, View};
use crate::hash::{digest_of_contribution, digest_of_dot, digest_of_element, digest_of_key, digest_of_life};
use crate::sequence::{Item, Piece};
use crate::shared::Shared;
use crate::slot::{Memory, RememberedReset, ResetName};
use crdt::{Contribution, Element, Kind, Lifetime, Number, Operation, Position, Reset, Stamp, VersionVector};

/// One key of one slot while a change is applied to it.
pub struct Site<'a> {
    /// What all slots share.
    pub shared: &'a Shared,
    /// The slot's memory.
    pub memory: &'a mut Memory,
    /// The digest's hash of the key.
    pub key_digest: u64,
    pub(crate) database: u8,
    pub(crate) key: &'a [u8],
    /// The slot's digest when this change of the key's body began: its summary does not follow before the end.
    pub(crate) begun: u64,
}

/// What an operation says about one element.
pub struct Write<'a> {
    /// The change's stamp: its author's older dots go, and a new value gets it as its dot.
    pub stamp: Stamp,
    /// Observed dots of others.
    pub drops: &'a [Stamp],
    /// Observed contributions.
    pub resets: &'a [Reset],
    /// The new value; nothing for a removal.
    pub value: Option<&'a [u8]>,
}

impl<'a> Site<'a> {
    /// The site of a key.
    pub fn new(shared: &'a Shared, memory: &'a mut Memory, database: u8, key: &'a [u8]) -> Self {
        let begun = memory.digest;
        Self { shared, memory, key_digest: digest_of_key(database, key), database, key, begun }
    }

    /// Applies one operation of a change to a key's body.
    pub fn apply(&mut self, body: &mut KeyBody, stamp: Stamp, operation: &Operation<'_>) {
        self.note_operation(body, stamp, operation);
        match operation {
            Operation::Put { kind, name, drops, resets, value } => {
                let write = Write { stamp, drops, resets, value: Some(value) };
                self.write(body, *kind, name, &write);
            }
            Operation::Remove { kind, name, drops, resets } => {
                let write = Write { stamp, drops, resets, value: None };
                self.write(body, *kind, name, &write);
            }
            Operation::Add { kind, name, birth, cumulative, asserts } => {
                self.change_element(body, *kind, name, |site, digest, element| {
                    site.add(*kind, name, digest, element, stamp, *birth, *cumulative, *asserts);
                });
            }
            Operation::Clear { kind, covered, beyond, resets } => {
                self.clear(body, *kind, stamp, covered);
                for (name, dot) in beyond {
                    let write = Write { stamp: Stamp::ZERO, drops: &[*dot], resets: &[], value: None };
                    self.write(body, *kind, name, &write);
                }
                for (name, reset) in resets {
                    self.change_element(body, *kind, name, |site, digest, element| {
                        site.reset(*kind, name, digest, element, reset, stamp);
                    });
                }
            }
            Operation::ClearRange { kind, reach, bound, covered } => {
                self.clear_range(body, (*kind, *reach, bound), stamp, covered);
            }
            Operation::Live { drops, assertion } => self.live(body, stamp, drops, *assertion),
            Operation::LiveField { name, drops, lifetime } => self.live_field(body, stamp, name, drops, *lifetime),
            Operation::Patch { patch } => self.patch(body, stamp, patch),
            Operation::RemoveFolded { last } => self.remove_folded(body, *last),
            Operation::ClearDatabase { .. } => {}
        }
    }

    /// Removes all dots and assertions of a key that a clear of the database has observed. Counters follow by name.
    pub fn clear_everything(&mut self, body: &mut KeyBody, stamp: Stamp, covered: &VersionVector) {
        Kind::ALL.into_iter().for_each(|kind| self.clear(body, kind, stamp, covered));
        let life = digest_of_element(self.key_digest, 0, &[]);
        let memory = &mut *self.memory;
        body.lives.retain(|&mut (dot, lifetime)| {
            let gone = observed(dot, stamp, covered);
            memory.digest ^= if gone { digest_of_life(life, dot, lifetime) } else { 0 };
            !gone
        });
    }

    /// Drops assertions, and makes a new one.
    pub fn live(&mut self, body: &mut KeyBody, stamp: Stamp, drops: &[Stamp], assertion: Option<Lifetime>) {
        let digest = digest_of_element(self.key_digest, 0, &[]);
        let mut missing: smallvec::SmallVec<[Stamp; 2]> = drops.into();
        // What an earlier step of the same command has asserted goes with the key: a command that removes several elements
        // repeats the key's end for each but the last. SUBTLE: state that came before the change has its last step already.
        let ends_own = assertion.is_none() && self.is_new(stamp, digest);
        let memory = &mut *self.memory;
        body.lives.retain(|&mut (dot, lifetime)| {
            missing.retain(|drop| *drop != dot);
            let own = dot.author() == stamp.author() && (dot < stamp || (dot == stamp && ends_own));
            let gone = drops.contains(&dot) || own;
            memory.digest ^= if gone { digest_of_life(digest, dot, lifetime) } else { 0 };
            !gone
        });
        missing.iter().for_each(|&dot| self.remember_drop(dot, digest));
        if let Some(lifetime) = assertion
            && self.is_new(stamp, digest)
        {
            self.add_life(body, stamp, lifetime);
        }
    }

    /// Adds a live assertion; one with the same dot (an earlier one of the same command) gives way.
    pub fn add_life(&mut self, body: &mut KeyBody, stamp: Stamp, lifetime: Lifetime) {
        let digest = digest_of_element(self.key_digest, 0, &[]);
        if let Some(at) = body.lives.iter().position(|&(dot, _)| dot == stamp) {
            self.memory.digest ^= digest_of_life(digest, stamp, body.lives.swap_remove(at).1);
        }
        self.memory.digest ^= digest_of_life(digest, stamp, lifetime);
        body.lives.push((stamp, lifetime));
        if let Lifetime::Until(deadline) = lifetime {
            self.expires_at(deadline);
        }
        self.conflict(body.lives.len(), |conflicts| &conflicts.lives);
    }

    fn write(&mut self, body: &mut KeyBody, kind: Kind, name: &[u8], write: &Write<'_>) {
        if kind == Kind::String
            && let Some(element) = body.string.as_deref_mut().filter(|element| element.is_patched())
        {
            return self.put_over_patches(self.string_digest(), element, write);
        }
        if self.write_to_list(body, kind, name, write)
            || self.write_to_stream(body, kind, name, write)
            || self.write_packed(body, kind, name, write)
        {
            return;
        }
        self.change_element(body, kind, name, |site, digest, element| site.put(kind, name, digest, element, write));
    }

    /// The common case of an element that one write has set and this write replaces, without a detour over the
    /// general form. False if it is not that simple and nothing was done.
    fn write_packed(&mut self, body: &mut KeyBody, kind: Kind, name: &[u8], write: &Write<'_>) -> bool {
        let Some(value) = write.value.filter(|_| write.resets.is_empty() && self.memory.context().is_none()) else {
            return false;
        };
        let Some(map) = body.map_mut(kind).and_then(|place| place.as_deref_mut()) else { return false };
        let digest = digest_of_element(self.key_digest, kind as u8, name);
        let hasher = &self.shared.hasher;
        // What goes from the digest; nothing if the case is not that simple.
        let replaced = map.change(hasher, name, |entry| {
            let View::Packed(old) = entry.view() else { return None };
            let own = old.stamp.author() == write.stamp.author() && old.stamp <= write.stamp;
            if !(own && write.drops.is_empty() || write.drops == [old.stamp]) || old.life != PackedLife::Own {
                return None;
            }
            let gone = digest_of_dot(digest, old.stamp, old.value);
            entry.rewrite(write.stamp, PackedLife::Own, 0, value);
            Some(gone)
        });
        match replaced {
            Some(Some(gone)) => self.memory.digest ^= gone,
            Some(None) => return false,
            None if write.drops.is_empty() => {
                map.insert_new(hasher, Entry::packed(write.stamp, PackedLife::Own, 0, name, value));
            }
            None => return false,
        }
        self.memory.digest ^= digest_of_dot(digest, write.stamp, value);
        true
    }

    /// The same for an element of a list, which nearly every write puts beside others or removes.
    fn write_to_list(&mut self, body: &mut KeyBody, kind: Kind, name: &[u8], write: &Write<'_>) -> bool {
        if kind != Kind::List || !write.resets.is_empty() || self.memory.context().is_some() {
            return false;
        }
        let (Some(list), Some(position)) = (body.list.as_deref_mut(), Position::of_name(name)) else { return false };
        let digest = digest_of_element(self.key_digest, kind as u8, name);
        match (list.find(&position), write.value) {
            (Err(at), Some(value)) if write.drops.is_empty() => {
                list.insert(at, &Item::new(&position, name, write.stamp, value));
            }
            (Ok(at), value) => {
                let old = list.item(at).and_then(|item| item.text().map(|text| (item.dot, text)));
                let Some((dot, text)) = old else { return false };
                let own = dot.author() == write.stamp.author()
                    && (dot < write.stamp || dot == write.stamp && value.is_some());
                if !(own && write.drops.is_empty() || write.drops == [dot]) {
                    return false;
                }
                self.memory.digest ^= digest_of_dot(digest, dot, &text);
                match value {
                    Some(value) => list.replace(at, &Item::new(&position, name, write.stamp, value)),
                    None => list.remove(at),
                }
            }
            (Err(_), _) => return false,
        }
        self.memory.digest ^= write.value.map_or(0, |value| digest_of_dot(digest, write.stamp, value));
        true
    }

    /// Lets `work` change one element of the body, and puts back what is left in its smallest form. `work` gets the
    /// digest of the element's name.
    pub fn change_element(
        &mut self,
        body: &mut KeyBody,
        kind: Kind,
        name: &[u8],
        work: impl FnOnce(&mut Self, u64, &mut Element),
    ) {
        let digest = digest_of_element(self.key_digest, kind as u8, name);
        if kind == Kind::List {
            let list = body.list.get_or_insert_default();
            return list.change(name, |element| work(self, digest, element));
        }
        if kind == Kind::Stream {
            let stream = body.stream.get_or_insert_default();
            return stream.change(name, |element| work(self, digest, element));
        }
        let Some(place) = body.map_mut(kind) else {
            let element = body.string.get_or_insert_default();
            work(self, digest, element);
            return;
        };
        let map = place.get_or_insert_with(|| Box::new(ElementMap::new(kind)));
        let hasher = &self.shared.hasher;
        let mut work = Some(work);
        let mut work_on = |element: &mut Element| {
            if let Some(work) = work.take() {
                self.with_life(digest, element, |site, element| work(site, digest, element));
            }
        };
        match map.change(hasher, name, |entry| rework(entry, &mut work_on)) {
            Some(true) => {}
            Some(false) => drop(map.remove(hasher, name)),
            None => {
                let mut element = Element::default();
                work_on(&mut element);
                if !element.is_empty() {
                    map.insert_new(hasher, entry_of(name, element));
                }
            }
        }
    }

    /// The rules for one element and one write.
    pub fn put(&mut self, kind: Kind, name: &[u8], digest: u64, element: &mut Element, write: &Write<'_>) {
        let mut missing: smallvec::SmallVec<[Stamp; 2]> = write.drops.into();
        let memory = &mut *self.memory;
        element.siblings.retain(|(dot, value)| {
            missing.retain(|drop| drop != dot);
            let gone = write.drops.contains(dot) || (dot.author() == write.stamp.author() && *dot < write.stamp);
            memory.digest ^= if gone { digest_of_dot(digest, *dot, value) } else { 0 };
            !gone
        });
        self.drop_assertions(element, write, &mut missing);
        missing.iter().for_each(|&dot| self.remember_drop(dot, digest));
        write.resets.iter().for_each(|reset| self.reset(kind, name, digest, element, reset, write.stamp));
        if let Some(value) = write.value
            && self.is_new(write.stamp, digest)
        {
            self.add_sibling(digest, element, write.stamp, value);
            if kind == Kind::Hash {
                self.assert_by_sibling(digest, element, write.stamp);
            }
        }
    }

    /// Adds a live sibling; one with the same dot (an earlier write of the same command) gives way.
    pub fn add_sibling(&mut self, digest: u64, element: &mut Element, stamp: Stamp, value: &[u8]) {
        if let Some(at) = element.siblings.iter().position(|(dot, _)| *dot == stamp) {
            let (_, earlier) = element.siblings.swap_remove(at);
            self.memory.digest ^= digest_of_dot(digest, stamp, &earlier);
        }
        self.memory.digest ^= digest_of_dot(digest, stamp, value);
        element.siblings.push((stamp, value.into()));
        self.conflict(element.siblings.len(), |conflicts| &conflicts.values);
    }

    #[expect(clippy::too_many_arguments, reason = "an increment has these parts and is taken apart nowhere else")]
    fn add(
        &mut self,
        kind: Kind,
        name: &[u8],
        digest: u64,
        element: &mut Element,
        stamp: Stamp,
        birth: Stamp,
        cumulative: Number,
        asserts: bool,
    ) {
        if !self.is_new(stamp, digest) {
            return;
        }
        let author = stamp.author();
        let mut contribution = match self.take(digest, element, author) {
            Some(mut old) if old.birth == birth => {
                if old.stamp < stamp {
                    old.stamp = stamp;
                    old.cumulative = cumulative;
                }
                old
            }
            Some(old) if old.birth > birth => old,
            _ => {
                let dropped = kind == Kind::Hash && self.was_dropped_early(digest, birth);
                Contribution { asserts: asserts && !dropped, ..Contribution::born(birth, stamp, cumulative) }
            }
        };
        if !self.shared.is_me(author)
            && let Some(reset) = self.remembered(kind, name, author)
        {
            contribution.rebase(reset.birth, reset.stamp, reset.cumulative);
            // A reset has observed what the birth asserts.
            contribution.asserts &= kind != Kind::Hash || reset.birth != contribution.birth;
        }
        self.restore(digest, element, contribution);
    }

    /// Takes away what a reset has observed of one contribution, and remembers it for increments on their way.
    pub(crate) fn reset(
        &mut self,
        kind: Kind,
        name: &[u8],
        digest: u64,
        element: &mut Element,
        reset: &Reset,
        by: Stamp,
    ) {
        if let Some(mut contribution) = self.take(digest, element, reset.node) {
            contribution.rebase(reset.birth, reset.stamp, reset.cumulative);
            contribution.asserts &= kind != Kind::Hash || reset.birth != contribution.birth;
            self.restore(digest, element, contribution);
        }
        if !self.shared.is_me(reset.node) {
            let Reset { birth, stamp, cumulative, .. } = *reset;
            self.remember_reset(kind, name, reset.node, RememberedReset { birth, stamp, cumulative, by });
        }
    }

    /// Removes the dots of one kind that a clear has observed.
    fn clear(&mut self, body: &mut KeyBody, kind: Kind, stamp: Stamp, covered: &VersionVector) {
        if self.clear_at_once(body, kind, stamp, covered) {
            return;
        }
        match body.map_mut(kind) {
            None if kind == Kind::List => self.clear_list(body, stamp, covered),
            None if kind == Kind::Stream => self.clear_stream(body, stamp, covered),
            None => {
                if let Some(element) = &mut body.string {
                    let digest = digest_of_element(self.key_digest, kind as u8, &[]);
                    self.clear_element(digest, element, stamp, covered);
                }
            }
            Some(None) => {}
            Some(Some(map)) => {
                let key_digest = self.key_digest;
                map.retain(&self.shared.hasher, |entry| {
                    let digest = digest_of_element(key_digest, kind as u8, name_of(entry));
                    if let View::Packed(packed @ Packed { life: PackedLife::Own, .. }) = entry.view() {
                        let gone = observed(packed.stamp, stamp, covered);
                        self.memory.digest ^= if gone { digest_of_dot(digest, packed.stamp, packed.value) } else { 0 };
                        return !gone;
                    }
                    rework(entry, |element| {
                        self.with_life(digest, element, |site, element| {
                            site.clear_element(digest, element, stamp, covered)
                        });
                    })
                });
            }
        }
    }

    fn clear_list(&mut self, body: &mut KeyBody, stamp: Stamp, covered: &VersionVector) {
        let Some(list) = &mut body.list else { return };
        list.retain(|name, piece| {
            let digest = digest_of_element(self.key_digest, Kind::List as u8, name);
            match piece {
                Piece::Plain(dot, text) => {
                    let gone = observed(dot, stamp, covered);
                    self.memory.digest ^= if gone { digest_of_dot(digest, dot, text) } else { 0 };
                    !gone
                }
                Piece::Wide(element) => {
                    self.clear_element(digest, element, stamp, covered);
                    !element.is_empty()
                }
            }
        });
    }

    pub(crate) fn clear_element(&mut self, digest: u64, element: &mut Element, stamp: Stamp, covered: &VersionVector) {
        if element.is_patched() {
            return self.drop_writes(digest, element, |dot| observed(dot, stamp, covered));
        }
        let memory = &mut *self.memory;
        element.siblings.retain(|(dot, value)| {
            let gone = observed(*dot, stamp, covered);
            memory.digest ^= if gone { digest_of_dot(digest, *dot, value) } else { 0 };
            !gone
        });
        if let Some(life) = &mut element.life {
            life.assertions.retain(|&mut (dot, _)| !observed(dot, stamp, covered));
        }
    }

    /// Takes a contribution out of the element and of the digest.
    pub fn take(&mut self, digest: u64, element: &mut Element, node: crdt::NodeNumber) -> Option<Contribution> {
        let contribution = element.take_contribution(node)?;
        self.memory.digest ^= digest_of_contribution(digest, &contribution);
        Some(contribution)
    }

    /// Puts a contribution back into the element and the digest, unless it is dead.
    pub fn restore(&mut self, digest: u64, element: &mut Element, contribution: Contribution) {
        if !contribution.is_dead() {
            self.memory.digest ^= digest_of_contribution(digest, &contribution);
        }
        element.restore(contribution);
    }

    /// The reset of this contribution that is remembered.
    pub fn remembered(&self, kind: Kind, name: &[u8], node: crdt::NodeNumber) -> Option<RememberedReset> {
        if self.memory.resets().len() == 0 {
            return None;
        }
        self.memory.reset(&self.reset_name(kind, name, node)).copied()
    }

    /// Remembers a reset, if it is newer than the one remembered.
    pub fn remember_reset(&mut self, kind: Kind, name: &[u8], node: crdt::NodeNumber, reset: RememberedReset) {
        let name = self.reset_name(kind, name, node);
        let resets = self.memory.resets_mut();
        let count = resets.len();
        let kept = resets.entry(name).or_insert(reset);
        if (kept.birth, kept.stamp) < (reset.birth, reset.stamp) {
            *kept = reset;
        }
        self.shared.count_resets(resets.len() as i64 - count as i64);
    }

    fn reset_name(&self, kind: Kind, name: &[u8], node: crdt::NodeNumber) -> ResetName {
        ResetName { database: self.database, kind: kind as u8, node, key: self.key.into(), name: name.into() }
    }

    /// Whether an add counts: not if the slot's context has seen its dot already (by a state catch-up), nor if it was
    /// dropped before it came.
    pub fn is_new(&self, stamp: Stamp, digest: u64) -> bool {
        match self.memory.context() {
            None => true,
            Some(context) => !context.early.contains(&(stamp, digest)) && !context.vector.covers(stamp),
        }
    }

    /// Remembers a drop of a dot that is not here, if that dot may still come.
    pub fn remember_drop(&mut self, dot: Stamp, digest: u64) {
        let known = self.memory.context().is_some_and(|context| context.vector.covers(dot));
        if !known && !self.shared.has_seen(dot) {
            let is_new = self.memory.context_or_new().early.insert((dot, digest));
            self.shared.count_early(i64::from(is_new));
        }
    }

    /// Has the sweeper look at a key when its life ends; at once if it has assertions about its life but no content:
    /// nobody may ever write it again. Not only a new assertion says when that is: the longest may have been dropped.
    pub fn note_ghost(&mut self, body: &KeyBody) {
        match body.winning_life().or_else(|| body.left_over()) {
            None => {}
            Some(_) if !body.has_content() => self.expires_at(self.shared.now()),
            Some((_, Lifetime::Until(deadline))) => self.expires_at(deadline),
            Some((_, Lifetime::Never)) => {}
        }
    }

    /// Notes that something may have to be removed here at `deadline`.
    pub fn expires_at(&mut self, deadline: u64) {
        self.shared.expires_at(crate::hash::slot_of(self.key), deadline);
    }

    /// Counts a key that has come to hold several types.
    pub fn note_kinds(&self, before: usize, body: &KeyBody) {
        if before <= 1 {
            self.conflict(body.kinds(), |conflicts| &conflicts.kinds);
        }
    }

    pub fn conflict(
        &self,
        live: usize,
        which: impl FnOnce(&crate::shared::Conflicts) -> &std::sync::atomic::AtomicU64,
    ) {
        if live > 1 {
            which(&self.shared.conflicts).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Whether a clear stamped `stamp` has observed `dot`.
pub fn observed(dot: Stamp, stamp: Stamp, covered: &VersionVector) -> bool {
    covered.covers(dot) || (dot.author() == stamp.author() && dot < stamp)
}

/// Lets `work` change the element in an entry and puts it back in its smallest form. False if nothing is left.
pub fn rework(entry: &mut Entry<WideElement>, work: impl FnOnce(&mut Element)) -> bool {
    if let Some(wide) = entry.wide_mut() {
        work(&mut wide.element);
        if wide.element.is_empty() {
            return false;
        }
        if wide.element.contributions.len() + wide.element.siblings.len() == 1 {
            let element = std::mem::take(&mut wide.element);
            let name = std::mem::take(&mut wide.name);
            *entry = entry_of(&name, element);
        }
        return true;
    }
    let mut element = widened(entry);
    work(&mut element);
    if element.is_empty() {
        return false;
    }
    let replacement = entry_of(name_of(entry), element);
    *entry = replacement;
    true
}

#[cfg(test)]
mod tests {
    use crate::{Database, Keyspace, Lifetime};
    use crdt::NodeNumber;

    #[test]
    fn a_command_that_removes_all_elements_of_a_key_with_an_end_leaves_nothing() {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        let mut writer = keyspace.writer();
        let now = crdt::STAMP_EPOCH_MS + 1_000;
        {
            let mut access = writer.access(now, &[b"k"]);
            access.begin_command();
            assert_eq!(access.add_member(Database(0), b"k", b"a"), Ok(true));
            assert_eq!(access.add_member(Database(0), b"k", b"b"), Ok(true));
            access.begin_command();
            assert!(access.set_lifetime(Database(0), b"k", Lifetime::Until(now + 60_000)));
            access.begin_command();
            assert_eq!(access.remove_member(Database(0), b"k", b"a"), Ok(true));
            assert_eq!(access.remove_member(Database(0), b"k", b"b"), Ok(true));
        }
        let slot = keyspace.slot(crate::slot_of(b"k"));
        assert_eq!((slot.keys(0).count(), slot.memory.digest), (0, 0));
    }
}
