//! The connections of a node, as other connections and operators may see and end them.
//!
//! Not what a connection needs for itself: that is `client::ClientState`, which nobody else sees.

use crate::acl::{DEFAULT_USER, User};
use crate::config::{ClientClass, OutputLimits};
use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::outbox::{Collected, Message, Outbox, Outboxes, Overrun, Posted, Subscribed};
use bitflags::bitflags;
use crdt::UnixMillis;
use parking_lot::Mutex;
use resp::{Reply, Version};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

/// All connections that are open.
#[derive(Debug, Default)]
pub struct Clients {
    open: Mutex<BTreeMap<u64, Arc<Presence>>>,
    last_id: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    ended_for_silence: AtomicU64,
    evicted: AtomicU64,
    outboxes: Arc<Outboxes>,
}

/// There are as many connections as the node admits.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyClients;

impl Clients {
    /// Enters a connection, unless there are `most` already.
    pub fn enter(
        &self,
        address: SocketAddr,
        local_address: SocketAddr,
        now: UnixMillis,
        most: u64,
    ) -> Result<Arc<Presence>, TooManyClients> {
        let mut open = self.open.lock();
        if open.len() as u64 >= most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(TooManyClients);
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let presence = Arc::new(Presence::new(id, address, local_address, now, Arc::clone(&self.outboxes)));
        open.insert(id, Arc::clone(&presence));
        Ok(presence)
    }

    /// Takes a connection out. What waits for it is dropped.
    pub fn leave(&self, id: u64) {
        let Some(left) = self.open.lock().remove(&id) else { return };
        left.ended.store(true, Ordering::Release);
        if let Some(outbox) = left.outbox.get() {
            outbox.close();
        }
    }

    /// The connection with this number.
    pub fn find(&self, id: u64) -> Option<Arc<Presence>> {
        self.open.lock().get(&id).cloned()
    }

    /// What waits in all outboxes.
    pub fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    /// All connections, the oldest first.
    pub fn all(&self) -> Vec<Arc<Presence>> {
        self.open.lock().values().cloned().collect()
    }

    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// How many connections were ever admitted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many connections were refused because there were too many, or by protected mode.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a connection that was not let in.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections were ended because nothing came from them.
    pub fn ended_for_silence(&self) -> u64 {
        self.ended_for_silence.load(Ordering::Relaxed)
    }

    /// Ends the connections with which nothing was exchanged for longer than `silence`; zero is no limit. Those that wait for
    /// us or want to be told of something stay.
    pub fn end_silent(&self, now: UnixMillis, silence: Duration) {
        if silence.is_zero() {
            return;
        }
        for presence in self.open.lock().values() {
            // SUBTLE: the marks first: who stops waiting has been active before that shows.
            let listens_or_waits = presence.look().marks.intersects(Marks::MAY_BE_SILENT);
            if !listens_or_waits && presence.idle(now) > silence && !presence.is_ended() {
                self.ended_for_silence.fetch_add(1, Ordering::Relaxed);
                presence.end();
            }
        }
    }

    /// How many connections were ended because all together took more memory than they may.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Ends the connections that take most memory, until the others together take no more than `bytes_max`; zero is no
    /// limit. Those that have asked not to be ended for it stay.
    pub fn end_largest(&self, bytes_max: u64) {
        if bytes_max == 0 {
            return;
        }
        let open = self.open.lock();
        let living = open.values().filter(|presence| !presence.is_ended());
        let mut largest: Vec<(u64, &Arc<Presence>)> =
            living.map(|presence| (presence.memory_bytes(), presence)).collect();
        let mut bytes: u64 = largest.iter().map(|(bytes, _)| bytes).sum();
        if bytes <= bytes_max {
            return;
        }
        largest.sort_unstable_by_key(|(bytes, presence)| (std::cmp::Reverse(*bytes), presence.id));
        for (own, presence) in largest {
            if bytes <= bytes_max {
                return;
            }
            if !presence.look().marks.contains(Marks::NO_EVICT) {
                tracing::warn!(client = presence.id, bytes = own, "a connection is ended for maxmemory-clients");
                self.evicted.fetch_add(1, Ordering::Relaxed);
                presence.end();
                bytes -= own;
            }
        }
    }

    /// Ends all connections.
    pub fn end_all(&self) {
        self.open.lock().values().for_each(|presence| presence.end());
    }
}

bitflags! {
    /// What `CLIENT LIST` shows of a connection as letters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Marks: u16 {
        /// Inside a transaction.
        const TRANSACTION = 1 << 0;
        /// A watched key has changed, or is watched at all.
        const WATCHING = 1 << 1;
        /// It will be closed after its reply.
        const CLOSING = 1 << 2;
        /// Not to be disconnected when memory is short.
        const NO_EVICT = 1 << 3;
        /// Its commands do not count as use of keys.
        const NO_TOUCH = 1 << 4;
        /// It waits for a key to hold something for it.
        const BLOCKED = 1 << 5;
        /// It has subscribed to something.
        const SUBSCRIBED = 1 << 6;
        /// It caches what it reads.
        const TRACKING = 1 << 7;
        /// It is told of the changes of all keys with some prefixes.
        const BROADCAST = 1 << 8;
        /// The client that is told in its place has gone.
        const BROKEN_REDIRECT = 1 << 9;
        /// It is shown all commands.
        const MONITOR = 1 << 10;
        /// Its next command waits for us, or the answer to its last one does: for the end of a pause, the disk, another
        /// thread or server, a long script.
        const ATTENDING = 1 << 11;
        /// It need not say anything.
        const MAY_BE_SILENT =
            Self::BLOCKED.bits() | Self::SUBSCRIBED.bits() | Self::MONITOR.bits() | Self::ATTENDING.bits();
    }
}

/// The texts a client says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
}

/// One connection as others see it. Its own task keeps it up to date once for each read.
#[derive(Debug)]
pub struct Presence {
    /// Its number, never used again.
    pub id: u64,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Where it arrived.
    pub local_address: SocketAddr,
    /// When it was opened.
    pub connected_at: UnixMillis,
    names: Mutex<Names>,
    /// Whose it is, unless it is the default user's.
    user: Mutex<Option<Arc<User>>>,
    last_active: AtomicU64,
    /// Ordinal of the last command and 1, or 0 before the first.
    last_command: AtomicU32,
    database: AtomicU8,
    version: AtomicU8,
    /// Those that its task gives with each look.
    marks: AtomicU16,
    /// Those that come and go between the looks.
    standing: AtomicU16,
    queued: AtomicI64,
    queued_bytes: AtomicU64,
    kept_bytes: AtomicU64,
    buffered: AtomicU64,
    buffer_spare: AtomicU64,
    /// Bytes of replies that wait for the client to read.
    unread: AtomicU64,
    ended: AtomicBool,
    /// It is ended once it has answered what has come.
    retired: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// What it is sent without asking. Nearly no connection ever has one.
    outbox: OnceLock<Box<Outbox>>,
    outboxes: Arc<Outboxes>,
}

/// What a connection's task says about itself after each read.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When bytes came or went last.
    pub last_active: UnixMillis,
    /// The ordinal of the last command.
    pub last_command: Option<usize>,
    /// The selected database.
    pub database: u8,
    /// The protocol version.
    pub version: u8,
    /// Letters.
    pub marks: Marks,
    /// Commands queued in a transaction, or -1 outside of one.
    pub queued: i64,
    /// Bytes that the queued commands take.
    pub queued_bytes: u64,
    /// Bytes of what else it keeps from one request to the next: the keys that it watches or waits for.
    pub kept_bytes: u64,
    /// Requests that have come and were not executed.
    pub input: InputBytes,
}

/// What a connection has read and not executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputBytes {
    /// Bytes of it.
    pub waiting: u64,
    /// Bytes that its buffer has beside.
    pub spare: u64,
}

impl Presence {
    fn new(id: u64, address: SocketAddr, local_address: SocketAddr, now: UnixMillis, outboxes: Arc<Outboxes>) -> Self {
        Self {
            id,
            address,
            local_address,
            connected_at: now,
            names: Mutex::default(),
            user: Mutex::default(),
            last_active: AtomicU64::new(now),
            last_command: AtomicU32::new(0),
            database: AtomicU8::new(0),
            version: AtomicU8::new(2),
            marks: AtomicU16::new(0),
            standing: AtomicU16::new(0),
            queued: AtomicI64::new(-1),
            queued_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            buffered: AtomicU64::new(0),
            buffer_spare: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            waker: Mutex::new(None),
            outbox: OnceLock::new(),
            outboxes,
        }
    }

    /// Sends the client what it has not asked for. False if it has gone or is ended.
    #[inline]
    pub fn post(&self, message: &mut Message<'_>, limits: &OutputLimits, now: UnixMillis) -> bool {
        if self.is_ended() {
            return false;
        }
        match self.outbox().post(message, || self.version(), self.unread_bytes(), limits, now) {
            Posted::Behind => true,
            Posted::Wake => {
                self.wake();
                true
            }
            Posted::Overrun => {
                self.end();
                false
            }
            Posted::Closed => false,
        }
    }

    /// What it is sent without asking.
    pub fn outbox(&self) -> &Outbox {
        self.outbox.get_or_init(|| Box::new(Outbox::new(Arc::clone(&self.outboxes))))
    }

    /// Whether something waits that it has not asked for.
    #[inline]
    pub fn has_mail(&self) -> bool {
        self.outbox.get().is_some_and(|outbox| outbox.is_filled())
    }

    /// Adds what waits to a reply that is complete, in `buffer` if that holds none and needs one. Nothing if nothing waits.
    #[inline]
    pub fn collect_mail(&self, reply: &mut Reply, buffer: impl FnOnce() -> Vec<u8>) -> Option<Collected> {
        let outbox = self.outbox.get().filter(|outbox| outbox.is_filled())?;
        Some(outbox.collect(reply, buffer))
    }

    /// Adds all that waits to a reply, so that what comes next in it comes after.
    pub fn collect_all_mail(&self, reply: &mut Reply) {
        if let Some(outbox) = self.outbox.get() {
            outbox.collect_all(reply, || {});
        }
    }

    /// Changes the version of the protocol. What waits was written in the other one: it is added to the reply before.
    pub fn change_version(&self, version: Version, reply: &mut Reply) {
        if version != self.version() {
            let number = if version == Version::Resp3 { 3 } else { 2 };
            self.outbox().collect_all(reply, || self.version.store(number, Ordering::Relaxed));
        }
    }

    /// The version of the protocol that it speaks.
    pub fn version(&self) -> Version {
        if self.version.load(Ordering::Relaxed) == 3 { Version::Resp3 } else { Version::Resp2 }
    }

    /// Which limits count for what waits for it.
    pub fn class(&self) -> ClientClass {
        self.outbox.get().map_or(ClientClass::Normal, |outbox| outbox.class())
    }

    /// How many channels and patterns it has subscribed to.
    pub fn subscribed(&self) -> Subscribed {
        self.outbox.get().map(|outbox| outbox.subscribed()).unwrap_or_default()
    }

    /// Bytes and pieces that wait and that it has not asked for.
    pub fn posted(&self) -> (u64, usize) {
        self.outbox.get().map_or((0, 0), |outbox| (outbox.bytes() as u64, outbox.pieces()))
    }

    /// Why it was ended, if that was for what waited in its outbox.
    pub fn overrun(&self) -> Option<Overrun> {
        self.outbox.get().and_then(|outbox| outbox.overrun())
    }

    /// Says whose it is.
    pub fn set_user(&self, user: Arc<User>) {
        *self.user.lock() = Some(user).filter(|user| user.name() != DEFAULT_USER);
    }

    /// Whether it is this user's.
    pub fn is_of(&self, user: &Arc<User>) -> bool {
        match &*self.user.lock() {
            Some(own) => Arc::ptr_eq(own, user),
            None => user.name() == DEFAULT_USER,
        }
    }

    /// The user whose it is; nothing for the default user.
    pub fn user(&self) -> Option<Arc<User>> {
        self.user.lock().clone()
    }

    /// The name of the user whose it is.
    pub fn user_name(&self) -> String {
        let user = self.user();
        String::from_utf8_lossy(user.as_ref().map_or(DEFAULT_USER, |user| user.name())).into_owned()
    }

    /// What the client says about itself.
    pub fn names(&self) -> Names {
        self.names.lock().clone()
    }

    /// Changes what the client says about itself.
    pub fn rename(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock());
    }

    /// Stores how the connection looks now.
    #[inline]
    pub fn update(&self, look: &Look) {
        let last_command = look.last_command.and_then(|ordinal| u32::try_from(ordinal + 1).ok()).unwrap_or(0);
        self.last_active.store(look.last_active, Ordering::Relaxed);
        self.last_command.store(last_command, Ordering::Relaxed);
        self.database.store(look.database, Ordering::Relaxed);
        self.version.store(look.version, Ordering::Relaxed);
        self.marks.store(look.marks.bits(), Ordering::Relaxed);
        self.queued.store(look.queued, Ordering::Relaxed);
        self.queued_bytes.store(look.queued_bytes, Ordering::Relaxed);
        self.kept_bytes.store(look.kept_bytes, Ordering::Relaxed);
        self.set_input(look.input);
    }

    /// Gives it marks, or takes them away, that its looks do not tell.
    pub fn mark(&self, marks: Marks, is_so: bool) {
        if is_so {
            self.standing.fetch_or(marks.bits(), Ordering::Release);
        } else {
            self.standing.fetch_and(!marks.bits(), Ordering::Release);
        }
    }

    /// Bytes were exchanged, or it was waited for us until now.
    pub fn note_active(&self, now: UnixMillis) {
        self.last_active.store(now, Ordering::Relaxed);
    }

    /// How the connection looked after its last read.
    pub fn look(&self) -> Look {
        Look {
            last_active: self.last_active.load(Ordering::Relaxed),
            last_command: usize::try_from(self.last_command.load(Ordering::Relaxed))
                .ok()
                .and_then(|stored| stored.checked_sub(1)),
            database: self.database.load(Ordering::Relaxed),
            version: self.version.load(Ordering::Relaxed),
            marks: Marks::from_bits_truncate(
                self.marks.load(Ordering::Relaxed) | self.standing.load(Ordering::Acquire),
            ),
            queued: self.queued.load(Ordering::Relaxed),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
            kept_bytes: self.kept_bytes.load(Ordering::Relaxed),
            input: InputBytes {
                waiting: self.buffered.load(Ordering::Relaxed),
                spare: self.buffer_spare.load(Ordering::Relaxed),
            },
        }
    }

    /// Bytes of replies that wait for the client to read them.
    pub fn unread_bytes(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Notes how many bytes of replies wait for the client to read them.
    pub fn set_unread(&self, bytes: u64) {
        self.unread.store(bytes, Ordering::Relaxed);
    }

    /// Notes which requests wait to be executed.
    #[inline]
    pub fn set_input(&self, input: InputBytes) {
        self.buffered.store(input.waiting, Ordering::Relaxed);
        self.buffer_spare.store(input.spare, Ordering::Relaxed);
    }

    /// Bytes that its requests, what it has queued, watches or waits for, its replies, its subscriptions and what is posted
    /// to it take, and it itself.
    pub fn memory_bytes(&self) -> u64 {
        let look = self.look();
        let subscribed = self.outbox.get().map_or(0, |outbox| outbox.subscribed_bytes());
        let asked = look.input.waiting + look.input.spare + look.queued_bytes + look.kept_bytes;
        asked + self.unread_bytes() + self.posted().0 + subscribed + size_of::<Self>() as u64
    }

    /// For how long nothing came and nothing went.
    pub fn idle(&self, now: UnixMillis) -> Duration {
        Duration::from_millis(now.saturating_sub(self.last_active.load(Ordering::Relaxed)))
    }

    /// For how long it has been open.
    pub fn age(&self, now: UnixMillis) -> Duration {
        Duration::from_millis(now.saturating_sub(self.connected_at))
    }

    /// Ends the connection: its task stops at the next look, and is woken for it.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake();
    }

    /// Lets its task look whether it has ended or something was posted.
    fn wake(&self) {
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Ends the connection once it has answered all that has come: its client loses no answer, and connects again.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it is to end once it has answered what has come.
    #[inline]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Whether somebody ended it.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Says whom to wake when it is ended or something is posted. Look at `is_ended` and `has_mail` afterwards.
    pub fn wake_at_end(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }
}

/// Whether `text` may be a client's name: printable and without spaces, so that `CLIENT LIST` stays readable.
pub fn is_client_name(text: &[u8]) -> bool {
    text.len() <= CLIENT_NAME_BYTES_MAX && text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    #[test]
    fn there_are_never_more_clients_than_admitted() {
        let clients = Clients::default();
        let first = clients.enter(ADDRESS, ADDRESS, 0, 2).unwrap();
        clients.enter(ADDRESS, ADDRESS, 0, 2).unwrap();
        assert_eq!(clients.enter(ADDRESS, ADDRESS, 0, 2).err(), Some(TooManyClients));
        clients.leave(first.id);
        let third = clients.enter(ADDRESS, ADDRESS, 0, 2).unwrap();
        assert_eq!((third.id, clients.count(), clients.refused()), (3, 2, 1));
    }

    #[test]
    fn nothing_is_kept_for_a_client_that_has_gone() {
        let clients = Clients::default();
        let write = |reply: &mut Reply| reply.simple("late");
        let (limits, mut message) = (OutputLimits::default(), Message::new(&write));
        let [gone, known] = [0, 1].map(|now| clients.enter(ADDRESS, ADDRESS, now, 9).unwrap());
        assert!(known.post(&mut message, &limits, 1) && clients.outboxes().waiting_bytes() == 7);
        for presence in [gone, known] {
            clients.leave(presence.id);
            assert!(!presence.post(&mut message, &limits, 1) && presence.is_ended());
        }
        assert_eq!(clients.outboxes().waiting_bytes(), 0);
    }

    #[test]
    fn only_silent_clients_are_ended() {
        let clients = Clients::default();
        let silent = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
        let busy = clients.enter(ADDRESS, ADDRESS, 4_000, 9).unwrap();
        clients.end_silent(1_000_000, Duration::ZERO);
        assert!(!silent.is_ended());
        clients.end_silent(6_000, Duration::from_secs(5));
        assert!(silent.is_ended() && !busy.is_ended());
    }

    #[test]
    fn who_listens_or_waits_for_us_may_be_silent_as_long_as_that_lasts() {
        let (clients, monitors) = (Clients::default(), crate::monitors::Monitors::default());
        let [monitor, attending, subscribed] = [(); 3].map(|()| clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap());
        monitors.enter(&monitor);
        attending.mark(Marks::ATTENDING, true);
        subscribed.update(&Look { marks: Marks::SUBSCRIBED, ..subscribed.look() });
        // What its own task says meanwhile leaves that as it is.
        monitor.update(&Look { marks: Marks::empty(), ..monitor.look() });
        clients.end_silent(60_000, Duration::from_secs(5));
        let ended = || [&monitor, &attending, &subscribed].map(|presence| presence.is_ended());
        assert_eq!((ended(), clients.ended_for_silence()), ([false; 3], 0));
        monitors.leave(monitor.id);
        attending.note_active(58_000);
        attending.mark(Marks::ATTENDING, false);
        clients.end_silent(60_000, Duration::from_secs(5));
        assert_eq!((ended(), clients.ended_for_silence()), ([true, false, false], 1));
    }

    #[test]
    fn the_largest_clients_are_ended_first_unless_they_asked_not_to_be() {
        let clients = Clients::default();
        let enter = |bytes: u64, marks: Marks| {
            let presence = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
            presence.set_unread(bytes);
            presence.update(&Look { marks, ..presence.look() });
            presence
        };
        let all = [
            enter(50_000, Marks::empty()),
            enter(90_000, Marks::NO_EVICT),
            enter(60_000, Marks::empty()),
            enter(10, Marks::empty()),
        ];
        let ended = || all.iter().map(|presence| presence.is_ended()).collect::<Vec<_>>();
        clients.end_largest(0);
        clients.end_largest(1_000_000);
        assert_eq!((ended(), clients.evicted()), (vec![false; 4], 0));
        clients.end_largest(160_000);
        assert_eq!((ended(), clients.evicted()), (vec![false, false, true, false], 1));
        clients.end_largest(100_000);
        assert_eq!((ended(), clients.evicted()), (vec![true, false, true, false], 2));
    }
}
