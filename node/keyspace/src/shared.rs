//! What all slots share: the clock, the node's number and vector, the seeds, the counts.

use crate::frozen::Frozen;
use crate::garbage::Garbage;
use crate::hash::{KeyHasher, SLOTS};
use crate::holds::Holds;
use crate::slot::DATABASES_HELD;
use crate::usage::Usage;
use crdt::{Lifetime, NodeNumber, Stamp, UnixMillis, VersionVector};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};

/// Shared by all slots, writers and the replication thread.
#[derive(Debug)]
pub struct Shared {
    /// The hash of the tables.
    pub hasher: KeyHasher,
    /// How often concurrent writes met.
    pub conflicts: Conflicts,
    /// How uses of keys are noted.
    pub usage: Usage,
    /// What was removed and is not free yet.
    pub garbage: Garbage,
    /// The keys that are being moved.
    pub frozen: Frozen,
    /// How long slots are held.
    pub holds: Holds,
    me: AtomicU16,
    /// The greatest stamp given out or seen.
    clock: AtomicU64,
    /// The last change of all writers that are gone.
    written: AtomicU64,
    /// The wall clock as the last command or batch read it.
    now: AtomicU64,
    applied: RwLock<Arc<VersionVector>>,
    /// Numbers of which nothing can come any more.
    ended: RwLock<Vec<EndedNumber>>,
    /// What every member has applied.
    known: RwLock<Arc<VersionVector>>,
    /// Strings with patches that may not be everywhere.
    patched: AtomicI64,
    /// Whole writes in the place of patches.
    made_whole: AtomicU64,
    /// The slot in which folding goes on.
    fold_from: AtomicU16,
    keys: [AtomicI64; DATABASES_HELD as usize],
    lives: [LifeCounts; DATABASES_HELD as usize],
    resets: AtomicI64,
    early: AtomicI64,
    earliest: Box<[AtomicU64]>,
}

/// A node number that is closed: its life is over, and the vector has come to where the members sealed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedNumber {
    /// The number.
    pub number: NodeNumber,
    /// All of its changes up to here are known.
    pub whole: Stamp,
    /// Of its changes from there to here as much is known as state catch-up had brought to anybody; of later ones nothing.
    pub at: Stamp,
}

/// How often concurrent writes met, by kind of conflict, since the start.
#[derive(Debug, Default)]
pub struct Conflicts {
    /// Two values for one element: the later stamp is read.
    pub values: AtomicU64,
    /// Two assertions about one key's life: the longest is kept.
    pub lives: AtomicU64,
    /// Two types for one key: the type with the latest stamp is read.
    pub kinds: AtomicU64,
}

/// The keys of a database that have an end.
#[derive(Debug, Default)]
struct LifeCounts {
    keys: AtomicI64,
    /// The sum of their deadlines, in [`DEADLINE_UNIT_BITS`].
    deadlines: AtomicI64,
}

/// Deadlines are added up in units of 1.024 s since the epoch of stamps, each at most 2^31 of them (69 years): four
/// thousand million keys fit the sum.
const DEADLINE_UNIT_BITS: u32 = 10;
const DEADLINE_UNITS_MAX: u64 = 1 << 31;

/// Of a node that has none yet.
const NO_NUMBER: u16 = crdt::NODE_NUMBERS_MAX;

impl Shared {
    /// The state of an empty keyspace.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: KeyHasher::seeded(seed),
            conflicts: Conflicts::default(),
            usage: Usage::new(seed),
            garbage: Garbage::default(),
            frozen: Frozen::default(),
            holds: Holds::default(),
            me: AtomicU16::new(NO_NUMBER),
            clock: AtomicU64::new(0),
            written: AtomicU64::new(0),
            now: AtomicU64::new(0),
            applied: RwLock::new(Arc::new(VersionVector::new())),
            ended: RwLock::new(Vec::new()),
            known: RwLock::new(Arc::new(VersionVector::new())),
            patched: AtomicI64::new(0),
            made_whole: AtomicU64::new(0),
            fold_from: AtomicU16::new(0),
            keys: std::array::from_fn(|_| AtomicI64::new(0)),
            lives: std::array::from_fn(|_| LifeCounts::default()),
            resets: AtomicI64::new(0),
            early: AtomicI64::new(0),
            earliest: (0..SLOTS).map(|_| AtomicU64::new(u64::MAX)).collect(),
        }
    }

    /// That of an empty keyspace beside this one: it hashes, notes uses and knows of ended numbers alike.
    pub fn beside(&self) -> Self {
        let beside = Self { hasher: self.hasher.clone(), usage: self.usage.alike(), ..Self::new(0) };
        beside.set_now(self.now());
        beside.note_ended(self.ended());
        beside
    }

    /// Counts what another has counted.
    pub fn absorb(&self, other: &Self) {
        let add = |to: &AtomicI64, from: &AtomicI64| to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        for (to, from) in self.keys.iter().zip(&other.keys) {
            add(to, from);
        }
        for (to, from) in self.lives.iter().zip(&other.lives) {
            add(&to.keys, &from.keys);
            add(&to.deadlines, &from.deadlines);
        }
        add(&self.resets, &other.resets);
        add(&self.early, &other.early);
        add(&self.patched, &other.patched);
    }

    /// This node's number in stamps. Before it has one it marks what changes here with number 0.
    #[inline]
    pub fn me(&self) -> NodeNumber {
        const FIRST: NodeNumber = NodeNumber::new(0).expect("zero fits");
        NodeNumber::new(self.me.load(Ordering::Relaxed)).unwrap_or(FIRST)
    }

    /// Whether stamps with this number are this node's own. Before it has a number none are: what it reads from a journal
    /// or gets from peers then is no news of its own that it has seen already.
    #[inline]
    pub fn is_me(&self, number: NodeNumber) -> bool {
        self.me.load(Ordering::Relaxed) == number.value()
    }

    /// Gives the node its number.
    pub fn set_me(&self, number: NodeNumber) {
        self.me.store(number.value(), Ordering::Relaxed);
    }

    /// A stamp greater than every stamp given out or seen. Called with the key's slot locked.
    #[inline]
    pub fn next_stamp(&self, now: UnixMillis) -> Stamp {
        let me = self.me();
        let mut last = self.clock.load(Ordering::SeqCst);
        loop {
            let next = Stamp::from_bits(last).next(now, me);
            match self.clock.compare_exchange_weak(last, next.bits(), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return next,
                Err(newer) => last = newer,
            }
        }
    }

    /// Notes a stamp seen, so that every later one of this node exceeds it.
    pub fn observe(&self, stamp: Stamp) {
        self.clock.fetch_max(stamp.bits(), Ordering::SeqCst);
    }

    /// The greatest stamp given out or seen.
    #[inline]
    pub fn clock(&self) -> Stamp {
        Stamp::from_bits(self.clock.load(Ordering::SeqCst))
    }

    /// The last change of all writers that are gone.
    pub fn written(&self) -> Stamp {
        Stamp::from_bits(self.written.load(Ordering::SeqCst))
    }

    /// Notes the last change of a writer that goes.
    pub fn note_written(&self, stamp: Stamp) {
        self.written.fetch_max(stamp.bits(), Ordering::SeqCst);
    }

    /// The wall clock as last read, in Unix milliseconds.
    #[inline]
    pub fn now(&self) -> UnixMillis {
        self.now.load(Ordering::Relaxed)
    }

    /// Notes what the wall clock says.
    #[inline]
    pub fn set_now(&self, now: UnixMillis) {
        if self.now.load(Ordering::Relaxed) != now {
            self.now.store(now, Ordering::Relaxed);
        }
    }

    /// What a key notes of its use that comes now.
    #[inline]
    pub fn access_at_first(&self) -> u32 {
        self.usage.at_first(self.now())
    }

    /// What a key notes of its use that is used now and had noted `access`.
    #[inline]
    pub fn access_after(&self, access: u32) -> u32 {
        self.usage.after(access, self.now())
    }

    /// The vector of what has been applied here of other nodes; of this node everything counts as applied.
    pub fn applied(&self) -> Arc<VersionVector> {
        self.applied.read().clone()
    }

    /// Up to where there is nothing left to come: what has been applied, all of this node's own, and all of ended lives.
    pub fn settled_up_to(&self) -> VersionVector {
        let mut vector = (*self.applied()).clone();
        if self.is_me(self.me()) {
            vector.raise(self.me(), Stamp::MAX);
        }
        for ended in self.ended.read().iter() {
            vector.raise(ended.number, Stamp::MAX);
        }
        vector
    }

    /// What every member has applied, of all that can still meet other writes.
    pub fn known(&self) -> Arc<VersionVector> {
        self.known.read().clone()
    }

    /// Says what every member has applied.
    pub fn set_known(&self, known: VersionVector) {
        *self.known.write() = Arc::new(known);
    }

    /// How many strings have patches that may not be everywhere.
    pub fn patched(&self) -> u64 {
        self.patched.load(Ordering::Relaxed).max(0) as u64
    }

    /// The slot in which folding goes on.
    pub fn fold_from(&self) -> u16 {
        self.fold_from.load(Ordering::Relaxed)
    }

    /// Says where folding goes on.
    pub fn set_fold_from(&self, slot: u16) {
        self.fold_from.store(slot, Ordering::Relaxed);
    }

    /// How many patches were made whole writes because a string had too many.
    pub fn made_whole(&self) -> u64 {
        self.made_whole.load(Ordering::Relaxed)
    }

    /// Counts a patch that was made a whole write.
    pub fn count_made_whole(&self) {
        self.made_whole.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts strings that have come to have patches, or have none any more.
    pub fn count_patched(&self, difference: i64) {
        if difference != 0 {
            self.patched.fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// Nothing of these numbers can come any more.
    pub fn note_ended(&self, numbers: Vec<EndedNumber>) {
        *self.ended.write() = numbers;
    }

    /// The numbers of which nothing can come any more.
    pub fn ended(&self) -> Vec<EndedNumber> {
        self.ended.read().clone()
    }

    /// Raises the vector.
    pub fn raise(&self, vector: &VersionVector) {
        let mut applied = self.applied.write();
        let mut raised = (**applied).clone();
        if raised.join(vector) {
            *applied = Arc::new(raised);
        }
    }

    /// Takes back what was said to be applied: the vector is empty again.
    pub fn forget_applied(&self) {
        *self.applied.write() = Arc::new(VersionVector::new());
    }

    /// Whether a dot has been seen here, by the node's vector.
    pub fn has_seen(&self, dot: Stamp) -> bool {
        self.is_me(dot.author()) || self.applied.read().covers(dot)
    }

    /// How many keys a database has, expired ones that have not been removed included.
    pub fn keys(&self, database: u8) -> u64 {
        self.keys[usize::from(database)].load(Ordering::Relaxed).max(0) as u64
    }

    /// Counts keys that came or went.
    #[inline]
    pub fn count_keys(&self, database: u8, difference: i64) {
        if difference != 0 {
            self.keys[usize::from(database)].fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// How many keys of a database have an end.
    pub fn keys_with_end(&self, database: u8) -> u64 {
        self.lives[usize::from(database)].keys.load(Ordering::Relaxed).max(0) as u64
    }

    /// How long the keys of a database that have an end live on the average, in milliseconds to about a second.
    pub fn mean_life_ms(&self, database: u8, now: UnixMillis) -> u64 {
        let counts = &self.lives[usize::from(database)];
        let keys = self.keys_with_end(database);
        if keys == 0 {
            return 0;
        }
        let sum = counts.deadlines.load(Ordering::Relaxed).max(0) as u64;
        // Each was rounded down by half a unit on the average.
        let rounded = 1 << (DEADLINE_UNIT_BITS - 1);
        let mean = ((sum / keys) << DEADLINE_UNIT_BITS) + ((sum % keys) << DEADLINE_UNIT_BITS) / keys + rounded;
        (crdt::STAMP_EPOCH_MS + mean).saturating_sub(now)
    }

    /// Counts a key whose life changed from `before` to `after`; a key that is not there has none.
    #[inline]
    pub fn count_life(&self, database: u8, before: Option<Lifetime>, after: Option<Lifetime>) {
        let (before, after) = (deadline_units(before), deadline_units(after));
        if before == after {
            return;
        }
        let counts = &self.lives[usize::from(database)];
        if before.is_some() != after.is_some() {
            counts.keys.fetch_add(i64::from(after.is_some()) - i64::from(before.is_some()), Ordering::Relaxed);
        }
        counts.deadlines.fetch_add(after.unwrap_or_default() - before.unwrap_or_default(), Ordering::Relaxed);
    }

    /// How many dots are remembered as dropped before they came.
    pub fn early(&self) -> u64 {
        self.early.load(Ordering::Relaxed).max(0) as u64
    }

    /// Counts early dots that came or went.
    pub fn count_early(&self, difference: i64) {
        if difference != 0 {
            self.early.fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// How many counter resets are remembered.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed).max(0) as u64
    }

    /// Counts resets that came or went.
    pub fn count_resets(&self, difference: i64) {
        if difference != 0 {
            self.resets.fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// When something in a slot may have to be removed, in Unix milliseconds.
    pub fn earliest(&self, slot: u16) -> u64 {
        self.earliest[usize::from(slot)].load(Ordering::Relaxed)
    }

    /// Notes that something in a slot may have to be removed at this time, if nothing has to be before. Also without the slot:
    /// what a large change puts is built beside it.
    pub fn expires_at(&self, slot: u16, deadline: u64) {
        if deadline < self.earliest(slot) {
            self.earliest[usize::from(slot)].fetch_min(deadline, Ordering::Relaxed);
        }
    }

    /// Sets when something in a slot may have to be removed. Called with the slot locked.
    pub fn set_earliest(&self, slot: u16, deadline: u64) {
        self.earliest[usize::from(slot)].store(deadline, Ordering::Relaxed);
    }
}

/// A deadline as it is added up.
fn deadline_units(life: Option<Lifetime>) -> Option<i64> {
    match life {
        Some(Lifetime::Until(deadline)) => {
            let units = deadline.saturating_sub(crdt::STAMP_EPOCH_MS) >> DEADLINE_UNIT_BITS;
            Some(units.min(DEADLINE_UNITS_MAX) as i64)
        }
        Some(Lifetime::Never) | None => None,
    }
}
