//! What moves elements between lists, pops from the first of several, or waits for one: `LMOVE`, `LMPOP`, `BLPOP`...

use super::{popped_at, pushed_at};
use crate::blocking::{self, Wanted};
use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use keyspace::{Access, Database, End, EventClass, Kind};
use resp::Reply;
use std::time::Duration;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "lmove",
        arity: 5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::TWO,
        handler: lmove,
        since: "6.2.0",
        summary: "Pop an element from a list, push it to another list and return it",
        group: Group::List,
        complexity: "O(1)",
        merge: Merge::Writes(
            "A pop here and a push there, seen elsewhere at once: LMOVE a b ‖ LMOVE a c may move the same element to both; LMOVE k k ‖ LMOVE k k: it is moved once or stands twice, the same everywhere",
        ),
        subcommands: &[],
    },
    Command {
        name: "rpoplpush",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::TWO,
        handler: rpoplpush,
        since: "1.2.0",
        summary: "Remove the last element in a list, prepend it to another list and return it",
        group: Group::List,
        complexity: "O(1)",
        merge: Merge::Writes("As LMOVE RIGHT LEFT"),
        subcommands: &[],
    },
    Command {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE,
        keys: Keys::Counted { count: 1, also: None },
        handler: lmpop,
        since: "7.0.0",
        summary: "Pop elements from a list",
        group: Group::List,
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
        merge: Merge::Writes("As LPOP or RPOP of the first list that has elements in this region"),
        subcommands: &[],
    },
    Command {
        name: "blpop",
        arity: -3,
        flags: Flags::WRITE.union(Flags::NO_SCRIPT).union(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        handler: blpop,
        since: "2.0.0",
        summary: "Remove and get the first element in a list, or block until one is available",
        group: Group::List,
        complexity: "O(N) where N is the number of provided keys.",
        merge: Merge::Writes(
            "As the pop; who is served is decided by this region alone, and elements that other regions push are served when they arrive",
        ),
        subcommands: &[],
    },
    Command {
        name: "brpop",
        arity: -3,
        flags: Flags::WRITE.union(Flags::NO_SCRIPT).union(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        handler: brpop,
        since: "2.0.0",
        summary: "Remove and get the last element in a list, or block until one is available",
        group: Group::List,
        complexity: "O(N) where N is the number of provided keys.",
        merge: Merge::Writes(
            "As the pop; who is served is decided by this region alone, and elements that other regions push are served when they arrive",
        ),
        subcommands: &[],
    },
    Command {
        name: "blmove",
        arity: 6,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::NO_SCRIPT).union(Flags::BLOCKING),
        keys: Keys::TWO,
        handler: blmove,
        since: "6.2.0",
        summary: "Pop an element from a list, push it to another list and return it; or block until one is available",
        group: Group::List,
        complexity: "O(1)",
        merge: Merge::Writes("As LMOVE; who is served is decided by this region alone"),
        subcommands: &[],
    },
    Command {
        name: "brpoplpush",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::NO_SCRIPT).union(Flags::BLOCKING),
        keys: Keys::TWO,
        handler: brpoplpush,
        since: "2.2.0",
        summary: "Pop an element from a list, push it to another list and return it; or block until one is available",
        group: Group::List,
        complexity: "O(1)",
        merge: Merge::Writes("As LMOVE RIGHT LEFT; who is served is decided by this region alone"),
        subcommands: &[],
    },
    Command {
        name: "blmpop",
        arity: -5,
        flags: Flags::WRITE.union(Flags::BLOCKING),
        keys: Keys::Counted { count: 2, also: None },
        handler: blmpop,
        since: "7.0.0",
        summary: "Pop elements from a list, or block until one is available",
        group: Group::List,
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
        merge: Merge::Writes(
            "As the pop; who is served is decided by this region alone, and elements that other regions push are served when they arrive",
        ),
        subcommands: &[],
    },
];

/// From which end of which list to which end of which.
#[derive(Clone, Copy)]
struct Move<'a> {
    source: &'a [u8],
    target: &'a [u8],
    from: End,
    to: End,
}

impl Move<'_> {
    /// Moves an element and answers it; false if there is none.
    fn run(self, store: &mut Access<'_>, db: Database, reply: &mut Reply) -> Result<bool, CommandError> {
        let Self { source, target, from, to } = self;
        if store.list(db, source)?.is_none() {
            return Ok(false);
        }
        store.list(db, target)?;
        let mut moved = Vec::new();
        if source == target && from != to {
            moved = store.rotate(db, source, from)?.unwrap_or_default();
        } else if source == target {
            // It stays where it is. As every write it wins against a removal elsewhere.
            let list = store.list(db, source)?;
            let index = list.map_or(0, |list| if from == End::Head { 0 } else { list.len() - 1 });
            moved = list.and_then(|list| list.get(index)).unwrap_or_default().into_owned();
            store.set_element(db, source, index, &moved)?;
        } else {
            store.pop(db, source, from, 1, &mut |element| moved.extend_from_slice(element))?;
            store.push(db, target, to, [&*moved])?;
        }
        reply.bulk(&moved);
        store.note(EventClass::LIST, pushed_at(to), db, target);
        store.note_taken(EventClass::LIST, popped_at(from), db, source);
        Ok(true)
    }
}

fn end(word: &[u8]) -> Result<End, CommandError> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Head)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Tail)
    } else {
        Err(CommandError::Syntax)
    }
}

fn lmove(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (from, to) = (end(args[3])?, end(args[4])?);
    move_now(call, Move { source: args[1], target: args[2], from, to })
}

fn rpoplpush(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    move_now(call, Move { source: args[1], target: args[2], from: End::Tail, to: End::Head })
}

fn move_now(call: &mut Call<'_, '_>, wanted: Move<'_>) -> Result<(), CommandError> {
    let db = call.db();
    if !wanted.run(call.store, db, call.reply)? {
        call.reply.null();
    }
    Ok(())
}

fn blmove(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (from, to) = (end(args[3])?, end(args[4])?);
    move_or_wait(call, Move { source: args[1], target: args[2], from, to }, args[5])
}

fn brpoplpush(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    move_or_wait(call, Move { source: args[1], target: args[2], from: End::Tail, to: End::Head }, args[3])
}

fn move_or_wait(call: &mut Call<'_, '_>, wanted: Move<'_>, timeout: &[u8]) -> Result<(), CommandError> {
    let timeout = blocking::timeout(timeout)?;
    let db = call.db();
    if wanted.run(call.store, db, call.reply)? {
        return Ok(());
    }
    let Move { source, target, from, to } = wanted;
    let owned_target = target.to_vec();
    let serve = move |store: &mut Access<'_>, db, source: &[u8], reply: &mut Reply| {
        Move { source, target: &owned_target, from, to }.run(store, db, reply)
    };
    let also = Some(target);
    let serve = Box::new(serve);
    blocking::wait(call, Wanted { keys: &[source], also, kind: Kind::List, timeout, answers_array: false, serve })
}

/// What is popped from the first list that has anything.
#[derive(Clone, Copy)]
struct Pop {
    end: End,
    /// How many elements, answered as an array; nothing is one alone.
    count: Option<usize>,
}

impl Pop {
    /// Pops from a list and answers its name and what was popped; false if there is nothing.
    fn run(self, store: &mut Access<'_>, db: Database, key: &[u8], reply: &mut Reply) -> Result<bool, CommandError> {
        let Some(length) = store.list(db, key)?.map(|list| list.len()) else { return Ok(false) };
        reply.array(2);
        reply.bulk(key);
        if let Some(count) = self.count {
            reply.array(count.min(length));
        }
        store.pop(db, key, self.end, self.count.unwrap_or(1), &mut |element| reply.bulk(element))?;
        store.note_taken(EventClass::LIST, popped_at(self.end), db, key);
        Ok(true)
    }

    fn run_first(self, call: &mut Call<'_, '_>, keys: &[&[u8]]) -> Result<bool, CommandError> {
        let db = call.db();
        for key in keys {
            if self.run(call.store, db, key, call.reply)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn run_or_wait(
        self,
        call: &mut Call<'_, '_>,
        keys: &[&[u8]],
        timeout: Option<Duration>,
    ) -> Result<(), CommandError> {
        if self.run_first(call, keys)? {
            return Ok(());
        }
        let serve =
            Box::new(move |store: &mut Access<'_>, db, key: &[u8], reply: &mut Reply| self.run(store, db, key, reply));
        blocking::wait(call, Wanted { keys, also: None, kind: Kind::List, timeout, answers_array: true, serve })
    }
}

fn lmpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (keys, pop) = counted_keys(&args[1..])?;
    if !pop.run_first(call, keys)? {
        call.reply.null_array();
    }
    Ok(())
}

/// The keys and what to pop, from the number of keys on.
fn counted_keys<'a, 'b>(args: &'a [&'b [u8]]) -> Result<(&'a [&'b [u8]], Pop), CommandError> {
    let many = |text: &[u8], refusal: &'static str| match number::count(text, refusal)? {
        0 => Err(CommandError::Plain(refusal)),
        count => Ok(count),
    };
    let count = many(args[0], "ERR numkeys should be greater than 0")?;
    let rest = &args[1..];
    if count >= rest.len() {
        return Err(CommandError::Syntax);
    }
    let (keys, rest) = rest.split_at(count);
    let end = end(rest[0])?;
    let count = match rest[1..] {
        [] => 1,
        [word, count, ..] if word.eq_ignore_ascii_case(b"count") => {
            let count = many(count, "ERR count should be greater than 0")?;
            if rest.len() > 3 {
                return Err(CommandError::Syntax);
            }
            count
        }
        _ => return Err(CommandError::Syntax),
    };
    Ok((keys, Pop { end, count: Some(count) }))
}

fn blpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    pop_or_wait(call, args, End::Head)
}

fn brpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    pop_or_wait(call, args, End::Tail)
}

fn pop_or_wait(call: &mut Call<'_, '_>, args: &[&[u8]], end: End) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout = blocking::timeout(args[last])?;
    Pop { end, count: None }.run_or_wait(call, &args[1..last], timeout)
}

fn blmpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (keys, pop) = counted_keys(&args[2..])?;
    let timeout = blocking::timeout(args[1])?;
    pop.run_or_wait(call, keys, timeout)
}
