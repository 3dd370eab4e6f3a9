//! Changes of small collections where they are: what nearly all writes of their elements are, without taking a bundle apart.
//! Each case says in a few steps what the rules of [`crate::merge`] say in general, and does nothing if it is not that simple.

use crate::body::{KeyEntry, key_of};
use crate::bundle::{self, Bundle, Content, Place};
use crate::collection::ElementView;
use crate::entry::{Entry, Packed, PackedBundle, PackedCounter, PackedLife};
use crate::hash::{digest_of_contribution, digest_of_dot, digest_of_element, digest_of_key, digest_of_life};
use crate::merge::{Site, observed};
use crate::shared::Shared;
use crate::slot::{Memory, Slot};
use crdt::{Change, Contribution, Kind, Lifetime, NodeNumber, Number, Operation, Stamp, VersionVector};
use std::ops::Range;

/// A write of an element that was done.
pub(crate) struct Done {
    /// Its dot.
    pub(crate) stamp: Stamp,
    /// The dot that it has replaced.
    pub(crate) replaced: Option<Stamp>,
}

/// A bundle that a change is applied to, with what it may have an effect on.
struct Target<'s> {
    shared: &'s Shared,
    memory: &'s mut Memory,
    entry: &'s mut KeyEntry,
    database: u8,
    key: &'s [u8],
    key_digest: u64,
    stamp: Stamp,
}

impl Slot {
    /// Applies one operation of a change to a key that is a bundle, or begins one. False if the case is not that simple, and
    /// then nothing was done.
    pub(crate) fn apply_in_bundle(&mut self, shared: &Shared, change: &Change<'_>, operation: &Operation<'_>) -> bool {
        if self.memory.context().is_some() {
            return false;
        }
        let (stamp, database, key) = (change.stamp, change.database, change.key);
        let (table, memory) = self.split(database);
        let (hash, key_digest) = (shared.hasher.hash(key), digest_of_key(database, key));
        let Some(entry) = table.find_mut(hash, |entry| key_of(entry) == key) else {
            let Some((entry, digest)) = begun(shared, key_digest, change, operation) else { return false };
            memory.digest ^= digest;
            table.insert_new(hash, entry, |entry| shared.hasher.hash(key_of(entry)));
            shared.count_keys(database, 1);
            shared.count_life(database, None, Some(Lifetime::Never));
            return true;
        };
        Target { shared, memory, entry, database, key, key_digest, stamp }.apply(operation).is_some()
    }
}

/// The bundle of a key that was not there, and its share of the digest.
fn begun(shared: &Shared, key: u64, change: &Change<'_>, operation: &Operation<'_>) -> Option<(KeyEntry, u64)> {
    let Operation::Put { kind, name, drops, resets, value } = operation else { return None };
    // What does not fit is not copied first.
    let fits = name.len().saturating_add(value.len()) <= bundle::BUNDLE_BYTES_MAX;
    let is_collection = matches!(kind, Kind::Hash | Kind::Set | Kind::SortedSet);
    if !drops.is_empty() || !resets.is_empty() || !fits || !is_collection {
        return None;
    }
    let (stamp, access, life) = (change.stamp, shared.access_at_first(), PackedLife::Own);
    let element = ElementView::Written(Packed { stamp, life, access: 0, name, value });
    let elements = &bundle::bundled(stamp, std::iter::once(element))?;
    let life = PackedLife::Unasserted;
    let entry = Entry::bundle_of(&PackedBundle { kind: *kind, stamp, life, access, name: change.key, elements })?;
    Some((entry, digest_of_dot(digest_of_element(key, *kind as u8, name), stamp, value)))
}

impl Target<'_> {
    /// Nothing if the case is not that simple.
    fn apply(mut self, operation: &Operation<'_>) -> Option<()> {
        let held = self.entry.bundle()?.kind;
        match operation {
            Operation::Put { kind, name, drops, resets, value } if *kind == held && resets.is_empty() => {
                self.put(held, name, drops, value)?;
            }
            Operation::Remove { kind, name, drops, resets } if *kind == held && resets.is_empty() => {
                self.remove(held, name, drops)?;
            }
            Operation::Add { kind, name, birth, cumulative, asserts: true } if *kind == held => {
                self.add(held, name, *birth, *cumulative)?;
            }
            Operation::Live { drops, assertion: Some(lifetime) } => self.live(drops, *lifetime)?,
            Operation::Put { .. }
            | Operation::Remove { .. }
            | Operation::Add { .. }
            | Operation::Clear { .. }
            | Operation::ClearRange { .. }
            | Operation::Live { .. }
            | Operation::LiveField { .. }
            | Operation::Patch { .. }
            | Operation::RemoveFolded { .. }
            | Operation::ClearDatabase { .. } => return None,
        }
        self.entry.note_use(|noted| self.shared.access_after(noted));
        Some(())
    }

    fn digest_of(&self, kind: Kind, name: &[u8]) -> u64 {
        digest_of_element(self.key_digest, kind as u8, name)
    }

    /// The element that one write has set and that a write of this change drops, and its share of the digest; nothing but
    /// an empty place if there is none.
    fn dropped(
        &self,
        kind: Kind,
        name: &[u8],
        drops: &[Stamp],
        may_be_own: bool,
    ) -> Option<(Option<Range<usize>>, u64)> {
        let bundle = self.entry.bundle()?;
        let Some(Place { element, range }) = Bundle::of(&bundle).find(name) else {
            return drops.is_empty().then_some((None, 0));
        };
        let ElementView::Written(old) = element else { return None };
        let own = old.stamp.author() == self.stamp.author()
            && (old.stamp < self.stamp || may_be_own && old.stamp == self.stamp);
        let simple = own && drops.is_empty() || drops == [old.stamp];
        simple.then(|| (Some(range), digest_of_dot(self.digest_of(kind, name), old.stamp, old.value)))
    }

    fn put(&mut self, kind: Kind, name: &[u8], drops: &[Stamp], value: &[u8]) -> Option<()> {
        let (place, gone) = self.dropped(kind, name, drops, true)?;
        if !bundle::put(self.entry, place, self.stamp, name, Content::Written(value)) {
            return None;
        }
        self.memory.digest ^= gone ^ digest_of_dot(self.digest_of(kind, name), self.stamp, value);
        Some(())
    }

    fn remove(&mut self, kind: Kind, name: &[u8], drops: &[Stamp]) -> Option<()> {
        let (place, gone) = self.dropped(kind, name, drops, false)?;
        let Some(place) = place else { return Some(()) };
        // A key without elements is not a bundle any more.
        if Bundle::of(&self.entry.bundle()?).len() == 1 {
            return None;
        }
        bundle::take_out(self.entry, place);
        self.memory.digest ^= gone;
        Some(())
    }

    fn add(&mut self, kind: Kind, name: &[u8], birth: Stamp, cumulative: Number) -> Option<()> {
        let whole = i64::try_from(cumulative.integer).ok().filter(|_| cumulative.float.is_none())?;
        let sane = birth.author() == self.stamp.author() && birth <= self.stamp;
        if !sane || self.memory.resets().len() > 0 {
            return None;
        }
        let digest = self.digest_of(kind, name);
        let (place, gone) = match Bundle::of(&self.entry.bundle()?).find(name) {
            None => (None, 0),
            Some(Place { element: ElementView::Counter(old), range })
                if old.birth == birth && old.stamp < self.stamp =>
            {
                (Some(range), digest_of_contribution(digest, &old.contribution()))
            }
            Some(_) => return None,
        };
        if !bundle::put(self.entry, place, self.stamp, name, Content::Counter { birth, cumulative: whole }) {
            return None;
        }
        let after = Contribution::born(birth, self.stamp, Number::integer(i128::from(whole)));
        self.memory.digest ^= gone ^ digest_of_contribution(digest, &after);
        Some(())
    }

    /// Takes the place of the assertion that was observed, if there is one.
    fn live(&mut self, drops: &[Stamp], lifetime: Lifetime) -> Option<()> {
        let bundle = self.entry.bundle()?;
        let (old, base) = (bundle.assertion(), bundle.stamp);
        let goes = |dot: Stamp| drops == [dot] || dot.author() == self.stamp.author() && dot <= self.stamp;
        let named = drops.iter().all(|drop| old.is_some_and(|(dot, _)| dot == *drop));
        if !named || old.is_some_and(|(dot, _)| !goes(dot)) {
            return None;
        }
        let digest = digest_of_element(self.key_digest, 0, &[]);
        let gone = old.map_or(0, |(dot, lifetime)| digest_of_life(digest, dot, lifetime));
        self.memory.digest ^= gone ^ digest_of_life(digest, self.stamp, lifetime);
        let before = old.map_or(Lifetime::Never, |(_, lifetime)| lifetime);
        self.shared.count_life(self.database, Some(before), Some(lifetime));
        self.entry.set_life(PackedLife::from_assertion(Some((self.stamp, lifetime)), base));
        if let Lifetime::Until(deadline) = lifetime {
            Site::new(self.shared, self.memory, self.database, self.key).expires_at(deadline);
        }
        Some(())
    }
}

/// Sets an element of a bundle of this kind that has no end, for a client here. Nothing if the case is not that simple.
pub(crate) fn put_here(
    entry: &mut KeyEntry,
    memory: &mut Memory,
    kind: Kind,
    digest: u64,
    (name, value): (&[u8], &[u8]),
    take_stamp: impl FnOnce() -> Stamp,
) -> Option<Done> {
    let bundle = entry.bundle().filter(|bundle| bundle.kind == kind && is_endless(bundle))?;
    let (place, replaced, gone) = match Bundle::of(&bundle).find(name) {
        None => (None, None, 0),
        Some(Place { element: ElementView::Written(old), range }) => {
            (Some(range), Some(old.stamp), digest_of_dot(digest, old.stamp, old.value))
        }
        Some(_) => return None,
    };
    let stamp = take_stamp();
    if !bundle::put(entry, place, stamp, name, Content::Written(value)) {
        return None;
    }
    memory.digest ^= gone;
    Some(Done { stamp, replaced })
}

/// Moves this node's own counter in a bundle of this kind that has no end. Nothing if the case is not that simple.
pub(crate) fn move_here(
    entry: &mut KeyEntry,
    kind: Kind,
    name: &[u8],
    me: NodeNumber,
    more: Number,
    take_stamp: impl FnOnce() -> Stamp,
) -> Option<(Stamp, Contribution, Contribution)> {
    let bundle = entry.bundle().filter(|bundle| bundle.kind == kind && is_endless(bundle))?;
    let Place { element: ElementView::Counter(counter), range } = Bundle::of(&bundle).find(name)? else { return None };
    let before = counter.contribution();
    let cumulative = before.cumulative.plus(more);
    let whole = i64::try_from(cumulative.integer).ok().filter(|_| cumulative.float.is_none())?;
    if before.node != me {
        return None;
    }
    let stamp = take_stamp();
    // What the same command has added already is for the general way to judge.
    let content = Content::Counter { birth: before.birth, cumulative: whole };
    if stamp <= before.stamp || !bundle::put(entry, Some(range), stamp, name, content) {
        return None;
    }
    Some((stamp, before, Contribution { stamp, cumulative, ..before }))
}

fn is_endless(bundle: &PackedBundle<'_>) -> bool {
    bundle.assertion().is_none_or(|(_, lifetime)| lifetime == Lifetime::Never)
}

/// The share of the digest of a bundle that goes as a whole by a clear of its database; nothing if something may stay.
pub(crate) fn cleared(bundle: &PackedBundle<'_>, key: u64, stamp: Stamp, covered: &VersionVector) -> Option<u64> {
    let mut gone = 0;
    if let Some((dot, lifetime)) = bundle.assertion() {
        observed(dot, stamp, covered).then_some(())?;
        gone ^= digest_of_life(digest_of_element(key, 0, &[]), dot, lifetime);
    }
    for element in Bundle::of(bundle).iter() {
        match element {
            ElementView::Written(Packed { stamp: dot, name, value, .. }) if observed(dot, stamp, covered) => {
                gone ^= digest_of_dot(digest_of_element(key, bundle.kind as u8, name), dot, value);
            }
            ElementView::Written(_) | ElementView::Counter(PackedCounter { .. }) | ElementView::Wide(_) => return None,
        }
    }
    Some(gone)
}

#[cfg(test)]
mod tests;
