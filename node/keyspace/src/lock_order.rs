//! In which order slots are locked, so that nobody waits for ever.
//!
//! Who needs several slots that are known beforehand never waits for one while holding another: where one is held by
//! somebody else, everything is let go, that one is waited for, and then the others are taken. A script may find out in its
//! middle that it needs one more slot, when it cannot let go of what it has changed. It *widens*: it holds the one lock
//! for that in the node, and whoever holds it may wait for a slot while holding others, since nobody else does. So every
//! chain of waiting ends with somebody who does not wait.
//!
//! A script that runs for very long holds its slots meanwhile, and the one lock if it has it. The node then says so here,
//! and commands give up waiting instead of blocking their thread ([`Writer::access_unless_busy`]), also those that have
//! begun to wait before. What is no command, such as the thread of the peers, waits to the end.

use crate::access::{Access, Held};
use crate::hash::{SLOTS, slot_of};
use crate::keyspace::{Keyspace, Place, Writer};
use crate::lock::LockGuard;
use crate::slot::Slot;
use crdt::UnixMillis;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Locked slots and their numbers, ascending.
pub(crate) type LockedSlots<'a> = SmallVec<[(u16, LockGuard<'a, Slot>); 4]>;

/// The one lock for waiting while holding, and whether waiting is worth it.
#[derive(Debug, Default)]
pub(crate) struct LockOrder {
    widening: Mutex<()>,
    is_busy: AtomicBool,
}

/// Slots that may become more.
pub(crate) struct WideHold<'a> {
    pub(crate) slots: Vec<(u16, LockGuard<'a, Slot>)>,
    _widening: MutexGuard<'a, ()>,
}

/// How often everything is let go and taken again before waiting while holding, which needs the node's one lock.
const ROUNDS_MAX: usize = 8;

/// How long a slot is waited for before it is asked again whether that is worth it.
const WAIT_LOOK: Duration = Duration::from_millis(5);

/// How long a script waits for a slot while the node is busy, perhaps because of this very script: long enough for
/// everybody who holds it for a moment.
const BUSY_WAIT: Duration = Duration::from_millis(100);

impl Keyspace {
    /// Locks several slots, each named once, in whatever order: none is waited for while another is held, but by one alone.
    pub(crate) fn lock_slots(&self, numbers: &[u16]) -> LockedSlots<'_> {
        let mut first = None;
        for _ in 0..ROUNDS_MAX {
            match self.try_lock_slots(numbers, first.take()) {
                Ok(slots) => return slots,
                Err(contended) => first = Some((contended, self.slot(contended))),
            }
        }
        drop(first);
        let _widening = self.lock_order.widening.lock();
        numbers.iter().map(|&number| (number, self.slot(number))).collect()
    }

    /// Locks every slot.
    pub(crate) fn lock_all_slots(&self) -> Vec<LockGuard<'_, Slot>> {
        let _widening = self.lock_order.widening.lock();
        self.slots.iter().map(|slot| slot.lock()).collect()
    }

    /// All of them without waiting, with one that is held already; or the number of one that somebody else holds.
    fn try_lock_slots<'a>(
        &'a self,
        numbers: &[u16],
        mut first: Option<(u16, LockGuard<'a, Slot>)>,
    ) -> Result<LockedSlots<'a>, u16> {
        let mut slots = LockedSlots::new();
        for &number in numbers {
            let slot = match first.take() {
                Some((held, slot)) if held == number => slot,
                other => {
                    first = other;
                    self.slots[usize::from(number)].try_lock().ok_or(number)?
                }
            };
            slots.push((number, slot));
        }
        Ok(slots)
    }

    /// Says whether somebody holds slots for very long: then nobody else should wait for them.
    pub fn set_busy(&self, is_busy: bool) {
        self.lock_order.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Whether somebody holds slots for very long.
    pub fn is_busy(&self) -> bool {
        self.lock_order.is_busy.load(Ordering::Relaxed)
    }

    /// A slot, unless somebody holds it who will for very long.
    #[inline]
    pub(crate) fn slot_unless_busy(&self, number: u16) -> Option<LockGuard<'_, Slot>> {
        let slot = &self.slots[usize::from(number)];
        slot.try_lock().or_else(|| self.wait_for_slot(number))
    }

    /// A slot, unless somebody holds it for longer than `patience`.
    pub(crate) fn slot_within(&self, number: u16, patience: Duration) -> Option<LockGuard<'_, Slot>> {
        let slot = &self.slots[usize::from(number)];
        slot.try_lock().or_else(|| match patience {
            Duration::ZERO => None,
            _ => self.while_waiting(|| slot.try_lock_for(patience)),
        })
    }

    /// Slots, unless somebody holds one of them for longer than `patience`.
    fn slots_within(&self, numbers: &[u16], patience: Duration) -> Option<LockedSlots<'_>> {
        let mut first = None;
        for _ in 0..ROUNDS_MAX {
            match self.try_lock_slots(numbers, first.take()) {
                Ok(slots) => return Some(slots),
                Err(contended) => first = Some((contended, self.slot_within(contended, patience)?)),
            }
        }
        None
    }

    #[cold]
    fn wait_for_slot(&self, number: u16) -> Option<LockGuard<'_, Slot>> {
        while !self.is_busy() {
            let slot = &self.slots[usize::from(number)];
            if let Some(slot) = self.while_waiting(|| slot.try_lock_for(WAIT_LOOK)) {
                return Some(slot);
            }
        }
        None
    }

    pub(crate) fn slots_unless_busy(&self, numbers: &[u16]) -> Option<LockedSlots<'_>> {
        let mut first = None;
        for _ in 0..ROUNDS_MAX {
            match self.try_lock_slots(numbers, first.take()) {
                Ok(slots) => return Some(slots),
                Err(contended) => first = Some((contended, self.wait_for_slot(contended)?)),
            }
        }
        drop(first);
        let _widening = self.widening_unless_busy()?;
        numbers.iter().map(|&number| Some((number, self.slot_unless_busy(number)?))).collect()
    }

    /// Every slot, unless somebody holds one who will for very long.
    pub(crate) fn all_slots_unless_busy(&self) -> Option<Vec<LockGuard<'_, Slot>>> {
        let _widening = self.widening_unless_busy()?;
        (0..SLOTS).map(|number| self.slot_unless_busy(number)).collect()
    }

    /// The one lock for waiting while holding, unless somebody holds slots who will for very long.
    fn widening_unless_busy(&self) -> Option<MutexGuard<'_, ()>> {
        let widening = &self.lock_order.widening;
        let mut locked = widening.try_lock();
        while locked.is_none() && !self.is_busy() {
            locked = widening.try_lock_for(WAIT_LOOK);
        }
        locked
    }

    /// A slot for a script, of which the node itself may be busy: unless another one holds it for very long.
    fn slot_for_script(&self, number: u16) -> Option<LockGuard<'_, Slot>> {
        let slot = &self.slots[usize::from(number)];
        self.slot_unless_busy(number).or_else(|| self.while_waiting(|| slot.try_lock_for(BUSY_WAIT)))
    }
}

/// The slots of some keys, ascending and each once.
pub(crate) fn slots_of(keys: &[&[u8]]) -> SmallVec<[u16; 8]> {
    let mut numbers: SmallVec<[u16; 8]> = keys.iter().map(|key| slot_of(key)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

impl Writer {
    /// Like [`Writer::access`], but nothing if a slot is held by somebody who will hold it for very long.
    #[inline]
    pub fn access_unless_busy<'a>(&'a mut self, now: UnixMillis, keys: &[&[u8]]) -> Option<Access<'a>> {
        let (keyspace, state) = self.parts();
        let held = match keys {
            [] => Held::None,
            [key] => {
                let number = slot_of(key);
                Held::One(number, keyspace.slot_unless_busy(number)?)
            }
            _ => Held::Few(keyspace.slots_unless_busy(&slots_of(keys))?),
        };
        Some(Access::new(keyspace, state, held, now))
    }

    /// Like [`Writer::access`], but nothing if a slot is held by somebody else for longer than `patience`.
    pub fn access_within<'a>(&'a mut self, now: UnixMillis, keys: &[&[u8]], patience: Duration) -> Option<Access<'a>> {
        let (keyspace, state) = self.parts();
        let held = Held::Few(keyspace.slots_within(&slots_of(keys), patience)?);
        Some(Access::new(keyspace, state, held, now))
    }

    /// Like [`Writer::access_at`], but nothing if the slot is held by somebody who will hold it for very long.
    #[inline]
    pub fn access_at_unless_busy<'a>(&'a mut self, now: UnixMillis, place: Place, key: &'a [u8]) -> Option<Access<'a>> {
        debug_assert_eq!(place.slot, slot_of(key), "the place is another key's");
        let (keyspace, state) = self.parts();
        let slot = keyspace.slot_unless_busy(place.slot)?;
        Some(Access::with_slot_of(keyspace, state, slot, place, key, now))
    }

    /// Locks the slots of `keys`, to which others may be added later ([`Access::hold_also`]). Only one in the whole node does
    /// so at a time. Nothing if it, or who holds a slot, does so for very long.
    pub fn access_wide_unless_busy<'a>(&'a mut self, now: UnixMillis, keys: &[&[u8]]) -> Option<Access<'a>> {
        let (keyspace, state) = self.parts();
        let widening = keyspace.widening_unless_busy()?;
        let numbers = slots_of(keys);
        let slots = numbers.iter().map(|&number| Some((number, keyspace.slot_unless_busy(number)?)));
        let hold = WideHold { slots: slots.collect::<Option<_>>()?, _widening: widening };
        Some(Access::new(keyspace, state, Held::Wide(Box::new(hold)), now))
    }

    /// Like [`Writer::access_all`], but nothing if a slot is held by somebody who will hold it for very long.
    pub fn access_all_unless_busy(&mut self, now: UnixMillis) -> Option<Access<'_>> {
        let (keyspace, state) = self.parts();
        let held = Held::All(keyspace.all_slots_unless_busy()?);
        Some(Access::new(keyspace, state, held, now))
    }
}

impl Access<'_> {
    /// Whether slots can be added.
    pub fn is_wide(&self) -> bool {
        matches!(self.held, Held::Wide(_) | Held::All(_))
    }

    /// Lets slots be added from now on, if nobody else may at this moment: whoever holds slots must not wait for that.
    pub fn try_widen(&mut self) -> bool {
        if self.is_wide() {
            return true;
        }
        let keyspace = self.keyspace;
        let Some(widening) = keyspace.lock_order.widening.try_lock() else { return false };
        let slots = match std::mem::replace(&mut self.held, Held::None) {
            Held::One(number, slot) => vec![(number, slot)],
            Held::Few(slots) => slots.into_vec(),
            Held::None | Held::Wide(_) | Held::All(_) => Vec::new(),
        };
        self.held = Held::Wide(Box::new(WideHold { slots, _widening: widening }));
        true
    }

    /// Lets go of everything, waits until slots may be added, and takes the same slots again. The command must not have
    /// written anything, and what it has read may have changed. False if another one holds what it needs for very long:
    /// then nothing is held any more.
    #[must_use]
    pub fn start_again_wide(&mut self) -> bool {
        let numbers: Vec<u16> = match &self.held {
            Held::None | Held::All(_) | Held::Wide(_) => Vec::new(),
            Held::One(number, _) => vec![*number],
            Held::Few(slots) => slots.iter().map(|(number, _)| *number).collect(),
        };
        if self.is_wide() {
            return true;
        }
        self.let_go();
        let keyspace = self.keyspace;
        let widening = &keyspace.lock_order.widening;
        let Some(widening) = keyspace.widening_unless_busy().or_else(|| widening.try_lock_for(BUSY_WAIT)) else {
            return false;
        };
        let slots = numbers.iter().map(|&number| Some((number, keyspace.slot_for_script(number)?)));
        let Some(slots) = slots.collect() else { return false };
        self.held = Held::Wide(Box::new(WideHold { slots, _widening: widening }));
        true
    }

    /// Locks another slot besides those that are held. Only where slots can be added. False if somebody holds it for very
    /// long.
    #[must_use]
    pub fn hold_also(&mut self, number: u16) -> bool {
        let keyspace = self.keyspace;
        let Held::Wide(wide) = &mut self.held else {
            assert!(matches!(self.held, Held::All(_)), "slots are added only by who may wait for them");
            return true;
        };
        if let Err(at) = wide.slots.binary_search_by_key(&number, |(number, _)| *number) {
            let Some(slot) = keyspace.slot_for_script(number) else { return false };
            wide.slots.insert(at, (number, slot));
        }
        true
    }

    /// Locks every slot that is not held yet. Only where slots can be added. False if somebody holds one for very long: then
    /// some were added.
    #[must_use]
    pub fn hold_all_also(&mut self) -> bool {
        (0..SLOTS).all(|number| self.hold_also(number))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Database, Keyspace, slot_of};
    use crdt::NodeNumber;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const NOW: u64 = crdt::STAMP_EPOCH_MS + 1;

    fn keyspace() -> Arc<Keyspace> {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        keyspace
    }

    #[test]
    fn slots_can_be_added_in_any_order_by_one_at_a_time() {
        let keyspace = keyspace();
        let (mut one, mut other) = (keyspace.writer(), keyspace.writer());
        let mut wide = one.access_wide_unless_busy(NOW, &[b"b"]).unwrap();
        let mut narrow = other.access(NOW, &[b"d"]);
        assert!(!narrow.try_widen(), "two that wait while holding could wait for each other");
        drop(narrow);
        wide.begin_command();
        assert!([b"a", b"c", b"a"].iter().all(|key| wide.hold_also(slot_of(*key))));
        assert_eq!(wide.add_member(Database(0), b"a", b"m"), Ok(true));
        assert_eq!(wide.add_member(Database(0), b"b", b"m"), Ok(true));
        assert!(!wide.holds(slot_of(b"d")));
        assert!(wide.hold_all_also());
        assert!(wide.holds(slot_of(b"d")));
        drop(wide);
        let mut narrow = other.access(NOW, &[b"d"]);
        assert!(narrow.try_widen());
        assert!(narrow.holds(slot_of(b"d")) && narrow.is_wide());
    }

    #[test]
    fn nobody_waits_for_who_holds_a_slot_for_long() {
        let keyspace = keyspace();
        let (mut one, mut other) = (keyspace.writer(), keyspace.writer());
        let held = one.access(NOW, &[b"a"]);
        keyspace.set_busy(true);
        assert!(other.access_unless_busy(NOW, &[b"a"]).is_none());
        assert!(other.access_unless_busy(NOW, &[b"a", b"b"]).is_none());
        let place = keyspace.place(0, b"a");
        assert!(other.access_at_unless_busy(NOW, place, b"a").is_none());
        assert!(other.access_unless_busy(NOW, &[b"b"]).is_some());
        let mut walk = other.access_none_unless_busy(NOW);
        assert!(walk.random_key(Database(0), 0).is_none() && !walk.has_given_up(), "there are no keys to look for");
        assert_eq!(walk.scan(Database(0), 0, 1 << 20, &mut |_, _| {}), 0);
        assert!(walk.has_given_up());
        drop(walk);
        assert!(other.access_wide_unless_busy(NOW, &[b"a"]).is_none());
        assert!(other.access_all_unless_busy(NOW).is_none());
        assert!(!other.access_wide_unless_busy(NOW, &[b"b"]).unwrap().hold_also(slot_of(b"a")));
        assert!(!other.access(NOW, &[b"b"]).hold_instead(&BTreeSet::from([slot_of(b"a")])));
        drop(held);
        assert!(other.access_unless_busy(NOW, &[b"a", b"b"]).is_some());
    }

    #[test]
    fn nobody_waits_for_who_may_add_slots_for_long() {
        let keyspace = keyspace();
        let (mut one, mut other) = (keyspace.writer(), keyspace.writer());
        let held = one.access_wide_unless_busy(NOW, &[b"a"]).unwrap();
        keyspace.set_busy(true);
        assert!(other.access_wide_unless_busy(NOW, &[b"b"]).is_none());
        assert!(other.access_all_unless_busy(NOW).is_none());
        assert!(!other.access(NOW, &[b"b"]).start_again_wide());
        drop(held);
        assert!(other.access(NOW, &[b"b"]).start_again_wide());
        assert!(other.access_all_unless_busy(NOW).is_some());
    }

    #[test]
    fn who_waits_already_gives_up_when_it_takes_very_long() {
        let keyspace = keyspace();
        let mut one = keyspace.writer();
        let _held = one.access_wide_unless_busy(NOW, &[b"a"]).unwrap();
        std::thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| keyspace.writer().access_wide_unless_busy(NOW, &[b"b"]).is_none()),
                scope.spawn(|| keyspace.writer().access_all_unless_busy(NOW).is_none()),
                scope.spawn(|| keyspace.writer().access_unless_busy(NOW, &[b"a", b"b"]).is_none()),
            ];
            keyspace.set_busy(true);
            assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
        });
    }

    /// Threads that take several slots at once, all of them, or one after the other, in all orders.
    #[test]
    fn nobody_waits_for_ever() {
        let keyspace = keyspace();
        let done = AtomicU64::new(0);
        let keys: Vec<Vec<u8>> = (0..6u8).map(|number| vec![b'a' + number]).collect();
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let (keyspace, keys, done) = (&keyspace, &keys, &done);
                scope.spawn(move || {
                    let mut writer = keyspace.writer();
                    for turn in 0..300usize {
                        let first: &[u8] = &keys[(turn + thread) % keys.len()];
                        let second: &[u8] = &keys[(turn * 5 + 3 * thread + 1) % keys.len()];
                        let mut access = match (turn + thread) % 4 {
                            0 | 1 => writer.access(NOW, &[first, second]),
                            2 => {
                                let mut access = writer.access_wide_unless_busy(NOW, &[first]).unwrap();
                                assert!(access.hold_also(slot_of(second)));
                                access
                            }
                            _ if turn % 50 == 3 => writer.access_all(NOW),
                            _ => {
                                let mut access = writer.access(NOW, &[first]);
                                assert!(access.start_again_wide() && access.hold_also(slot_of(second)));
                                access
                            }
                        };
                        access.begin_command();
                        access.add_member(Database(0), first, b"m").unwrap();
                        access.add_member(Database(0), second, b"m").unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 1200);
    }
}
