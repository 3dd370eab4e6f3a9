//! What condition the node is in, as far as every command must know: filling, out of memory, refusing writes, paused.
//!
//! Plain words that are nearly never written: looking at them costs workers nothing of each other.

use crdt::UnixMillis;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// The node's condition.
#[derive(Debug, Default)]
pub struct Condition {
    loading: AtomicBool,
    out_of_memory: AtomicBool,
    busy: AtomicBool,
    writes_refused: AtomicBool,
    writes_refused_reason: Mutex<String>,
    removed: AtomicBool,
    /// Until when everything is paused.
    all_paused_until: AtomicU64,
    /// Until when writes are paused.
    writes_paused_until: AtomicU64,
    pause_ended: Notify,
}

/// What `CLIENT PAUSE` holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// Every command.
    All,
    /// Commands that may write.
    Writes,
}

impl Condition {
    /// Whether the node fills from its peers and answers `LOADING`.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Relaxed)
    }

    /// Says whether the node fills from its peers.
    pub fn set_loading(&self, loading: bool) {
        self.loading.store(loading, Ordering::Relaxed);
    }

    /// Whether a script has run for longer than it should: nearly all commands are refused.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Says whether a script has run for longer than it should.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether commands that need more memory are refused.
    #[inline]
    pub fn is_out_of_memory(&self) -> bool {
        self.out_of_memory.load(Ordering::Relaxed)
    }

    /// Says whether commands that need more memory are refused.
    pub fn set_out_of_memory(&self, out_of_memory: bool) {
        self.out_of_memory.store(out_of_memory, Ordering::Relaxed);
    }

    /// Why writes are refused, if they are: the whole error reply, code included.
    #[inline]
    pub fn writes_refused(&self) -> Option<String> {
        self.writes_refused.load(Ordering::Relaxed).then(|| self.writes_refused_reason.lock().clone())
    }

    /// Refuses writes with this error reply (code included), or accepts them again.
    pub fn refuse_writes(&self, reason: Option<&str>) {
        let mut text = self.writes_refused_reason.lock();
        reason.unwrap_or_default().clone_into(&mut text);
        self.writes_refused.store(reason.is_some(), Ordering::Relaxed);
    }

    /// Whether the node was removed from its cluster: it shows what it had, and nobody should ask it any more.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Says that the node was removed from its cluster, for ever.
    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    /// Until when a command is paused, if it is. `writes` says whether it may write.
    #[inline]
    pub fn paused_until(&self, now: UnixMillis, writes: bool) -> Option<UnixMillis> {
        let all = self.all_paused_until.load(Ordering::Relaxed);
        let until = if writes { all.max(self.writes_paused_until.load(Ordering::Relaxed)) } else { all };
        (until > now).then_some(until)
    }

    /// Pauses commands. A pause that is already longer, or holds back more, stays.
    pub fn pause(&self, what: Paused, until: UnixMillis) {
        match what {
            Paused::All => self.all_paused_until.fetch_max(until, Ordering::Relaxed),
            Paused::Writes => self.writes_paused_until.fetch_max(until, Ordering::Relaxed),
        };
    }

    /// Ends every pause.
    pub fn end_pause(&self) {
        self.all_paused_until.store(0, Ordering::Relaxed);
        self.writes_paused_until.store(0, Ordering::Relaxed);
        self.let_look();
    }

    /// Lets those look again who wait for a pause to end, or for keys to be read.
    pub fn let_look(&self) {
        self.pause_ended.notify_waiters();
    }

    /// Waits until somebody ends the pause.
    pub async fn pause_ended(&self) {
        self.pause_ended.notified().await;
    }
}
