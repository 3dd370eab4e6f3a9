//! What dispatch and clients need to know about a command, in bits.

use bitflags::bitflags;

bitflags! {
    /// Properties of a command. Combine them with `Flags::WRITE.union(Flags::FAST)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// It may change keys.
        const WRITE = 1 << 0;
        /// It reads keys and never changes any.
        const READONLY = 1 << 1;
        /// It may need more memory, so it is refused when there is none.
        const DENY_OOM = 1 << 2;
        /// For operators.
        const ADMIN = 1 << 3;
        /// About publishing and subscribing.
        const PUBSUB = 1 << 4;
        /// Not from scripts.
        const NO_SCRIPT = 1 << 5;
        /// It may wait for other clients.
        const BLOCKING = 1 << 6;
        /// Allowed while the node fills from its peers.
        const LOADING = 1 << 7;
        /// Allowed while the node's state is known to be behind.
        const STALE = 1 << 8;
        /// Constant time, or logarithmic.
        const FAST = 1 << 9;
        /// Allowed before the client has authenticated.
        const NO_AUTH = 1 << 10;
        /// Not inside a transaction.
        const NO_MULTI = 1 << 11;
        /// Inside a transaction it is executed and not queued.
        const NEVER_QUEUED = 1 << 12;
        /// Not shown to `MONITOR`.
        const SKIP_MONITOR = 1 << 13;
        /// Not in the slow log, because it is expected to take long or carries secrets.
        const SKIP_SLOWLOG = 1 << 14;
        /// Allowed while a script runs for too long.
        const ALLOW_BUSY = 1 << 15;
        /// All its keys are optional.
        const NO_MANDATORY_KEYS = 1 << 16;
        /// It may have surprising effects or costs: category `@dangerous`.
        const DANGEROUS = 1 << 17;
        /// It names no key but touches whole databases: in a transaction every slot is locked for it.
        const WHOLE_DATABASE = 1 << 18;
        /// It works on keys of any type: category `@keyspace` though its family is another.
        const KEYSPACE = 1 << 19;
        /// Its cost grows with what it finds, though Redis calls it fast: it is always timed.
        const GROWS = 1 << 20;
        /// Also for clients of the older protocol that have subscribed to something.
        const SUBSCRIBER = 1 << 21;
        /// It runs scripts, or a transaction does that it ends.
        const SCRIPT = 1 << 22;
        /// It writes nothing here that is known before, and waits with those that write while these are paused. Redis has
        /// this flag too, and names it to nobody.
        const MAY_REPLICATE = 1 << 23;
        /// Refused to everybody, whatever it is told, as by a Redis whose settings do not allow it: before anything else, so
        /// that it dooms the transaction that it stands in. Redis has this flag too, and names it to nobody.
        const PROTECTED = 1 << 24;
    }
}

/// The names of `COMMAND INFO`, in the order Redis gives them. Flags of ours that Redis lacks have no name there.
const NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENY_OOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NO_SCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

impl Flags {
    /// The names of the flags that are set, as `COMMAND INFO` gives them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| *name)
    }
}
