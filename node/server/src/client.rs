//! One client's state: what commands find and leave on their connection.

use crate::backups::ChunkReply;
use crate::blocking::Waiting;
use crate::clients::{Look, Marks, Presence};
use crate::command::transaction::{Transaction, Watches};
use crate::config::ClientClass;
use crate::durability::Wish;
use crate::peers::ControlReply;
use crate::relocations::Relocating;
use crate::tally::Tally;
use crdt::UnixMillis;
use keyspace::Database;
use resp::Version;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a connection keeps from one command to the next.
#[derive(Debug)]
pub struct ClientState {
    /// The selected database.
    pub database: Database,
    /// Whether it has authenticated, or need not.
    pub authenticated: bool,
    /// The transaction it is in.
    pub transaction: Option<Box<Transaction>>,
    /// The keys it watches.
    pub watches: Watches,
    /// Which replies it wants.
    pub replies: Replies,
    /// Close the connection when the replies so far are written.
    pub closing: bool,
    /// An order to another thread whose answer is the reply.
    pub order: Option<Order>,
    /// It waits for a key to hold something for it.
    pub waiting: Option<Waiting>,
    /// Its transaction is being executed: nothing in it waits.
    pub is_in_exec: bool,
    /// What it waits for before its last command is answered.
    pub wish: Option<Wish>,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// The ordinal of the last command.
    pub last_command: Option<usize>,
    /// Its own chance, from the node's seed and its number.
    pub random: Random,
    /// How others see it.
    pub presence: Arc<Presence>,
    /// Where its worker counts.
    pub tally: Arc<Tally>,
}

/// An order that another thread answers.
#[derive(Debug)]
pub enum Order {
    /// An operator's, with a text for an answer.
    Text(oneshot::Receiver<ControlReply>),
    /// A large collection that is moved.
    Relocation(Relocating),
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
    pub fn new(presence: Arc<Presence>, tally: Arc<Tally>, seed: u64, authenticated: bool) -> Self {
        Self {
            database: Database(0),
            authenticated,
            transaction: None,
            watches: Watches::default(),
            replies: Replies::On,
            closing: false,
            order: None,
            wish: None,
            waiting: None,
            is_in_exec: false,
            no_evict: false,
            no_touch: false,
            last_command: None,
            random: Random::new(seed ^ presence.id.rotate_left(32)),
            presence,
            tally,
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.presence.id
    }

    /// Which limits count for what waits for it.
    pub fn class(&self) -> ClientClass {
        ClientClass::Normal
    }

    /// How it looks to others now.
    pub fn look(&self, now: UnixMillis, version: Version, buffered: usize) -> Look {
        let mut marks = Marks::empty();
        marks.set(Marks::TRANSACTION, self.transaction.is_some());
        marks.set(Marks::WATCHING, !self.watches.is_empty());
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
            queued: self.transaction.as_ref().map_or(-1, |transaction| transaction.len() as i64),
            buffered: buffered as u64,
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
