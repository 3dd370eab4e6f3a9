//! The categories of commands that access rules name: those of Redis 7, and one for Pelago's own commands.
//!
//! They follow from the rows of the command table; no list of commands is kept here.

use crate::command::{Command, Flags, Group};
use bitflags::bitflags;

bitflags! {
    /// Categories of a command.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Categories: u32 {
        /// Works on keys of any type.
        const KEYSPACE = 1 << 0;
        /// Reads keys.
        const READ = 1 << 1;
        /// Changes keys.
        const WRITE = 1 << 2;
        /// Sets.
        const SET = 1 << 3;
        /// Sorted sets.
        const SORTED_SET = 1 << 4;
        /// Lists.
        const LIST = 1 << 5;
        /// Hashes.
        const HASH = 1 << 6;
        /// Strings.
        const STRING = 1 << 7;
        /// Bits of strings.
        const BITMAP = 1 << 8;
        /// Estimated numbers of elements.
        const HYPERLOGLOG = 1 << 9;
        /// Places on the earth.
        const GEO = 1 << 10;
        /// Streams.
        const STREAM = 1 << 11;
        /// Publishing and subscribing.
        const PUBSUB = 1 << 12;
        /// For operators.
        const ADMIN = 1 << 13;
        /// Constant or logarithmic time.
        const FAST = 1 << 14;
        /// Every other.
        const SLOW = 1 << 15;
        /// May wait for other clients.
        const BLOCKING = 1 << 16;
        /// May have surprising effects or costs.
        const DANGEROUS = 1 << 17;
        /// About the connection.
        const CONNECTION = 1 << 18;
        /// Transactions.
        const TRANSACTION = 1 << 19;
        /// Scripts and functions.
        const SCRIPTING = 1 << 20;
        /// Pelago's own commands.
        const PELAGO = 1 << 21;
    }
}

/// Their names, in the order in which Redis lists them; ours is the last.
pub const NAMES: &[(&str, Categories)] = &[
    ("keyspace", Categories::KEYSPACE),
    ("read", Categories::READ),
    ("write", Categories::WRITE),
    ("set", Categories::SET),
    ("sortedset", Categories::SORTED_SET),
    ("list", Categories::LIST),
    ("hash", Categories::HASH),
    ("string", Categories::STRING),
    ("bitmap", Categories::BITMAP),
    ("hyperloglog", Categories::HYPERLOGLOG),
    ("geo", Categories::GEO),
    ("stream", Categories::STREAM),
    ("pubsub", Categories::PUBSUB),
    ("admin", Categories::ADMIN),
    ("fast", Categories::FAST),
    ("slow", Categories::SLOW),
    ("blocking", Categories::BLOCKING),
    ("dangerous", Categories::DANGEROUS),
    ("connection", Categories::CONNECTION),
    ("transaction", Categories::TRANSACTION),
    ("scripting", Categories::SCRIPTING),
    ("pelago", Categories::PELAGO),
];

/// What a flag of a row says about categories.
const OF_FLAGS: &[(Flags, Categories)] = &[
    (Flags::KEYSPACE, Categories::KEYSPACE),
    (Flags::READONLY, Categories::READ),
    (Flags::WRITE, Categories::WRITE),
    (Flags::PUBSUB, Categories::PUBSUB),
    (Flags::ADMIN, Categories::ADMIN.union(Categories::DANGEROUS)),
    (Flags::DANGEROUS, Categories::DANGEROUS),
    (Flags::BLOCKING, Categories::BLOCKING),
];

impl Categories {
    /// The category called `name`, in any case; `all` is none of them.
    pub fn named(name: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, category)| *category)
    }

    /// The names of those that are set, as `ACL CAT` lists them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(_, category)| self.contains(*category)).map(|(name, _)| *name)
    }

    /// Those of a row. `full_name` is its name with that of its container.
    pub fn of(command: &Command, full_name: &str) -> Self {
        let flags = command.flags;
        let mut categories = if flags.contains(Flags::FAST) { Self::FAST } else { Self::SLOW };
        for (flag, implied) in OF_FLAGS {
            if flags.contains(*flag) {
                categories |= *implied;
            }
        }
        // What only holds subcommands does nothing itself that a family could allow.
        let is_container = !command.subcommands.is_empty() && flags.is_empty();
        if !is_container {
            categories |= Self::of_family(command, full_name);
        }
        // Whether a script reads or writes, its calls decide.
        if command.group == Group::Scripting {
            categories.remove(Self::READ);
        }
        categories
    }

    /// What its family says, where Redis does not count it elsewhere.
    fn of_family(command: &Command, full_name: &str) -> Self {
        match full_name.split('|').next().unwrap_or_default() {
            "command" | "wait" | "waitaof" | "asking" | "readonly" | "readwrite" => Self::CONNECTION,
            "sort" | "sort_ro" => Self::SET | Self::SORTED_SET | Self::LIST,
            "lastsave" | "role" => Self::ADMIN | Self::DANGEROUS,
            _ => command.group.category().and_then(|name| Self::named(&name.as_bytes()[1..])).unwrap_or(Self::empty()),
        }
    }
}
