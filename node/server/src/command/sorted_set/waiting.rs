//! Waits for the member at an end of a sorted set: `BZPOPMIN` and its like.

use super::{PopRequest, Popped};
use crate::blocking::{self, Wanted};
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use keyspace::{Access, Database, Kind};
use resp::Reply;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "bzpopmin",
        arity: -3,
        flags: Flags::WRITE.union(Flags::NO_SCRIPT).union(Flags::BLOCKING).union(Flags::FAST),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        handler: bzpopmin,
        since: "5.0.0",
        summary: "Remove and return the member with the lowest score from one or more sorted sets, or block until one is available",
        group: Group::SortedSet,
        complexity: "O(log(N)) with N being the number of elements in the sorted set",
        merge: Merge::Writes(
            "As ZPOPMIN; who is served is decided by this region alone, and members that other regions add are served when they arrive",
        ),
        subcommands: &[],
    },
    Command {
        name: "bzpopmax",
        arity: -3,
        flags: Flags::WRITE.union(Flags::NO_SCRIPT).union(Flags::BLOCKING).union(Flags::FAST),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        handler: bzpopmax,
        since: "5.0.0",
        summary: "Remove and return the member with the highest score from one or more sorted sets, or block until one is available",
        group: Group::SortedSet,
        complexity: "O(log(N)) with N being the number of elements in the sorted set",
        merge: Merge::Writes(
            "As ZPOPMAX; who is served is decided by this region alone, and members that other regions add are served when they arrive",
        ),
        subcommands: &[],
    },
    Command {
        name: "bzmpop",
        arity: -5,
        flags: Flags::WRITE.union(Flags::BLOCKING),
        keys: Keys::Counted { count: 2, also: None },
        handler: bzmpop,
        since: "7.0.0",
        summary: "Remove and return members with scores in a sorted set or block until one is available",
        group: Group::SortedSet,
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped",
        merge: Merge::Writes(
            "As ZMPOP; who is served is decided by this region alone, and members that other regions add are served when they arrive",
        ),
        subcommands: &[],
    },
];

/// What is popped from the first key that has anything.
#[derive(Clone, Copy, Debug)]
struct Pop {
    highest: bool,
    /// How many members, answered as pairs; nothing is one alone.
    count: Option<usize>,
}

impl Pop {
    /// Pops from a key and answers its name and what was popped; false if there is nothing.
    fn run(self, store: &mut Access<'_>, db: Database, key: &[u8], reply: &mut Reply) -> Result<bool, CommandError> {
        let popped = Popped::take(store, db, key, self.highest, self.count.unwrap_or(1))?;
        if popped.is_empty() {
            return Ok(false);
        }
        reply.array(if self.count.is_some() { 2 } else { 3 });
        reply.bulk(key);
        match self.count {
            Some(_) => popped.write_pairs(reply),
            None => popped.each(|member, score| {
                reply.bulk(member);
                reply.double(score);
            }),
        }
        Ok(true)
    }

    fn run_or_wait(self, call: &mut Call<'_, '_>, keys: &[&[u8]], timeout: &[u8]) -> Result<(), CommandError> {
        let timeout = blocking::timeout(timeout)?;
        let db = call.db();
        for key in keys {
            if self.run(call.store, db, key, call.reply)? {
                return Ok(());
            }
        }
        let serve =
            Box::new(move |store: &mut Access<'_>, db, key: &[u8], reply: &mut Reply| self.run(store, db, key, reply));
        let kind = Kind::SortedSet;
        blocking::wait(call, Wanted { keys, also: None, kind, timeout, answers_array: true, serve })
    }
}

fn bzpopmin(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let last = args.len() - 1;
    Pop { highest: false, count: None }.run_or_wait(call, &args[1..last], args[last])
}

fn bzpopmax(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let last = args.len() - 1;
    Pop { highest: true, count: None }.run_or_wait(call, &args[1..last], args[last])
}

fn bzmpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let PopRequest { keys, highest, count } = PopRequest::parse(&args[2..])?;
    Pop { highest, count: Some(count) }.run_or_wait(call, keys, args[1])
}
