//! What all slots share: the clock, the node's number and vector, the seeds, the counts.

use crate::hash::{KeyHasher, SLOTS};
use crate::slot::DATABASES;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
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
    me: AtomicU16,
    /// The greatest stamp given out or seen.
    clock: AtomicU64,
    /// The last change of all writers that are gone.
    written: AtomicU64,
    /// The wall clock as the last command or batch read it.
    now: AtomicU64,
    applied: RwLock<Arc<VersionVector>>,
    /// Numbers of ended lives of which no batch can come any more.
    ended: RwLock<Vec<NodeNumber>>,
    keys: [AtomicI64; DATABASES as usize],
    resets: AtomicI64,
    earliest: Box<[AtomicU64]>,
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

/// Of a node that has none yet.
const NO_NUMBER: u16 = crdt::NODE_NUMBERS_MAX;

impl Shared {
    /// The state of an empty keyspace.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: KeyHasher::seeded(seed),
            conflicts: Conflicts::default(),
            me: AtomicU16::new(NO_NUMBER),
            clock: AtomicU64::new(0),
            written: AtomicU64::new(0),
            now: AtomicU64::new(0),
            applied: RwLock::new(Arc::new(VersionVector::new())),
            ended: RwLock::new(Vec::new()),
            keys: std::array::from_fn(|_| AtomicI64::new(0)),
            resets: AtomicI64::new(0),
            earliest: (0..SLOTS).map(|_| AtomicU64::new(u64::MAX)).collect(),
        }
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

    /// The time of access as entries keep it: 24 bits of 1.024 s, which go round in 198 days.
    #[inline]
    pub fn access_now(&self) -> u32 {
        access_clock(self.now())
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
        for &number in self.ended.read().iter() {
            vector.raise(number, Stamp::MAX);
        }
        vector
    }

    /// No batch of these numbers can come any more.
    pub fn note_ended(&self, numbers: &[NodeNumber]) {
        let mut ended = self.ended.write();
        ended.extend(numbers);
        ended.sort_unstable();
        ended.dedup();
    }

    /// Raises the vector.
    pub fn raise(&self, vector: &VersionVector) {
        let mut applied = self.applied.write();
        let mut raised = (**applied).clone();
        if raised.join(vector) {
            *applied = Arc::new(raised);
        }
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

    /// Notes when something in a slot may have to be removed. Called with the slot locked.
    pub fn set_earliest(&self, slot: u16, deadline: u64) {
        self.earliest[usize::from(slot)].store(deadline, Ordering::Relaxed);
    }
}

/// 24 bits of 1.024 s.
#[inline]
pub fn access_clock(now: UnixMillis) -> u32 {
    (now >> 10) as u32 & 0xff_ffff
}
