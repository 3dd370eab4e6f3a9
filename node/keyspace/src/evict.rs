//! Eviction: which key goes when memory is short, and its removal.
//!
//! As in Redis, some keys are drawn at random, the best candidates of this and earlier draws are kept in a small pool,
//! and the best of them goes. An eviction is an ordinary removal of what was observed here: it is logged, it replicates,
//! and a write elsewhere that was not observed stands. How much memory is short, others say.

use crate::access::Database;
use crate::body::{KeyEntry, has_content, key_of, lifetime_of};
use crate::bundle::Bundle;
use crate::collection::ElementView;
use crate::entry::View;
use crate::events::EventClass;
use crate::footprint;
use crate::hash::SLOTS;
use crate::keyspace::{Keyspace, Removal, Writer};
use crate::shared::Shared;
use crate::slot::{KeyTable, Slot};
use crate::slot_walk::SlotWalk;
use crate::usage::{Tracking, Usage, next_random};
use crdt::{Element, Lifetime, UnixMillis};

/// What makes a key go before others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionRank {
    /// It was not used for longer.
    Recency,
    /// It is used less often.
    Frequency,
    /// Nothing but chance.
    Chance,
    /// It ends sooner.
    Deadline,
}

/// Which keys are evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Which go first.
    pub rank: EvictionRank,
    /// Whether only keys that have an end go.
    pub volatile_only: bool,
    /// How many keys are drawn for each that goes.
    pub samples: usize,
}

/// What became of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// A key went that took about so many bytes.
    Removed {
        /// The memory that it took, with the allocator's rounding.
        bytes: usize,
    },
    /// There may be keys that may go, but none was met in the time that one eviction has.
    Searching,
    /// No key may go: there is none, or a walk over all of them has met none. The next eviction goes on with the walk.
    Nothing,
}

/// Evicts keys. There should be one for all threads, so that what one has drawn helps the others.
#[derive(Debug)]
pub struct Evictor {
    policy: Option<EvictionPolicy>,
    /// The best candidates, the one that goes first at the end.
    pool: Vec<Candidate>,
    weights: Weights,
    /// When keys were last drawn.
    drawn_at: UnixMillis,
    /// The slot whose weight is looked at next.
    refreshed: u16,
    /// The slot where the walk in search of keys that may go is, and how far it has come in it.
    walked: u16,
    walk: SlotWalk,
    /// Slots that the walk has left since a key was met that may go.
    fruitless: u32,
    chance: u64,
}

/// A key that may go.
#[derive(Debug)]
struct Candidate {
    /// How good it is that it goes.
    score: u64,
    database: u8,
    key: Box<[u8]>,
}

/// Candidates that are remembered, as in Redis.
const POOL_MAX: usize = 16;
/// Draws for each sample wanted, where only some keys count.
const TRIES_A_SAMPLE: usize = 8;
/// Cells that are looked at in one round of a walk, and perhaps as many as one look takes: some hundred microseconds.
const WALK_CELLS_MAX: usize = 2_048;
/// Slots whose weight is looked at by each eviction.
const REFRESHED_EACH: u16 = 8;
/// After so long without an eviction the weights of all slots are looked at again, which takes less than a millisecond.
const WEIGHTS_OLD_MS: u64 = 2_000;
/// Rounds in which every candidate turned out to have been used meanwhile, before it is left at that.
const ROUNDS_MAX: usize = 4;
/// The removal of a counter that others have moved is remembered until they are known to have applied it. When so many are
/// remembered already, evicting another one would free next to nothing, and a region that is cut off would evict all of
/// them for it: such keys stay then. A remembered removal takes some 200 bytes, so this is about 13 MB.
pub const EVICTION_RESETS_MAX: u64 = 1 << 16;
/// Uses that a key of another region's counts for more: it may be used there, which is not seen here.
const FOREIGN_FREQUENCY: u64 = 5;
/// Elements of a collection that are looked at for counters of others.
const ELEMENTS_LOOKED_AT: usize = 16;

impl Keyspace {
    /// Says what keys note of their use from now on.
    pub fn track_use(&self, tracking: Tracking) {
        self.shared.usage.track(tracking);
    }
}

impl Evictor {
    /// Where chance begins is `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            policy: None,
            pool: Vec::with_capacity(POOL_MAX + 1),
            weights: Weights::new(),
            drawn_at: 0,
            refreshed: 0,
            walked: 0,
            walk: SlotWalk::default(),
            fruitless: 0,
            chance: seed | 1,
        }
    }

    /// Evicts one key. `now` is the wall clock in Unix milliseconds.
    pub fn evict(&mut self, writer: &mut Writer, now: UnixMillis, policy: &EvictionPolicy) -> Eviction {
        let keyspace = writer.keyspace().clone();
        let may_go = |database| match policy.volatile_only {
            true => keyspace.keys_with_end(database) > 0,
            false => keyspace.len(database) > 0,
        };
        if !(0..crate::slot::DATABASES).any(may_go) {
            return Eviction::Nothing;
        }
        if self.policy.replace(*policy) != Some(*policy) {
            self.pool.clear();
            self.fruitless = 0;
        }
        self.refresh(&keyspace, now);
        for _ in 0..ROUNDS_MAX {
            self.draw(&keyspace, now, policy);
            while let Some(candidate) = self.pool.pop() {
                if let Some(bytes) = remove(writer, now, policy, &candidate) {
                    return Eviction::Removed { bytes };
                }
            }
            // One more than there are slots: the first may have been walked from its middle.
            if self.fruitless > u32::from(SLOTS) {
                return Eviction::Nothing;
            }
        }
        Eviction::Searching
    }

    /// Looks at the weights of some slots, or of all if that is long ago.
    fn refresh(&mut self, keyspace: &Keyspace, now: UnixMillis) {
        let is_old = self.weights.total == 0 || now.saturating_sub(self.drawn_at) > WEIGHTS_OLD_MS;
        for _ in 0..if is_old { SLOTS } else { REFRESHED_EACH } {
            self.refreshed = (self.refreshed + 1) % SLOTS;
            // What a script holds for very long is not waited for, here and below.
            if let Some(slot) = keyspace.slot_unless_busy(self.refreshed) {
                self.weights.set(self.refreshed, weight(&slot));
            }
        }
        self.drawn_at = now;
    }

    /// Draws some keys into the pool.
    fn draw(&mut self, keyspace: &Keyspace, now: UnixMillis, policy: &EvictionPolicy) {
        let wanted = if policy.rank == EvictionRank::Chance { 1 } else { policy.samples.max(1) };
        let mut found = 0;
        for _ in 0..wanted * TRIES_A_SAMPLE {
            if found == wanted || self.weights.total == 0 {
                break;
            }
            let place = below(self.random(), self.weights.total);
            let number = self.weights.find(place);
            let Some(slot) = keyspace.slot_unless_busy(number) else { continue };
            self.weights.set(number, weight(&slot));
            if let Some((database, entry)) = random_entry(&slot, self.random())
                && let Some(score) = score(&keyspace.shared, entry, now, policy)
            {
                found += 1;
                self.offer(score, database, entry);
            }
        }
        if self.pool.is_empty() {
            self.walk(keyspace, now, policy);
        }
    }

    /// Looks at one key after the other, where keys that may go are too rare to be met by chance.
    fn walk(&mut self, keyspace: &Keyspace, now: UnixMillis, policy: &EvictionPolicy) {
        let (mut looked, mut left) = (0, 0);
        while looked < WALK_CELLS_MAX && left <= SLOTS && self.pool.is_empty() {
            let Some(slot) = keyspace.slot_unless_busy(self.walked) else {
                (self.walked, self.walk) = ((self.walked + 1) % SLOTS, SlotWalk::default());
                self.fruitless = self.fruitless.saturating_add(1);
                left += 1;
                continue;
            };
            let mut walk = self.walk;
            let look = walk.look(&slot, |database, entry| {
                if database < crate::slot::DATABASES
                    && let Some(score) = score(&keyspace.shared, entry, now, policy)
                {
                    self.offer(score, database, entry);
                }
                true
            });
            self.walk = walk;
            looked += look.cells;
            if look.is_over {
                (self.walked, self.walk) = ((self.walked + 1) % SLOTS, SlotWalk::default());
                self.fruitless = self.fruitless.saturating_add(1);
                left += 1;
            }
        }
    }

    /// Takes a key into the pool, if it is better than the worst there or there is room.
    fn offer(&mut self, score: u64, database: u8, entry: &KeyEntry) {
        self.fruitless = 0;
        let at = self.pool.partition_point(|other| other.score < score);
        if self.pool.len() == POOL_MAX && at == 0 {
            return;
        }
        let key = key_of(entry);
        if self.pool.iter().any(|other| other.database == database && *other.key == *key) {
            return;
        }
        self.pool.insert(at, Candidate { score, database, key: key.into() });
        if self.pool.len() > POOL_MAX {
            self.pool.remove(0);
        }
    }

    fn random(&mut self) -> u64 {
        self.chance = next_random(self.chance);
        // The high bits of a product are better than the generator's own.
        self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Removes a candidate, unless it has become a worse one. Its bytes, if it went.
fn remove(writer: &mut Writer, now: UnixMillis, policy: &EvictionPolicy, candidate: &Candidate) -> Option<usize> {
    let mut access = writer.access_unless_busy(now, &[&candidate.key])?;
    access.begin_command();
    if access.keyspace.meets_frozen(&[&candidate.key], true) {
        return None;
    }
    let shared = access.shared();
    let entry = access.locked(&candidate.key).find(shared, candidate.database, &candidate.key)?;
    if score(shared, entry, now, policy)? < candidate.score {
        return None;
    }
    // SUBTLE: as large as the allocator hands it out. Too small a figure makes others go for what this one has freed.
    let bytes = footprint::of_removed(entry);
    access.remove_observed(Database(candidate.database), &candidate.key);
    access.note(EventClass::EVICTED, "evicted", Database(candidate.database), &candidate.key);
    let stamp = access.stamp;
    drop(access);
    if let (Some(stamp), Some(observe)) = (stamp, writer.keyspace().on_removal.get()) {
        observe(&Removal {
            database: candidate.database,
            key: &candidate.key,
            fields: &[],
            stamp,
            is_eviction: true,
            now,
        });
    }
    Some(bytes)
}

/// How good it is that a key goes; nothing if it must not.
fn score(shared: &Shared, entry: &KeyEntry, now: UnixMillis, policy: &EvictionPolicy) -> Option<u64> {
    if !has_content(entry) {
        return None;
    }
    let life = lifetime_of(entry);
    if life.is_over(now) {
        return Some(u64::MAX);
    }
    if policy.volatile_only && life == Lifetime::Never {
        return None;
    }
    if shared.resets() >= EVICTION_RESETS_MAX && leaves_resets(shared, entry) {
        return None;
    }
    let (noted, author) = match entry.view() {
        View::Packed(packed) => (packed.access, Some(packed.stamp.author())),
        View::Counter(counter) => (counter.access, Some(counter.stamp.author())),
        View::Bundle(bundle) => (bundle.access, bundle.assertion().map(|(stamp, _)| stamp.author())),
        View::Wide(body) => (body.access, body.winning_life().map(|(stamp, _)| stamp.author())),
    };
    let is_foreign = author.is_some_and(|author| !shared.is_me(author));
    Some(match (policy.rank, life) {
        (EvictionRank::Recency, _) => u64::from(Usage::idle_units(noted, now)) << u32::from(!is_foreign),
        (EvictionRank::Frequency, _) => {
            let frequency = u64::from(shared.usage.frequency(noted, now));
            u64::from(u8::MAX) + FOREIGN_FREQUENCY - frequency - if is_foreign { FOREIGN_FREQUENCY } else { 0 }
        }
        (EvictionRank::Chance, _) | (EvictionRank::Deadline, Lifetime::Never) => 0,
        (EvictionRank::Deadline, Lifetime::Until(deadline)) => (u64::MAX - 1).saturating_sub(deadline),
    })
}

/// Whether something must be remembered when a key is removed: it is or holds a counter that others have moved.
fn leaves_resets(shared: &Shared, entry: &KeyEntry) -> bool {
    let by_others = |element: &Element| element.contributions.iter().any(|c| !shared.is_me(c.node));
    let element_by_others = |element: &ElementView<'_>| match element {
        ElementView::Written(_) => false,
        ElementView::Counter(counter) => !shared.is_me(counter.birth.author()),
        ElementView::Wide(wide) => by_others(&wide.element),
    };
    match entry.view() {
        View::Packed(_) => false,
        View::Counter(counter) => !shared.is_me(counter.birth.author()),
        View::Bundle(bundle) => Bundle::of(&bundle).iter().any(|element| element_by_others(&element)),
        View::Wide(body) => {
            body.string.as_deref().is_some_and(by_others)
                || body
                    .hash
                    .iter()
                    .flat_map(|map| map.iter())
                    .take(ELEMENTS_LOOKED_AT)
                    .any(|e| element_by_others(&ElementView::of(e)))
        }
    }
}

/// The keys of a slot.
fn weight(slot: &Slot) -> u32 {
    let keys: usize = slot.client_databases().filter_map(|database| slot.table(database)).map(KeyTable::len).sum();
    u32::try_from(keys).unwrap_or(u32::MAX)
}

/// A key of a slot, each with the same chance.
fn random_entry(slot: &Slot, random: u64) -> Option<(u8, &KeyEntry)> {
    let mut rest = below(random, u64::from(weight(slot)));
    for database in slot.client_databases() {
        let table = slot.table(database)?;
        let keys = table.len() as u64;
        if rest < keys {
            return Some((database, table.random(next_random(random | 1))?));
        }
        rest -= keys;
    }
    None
}

/// A number below `end`, by a random word.
fn below(random: u64, end: u64) -> u64 {
    ((u128::from(random) * u128::from(end)) >> 64) as u64
}

/// How many keys each slot has, so that a key is drawn with the same chance wherever it lies: sums over ranges of slots
/// (Fenwick 1994), of which one weight changes fourteen.
#[derive(Debug)]
struct Weights {
    each: Box<[u32]>,
    sums: Box<[u64]>,
    total: u64,
}

impl Weights {
    fn new() -> Self {
        let slots = usize::from(SLOTS);
        Self { each: vec![0; slots].into(), sums: vec![0; slots + 1].into(), total: 0 }
    }

    fn set(&mut self, slot: u16, weight: u32) {
        let before = std::mem::replace(&mut self.each[usize::from(slot)], weight);
        if before == weight {
            return;
        }
        let change = |sum: &mut u64| *sum = *sum + u64::from(weight) - u64::from(before);
        change(&mut self.total);
        let mut at = usize::from(slot) + 1;
        while at < self.sums.len() {
            change(&mut self.sums[at]);
            at += at & at.wrapping_neg();
        }
    }

    /// The slot in which the `place`th of all keys lies.
    fn find(&self, mut place: u64) -> u16 {
        let (mut at, mut step) = (0, usize::from(SLOTS));
        while step > 0 {
            if at + step < self.sums.len() && self.sums[at + step] <= place {
                at += step;
                place -= self.sums[at];
            }
            step /= 2;
        }
        (at as u16).min(SLOTS - 1)
    }
}

#[cfg(test)]
mod tests;
