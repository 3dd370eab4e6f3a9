//! Lists: elements in an order that all regions agree on, whatever they put there at once.
//!
//! What moves elements, pops from the first of several lists or waits has a file of its own.

pub mod moving;
mod position;

use super::number;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use keyspace::{End, EventClass};
use std::borrow::Cow;
use std::ops::Range;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "lpush",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: lpush,
        since: "1.0.0",
        summary: "Prepend one or multiple elements to a list",
        group: Group::List,
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments",
        merge: Merge::Writes(
            "LPUSH a ‖ LPUSH b: both, in the same order everywhere; what one command pushes stays together, and one region's pushes keep their order; DEL ‖ LPUSH y: y stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "rpush",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: rpush,
        since: "1.0.0",
        summary: "Append one or multiple elements to a list",
        group: Group::List,
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments",
        merge: Merge::Writes(
            "RPUSH a ‖ RPUSH b: both, in the same order everywhere; what one command pushes stays together, and one region's pushes keep their order; DEL ‖ RPUSH y: y stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "lpushx",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: lpushx,
        since: "2.2.0",
        summary: "Prepend an element to a list, only if the list exists",
        group: Group::List,
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments",
        merge: Merge::Writes("As LPUSH; whether the list exists is decided by this region alone"),
        subcommands: &[],
    },
    Command {
        name: "rpushx",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: rpushx,
        since: "2.2.0",
        summary: "Append an element to a list, only if the list exists",
        group: Group::List,
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments",
        merge: Merge::Writes("As RPUSH; whether the list exists is decided by this region alone"),
        subcommands: &[],
    },
    Command {
        name: "lpop",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: lpop,
        since: "1.0.0",
        summary: "Remove and get the first elements in a list",
        group: Group::List,
        complexity: "O(N) where N is the number of elements returned",
        merge: Merge::Writes(
            "LPOP ‖ LPOP may both answer the same element, which is gone afterwards; an element set meanwhile stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "rpop",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: rpop,
        since: "1.0.0",
        summary: "Remove and get the last elements in a list",
        group: Group::List,
        complexity: "O(N) where N is the number of elements returned",
        merge: Merge::Writes(
            "RPOP ‖ RPOP may both answer the same element, which is gone afterwards; an element set meanwhile stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "llen",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: llen,
        since: "1.0.0",
        summary: "Get the length of a list",
        group: Group::List,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "lindex",
        arity: 3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: lindex,
        since: "1.0.0",
        summary: "Get an element from a list by its index",
        group: Group::List,
        complexity: "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for the first or the last element of the list O(1).",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "lrange",
        arity: 4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: lrange,
        since: "1.0.0",
        summary: "Get a range of elements from a list",
        group: Group::List,
        complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "linsert",
        arity: 5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: linsert,
        since: "2.2.0",
        summary: "Insert an element before or after another element in a list",
        group: Group::List,
        complexity: "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right end (tail) is O(N).",
        merge: Merge::Writes(
            "LINSERT AFTER x a ‖ LINSERT AFTER x b: both after x, in the same order everywhere; ‖ LREM x: what was inserted stands where it was put",
        ),
        subcommands: &[],
    },
    Command {
        name: "lset",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: lset,
        since: "1.0.0",
        summary: "Set the value of an element in a list by its index",
        group: Group::List,
        complexity: "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).",
        merge: Merge::Writes(
            "LSET i x ‖ LSET i y: the later one; ‖ a removal of the element: the set element stands where it was",
        ),
        subcommands: &[],
    },
    Command {
        name: "lrem",
        arity: 4,
        flags: Flags::WRITE,
        keys: Keys::ONE,
        handler: lrem,
        since: "1.0.0",
        summary: "Remove elements from a list",
        group: Group::List,
        complexity: "O(N+M) where N is the length of the list and M is the number of elements removed.",
        merge: Merge::Writes(
            "Removes the elements that its region had observed: LREM x ‖ RPUSH x: the new x stands; ‖ LSET of such an element: it stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "ltrim",
        arity: 4,
        flags: Flags::WRITE,
        keys: Keys::ONE,
        handler: ltrim,
        since: "1.0.0",
        summary: "Trim a list to the specified range",
        group: Group::List,
        complexity: "O(N) where N is the number of elements to be removed by the operation.",
        merge: Merge::Writes(
            "Removes the elements that its region had observed: LTRIM ‖ RPUSH y: y stands, also beyond the range",
        ),
        subcommands: &[],
    },
    Command {
        name: "lpos",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: position::lpos,
        since: "6.0.6",
        summary: "Return the index of matching elements on a list",
        group: Group::List,
        complexity: "O(N) where N is the number of elements in the list, for the average case. When searching for elements near the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

fn lpush(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    push(call, args, End::Head, false)
}

fn rpush(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    push(call, args, End::Tail, false)
}

fn lpushx(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    push(call, args, End::Head, true)
}

fn rpushx(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    push(call, args, End::Tail, true)
}

fn push(call: &mut Call<'_, '_>, args: &[&[u8]], end: End, only_existing: bool) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    if only_existing && call.store.list(db, key)?.is_none() {
        call.reply.integer(0);
        return Ok(());
    }
    let length = call.store.push(db, key, end, args[2..].iter().copied())?;
    call.store.note(EventClass::LIST, pushed_at(end), db, key);
    call.reply.count(length);
    Ok(())
}

/// The event of a push.
pub(super) const fn pushed_at(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

/// The event of a pop.
pub(super) const fn popped_at(end: End) -> &'static str {
    match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    }
}

fn lpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    pop(call, args, End::Head, "lpop")
}

fn rpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    pop(call, args, End::Tail, "rpop")
}

fn pop(call: &mut Call<'_, '_>, args: &[&[u8]], end: End, name: &str) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let count = match args[2..] {
        [] => None,
        [count] => Some(number::count(count, "ERR value is out of range, must be positive")?),
        _ => return Err(CommandError::wrong_arity(name)),
    };
    if let Some(count) = count {
        let Some(length) = call.store.list(db, key)?.map(|list| list.len()) else {
            call.reply.null_array();
            return Ok(());
        };
        call.reply.array(count.min(length));
    }
    let reply = &mut *call.reply;
    let popped = call.store.pop(db, key, end, count.unwrap_or(1), &mut |element| reply.bulk(element))?;
    match popped {
        None => call.reply.null(),
        Some(_) if count == Some(0) => {}
        Some(_) => call.store.note_taken(EventClass::LIST, popped_at(end), db, key),
    }
    Ok(())
}

fn llen(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let length = call.store.list(db, args[1])?.map_or(0, |list| list.len());
    call.reply.count(length);
    Ok(())
}

/// The number of an element counted from 0, from one that may be counted from the end.
fn index_in(index: i64, length: usize) -> Option<usize> {
    let from_end = || usize::try_from(index.unsigned_abs()).ok().and_then(|back| length.checked_sub(back));
    let index = if index < 0 { from_end() } else { usize::try_from(index).ok() };
    index.filter(|index| *index < length)
}

fn lindex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    // SUBTLE: an absent key is answered before the index is read, as in Redis.
    let Some(list) = call.store.list(db, args[1])? else {
        call.reply.null();
        return Ok(());
    };
    let index = number::integer(args[2])?;
    match index_in(index, list.len()).and_then(|index| list.get(index)) {
        Some(element) => call.reply.bulk(&element),
        None => call.reply.null(),
    }
    Ok(())
}

/// The range of numbers that two arguments name in a list of this length. An end before the beginning leaves nothing, other
/// than in strings.
fn range_in(start: i64, end: i64, length: usize) -> Range<usize> {
    let last = length as i64 - 1;
    let from_end = |index: i64| if index < 0 { index.saturating_add(last + 1) } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(last));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

fn lrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let (start, end) = (number::integer(args[2])?, number::integer(args[3])?);
    let Some(list) = call.store.list(db, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    let range = range_in(start, end, list.len());
    call.reply.array(range.len());
    list.iter_from(range.start).take(range.len()).for_each(|element| call.reply.bulk(&element));
    Ok(())
}

fn linsert(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let behind = match args[2] {
        word if word.eq_ignore_ascii_case(b"after") => 1,
        word if word.eq_ignore_ascii_case(b"before") => 0,
        _ => return Err(CommandError::Syntax),
    };
    let Some(list) = call.store.list(db, key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let Some(pivot) = list.iter().position(|element| *element == *args[3]) else {
        call.reply.integer(-1);
        return Ok(());
    };
    let length = call.store.insert_element(db, key, pivot + behind, args[4])?;
    call.store.note(EventClass::LIST, "linsert", db, key);
    call.reply.count(length.unwrap_or_default());
    Ok(())
}

fn lset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let length = call.store.list(db, key)?.ok_or(CommandError::NoSuchKey)?.len();
    let index = number::integer(args[2])?;
    let index = index_in(index, length).ok_or(CommandError::Plain("ERR index out of range"))?;
    call.store.set_element(db, key, index, args[3])?;
    call.store.note(EventClass::LIST, "lset", db, key);
    call.reply.ok();
    Ok(())
}

fn lrem(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let count = number::integer(args[2])?;
    let Some(list) = call.store.list(db, key)? else {
        call.reply.integer(0);
        return Ok(());
    };
    let most = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let is_wanted = |(_, element): &(usize, Cow<'_, [u8]>)| **element == *args[3];
    let mut found = Vec::new();
    if count < 0 {
        let last = list.len() - 1;
        list.iter_back().enumerate().filter(is_wanted).take(most).for_each(|(back, _)| join(&mut found, last - back));
        found.reverse();
    } else {
        list.iter().enumerate().filter(is_wanted).take(most).for_each(|(index, _)| join(&mut found, index));
    }
    call.store.remove_elements(db, key, &found)?;
    if !found.is_empty() {
        call.store.note_taken(EventClass::LIST, "lrem", db, key);
    }
    call.reply.count(found.iter().map(Range::len).sum());
    Ok(())
}

/// Adds a number to ranges of them: to the last one, if it is next to that.
fn join(ranges: &mut Vec<Range<usize>>, index: usize) {
    match ranges.last_mut() {
        Some(last) if last.end == index => last.end += 1,
        Some(last) if last.start == index + 1 => last.start = index,
        _ => ranges.push(index..index + 1),
    }
}

fn ltrim(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let (start, end) = (number::integer(args[2])?, number::integer(args[3])?);
    if let Some(length) = call.store.list(db, key)?.map(|list| list.len()) {
        let kept = range_in(start, end, length);
        call.store.remove_elements(db, key, &[0..kept.start, kept.end..length])?;
        call.store.note_taken(EventClass::LIST, "ltrim", db, key);
    }
    call.reply.ok();
    Ok(())
}
