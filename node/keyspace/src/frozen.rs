//! Keys that are being moved, which takes many short steps: nobody else writes to them until that is done, and from the
//! moment at which the move has its stamp nobody reads them either.
//!
//! A slot can be frozen as a whole, for as long as what another node has sent of it is merged in steps, or read for another
//! node while somebody writes to it.
//!
//! Whoever freezes keys holds their slots, and so does whoever looks: what was begun before goes on, and what comes after
//! waits. Clients' commands are given again later by their connection; batches of other regions and state sessions by the
//! thread of the peers, which has other things to do ([`Keyspace::still`]); the sweep and eviction pass by. Images and what
//! removes all keys wait here.

use crate::hash::slot_of;
use crate::keyspace::Keyspace;
use crate::lock::LockGuard;
use crate::slot::Slot;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Slot and key; without a key all of the slot.
type FrozenKey = (u16, Option<Box<[u8]>>);

/// The frozen keys of a keyspace. In nearly all moments there are none, which one word says.
#[derive(Debug, Default)]
pub struct Frozen {
    count: AtomicUsize,
    /// Whether they are not to be read either.
    is_hidden: AtomicBool,
    /// What is frozen, whatever the database.
    keys: Mutex<Vec<FrozenKey>>,
    thawed: Condvar,
    /// Counts moves.
    moves: AtomicU64,
    /// Somebody waits for a moment in which no key is frozen.
    is_stillness_wanted: AtomicBool,
    /// Written by who freezes keys, for that moment; read by who must not come upon a key that was not frozen at first.
    beginning: RwLock<()>,
}

/// Nobody needs things as they are: keys may be frozen.
#[derive(Debug)]
pub struct Beginning<'k> {
    frozen: &'k Frozen,
    _beginning: RwLockWriteGuard<'k, ()>,
}

/// While this lives no key is frozen that is not frozen by now.
#[derive(Debug)]
pub struct Still<'k> {
    frozen: &'k Frozen,
    _beginning: RwLockReadGuard<'k, ()>,
}

impl Still<'_> {
    /// Whether any key is frozen.
    pub fn has_frozen(&self) -> bool {
        self.frozen.is_any()
    }

    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        self.frozen.has_key(key)
    }
}

/// Keys are frozen for as long as this lives; for good, if it goes by a panic when they are hidden: then what the log says of
/// them is not what there is.
#[derive(Debug)]
pub struct Freeze<'k>(&'k Frozen);

impl<'k> Beginning<'k> {
    /// Freezes keys. The caller holds their slots, and nothing is frozen: there is one who moves keys at a time.
    pub fn freeze<'b>(&self, keys: impl Iterator<Item = &'b [u8]>) -> Freeze<'k> {
        let mut frozen = self.frozen.keys.lock();
        debug_assert!(frozen.is_empty(), "one move at a time");
        frozen.extend(keys.map(|key| (slot_of(key), Some(Box::from(key)))));
        self.frozen.is_hidden.store(false, Ordering::Relaxed);
        self.frozen.moves.fetch_add(1, Ordering::Relaxed);
        self.frozen.count.store(frozen.len(), Ordering::Release);
        Freeze(self.frozen)
    }
}

impl Frozen {
    /// Waits until nobody needs things as they are. The caller holds no slot.
    pub fn begin(&self) -> Beginning<'_> {
        Beginning { frozen: self, _beginning: self.beginning.write() }
    }

    /// Whether nobody needs things as they are.
    #[cfg(test)]
    pub fn can_begin(&self) -> bool {
        self.beginning.try_write().is_some()
    }

    fn is_any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    fn has_slot(&self, number: u16) -> bool {
        self.is_any() && self.keys.lock().iter().any(|(slot, _)| *slot == number)
    }

    fn has_key(&self, key: &[u8]) -> bool {
        let is_it = |(slot, frozen): &FrozenKey| match frozen {
            Some(frozen) => **frozen == *key,
            None => *slot == slot_of(key),
        };
        self.is_any() && self.keys.lock().iter().any(is_it)
    }

    fn thaw(&self) {
        let mut keys = self.keys.lock();
        keys.clear();
        self.count.store(0, Ordering::Release);
        self.thawed.notify_all();
    }

    /// Waits until nothing is frozen. The caller holds no slot.
    pub fn wait(&self) {
        let mut keys = self.keys.lock();
        while !keys.is_empty() {
            self.thawed.wait(&mut keys);
        }
    }
}

impl Freeze<'_> {
    /// From now on they are not read either. The caller holds their slots.
    pub fn hide(&self) {
        self.0.is_hidden.store(true, Ordering::Release);
    }
}

impl Drop for Freeze<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.0.is_hidden.load(Ordering::Acquire) {
            return;
        }
        self.0.thaw();
    }
}

/// A slot that is frozen as a whole, until it is thawed. Who keeps this thread's work apart into steps cannot keep a guard.
#[derive(Debug)]
pub(crate) struct FrozenSlot(());

impl Keyspace {
    /// Whether any keys are frozen. Who has a key's slot locked learns by that whether this one may be.
    #[inline]
    pub fn has_frozen(&self) -> bool {
        self.shared.frozen.is_any()
    }

    /// Freezes a slot, also for who reads if `hides` says so. Nothing while anything else is frozen, or somebody needs things
    /// as they are: then it is to be tried again. The caller holds no slot.
    pub(crate) fn freeze_slot(&self, number: u16, hides: bool) -> Option<FrozenSlot> {
        let frozen = &self.shared.frozen;
        let _beginning = frozen.beginning.try_write()?;
        if frozen.is_any() {
            return None;
        }
        let _slot = self.slot(number);
        let mut keys = frozen.keys.lock();
        keys.push((number, None));
        frozen.is_hidden.store(hides, Ordering::Relaxed);
        frozen.moves.fetch_add(1, Ordering::Relaxed);
        frozen.count.store(keys.len(), Ordering::Release);
        Some(FrozenSlot(()))
    }

    /// The slot is as it is to be.
    pub(crate) fn thaw_slot(&self, _frozen: FrozenSlot) {
        self.shared.frozen.thaw();
    }

    /// Has nobody begin to move keys meanwhile. The caller holds no slot, and nobody waits for this longer than a batch takes
    /// to be applied.
    pub fn still(&self) -> Still<'_> {
        let frozen = &self.shared.frozen;
        // Who has it may ask again, also when a move waits to begin.
        Still { frozen, _beginning: frozen.beginning.read_recursive() }
    }

    /// Says whether somebody waits for a moment in which no key is frozen. Whoever begins the next move looks.
    pub fn want_stillness(&self, is_wanted: bool) {
        self.shared.frozen.is_stillness_wanted.store(is_wanted, Ordering::Relaxed);
    }

    /// Whether somebody has said so.
    pub fn is_stillness_wanted(&self) -> bool {
        self.shared.frozen.is_stillness_wanted.load(Ordering::Relaxed)
    }

    /// The move that is under way, by a number of its own.
    pub fn moving(&self) -> Option<u64> {
        let frozen = &self.shared.frozen;
        frozen.is_any().then(|| frozen.moves.load(Ordering::Relaxed))
    }

    /// Whether one of these keys is frozen for whoever writes, or reads. The caller holds their slots, or looks again when it
    /// does: it has to come again later.
    pub fn meets_frozen(&self, keys: &[&[u8]], writes: bool) -> bool {
        let frozen = &self.shared.frozen;
        self.has_frozen()
            && (writes || frozen.is_hidden.load(Ordering::Acquire))
            && keys.iter().any(|key| frozen.has_key(key))
    }

    /// A slot in which no key is frozen, waited for if need be.
    pub(crate) fn thawed_slot(&self, number: u16) -> LockGuard<'_, Slot> {
        loop {
            let slot = self.slot(number);
            if !self.shared.frozen.has_slot(number) {
                return slot;
            }
            drop(slot);
            self.shared.frozen.wait();
        }
    }

    /// Whether a key in this slot is frozen: then its digest may not have what its node's vector covers.
    pub(crate) fn is_moving_in(&self, number: u16) -> bool {
        self.shared.frozen.has_slot(number)
    }

    /// Locks all slots when no key is frozen.
    pub(crate) fn lock_all_thawed(&self) -> Vec<LockGuard<'_, Slot>> {
        loop {
            let slots = self.lock_all_slots();
            if !self.shared.frozen.is_any() {
                return slots;
            }
            drop(slots);
            self.shared.frozen.wait();
        }
    }
}
