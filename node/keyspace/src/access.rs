//! Access: some slots locked, for one command or one transaction. This file reads; `write.rs` writes.

use crate::body::{KeyBody, KeyEntry, has_content, is_there, key_of, kind_at, lifetime_of};
use crate::bundle::Bundle;
use crate::collection::{Collection, ElementView};
use crate::entry::{Packed, PackedBundle, PackedCounter, View};
use crate::hash::{KeyHasher, SLOTS, slot_of};
use crate::keyspace::{Keyspace, Place, WriterState};
use crate::lock::LockGuard;
use crate::lock_order::{LockedSlots, WideHold};
use crate::shared::Shared;
use crate::slot::{DATABASES, SYSTEM_DATABASE, Slot};
use crate::sorted::SortedElements;
use crate::usage::Usage;
use crdt::{Kind, Lifetime, Stamp, UnixMillis};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One of the databases that `SELECT` chooses from, `0..=15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Database(pub u8);

impl Database {
    /// The one that no client sees, which every region keeps for the node's own use.
    pub const SYSTEM: Self = Self(SYSTEM_DATABASE);

    /// The database with this number, if there is one.
    pub fn new(number: u64) -> Option<Self> {
        u8::try_from(number).ok().filter(|&n| n < DATABASES).map(Self)
    }
}

/// The key holds a value of another type than the command wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key holds a value of another type")]
pub struct WrongKind;

/// Locked slots.
pub(crate) enum Held<'a> {
    None,
    One(u16, LockGuard<'a, Slot>),
    Few(LockedSlots<'a>),
    /// Some, and others may be added.
    Wide(Box<WideHold<'a>>),
    All(Vec<LockGuard<'a, Slot>>),
}

impl Held<'_> {
    /// The locked slot of a key.
    #[inline]
    pub(crate) fn slot(&mut self, key: &[u8]) -> &mut Slot {
        let slot = match self {
            Held::One(_, slot) => Some(slot),
            Held::Few(slots) => {
                let number = slot_of(key);
                slots.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| &mut slots[at].1)
            }
            Held::Wide(wide) => {
                let number = slot_of(key);
                let slots = &mut wide.slots;
                slots.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| &mut slots[at].1)
            }
            Held::All(slots) => slots.get_mut(usize::from(slot_of(key))),
            Held::None => None,
        };
        slot.expect("a command's row in the table names every key that its handler uses")
    }
}

/// The right to read and write the keys of some locked slots. Every command begins with [`Access::begin_command`];
/// all its writes then carry one stamp.
pub struct Access<'a> {
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) writer: &'a mut WriterState,
    pub(crate) held: Held<'a>,
    /// The key that it was made for and its hash, if that was known.
    known: Option<(&'a [u8], u64)>,
    pub(crate) now: UnixMillis,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) in_group: bool,
    pub(crate) lookups: Lookups,
    patience: Patience,
}

/// What is done where a slot is needed for a moment that somebody else holds for very long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It is waited for.
    Waits,
    /// It is not waited for.
    GivesUp,
    /// One was not waited for.
    HasGivenUp,
}

/// How many keys a command looked for: those that were there, and those that were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Keys that were there.
    pub hits: u32,
    /// Keys that were not.
    pub misses: u32,
    /// Where the last key lies in the request of those that were looked for: a handler that looks at one key twice has looked
    /// once, and one that looks at all of its keys twice does so in their order.
    last: usize,
}

impl Lookups {
    #[inline]
    pub(crate) fn note(&mut self, key: &[u8], found: bool) {
        let place = key.as_ptr().addr();
        if self.last < place {
            self.last = place;
            self.hits += u32::from(found);
            self.misses += u32::from(!found);
        }
    }
}

/// A flag that a change of a watched key raises.
#[derive(Clone, Debug)]
pub struct Watch {
    flag: Arc<AtomicBool>,
    deadline: Option<UnixMillis>,
}

/// The fields of a hash or the members of a set.
#[derive(Clone, Copy)]
pub struct Elements<'a> {
    map: Collection<'a>,
    hasher: &'a KeyHasher,
    /// Fields that are over then are not shown.
    now: UnixMillis,
}

impl<'a> Access<'a> {
    #[inline]
    pub(crate) fn new(keyspace: &'a Keyspace, writer: &'a mut WriterState, held: Held<'a>, now: UnixMillis) -> Self {
        keyspace.shared.set_now(now);
        let lookups = Lookups::default();
        Self {
            keyspace,
            writer,
            held,
            known: None,
            now,
            stamp: None,
            in_group: false,
            lookups,
            patience: Patience::Waits,
        }
    }

    /// The same for one key, whose place was looked for before.
    #[inline]
    pub(crate) fn at(
        keyspace: &'a Keyspace,
        writer: &'a mut WriterState,
        place: Place,
        key: &'a [u8],
        now: UnixMillis,
    ) -> Self {
        Self::with_slot_of(keyspace, writer, keyspace.slot(place.slot), place, key, now)
    }

    /// The same with the slot locked.
    #[inline]
    pub(crate) fn with_slot_of(
        keyspace: &'a Keyspace,
        writer: &'a mut WriterState,
        slot: LockGuard<'a, Slot>,
        place: Place,
        key: &'a [u8],
        now: UnixMillis,
    ) -> Self {
        let mut access = Self::new(keyspace, writer, Held::One(place.slot, slot), now);
        access.known = Some((key, place.hash));
        access
    }

    /// The table hash of a key.
    #[inline]
    pub(crate) fn hash_of(&self, key: &[u8]) -> u64 {
        match self.known {
            // The very bytes: nobody else can have changed them, since they are borrowed.
            Some((known, hash)) if std::ptr::eq(known, key) => hash,
            Some(_) | None => self.keyspace.shared.hasher.hash(key),
        }
    }

    /// Begins a command: its first write takes a stamp that all its writes share.
    #[inline]
    pub fn begin_command(&mut self) {
        self.stamp = None;
        self.lookups = Lookups::default();
    }

    /// The last stamp that the writer took for a change.
    pub fn last_stamp(&self) -> Stamp {
        self.writer.last_stamp()
    }

    /// The keys that the command has looked for so far.
    #[inline]
    pub fn lookups(&self) -> Lookups {
        self.lookups
    }

    /// Begins a group, such as `EXEC`: all that is written until [`Access::end_group`] becomes visible elsewhere at
    /// once.
    pub fn begin_group(&mut self) {
        self.in_group = true;
    }

    /// Ends a group.
    pub fn end_group(&mut self) {
        self.in_group = false;
        if let Some(last) = self.writer.pending.records.last_mut() {
            last.tied = false;
        }
    }

    /// Bytes of changes that the writer has made and not handed over: of a group, all so far.
    #[inline]
    pub fn pending_bytes(&self) -> usize {
        self.writer.pending.bytes.len()
    }

    /// The wall clock that this access goes by, in Unix milliseconds.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// The type of a key, nothing if it does not exist.
    pub fn kind(&mut self, database: Database, key: &[u8]) -> Option<Kind> {
        let now = self.now;
        kind_at(self.visible(database, key)?, now)
    }

    /// A string's value: borrowed if it is plain, computed if it is a counter.
    #[inline]
    pub fn string(&mut self, database: Database, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, WrongKind> {
        let now = self.now;
        let Some(entry) = self.used(database, key) else { return Ok(None) };
        if let Some(text) = entry.text() {
            return Ok(Some(Cow::Borrowed(text.value)));
        }
        match entry.view() {
            View::Packed(packed) => Ok(Some(Cow::Borrowed(packed.value))),
            View::Counter(counter) => Ok(Some(Cow::Owned(counter.cumulative.to_string().into_bytes()))),
            View::Wide(body) => match body.kind_at(now) {
                Some(Kind::String) => Ok(body.string.as_ref().and_then(|element| element.value())),
                Some(Kind::Hash | Kind::Set | Kind::SortedSet | Kind::List | Kind::Stream) => Err(WrongKind),
                None => Ok(None),
            },
            View::Bundle(_) => Err(WrongKind),
        }
    }

    /// The fields of a hash.
    pub fn hash(&mut self, database: Database, key: &[u8]) -> Result<Option<Elements<'_>>, WrongKind> {
        self.elements(database, key, Kind::Hash)
    }

    /// The members of a set.
    pub fn set(&mut self, database: Database, key: &[u8]) -> Result<Option<Elements<'_>>, WrongKind> {
        self.elements(database, key, Kind::Set)
    }

    /// The members of a sorted set.
    pub fn sorted_set(&mut self, database: Database, key: &[u8]) -> Result<Option<SortedElements<'_>>, WrongKind> {
        let hasher = &self.keyspace.shared.hasher;
        let map = self.map(database, key, Kind::SortedSet)?;
        Ok(map.map(|map| SortedElements::new(map, hasher)))
    }

    /// How long a key lives; nothing if it does not exist.
    pub fn lifetime(&mut self, database: Database, key: &[u8]) -> Option<Lifetime> {
        self.visible(database, key).map(lifetime_of)
    }

    /// For how long a key has not been used, in milliseconds, to about a second.
    pub fn idle_ms(&mut self, database: Database, key: &[u8]) -> Option<u64> {
        let now = self.now;
        Some(u64::from(Usage::idle_units(access_of(self.visible(database, key)?), now)) << 10)
    }

    /// How often a key is used, as a number that grows with the logarithm of its uses, while that is noted
    /// ([`crate::Tracking`]).
    pub fn frequency(&mut self, database: Database, key: &[u8]) -> Option<u8> {
        let (now, shared) = (self.now, self.shared());
        Some(shared.usage.frequency(access_of(self.visible(database, key)?), now))
    }

    /// Whether keys note how often they are used, and not when.
    pub fn tracks_frequency(&self) -> bool {
        self.shared().usage.is_by_frequency()
    }

    /// Marks a key as used; false if it does not exist.
    pub fn touch(&mut self, database: Database, key: &[u8]) -> bool {
        self.used(database, key).is_some()
    }

    /// One step over the keys of a database: keys that are there all the time are seen at least once. Returns the
    /// next cursor, 0 at the end.
    pub fn scan(&mut self, database: Database, cursor: u64, count: usize, each: &mut dyn FnMut(&[u8], Kind)) -> u64 {
        let now = self.now;
        let mut seen = 0;
        for number in cursor.min(u64::from(SLOTS)) as u16..SLOTS {
            let looked = self.with_slot(number, |slot| {
                for entry in slot.keys(database.0) {
                    if let Some(kind) = kind_at(entry, now) {
                        each(key_of(entry), kind);
                        seen += 1;
                    }
                }
            });
            if looked.is_none() {
                return 0;
            }
            if seen >= count.max(1) && number + 1 < SLOTS {
                return u64::from(number) + 1;
            }
        }
        0
    }

    /// Some key of a database, chosen by a random word; nothing if there is none.
    pub fn random_key(&mut self, database: Database, random: u64) -> Option<Vec<u8>> {
        if self.keyspace.len(database.0) == 0 {
            return None;
        }
        let now = self.now;
        let start = (random >> 32) as u16 % SLOTS;
        let mut expired = None;
        for step in 0..SLOTS {
            let found = self.with_slot((start + step) % SLOTS, |slot| {
                let entry = slot.table(database.0)?.random(random)?;
                has_content(entry).then(|| (key_of(entry).to_vec(), !is_there(entry, now)))
            });
            let found = found.flatten();
            match found {
                Some((key, false)) => return Some(key),
                Some((key, true)) => expired = Some(key),
                None => {}
            }
        }
        // Only expired keys were met by chance: look at every key before saying that there is none.
        expired?;
        let mut any = None;
        self.scan(database, 0, 1, &mut |key, _| any = any.take().or_else(|| Some(key.to_vec())));
        any
    }

    /// Watches a key: [`Watch::changed`] is true once anything here or arriving has changed it.
    pub fn watch(&mut self, database: Database, key: &[u8]) -> Watch {
        let flag = Arc::new(AtomicBool::new(false));
        let now = self.now;
        let visible = self.visible(database, key);
        let (is_visible, deadline) = (visible.is_some(), visible.and_then(|entry| next_end(entry, now)));
        let shared = self.shared();
        let slot = self.locked(key);
        let began_over = !is_visible && slot.find(shared, database.0, key).is_some();
        slot.memory.watch(database.0, key, flag.clone(), began_over);
        Watch { flag, deadline }
    }

    pub(crate) fn shared(&self) -> &'a Shared {
        &self.keyspace.shared
    }

    /// The locked slot of a key.
    #[inline]
    pub(crate) fn locked(&mut self, key: &[u8]) -> &mut Slot {
        self.held.slot(key)
    }

    /// Does not wait for slots that somebody holds for very long, see [`Access::has_given_up`].
    pub(crate) fn impatient(mut self) -> Self {
        self.patience = Patience::GivesUp;
        self
    }

    /// Whether a slot was not looked at because somebody holds it for very long: what the command found out is not whole.
    pub fn has_given_up(&self) -> bool {
        self.patience == Patience::HasGivenUp
    }

    /// A slot, locked for the moment if nothing is held. Nothing if it is not waited for.
    pub(crate) fn with_slot<T>(&mut self, number: u16, work: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        Some(match &mut self.held {
            Held::All(slots) => work(&mut slots[usize::from(number)]),
            Held::One(held, slot) if *held == number => work(slot),
            Held::Few(slots) if slots.iter().any(|(n, _)| *n == number) => {
                let at = slots.iter().position(|(n, _)| *n == number).unwrap_or_default();
                work(&mut slots[at].1)
            }
            Held::None if self.patience == Patience::Waits => work(&mut self.keyspace.slot(number)),
            Held::None => match self.keyspace.slot_unless_busy(number) {
                Some(mut slot) => work(&mut slot),
                None => {
                    self.patience = Patience::HasGivenUp;
                    return None;
                }
            },
            Held::Wide(wide) if wide.slots.len() == usize::from(SLOTS) => work(&mut wide.slots[usize::from(number)].1),
            Held::One(..) | Held::Few(_) | Held::Wide(_) => {
                panic!("a command that looks at the whole database must not hold some of its keys")
            }
        })
    }

    /// The entry of a key that exists for readers.
    pub(crate) fn visible(&mut self, database: Database, key: &[u8]) -> Option<&KeyEntry> {
        let now = self.now;
        let hash = self.hash_of(key);
        let found = self.held.slot(key).find_hashed(hash, database.0, key);
        let visible = found.filter(|entry| is_there(entry, now));
        self.lookups.note(key, visible.is_some());
        visible
    }

    /// The entry of a key that exists for readers, marked as used.
    #[inline]
    pub(crate) fn used(&mut self, database: Database, key: &[u8]) -> Option<&KeyEntry> {
        let now = self.now;
        let shared = self.shared();
        let hash = self.hash_of(key);
        let slot = self.held.slot(key);
        let found = if slot.table(database.0).is_some() {
            slot.table_mut(database.0).find_mut(hash, |entry| key_of(entry) == key)
        } else {
            None
        };
        let found = found.filter(|entry| is_there(entry, now));
        self.lookups.note(key, found.is_some());
        let entry = found?;
        match entry.wide_mut() {
            Some(body) => body.access = shared.access_after(body.access),
            None => entry.note_use(|noted| shared.access_after(noted)),
        }
        Some(entry)
    }

    pub(crate) fn elements(
        &mut self,
        database: Database,
        key: &[u8],
        kind: Kind,
    ) -> Result<Option<Elements<'_>>, WrongKind> {
        let (hasher, now) = (&self.keyspace.shared.hasher, self.now);
        Ok(self.map(database, key, kind)?.map(|map| Elements { map, hasher, now }))
    }

    /// The elements of a collection of this kind.
    pub(crate) fn map(
        &mut self,
        database: Database,
        key: &[u8],
        kind: Kind,
    ) -> Result<Option<Collection<'_>>, WrongKind> {
        let now = self.now;
        match self.used(database, key).map(|entry| entry.view()) {
            None => Ok(None),
            Some(View::Packed(_) | View::Counter(_)) => Err(WrongKind),
            Some(View::Wide(body)) => match body.kind_at(now) {
                None => Ok(None),
                Some(found) if found == kind => Ok(body.map(kind).map(Collection::Map)),
                Some(_) => Err(WrongKind),
            },
            Some(View::Bundle(bundle)) if bundle.kind == kind => Ok(Some(Collection::Bundle(Bundle::of(&bundle)))),
            Some(View::Bundle(_)) => Err(WrongKind),
        }
    }
}

/// When a key, or the first of its fields, ends next.
fn next_end(entry: &KeyEntry, now: UnixMillis) -> Option<UnixMillis> {
    let of_fields = match entry.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => None,
        View::Wide(body) => body.hash.as_ref().and_then(|map| map.next_end(now)),
    };
    match lifetime_of(entry) {
        Lifetime::Until(deadline) => Some(of_fields.map_or(deadline, |end| end.min(deadline))),
        Lifetime::Never => of_fields,
    }
}

/// What an entry notes of its use.
fn access_of(entry: &KeyEntry) -> u32 {
    match entry.view() {
        View::Packed(Packed { access, .. })
        | View::Counter(PackedCounter { access, .. })
        | View::Bundle(PackedBundle { access, .. }) => access,
        View::Wide(KeyBody { access, .. }) => *access,
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        self.writer.end_command(self.keyspace);
    }
}

impl Watch {
    /// Whether the key has changed since, or has expired by `now`.
    pub fn changed(&self, now: UnixMillis) -> bool {
        self.flag.load(Ordering::Acquire) || self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl<'a> Elements<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len() - self.map.over_at(self.now)
    }

    /// Whether there is none; a key without elements does not exist, so this is false.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they are few enough to be kept in a list, in the order of insertion.
    pub fn is_flat(&self) -> bool {
        self.map.is_flat()
    }

    /// Whether a field or member is there.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.find(field).map(|element| element.value())
    }

    /// How long a field stays; nothing if it is not there.
    pub fn lifetime(&self, field: &[u8]) -> Option<Lifetime> {
        self.find(field).map(|element| element.lifetime())
    }

    /// Whether any field has an end.
    pub fn has_ends(&self) -> bool {
        self.map.has_ends()
    }

    /// All names with their values; a set's values are empty.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>)> + use<'a> {
        self.shown().map(|element| (element.name(), element.value()))
    }

    /// All fields with their values, and how long each stays.
    pub fn iter_with_lives(&self) -> impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>, Lifetime)> + use<'a> {
        self.shown().map(|element| (element.name(), element.value(), element.lifetime()))
    }

    /// One step over the elements, as [`Access::scan`].
    pub fn scan(&self, cursor: u64, count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        self.map.scan(cursor, count, |element| {
            if element.is_shown(self.now) {
                each(element.name(), &element.value());
            }
        })
    }

    /// Whether more of what is held is over than not: then nearly every [`Elements::random`] may walk over all.
    pub fn is_mostly_hidden(&self) -> bool {
        self.map.over_at(self.now) > self.map.len() / 2
    }

    /// Some element, chosen by a random word.
    pub fn random(&self, random: u64) -> Option<(&'a [u8], Cow<'a, [u8]>)> {
        let mut word = random;
        for _ in 0..DRAWS_MAX {
            let element = self.map.random(word)?;
            if element.is_shown(self.now) {
                return Some((element.name(), element.value()));
            }
            word = word.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        // Nearly all are over.
        let length = self.len().max(1) as u64;
        self.iter().nth((random % length) as usize)
    }

    fn find(&self, name: &[u8]) -> Option<ElementView<'a>> {
        self.map.find(self.hasher, name).filter(|element| element.is_shown(self.now))
    }

    fn shown(&self) -> impl Iterator<Item = ElementView<'a>> + use<'a> {
        let now = self.now;
        self.map.iter().filter(move |element| element.is_shown(now))
    }
}

/// How often an element is drawn that is over, before all are looked at.
const DRAWS_MAX: usize = 32;
