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
use crdt::{Change, DecodeError, Kind, Operation, Operations, Score};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;

/// Operations of so many bytes are worth it: applying them takes some milliseconds. Builds for tests have large changes
/// that are smaller.
pub const LARGE_CHANGE_BYTES: usize = if cfg!(debug_assertions) { 2 << 10 } else { 128 << 10 };

/// What reading the operation on an element takes beside its name and value, and what putting it takes, in the bytes that
/// could be copied instead.
const READ_BYTES: usize = 32;
const PUT_BYTES: usize = 256;

/// Members of a sorted set that are sorted at once, without a pause: some hundred microseconds.
const MEMBERS_OF_A_RUN: usize = 2048;

/// What a large change does, without having done it.
pub struct Plan {
    kind: Kind,
    /// How many operations on elements there are.
    elements: usize,
    /// Where they lie among the bytes of all. Before them are a few operations.
    place: Range<usize>,
    /// Where the operations on the key's life begin that lie among them or behind.
    lives: Vec<usize>,
}

/// What a change puts into a key, built and not in place yet.
pub struct Built {
    plan: Plan,
    body: KeyBody,
    /// What the body adds to the slot's digest.
    digest: u64,
}

impl Plan {
    /// That of a large change which does nothing to elements but put them, into one collection.
    pub fn of(change: &Change<'_>, steps: &mut Steps<'_>) -> Option<Self> {
        let bytes = change.operations.len();
        if bytes < LARGE_CHANGE_BYTES {
            return None;
        }
        let (mut found, mut elements, mut others) = (None, 0, 0);
        let (mut place, mut lives) = (0..bytes, Vec::new());
        let mut operations = Operations::of(change);
        loop {
            let start = bytes - operations.bytes_left();
            let Some(operation) = operations.next() else { break };
            let operation = operation.ok()?;
            steps.done(READ_BYTES + bytes_of(&operation));
            let kind = element_kind(&operation);
            match (kind, found) {
                (Some(kind), None) => (found, place.start) = (Some(kind), start),
                (Some(kind), Some(known)) if kind == known => {}
                (Some(_), Some(_)) => return None,
                (None, None) => {}
                // It has nothing to do with elements, so it may as well come behind them.
                (None, Some(_)) if matches!(operation, Operation::Live { .. }) => lives.push(start),
                (None, Some(_)) => return None,
            }
            elements += usize::from(kind.is_some());
            others += usize::from(kind.is_none());
            if others > OTHERS_MAX {
                return None;
            }
        }
        Some(Self { kind: found?, elements, place, lives })
    }

    /// Whether the key will hold nothing of the kind beside what the change puts, unless it is written concurrently.
    pub fn is_alone(&self, change: &Change<'_>, slot: &Slot, shared: &Shared) -> bool {
        let clears = |operation: Operation<'_>| matches!(operation, Operation::Clear { kind, .. } if kind == self.kind);
        self.before(change).any(clears) || slot.find(shared, change.database, change.key).is_none()
    }

    /// Builds what the change puts.
    pub fn build(self, change: &Change<'_>, shared: &Shared, steps: &mut Steps<'_>) -> Built {
        if self.kind == Kind::SortedSet {
            // In any other order each member would be looked for among all that have been put: ten times the time.
            let places = places_by_score(change, &self.place, steps);
            let operation_at = |start: u32| some_of(change, start as usize..self.place.end).next();
            let (body, digest) = self.put_all(change, places.into_iter().filter_map(operation_at), shared, steps);
            if body.elements() == self.elements {
                return Built { plan: self, body, digest };
            }
            // A member was named twice: what comes last counts.
        }
        let (body, digest) = self.put_all(change, self.on_elements(change), shared, steps);
        Built { plan: self, body, digest }
    }

    /// A body with all elements, and what it adds to its slot's digest.
    fn put_all<'c>(
        &self,
        change: &Change<'c>,
        operations: impl Iterator<Item = Operation<'c>>,
        shared: &Shared,
        steps: &mut Steps<'_>,
    ) -> (KeyBody, u64) {
        let mut beside = Slot::new();
        let mut body = KeyBody::new(change.key);
        body.make_room(self.kind, self.elements, &shared.hasher);
        let mut site = Site::new(shared, &mut beside.memory, change.database, change.key);
        for operation in operations {
            site.change_body(&mut body, |body, site| site.apply(body, change.stamp, &operation));
            steps.done(PUT_BYTES + bytes_of(&operation));
        }
        (body, beside.memory.digest)
    }

    /// What comes before the elements, upon them and behind them.
    fn before<'c>(&self, change: &Change<'c>) -> impl Iterator<Item = Operation<'c>> {
        some_of(change, 0..self.place.start)
    }

    fn on_elements<'c>(&self, change: &Change<'c>) -> impl Iterator<Item = Operation<'c>> {
        some_of(change, self.place.clone()).filter(|operation| element_kind(operation).is_some())
    }

    fn behind<'c>(&self, change: &Change<'c>) -> impl Iterator<Item = Operation<'c>> {
        self.lives.iter().filter_map(|&start| some_of(change, start..self.place.end).next())
    }
}

impl Built {
    /// What the change does, with one element for all of them.
    pub fn outline<'c>(&self, change: &Change<'c>) -> Vec<Operation<'c>> {
        let Self { plan, .. } = self;
        plan.before(change).chain(plan.on_elements(change).take(1)).chain(plan.behind(change)).collect()
    }

    /// Applies the change, of which it is, to the slot that the key is in.
    pub fn put_in_place(self, change: &Change<'_>, slot: &mut Slot, shared: &Shared) -> Result<(), DecodeError> {
        let Self { plan, body: mut built, digest } = self;
        let may_know = |context: &Context| !context.early.is_empty() || context.vector.covers(change.stamp);
        if slot.memory.context().is_some_and(may_know) {
            // Something of this was seen here out of order: each element is to be looked up in that.
            built.take_collection(plan.kind).into_iter().for_each(|waste| shared.garbage.put(waste));
            return slot.apply(shared, change);
        }
        slot.change_key(shared, change.database, change.key, |body, site| {
            let digest_before = site.memory.digest;
            plan.before(change).for_each(|operation| site.apply(body, change.stamp, &operation));
            let is_alone = !body.keeps(plan.kind);
            if is_alone {
                built.move_collection(body, plan.kind);
                site.memory.digest ^= digest;
                body.summary = built.summary.take();
                if let Some(end) = body.hash.as_ref().and_then(|fields| fields.next_end(0)) {
                    site.expires_at(end);
                }
            } else {
                built.take_collection(plan.kind).into_iter().for_each(|waste| shared.garbage.put(waste));
                plan.on_elements(change).for_each(|operation| site.apply(body, change.stamp, &operation));
            }
            plan.behind(change).for_each(|operation| site.apply(body, change.stamp, &operation));
            if is_alone {
                site.settle_summary(body, digest, digest_before);
            }
        });
        slot.memory.touched(change.database, change.key);
        Ok(())
    }
}

/// The operations that lie in a stretch of the bytes of all. They have been read before.
fn some_of<'c>(change: &Change<'c>, stretch: Range<usize>) -> impl Iterator<Item = Operation<'c>> {
    let operations = change.operations.get(stretch).unwrap_or_default();
    Operations::of(&Change { operations, ..change.clone() }).flatten()
}

/// A member of a sorted set, and where the operation on it begins.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Scored<'c> {
    score: Score,
    name: &'c [u8],
    start: u32,
}

impl Eq for Scored<'_> {}

impl Ord for Scored<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // No score is NaN.
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// Where operations on the members of a sorted set begin, in the order of scores and names: runs of them are sorted, and
/// then merged, so that others have their turn in between.
fn places_by_score(change: &Change<'_>, place: &Range<usize>, steps: &mut Steps<'_>) -> Vec<u32> {
    let (mut runs, mut run) = (Vec::new(), Vec::<Scored<'_>>::with_capacity(MEMBERS_OF_A_RUN));
    let elements = change.operations.get(place.clone()).unwrap_or_default();
    let mut operations = Operations::of(&Change { operations: elements, ..change.clone() });
    let mut members = 0;
    loop {
        let start = place.end - operations.bytes_left();
        let Some(Ok(operation)) = operations.next() else { break };
        let Operation::Put { kind: Kind::SortedSet, name, value, .. } = operation else { continue };
        let Ok(start) = u32::try_from(start) else { continue };
        let score = Score::from_bytes(value);
        run.push(Scored { score, name, start });
        members += 1;
        if run.len() == MEMBERS_OF_A_RUN {
            run.sort_unstable();
            runs.push(std::mem::replace(&mut run, Vec::with_capacity(MEMBERS_OF_A_RUN)));
        }
        steps.done(READ_BYTES + bytes_of(&operation));
    }
    run.sort_unstable();
    runs.push(run);
    let mut rests: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let mut firsts: BinaryHeap<_> =
        rests.iter_mut().enumerate().filter_map(|(run, rest)| Some(Reverse((rest.next()?, run)))).collect();
    let mut places = Vec::with_capacity(members);
    while let Some(mut first) = firsts.peek_mut() {
        let Reverse((member, run)) = *first;
        places.push(member.start);
        match rests[run].next() {
            Some(next) => *first = Reverse((next, run)),
            None => {
                PeekMut::pop(first);
                // Giving so much memory back takes long when all of it goes at once.
                rests[run] = Vec::new().into_iter();
                steps.done(MEMBERS_OF_A_RUN * size_of::<Scored<'_>>());
            }
        }
        steps.done(READ_BYTES);
    }
    places
}

/// Bytes of the name and the value of what is put.
fn bytes_of(operation: &Operation<'_>) -> usize {
    if let Operation::Put { name, value, .. } = operation { name.len() + value.len() } else { 0 }
}

/// Operations beside those on elements: for each type one that removes it, and a few about the key's life.
const OTHERS_MAX: usize = 16;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{DB, Side};
    use crdt::{Changes, NodeNumber, Stamp};

    const KEY: &[u8] = b"scores";

    fn score(number: usize) -> Score {
        // Many have the same.
        Score::new((number.wrapping_mul(2_654_435_761) >> 7 & 0xff) as f64).unwrap()
    }

    fn put(side: &mut Side, members: impl Iterator<Item = (String, Score)>) {
        side.command(&[KEY], |access| {
            for (name, score) in members {
                access.put_score(DB, KEY, name.as_bytes(), score).unwrap();
            }
        });
    }

    /// The members in their order.
    fn seen(side: &mut Side) -> Vec<(Vec<u8>, f64)> {
        side.command(&[KEY], |access| {
            let members = access.sorted_set(DB, KEY).unwrap().unwrap();
            let in_order = members.in_order();
            in_order.range(0..in_order.len(), false).map(|(name, score)| (name.to_vec(), score)).collect()
        })
    }

    #[test]
    fn members_are_put_in_the_order_of_scores_and_names() {
        let mut one = Side::new(1);
        put(&mut one, (0..3 * MEMBERS_OF_A_RUN + 5).map(|number| (format!("member {number}"), score(number))));
        let batch = one.batches().pop().unwrap();
        let change = Changes::new(&batch.payload, NodeNumber::new(1).unwrap(), Stamp::ZERO).next().unwrap().unwrap();
        let mut pauses = 0;
        let mut count = || pauses += 1;
        let mut steps = Steps::new(&mut count);
        let plan = Plan::of(&change, &mut steps).unwrap();
        let places = places_by_score(&change, &plan.place, &mut steps);
        let named = |start: &u32| match some_of(&change, *start as usize..plan.place.end).next() {
            Some(Operation::Put { name, value, .. }) => (name.to_vec(), Score::from_bytes(value).to_f64()),
            other => panic!("{other:?}"),
        };
        assert!(places.iter().map(named).eq(seen(&mut one)));
        assert!(pauses > 20, "{pauses}");
    }

    #[test]
    fn a_member_that_is_named_twice_has_the_score_that_comes_last() {
        let (mut one, other) = (Side::new(1), Side::new(2));
        let twice = [("member 7".to_owned(), score(3)), ("member 9".to_owned(), Score::new(-1.0).unwrap())];
        let all = (0..2_000).map(|number| (format!("member {number}"), score(number)));
        put(&mut one, all.chain(twice));
        one.tell(&other);
        let mut other = other;
        assert_eq!(one.digest(KEY), other.digest(KEY));
        assert_eq!(seen(&mut one), seen(&mut other));
    }
}
