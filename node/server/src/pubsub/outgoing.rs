//! What was published here and goes to the other nodes: between the workers, which put it there, and the thread of the
//! peers, which takes it.
//!
//! Nothing is kept for a node that is not connected, and nothing waits without end: a message that finds no room here is
//! dropped and counted. Published messages are no data.

use super::ChannelKind;
use crate::limits::{OUTGOING_MESSAGES_BYTES_MAX, OUTGOING_STRETCHES_MAX, PUBLISHED_BYTES_MAX};
use parking_lot::Mutex;
use protocol::{MessageKind, MessageWriter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Messages on their way to the other nodes.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Somebody takes them: a node is connected.
    is_open: AtomicBool,
    waiting: Mutex<Vec<Stretch>>,
    /// Told when the first message comes.
    pub news: Notify,
    dropped: AtomicU64,
    sent: AtomicU64,
    dropped_by_links: AtomicU64,
}

/// Whom a message goes to, as the setting was when it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The nodes of this region.
    Region,
    /// All nodes.
    Everywhere,
}

/// Messages one behind the other that go to the same nodes.
pub type Stretch = (Reach, MessageWriter);

impl Outgoing {
    /// Says whether messages are to be kept for other nodes.
    pub fn open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Takes a message, or drops it.
    #[inline]
    pub fn put(&self, kind: ChannelKind, channel: &[u8], payload: &[u8], reach: Reach) {
        if self.is_open.load(Ordering::Relaxed) {
            self.keep(kind, channel, payload, reach);
        }
    }

    fn keep(&self, kind: ChannelKind, channel: &[u8], payload: &[u8], reach: Reach) {
        let kind = match kind {
            ChannelKind::Channel => MessageKind::Channel,
            ChannelKind::Shard => MessageKind::Shard,
            // Nobody publishes to a pattern.
            ChannelKind::Pattern => return,
        };
        let bytes = channel.len().saturating_add(payload.len());
        let mut waiting = self.waiting.lock();
        let waiting_bytes = waiting.iter().map(|(_, messages)| messages.bytes()).fold(bytes, usize::saturating_add);
        // Each change of the setting begins another stretch: of these there are few, unless somebody plays with it.
        let begins = waiting.last().is_none_or(|(last, _)| *last != reach);
        let is_full = waiting_bytes > OUTGOING_MESSAGES_BYTES_MAX || begins && waiting.len() >= OUTGOING_STRETCHES_MAX;
        if bytes > PUBLISHED_BYTES_MAX || is_full {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.is_empty();
        if begins {
            waiting.push((reach, MessageWriter::default()));
        }
        if let Some((_, messages)) = waiting.last_mut() {
            messages.put(kind, channel, payload);
        }
        drop(waiting);
        if is_first {
            self.news.notify_one();
        }
    }

    /// Takes all that wait, in the order in which they were published.
    pub fn take(&self) -> Vec<Stretch> {
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
