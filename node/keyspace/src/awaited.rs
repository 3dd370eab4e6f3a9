//! Keys that somebody waits for: whoever waits is told of every change of them, from wherever it comes. Somebody may also
//! want to know of every change of any key.
//!
//! A watched key (`WATCH`) is asked about later; an awaited one tells at once. Keys that nobody waits for cost nothing:
//! the marks lie with what few slots have.

use crate::access::{Access, Database};
use crate::hash::{SLOTS, slot_of};
use crate::keyspace::Keyspace;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who is told of changes of keys.
pub trait KeyObserver: Send + Sync {
    /// A key has changed; it may also be gone. Its slot is locked: look at nothing in the keyspace here.
    fn changed(&self, database: u8, key: &[u8]);
}

thread_local! {
    /// Counts what was begun on this thread, and whether it goes on.
    static TOGETHER: Cell<(u64, bool)> = const { Cell::new((0, false)) };
}

/// While it lives, the keys that change on this thread stay locked from their first change on: whoever was told of one and
/// looks at it finds what all the changes have made of it, so telling it once will do.
#[derive(Debug)]
pub struct Together {
    is_outermost: bool,
}

impl Together {
    /// From now on, on this thread; or as a part of what goes on there already.
    #[must_use]
    pub fn begin() -> Self {
        let (number, goes_on) = TOGETHER.get();
        if !goes_on {
            TOGETHER.set((number + 1, true));
        }
        Self { is_outermost: !goes_on }
    }

    /// A number for what goes on now on this thread, that was never given before here. Nothing if each change stands alone.
    pub fn current() -> Option<u64> {
        let (number, goes_on) = TOGETHER.get();
        goes_on.then_some(number)
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if self.is_outermost {
            TOGETHER.set((TOGETHER.get().0, false));
        }
    }
}

/// A key and the number of its database.
type Key = (u8, Box<[u8]>);

/// The awaited keys of a slot.
#[derive(Default)]
pub(crate) struct Awaited {
    keys: HashMap<Key, Arc<dyn KeyObserver>>,
    /// Who is told of the changes of all keys.
    all: Option<Arc<dyn KeyObserver>>,
}

impl Awaited {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.all.is_none()
    }

    /// Tells whoever waits for a key, and who is told of all.
    pub(crate) fn tell(&self, database: u8, key: &[u8]) {
        if let Some(observer) = &self.all {
            observer.changed(database, key);
        }
        self.tell_waiting(database, key);
    }

    /// Tells whoever waits for a key.
    pub(crate) fn tell_waiting(&self, database: u8, key: &[u8]) {
        if !self.keys.is_empty()
            && let Some(observer) = self.keys.get(&(database, Box::from(key)))
        {
            observer.changed(database, key);
        }
    }

    /// Tells whoever waits for any of these keys.
    pub(crate) fn tell_all(&self) {
        self.keys.iter().for_each(|((database, key), observer)| observer.changed(*database, key));
    }
}

impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl Access<'_> {
    /// Has `observer` told of every change of any key from now on, until [`Keyspace::stop_observing`]. It takes the lock of
    /// each slot once, unless this access has locked them all; it must not have locked some. False if it has given up:
    /// then some slots tell.
    #[must_use]
    pub fn observe_all(&mut self, observer: &Arc<dyn KeyObserver>) -> bool {
        let mut observe =
            |number| self.with_slot(number, |slot| slot.memory.awaited_mut().all = Some(Arc::clone(observer)));
        (0..SLOTS).all(|number| observe(number).is_some())
    }

    /// Has `observer` told of every change of a key from now on, until [`Keyspace::stop_awaiting`]. No change that comes
    /// after what this access has seen of the key is missed.
    pub fn await_key(&mut self, database: Database, key: &[u8], observer: &Arc<dyn KeyObserver>) {
        let awaited = self.locked(key).memory.awaited_mut();
        awaited.keys.entry((database.0, key.into())).or_insert_with(|| Arc::clone(observer));
    }
}

impl Keyspace {
    /// Ends [`Access::observe_all`], slot by slot, as long as `is_over` says so, which is asked with each slot locked. False
    /// if somebody holds a slot who will for very long ([`Keyspace::set_busy`]), who may be this thread itself: then some
    /// slots tell on, and it is to be asked for again later.
    #[must_use]
    pub fn stop_observing(&self, is_over: impl Fn() -> bool) -> bool {
        for number in 0..SLOTS {
            let Some(mut slot) = self.slot_unless_busy(number) else { return false };
            if !is_over() {
                return true;
            }
            slot.memory.awaited_mut().all = None;
            slot.memory.tidy();
        }
        true
    }

    /// Ends [`Access::await_key`] if `is_over` says so, which is asked with the key's slot locked: nobody begins to wait
    /// for the key meanwhile. False if somebody holds the slot for longer than `patience`, who may be this thread itself:
    /// then the key tells on, and it is to be asked for again later.
    #[must_use]
    pub fn stop_awaiting(
        &self,
        database: Database,
        key: &[u8],
        patience: Duration,
        is_over: impl FnOnce() -> bool,
    ) -> bool {
        let Some(mut slot) = self.slot_within(slot_of(key), patience) else { return false };
        if is_over() {
            slot.memory.awaited_mut().keys.remove(&(database.0, Box::from(key)));
            slot.memory.tidy();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::KeyObserver;
    use crate::{Access, Database, Keyspace};
    use crdt::NodeNumber;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const NOW: u64 = crdt::STAMP_EPOCH_MS + 1;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl KeyObserver for Count {
        fn changed(&self, _database: u8, _key: &[u8]) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds a member; whoever is told of it is counted.
    fn change(access: &mut Access<'_>, member: &[u8]) {
        access.begin_command();
        assert_eq!(access.add_member(Database(0), b"k", member), Ok(true));
    }

    #[test]
    fn ending_to_be_told_does_not_wait_for_who_holds_a_slot_for_long() {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        let mut writer = keyspace.writer();
        let (of_key, of_all) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let counted = || (of_key.0.load(Ordering::Relaxed), of_all.0.load(Ordering::Relaxed));
        assert!(writer.access_none(NOW).observe_all(&(Arc::clone(&of_all) as Arc<dyn KeyObserver>)));
        // As a script that was put aside, on this very thread.
        let mut access = writer.access(NOW, &[b"k"]);
        access.await_key(Database(0), b"k", &(Arc::clone(&of_key) as Arc<dyn KeyObserver>));
        keyspace.set_busy(true);
        assert!(!keyspace.stop_awaiting(Database(0), b"k", Duration::ZERO, || true));
        assert!(!keyspace.stop_observing(|| true));
        change(&mut access, b"a");
        assert_eq!(counted(), (1, 1), "its slot tells on");
        drop(access);
        keyspace.set_busy(false);
        assert!(keyspace.stop_awaiting(Database(0), b"k", Duration::ZERO, || true));
        assert!(keyspace.stop_observing(|| true));
        change(&mut writer.access(NOW, &[b"k"]), b"b");
        assert_eq!(counted(), (1, 1));
    }
}
