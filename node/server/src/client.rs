//! One client's state: what commands find and leave on their connection.

use crate::acl::{Acl, User};
use crate::arrivals::Awaited;
use crate::backups::ChunkReply;
use crate::blocking::Waiting;
use crate::clients::{InputBytes, Look, Marks, Presence};
use crate::command::admin::config::SettingsChange;
use crate::command::transaction::{Transaction, Watches};
use crate::config::ClientClass;
use crate::durability::Wish;
use crate::migration::Migration;
use crate::peers::ControlReply;
use crate::pubsub::Subscriptions;
use crate::relocations::Relocating;
use crate::tally::Tally;
use crate::tracking::{TrackingMode, Tracks};
use bitflags::bitflags;
use crdt::{Stamp, UnixMillis};
use keyspace::Database;
use resp::{Reply, Version};
use std::cell::Cell;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a connection keeps from one command to the next.
#[derive(Debug)]
pub struct ClientState {
    /// The selected database.
    pub database: Database,
    /// Whether it has authenticated, or need not.
    pub authenticated: bool,
    /// Who it is.
    pub user: Arc<User>,
    /// The transaction it is in.
    pub transaction: Option<Box<Transaction>>,
    /// The keys it watches.
    pub watches: Watches,
    /// What it has subscribed to.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// That it caches what it reads.
    pub tracks: Option<Box<Tracks>>,
    /// What sets it apart from nearly all clients.
    pub special: Special,
    /// Which replies it wants.
    pub replies: Replies,
    /// What it is sent in answer to its command though it wants no replies.
    aloud: Option<Box<Reply>>,
    /// Close the connection when the replies so far are written.
    pub closing: bool,
    /// It has published something that somebody hears, since it was last answered.
    pub is_heard: bool,
    /// An order to another thread whose answer is the reply.
    pub order: Option<Order>,
    /// It waits for a key to hold something for it.
    pub waiting: Option<Waiting>,
    /// Its transaction is being executed: nothing in it waits.
    pub is_in_exec: bool,
    /// How many commands the transaction has that is being executed, and the bytes that they take.
    pub executed: Option<(usize, usize)>,
    /// What `TIME` has answered in the transaction or script that runs, in microseconds: it is one step.
    pub step_us: Option<u64>,
    /// What it waits for before its last command is answered.
    pub wish: Option<Wish>,
    /// It does not want the answer that it waits for.
    pub is_answer_unwanted: bool,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// The last stamp that its commands took for a change, without those of the pipeline that runs.
    pub written: Stamp,
    /// The last stamp of its worker before the pipeline that runs.
    pub pipeline_began: Stamp,
    /// What those who see all commands were shown of its command.
    pub showing: Showing,
    /// The ordinal of the last command.
    pub last_command: Option<usize>,
    /// Its own chance, from the node's seed and its number.
    pub random: Random,
    /// How others see it.
    pub presence: Arc<Presence>,
    /// Where its worker counts.
    pub tally: Arc<Tally>,
}

bitflags! {
    /// What sets a client apart from nearly all, so that these are asked one question and no more.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Special: u8 {
        /// It has subscribed to something.
        const SUBSCRIBED = 1 << 0;
        /// It caches what it reads.
        const TRACKS = 1 << 1;
        /// It does not want to be told of its own changes.
        const QUIET = 1 << 2;
        /// It is shown all commands, and asks nothing of keys.
        const MONITOR = 1 << 3;
    }
}

/// How many of the commands that a request executes were shown to those who see all commands. A request may have to begin
/// again before it has changed anything; what it had shown by then is not shown twice.
#[derive(Debug, Default)]
pub struct Showing {
    shown: Cell<u32>,
    /// How many were shown when it began before.
    before: Cell<u32>,
}

impl Showing {
    /// A request begins, perhaps once more.
    pub fn begin(&self) {
        self.shown.set(0);
    }

    /// One more command is executed. False if it was shown when the request began before.
    pub fn is_new(&self) -> bool {
        self.shown.set(self.shown.get().saturating_add(1));
        self.shown.get() > self.before.get()
    }

    /// How many there were by now.
    pub fn count(&self) -> u32 {
        self.shown.get()
    }

    /// The request begins again, with so many commands done.
    pub fn again_from(&self, count: u32) {
        self.before.set(self.before.get().max(self.shown.get()));
        self.shown.set(count);
    }

    /// The request has ended.
    #[inline]
    pub fn end(&self) {
        if self.shown.get() | self.before.get() != 0 {
            self.shown.set(0);
            self.before.set(0);
        }
    }
}

/// An order that another thread answers.
#[derive(Debug)]
pub enum Order {
    /// An operator's, with a text for an answer.
    Text(oneshot::Receiver<ControlReply>),
    /// Something that is to arrive somewhere.
    Arrival(Box<Awaited>),
    /// A large collection that is moved.
    Relocation(Relocating),
    /// Keys that go to another server.
    Migration(Box<Migration>),
    /// Settings that wait for the resolver of names.
    Settings(Box<SettingsChange>),
    /// For a piece of a backup.
    Chunk(oneshot::Receiver<ChunkReply>),
}

/// Which replies a client wants, as `CLIENT REPLY` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// Not that of the command that is being executed, and then not of the next.
    SkipNext,
    /// Not that of the next command.
    Skip,
}

impl ClientState {
    /// A client that has just connected.
    pub fn new(presence: Arc<Presence>, tally: Arc<Tally>, seed: u64, acl: &Acl) -> Self {
        Self {
            database: Database(0),
            authenticated: !acl.requires_password(),
            user: Arc::clone(acl.default_user()),
            transaction: None,
            watches: Watches::default(),
            subscriptions: None,
            tracks: None,
            special: Special::empty(),
            replies: Replies::On,
            aloud: None,
            closing: false,
            is_heard: false,
            order: None,
            wish: None,
            is_answer_unwanted: false,
            waiting: None,
            is_in_exec: false,
            executed: None,
            step_us: None,
            no_evict: false,
            no_touch: false,
            written: Stamp::ZERO,
            pipeline_began: Stamp::ZERO,
            showing: Showing::default(),
            last_command: None,
            random: Random::new(seed ^ presence.id.rotate_left(32)),
            presence,
            tally,
        }
    }

    /// Whether it may do everything, so that nobody needs to look what it asks for.
    #[inline]
    pub fn is_trusted(&self) -> bool {
        self.authenticated && self.user.is_unrestricted()
    }

    /// Makes it this user's.
    pub fn become_user(&mut self, user: Arc<User>) {
        self.presence.set_user(Arc::clone(&user));
        (self.user, self.authenticated) = (user, true);
    }

    /// Makes it nobody's again, as it began.
    pub fn become_stranger(&mut self, acl: &Acl) {
        self.become_user(Arc::clone(acl.default_user()));
        self.authenticated = !acl.requires_password();
    }

    /// Whether the answer to its last command comes later.
    pub fn awaits_answer(&self) -> bool {
        self.waiting.is_some() || self.order.is_some() || self.wish.is_some()
    }

    /// Where that is written which it is sent whatever replies it wants: messages, and what it has subscribed to. It is the
    /// reply, unless that is going to be taken back.
    pub fn aloud<'r>(&'r mut self, reply: &'r mut Reply) -> &'r mut Reply {
        if self.replies == Replies::On {
            return reply;
        }
        let version = reply.version();
        let aloud = self.aloud.get_or_insert_with(|| Box::new(Reply::new(version)));
        aloud.set_version(version);
        aloud
    }

    /// Adds to a reply what was written in its place.
    pub fn say_aloud(&mut self, reply: &mut Reply) {
        if let Some(aloud) = self.aloud.take() {
            reply.append(aloud.bytes());
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.presence.id
    }

    /// Its number, if it caches what it reads and does not want to be told of its own changes.
    pub fn quiet_for(&self) -> Option<u64> {
        self.special.contains(Special::QUIET).then(|| self.id())
    }

    /// Notes what sets it apart now.
    pub fn note_special(&mut self) {
        self.special.set(Special::SUBSCRIBED, self.subscriptions.is_some());
        self.special.set(Special::TRACKS, self.tracks.is_some());
        let is_quiet = self.tracks.as_ref().is_some_and(|tracks| tracks.mode.contains(TrackingMode::NO_LOOP));
        self.special.set(Special::QUIET, is_quiet);
    }

    /// Which limits count for what waits for it.
    pub fn class(&self) -> ClientClass {
        self.presence.class()
    }

    /// How it looks to others now.
    pub fn look(&self, now: UnixMillis, version: Version, input: InputBytes) -> Look {
        let mut marks = Marks::empty();
        let queued = self.transaction.as_ref().map(|transaction| (transaction.len(), transaction.allocated_bytes()));
        // While it is executed it is the client's still, as those see who ask in it.
        let queued = queued.or(self.executed);
        marks.set(Marks::TRANSACTION, queued.is_some());
        marks.set(Marks::WATCHING, !self.watches.is_empty());
        marks.set(Marks::SUBSCRIBED, self.subscriptions.is_some());
        if let Some(tracks) = &self.tracks {
            marks.set(Marks::TRACKING, true);
            marks.set(Marks::BROADCAST, tracks.mode.contains(TrackingMode::BROADCAST));
            marks.set(Marks::BROKEN_REDIRECT, tracks.redirect.is_some() && tracks.room().is_broken(self.presence.id));
        }
        let awaited = self.waiting.as_ref().map_or(0, |waiting| waiting.waiter.bytes());
        marks.set(Marks::BLOCKED, self.waiting.is_some());
        marks.set(Marks::CLOSING, self.closing);
        marks.set(Marks::NO_EVICT, self.no_evict);
        marks.set(Marks::NO_TOUCH, self.no_touch);
        Look {
            last_active: now,
            last_command: self.last_command,
            database: self.database.0,
            version: if version == Version::Resp3 { 3 } else { 2 },
            marks,
            queued: queued.map_or(-1, |(commands, _)| commands as i64),
            queued_bytes: queued.map_or(0, |(_, bytes)| bytes as u64),
            kept_bytes: (self.watches.bytes() + awaited) as u64,
            input,
        }
    }
}

/// A sequence of random words that depends on nothing but its seed (splitmix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next word.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}
