//! Members of a sorted set by rank, by score or by name: to answer, to count, to store and to remove.

use super::bounds::{NameRange, ScoreRange};
use crate::command::members::Names;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use keyspace::{EventClass, InOrder, Score};
use resp::{Reply, Version};
use std::ops::Range;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "zrange",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrange,
        since: "1.2.0",
        summary: "Return a range of members in a sorted set",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrangestore",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::TWO,
        handler: zrangestore,
        since: "6.2.0",
        summary: "Store a range of members from sorted set into another key",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: ZRANGESTORE ‖ ZRANGESTORE leaves the members of both results, of one in both the later stamp; ZRANGESTORE ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zrangebyscore",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrangebyscore,
        since: "1.0.5",
        summary: "Return a range of members in a sorted set, by score",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrevrangebyscore",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrevrangebyscore,
        since: "2.2.0",
        summary: "Return a range of members in a sorted set, by score, with scores ordered from high to low",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrangebylex",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrangebylex,
        since: "2.8.9",
        summary: "Return a range of members in a sorted set, by lexicographical range",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrevrangebylex",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrevrangebylex,
        since: "2.8.9",
        summary: "Return a range of members in a sorted set, by lexicographical range, ordered from higher to lower strings",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrevrange",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrevrange,
        since: "1.2.0",
        summary: "Return a range of members in a sorted set, by index, with scores ordered from high to low",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zcount",
        arity: 4,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zcount,
        since: "2.0.0",
        summary: "Count the members in a sorted set with scores within the given values",
        group: Group::SortedSet,
        complexity: "O(log(N)) with N being the number of elements in the sorted set",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zlexcount",
        arity: 4,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zlexcount,
        since: "2.8.9",
        summary: "Count the number of members in a sorted set between a given lexicographical range",
        group: Group::SortedSet,
        complexity: "O(log(N)) with N being the number of elements in the sorted set",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zremrangebyscore",
        arity: 4,
        flags: Flags::WRITE,
        keys: Keys::ONE,
        handler: zremrangebyscore,
        since: "1.2.0",
        summary: "Remove all members in a sorted set within the given scores",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation",
        merge: Merge::Writes(
            "Removes the members that its region found in the range, as ZREM: ZREMRANGEBYSCORE of x ‖ ZADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zremrangebyrank",
        arity: 4,
        flags: Flags::WRITE,
        keys: Keys::ONE,
        handler: zremrangebyrank,
        since: "2.0.0",
        summary: "Remove all members in a sorted set within the given indexes",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation",
        merge: Merge::Writes(
            "Removes the members that its region found at the ranks, as ZREM: ZREMRANGEBYRANK of x ‖ ZADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zremrangebylex",
        arity: 4,
        flags: Flags::WRITE,
        keys: Keys::ONE,
        handler: zremrangebylex,
        since: "2.8.9",
        summary: "Remove all members in a sorted set between the given lexicographical range",
        group: Group::SortedSet,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation",
        merge: Merge::Writes(
            "Removes the members that its region found in the range, as ZREM: ZREMRANGEBYLEX of x ‖ ZADD x: x stands",
        ),
        subcommands: &[],
    },
];

/// What the ends of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// What the name of a command says of the range; what it leaves open, words may say.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    by: Option<By>,
    reversed: Option<bool>,
    /// The members are stored: there are no scores to ask for.
    stores: bool,
}

/// A range of members, as a request asks for it.
#[derive(Debug)]
struct Wanted<'a> {
    ends: Ends<'a>,
    reversed: bool,
    /// How many to pass over, and how many to take; negative: all. None: no limit was given.
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

#[derive(Debug)]
enum Ends<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Names(NameRange<'a>),
}

impl<'a> Wanted<'a> {
    /// Reads both ends and the words after them.
    fn parse(form: Form, args: &[&'a [u8]]) -> Result<Self, CommandError> {
        let (mut by, mut reversed, mut limit, mut with_scores) = (form.by, form.reversed, None, false);
        let mut rest = &args[2..];
        while let [word, after @ ..] = rest {
            rest = after;
            match (word.to_ascii_lowercase().as_slice(), after) {
                (b"withscores", _) if !form.stores => with_scores = true,
                (b"limit", [offset, count, after @ ..]) => {
                    limit = Some((number::integer(offset)?, number::integer(count)?));
                    rest = after;
                }
                (b"rev", _) if reversed.is_none() => reversed = Some(true),
                (b"bylex", _) if by.is_none() => by = Some(By::Name),
                (b"byscore", _) if by.is_none() => by = Some(By::Score),
                _ => return Err(CommandError::Syntax),
            }
        }
        let (by, reversed) = (by.unwrap_or(By::Rank), reversed.unwrap_or(false));
        // SUBTLE: a limit of all members is no limit, as in Redis.
        if by == By::Rank && limit.is_some_and(|(_, count)| count != -1) {
            return Err(CommandError::Plain(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Name && with_scores {
            return Err(CommandError::Plain("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let [lower, upper] = if reversed && by != By::Rank { [args[1], args[0]] } else { [args[0], args[1]] };
        let ends = match by {
            By::Rank => Ends::Ranks(number::integer(lower)?, number::integer(upper)?),
            By::Score => Ends::Scores(ScoreRange::parse(lower, upper)?),
            By::Name => Ends::Names(NameRange::parse(lower, upper)?),
        };
        Ok(Self { ends, reversed, limit, with_scores })
    }

    /// The ranks of what is wanted, counted from the lowest score.
    fn ranks(&self, members: &InOrder<'_>) -> Range<usize> {
        let all = match &self.ends {
            Ends::Ranks(start, end) => return ranks_of(*start, *end, members.len(), self.reversed),
            Ends::Scores(scores) => scores.ranks(members),
            Ends::Names(names) => names.ranks(members, self.reversed),
        };
        let (offset, count) = self.limit.unwrap_or((0, -1));
        // A negative offset passes over everything.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(all.len() - offset);
        if self.reversed {
            all.end - offset - count..all.end - offset
        } else {
            all.start + offset..all.start + offset + count
        }
    }
}

/// The ranks that two positions name, both counted from the other end if they are negative.
fn ranks_of(start: i64, end: i64, length: usize, reversed: bool) -> Range<usize> {
    let from_end = |position: i64| i128::from(position) + if position < 0 { length as i128 } else { 0 };
    let (first, last) = (from_end(start).max(0), from_end(end).min(length as i128 - 1));
    if first > last {
        return 0..0;
    }
    let (first, end) = (first as usize, last as usize + 1);
    if reversed { length - end..length - first } else { first..end }
}

fn zrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, args, Form::default())
}

fn zrangebyscore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, args, Form { by: Some(By::Score), reversed: Some(false), stores: false })
}

fn zrevrangebyscore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, args, Form { by: Some(By::Score), reversed: Some(true), stores: false })
}

fn zrangebylex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, args, Form { by: Some(By::Name), reversed: Some(false), stores: false })
}

fn zrevrangebylex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, args, Form { by: Some(By::Name), reversed: Some(true), stores: false })
}

fn zrevrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, args, Form { by: Some(By::Rank), reversed: Some(true), stores: false })
}

fn answer(call: &mut Call<'_, '_>, args: &[&[u8]], form: Form) -> Result<(), CommandError> {
    let db = call.db();
    let wanted = Wanted::parse(form, &args[2..])?;
    let Some(members) = call.store.sorted_set(db, args[1])?.map(|members| members.in_order()) else {
        call.reply.array(0);
        return Ok(());
    };
    let ranks = wanted.ranks(&members);
    write_header(call.reply, ranks.len(), wanted.with_scores);
    for (member, score) in members.range(ranks, wanted.reversed) {
        write_member(call.reply, member, wanted.with_scores.then_some(score));
    }
    Ok(())
}

/// Version 2 has scores beside their members, version 3 has pairs.
pub(super) fn write_header(reply: &mut Reply, length: usize, with_scores: bool) {
    match reply.version() {
        Version::Resp2 if with_scores => reply.array(length * 2),
        Version::Resp2 | Version::Resp3 => reply.array(length),
    }
}

/// A member, with its score if it is wanted.
pub(super) fn write_member(reply: &mut Reply, member: &[u8], score: Option<f64>) {
    match (reply.version(), score) {
        (Version::Resp3, Some(_)) => reply.array(2),
        (Version::Resp2, _) | (Version::Resp3, None) => {}
    }
    reply.bulk(member);
    if let Some(score) = score {
        reply.double(score);
    }
}

fn zrangestore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let wanted = Wanted::parse(Form { stores: true, ..Form::default() }, &args[3..])?;
    let mut found: Vec<(Vec<u8>, f64)> = Vec::new();
    if let Some(members) = call.store.sorted_set(db, args[2])?.map(|members| members.in_order()) {
        let range = members.range(wanted.ranks(&members), wanted.reversed);
        found.extend(range.map(|(member, score)| (member.to_vec(), score)));
    }
    store(call, ("zrangestore", args[1]), found.iter().map(|(member, score)| (&**member, *score)))
}

/// Writes a result in place of whatever is at `target`, and answers how many members it has.
pub(in crate::command) fn store<'m>(
    call: &mut Call<'_, '_>,
    (event, target): (&str, &[u8]),
    members: impl Iterator<Item = (&'m [u8], f64)>,
) -> Result<(), CommandError> {
    let db = call.db();
    // The target is removed as it was observed, whatever its type, and born again.
    let was_there = call.store.delete(db, target);
    let mut stored = 0;
    for (member, score) in members {
        if let Some(score) = Score::new(score) {
            call.store.put_score(db, target, member, score)?;
            stored += 1;
        }
    }
    call.store.note_stored(EventClass::SORTED_SET, event, db, target, was_there);
    call.reply.integer(stored);
    Ok(())
}

fn zcount(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let scores = ScoreRange::parse(args[2], args[3])?;
    count(call, args[1], |members| scores.ranks(members))
}

fn zlexcount(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let names = NameRange::parse(args[2], args[3])?;
    count(call, args[1], |members| names.ranks(members, false))
}

fn count(
    call: &mut Call<'_, '_>,
    key: &[u8],
    ranks: impl FnOnce(&InOrder<'_>) -> Range<usize>,
) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, key)?.map(|members| members.in_order());
    let count = members.as_ref().map_or(0, |members| ranks(members).len());
    call.reply.integer(count as i64);
    Ok(())
}

fn zremrangebyscore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let scores = ScoreRange::parse(args[2], args[3])?;
    remove(call, "zremrangebyscore", args[1], |members| scores.ranks(members))
}

fn zremrangebyrank(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (start, end) = (number::integer(args[2])?, number::integer(args[3])?);
    remove(call, "zremrangebyrank", args[1], |members| ranks_of(start, end, members.len(), false))
}

fn zremrangebylex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let names = NameRange::parse(args[2], args[3])?;
    remove(call, "zremrangebylex", args[1], |members| names.ranks(members, false))
}

fn remove(
    call: &mut Call<'_, '_>,
    event: &str,
    key: &[u8],
    ranks: impl FnOnce(&InOrder<'_>) -> Range<usize>,
) -> Result<(), CommandError> {
    let db = call.db();
    let mut found = Names::new();
    if let Some(members) = call.store.sorted_set(db, key)?.map(|members| members.in_order()) {
        members.range(ranks(&members), false).for_each(|(member, _)| found.push(member));
    }
    for member in found.iter() {
        call.store.remove_scored(db, key, member)?;
    }
    if !found.is_empty() {
        call.store.note_taken(EventClass::SORTED_SET, event, db, key);
    }
    call.reply.integer(found.len() as i64);
    Ok(())
}
