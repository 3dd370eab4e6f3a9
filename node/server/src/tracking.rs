//! Client-side caching: which clients are told when a key that they have read, or that begins in some way, has changed.
//!
//! A change is seen where it happens, whoever makes it: a command, a batch from another region, expiry, eviction. While
//! any client tracks, the keyspace tells of every change with the slot of the key locked ([`keyspace::KeyObserver`]); while
//! none does, nothing is asked. What clients have read is remembered with the slot locked too, so that no change falls
//! between reading and remembering.
//!
//! The table of what was read is limited (`tracking-table-max-keys`): beyond it keys are forgotten, and whoever has read
//! them is told as if they had changed.

mod table;
mod told;
mod tracks;

pub use tracks::Tracks;

use crate::clients::{Clients, Presence};
use crate::config::{OutputLimits, Settings};
use crate::limits::{
    TRACKING_FORGOTTEN_MAX, TRACKING_PREFIX_BYTES_MAX, TRACKING_PREFIXES_MAX, TRACKING_TABLE_BYTES_MAX,
};
use crate::outbox::Message;
use bitflags::bitflags;
use crdt::UnixMillis;
use keyspace::{Access, KeyObserver, Keyspace, Together};
use parking_lot::RwLock;
use resp::{Reply, Version};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use table::Table;
use told::Told;

bitflags! {
    /// How a client wants to be told.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TrackingMode: u8 {
        /// Of all keys with its prefixes, whether it has read them or not.
        const BROADCAST = 1 << 0;
        /// Only of what it reads right after `CLIENT CACHING YES`.
        const OPT_IN = 1 << 1;
        /// Not of what it reads right after `CLIENT CACHING NO`.
        const OPT_OUT = 1 << 2;
        /// Not of what it changes itself.
        const NO_LOOP = 1 << 3;
    }
}

/// A client that tracks.
#[derive(Debug)]
struct Tracker {
    presence: Arc<Presence>,
    mode: TrackingMode,
    /// Who is told in its place.
    redirect: Option<u64>,
    /// That one has gone, and the client was told.
    is_broken: AtomicBool,
}

/// Who has read what, and who wants to be told of what.
pub struct Tracking {
    clients: RwLock<BTreeMap<u64, Tracker>>,
    /// Who wants to be told of keys that begin so.
    prefixes: RwLock<BTreeMap<Box<[u8]>, BTreeSet<u64>>>,
    table: Table,
    broadcasting: AtomicUsize,
    /// Bytes of the prefixes, for each client that is told of one.
    prefix_bytes: AtomicUsize,
    prefixes_refused: AtomicU64,
    /// Every slot of the keyspace tells of changes.
    is_observing: AtomicBool,
    /// Some slots tell of changes though nobody tracks: when the last one left, a script held them for very long.
    is_left: AtomicBool,
    sent: AtomicU64,
    config: Arc<Settings>,
    wall_clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    all: Arc<Clients>,
}

/// What is tracked, for `INFO` and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingFigures {
    /// Clients that track.
    pub clients: usize,
    /// Keys that some of them have read.
    pub keys: usize,
    /// Each of those for each client that has read it.
    pub items: usize,
    /// Prefixes that some of them want to be told of.
    pub prefixes: usize,
    /// Bytes that those keys take, about.
    pub bytes: usize,
    /// Bytes that those prefixes take, about.
    pub prefix_bytes: usize,
    /// Keys that were forgotten because there were too many.
    pub forgotten: u64,
    /// Prefixes that were refused because there were too many.
    pub prefixes_refused: u64,
    /// Messages that were sent.
    pub sent: u64,
}

thread_local! {
    /// The client whose command runs on this thread, if it does not want to be told of its own changes; else 0.
    static QUIET: Cell<u64> = const { Cell::new(0) };
    /// The command that runs on this thread removes all keys, of which everybody is told at once.
    static FLUSHING: Cell<bool> = const { Cell::new(false) };
    /// The keys that those were told of who are told by prefix, of what goes on on this thread.
    static TOLD: RefCell<Told> = RefCell::default();
}

/// While it lives, nobody is told of the changes of this thread one by one.
#[derive(Debug)]
pub struct Flushing(());

impl Flushing {
    /// From now on.
    pub fn begin() -> Self {
        FLUSHING.set(true);
        Self(())
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        FLUSHING.set(false);
    }
}

/// While it lives, the changes of this thread are those of a client that does not want to be told of them.
#[derive(Debug)]
pub struct Quiet(());

impl Quiet {
    /// From now on.
    pub fn begin(client: u64) -> Self {
        QUIET.set(client);
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(0);
    }
}

impl Tracking {
    /// Nobody tracks.
    pub fn new(
        config: Arc<Settings>,
        all: Arc<Clients>,
        wall_clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    ) -> Self {
        Self {
            clients: RwLock::default(),
            prefixes: RwLock::default(),
            table: Table::default(),
            broadcasting: AtomicUsize::new(0),
            prefix_bytes: AtomicUsize::new(0),
            prefixes_refused: AtomicU64::new(0),
            is_observing: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            config,
            wall_clock,
            all,
        }
    }

    /// Enters a client, or changes how it is told. Call it with no slot locked, or every one. False if it cannot be entered
    /// now because somebody holds a slot who will for very long.
    #[must_use]
    pub fn enter(
        self: &Arc<Self>,
        presence: &Arc<Presence>,
        mode: TrackingMode,
        redirect: Option<u64>,
        store: &mut Access<'_>,
    ) -> bool {
        let tracker = Tracker { presence: Arc::clone(presence), mode, redirect, is_broken: AtomicBool::new(false) };
        self.clients.write().insert(presence.id, tracker);
        if !self.is_observing.load(Ordering::Acquire) {
            let observer: Arc<dyn KeyObserver> = Arc::clone(self) as _;
            if !store.observe_all(&observer) {
                // Slots that tell already are seen to when that one lets go.
                self.clients.write().remove(&presence.id);
                self.is_left.store(true, Ordering::Relaxed);
                return false;
            }
            self.is_observing.store(true, Ordering::Release);
        }
        true
    }

    /// Has a client that is told by prefix told of one more. False if there are too many.
    pub fn enter_prefix(&self, client: u64, prefix: &[u8]) -> bool {
        let mut prefixes = self.prefixes.write();
        let is_many = prefixes.len() >= TRACKING_PREFIXES_MAX && !prefixes.contains_key(prefix);
        let bytes = self.prefix_bytes.load(Ordering::Relaxed) + prefix_bytes(prefix);
        if is_many || bytes > TRACKING_PREFIX_BYTES_MAX {
            self.prefixes_refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if prefixes.entry(prefix.into()).or_default().insert(client) {
            self.prefix_bytes.store(bytes, Ordering::Relaxed);
        }
        self.broadcasting.store(prefixes.len(), Ordering::Relaxed);
        true
    }

    /// Takes a client out, with its prefixes. `holds_slots` says that its thread has slots locked.
    fn leave(&self, client: u64, prefixes: &[Box<[u8]>], keyspace: &Keyspace, holds_slots: bool) {
        if !prefixes.is_empty() {
            let mut all = self.prefixes.write();
            for prefix in prefixes {
                if let Some(clients) = all.get_mut(prefix) {
                    if clients.remove(&client) {
                        self.prefix_bytes.fetch_sub(prefix_bytes(prefix), Ordering::Relaxed);
                    }
                    if clients.is_empty() {
                        all.remove(prefix);
                    }
                }
            }
            self.broadcasting.store(all.len(), Ordering::Relaxed);
        }
        let mut clients = self.clients.write();
        let is_last = clients.remove(&client).is_some() && clients.is_empty();
        if is_last {
            drop(clients);
            // SUBTLE: whoever enters meanwhile reads only afterwards.
            self.table.clear_while(|| !self.is_used());
            if holds_slots {
                // The next one that leaves ends it.
                return;
            }
            self.stop_observing(keyspace);
        }
    }

    /// Nobody tracks any more: slots need not tell of changes.
    fn stop_observing(&self, keyspace: &Keyspace) {
        // SUBTLE: whoever enters meanwhile is found before the next slot stops, and has those told again that have
        // stopped: it may only find this flag too late, which costs it some time.
        self.is_observing.store(false, Ordering::Release);
        if !keyspace.stop_observing(|| !self.is_used()) {
            self.is_left.store(true, Ordering::Relaxed);
        }
    }

    /// A script that ran for very long has ended: slots that it held tell no more of changes if nobody tracks. Call it with
    /// no slot locked.
    pub fn tidy(&self, keyspace: &Keyspace) {
        if self.is_left.swap(false, Ordering::Relaxed) && !self.is_used() {
            self.stop_observing(keyspace);
        }
    }

    /// Whether anybody is told by prefix.
    #[inline]
    pub fn broadcasts(&self) -> bool {
        self.broadcasting.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody tracks.
    pub fn is_used(&self) -> bool {
        !self.clients.read().is_empty()
    }

    /// Who is told in the place of a client, as `CLIENT LIST` shows it: 0 if nobody is, -1 if it does not track.
    pub fn redirect(&self, client: u64) -> i64 {
        let redirect = self.clients.read().get(&client).map(|tracker| tracker.redirect.unwrap_or(0));
        redirect.map_or(-1, |redirect| i64::try_from(redirect).unwrap_or(i64::MAX))
    }

    /// Whether the client that is told in the place of this one has gone.
    pub fn is_broken(&self, client: u64) -> bool {
        self.clients.read().get(&client).is_some_and(|tracker| tracker.is_broken.load(Ordering::Relaxed))
    }

    /// Remembers what a client has just read. Call it with the slots of the keys locked.
    pub fn remember(&self, client: u64, key: &[u8]) {
        let is_there = |id: u64| self.clients.read().contains_key(&id);
        self.table.remember(key, client, &is_there);
    }

    /// After so many keys were read, forgets keys while there are more than may be: as many, and some more, so that a limit
    /// that was lowered is met by and by. Slots may be locked, whose holder must not be kept long.
    pub fn keep_within_limit(&self, read: usize) {
        let most = self.config.load().tracking_table_max_keys;
        let most = if most == 0 { usize::MAX } else { usize::try_from(most).unwrap_or(usize::MAX) };
        for _ in 0..read + TRACKING_FORGOTTEN_MAX {
            if self.table.keys() <= most && self.table.bytes() <= TRACKING_TABLE_BYTES_MAX {
                return;
            }
            let Some((key, clients)) = self.table.forget_one() else { return };
            self.tell(&clients, &key, false);
        }
    }

    /// All keys have gone: everybody is told so once. Call it with every slot locked.
    pub fn flush(&self) {
        if !self.is_used() {
            return;
        }
        // SUBTLE: not with the clients locked, of whom is asked with a part of the table locked.
        self.table.clear_while(|| true);
        let clients = self.clients.read();
        for tracker in clients.values() {
            self.send(&clients, tracker, None);
        }
    }

    /// How much is tracked.
    pub fn figures(&self) -> TrackingFigures {
        TrackingFigures {
            clients: self.clients.read().len(),
            keys: self.table.keys(),
            items: self.table.items(),
            prefixes: self.prefixes.read().len(),
            bytes: self.table.bytes(),
            prefix_bytes: self.prefix_bytes.load(Ordering::Relaxed),
            prefixes_refused: self.prefixes_refused.load(Ordering::Relaxed),
            forgotten: self.table.forgotten(),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    /// Tells these clients that a key has changed; those that are told by prefix if `broadcasts`.
    fn tell(&self, ids: &[u64], key: &[u8], broadcasts: bool) {
        let clients = self.clients.read();
        for id in ids {
            let Some(tracker) = clients.get(id) else { continue };
            let is_own = tracker.mode.contains(TrackingMode::NO_LOOP) && QUIET.get() == *id;
            // Who has changed to another way of being told since is told in that one.
            if !is_own && tracker.mode.contains(TrackingMode::BROADCAST) == broadcasts {
                self.send(&clients, tracker, Some(key));
            }
        }
    }

    /// Sends a client, or who stands in its place, that a key has changed, or that all have.
    fn send(&self, clients: &BTreeMap<u64, Tracker>, tracker: &Tracker, key: Option<&[u8]>) {
        let limits = self.config.load().client_output_buffer_limit;
        let now = (self.wall_clock)();
        let redirected = match tracker.redirect {
            None => None,
            Some(id) => match self.find(clients, id) {
                Some(presence) => Some(presence),
                None => {
                    self.send_broken(tracker, id, &limits, now);
                    return;
                }
            },
        };
        let receiver = redirected.as_ref().unwrap_or(&tracker.presence);
        if receiver.version() == Version::Resp2 && (redirected.is_none() || receiver.subscribed().all() == 0) {
            // The older version has a way to tell only who has subscribed.
            return;
        }
        let write = |reply: &mut Reply| write_invalidation(reply, key);
        self.sent.fetch_add(1, Ordering::Relaxed);
        receiver.post(&mut Message::new(&write), &limits, now);
    }

    fn find(&self, clients: &BTreeMap<u64, Tracker>, id: u64) -> Option<Arc<Presence>> {
        clients.get(&id).map(|tracker| Arc::clone(&tracker.presence)).or_else(|| self.all.find(id))
    }

    /// The client that is told in the place of this one has gone.
    fn send_broken(&self, tracker: &Tracker, redirect: u64, limits: &OutputLimits, now: UnixMillis) {
        tracker.is_broken.store(true, Ordering::Relaxed);
        if tracker.presence.version() == Version::Resp3 {
            let write = |reply: &mut Reply| {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(i64::try_from(redirect).unwrap_or(i64::MAX));
            };
            tracker.presence.post(&mut Message::new(&write), limits, now);
        }
    }
}

/// What a prefix takes for a client that is told of it: its name twice, and its places.
fn prefix_bytes(prefix: &[u8]) -> usize {
    2 * prefix.len() + PREFIX_OVERHEAD_BYTES
}

const PREFIX_OVERHEAD_BYTES: usize = 96;

/// Where clients of the older version hear of changes.
const CHANNEL: &[u8] = b"__redis__:invalidate";

fn write_invalidation(reply: &mut Reply, key: Option<&[u8]>) {
    match reply.version() {
        Version::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
        Version::Resp2 => {
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
        }
    }
    match key {
        Some(key) => {
            reply.array(1);
            reply.bulk(key);
        }
        None => reply.null(),
    }
}

impl KeyObserver for Tracking {
    fn changed(&self, database: u8, key: &[u8]) {
        // What the node keeps for itself has no client read.
        if FLUSHING.get() || database >= keyspace::DATABASES {
            return;
        }
        if let Some(clients) = self.table.take(key) {
            self.tell(&clients, key, false);
        }
        let is_first = |number| TOLD.with_borrow_mut(|told| told.is_first(number, database, key));
        if self.broadcasts() && Together::current().is_none_or(is_first) {
            let mut told = BTreeSet::new();
            for (_, clients) in self.prefixes.read().iter().filter(|(prefix, _)| key.starts_with(prefix)) {
                told.extend(clients.iter().copied());
            }
            let told: Vec<u64> = told.into_iter().collect();
            self.tell(&told, key, true);
        }
    }
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracking").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
