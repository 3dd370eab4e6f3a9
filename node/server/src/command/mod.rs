//! The command table: what there is to call, and what a handler is given.
//!
//! One file a family, each with its rows first and their handlers beneath. Everything that is said about commands,
//! here or to clients, is derived from the rows: dispatch, `COMMAND`, key extraction, metric labels, documentation.

pub mod error;
pub mod flags;
pub mod key_searches;
pub mod key_uses;
pub mod keys;
pub mod table;

pub mod acl;
pub mod admin;
pub mod arrival;
pub mod bits;
pub mod cluster;
pub mod connection;
pub mod dump;
pub mod function;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod introspection;
pub mod list;
pub mod migrate;
pub mod pelago;
pub mod pubsub;
pub mod scripting;
pub mod secrets;
pub mod sentinel;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub mod transaction;

mod client_calls;
mod client_tracking;
mod deadline;
pub mod document;
pub mod glob;
mod members;
mod number;
mod pairs;
mod random;
mod scan;
pub mod usage;

pub use error::CommandError;
pub use flags::Flags;
pub use keys::Keys;

use crate::client::ClientState;
use crate::node::Node;
use crate::scripting::stage::Stage;
use crdt::{Stamp, UnixMillis};
use keyspace::{Access, Database};
use resp::Reply;

/// What runs a command. `args[0]` is its name as the client wrote it. It never sends, blocks or reads a clock;
/// `TIME` alone asks what the wall clock shows now.
pub type Handler = fn(&mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError>;

/// One row of the table.
#[derive(Debug)]
pub struct Command {
    /// The name in lower case; of a subcommand only its own word.
    pub name: &'static str,
    /// How many arguments, the name included (for a subcommand both names); negative: at least as many.
    pub arity: i32,
    /// What dispatch and clients need to know about it.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// What runs it. A command with subcommands runs this one only if it is called without any.
    pub handler: Handler,
    /// The Redis version that has it first (or Pelago's, for its own).
    pub since: &'static str,
    /// What it does, in one sentence; Redis' own where it has the command.
    pub summary: &'static str,
    /// The family it belongs to.
    pub group: Group,
    /// Its cost, as in `O(1)`.
    pub complexity: &'static str,
    /// What concurrent calls in two regions converge to.
    pub merge: Merge,
    /// Its subcommands, if its first argument names one.
    pub subcommands: &'static [Command],
}

/// What calls in two regions, neither of which has seen the other, converge to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It only reads.
    Reads,
    /// It concerns this connection or this node and is not replicated. The sentence says what stays here.
    Local(&'static str),
    /// It writes. The sentence says what all regions answer once all have exchanged everything.
    Writes(&'static str),
}

impl Merge {
    /// The sentence for the documentation.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Reads => "Reads only what this region has applied",
            Self::Local(sentence) | Self::Writes(sentence) => sentence,
        }
    }
}

/// The family of a command, as `COMMAND DOCS` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys of any type.
    Generic,
    /// Strings and counters.
    String,
    /// Bits of strings.
    Bitmap,
    /// Hashes.
    Hash,
    /// Sets.
    Set,
    /// Lists.
    List,
    /// Sorted sets.
    SortedSet,
    /// Places on the earth, in sorted sets.
    Geo,
    /// Registers from which the number of elements is estimated, in strings.
    HyperLogLog,
    /// Streams.
    Stream,
    /// The connection itself.
    Connection,
    /// What divides keys among nodes, which is not offered.
    Cluster,
    /// The node.
    Server,
    /// `MULTI` and what belongs to it.
    Transactions,
    /// Publishing and subscribing.
    PubSub,
    /// What Sentinel-aware clients ask.
    Sentinel,
    /// Scripts and functions.
    Scripting,
    /// Pelago's own commands.
    Pelago,
}

impl Group {
    /// The name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::List => "list",
            Self::SortedSet => "sorted-set",
            Self::Geo => "geo",
            Self::HyperLogLog => "hyperloglog",
            Self::Stream => "stream",
            Self::Connection => "connection",
            Self::Cluster => "cluster",
            Self::Server => "server",
            Self::Transactions => "transactions",
            Self::PubSub => "pubsub",
            Self::Sentinel => "sentinel",
            Self::Scripting => "scripting",
            Self::Pelago => "pelago",
        }
    }

    /// The access category all commands of the family are in, if it has one.
    pub const fn category(self) -> Option<&'static str> {
        match self {
            Self::Generic => Some("@keyspace"),
            Self::String => Some("@string"),
            Self::Bitmap => Some("@bitmap"),
            Self::Hash => Some("@hash"),
            Self::Set => Some("@set"),
            Self::List => Some("@list"),
            Self::SortedSet => Some("@sortedset"),
            Self::Geo => Some("@geo"),
            Self::HyperLogLog => Some("@hyperloglog"),
            Self::Stream => Some("@stream"),
            Self::Connection => Some("@connection"),
            Self::Transactions => Some("@transaction"),
            Self::Cluster | Self::Server | Self::PubSub | Self::Sentinel => None,
            Self::Scripting => Some("@scripting"),
            Self::Pelago => Some("@pelago"),
        }
    }
}

/// What a handler is given: the locked keys, the reply, its client and the node.
pub struct Call<'c, 'a> {
    /// The keyspace, with the slots of the command's keys locked.
    pub store: &'c mut Access<'a>,
    /// Where the answer goes.
    pub reply: &'c mut Reply,
    /// Who is asking.
    pub client: &'c mut ClientState,
    /// What all connections share.
    pub node: &'c Node,
    /// Where it runs, if it may run scripts.
    pub stage: Option<&'c Stage<'c>>,
}

impl Call<'_, '_> {
    /// The database the client has selected.
    #[inline]
    pub fn db(&self) -> Database {
        self.client.database
    }

    /// A random word, the same in every run with the same seed.
    pub fn random(&mut self) -> u64 {
        self.client.random.draw()
    }

    /// The last change of the client, or a later one of its worker if the client may have changed something in the
    /// pipeline that runs.
    pub fn written(&self) -> Stamp {
        let last = self.store.last_stamp();
        if last > self.client.pipeline_began { last } else { self.client.written }
    }

    /// The time, read once for all commands of one read from the connection.
    #[inline]
    pub fn now(&self) -> UnixMillis {
        self.store.now()
    }
}

/// All rows, family by family.
pub const FAMILIES: &[&[Command]] = &[
    connection::COMMANDS,
    introspection::COMMANDS,
    transaction::COMMANDS,
    string::COMMANDS,
    string::counter::COMMANDS,
    string::lcs::COMMANDS,
    bits::COMMANDS,
    bits::field::COMMANDS,
    hyperloglog::COMMANDS,
    generic::COMMANDS,
    arrival::COMMANDS,
    cluster::COMMANDS,
    sentinel::COMMANDS,
    generic::expiry::COMMANDS,
    generic::object::COMMANDS,
    generic::sort::COMMANDS,
    dump::COMMANDS,
    migrate::COMMANDS,
    hash::COMMANDS,
    hash::expiry::COMMANDS,
    set::COMMANDS,
    set::algebra::COMMANDS,
    list::COMMANDS,
    list::moving::COMMANDS,
    sorted_set::COMMANDS,
    sorted_set::range::COMMANDS,
    sorted_set::algebra::COMMANDS,
    sorted_set::waiting::COMMANDS,
    geo::COMMANDS,
    geo::search::COMMANDS,
    stream::COMMANDS,
    stream::range::COMMANDS,
    stream::read::COMMANDS,
    stream::group::COMMANDS,
    stream::group_read::COMMANDS,
    stream::group_info::COMMANDS,
    stream::pending::COMMANDS,
    pubsub::COMMANDS,
    acl::COMMANDS,
    scripting::COMMANDS,
    function::COMMANDS,
    admin::COMMANDS,
    pelago::COMMANDS,
];
