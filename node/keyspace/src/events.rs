//! What happens to keys, told to whoever wants to know (`notify-keyspace-events`), with the names that Redis gives it.
//!
//! Commands note what they have done ([`Access::note`]) with the slot of the key locked, so that everybody hears of the
//! changes of a key in the order in which they happened. What commands did not do is noted where it is done: the end of a
//! life, eviction, and what arrives from other nodes, for which a name is made of what it changes. While nobody wants to
//! know, noting something looks at one word.

use crate::access::{Access, Database};
use crate::body::{KeyEntry, has_content, kind_at, lifetime_of};
use crate::hash::slot_of;
use crate::keyspace::Keyspace;
use crate::slot::{DATABASES, Slot};
use bitflags::bitflags;
use crdt::{Change, GroupStart, Kind, Lifetime, Operation, StreamName, UnixMillis};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

bitflags! {
    /// Kinds of events, each with its letter in `notify-keyspace-events`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EventClass: u32 {
        /// `g`: what can be done to keys of any type.
        const GENERIC = 1 << 0;
        /// `$`
        const STRING = 1 << 1;
        /// `l`
        const LIST = 1 << 2;
        /// `s`
        const SET = 1 << 3;
        /// `h`
        const HASH = 1 << 4;
        /// `z`
        const SORTED_SET = 1 << 5;
        /// `t`
        const STREAM = 1 << 6;
        /// `x`: a life has ended.
        const EXPIRED = 1 << 7;
        /// `e`: memory was short.
        const EVICTED = 1 << 8;
        /// `m`: a key was read that is not there.
        const KEY_MISS = 1 << 9;
        /// `n`: a key is there that was not.
        const NEW = 1 << 10;
        /// `R`: also what arrives from other nodes.
        const ARRIVED = 1 << 11;
    }
}

/// Who is told of events.
pub trait EventSink: Send + Sync {
    /// Something has happened to a key. Its slot is locked: look at nothing in the keyspace here.
    fn tell(&self, class: EventClass, name: &str, database: u8, key: &[u8]);
}

/// Which events somebody wants to know of, and who.
#[derive(Default)]
pub(crate) struct Events {
    wanted: AtomicU32,
    sink: OnceLock<Arc<dyn EventSink>>,
}

impl Events {
    #[inline]
    fn wants(&self, class: EventClass) -> bool {
        self.wanted.load(Ordering::Relaxed) & class.bits() != 0
    }

    #[cold]
    fn tell(&self, class: EventClass, name: &str, database: u8, key: &[u8]) {
        // What the node keeps for itself is no client's business.
        if let Some(sink) = self.sink.get().filter(|_| database < DATABASES) {
            sink.tell(class, name, database, key);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Keyspace {
    /// Says who is told of events. Only the first call counts.
    pub fn on_event(&self, sink: Arc<dyn EventSink>) {
        let _ = self.events.sink.set(sink);
    }

    /// Says which events are told.
    pub fn want_events(&self, classes: EventClass) {
        self.events.wanted.store(classes.bits(), Ordering::Relaxed);
    }

    /// Whether any of these events are told.
    #[inline]
    pub fn wants_events(&self, classes: EventClass) -> bool {
        self.events.wants(classes)
    }
}

impl Access<'_> {
    /// Whether any of these events are told.
    #[inline]
    pub fn wants(&self, classes: EventClass) -> bool {
        self.keyspace.events.wants(classes)
    }

    /// Notes that something has happened to a key.
    #[inline]
    pub fn note(&mut self, class: EventClass, name: &str, database: Database, key: &[u8]) {
        if self.keyspace.events.wants(class.union(EventClass::NEW)) {
            self.note_wanted(class, name, database, key);
        }
    }

    #[cold]
    fn note_wanted(&mut self, class: EventClass, name: &str, database: Database, key: &[u8]) {
        self.note_new(database, key);
        if self.keyspace.events.wants(class) {
            self.keyspace.events.tell(class, name, database.0, key);
        }
    }

    /// Notes that a key was made anew, also in the place of another one.
    pub fn note_created(&mut self, database: Database, key: &[u8]) {
        if self.keyspace.events.wants(EventClass::NEW) {
            self.writer.absent.retain(|(other, name)| *other != database.0 || **name != *key);
            self.keyspace.events.tell(EventClass::NEW, "new", database.0, key);
        }
    }

    /// Notes that something was taken out of a key, and that the key is gone if that was all.
    #[inline]
    pub fn note_taken(&mut self, class: EventClass, name: &str, database: Database, key: &[u8]) {
        if self.keyspace.events.wants(class.union(EventClass::GENERIC)) {
            self.note(class, name, database, key);
            if !self.is_there(database, key) {
                self.note(EventClass::GENERIC, "del", database, key);
            }
        }
    }

    /// Notes what a result was stored as; without one, that the key which was there is gone.
    pub fn note_stored(&mut self, class: EventClass, name: &str, database: Database, key: &[u8], was_there: bool) {
        if self.keyspace.events.wants(class.union(EventClass::GENERIC).union(EventClass::NEW)) {
            if self.is_there(database, key) {
                self.note(class, name, database, key);
            } else if was_there {
                self.note(EventClass::GENERIC, "del", database, key);
            }
        }
    }

    /// Whether a key is there, without counting as a look at it.
    pub fn is_there(&mut self, database: Database, key: &[u8]) -> bool {
        let (shared, now) = (self.shared(), self.now);
        let entry = self.locked(key).find(shared, database.0, key);
        entry.is_some_and(|entry| has_content(entry) && !lifetime_of(entry).is_over(now))
    }

    /// Remembers which of these keys are not there, so that it is noted when they are.
    pub fn expect_new<'k>(&mut self, database: Database, keys: impl Iterator<Item = &'k [u8]>) {
        for key in keys {
            let is_known = self.writer.absent.iter().any(|(other, name)| *other == database.0 && **name == *key);
            if !is_known && !self.is_there(database, key) {
                self.writer.absent.push((database.0, key.into()));
            }
        }
    }

    /// Notes those that are there now and of which nothing was noted, and forgets the others. Nothing was written where the
    /// locks were let go.
    pub fn settle_new(&mut self) {
        for (database, key) in std::mem::take(&mut self.writer.absent) {
            if self.holds(slot_of(&key)) && self.is_there(Database(database), &key) {
                self.keyspace.events.tell(EventClass::NEW, "new", database, &key);
            }
        }
    }

    fn note_new(&mut self, database: Database, key: &[u8]) {
        let absent = &self.writer.absent;
        let place = absent.iter().position(|(other, name)| *other == database.0 && **name == *key);
        if let Some(place) = place
            && self.is_there(database, key)
        {
            self.writer.absent.remove(place);
            self.keyspace.events.tell(EventClass::NEW, "new", database.0, key);
        }
    }
}

/// What there was at a key before a change from another node, if somebody wants to know.
pub(crate) struct Before {
    kind: Option<Kind>,
    is_over: bool,
}

impl Keyspace {
    /// Whether anybody wants to be told what changes of other nodes do.
    pub(crate) fn tells_arrivals(&self) -> bool {
        self.events.wants(EventClass::ARRIVED)
    }

    /// Looks at the key of a change that comes from another node.
    #[inline]
    pub(crate) fn before_arrival(&self, slot: &Slot, change: &Change<'_>, now: UnixMillis) -> Option<Before> {
        self.tells_arrivals().then(|| self.look_before(slot, change, now))
    }

    #[cold]
    fn look_before(&self, slot: &Slot, change: &Change<'_>, now: UnixMillis) -> Before {
        let entry = slot.find(&self.shared, change.database, change.key);
        Before { kind: entry.and_then(content), is_over: entry.is_some_and(|entry| lifetime_of(entry).is_over(now)) }
    }

    /// Tells what a change from another node has done, whose operations are these; of many alike one will do.
    #[cold]
    pub(crate) fn tell_arrival(
        &self,
        slot: &Slot,
        change: &Change<'_>,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
        before: &Before,
        now: UnixMillis,
    ) {
        let entry = slot.find(&self.shared, change.database, change.key);
        let after = entry.and_then(content);
        let tell = |class: EventClass, name: &str| {
            if self.events.wants(class) {
                self.events.tell(class, name, change.database, change.key);
            }
        };
        let was_there = before.kind.is_some() && !before.is_over;
        match (before.kind, after) {
            (None, None) => return,
            (Some(_), None) if before.is_over => return tell(EventClass::EXPIRED, "expired"),
            (None, Some(_)) => tell(EventClass::NEW, "new"),
            (Some(_), _) => {}
        }
        let (mut told, mut lives) = (None, None);
        for operation in operations {
            match operation {
                Operation::Live { assertion, .. } => lives = assertion.or(lives),
                other => told = told.or_else(|| name_of(&other)),
            }
        }
        if let Some((class, name)) = told {
            tell(class, name);
        }
        if after.is_none() && was_there {
            return tell(EventClass::GENERIC, "del");
        }
        match lives {
            Some(Lifetime::Until(at)) if at > now => tell(EventClass::GENERIC, "expire"),
            Some(Lifetime::Never) if told.is_none() && was_there => tell(EventClass::GENERIC, "persist"),
            Some(Lifetime::Never | Lifetime::Until(_)) | None => {}
        }
    }
}

/// What an entry holds, whether its life is over or not.
fn content(entry: &KeyEntry) -> Option<Kind> {
    if has_content(entry) { kind_at(entry, 0) } else { None }
}

/// What Redis calls the commands that make such an operation; of several the most usual one.
fn name_of(operation: &Operation<'_>) -> Option<(EventClass, &'static str)> {
    let (kind, adds) = match operation {
        Operation::Put { kind: Kind::Stream, name, value, .. } => return name_of_put(name, value),
        Operation::Remove { kind: Kind::Stream, name, .. } => return name_of_removal(name),
        Operation::Put { kind, .. } => (*kind, true),
        Operation::Add { kind, .. } => {
            return Some(match kind {
                Kind::String => (EventClass::STRING, "incrby"),
                Kind::Hash => (EventClass::HASH, "hincrby"),
                Kind::SortedSet => (EventClass::SORTED_SET, "zincr"),
                Kind::Set => (EventClass::SET, "sadd"),
                Kind::List => (EventClass::LIST, "lset"),
                Kind::Stream => (EventClass::STREAM, "xadd"),
            });
        }
        Operation::Patch { .. } => return Some((EventClass::STRING, "setrange")),
        // A removal of a whole string is that of its key.
        Operation::Remove { kind: Kind::String, .. } | Operation::Clear { .. } | Operation::RemoveFolded { .. } => {
            return None;
        }
        Operation::ClearRange { kind: Kind::List, .. } => return Some((EventClass::LIST, "ltrim")),
        Operation::ClearRange { .. } => return Some((EventClass::STREAM, "xtrim")),
        Operation::Remove { kind, .. } => (*kind, false),
        Operation::LiveField { lifetime: Lifetime::Never, .. } => return Some((EventClass::HASH, "hpersist")),
        Operation::LiveField { .. } => return Some((EventClass::HASH, "hexpire")),
        Operation::Live { .. } | Operation::ClearDatabase { .. } => return None,
    };
    Some(match (kind, adds) {
        (Kind::String, _) => (EventClass::STRING, "set"),
        (Kind::Hash, true) => (EventClass::HASH, "hset"),
        (Kind::Hash, false) => (EventClass::HASH, "hdel"),
        (Kind::Set, true) => (EventClass::SET, "sadd"),
        (Kind::Set, false) => (EventClass::SET, "srem"),
        (Kind::SortedSet, true) => (EventClass::SORTED_SET, "zadd"),
        (Kind::SortedSet, false) => (EventClass::SORTED_SET, "zrem"),
        (Kind::List, true) => (EventClass::LIST, "rpush"),
        (Kind::List, false) => (EventClass::LIST, "lrem"),
        (Kind::Stream, true) => (EventClass::STREAM, "xadd"),
        (Kind::Stream, false) => (EventClass::STREAM, "xdel"),
    })
}

/// The same of an element of a stream that is put. The head is written beside whatever else is done to a stream, and says
/// nothing of it; that entries are acknowledged is no event.
fn name_of_put(name: &[u8], value: &[u8]) -> Option<(EventClass, &'static str)> {
    let event = match StreamName::of(name)? {
        StreamName::Entry(_) => "xadd",
        StreamName::Group(group) => {
            let start = GroupStart::decode(value).ok()?;
            let is_first = start.round == GroupStart::round_of(start.created, group);
            if is_first { "xgroup-create" } else { "xgroup-setid" }
        }
        StreamName::Head | StreamName::Acknowledged { .. } => return None,
    };
    Some((EventClass::STREAM, event))
}

/// The same of one that is removed.
fn name_of_removal(name: &[u8]) -> Option<(EventClass, &'static str)> {
    let event = match StreamName::of(name)? {
        StreamName::Entry(_) => "xdel",
        StreamName::Group(_) => "xgroup-destroy",
        StreamName::Head | StreamName::Acknowledged { .. } => return None,
    };
    Some((EventClass::STREAM, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{DB, Side};
    use crate::{GroupPlace, IdRequest, Trim, TrimBy, Wish};
    use crdt::StreamId;

    const KEY: &[u8] = b"x";
    const GROUP: &[u8] = b"g";

    /// Writes down what it is told.
    #[derive(Default)]
    struct Told(parking_lot::Mutex<Vec<String>>);

    impl EventSink for Told {
        fn tell(&self, _: EventClass, name: &str, _database: u8, _key: &[u8]) {
            self.0.lock().push(name.to_owned());
        }
    }

    #[test]
    fn what_another_region_does_to_a_stream_is_called_what_it_was() {
        let (mut one, other) = (Side::new(1), Side::new(2));
        let told = Arc::new(Told::default());
        other.keyspace.on_event(told.clone());
        other.keyspace.want_events(EventClass::all());
        let mut check = |events: &[&str], work: &dyn Fn(&mut Access<'_>)| {
            one.command(&[KEY], |access| work(access));
            one.tell(&other);
            assert_eq!(std::mem::take(&mut *told.0.lock()), events);
        };
        let add = |access: &mut Access<'_>| {
            access.append_entry(DB, KEY, IdRequest::Generated, &[b"f", b"v"]).unwrap().unwrap();
        };
        let begin = |access: &mut Access<'_>, place| {
            if !access.create_group(DB, KEY, GROUP, place, None).unwrap() {
                access.set_group_place(DB, KEY, GROUP, place, None).unwrap();
            }
        };
        let first = |access: &mut Access<'_>| access.stream(DB, KEY).unwrap().unwrap().first().unwrap().id;
        check(&["new", "xgroup-create"], &|access| begin(access, GroupPlace::Last));
        (0..5).for_each(|_| check(&["xadd"], &add));
        check(&["xdel"], &|access| {
            let id = first(access);
            assert_eq!(access.remove_entries(DB, KEY, &[id]), Ok(1));
        });
        check(&[], &|access| {
            let ids = access.read_for_group(DB, KEY, GROUP, b"c", Wish::New, 2).unwrap().unwrap();
            assert_eq!(access.acknowledge(DB, KEY, GROUP, &ids), Ok(Some(2)));
        });
        check(&["xgroup-setid"], &|access| begin(access, GroupPlace::Behind(StreamId::ZERO)));
        check(&[], &|access| access.set_stream_ids(DB, KEY, StreamId::MAX, None, None).unwrap());
        check(&["xtrim"], &|access| {
            let trim = Trim { by: TrimBy::Length(1), is_approximate: false, limit: None };
            assert_eq!(access.trim(DB, KEY, trim), Ok(3));
        });
        check(&["xgroup-destroy"], &|access| {
            assert_eq!(access.destroy_group(DB, KEY, GROUP), Ok(true));
        });
    }
}
