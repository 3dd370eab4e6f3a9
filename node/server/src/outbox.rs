//! What is sent to a client without its asking: messages of channels, invalidations, lines of `MONITOR`.
//!
//! Any thread may post to any connection. What is posted waits in the outbox of the connection, whose own task is woken,
//! adds it to its replies between two requests, never inside one, and writes it. A message is written once for each version
//! of the protocol that its receivers speak, and a large one is shared by all of them.
//!
//! What waits is limited: by `client-output-buffer-limit` for each connection, and for all of them together, see `limits`.
//! Beyond that what waited is dropped and the connection is ended, because a client that has missed a message without
//! being told is worse off than one that has to connect again.
//!
//! Not who receives what: that is `pubsub`, `tracking` and whoever else has something to say.

use crate::config::{ClientClass, OutputLimits};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_PIECE_BYTES, OUTBOXES_BYTES_MAX, OUTPUT_BYTES_FLUSH};
use crdt::UnixMillis;
use parking_lot::Mutex;
use resp::{Reply, Version};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A message to any number of clients, written when the first one that needs it is found.
pub struct Message<'m> {
    write: &'m dyn Fn(&mut Reply),
    /// For the older version and for the newer one.
    written: [Option<Arc<[u8]>>; 2],
}

impl<'m> Message<'m> {
    /// A message that `write` writes in the version of a reply.
    pub fn new(write: &'m dyn Fn(&mut Reply)) -> Self {
        Self { write, written: [None, None] }
    }

    /// Its bytes in a version.
    #[inline]
    pub fn bytes(&mut self, version: Version) -> &Arc<[u8]> {
        let index = match version {
            Version::Resp2 => 0,
            Version::Resp3 => 1,
        };
        let write = self.write;
        self.written[index].get_or_insert_with(|| written(write, version))
    }
}

/// What `write` writes in a version.
#[cold]
fn written(write: &dyn Fn(&mut Reply), version: Version) -> Arc<[u8]> {
    let mut reply = Reply::new(version);
    write(&mut reply);
    reply.bytes().into()
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("written", &self.written).finish_non_exhaustive()
    }
}

/// What waits in all outboxes of a node.
#[derive(Debug, Default)]
pub struct Outboxes {
    waiting_bytes: AtomicU64,
}

impl Outboxes {
    /// Bytes that wait, shared messages counted for each of their receivers.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }
}

/// What waits for one client.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// Something waits.
    is_filled: AtomicBool,
    channels: AtomicU32,
    patterns: AtomicU32,
    shard_channels: AtomicU32,
    /// Bytes that the subscriptions take.
    subscribed_bytes: AtomicU64,
    all: Arc<Outboxes>,
}

/// How many channels and patterns a client has subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscribed {
    /// Channels.
    pub channels: u32,
    /// Patterns.
    pub patterns: u32,
    /// Channels of the kind that clusters keep in one shard.
    pub shard_channels: u32,
}

impl Subscribed {
    /// Channels, patterns and shard channels.
    pub fn all(self) -> u32 {
        self.channels + self.patterns + self.shard_channels
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// What came first.
    pieces: VecDeque<Piece>,
    /// Small messages behind all pieces, one behind the other. For nearly all clients there is nothing else.
    open: Vec<u8>,
    bytes: usize,
    /// When the last message came.
    posted_at: UnixMillis,
    /// Since when more waits than the soft limit allows.
    over_since: Option<UnixMillis>,
    overrun: Option<Overrun>,
    /// Nobody will read it any more.
    is_closed: bool,
}

#[derive(Debug)]
enum Piece {
    /// Small messages, one behind the other.
    Copied(Vec<u8>),
    /// One large message.
    Shared(Arc<[u8]>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Why a connection was ended by what waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// Bytes that waited.
    pub waiting: usize,
    /// Which limit was met.
    pub limit: &'static str,
}

/// What was moved from an outbox to a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// More waits.
    pub has_more: bool,
    /// When the last of all messages came.
    pub posted_at: UnixMillis,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It waits, behind others.
    Behind,
    /// It waits, and the connection is to be woken: nothing waited before, or from now on it has only so much time.
    Wake,
    /// The connection is to be ended: too much waited.
    Overrun,
    /// The connection has ended, or will.
    Closed,
}

impl Outbox {
    pub(crate) fn new(all: Arc<Outboxes>) -> Self {
        Self {
            queue: Mutex::default(),
            is_filled: AtomicBool::new(false),
            channels: AtomicU32::new(0),
            patterns: AtomicU32::new(0),
            shard_channels: AtomicU32::new(0),
            subscribed_bytes: AtomicU64::new(0),
            all,
        }
    }

    /// Whether something waits.
    #[inline]
    pub fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Acquire)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Pieces that wait.
    pub fn pieces(&self) -> usize {
        let queue = self.queue.lock();
        queue.pieces.len() + usize::from(!queue.open.is_empty())
    }

    /// Why the connection was ended, if this was why.
    pub fn overrun(&self) -> Option<Overrun> {
        self.queue.lock().overrun
    }

    /// How many channels and patterns the client has subscribed to.
    pub fn subscribed(&self) -> Subscribed {
        Subscribed {
            channels: self.channels.load(Ordering::Relaxed),
            patterns: self.patterns.load(Ordering::Relaxed),
            shard_channels: self.shard_channels.load(Ordering::Relaxed),
        }
    }

    /// Bytes that its subscriptions take.
    pub fn subscribed_bytes(&self) -> u64 {
        self.subscribed_bytes.load(Ordering::Relaxed)
    }

    /// Says how many channels and patterns the client has subscribed to, and how many bytes that takes.
    pub fn set_subscribed(&self, subscribed: Subscribed, bytes: u64) {
        self.subscribed_bytes.store(bytes, Ordering::Relaxed);
        self.channels.store(subscribed.channels, Ordering::Relaxed);
        self.patterns.store(subscribed.patterns, Ordering::Relaxed);
        self.shard_channels.store(subscribed.shard_channels, Ordering::Relaxed);
    }

    /// Which limits count for what waits.
    pub fn class(&self) -> ClientClass {
        if self.subscribed().all() > 0 { ClientClass::PubSub } else { ClientClass::Normal }
    }

    /// Adds a message in the version that `version` tells; it is asked while nothing else can be added. `unread` is what
    /// waits beside the outbox.
    #[inline]
    pub(crate) fn post(
        &self,
        message: &mut Message<'_>,
        version: impl FnOnce() -> Version,
        unread: u64,
        limits: &OutputLimits,
        now: UnixMillis,
    ) -> Posted {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Posted::Closed;
        }
        let message = message.bytes(version());
        let (is_first, was_over) = (queue.is_empty(), queue.over_since.is_some());
        let waiting = queue.bytes + message.len() + usize::try_from(unread).unwrap_or(usize::MAX / 2);
        let all = self.all.waiting_bytes.fetch_add(message.len() as u64, Ordering::Relaxed) + message.len() as u64;
        queue.push(message);
        queue.posted_at = now;
        let limit = queue.limit_met(waiting, limits, self.class(), now);
        // With nothing in front of it a message is let pass: its receiver is none of those that do not read.
        let limit = limit.or((all > OUTBOXES_BYTES_MAX && !is_first).then_some("all"));
        if let Some(limit) = limit {
            queue.overrun = Some(Overrun { waiting, limit });
            self.empty(&mut queue);
            return Posted::Overrun;
        }
        self.is_filled.store(true, Ordering::Release);
        if is_first || was_over != queue.over_since.is_some() { Posted::Wake } else { Posted::Behind }
    }

    /// Moves what waits to the end of a reply, as long as that is no larger than is written at once. A reply that has no
    /// buffer takes over the small messages as they are; `buffer` gives it one if it needs one for anything else.
    pub fn collect(&self, reply: &mut Reply, buffer: impl FnOnce() -> Vec<u8>) -> Collected {
        let mut queue = self.queue.lock();
        let before = queue.bytes;
        if reply.capacity() == 0 {
            let first = if queue.pieces.is_empty() { std::mem::take(&mut queue.open) } else { buffer() };
            queue.bytes -= first.len();
            reply.replace_buffer(first);
        }
        while reply.len() < OUTPUT_BYTES_FLUSH {
            let Some(piece) = queue.pop() else { break };
            queue.bytes -= piece.bytes().len();
            reply.append(piece.bytes());
        }
        self.all.waiting_bytes.fetch_sub((before - queue.bytes) as u64, Ordering::Relaxed);
        let has_more = !queue.is_empty();
        if !has_more {
            queue.over_since = None;
            if queue.pieces.capacity() > 0 {
                queue.pieces = VecDeque::new();
            }
            self.is_filled.store(false, Ordering::Release);
        }
        Collected { has_more, posted_at: queue.posted_at }
    }

    /// Moves all that waits to the end of a reply, and does something before anything else can be added.
    pub(crate) fn collect_all(&self, reply: &mut Reply, then: impl FnOnce()) {
        let mut queue = self.queue.lock();
        while let Some(piece) = queue.pop() {
            reply.append(piece.bytes());
        }
        queue.pieces = VecDeque::new();
        self.all.waiting_bytes.fetch_sub(queue.bytes as u64, Ordering::Relaxed);
        (queue.bytes, queue.over_since) = (0, None);
        self.is_filled.store(false, Ordering::Release);
        then();
    }

    /// Drops what waits, and takes nothing any more.
    pub(crate) fn close(&self) {
        self.empty(&mut self.queue.lock());
    }

    fn empty(&self, queue: &mut Queue) {
        queue.is_closed = true;
        (queue.pieces, queue.open) = (VecDeque::new(), Vec::new());
        self.all.waiting_bytes.fetch_sub(std::mem::take(&mut queue.bytes) as u64, Ordering::Relaxed);
        self.is_filled.store(false, Ordering::Release);
    }
}

impl Drop for Outbox {
    /// What waited for a client that went while it was posted waits no longer.
    fn drop(&mut self) {
        let bytes = self.queue.get_mut().bytes;
        self.all.waiting_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

impl Queue {
    #[inline]
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.pieces.is_empty()
    }

    #[inline]
    fn push(&mut self, message: &Arc<[u8]>) {
        self.bytes += message.len();
        if message.len() > SHARED_BYTES_MIN {
            self.end_open();
            return self.pieces.push_back(Piece::Shared(Arc::clone(message)));
        }
        if self.open.len() >= OUTBOX_PIECE_BYTES {
            self.end_open();
        }
        // One message often comes alone, and two are rarely all.
        if self.open.is_empty() {
            self.open = message.to_vec();
            return;
        }
        if self.open.capacity() - self.open.len() < message.len() {
            self.open.reserve(OPEN_ROOM_BYTES);
        }
        self.open.extend_from_slice(message);
    }

    /// What comes next is behind a piece of its own.
    fn end_open(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push_back(Piece::Copied(std::mem::take(&mut self.open)));
        }
    }

    /// Takes what waits first.
    fn pop(&mut self) -> Option<Piece> {
        let open = &mut self.open;
        let small = || (!open.is_empty()).then(|| Piece::Copied(std::mem::take(open)));
        self.pieces.pop_front().or_else(small)
    }

    /// Which limit is met with so many bytes waiting.
    #[inline]
    fn limit_met(
        &mut self,
        waiting: usize,
        limits: &OutputLimits,
        class: ClientClass,
        now: UnixMillis,
    ) -> Option<&'static str> {
        let limit = limits.of(class);
        let waiting = waiting as u64;
        let hard = if limit.hard_bytes > 0 { limit.hard_bytes } else { OUTBOX_BYTES_MAX };
        if waiting > hard {
            return Some("hard");
        }
        if limit.soft_bytes == 0 || waiting <= limit.soft_bytes {
            self.over_since = None;
            return None;
        }
        let since = *self.over_since.get_or_insert(now);
        let is_over = u128::from(now.saturating_sub(since)) > limit.soft_time.as_millis();
        is_over.then_some("soft")
    }
}

/// Messages longer than this are shared by their receivers; shorter ones are copied, which takes less time.
const SHARED_BYTES_MIN: usize = 1024;

/// Room for more small messages that the second one makes.
const OPEN_ROOM_BYTES: usize = 2 * SHARED_BYTES_MIN;

#[cfg(test)]
mod tests;
