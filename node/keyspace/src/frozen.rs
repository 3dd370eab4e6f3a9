//! Keys that are being moved, which takes many short steps: nobody else writes to them until that is done, and from the
//! moment at which the move has its stamp nobody reads them either.
//!
//! Whoever freezes keys holds their slots, and so does whoever looks: what was begun before goes on, and what comes after
//! waits. Clients' commands are given again later by their connection; everybody else (batches of other regions, state
//! sessions, images, the sweep) waits here, since each has a thread of its own.

use crate::hash::slot_of;
use crate::keyspace::Keyspace;
use crate::lock::LockGuard;
use crate::slot::Slot;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The frozen keys of a keyspace. In nearly all moments there are none, which one word says.
#[derive(Debug, Default)]
pub struct Frozen {
    count: AtomicUsize,
    /// Whether they are not to be read either.
    is_hidden: AtomicBool,
    /// Slot and key, whatever the database.
    keys: Mutex<Vec<(u16, Box<[u8]>)>>,
    thawed: Condvar,
}

/// Keys are frozen for as long as this lives; for good, if it goes by a panic when they are hidden: then what the log says of
/// them is not what there is.
#[derive(Debug)]
pub struct Freeze<'k>(&'k Frozen);

impl Frozen {
    /// Freezes keys. The caller holds their slots, and nothing is frozen: there is one who moves keys at a time.
    pub fn freeze<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Freeze<'_> {
        let mut frozen = self.keys.lock();
        debug_assert!(frozen.is_empty(), "one move at a time");
        frozen.extend(keys.map(|key| (slot_of(key), Box::from(key))));
        self.is_hidden.store(false, Ordering::Relaxed);
        self.count.store(frozen.len(), Ordering::Release);
        Freeze(self)
    }

    fn is_any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    fn has_slot(&self, number: u16) -> bool {
        self.is_any() && self.keys.lock().iter().any(|(slot, _)| *slot == number)
    }

    fn has_key(&self, key: &[u8]) -> bool {
        self.is_any() && self.keys.lock().iter().any(|(_, frozen)| **frozen == *key)
    }

    /// Waits until nothing is frozen. The caller holds no slot.
    fn wait(&self) {
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
        let mut keys = self.0.keys.lock();
        keys.clear();
        self.0.count.store(0, Ordering::Release);
        self.0.thawed.notify_all();
    }
}

impl Keyspace {
    /// Whether any keys are frozen. Who has a key's slot locked learns by that whether this one may be.
    #[inline]
    pub fn has_frozen(&self) -> bool {
        self.shared.frozen.is_any()
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

    /// Locks something until none of these keys is frozen when it is locked; of no keys, until none is frozen at all.
    pub(crate) fn lock_thawed<'k, T>(
        &self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        mut lock: impl FnMut() -> T,
    ) -> T {
        loop {
            let locked = lock();
            let frozen = &self.shared.frozen;
            if !frozen.is_any() {
                return locked;
            }
            let mut named = keys.clone().peekable();
            if named.peek().is_some() && !named.any(|key| frozen.has_key(key)) {
                return locked;
            }
            drop(locked);
            frozen.wait();
        }
    }
}
