//! The keyspace: 16384 slots, the logs of their writers, and the doors for workers and for replication.

use crate::access::{Access, Held};
use crate::body::only_map_in;
use crate::elements::ElementMap;
use crate::entry::fetch_line;
use crate::events::Events;
use crate::garbage::GarbageFigures;
use crate::hash::{SLOTS, slot_of};
use crate::holds::Holds;
use crate::lock::{Lock, LockGuard};
use crate::lock_order::{LockOrder, slots_of};
use crate::log::{LOG_BYTES_KEPT_MAX, LOG_GROWTH_BYTES, LogBuffer, SharedLog};
use crate::part::SlotSet;
use crate::shared::{Conflicts, Shared};
use crate::slot::{KeyTable, Slot};
use crate::sweep::SweepPlace;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Who is told of removals by the sweep.
type RemovalObserver = Box<dyn Fn(&Removal<'_>) + Send + Sync>;

/// The data of one node. Shared by all its threads.
pub struct Keyspace {
    pub(crate) shared: Shared,
    pub(crate) slots: Box<[LockedSlot]>,
    /// How many threads wait for a slot.
    waiting: AtomicU32,
    pub(crate) logs: Mutex<Vec<Arc<SharedLog>>>,
    /// Whether the drain sleeps and wants to be woken by the next change.
    armed: AtomicBool,
    /// Where sweeps are.
    pub(crate) sweep_place: Mutex<SweepPlace>,
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(crate) on_removal: OnceLock<RemovalObserver>,
    /// Who is told what has happened to keys.
    pub(crate) events: Events,
    /// Who may wait for a slot while holding others.
    pub(crate) lock_order: LockOrder,
    /// The slots it is for, if it is a part of another.
    pub(crate) only: Option<SlotSet>,
}

/// A key, or fields of one, that a sweep has removed because their life was over, or because only assertions were left
/// of them; or a key that was evicted.
#[derive(Clone, Copy, Debug)]
pub struct Removal<'a> {
    /// The number of its database.
    pub database: u8,
    /// The key.
    pub key: &'a [u8],
    /// The fields; none if the key was removed.
    pub fields: &'a [Box<[u8]>],
    /// The stamp of the removal.
    pub stamp: Stamp,
    /// Memory was short, and its life was not over.
    pub is_eviction: bool,
    /// The wall clock that was gone by.
    pub now: UnixMillis,
}

/// A slot and its lock in one cache line.
#[repr(align(64))]
pub(crate) struct LockedSlot(Lock<Slot>);

const _: () = assert!(std::mem::size_of::<LockedSlot>() == 64, "a lookup should touch one line of the slot");

impl LockedSlot {
    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, Slot> {
        self.0.lock()
    }

    /// The slot, unless somebody holds it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, Slot>> {
        self.0.try_lock()
    }

    /// The slot, unless somebody holds it for longer than this.
    pub(crate) fn try_lock_for(&self, time: Duration) -> Option<LockGuard<'_, Slot>> {
        self.0.try_lock_for(time)
    }
}

/// One worker's way into the keyspace: it locks, and what it changes is logged.
pub struct Writer {
    keyspace: Arc<Keyspace>,
    state: WriterState,
}

/// What a writer keeps between commands.
pub(crate) struct WriterState {
    log: Arc<SharedLog>,
    pub(crate) pending: LogBuffer,
    pub(crate) subject: Vec<u8>,
    pub(crate) operations: Vec<u8>,
    publishing: bool,
    in_pipeline: bool,
    /// Keys that were not there when the command began, while somebody wants to know of new ones.
    pub(crate) absent: Vec<(u8, Box<[u8]>)>,
}

impl Keyspace {
    /// An empty keyspace. `seed` keeps the tables' hash secret; a simulation gives a fixed one.
    pub fn new(seed: u64) -> Arc<Self> {
        Self::made(Shared::new(seed), None)
    }

    pub(crate) fn made(shared: Shared, only: Option<SlotSet>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            slots: (0..SLOTS).map(|_| LockedSlot(Lock::new(Slot::new()))).collect(),
            waiting: AtomicU32::new(0),
            logs: Mutex::new(Vec::new()),
            armed: AtomicBool::new(false),
            sweep_place: Mutex::default(),
            waker: OnceLock::new(),
            on_removal: OnceLock::new(),
            events: Events::default(),
            lock_order: LockOrder::default(),
            only,
        })
    }

    /// A new writer with a log of its own.
    pub fn writer(self: &Arc<Self>) -> Writer {
        let log = Arc::new(SharedLog::new());
        self.logs.lock().push(log.clone());
        let state = WriterState {
            log,
            pending: LogBuffer::default(),
            subject: Vec::new(),
            operations: Vec::new(),
            publishing: false,
            in_pipeline: false,
            absent: Vec::new(),
        };
        Writer { keyspace: self.clone(), state }
    }

    /// Gives the node its number, before it writes anything under it.
    pub fn set_number(&self, number: NodeNumber) {
        self.shared.set_me(number);
    }

    /// Gives a node that may be writing another number. Returns the last stamp under the old one: everything up to there
    /// is in the logs, or will be when the pipelines that run now have ended.
    pub fn change_number(&self, number: NodeNumber) -> Stamp {
        // With every slot locked nobody takes a stamp.
        let slots: Vec<_> = self.lock_all_slots();
        let last = self.clock();
        self.shared.set_me(number);
        drop(slots);
        last
    }

    /// Whether everything up to `stamp` is in the logs.
    pub fn is_logged_up_to(&self, stamp: Stamp) -> bool {
        self.logs.lock().iter().filter_map(|log| log.complete_up_to()).all(|complete| complete >= stamp)
    }

    /// The node's number.
    pub fn number(&self) -> NodeNumber {
        self.shared.me()
    }

    /// Notes a stamp seen (or reserved by an earlier life): every later stamp of this node exceeds it.
    pub fn observe(&self, stamp: Stamp) {
        self.shared.observe(stamp);
    }

    /// The greatest stamp given out or seen.
    pub fn clock(&self) -> Stamp {
        self.shared.clock()
    }

    /// The last change of this node: with a slot locked, none of its changes there is later.
    pub(crate) fn last_written(&self) -> Stamp {
        let of_log = |log: &Arc<SharedLog>| Stamp::from_bits(log.last.load(Ordering::Relaxed));
        self.logs.lock().iter().map(of_log).max().unwrap_or(Stamp::ZERO).max(self.shared.written())
    }

    /// How many keys a database has; expired ones that have not been removed yet count, as in Redis.
    pub fn len(&self, database: u8) -> u64 {
        self.shared.keys(database)
    }

    /// How many keys of a database have an end.
    pub fn keys_with_end(&self, database: u8) -> u64 {
        self.shared.keys_with_end(database)
    }

    /// How long the keys of a database that have an end live on the average, in milliseconds to about a second.
    pub fn mean_life_ms(&self, database: u8, now: UnixMillis) -> u64 {
        self.shared.mean_life_ms(database, now)
    }

    /// How many dots are remembered as dropped before they came.
    pub fn early_dots(&self) -> u64 {
        self.shared.early()
    }

    /// Whether no database has a key.
    pub fn is_empty(&self) -> bool {
        (0..crate::slot::DATABASES).all(|database| self.len(database) == 0)
    }

    /// How often concurrent writes met.
    pub fn conflicts(&self) -> &Conflicts {
        &self.shared.conflicts
    }

    /// How many counter resets are remembered for contributors that may not have applied them.
    pub fn remembered_resets(&self) -> u64 {
        self.shared.resets()
    }

    /// What has been applied of other nodes.
    pub fn applied(&self) -> Arc<VersionVector> {
        self.shared.applied()
    }

    /// Calls `wake` from a worker's thread at the next change after [`Keyspace::arm`]. Only the first call counts.
    pub fn on_change(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.waker.set(Box::new(wake));
    }

    /// Calls `observe` after each removal that a sweep or an eviction makes, with no slot locked. Only the first call counts.
    pub fn on_removal(&self, observe: impl Fn(&Removal<'_>) + Send + Sync + 'static) {
        let _ = self.on_removal.set(Box::new(observe));
    }

    /// Asks to be woken at the next change. True if there already is one.
    pub fn arm(&self) -> bool {
        self.armed.store(true, Ordering::SeqCst);
        let waiting = self.logs.lock().iter().any(|log| !log.buffer.lock().is_empty());
        if waiting {
            self.armed.store(false, Ordering::SeqCst);
        }
        waiting
    }

    /// Where a key is looked for; the first memory that a lookup reads is fetched.
    #[inline]
    pub fn place(&self, database: u8, key: &[u8]) -> Place {
        let place = Place::of(&self.shared, database, key);
        fetch_line(&raw const self.slots[usize::from(place.slot)]);
        place
    }

    /// Fetches the other memory that lookups of these places read, step by step for all of them, where each lookup alone
    /// would wait for one line after the other; of more than [`EXPECTED_MAX`] the first count.
    #[inline]
    pub fn fetch(&self, places: impl Iterator<Item = Place> + Clone) {
        self.fetch_keys(places.take(EXPECTED_MAX));
    }

    /// The same for keys (and perhaps elements) that will be asked for soon.
    pub fn expect(&self, wanted: &[Expected<'_>]) {
        let wanted = wanted.get(..EXPECTED_MAX).unwrap_or(wanted);
        let slots = self.fetch_keys(wanted.iter().map(|expected| expected.place));
        if wanted.iter().all(|expected| expected.element.is_none()) {
            return;
        }
        let mut maps: SmallVec<[(&ElementMap, u64); EXPECTED_MAX]> = SmallVec::new();
        for (at, Expected { place, key, element }) in wanted.iter().enumerate() {
            if let Some(element) = element
                && let Some(table) = slots.table_of(at, place)
                && let Some(map) = only_map_in(table, place.hash, key)
            {
                let hash = self.shared.hasher.hash(element);
                map.fetch_bucket(hash);
                maps.push((map, hash));
            }
        }
        maps.iter().for_each(|(map, hash)| map.fetch_element(*hash));
    }

    /// Fetches what lookups of some keys read, and leaves their slots locked.
    #[inline]
    fn fetch_keys(&self, places: impl Iterator<Item = Place> + Clone) -> Locked<'_> {
        let mut locked = Locked::default();
        for (at, place) in places.clone().enumerate() {
            locked.lock(&self.slots[usize::from(place.slot)], place.slot);
            if let Some(table) = locked.table_of(at, &place) {
                table.fetch_bucket(place.hash);
            }
        }
        for (at, place) in places.enumerate() {
            if let Some(table) = locked.table_of(at, &place) {
                table.fetch_entry(place.hash);
            }
        }
        locked
    }

    /// From now on large collections that are removed are freed by whoever calls [`Keyspace::free_one`]; `wake` is called
    /// when there is one. Only the first call counts. Without it they are freed at once.
    pub fn free_later(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.shared.garbage.free_later(wake);
    }

    /// Frees one removed collection, and calls `pause` now and then meanwhile. False if none waits.
    pub fn free_one(&self, pause: &mut dyn FnMut()) -> bool {
        self.shared.garbage.free_one(pause)
    }

    /// How long slots were held, and by what.
    pub fn holds(&self) -> &Holds {
        &self.shared.holds
    }

    /// What was removed and is not free yet.
    pub fn garbage(&self) -> GarbageFigures {
        self.shared.garbage.figures()
    }

    #[inline]
    pub(crate) fn slot(&self, number: u16) -> LockGuard<'_, Slot> {
        let slot = &self.slots[usize::from(number)];
        slot.try_lock().unwrap_or_else(|| self.wait_for(slot))
    }

    #[cold]
    fn wait_for<'s>(&self, slot: &'s LockedSlot) -> LockGuard<'s, Slot> {
        self.while_waiting(|| self.shared.holds.waited(|| slot.lock()))
    }

    /// Waits for a slot; whoever has locked it often lets others come between.
    pub(crate) fn while_waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waited = wait();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        waited
    }

    /// Whether somebody waits for a slot that somebody else has locked.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn wake(&self) {
        if self.armed.load(Ordering::SeqCst)
            && self.armed.swap(false, Ordering::SeqCst)
            && let Some(wake) = self.waker.get()
        {
            wake();
        }
    }
}

impl Writer {
    /// The keyspace and what the writer keeps.
    pub(crate) fn parts(&mut self) -> (&Keyspace, &mut WriterState) {
        (&self.keyspace, &mut self.state)
    }

    /// The keyspace it writes to.
    pub fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    /// The last stamp that it took for a change.
    pub fn last_stamp(&self) -> Stamp {
        self.state.last_stamp()
    }

    /// Says that several commands follow at once: their changes reach the drain at [`Writer::end_pipeline`], which
    /// saves a lock for each of them.
    pub fn begin_pipeline(&mut self) {
        self.state.in_pipeline = true;
    }

    /// Hands the changes of a pipeline to the drain.
    pub fn end_pipeline(&mut self) {
        self.state.in_pipeline = false;
        self.state.flush(&self.keyspace);
    }

    /// Bytes that it keeps for what comes next.
    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> usize {
        let WriterState { log, pending, subject, operations, .. } = &self.state;
        let logged = log.buffer.lock().bytes.capacity();
        logged + pending.bytes.capacity() + subject.capacity() + operations.capacity()
    }

    /// Locks the slots of `keys`, in order and each once. `now` is the wall clock in Unix milliseconds.
    pub fn access<'a>(&'a mut self, now: UnixMillis, keys: &[&[u8]]) -> Access<'a> {
        let keyspace: &'a Keyspace = &self.keyspace;
        let held = match keys {
            [] => Held::None,
            [key] => {
                let number = slot_of(key);
                Held::One(number, keyspace.slot(number))
            }
            _ => Held::Few(keyspace.lock_slots(&slots_of(keys))),
        };
        Access::new(keyspace, &mut self.state, held, now)
    }

    /// The same for one key whose place has been looked for.
    #[inline]
    pub fn access_at<'a>(&'a mut self, now: UnixMillis, place: Place, key: &'a [u8]) -> Access<'a> {
        debug_assert_eq!(place.slot, slot_of(key), "the place is another key's");
        Access::at(&self.keyspace, &mut self.state, place, key, now)
    }

    /// Locks every slot: for a transaction with a command that looks at a whole database.
    pub fn access_all(&mut self, now: UnixMillis) -> Access<'_> {
        let keyspace: &Keyspace = &self.keyspace;
        let held = Held::All(keyspace.lock_all_slots());
        Access::new(keyspace, &mut self.state, held, now)
    }

    /// Locks nothing: commands that look at a whole database lock one slot after the other as they go.
    pub fn access_none(&mut self, now: UnixMillis) -> Access<'_> {
        Access::new(&self.keyspace, &mut self.state, Held::None, now)
    }

    /// The same, but what is looked at for a moment is not waited for if somebody holds it who will for very long: see
    /// [`Access::has_given_up`].
    pub fn access_none_unless_busy(&mut self, now: UnixMillis) -> Access<'_> {
        self.access_none(now).impatient()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end_pipeline();
        // Its log is forgotten once it is drained.
        self.keyspace.shared.note_written(Stamp::from_bits(self.state.log.last.load(Ordering::Relaxed)));
    }
}

impl WriterState {
    /// The last stamp that it took for a change.
    pub(crate) fn last_stamp(&self) -> Stamp {
        Stamp::from_bits(self.log.last.load(Ordering::Relaxed))
    }

    /// A stamp for a change. From here to the flush the drain takes nothing at or above it.
    #[inline]
    pub(crate) fn stamp(&mut self, shared: &Shared, now: UnixMillis) -> Stamp {
        if !self.publishing {
            self.publishing = true;
            self.log.published.store(shared.clock().bits(), Ordering::SeqCst);
        }
        let stamp = shared.next_stamp(now);
        self.log.last.store(stamp.bits(), Ordering::Relaxed);
        stamp
    }

    /// Ends a command: without a pipeline its changes go to the drain.
    #[inline]
    pub(crate) fn end_command(&mut self, keyspace: &Keyspace) {
        if !self.in_pipeline || self.pending.bytes.len() > PIPELINE_LOG_BYTES_MAX {
            self.flush(keyspace);
        }
        if self.operations.capacity() + self.subject.capacity() > LOG_BYTES_KEPT_MAX {
            (self.operations, self.subject) = (Vec::new(), Vec::new());
        }
    }

    fn flush(&mut self, keyspace: &Keyspace) {
        if !self.publishing {
            return;
        }
        self.publishing = false;
        if !self.pending.is_empty() {
            let mut buffer = self.log.buffer.lock();
            if buffer.is_empty() {
                std::mem::swap(&mut *buffer, &mut self.pending);
            } else {
                let offset = buffer.bytes.len();
                if offset > LOG_GROWTH_BYTES {
                    // A log that holds something large does not double for something small.
                    buffer.bytes.reserve_exact(self.pending.bytes.len().max(LOG_GROWTH_BYTES));
                }
                buffer.bytes.extend_from_slice(&self.pending.bytes);
                let moved = self.pending.records.iter().map(|r| crate::log::Record { end: r.end + offset, ..*r });
                buffer.records.extend(moved);
                self.pending.clear();
            }
        }
        self.log.published.store(u64::MAX, Ordering::SeqCst);
        keyspace.wake();
    }
}

/// The slots of some places, each locked once. A slot that somebody else holds is not waited for.
#[derive(Default)]
struct Locked<'a> {
    slots: SmallVec<[(u16, LockGuard<'a, Slot>); EXPECTED_MAX]>,
    /// Which of them each place is in.
    of_places: SmallVec<[Option<u8>; EXPECTED_MAX]>,
}

impl<'a> Locked<'a> {
    /// Adds the slot of the next place.
    #[inline]
    fn lock(&mut self, slot: &'a LockedSlot, number: u16) {
        let index = match slot.try_lock() {
            Some(slot) => {
                self.slots.push((number, slot));
                Some(self.slots.len() - 1)
            }
            None => self.slots.iter().position(|(known, _)| *known == number),
        };
        self.of_places.push(index.map(|index| index as u8));
    }

    /// The keys among which the place with this index is.
    #[inline]
    fn table_of(&self, at: usize, place: &Place) -> Option<&KeyTable> {
        let index = usize::from((*self.of_places.get(at)?)?);
        self.slots[index].1.table(place.database)
    }
}

/// Where a key is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) hash: u64,
    pub(crate) slot: u16,
    pub(crate) database: u8,
}

impl Place {
    /// Where a key is looked for.
    #[inline]
    pub(crate) fn of(shared: &Shared, database: u8, key: &[u8]) -> Self {
        Self { hash: shared.hasher.hash(key), slot: slot_of(key), database }
    }
}

/// A key that will be asked for soon.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'k> {
    /// Where it is looked for.
    pub place: Place,
    /// The key.
    pub key: &'k [u8],
    /// The field or member that will be asked for.
    pub element: Option<&'k [u8]>,
}

/// Keys that are fetched at once: more would push each other out of the processor's line buffers.
pub const EXPECTED_MAX: usize = 16;

/// Bytes of changes that a pipeline keeps back before it hands them to the drain: about a hundred batches' worth of
/// small writes, and far less than the memory of a connection that sends so much at once.
pub const PIPELINE_LOG_BYTES_MAX: usize = 1 << 18;
