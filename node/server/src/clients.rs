//! The connections of a node, as other connections and operators may see and end them.
//!
//! Not what a connection needs for itself: that is `client::ClientState`, which nobody else sees.

use crate::limits::CLIENT_NAME_BYTES_MAX;
use bitflags::bitflags;
use crdt::UnixMillis;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
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
        let presence = Arc::new(Presence::new(id, address, local_address, now));
        open.insert(id, Arc::clone(&presence));
        Ok(presence)
    }

    /// Takes a connection out.
    pub fn leave(&self, id: u64) {
        self.open.lock().remove(&id);
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

    /// How many connections were refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many connections were ended because nothing came from them.
    pub fn ended_for_silence(&self) -> u64 {
        self.ended_for_silence.load(Ordering::Relaxed)
    }

    /// Ends the connections that said nothing for longer than `silence`; zero is no limit.
    pub fn end_silent(&self, now: UnixMillis, silence: Duration) {
        if silence.is_zero() {
            return;
        }
        for presence in self.open.lock().values() {
            let is_waiting = presence.look().marks.contains(Marks::BLOCKED);
            if presence.idle(now) > silence && !is_waiting && !presence.is_ended() {
                self.ended_for_silence.fetch_add(1, Ordering::Relaxed);
                presence.end();
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
    pub struct Marks: u8 {
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
    last_active: AtomicU64,
    /// Ordinal of the last command and 1, or 0 before the first.
    last_command: AtomicU32,
    database: AtomicU8,
    version: AtomicU8,
    marks: AtomicU8,
    queued: AtomicI64,
    buffered: AtomicU64,
    /// Bytes of replies that wait for the client to read.
    unread: AtomicU64,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// What a connection's task says about itself after each read.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When bytes came last.
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
    /// Bytes of an unfinished request.
    pub buffered: u64,
}

impl Presence {
    fn new(id: u64, address: SocketAddr, local_address: SocketAddr, now: UnixMillis) -> Self {
        Self {
            id,
            address,
            local_address,
            connected_at: now,
            names: Mutex::default(),
            last_active: AtomicU64::new(now),
            last_command: AtomicU32::new(0),
            database: AtomicU8::new(0),
            version: AtomicU8::new(2),
            marks: AtomicU8::new(0),
            queued: AtomicI64::new(-1),
            buffered: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
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
        self.buffered.store(look.buffered, Ordering::Relaxed);
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
            marks: Marks::from_bits_truncate(self.marks.load(Ordering::Relaxed)),
            queued: self.queued.load(Ordering::Relaxed),
            buffered: self.buffered.load(Ordering::Relaxed),
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

    /// For how long nothing came.
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
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether somebody ended it.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Says whom to wake when it is ended. Look at `is_ended` afterwards.
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
    fn only_silent_clients_are_ended() {
        let clients = Clients::default();
        let silent = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
        let busy = clients.enter(ADDRESS, ADDRESS, 4_000, 9).unwrap();
        clients.end_silent(1_000_000, Duration::ZERO);
        assert!(!silent.is_ended());
        clients.end_silent(6_000, Duration::from_secs(5));
        assert!(silent.is_ended() && !busy.is_ended());
    }
}
