//! Large collections that one change puts: they are built beside the keyspace, and put in place with the slot locked for a
//! moment.
//!
//! A change of millions of elements takes seconds. Nobody needs to wait for that: until the change is applied nobody can
//! see anything of it. What it puts is built by the same rules, in a body and a digest of its own. If the key then holds
//! nothing else of that kind, the body is taken over as it is; else, which concurrent writes alone bring about, the
//! elements are put one by one after all.

use crate::body::KeyBody;
use crate::elements::ElementMap;
use crate::hash::KeyHasher;
use crate::merge::Site;
use crate::shared::Shared;
use crate::slot::{Context, Slot};
use crate::steps::Steps;
use crdt::{Change, DecodeError, Kind, Operation, Operations};

/// Operations of so many bytes are worth it: applying them takes some milliseconds. Builds for tests have large changes
/// that are smaller.
pub const LARGE_CHANGE_BYTES: usize = if cfg!(debug_assertions) { 2 << 10 } else { 128 << 10 };

/// What reading the operation on an element takes beside its name and value, and what putting it takes, in the bytes that
/// could be copied instead.
const READ_BYTES: usize = 32;
const PUT_BYTES: usize = 256;

/// What a large change does, without having done it.
pub struct Plan<'c> {
    change: &'c Change<'c>,
    kind: Kind,
    /// How many operations on elements there are.
    elements: usize,
    /// What comes before the elements, and behind them: a few operations.
    before: Vec<Operation<'c>>,
    behind: Vec<Operation<'c>>,
}

/// What a change puts into a key, built and not in place yet.
pub struct Built<'c> {
    plan: Plan<'c>,
    body: KeyBody,
    /// What the body adds to the slot's digest.
    digest: u64,
}

impl<'c> Plan<'c> {
    /// That of a large change which does nothing to elements but put them, into one collection.
    pub fn of(change: &'c Change<'c>, steps: &mut Steps<'_>) -> Option<Self> {
        if change.operations.len() < LARGE_CHANGE_BYTES {
            return None;
        }
        let (mut found, mut elements) = (None, 0);
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for operation in Operations::of(change) {
            let operation = operation.ok()?;
            let kind = element_kind(&operation);
            elements += usize::from(kind.is_some());
            steps.done(READ_BYTES + bytes_of(&operation));
            match (kind, found) {
                (Some(kind), None) => found = Some(kind),
                (Some(kind), Some(known)) if kind == known && behind.is_empty() => {}
                (Some(_), Some(_)) => return None,
                (None, None) => before.push(operation),
                (None, Some(_)) if matches!(operation, Operation::Live { .. }) => behind.push(operation),
                (None, Some(_)) => return None,
            }
            if before.len() + behind.len() > REST_MAX {
                return None;
            }
        }
        Some(Self { change, kind: found?, elements, before, behind })
    }

    /// Whether the key will hold nothing of the kind beside what the change puts, unless it is written concurrently.
    pub fn is_alone(&self, slot: &Slot, shared: &Shared) -> bool {
        let clears =
            |operation: &Operation<'_>| matches!(operation, Operation::Clear { kind, .. } if *kind == self.kind);
        self.before.iter().any(clears) || slot.find(shared, self.change.database, self.change.key).is_none()
    }

    /// Builds what the change puts.
    pub fn build(self, shared: &Shared, steps: &mut Steps<'_>) -> Built<'c> {
        let change = self.change;
        let mut beside = Slot::new();
        let mut body = KeyBody::new(change.key);
        body.make_room(self.kind, self.elements, &shared.hasher);
        let mut site = Site::new(shared, &mut beside.memory, change.database, change.key);
        for operation in element_operations(change) {
            site.change_body(&mut body, |body, site| site.apply(body, change.stamp, &operation));
            steps.done(PUT_BYTES + bytes_of(&operation));
        }
        Built { plan: self, body, digest: beside.memory.digest }
    }
}

impl<'c> Built<'c> {
    /// What the change does, with one element for all of them.
    pub fn outline(&self) -> Vec<Operation<'c>> {
        let Plan { change, before, behind, .. } = &self.plan;
        before.iter().cloned().chain(element_operations(change).take(1)).chain(behind.iter().cloned()).collect()
    }

    /// Applies the change to the slot that the key is in.
    pub fn put_in_place(self, slot: &mut Slot, shared: &Shared) -> Result<(), DecodeError> {
        let Self { plan: Plan { change, kind, before, behind, .. }, body: mut built, digest } = self;
        let may_know = |context: &Context| !context.early.is_empty() || context.vector.covers(change.stamp);
        if slot.memory.context().is_some_and(may_know) {
            // Something of this was seen here out of order: each element is to be looked up in that.
            return slot.apply(shared, change);
        }
        slot.change_key(shared, change.database, change.key, |body, site| {
            let digest_before = site.memory.digest;
            before.iter().for_each(|operation| site.apply(body, change.stamp, operation));
            let is_alone = !body.keeps(kind);
            if is_alone {
                built.move_collection(body, kind);
                site.memory.digest ^= digest;
                body.summary = built.summary.take();
                if let Some(end) = body.hash.as_ref().and_then(|fields| fields.next_end(0)) {
                    site.expires_at(end);
                }
            } else {
                element_operations(change).for_each(|operation| site.apply(body, change.stamp, &operation));
            }
            behind.iter().for_each(|operation| site.apply(body, change.stamp, operation));
            if is_alone {
                site.settle_summary(body, digest, digest_before);
            }
        });
        slot.memory.touched(change.database, change.key);
        Ok(())
    }
}

/// What a change does to elements.
fn element_operations<'c>(change: &'c Change<'c>) -> impl Iterator<Item = Operation<'c>> {
    Operations::of(change).flatten().filter(|operation| element_kind(operation).is_some())
}

/// Bytes of the name and the value of what is put.
fn bytes_of(operation: &Operation<'_>) -> usize {
    if let Operation::Put { name, value, .. } = operation { name.len() + value.len() } else { 0 }
}

/// Operations beside those on elements: for each type one that removes it, and a few about the key's life.
const REST_MAX: usize = 16;

/// The kind of the collection, if an operation puts an element into one or says how long that stays, and has observed
/// nothing there.
fn element_kind(operation: &Operation<'_>) -> Option<Kind> {
    match operation {
        Operation::Put { kind, drops, resets, .. } if *kind != Kind::String => {
            (drops.is_empty() && resets.is_empty()).then_some(*kind)
        }
        Operation::LiveField { drops, .. } if drops.is_empty() => Some(Kind::Hash),
        Operation::Put { .. }
        | Operation::LiveField { .. }
        | Operation::Remove { .. }
        | Operation::Add { .. }
        | Operation::Clear { .. }
        | Operation::ClearRange { .. }
        | Operation::Live { .. }
        | Operation::Patch { .. }
        | Operation::RemoveFolded { .. }
        | Operation::ClearDatabase { .. } => None,
    }
}

impl KeyBody {
    /// Makes a place for a collection of this kind, with room for so many elements.
    fn make_room(&mut self, kind: Kind, elements: usize, hasher: &KeyHasher) {
        if let Some(place) = self.map_mut(kind) {
            *place = Some(Box::new(ElementMap::with_room(kind, elements, hasher)));
        }
    }

    /// Gives the collection of this kind to another body, which has none.
    fn move_collection(&mut self, to: &mut KeyBody, kind: Kind) {
        match kind {
            Kind::String => {}
            Kind::Hash => to.hash = self.hash.take(),
            Kind::Set => to.set = self.set.take(),
            Kind::SortedSet => to.sorted_set = self.sorted_set.take(),
            Kind::List => to.list = self.list.take(),
            Kind::Stream => to.stream = self.stream.take(),
        }
    }
}
