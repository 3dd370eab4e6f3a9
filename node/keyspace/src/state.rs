//! State catch-up: whole slots read out for a peer that has been away too long, and merged from one.
//!
//! A slot is read with its early set, its remembered resets and the vector of that moment under one lock. In the first
//! pass only elements go that the peer's vector does not cover, each with all its live dots, so that the peer can drop
//! the ones it has beyond those; the digest then tells the peer whether anything else was removed here, and only such
//! slots are listed in full. Both sides do this in steps (`reader`, `merger`), so that their thread has time for others.
//! `FORMAT.md` describes the bytes.

use crate::body::{KeyBody, KeyEntry, key_of};
use crate::bundle::Bundle;
use crate::elements::{name_of, widened};
use crate::entry::View;
use crate::hash::{
    digest_of_contribution, digest_of_dot, digest_of_element, digest_of_element_life, digest_of_field_life,
    digest_of_key, digest_of_life,
};
use crate::holds::Holder;
use crate::keyspace::Keyspace;
use crate::merge::Site;
use crate::shared::Shared;
use crate::slot::{Context, RememberedReset, ResetName, Slot};
use crdt::encoding::put_vector;
use crdt::{
    Contribution, DecodeError, Element, ElementLife, Kind, Lifetime, NodeNumber, Reader, Stamp, UnixMillis,
    VersionVector,
};
use std::collections::{BTreeSet, HashSet};

mod bytes;
mod merger;
mod patched;
mod reader;
mod steps;
mod walker;

use bytes::{Arrived, ArrivedElement, ArrivedKey, END_OF_KEYS, Portion, write_key};
pub use merger::{StateMerger, Unpack};
use patched::ArrivedPatches;
pub use reader::{Pack, StateReader, StateStep};
use steps::{LargeKey, Reading};

/// How much of a slot is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Elements with anything that the peer's vector does not cover.
    News,
    /// Every element, values only where the peer's vector does not cover their dots.
    Listing,
    /// Everything, also what the node keeps for its own region: for its own disk.
    Image,
}

/// What one slot looks like now, for the standing comparison between regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotDigest {
    /// The exclusive or of everything live in the slot.
    pub digest: u64,
    /// This node's clock when the slot last changed here, or when the vector last caught up with what had been seen of it:
    /// from then on the slot was what the vector said.
    pub changed: Stamp,
    /// Whether the slot's state follows from the node's vector alone; not while a state catch-up is being digested.
    pub settled: bool,
}

impl Keyspace {
    /// Merges a block of an image.
    pub(crate) fn merge_image(&self, block: &[u8], now: UnixMillis) -> Result<(), DecodeError> {
        let mut reader = Reader::new(block);
        let base = Stamp::from_bits(reader.word("a chunk")?);
        let vector = reader.vector(base, "a chunk")?;
        self.shared.set_now(now);
        while !reader.is_empty() {
            let arrived = Arrived::decode(&mut reader, base, &vector)?;
            if arrived.portion != Portion::Whole {
                return Err(DecodeError::Invalid("some of a slot, which no image has"));
            }
            if self.only.as_ref().is_some_and(|only| !only.contains(arrived.number)) {
                continue;
            }
            self.merge_at_once(&mut self.thawed_slot(arrived.number), &arrived, now);
        }
        Ok(())
    }

    /// Merges a slot that is not large. False if it still differs in something that the source has removed.
    fn merge_at_once(&self, slot: &mut Slot, arrived: &Arrived<'_>, now: UnixMillis) -> bool {
        self.shared.observe(arrived.context.vector.latest());
        let mark = self.shared.next_stamp(now);
        let _holding = self.shared.holds.begin(Holder::Merge);
        self.merge_slot(slot, arrived, mark)
    }

    /// The digest of a slot.
    pub fn digest_of(&self, number: u16) -> SlotDigest {
        let slot = self.slot(number);
        let memory = &slot.memory;
        let settled = memory.context().is_none() && !self.is_moving_in(number);
        SlotDigest { digest: memory.digest, changed: memory.changed, settled }
    }

    /// What has been seen of a slot beyond the node's vector; nothing unless a state catch-up is being digested.
    pub fn ahead_of(&self, number: u16) -> Option<VersionVector> {
        self.slot(number).memory.context().map(|context| context.vector.clone())
    }

    /// Whether a slot holds some of what was written up to a point beyond the node's vector, and lacks the rest: its image
    /// was lost, and the journal had what came after that.
    pub fn is_in_part(&self, number: u16) -> bool {
        self.slot(number).memory.context().is_some_and(|context| !context.in_part.is_empty())
    }

    /// Up to where something is known of each number, in any slot, by state catch-up or by the journal alone: as far as that
    /// is beyond the vector, it is known in part.
    pub fn known_in_part(&self) -> VersionVector {
        let mut known = VersionVector::new();
        for slot in &self.slots {
            if let Some(context) = slot.lock().memory.context() {
                known.join(&context.vector);
                known.join(&context.in_part);
            }
        }
        known
    }

    /// How many dots were dropped before they came, and how many slots are ahead of the vector.
    pub fn early(&self) -> (u64, u64) {
        self.slots.iter().fold((0, 0), |(dots, slots), slot| match slot.lock().memory.context() {
            None => (dots, slots),
            Some(context) => (dots + context.early.len() as u64, slots + 1),
        })
    }

    /// Begins a chunk in empty memory.
    pub(crate) fn begin_chunk_in(&self, out: &mut Vec<u8>) -> VersionVector {
        let applied = (*self.applied()).clone();
        self.begin_chunk_with(&applied, out);
        applied
    }

    /// The same with what is applied. Returns the base of all stamps.
    fn begin_chunk_with(&self, applied: &VersionVector, out: &mut Vec<u8>) -> Stamp {
        let base = self.clock();
        out.extend_from_slice(&base.bits().to_le_bytes());
        put_vector(out, base, applied);
        base
    }

    /// Reads a slot for an image, its large collections in steps.
    pub(crate) fn read_slot_for_image(&self, number: u16, applied: &VersionVector, out: &mut Vec<u8>) {
        let base = Stamp::from_bits(u64::from_le_bytes(out[..8].try_into().unwrap_or_default()));
        let (since, extent) = (VersionVector::new(), Extent::Image);
        let slot = self.thawed_slot(number);
        let holding = self.shared.holds.begin(Holder::Image);
        self.write_slot_head(number, &slot, extent, (base, applied), out);
        let mut large = Vec::new();
        for database in slot.databases() {
            for entry in slot.keys(database) {
                match LargeKey::of(database, key_of(entry), entry) {
                    Some(key) => large.push(key),
                    None => write_key(out, base, database, entry, &since, extent),
                }
            }
        }
        drop(slot);
        drop(holding);
        let reading = Reading { number, base, since };
        large.iter().for_each(|key| self.read_large(key, &reading, out));
        out.push(END_OF_KEYS);
    }

    /// Joins an arrived slot to ours. False if ours still has something that the source is known to have removed.
    fn merge_slot(&self, slot: &mut Slot, arrived: &Arrived<'_>, mark: Stamp) -> bool {
        let was_ahead = slot.memory.context().is_some();
        let old = slot.memory.context().cloned().unwrap_or_default();
        let merge = Merge { shared: &self.shared, theirs: &arrived.context, old: &old };
        let digest = slot.memory.digest;
        // Adds that arrive are new here by the old context; the rules of `Site` must not ask it.
        for (name, reset) in &arrived.resets {
            take_reset(slot, &self.shared, name, reset);
        }
        // Into a slot of which nothing is known, as at a start, plain strings go as they are.
        let is_new =
            slot.memory.context().is_none() && slot.databases().all(|database| slot.keys(database).next().is_none());
        let mut named = HashSet::new();
        for key in &arrived.keys {
            if !is_new {
                named.insert((key.database, key.key));
            } else if let Some((dot, value)) = key.plain
                && !self.shared.has_seen(dot)
                && slot.apply_plain_set(&self.shared, dot, key.database, key.key, value)
            {
                continue;
            }
            let in_full = key.in_full();
            let key = in_full.as_ref().unwrap_or(key);
            slot.change_key(&self.shared, key.database, key.key, |body, site| {
                merge.key(site, body, key, arrived.extent);
            });
            slot.touched(&self.shared, key.database, key.key);
        }
        if arrived.extent == Extent::Listing && !is_new {
            let nothing = ArrivedKey { lives: Some(Vec::new()), ..ArrivedKey::default() };
            for (database, key) in keys_of(slot).into_iter().filter(|(d, k)| !named.contains(&(*d, &**k))) {
                slot.change_key(&self.shared, database, &key, |body, site| {
                    merge.key(site, body, &nothing, Extent::Listing);
                });
                slot.touched(&self.shared, database, &key);
            }
        }
        self.take_context(slot, &arrived.context, (was_ahead, digest), mark);
        arrived.extent == Extent::Listing || merge.known_digest(slot) == arrived.digest
    }

    /// Everything of a slot is merged: what the source has seen of it has been seen here.
    fn take_context(&self, slot: &mut Slot, theirs: &Context, (was_ahead, digest): (bool, u64), mark: Stamp) {
        let context = slot.memory.context_or_new();
        context.vector.join(&theirs.vector);
        context.in_part.join(&theirs.in_part);
        let early = theirs.early.iter().filter(|(stamp, _)| !self.shared.has_seen(*stamp));
        let known = context.early.len();
        context.early.extend(early.copied());
        self.shared.count_early(context.early.len() as i64 - known as i64);
        let has_caught_up = slot.prune(&self.shared, &self.shared.settled_up_to());
        if slot.memory.digest != digest || was_ahead && has_caught_up {
            slot.memory.changed = mark;
        }
    }
}

/// The rules of joining one slot's state.
struct Merge<'a> {
    shared: &'a Shared,
    /// What the source has seen: a dot of ours that it has seen and does not have was removed.
    theirs: &'a Context,
    /// What we had seen of this slot before.
    old: &'a Context,
}

impl Merge<'_> {
    fn known_there(&self, dot: Stamp, name: u64) -> bool {
        self.theirs.vector.covers(dot) || self.theirs.early.contains(&(dot, name))
    }

    fn seen_here(&self, dot: Stamp, name: u64) -> bool {
        self.shared.has_seen(dot) || self.old.vector.covers(dot) || self.old.early.contains(&(dot, name))
    }

    fn key(&self, site: &mut Site<'_>, body: &mut KeyBody, theirs: &ArrivedKey<'_>, extent: Extent) {
        for element in &theirs.elements {
            site.change_element(body, element.kind, element.name, |site, digest, mine| {
                self.element(site, digest, mine, element);
            });
        }
        if extent == Extent::Listing {
            self.drop_unlisted(site, body, theirs);
        }
        if let Some(lives) = &theirs.lives {
            self.lives(site, body, lives);
        }
        if let Some(summary) = &mut body.summary {
            for element in &theirs.elements {
                let dots = element.siblings.iter().map(|&(dot, _)| dot);
                dots.chain(element.assertions.iter().map(|&(dot, _)| dot)).for_each(|dot| summary.note(dot, 0));
                element.contributions.iter().for_each(|_| summary.note_counter());
            }
        }
        if let Some(stream) = body.stream.as_deref_mut().filter(|_| !theirs.deliveries.is_empty()) {
            stream.regional.take_in(theirs.deliveries.clone());
        }
    }

    /// Elements of ours that the source does not list: what it has seen of them is gone.
    fn drop_unlisted(&self, site: &mut Site<'_>, body: &mut KeyBody, theirs: &ArrivedKey<'_>) {
        let listed: HashSet<(Kind, &[u8])> = theirs.elements.iter().map(|e| (e.kind, e.name)).collect();
        let mut unlisted: Vec<(Kind, Box<[u8]>)> = Vec::new();
        for kind in Kind::ALL {
            match body.map(kind) {
                None if kind == Kind::List => {
                    let names = body.list.iter().flat_map(|list| list.items()).map(|item| item.position().name());
                    let names = names.filter(|name| !listed.contains(&(kind, &**name)));
                    unlisted.extend(names.map(|name| (kind, name.into())));
                }
                None if kind == Kind::Stream => {
                    let stream = body.stream.iter();
                    stream.for_each(|stream| {
                        stream.each_name(|name| {
                            if !listed.contains(&(kind, name)) {
                                unlisted.push((kind, name.into()));
                            }
                        });
                    });
                }
                Some(map) => {
                    let names = map.iter().map(name_of).filter(|name| !listed.contains(&(kind, *name)));
                    unlisted.extend(names.map(|name| (kind, name.into())));
                }
                None if body.holds(kind) && !listed.contains(&(kind, &[])) => unlisted.push((kind, Box::default())),
                None => {}
            }
        }
        for (kind, name) in unlisted {
            let nothing = ArrivedElement::nothing(kind, &name);
            site.change_element(body, kind, &name, |site, digest, mine| self.element(site, digest, mine, &nothing));
            // An element that is gone leaves the shell of its collection to `tidy`.
        }
    }

    fn element(&self, site: &mut Site<'_>, digest: u64, mine: &mut Element, theirs: &ArrivedElement<'_>) {
        if mine.is_patched() || theirs.patched.is_some() {
            let nothing = ArrivedPatches::default();
            self.patched(site, digest, mine, &theirs.siblings, theirs.patched.as_ref().unwrap_or(&nothing));
        } else {
            self.siblings(site, digest, mine, theirs);
        }
        let mut nodes: BTreeSet<NodeNumber> = mine.contributions.iter().map(|c| c.node).collect();
        nodes.extend(theirs.contributions.iter().map(|c| c.node));
        for node in nodes {
            let contribution = theirs.contributions.iter().find(|c| c.node == node);
            self.contribution(site, digest, mine, theirs, node, contribution);
        }
        if theirs.kind == Kind::Hash {
            self.silence(site, digest, mine, theirs);
            self.assertions(mine, digest, theirs);
        }
    }

    fn siblings(&self, site: &mut Site<'_>, digest: u64, mine: &mut Element, theirs: &ArrivedElement<'_>) {
        let memory = &mut *site.memory;
        mine.siblings.retain(|(dot, value)| {
            let gone = self.known_there(*dot, digest) && !theirs.siblings.iter().any(|(theirs, _)| theirs == dot);
            memory.digest ^= if gone { digest_of_dot(digest, *dot, value) } else { 0 };
            !gone
        });
        for (dot, value) in &theirs.siblings {
            let here = mine.siblings.iter().any(|(mine, _)| mine == dot);
            if let (false, false, Some(value)) = (here, self.seen_here(*dot, digest), value) {
                site.add_sibling(digest, mine, *dot, value);
            }
        }
    }

    /// What was dropped of that which content asserts about the life of its field, here or there.
    fn silence(&self, site: &mut Site<'_>, digest: u64, mine: &mut Element, theirs: &ArrivedElement<'_>) {
        let life = digest_of_field_life(digest);
        site.silence(digest, mine, |dot| {
            theirs.silent.contains(&dot)
                || self.theirs.early.contains(&(dot, life))
                || self.old.early.contains(&(dot, life))
        });
    }

    fn assertions(&self, mine: &mut Element, digest: u64, theirs: &ArrivedElement<'_>) {
        if mine.life.is_none() && theirs.assertions.is_empty() {
            return;
        }
        // A removal of the field drops assertions under the name of the field itself.
        let (life, own) = (digest_of_field_life(digest), mine.life_mut());
        own.assertions.retain(|&mut (dot, _)| {
            let known = self.known_there(dot, life) || self.theirs.early.contains(&(dot, digest));
            !known || theirs.assertions.iter().any(|&(theirs, _)| theirs == dot)
        });
        for &(dot, lifetime) in &theirs.assertions {
            let seen = self.seen_here(dot, life) || self.old.early.contains(&(dot, digest));
            if !seen && !own.assertions.iter().any(|&(mine, _)| mine == dot) {
                own.assert(dot, lifetime);
            }
        }
    }

    fn contribution(
        &self,
        site: &mut Site<'_>,
        digest: u64,
        mine: &mut Element,
        element: &ArrivedElement<'_>,
        node: NodeNumber,
        theirs: Option<&Contribution>,
    ) {
        let remembered = if self.shared.is_me(node) { None } else { site.remembered(element.kind, element.name, node) };
        let joined = match (site.take(digest, mine, node), theirs) {
            (None, None) => None,
            // The source has seen it and it is gone there: reset as a whole.
            (Some(ours), None) if self.theirs.vector.covers(ours.stamp) => None,
            (Some(ours), None) => Some(ours),
            // Seen here and gone here.
            (None, Some(theirs)) if self.seen_here(theirs.stamp, digest) => None,
            (None, Some(theirs)) => Some(*theirs),
            (Some(mut ours), Some(theirs)) => {
                ours.join(theirs);
                Some(ours)
            }
        };
        if let Some(mut joined) = joined {
            if let Some(reset) = remembered {
                joined.rebase(reset.birth, reset.stamp, reset.cumulative);
                joined.asserts &= element.kind != Kind::Hash || reset.birth != joined.birth;
            }
            site.restore(digest, mine, joined);
        }
    }

    fn lives(&self, site: &mut Site<'_>, body: &mut KeyBody, theirs: &[(Stamp, Lifetime)]) {
        let digest = digest_of_element(site.key_digest, 0, &[]);
        let memory = &mut *site.memory;
        body.lives.retain(|&mut (dot, lifetime)| {
            let gone = self.known_there(dot, digest) && !theirs.iter().any(|&(theirs, _)| theirs == dot);
            memory.digest ^= if gone { digest_of_life(digest, dot, lifetime) } else { 0 };
            !gone
        });
        for &(dot, lifetime) in theirs {
            if !body.lives.iter().any(|&(mine, _)| mine == dot) && !self.seen_here(dot, digest) {
                site.add_life(body, dot, lifetime);
            }
        }
    }

    /// The digest of what the source can know of our slot: equal to the source's own if nothing was removed there
    /// that we still have.
    fn known_digest(&self, slot: &Slot) -> u64 {
        let keys = slot.databases().flat_map(|database| slot.keys(database).map(move |entry| (database, entry)));
        keys.fold(0, |sum, (database, entry)| sum ^ self.known_key(database, entry))
    }

    /// The same of one key.
    fn known_key(&self, database: u8, entry: &KeyEntry) -> u64 {
        let key_digest = digest_of_key(database, key_of(entry));
        let mut sum = 0;
        if let View::Packed(packed) = entry.view() {
            // Most keys are; their values may be large, and are not copied for this.
            let life = digest_of_element(key_digest, 0, &[]);
            let name = digest_of_element(key_digest, Kind::String as u8, &[]);
            if self.known_there(packed.stamp, name) {
                sum ^= digest_of_dot(name, packed.stamp, packed.value);
            }
            if let Some((dot, lifetime)) = packed.life.assertion(packed.stamp)
                && self.known_there(dot, life)
            {
                sum ^= digest_of_life(life, dot, lifetime);
            }
            return sum;
        }
        for_each_element(entry, |kind, name, element| sum ^= self.known_element(key_digest, kind, name, element));
        sum ^ self.known_lives(key_digest, entry)
    }

    /// The same of one element.
    fn known_element(&self, key_digest: u64, kind: Kind, name: &[u8], element: &Element) -> u64 {
        let digest = digest_of_element(key_digest, kind as u8, name);
        let mut sum = 0;
        if element.is_patched() {
            sum ^= self.known_writes(digest, element);
        } else {
            let dots = element.siblings.iter().filter(|(dot, _)| self.known_there(*dot, digest));
            sum ^= dots.fold(0, |sum, (dot, value)| sum ^ digest_of_dot(digest, *dot, value));
        }
        let known = element.contributions.iter().filter(|c| self.theirs.vector.covers(c.stamp));
        sum ^= known.fold(0, |sum, c| sum ^ digest_of_contribution(digest, c));
        sum ^ digest_of_element_life(digest, self.known_life(digest, element).as_ref())
    }

    /// The same of the life of a key.
    fn known_lives(&self, key_digest: u64, entry: &KeyEntry) -> u64 {
        let life = digest_of_element(key_digest, 0, &[]);
        let lives = lives_of(entry).into_iter().filter(|&(dot, _)| self.known_there(dot, life));
        lives.fold(0, |sum, (dot, lifetime)| sum ^ digest_of_life(life, dot, lifetime))
    }
}

impl Merge<'_> {
    /// What the source can know of an element's life. (What it may not know to be silent is compared all the same: then
    /// the slot is listed without need.)
    fn known_life(&self, digest: u64, element: &Element) -> Option<ElementLife> {
        let mut life = (**element.life.as_ref()?).clone();
        let name = digest_of_field_life(digest);
        life.assertions.retain(|&mut (dot, _)| self.known_there(dot, name));
        life.silent.retain(|dot| self.known_there(*dot, digest));
        Some(life)
    }
}

/// Applies a reset that the source remembers to the contribution, which may be here on its old base, and remembers it
/// too, unless the contribution is our own.
fn take_reset(slot: &mut Slot, shared: &Shared, name: &ResetName, reset: &RememberedReset) {
    let Some(kind) = Kind::from_number(name.kind) else { return };
    slot.change_key(shared, name.database, &name.key, |body, site| {
        if !shared.is_me(name.node) {
            site.remember_reset(kind, &name.name, name.node, *reset);
        }
        site.change_element(body, kind, &name.name, |site, digest, element| {
            if let Some(mut contribution) = site.take(digest, element, name.node) {
                contribution.rebase(reset.birth, reset.stamp, reset.cumulative);
                contribution.asserts &= kind != Kind::Hash || reset.birth != contribution.birth;
                site.restore(digest, element, contribution);
            }
        });
    });
}

fn keys_of(slot: &Slot) -> Vec<(u8, Box<[u8]>)> {
    let tables = slot.databases().filter_map(|database| slot.table(database).map(|table| (database, table)));
    tables.flat_map(|(database, table)| table.iter().map(move |entry| (database, key_of(entry).into()))).collect()
}

fn lives_of(entry: &KeyEntry) -> Vec<(Stamp, Lifetime)> {
    match entry.view() {
        View::Packed(packed) => packed.life.assertion(packed.stamp).into_iter().collect(),
        View::Counter(counter) => counter.assertion().into_iter().collect(),
        View::Bundle(bundle) => bundle.assertion().into_iter().collect(),
        View::Wide(body) => body.lives.to_vec(),
    }
}

fn for_each_element(entry: &KeyEntry, mut each: impl FnMut(Kind, &[u8], &Element)) {
    match entry.view() {
        View::Packed(packed) => each(Kind::String, &[], &Element::written(packed.stamp, packed.value.into())),
        View::Counter(counter) => each(Kind::String, &[], &Element::counted(counter.contribution())),
        View::Bundle(bundle) => {
            Bundle::of(&bundle).iter().for_each(|element| each(bundle.kind, element.name(), &element.widened()));
        }
        View::Wide(body) => for_each_element_of(body, each),
    }
}

/// The same of a body.
pub(crate) fn for_each_element_of(body: &KeyBody, mut each: impl FnMut(Kind, &[u8], &Element)) {
    if let Some(element) = &body.string {
        if element.is_patched() {
            let mut lifted = (**element).clone();
            lifted.lift();
            each(Kind::String, &[], &lifted);
        } else {
            each(Kind::String, &[], element);
        }
    }
    for kind in Kind::ALL {
        for entry in body.map(kind).into_iter().flat_map(|map| map.iter()) {
            each(kind, name_of(entry), &widened(entry));
        }
    }
    let mut name = Vec::new();
    for (list, item) in body.list.iter().flat_map(|list| list.items().map(move |item| (list, item))) {
        each(Kind::List, item.name_into(&mut name), &list.widened(&item));
    }
    if let Some(stream) = &body.stream {
        stream.each_element(|name, element| each(Kind::Stream, name, element));
    }
}
