//! What was published here and goes to the other nodes: between the workers, which put it there, and the thread of the
//! peers, which takes it.
//!
//! Nothing is kept for a node that is not connected, and nothing waits without end: a message that finds no room here is
//! dropped and counted. Published messages are no data.

use super::ChannelKind;
use crate::limits::{OUTGOING_MESSAGES_BYTES_MAX, PUBLISHED_BYTES_MAX};
use parking_lot::Mutex;
use protocol::{MessageKind, MessageWriter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Messages on their way to the other nodes.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Somebody takes them: a node is connected, and messages cross regions.
    is_open: AtomicBool,
    waiting: Mutex<MessageWriter>,
    /// Told when the first message comes.
    pub news: Notify,
    dropped: AtomicU64,
    sent: AtomicU64,
    dropped_by_links: AtomicU64,
}

impl Outgoing {
    /// Says whether messages are to be kept for other nodes.
    pub fn open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Takes a message, or drops it.
    #[inline]
    pub fn put(&self, kind: ChannelKind, channel: &[u8], payload: &[u8]) {
        if self.is_open.load(Ordering::Relaxed) {
            self.keep(kind, channel, payload);
        }
    }

    fn keep(&self, kind: ChannelKind, channel: &[u8], payload: &[u8]) {
        let kind = match kind {
            ChannelKind::Channel => MessageKind::Channel,
            ChannelKind::Shard => MessageKind::Shard,
            // Nobody publishes to a pattern.
            ChannelKind::Pattern => return,
        };
        let bytes = channel.len().saturating_add(payload.len());
        let mut waiting = self.waiting.lock();
        if bytes > PUBLISHED_BYTES_MAX || waiting.bytes().saturating_add(bytes) > OUTGOING_MESSAGES_BYTES_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.is_empty();
        waiting.put(kind, channel, payload);
        drop(waiting);
        if is_first {
            self.news.notify_one();
        }
    }

    /// Takes all that wait.
    pub fn take(&self) -> MessageWriter {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Notes what links have sent and dropped since the node started, one for each of them.
    pub fn note_links(&self, sent: u64, dropped: u64) {
        self.sent.store(sent, Ordering::Relaxed);
        self.dropped_by_links.store(dropped, Ordering::Relaxed);
    }

    /// How many were sent, one for each node.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many were dropped because there was no room, here or on a link, or because they were too large.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.dropped_by_links.load(Ordering::Relaxed)
    }
}
