//! What commands do with the keys that they name: read what is in them, or change it, and how.
//!
//! A row says by its flags whether a command reads or writes, and that is what it does with each of its keys, unless it stands
//! in the list here: many write without telling what was there, look only at whether something is there, or read one key
//! and write another. Access rules and what clients are told of commands are made of it.

use bitflags::bitflags;

bitflags! {
    /// What is done with a key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Use: u8 {
        /// It is only read.
        const READ_ONLY = 1 << 0;
        /// It is read and changed.
        const READ_WRITE = 1 << 1;
        /// It is replaced.
        const OVERWRITE = 1 << 2;
        /// It is removed.
        const REMOVE = 1 << 3;
        /// What is in it is told, copied or decides what is done.
        const ACCESS = 1 << 4;
        /// What is in it is changed.
        const UPDATE = 1 << 5;
        /// Something is added to what is in it.
        const INSERT = 1 << 6;
        /// Something of what is in it is removed.
        const DELETE = 1 << 7;
    }
}

impl Use {
    /// Everything that may be done with a key.
    pub const ANY: Self = Self::READ_WRITE.union(Self::ACCESS).union(Self::UPDATE);

    /// Whether what is in the key becomes known.
    pub const fn reads(self) -> bool {
        self.contains(Self::ACCESS)
    }

    /// Whether the key changes.
    pub const fn writes(self) -> bool {
        self.intersects(Self::UPDATE.union(Self::INSERT).union(Self::DELETE))
    }

    /// The names that Redis has for it, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 8] = ["RO", "RW", "OW", "RM", "access", "update", "insert", "delete"];
        NAMES.into_iter().enumerate().filter(move |(bit, _)| self.bits() >> bit & 1 == 1).map(|(_, name)| name)
    }
}

/// What a command does with its keys: the first of these with the first key and so on, the last one with all that follow.
#[derive(Clone, Copy, Debug)]
pub enum Uses {
    /// Always the same.
    Fixed(&'static [Use]),
    /// It depends on the arguments. Of all requests together it is the first of these.
    ByArguments(&'static [Use], fn(&[&[u8]]) -> &'static [Use]),
}

impl Uses {
    /// Those of the command with this full name.
    pub fn of_command(full_name: &str, writes: bool) -> Self {
        match full_name {
            "set" => return Self::ByArguments(CHANGED, of_set),
            "bitfield" => return Self::ByArguments(CHANGED, of_bitfield),
            _ => {}
        }
        let listed = LIST.iter().find(|(_, names)| names.contains(&full_name));
        Self::Fixed(listed.map_or(if writes { CHANGED } else { TOLD }, |(uses, _)| uses))
    }

    /// Those of a request.
    pub fn of(self, args: &[&[u8]]) -> &'static [Use] {
        match self {
            Self::Fixed(uses) => uses,
            Self::ByArguments(_, of_arguments) => of_arguments(args),
        }
    }

    /// Whether they depend on the arguments.
    pub const fn vary(self) -> bool {
        matches!(self, Self::ByArguments(..))
    }

    /// Those of all requests together.
    pub fn all(self) -> &'static [Use] {
        match self {
            Self::Fixed(uses) | Self::ByArguments(uses, _) => uses,
        }
    }
}

/// `SET` without `GET` does not tell what was there.
fn of_set(args: &[&[u8]]) -> &'static [Use] {
    let tells = args.iter().skip(3).any(|option| option.eq_ignore_ascii_case(b"get"));
    if tells { CHANGED } else { REPLACED }
}

/// `BITFIELD` with nothing but `GET` reads.
fn of_bitfield(args: &[&[u8]]) -> &'static [Use] {
    let changes =
        args.iter().skip(2).any(|word| word.eq_ignore_ascii_case(b"set") || word.eq_ignore_ascii_case(b"incrby"));
    if changes { CHANGED } else { TOLD }
}

const CHANGED: &[Use] = &[Use::ANY];
const TOLD: &[Use] = &[Use::READ_ONLY.union(Use::ACCESS)];
const LOOKED_AT: &[Use] = &[Use::READ_ONLY];
const REPLACED: &[Use] = &[Use::OVERWRITE.union(Use::UPDATE)];
const UPDATED: &[Use] = &[Use::READ_WRITE.union(Use::UPDATE)];
const INSERTED: &[Use] = &[Use::READ_WRITE.union(Use::INSERT)];
const DELETED_FROM: &[Use] = &[Use::READ_WRITE.union(Use::DELETE)];
const TAKEN_FROM: Use = Use::READ_WRITE.union(Use::ACCESS).union(Use::DELETE);
const MOVED: &[Use] = &[TAKEN_FROM, Use::READ_WRITE.union(Use::INSERT)];
const COMPUTED: &[Use] = &[Use::OVERWRITE.union(Use::UPDATE), Use::READ_ONLY.union(Use::ACCESS)];
const STORED: &[Use] = &[Use::READ_ONLY.union(Use::ACCESS), Use::OVERWRITE.union(Use::UPDATE)];

/// What Redis says about its commands. A test compares it with a Redis.
const LIST: &[(&[Use], &[&str])] = &[
    (
        LOOKED_AT,
        &[
            "exists",
            "hexists",
            "hlen",
            "hstrlen",
            "llen",
            "memory|usage",
            "object|encoding",
            "object|freq",
            "object|idletime",
            "object|refcount",
            "scard",
            "sismember",
            "strlen",
            "touch",
            "type",
            "watch",
            "xlen",
            "zcard",
        ],
    ),
    (REPLACED, &["mset", "psetex", "restore", "restore-asking", "setex"]),
    (&[Use::OVERWRITE.union(Use::INSERT)], &["msetnx", "setnx"]),
    (
        UPDATED,
        &[
            "expire",
            "expireat",
            "geoadd",
            "hmset",
            "hset",
            "lset",
            "persist",
            "pexpire",
            "pexpireat",
            "setrange",
            "xack",
            "xadd",
            "xclaim",
            "xgroup|setid",
            "xsetid",
            "zadd",
        ],
    ),
    (
        INSERTED,
        &[
            "append",
            "hsetnx",
            "linsert",
            "lpush",
            "lpushx",
            "pfadd",
            "rpush",
            "rpushx",
            "sadd",
            "xgroup|create",
            "xgroup|createconsumer",
        ],
    ),
    (
        DELETED_FROM,
        &[
            "hdel",
            "lrem",
            "ltrim",
            "srem",
            "xautoclaim",
            "xdel",
            "xgroup|delconsumer",
            "xgroup|destroy",
            "xtrim",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
        ],
    ),
    (
        &[TAKEN_FROM],
        &[
            "blmpop", "blpop", "brpop", "bzmpop", "bzpopmax", "bzpopmin", "getdel", "lmpop", "lpop", "migrate", "rpop",
            "spop", "zmpop", "zpopmax", "zpopmin",
        ],
    ),
    (&[Use::REMOVE.union(Use::DELETE)], &["del", "unlink"]),
    (MOVED, &["blmove", "brpoplpush", "lmove", "rpoplpush", "smove"]),
    (&[TAKEN_FROM, Use::OVERWRITE.union(Use::UPDATE)], &["rename"]),
    (&[TAKEN_FROM, Use::OVERWRITE.union(Use::INSERT)], &["renamenx"]),
    (
        COMPUTED,
        &[
            "bitop",
            "geosearchstore",
            "sdiffstore",
            "sunionstore",
            "zdiffstore",
            "zinterstore",
            "zrangestore",
            "zunionstore",
        ],
    ),
    (&[Use::READ_WRITE.union(Use::UPDATE), Use::READ_ONLY.union(Use::ACCESS)], &["sinterstore"]),
    (STORED, &["copy", "georadius", "georadiusbymember", "sort"]),
    (&[Use::READ_WRITE.union(Use::ACCESS).union(Use::INSERT), Use::READ_ONLY.union(Use::ACCESS)], &["pfmerge"]),
    (&[Use::READ_WRITE.union(Use::ACCESS)], &["pfcount", "pfdebug"]),
    (TOLD, &["xreadgroup"]),
];
