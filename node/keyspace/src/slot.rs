//! One of the 16384 slots: a lock's worth of keys, with their digest and what causality must remember of them.
//!
//! A slot is at once the unit of locking, of the hash table (so no table is ever large enough to make a rehash
//! felt), of the digests that regions compare, and of state catch-up. Changes of this node and of others come in
//! through the same door, [`Slot::apply`].

use crate::awaited::Awaited;
use crate::body::{KeyBody, KeyEntry, has_content, is_there, key_of, lifetime_of};
use crate::buckets::Buckets;
use crate::entry::{Entry, View};
use crate::hash::{digest_of_dot, digest_of_element, digest_of_key, digest_of_life};
use crate::in_bundle::cleared;
use crate::merge::{Site, observed};
use crate::shared::Shared;
use crdt::{Change, DecodeError, Kind, NodeNumber, Operation, Operations, Stamp, StreamName, TextWrite, VersionVector};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many databases there are: what `SELECT` accepts.
pub const DATABASES: u8 = 16;

/// The database behind them, which no client sees: what the node keeps in every region for its own use.
pub const SYSTEM_DATABASE: u8 = DATABASES;

/// All databases that a slot can have keys in.
pub const DATABASES_HELD: u8 = DATABASES + 1;

/// The keys of one database in one slot.
pub type KeyTable = Buckets<KeyBody>;

/// One slot, in one cache line together with its lock.
#[derive(Debug)]
pub struct Slot {
    first: KeyTable,
    others: Option<Box<[KeyTable; DATABASES_HELD as usize - 1]>>,
    /// What is known besides the keys.
    pub memory: Memory,
}

/// What a slot knows besides its keys.
#[derive(Debug)]
pub struct Memory {
    /// The exclusive or of the hashes of all live dots, assertions and contributions.
    pub digest: u64,
    /// This node's clock when the slot last changed here, or when the vector last caught up with what had been seen of it.
    pub changed: Stamp,
    /// What few slots have.
    rare: Option<Box<Rare>>,
}

/// What few slots have, kept out of the way.
#[derive(Debug, Default)]
struct Rare {
    context: Option<Context>,
    resets: BTreeMap<ResetName, RememberedReset>,
    watched: Watched,
    awaited: Awaited,
    /// Strings with patches that may not be everywhere: database and the hash of the key.
    patched: BTreeSet<(u8, u64)>,
    /// Later than the clock was when what only this region keeps last changed: pending lists and consumers of groups.
    regional: Stamp,
}

/// What was seen of a slot beyond the node's vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Everything up to here has been seen of this slot, by state catch-up.
    pub vector: VersionVector,
    /// Dots (stamp and digest of the element's full name) that were dropped before they came: their adds are ignored.
    pub early: BTreeSet<(Stamp, u64)>,
    /// Up to here some of it may be here and some missing: what the journal had of a slot whose image was lost.
    pub in_part: VersionVector,
}

/// The full name of a contribution to a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResetName {
    /// The database.
    pub database: u8,
    /// The number of the element's kind.
    pub kind: u8,
    /// Whose contribution.
    pub node: NodeNumber,
    /// The key.
    pub key: Box<[u8]>,
    /// The element.
    pub name: Box<[u8]>,
}

/// A reset that its contributor may not have applied yet: its increments may still arrive on the old base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RememberedReset {
    /// The life that was reset.
    pub birth: Stamp,
    /// The last increment observed.
    pub stamp: Stamp,
    /// The sum up to that one.
    pub cumulative: crdt::Number,
    /// The change that reset it; once the contributor has applied that, this can go.
    pub by: Stamp,
}

type Watched = HashMap<(u8, Box<[u8]>), Vec<Watcher>>;

/// Somebody who watches a key.
#[derive(Debug)]
struct Watcher {
    /// Raised at the key's next change.
    flag: Arc<AtomicBool>,
    /// The key was over when this began: that it is removed is no change.
    began_over: bool,
}

impl Slot {
    /// An empty slot.
    pub fn new() -> Self {
        let memory = Memory { digest: 0, changed: Stamp::ZERO, rare: None };
        Self { first: Buckets::new(), others: None, memory }
    }

    /// The keys of a database.
    #[inline]
    pub fn table(&self, database: u8) -> Option<&KeyTable> {
        match database {
            0 => Some(&self.first),
            _ => self.others.as_ref().map(|others| &others[usize::from(database) - 1]),
        }
    }

    /// The keys of a database, to be changed; makes room for databases other than 0 when first used.
    #[inline]
    pub fn table_mut(&mut self, database: u8) -> &mut KeyTable {
        self.split(database).0
    }

    /// The keys of a database and the slot's memory, both to be changed.
    #[inline]
    pub fn split(&mut self, database: u8) -> (&mut KeyTable, &mut Memory) {
        let table = match database {
            0 => &mut self.first,
            _ => {
                let others = self.others.get_or_insert_with(|| Box::new(std::array::from_fn(|_| Buckets::new())));
                &mut others[usize::from(database) - 1]
            }
        };
        (table, &mut self.memory)
    }

    /// The entries of a database, in no order that means anything.
    pub fn keys(&self, database: u8) -> impl Iterator<Item = &KeyEntry> {
        self.table(database).into_iter().flat_map(Buckets::iter)
    }

    /// The databases that may have keys here.
    pub fn databases(&self) -> std::ops::Range<u8> {
        if self.others.is_some() { 0..DATABASES_HELD } else { 0..1 }
    }

    /// Those of them that clients see.
    pub fn client_databases(&self) -> std::ops::Range<u8> {
        0..self.databases().end.min(DATABASES)
    }

    /// The entry of a key.
    #[inline]
    pub fn find(&self, shared: &Shared, database: u8, key: &[u8]) -> Option<&KeyEntry> {
        self.find_hashed(shared.hasher.hash(key), database, key)
    }

    /// The same, of a key whose hash is known.
    #[inline]
    pub fn find_hashed(&self, hash: u64, database: u8, key: &[u8]) -> Option<&KeyEntry> {
        self.table(database)?.find(hash, |entry| key_of(entry) == key)
    }

    /// The entry of a key, to be changed in place, and the slot's memory. Nothing if the key is not there, or if
    /// something has been seen here out of order: the rules that then count are those of [`Slot::apply`].
    #[inline]
    pub fn find_in_place(&mut self, hash: u64, database: u8, key: &[u8]) -> Option<(&mut KeyEntry, &mut Memory)> {
        if self.memory.context().is_some() {
            return None;
        }
        self.table(database)?;
        let (table, memory) = self.split(database);
        let entry = table.find_mut(hash, |entry| key_of(entry) == key)?;
        Some((entry, memory))
    }

    /// Applies one change, of this node or another, whose stamp is not covered yet. The caller holds the lock and has
    /// checked that the key belongs here.
    pub fn apply(&mut self, shared: &Shared, change: &Change<'_>) -> Result<(), DecodeError> {
        if let Some(write) = TextWrite::of(change)
            && self.apply_text(shared, change, &write)
        {
            return Ok(());
        }
        let mut seen = Seen::default();
        let mut was_there = None;
        for operation in Operations::of(change) {
            let operation = operation?;
            seen.note(&operation);
            if seen.is_about_groups && was_there.is_none() && self.memory.rare.is_some() {
                was_there = Some(self.shows(shared, change.database, change.key));
            }
            match &operation {
                Operation::ClearDatabase { every, covered } => self.clear(shared, change, *every, covered),
                _ if self.apply_in_bundle(shared, change, &operation) => {}
                _ => self.change_key(shared, change.database, change.key, |body, site| {
                    site.apply(body, change.stamp, &operation);
                }),
            }
        }
        let stays = was_there == Some(true) && self.shows(shared, change.database, change.key);
        match seen.told(stays) {
            Told::Everybody => self.touched(shared, change.database, change.key),
            Told::WhoWait => self.memory.tell_waiting(change.database, change.key),
            Told::Nobody => {}
        }
        Ok(())
    }

    /// Whether readers see a key.
    fn shows(&self, shared: &Shared, database: u8, key: &[u8]) -> bool {
        self.find(shared, database, key).is_some_and(|entry| is_there(entry, shared.now()))
    }

    /// Tells watchers that a key may have changed, perhaps only by the removal of what was over.
    #[inline]
    pub fn touched(&mut self, shared: &Shared, database: u8, key: &[u8]) {
        if self.memory.rare.is_some() {
            let is_there = self.shows(shared, database, key);
            self.memory.tell(database, key, is_there);
        }
    }

    /// Lets `work` change the body of a key, and puts back what is left of it in its smallest form.
    pub fn change_key(
        &mut self,
        shared: &Shared,
        database: u8,
        key: &[u8],
        work: impl FnOnce(&mut KeyBody, &mut Site<'_>),
    ) {
        let hash = shared.hasher.hash(key);
        let (table, memory) = self.split(database);
        let mut site = Site::new(shared, memory, database, key);
        let Some(found) = table.find_mut(hash, |entry| key_of(entry) == key) else {
            let mut body = KeyBody::new(key);
            site.change_body(&mut body, |body, site| work(body, site));
            body.tidy();
            site.note_ghost(&body);
            if !body.is_empty() {
                body.access = shared.access_at_first();
                shared.count_keys(database, i64::from(body.has_content()));
                shared.count_life(database, None, body.visible_life());
                let entry = body.pack().unwrap_or_else(|| Entry::wide(Box::new(body)));
                table.insert_new(hash, entry, |entry| shared.hasher.hash(key_of(entry)));
            }
            return;
        };
        let had_content = has_content(found);
        let life = if had_content { Some(lifetime_of(found)) } else { None };
        let (has_content, is_empty, new_life) = match found.wide_mut() {
            Some(body) => {
                let kinds = body.kinds();
                body.access = shared.access_after(body.access);
                site.change_body(body, |body, site| work(body, site));
                body.tidy();
                site.note_ghost(body);
                site.note_kinds(kinds, body);
                let left = (body.has_content(), body.is_empty(), body.visible_life());
                if let Some(packed) = body.pack() {
                    *found = packed;
                }
                left
            }
            None => {
                let mut body = match found.view() {
                    View::Packed(packed) => KeyBody::of_packed(&packed),
                    View::Counter(counter) => KeyBody::of_counter(&counter),
                    View::Bundle(bundle) => KeyBody::of_bundle(&bundle),
                    View::Wide(_) => unreachable!("an entry that is not wide is packed"),
                };
                body.access = shared.access_after(body.access);
                site.change_body(&mut body, |body, site| work(body, site));
                body.tidy();
                site.note_ghost(&body);
                site.note_kinds(1, &body);
                let left = (body.has_content(), body.is_empty(), body.visible_life());
                if !left.1 {
                    *found = body.pack().unwrap_or_else(|| Entry::wide(Box::new(body)));
                }
                left
            }
        };
        if is_empty {
            table.remove(hash, |entry| key_of(entry) == key);
            table.shrink(|entry| shared.hasher.hash(key_of(entry)));
        }
        shared.count_keys(database, i64::from(has_content) - i64::from(had_content));
        shared.count_life(database, life, new_life);
    }

    /// Removes every dot that a clear of the database (or of all) has observed.
    fn clear(&mut self, shared: &Shared, change: &Change<'_>, every: bool, covered: &VersionVector) {
        let databases = if every { self.client_databases() } else { change.database..change.database + 1 };
        for database in databases {
            self.clear_packed(shared, database, change.stamp, covered);
            let keys: Vec<Box<[u8]>> = self.keys(database).map(|entry| key_of(entry).into()).collect();
            for key in keys {
                self.change_key(shared, database, &key, |body, site| {
                    site.clear_everything(body, change.stamp, covered)
                });
                self.memory.touched(database, &key);
            }
        }
    }

    /// The same of packed keys of which everything was observed, without a body for each: nearly all keys.
    fn clear_packed(&mut self, shared: &Shared, database: u8, stamp: Stamp, covered: &VersionVector) {
        if self.table(database).is_none_or(KeyTable::is_empty) {
            return;
        }
        let (table, memory) = self.split(database);
        let before = table.len();
        let mut goes = |entry: &mut KeyEntry| {
            let packed = match entry.view() {
                View::Packed(packed) => packed,
                View::Bundle(bundle) => {
                    let Some(gone) = cleared(&bundle, digest_of_key(database, bundle.name), stamp, covered) else {
                        return false;
                    };
                    memory.digest ^= gone;
                    shared.count_life(database, Some(lifetime_of(entry)), None);
                    memory.touched(database, bundle.name);
                    return true;
                }
                View::Counter(_) | View::Wide(_) => return false,
            };
            let life = packed.life.assertion(packed.stamp);
            if !observed(packed.stamp, stamp, covered) || life.is_some_and(|(dot, _)| !observed(dot, stamp, covered)) {
                return false;
            }
            let key = digest_of_key(database, packed.name);
            memory.digest ^= digest_of_dot(digest_of_element(key, Kind::String as u8, &[]), packed.stamp, packed.value);
            if let Some((dot, lifetime)) = life {
                memory.digest ^= digest_of_life(digest_of_element(key, 0, &[]), dot, lifetime);
            }
            shared.count_life(database, Some(lifetime_of(entry)), None);
            memory.touched(database, packed.name);
            true
        };
        table.retain(|entry| !goes(entry), |entry| shared.hasher.hash(key_of(entry)));
        table.shrink(|entry| shared.hasher.hash(key_of(entry)));
        shared.count_keys(database, table.len() as i64 - before as i64);
    }

    /// Forgets what the node's vector has caught up with. True if it has caught up with all that was seen of the slot.
    ///
    /// SUBTLE: the slot is only from then on what the vector says. Whoever asks for how long it has been as it is must not be
    /// told of a moment before, when the vector did not name all that was here: another node that has what the vector
    /// named then may hold something else, and rightly.
    pub fn prune(&mut self, shared: &Shared, applied: &VersionVector) -> bool {
        let Some(rare) = &mut self.memory.rare else { return false };
        let mut has_caught_up = false;
        if let Some(context) = &mut rare.context {
            let early = context.early.len();
            context.early.retain(|&(stamp, _)| !applied.covers(stamp));
            shared.count_early(context.early.len() as i64 - early as i64);
            let is_covered = applied.covers_all(&context.vector) && applied.covers_all(&context.in_part);
            if context.early.is_empty() && is_covered {
                rare.context = None;
                has_caught_up = true;
            }
        }
        self.memory.tidy();
        has_caught_up
    }
}

/// What the operations of a change are.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    acknowledges: bool,
    /// What is known of a stream beside its entries is written, or a group of it.
    is_about_groups: bool,
    does_more: bool,
}

/// Who is told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Who watches the key, has read it, or waits for it.
    Everybody,
    /// Only who waits for it.
    WhoWait,
    /// Nobody.
    Nobody,
}

impl Seen {
    fn note(&mut self, operation: &Operation<'_>) {
        let (name, puts) = match operation {
            Operation::Put { kind: Kind::Stream, name, .. } => (*name, true),
            Operation::Remove { kind: Kind::Stream, name, .. } => (*name, false),
            // Repeats the deadline of the key, if nothing else is there.
            Operation::Live { .. } => return,
            _ => return self.does_more = true,
        };
        match StreamName::of(name) {
            Some(StreamName::Acknowledged { .. }) => self.acknowledges = true,
            Some(StreamName::Group(_)) => self.is_about_groups = true,
            // Without its head a stream may be gone.
            Some(StreamName::Head) if puts => self.is_about_groups = true,
            Some(StreamName::Head | StreamName::Entry(_)) | None => self.does_more = true,
        }
    }

    /// Who is told. As in Redis it is no change of a key for those who watch or have read it that entries of a stream are
    /// acknowledged, nor what `XGROUP` and `XSETID` do, if the stream was there before and is there after it (`stays`); who
    /// waits for entries has to hear of what becomes of the group.
    fn told(self, stays: bool) -> Told {
        match self {
            Self { does_more: true, .. } => Told::Everybody,
            Self { is_about_groups: true, .. } if !stays => Told::Everybody,
            Self { is_about_groups: true, .. } => Told::WhoWait,
            Self { acknowledges: true, .. } => Told::Nobody,
            Self { .. } => Told::Everybody,
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// What has been seen here out of order, if anything.
    #[inline]
    pub fn context(&self) -> Option<&Context> {
        self.rare.as_ref()?.context.as_ref()
    }

    /// What only this region keeps has changed. No other region has it, so the digest does not, and the slot has not changed
    /// as far as others are concerned: only an image of it is out of date. `later` is later than what an image may have.
    pub fn note_regional(&mut self, later: Stamp) {
        self.rare.get_or_insert_default().regional = later;
    }

    /// The last moment after which an image has all that is here.
    pub fn last_imaged(&self) -> Stamp {
        self.rare.as_ref().map_or(self.changed, |rare| self.changed.max(rare.regional))
    }

    /// All that is here changed last at this moment, as far as images are concerned.
    pub fn set_changed(&mut self, at: Stamp) {
        self.changed = at;
        if let Some(rare) = &mut self.rare {
            rare.regional = Stamp::ZERO;
        }
    }

    /// What has been seen here out of order; begins to be kept.
    pub fn context_or_new(&mut self) -> &mut Context {
        self.rare.get_or_insert_default().context.get_or_insert_default()
    }

    /// Resets that must be remembered until their contributor is known to have applied them.
    pub fn resets(&self) -> impl ExactSizeIterator<Item = (&ResetName, &RememberedReset)> {
        static NONE: BTreeMap<ResetName, RememberedReset> = BTreeMap::new();
        self.rare.as_ref().map_or(&NONE, |rare| &rare.resets).iter()
    }

    /// A remembered reset.
    pub fn reset(&self, name: &ResetName) -> Option<&RememberedReset> {
        self.rare.as_ref()?.resets.get(name)
    }

    /// The remembered resets, to be changed.
    pub fn resets_mut(&mut self) -> &mut BTreeMap<ResetName, RememberedReset> {
        &mut self.rare.get_or_insert_default().resets
    }

    /// Tells whoever watches keys of this slot that they have changed.
    pub fn touch_all(&mut self) {
        let watched = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.watched)).unwrap_or_default();
        watched.into_values().flatten().for_each(|watcher| watcher.flag.store(true, Ordering::Release));
        self.rare.iter().for_each(|rare| rare.awaited.tell_all());
    }

    /// Keys that somebody waits for.
    pub(crate) fn awaited_mut(&mut self) -> &mut Awaited {
        &mut self.rare.get_or_insert_default().awaited
    }

    /// The keys that somebody waits for, when what is known of the slot is about to be replaced.
    pub(crate) fn take_awaited(&mut self) -> Option<Awaited> {
        let rare = self.rare.as_mut().filter(|rare| !rare.awaited.is_empty())?;
        Some(std::mem::take(&mut rare.awaited))
    }

    /// Notes that a string has patches. True if that was not known.
    pub(crate) fn note_patched(&mut self, database: u8, hash: u64) -> bool {
        self.rare.get_or_insert_default().patched.insert((database, hash))
    }

    /// The strings that were noted to have patches.
    pub(crate) fn take_patched(&mut self) -> Option<BTreeSet<(u8, u64)>> {
        let rare = self.rare.as_mut().filter(|rare| !rare.patched.is_empty())?;
        Some(std::mem::take(&mut rare.patched))
    }

    /// Notes again those that still have patches.
    pub(crate) fn put_patched(&mut self, patched: BTreeSet<(u8, u64)>) {
        if !patched.is_empty() {
            self.rare.get_or_insert_default().patched = patched;
        }
        self.tidy();
    }

    /// Gives the memory of rare things back when there is none.
    pub fn tidy(&mut self) {
        let is_empty = |rare: &Rare| {
            rare.context.is_none()
                && rare.resets.is_empty()
                && rare.watched.is_empty()
                && rare.awaited.is_empty()
                && rare.patched.is_empty()
        };
        // An image of before does not have what only this region keeps, unless it is out of date in any case.
        let is_known = |rare: &Rare| rare.regional <= self.changed;
        if self.rare.as_deref().is_some_and(|rare| is_empty(rare) && is_known(rare)) {
            self.rare = None;
        }
    }

    /// Tells watchers that a key changed.
    #[inline]
    pub fn touched(&mut self, database: u8, key: &[u8]) {
        if self.rare.is_some() {
            self.tell(database, key, true);
        }
    }

    /// Tells those who wait for a key of what is no change to anybody else.
    pub fn tell_waiting(&self, database: u8, key: &[u8]) {
        if let Some(rare) = &self.rare {
            rare.awaited.tell_waiting(database, key);
        }
    }

    /// Registers a flag that is raised at the key's next change; `began_over` says that the key is over and not removed yet.
    pub fn watch(&mut self, database: u8, key: &[u8], flag: Arc<AtomicBool>, began_over: bool) {
        let watched = &mut self.rare.get_or_insert_default().watched;
        // Flags that nobody holds any more go when the slot is watched again; until then they are bounded by its keys.
        watched.retain(|_, watchers| {
            watchers.retain(|watcher| Arc::strong_count(&watcher.flag) > 1);
            !watchers.is_empty()
        });
        watched.entry((database, key.into())).or_default().push(Watcher { flag, began_over });
    }

    #[cold]
    fn tell(&mut self, database: u8, key: &[u8], is_there: bool) {
        let Some(rare) = &mut self.rare else { return };
        rare.awaited.tell(database, key);
        if rare.watched.is_empty() {
            return;
        }
        let name = (database, Box::from(key));
        let watchers = rare.watched.remove(&name).unwrap_or_default();
        let (stay, told): (Vec<_>, Vec<_>) = watchers.into_iter().partition(|watcher| watcher.began_over && !is_there);
        told.into_iter().for_each(|watcher| watcher.flag.store(true, Ordering::Release));
        if !stay.is_empty() {
            rare.watched.insert(name, stay);
        }
        self.tidy();
    }
}
