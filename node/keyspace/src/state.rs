//! State catch-up: whole slots read out for a peer that has been away too long, and merged from one.
//!
//! A slot is read with its early set, its remembered resets and the vector of that moment under one lock. In the first
//! pass only elements go that the peer's vector does not cover, each with all its live dots, so that the peer can drop
//! the ones it has beyond those; the digest then tells the peer whether anything else was removed here, and only such
//! slots are listed in full. `FORMAT.md` of the protocol crate describes the bytes.

use crate::body::{KeyBody, KeyEntry, key_of};
use crate::bundle::Bundle;
use crate::elements::{name_of, widened};
use crate::entry::View;
use crate::hash::{
    SLOTS, digest_of_contribution, digest_of_dot, digest_of_element, digest_of_element_life, digest_of_field_life,
    digest_of_key, digest_of_life, slot_of,
};
use crate::keyspace::Keyspace;
use crate::merge::Site;
use crate::shared::Shared;
use crate::stream::{KeptDeliveries, Regional};
use crate::streams::stream_in;
use crate::slot::{Context, RememberedReset, ResetName, Slot};
use crdt::change::{decode_reset, encode_reset};
use crdt::encoding::{put_slice, put_stamp, put_varint, put_vector};
use crdt::{
    Contribution, DecodeError, Element, ElementLife, Kind, Lifetime, NodeNumber, Number, Reader, Reset, Stamp,
    UnixMillis, VersionVector,
};
use std::collections::{BTreeSet, HashSet};

mod patched;

use patched::{ArrivedPatches, has_news, write_patches};

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
    /// This node's clock when the slot last changed here.
    pub changed: Stamp,
    /// Whether the slot's state follows from the node's vector alone; not while a state catch-up is being digested.
    pub settled: bool,
}

const END_OF_KEYS: u8 = 0;
const END_OF_ITEMS: u8 = 0;
const ITEM_PLAIN: u8 = 1;
const ITEM_ELEMENT: u8 = 2;
const ITEM_LIVES: u8 = 3;
/// An element as above, and what is asserted about its life.
const ITEM_TIMED_FIELD: u8 = 4;
/// An element that is a string with patches: what an element has, then the patches.
const ITEM_PATCHED: u8 = 12;
/// What the region of the node keeps of a stream's groups for itself; in images alone.
const ITEM_DELIVERIES: u8 = 5;

/// A slot as it arrived.
struct Arrived<'a> {
    number: u16,
    extent: Extent,
    /// What the source had seen of this slot.
    context: Context,
    digest: u64,
    resets: Vec<(ResetName, RememberedReset)>,
    keys: Vec<ArrivedKey<'a>>,
}

#[derive(Default)]
struct ArrivedKey<'a> {
    database: u8,
    key: &'a [u8],
    /// A string and nothing else, with a life without an end by the same dot: nearly every key.
    plain: Option<(Stamp, &'a [u8])>,
    elements: Vec<ArrivedElement<'a>>,
    lives: Option<Vec<(Stamp, Lifetime)>>,
    /// What this node had delivered of a stream's groups.
    deliveries: KeptDeliveries,
}

struct ArrivedElement<'a> {
    kind: Kind,
    name: &'a [u8],
    siblings: Vec<(Stamp, Option<&'a [u8]>)>,
    contributions: Vec<Contribution>,
    /// Siblings that assert nothing about the life of their field; contributions know it themselves.
    silent: Vec<Stamp>,
    /// What is asserted about the life of a field besides.
    assertions: Vec<(Stamp, Lifetime)>,
    /// What a string has besides whole writes, if it has anything.
    patched: Option<ArrivedPatches<'a>>,
}

impl Keyspace {
    /// Reads slots from `first` on for a peer whose vector is `since`, until about `bytes_max` bytes are there.
    /// Returns the bytes and the next slot to read, [`SLOTS`] at the end. Call it when no batch is half applied.
    pub fn read_slots(&self, first: u16, since: &VersionVector, bytes_max: usize) -> (Vec<u8>, u16) {
        let (mut out, applied) = self.begin_chunk();
        let mut number = first;
        while number < SLOTS && out.len() < bytes_max {
            self.read_slot(number, since, Extent::News, &applied, &mut out);
            number += 1;
        }
        (out, number)
    }

    /// Lists slots in full for a peer that found them different, until about `bytes_max` bytes are there. Returns the
    /// bytes, and how many of the slots are in them.
    pub fn list_slots(&self, numbers: &[u16], since: &VersionVector, bytes_max: usize) -> (Vec<u8>, usize) {
        let (mut out, applied) = self.begin_chunk();
        let mut covered = 0;
        for &number in numbers {
            if covered > 0 && out.len() >= bytes_max {
                break;
            }
            if number < SLOTS {
                self.read_slot(number, since, Extent::Listing, &applied, &mut out);
            }
            covered += 1;
        }
        (out, covered)
    }

    /// Merges what [`Keyspace::read_slots`] or [`Keyspace::list_slots`] of a peer wrote. Returns the slots that still
    /// differ in something that the peer has removed: they must be listed.
    pub fn merge_slots(&self, chunk: &[u8], now: UnixMillis) -> Result<Vec<u16>, DecodeError> {
        let mut reader = Reader::new(chunk);
        let base = Stamp::from_bits(reader.word("a chunk")?);
        let vector = reader.vector(base, "a chunk")?;
        self.shared.set_now(now);
        let mut differing = Vec::new();
        while !reader.is_empty() {
            let arrived = Arrived::decode(&mut reader, base, &vector)?;
            if self.only.as_ref().is_some_and(|only| !only.contains(arrived.number)) {
                continue;
            }
            self.shared.observe(arrived.context.vector.latest());
            let mark = self.shared.next_stamp(now);
            let mut slot = self.slot(arrived.number);
            if !self.merge_slot(&mut slot, &arrived, mark) {
                differing.push(arrived.number);
            }
        }
        Ok(differing)
    }

    /// The digest of a slot.
    pub fn digest_of(&self, number: u16) -> SlotDigest {
        let slot = self.slot(number);
        let memory = &slot.memory;
        SlotDigest { digest: memory.digest, changed: memory.changed, settled: memory.context().is_none() }
    }

    /// What has been seen of a slot beyond the node's vector; nothing unless a state catch-up is being digested.
    pub fn ahead_of(&self, number: u16) -> Option<VersionVector> {
        self.slot(number).memory.context().map(|context| context.vector.clone())
    }

    /// Up to where something is known of each number, in any slot, by state catch-up: as far as that is beyond the vector,
    /// it is known in part.
    pub fn known_in_part(&self) -> VersionVector {
        let mut known = VersionVector::new();
        for slot in &self.slots {
            if let Some(context) = slot.lock().memory.context() {
                known.join(&context.vector);
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

    pub(crate) fn begin_chunk(&self) -> (Vec<u8>, VersionVector) {
        let applied = (*self.applied()).clone();
        let base = self.clock();
        let mut out = Vec::new();
        out.extend_from_slice(&base.bits().to_le_bytes());
        put_vector(&mut out, base, &applied);
        (out, applied)
    }

    pub(crate) fn read_slot(
        &self,
        number: u16,
        since: &VersionVector,
        extent: Extent,
        applied: &VersionVector,
        out: &mut Vec<u8>,
    ) {
        let base = Stamp::from_bits(u64::from_le_bytes(out[..8].try_into().unwrap_or_default()));
        let slot = self.slot(number);
        let mut beyond = VersionVector::new();
        // SUBTLE: our own last change here and not our clock, which is ahead of every change. The peer waits with this
        // slot until its vector has come so far, and a stamp that no change has would never come.
        let written = self.last_written();
        beyond.raise(written.author(), written);
        if let Some(context) = slot.memory.context() {
            context.vector.iter().filter(|&(_, stamp)| !applied.covers(stamp)).for_each(|(node, stamp)| {
                beyond.raise(node, stamp);
            });
        }
        put_varint(out, u64::from(number));
        out.push(u8::from(extent != Extent::News));
        put_vector(out, base, &beyond);
        out.extend_from_slice(&slot.memory.digest.to_le_bytes());
        let early = slot.memory.context().map(|context| &context.early);
        put_varint(out, early.map_or(0, BTreeSet::len) as u64);
        for (stamp, name) in early.into_iter().flatten() {
            put_stamp(out, base, *stamp);
            out.extend_from_slice(&name.to_le_bytes());
        }
        write_resets(out, base, slot.memory.resets());
        for database in slot.databases() {
            for entry in slot.keys(database) {
                write_key(out, base, database, entry, since, extent);
            }
        }
        out.push(END_OF_KEYS);
    }

    /// Joins an arrived slot to ours. False if ours still has something that the source is known to have removed.
    fn merge_slot(&self, slot: &mut Slot, arrived: &Arrived<'_>, mark: Stamp) -> bool {
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
            slot.memory.touched(key.database, key.key);
        }
        if arrived.extent == Extent::Listing && !is_new {
            let nothing = ArrivedKey { lives: Some(Vec::new()), ..ArrivedKey::default() };
            for (database, key) in keys_of(slot).into_iter().filter(|(d, k)| !named.contains(&(*d, &**k))) {
                slot.change_key(&self.shared, database, &key, |body, site| {
                    merge.key(site, body, &nothing, Extent::Listing);
                });
                slot.memory.touched(database, &key);
            }
        }
        let context = slot.memory.context_or_new();
        context.vector.join(&arrived.context.vector);
        let early = arrived.context.early.iter().filter(|(stamp, _)| !self.shared.has_seen(*stamp));
        let known = context.early.len();
        context.early.extend(early.copied());
        self.shared.count_early(context.early.len() as i64 - known as i64);
        slot.prune(&self.shared, &self.shared.settled_up_to());
        if slot.memory.digest != digest {
            slot.memory.changed = mark;
        }
        arrived.extent == Extent::Listing || merge.known_digest(slot) == arrived.digest
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
        let mut sum = 0;
        for database in slot.databases() {
            for entry in slot.keys(database) {
                let key_digest = digest_of_key(database, key_of(entry));
                let life = digest_of_element(key_digest, 0, &[]);
                if let View::Packed(packed) = entry.view() {
                    // Most keys are; their values may be large, and are not copied for this.
                    let name = digest_of_element(key_digest, Kind::String as u8, &[]);
                    if self.known_there(packed.stamp, name) {
                        sum ^= digest_of_dot(name, packed.stamp, packed.value);
                    }
                    if let Some((dot, lifetime)) = packed.life.assertion(packed.stamp)
                        && self.known_there(dot, life)
                    {
                        sum ^= digest_of_life(life, dot, lifetime);
                    }
                    continue;
                }
                for_each_element(entry, |kind, name, element| {
                    let digest = digest_of_element(key_digest, kind as u8, name);
                    if element.is_patched() {
                        sum ^= self.known_writes(digest, element);
                    } else {
                        let dots = element.siblings.iter().filter(|(dot, _)| self.known_there(*dot, digest));
                        sum ^= dots.fold(0, |sum, (dot, value)| sum ^ digest_of_dot(digest, *dot, value));
                    }
                    let known = element.contributions.iter().filter(|c| self.theirs.vector.covers(c.stamp));
                    sum ^= known.fold(0, |sum, c| sum ^ digest_of_contribution(digest, c));
                    sum ^= digest_of_element_life(digest, self.known_life(digest, element).as_ref());
                });
                let lives = lives_of(entry).into_iter().filter(|&(dot, _)| self.known_there(dot, life));
                sum ^= lives.fold(0, |sum, (dot, lifetime)| sum ^ digest_of_life(life, dot, lifetime));
            }
        }
        sum
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

fn write_resets<'r>(
    out: &mut Vec<u8>,
    base: Stamp,
    resets: impl ExactSizeIterator<Item = (&'r ResetName, &'r RememberedReset)>,
) {
    put_varint(out, resets.len() as u64);
    for (name, reset) in resets {
        out.push(name.database);
        out.push(name.kind);
        put_slice(out, &name.key);
        put_slice(out, &name.name);
        let RememberedReset { birth, stamp, cumulative, by } = *reset;
        encode_reset(out, base, &Reset { node: name.node, birth, stamp, cumulative });
        put_stamp(out, base, by);
    }
}

/// Appends a key, if there is anything to say about it.
fn write_key(out: &mut Vec<u8>, base: Stamp, database: u8, entry: &KeyEntry, since: &VersionVector, extent: Extent) {
    let start = out.len();
    out.push(database + 1);
    put_slice(out, key_of(entry));
    let items = out.len();
    if let View::Packed(packed) = entry.view()
        && packed.life == crate::entry::PackedLife::Own
        && !since.covers(packed.stamp)
    {
        out.push(ITEM_PLAIN);
        put_stamp(out, base, packed.stamp);
        put_slice(out, packed.value);
    } else {
        for_each_element(entry, |kind, name, element| {
            let assertions = element.life.iter().flat_map(|life| &life.assertions);
            let new = element.siblings.iter().any(|(dot, _)| !since.covers(*dot))
                || element.contributions.iter().any(|c| !since.covers(c.stamp))
                || assertions.into_iter().any(|(dot, _)| !since.covers(*dot))
                || has_news(element, since);
            if new || extent != Extent::News {
                write_element(out, base, kind, name, element, since);
            }
        });
        let lives = lives_of(entry);
        if extent != Extent::News || lives.iter().any(|(dot, _)| !since.covers(*dot)) {
            out.push(ITEM_LIVES);
            put_varint(out, lives.len() as u64);
            for (dot, lifetime) in lives {
                put_stamp(out, base, dot);
                put_varint(out, lifetime.to_word());
            }
        }
    }
    if extent == Extent::Image
        && let Some(stream) = stream_in(Some(entry)).filter(|stream| stream.regional.has_deliveries())
    {
        out.push(ITEM_DELIVERIES);
        stream.regional.encode(out, base);
    }
    if out.len() == items {
        out.truncate(start);
    } else {
        out.push(END_OF_ITEMS);
    }
}

fn write_element(out: &mut Vec<u8>, base: Stamp, kind: Kind, name: &[u8], element: &Element, since: &VersionVector) {
    let is_plain = element.life.is_none() && element.silent().next().is_none();
    let item = if element.is_patched() { ITEM_PATCHED } else { ITEM_ELEMENT };
    out.push(if is_plain { item } else { ITEM_TIMED_FIELD });
    out.push(kind as u8);
    put_slice(out, name);
    // Folded writes are listed with the patches.
    let folded = element.fold().map(|(first, _)| first);
    put_varint(out, (element.siblings.len() - usize::from(folded.is_some())) as u64);
    for (dot, value) in element.siblings.iter().filter(|(dot, _)| Some(*dot) != folded) {
        put_stamp(out, base, *dot);
        out.push(u8::from(!since.covers(*dot)));
        if !since.covers(*dot) {
            put_slice(out, value);
        }
    }
    put_varint(out, element.contributions.len() as u64);
    for contribution in &element.contributions {
        encode_reset(out, base, &contribution.observed());
        put_stamp(out, base, contribution.base_stamp);
        contribution.base.encode(out);
    }
    if item == ITEM_PATCHED {
        write_patches(out, base, element, since);
    }
    if !is_plain {
        put_varint(out, element.silent().count() as u64);
        element.silent().for_each(|dot| put_stamp(out, base, dot));
        let assertions = element.life.as_ref().map_or(&[][..], |life| &life.assertions);
        put_varint(out, assertions.len() as u64);
        for (dot, lifetime) in assertions {
            put_stamp(out, base, *dot);
            put_varint(out, lifetime.to_word());
        }
    }
}

impl<'a> Arrived<'a> {
    fn decode(reader: &mut Reader<'a>, base: Stamp, applied: &VersionVector) -> Result<Self, DecodeError> {
        let number = reader.varint("a slot")?;
        let number = u16::try_from(number).ok().filter(|&n| n < SLOTS).ok_or(DecodeError::Invalid("a slot"))?;
        let extent = if reader.byte("a slot")? == 0 { Extent::News } else { Extent::Listing };
        let mut vector = applied.clone();
        vector.join(&reader.vector(base, "a slot's context")?);
        let digest = reader.word("a digest")?;
        let mut early = BTreeSet::new();
        for _ in 0..reader.count("an early set")? {
            early.insert((reader.stamp(base, "an early dot")?, reader.word("an early dot")?));
        }
        let mut resets = Vec::new();
        for _ in 0..reader.count("resets")? {
            resets.push(decode_remembered(reader, base, number)?);
        }
        let mut keys = Vec::new();
        loop {
            match reader.byte("a key")? {
                END_OF_KEYS => break,
                database if database <= crate::slot::DATABASES => {
                    keys.push(ArrivedKey::decode(reader, base, database - 1, number)?);
                }
                _ => return Err(DecodeError::Invalid("a database")),
            }
        }
        Ok(Self { number, extent, context: Context { vector, early }, digest, resets, keys })
    }
}

fn decode_remembered(
    reader: &mut Reader<'_>,
    base: Stamp,
    slot: u16,
) -> Result<(ResetName, RememberedReset), DecodeError> {
    let database = reader.byte("a reset")?;
    let kind = reader.byte("a reset")?;
    let key = reader.slice("a reset")?;
    let name = reader.slice("a reset")?;
    let Reset { node, birth, stamp, cumulative } = decode_reset(reader, base)?;
    let by = reader.stamp(base, "a reset")?;
    let is_named = Kind::from_number(kind).is_some_and(|kind| kind.has_name(name));
    if database >= crate::slot::DATABASES || !is_named || slot_of(key) != slot {
        return Err(DecodeError::Invalid("a reset"));
    }
    let name = ResetName { database, kind, node, key: key.into(), name: name.into() };
    Ok((name, RememberedReset { birth, stamp, cumulative, by }))
}

impl<'a> ArrivedKey<'a> {
    /// The same with what a plain string stands for.
    fn in_full(&self) -> Option<Self> {
        let (dot, value) = self.plain?;
        let nothing = ArrivedElement::nothing(Kind::String, &[]);
        let elements = vec![ArrivedElement { siblings: vec![(dot, Some(value))], ..nothing }];
        let lives = Some(vec![(dot, Lifetime::Never)]);
        Some(Self { database: self.database, key: self.key, elements, lives, ..Self::default() })
    }

    fn decode(reader: &mut Reader<'a>, base: Stamp, database: u8, slot: u16) -> Result<Self, DecodeError> {
        let key = reader.slice("a key")?;
        if slot_of(key) != slot {
            return Err(DecodeError::Invalid("a key of another slot"));
        }
        let mut arrived = Self { database, key, ..Self::default() };
        loop {
            match reader.byte("an item")? {
                END_OF_ITEMS => return Ok(arrived),
                ITEM_PLAIN if arrived.plain.is_none() && arrived.elements.is_empty() && arrived.lives.is_none() => {
                    let dot = reader.stamp(base, "a dot")?;
                    arrived.plain = Some((dot, reader.slice("a value")?));
                }
                // Nothing stands beside a plain string.
                _ if arrived.plain.is_some() => return Err(DecodeError::Invalid("an item")),
                item @ (ITEM_ELEMENT | ITEM_TIMED_FIELD | ITEM_PATCHED) => {
                    let mut element = ArrivedElement::decode(reader, base)?;
                    if item == ITEM_TIMED_FIELD {
                        element.decode_life(reader, base)?;
                    }
                    if item == ITEM_PATCHED {
                        if element.kind != Kind::String {
                            return Err(DecodeError::Invalid("patches"));
                        }
                        element.patched = Some(ArrivedPatches::decode(reader, base)?);
                    }
                    arrived.elements.push(element);
                }
                ITEM_LIVES => {
                    let mut lives = Vec::new();
                    for _ in 0..reader.count("lives")? {
                        let dot = reader.stamp(base, "a life")?;
                        lives.push((dot, Lifetime::from_word(reader.varint("a life")?)));
                    }
                    arrived.lives = Some(lives);
                }
                ITEM_DELIVERIES => arrived.deliveries = Regional::decode(reader, base)?,
                _ => return Err(DecodeError::Invalid("an item")),
            }
        }
    }
}

impl<'a> ArrivedElement<'a> {
    /// An element of which nothing is left.
    fn nothing(kind: Kind, name: &'a [u8]) -> Self {
        let (siblings, contributions) = (Vec::new(), Vec::new());
        Self { kind, name, siblings, contributions, silent: Vec::new(), assertions: Vec::new(), patched: None }
    }

    fn decode(reader: &mut Reader<'a>, base: Stamp) -> Result<Self, DecodeError> {
        let kind = Kind::from_number(reader.byte("a kind")?).ok_or(DecodeError::Invalid("a kind"))?;
        let name = reader.slice("a name")?;
        if !kind.has_name(name) {
            return Err(DecodeError::Invalid("a name"));
        }
        let mut siblings = Vec::new();
        for _ in 0..reader.count("siblings")? {
            let dot = reader.stamp(base, "a dot")?;
            let has_value = reader.byte("a dot")? != 0;
            let value = if has_value { Some(reader.slice("a value")?) } else { None };
            if value.is_some_and(|value| !kind.has_value(name, value)) {
                return Err(DecodeError::Invalid("a value"));
            }
            siblings.push((dot, value));
        }
        let mut contributions = Vec::new();
        for _ in 0..reader.count("contributions")? {
            let Reset { node, birth, stamp, cumulative } = decode_reset(reader, base)?;
            let base_stamp = reader.stamp(base, "a base")?;
            let base = Number::decode(reader)?;
            contributions.push(Contribution { node, birth, stamp, cumulative, base_stamp, base, asserts: true });
        }
        Ok(Self { kind, name, siblings, contributions, silent: Vec::new(), assertions: Vec::new(), patched: None })
    }

    fn decode_life(&mut self, reader: &mut Reader<'_>, base: Stamp) -> Result<(), DecodeError> {
        if self.kind != Kind::Hash {
            return Err(DecodeError::Invalid("the life of an element"));
        }
        for _ in 0..reader.count("a life")? {
            let dot = reader.stamp(base, "a life")?;
            self.contributions.iter_mut().for_each(|c| c.asserts &= c.birth != dot);
            self.silent.push(dot);
        }
        for _ in 0..reader.count("a life")? {
            let dot = reader.stamp(base, "a life")?;
            self.assertions.push((dot, Lifetime::from_word(reader.varint("a life")?)));
        }
        Ok(())
    }
}
