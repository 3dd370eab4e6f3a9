//! Sorted sets: members in the order of their scores, where scores merge as counters do.
//!
//! Ranges, what several sorted sets have together, and what waits have files of their own.

pub mod algebra;
mod bounds;
pub mod range;
pub mod waiting;

use super::members::Names;
use super::number;
use super::random::{self, Draws};
use super::scan::{self, ScanOptions};
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use keyspace::{Access, Database, EventClass, Score, SortedElements};
use resp::{Reply, Version};
use std::collections::HashMap;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "zadd",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: zadd,
        since: "1.2.0",
        summary: "Add one or more members to a sorted set, or update its score if it already exists",
        group: Group::SortedSet,
        complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set",
        merge: Merge::Writes(
            "ZADD x ‖ ZADD y: both members; ZADD x 1 ‖ ZADD x 2: the later stamp, per member; ZADD x s ‖ ZINCRBY x a: s plus a; ZREM or DEL ‖ ZADD x: x stands; NX, XX, GT and LT are decided by the region alone",
        ),
        subcommands: &[],
    },
    Command {
        name: "zincrby",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: zincrby,
        since: "1.2.0",
        summary: "Increment the score of a member in a sorted set",
        group: Group::SortedSet,
        complexity: "O(log(N)) where N is the number of elements in the sorted set",
        merge: Merge::Writes(
            "ZINCRBY x a ‖ ZINCRBY x b: the exact sum is added and rounded once when read; ZADD x s ‖ ZINCRBY x a: s plus a; ZREM x ‖ ZINCRBY x a: a",
        ),
        subcommands: &[],
    },
    Command {
        name: "zrem",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zrem,
        since: "1.2.0",
        summary: "Remove one or more members from a sorted set",
        group: Group::SortedSet,
        complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed",
        merge: Merge::Writes(
            "Removes what its region had observed: ZREM x ‖ ZADD x: x stands; ZREM x ‖ ZINCRBY x a: a",
        ),
        subcommands: &[],
    },
    Command {
        name: "zcard",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zcard,
        since: "1.2.0",
        summary: "Get the number of members in a sorted set",
        group: Group::SortedSet,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zscore",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zscore,
        since: "1.2.0",
        summary: "Get the score associated with the given member in a sorted set",
        group: Group::SortedSet,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zmscore",
        arity: -3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zmscore,
        since: "6.2.0",
        summary: "Get the score associated with the given members in a sorted set",
        group: Group::SortedSet,
        complexity: "O(N) where N is the number of members being requested",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrank",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zrank,
        since: "2.0.0",
        summary: "Determine the index of a member in a sorted set",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zrevrank",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: zrevrank,
        since: "2.0.0",
        summary: "Determine the index of a member in a sorted set, with scores ordered from high to low",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zpopmin",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: zpopmin,
        since: "5.0.0",
        summary: "Remove and return members with the lowest scores in a sorted set",
        group: Group::SortedSet,
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped",
        merge: Merge::Writes(
            "ZPOPMIN ‖ ZPOPMIN may both answer the same member, which is gone afterwards; ZPOPMIN of x ‖ ZADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zpopmax",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: zpopmax,
        since: "5.0.0",
        summary: "Remove and return members with the highest scores in a sorted set",
        group: Group::SortedSet,
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped",
        merge: Merge::Writes(
            "ZPOPMAX ‖ ZPOPMAX may both answer the same member, which is gone afterwards; ZPOPMAX of x ‖ ZADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zmpop",
        arity: -4,
        flags: Flags::WRITE,
        keys: Keys::Counted { count: 1, also: None },
        handler: zmpop,
        since: "7.0.0",
        summary: "Remove and return members with scores in a sorted set",
        group: Group::SortedSet,
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped",
        merge: Merge::Writes(
            "ZMPOP ‖ ZMPOP may both answer the same members, which are gone afterwards; ZMPOP of x ‖ ZADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zrandmember",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zrandmember,
        since: "6.2.0",
        summary: "Get one or multiple random elements from a sorted set",
        group: Group::SortedSet,
        complexity: "O(N) where N is the number of elements returned",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zscan",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: zscan,
        since: "2.8.0",
        summary: "Incrementally iterate sorted sets elements and associated scores",
        group: Group::SortedSet,
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

/// What `ZADD` and those that work as it does are told besides members and scores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AddOptions {
    /// Only members that are not there.
    pub(super) only_new: bool,
    /// Only members that are there.
    pub(super) only_known: bool,
    /// Only higher scores, for members that are there.
    pub(super) only_greater: bool,
    /// Only lower scores, for members that are there.
    pub(super) only_less: bool,
    /// Changed scores count as well as new members.
    pub(super) counts_changes: bool,
    /// The score is added to the one that is there.
    pub(super) adds: bool,
}

impl AddOptions {
    /// Takes the words in front of the scores, and says how many they are.
    fn parse(words: &[&[u8]]) -> (Self, usize) {
        let mut options = Self::default();
        for (index, word) in words.iter().enumerate() {
            let option = match word.to_ascii_lowercase().as_slice() {
                b"nx" => &mut options.only_new,
                b"xx" => &mut options.only_known,
                b"gt" => &mut options.only_greater,
                b"lt" => &mut options.only_less,
                b"ch" => &mut options.counts_changes,
                b"incr" => &mut options.adds,
                _ => return (options, index),
            };
            *option = true;
        }
        (options, words.len())
    }

    /// Whether every score is written, and new members are counted.
    fn is_plain(self) -> bool {
        let Self { only_new, only_known, only_greater, only_less, counts_changes, adds } = self;
        ![only_new, only_known, only_greater, only_less, counts_changes, adds].contains(&true)
    }

    /// The score that a member gets which has `current` now; nothing if it keeps what it has.
    fn decide(self, current: Option<f64>, score: f64) -> Result<Option<f64>, CommandError> {
        let Some(current) = current else {
            return Ok((!self.only_known).then_some(score));
        };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.adds { current + score } else { score };
        if score.is_nan() {
            return Err(CommandError::Plain("ERR resulting score is not a number (NaN)"));
        }
        let stays = self.only_less && score >= current || self.only_greater && score <= current;
        Ok((!stays).then_some(score))
    }
}

fn zadd(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (options, words) = AddOptions::parse(&args[2..]);
    add(call, args[1], options, &args[2 + words..])
}

fn zincrby(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    add(call, args[1], AddOptions { adds: true, ..AddOptions::default() }, &args[2..])
}

/// `ZADD` of scores and members in turn.
fn add(call: &mut Call<'_, '_>, key: &[u8], options: AddOptions, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.is_empty() || !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    if options.only_new && options.only_known {
        return Err(CommandError::Plain("ERR XX and NX options at the same time are not compatible"));
    }
    let AddOptions { only_new, only_greater, only_less, .. } = options;
    if [only_new, only_greater, only_less].into_iter().filter(|&is_set| is_set).count() > 1 {
        return Err(CommandError::Plain("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if options.adds && args.len() > 2 {
        return Err(CommandError::Plain("ERR INCR option supports a single increment-element pair"));
    }
    let mut pairs = Vec::with_capacity(args.len() / 2);
    for pair in args.chunks_exact(2) {
        pairs.push((pair[1], number::double(pair[0]).ok_or(CommandError::NotAFloat)?));
    }
    if options.adds { increase(call, key, options, pairs[0]) } else { put(call, key, options, &pairs) }
}

/// `ZADD INCR`: answers the new score, or null if the options forbid it.
fn increase(
    call: &mut Call<'_, '_>,
    key: &[u8],
    options: AddOptions,
    (member, more): (&[u8], f64),
) -> Result<(), CommandError> {
    let db = call.db();
    let current = call.store.sorted_set(db, key)?.and_then(|members| members.score(member));
    match (options.decide(current, more)?, Score::new(more)) {
        (Some(_), Some(more)) => {
            let score = call.store.add_to_score(db, key, member, more)?;
            if current != Some(score.to_f64()) {
                call.store.note(EventClass::SORTED_SET, "zincr", db, key);
            }
            call.reply.double(score.to_f64());
        }
        (Some(_), None) | (None, _) => call.reply.null(),
    }
    Ok(())
}

/// `ZADD` of members with their scores: answers how many are new, or have changed.
pub(super) fn put(
    call: &mut Call<'_, '_>,
    key: &[u8],
    options: AddOptions,
    pairs: &[(&[u8], f64)],
) -> Result<(), CommandError> {
    let db = call.db();
    if let ([(member, score)], true) = (pairs, options.is_plain())
        && let Some(score) = Score::new(*score)
    {
        // What nearly all calls are: nothing that is there has to be known.
        let tells = call.store.wants(EventClass::SORTED_SET.union(EventClass::NEW));
        let before =
            if tells { call.store.sorted_set(db, key)?.and_then(|members| members.score(member)) } else { None };
        let is_new = call.store.put_score(db, key, member, score)?;
        if tells && before != Some(score.to_f64()) {
            call.store.note(EventClass::SORTED_SET, "zadd", db, key);
        }
        call.reply.integer(i64::from(is_new));
        return Ok(());
    }
    let members = call.store.sorted_set(db, key)?;
    let (mut added, mut changed) = (0, 0);
    // One stamp for one name: of a member that is named twice the last score is written, and each is judged by the one
    // before it.
    let mut decided: Vec<(&[u8], f64)> = Vec::with_capacity(pairs.len());
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for &(member, score) in pairs {
        let place = if pairs.len() > 1 { places.get(member).copied() } else { None };
        let current = match place {
            Some(place) => Some(decided[place].1),
            None => members.as_ref().and_then(|members| members.score(member)),
        };
        let Some(score) = options.decide(current, score)? else { continue };
        added += i64::from(current.is_none());
        changed += i64::from(current.is_some_and(|current| current != score));
        match place {
            Some(place) => decided[place].1 = score,
            None => {
                if pairs.len() > 1 {
                    places.insert(member, decided.len());
                }
                decided.push((member, score));
            }
        }
    }
    for (member, score) in decided {
        if let Some(score) = Score::new(score) {
            call.store.put_score(db, key, member, score)?;
        }
    }
    if added + changed > 0 {
        call.store.note(EventClass::SORTED_SET, "zadd", db, key);
    }
    call.reply.integer(if options.counts_changes { added + changed } else { added });
    Ok(())
}

fn zrem(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let mut removed = 0;
    for member in &args[2..] {
        removed += i64::from(call.store.remove_scored(db, args[1], member)?);
    }
    if removed > 0 {
        call.store.note_taken(EventClass::SORTED_SET, "zrem", db, args[1]);
    }
    call.reply.integer(removed);
    Ok(())
}

fn zcard(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let length = call.store.sorted_set(db, args[1])?.map_or(0, |members| members.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn zscore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, args[1])?;
    write_score(call.reply, members.as_ref(), args[2]);
    Ok(())
}

fn zmscore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, args[1])?;
    call.reply.array(args.len() - 2);
    args[2..].iter().for_each(|member| write_score(call.reply, members.as_ref(), member));
    Ok(())
}

fn write_score(reply: &mut Reply, members: Option<&SortedElements<'_>>, member: &[u8]) {
    match members.and_then(|members| members.score(member)) {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zrank(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    rank(call, args, false)
}

fn zrevrank(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    rank(call, args, true)
}

fn rank(call: &mut Call<'_, '_>, args: &[&[u8]], reversed: bool) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, args[1])?.map(|members| members.in_order());
    match members.as_ref().and_then(|members| Some((members.rank(args[2])?, members.len()))) {
        Some((rank, length)) => call.reply.integer(if reversed { length - 1 - rank } else { rank } as i64),
        None => call.reply.null(),
    }
    Ok(())
}

fn zpopmin(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    pop_from(call, args, false)
}

fn zpopmax(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    pop_from(call, args, true)
}

fn pop_from(call: &mut Call<'_, '_>, args: &[&[u8]], highest: bool) -> Result<(), CommandError> {
    let db = call.db();
    let count = match args[2..] {
        [] => None,
        [count] => Some(number::count(count, "ERR value is out of range, must be positive")?),
        _ => return Err(CommandError::Syntax),
    };
    let popped = Popped::take(call.store, db, args[1], highest, count.unwrap_or(1))?;
    match (call.reply.version(), count) {
        (Version::Resp3, Some(_)) => popped.write_pairs(call.reply),
        (Version::Resp3, None) | (Version::Resp2, _) => {
            call.reply.array(popped.scores.len() * 2);
            popped.each(|member, score| {
                call.reply.bulk(member);
                call.reply.double(score);
            });
        }
    }
    Ok(())
}

/// Members that have been taken out, in the order in which they were.
#[derive(Default)]
pub(super) struct Popped {
    names: Names,
    scores: Vec<f64>,
}

impl Popped {
    /// Takes out up to `count` members from one end.
    pub(super) fn take(
        store: &mut Access<'_>,
        db: Database,
        key: &[u8],
        highest: bool,
        count: usize,
    ) -> Result<Self, CommandError> {
        let mut popped = Self::default();
        if let Some(members) = store.sorted_set(db, key)? {
            let members = members.in_order();
            let (length, count) = (members.len(), count.min(members.len()));
            let ranks = if highest { length - count..length } else { 0..count };
            for (member, score) in members.range(ranks, highest) {
                popped.names.push(member);
                popped.scores.push(score);
            }
        }
        for member in popped.names.iter() {
            store.remove_scored(db, key, member)?;
        }
        if !popped.scores.is_empty() {
            let event = if highest { "zpopmax" } else { "zpopmin" };
            store.note_taken(EventClass::SORTED_SET, event, db, key);
        }
        Ok(popped)
    }

    /// Whether nothing was there.
    pub(super) fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Gives each member with its score.
    pub(super) fn each(&self, mut each: impl FnMut(&[u8], f64)) {
        self.names.iter().zip(&self.scores).for_each(|(member, &score)| each(member, score));
    }

    /// Writes them as an array of pairs, in either version.
    pub(super) fn write_pairs(&self, reply: &mut Reply) {
        reply.array(self.scores.len());
        self.each(|member, score| {
            reply.array(2);
            reply.bulk(member);
            reply.double(score);
        });
    }
}

/// What `ZMPOP` asks for.
#[derive(Debug)]
pub(super) struct PopRequest<'a> {
    /// The keys, of which the first one with members counts.
    pub(super) keys: &'a [&'a [u8]],
    /// From which end.
    pub(super) highest: bool,
    /// How many at most.
    pub(super) count: usize,
}

impl<'a> PopRequest<'a> {
    /// Reads the arguments from the number of keys on.
    pub(super) fn parse(args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let at_least_one = |text, refusal| {
            let number = number::parse_integer(text).and_then(|number| usize::try_from(number).ok());
            number.filter(|&number| number > 0).ok_or(CommandError::Plain(refusal))
        };
        let keys = at_least_one(args[0], "ERR numkeys should be greater than 0")?;
        if keys >= args.len() - 1 {
            return Err(CommandError::Syntax);
        }
        let (keys, rest) = args[1..].split_at(keys);
        let highest = match rest[0].to_ascii_lowercase().as_slice() {
            b"min" => false,
            b"max" => true,
            _ => return Err(CommandError::Syntax),
        };
        let count = match rest[1..] {
            [] => 1,
            [word, count] if word.eq_ignore_ascii_case(b"count") => {
                at_least_one(count, "ERR count should be greater than 0")?
            }
            _ => return Err(CommandError::Syntax),
        };
        Ok(Self { keys, highest, count })
    }

    /// Takes members out of the first key that has any, and answers them. False if none has, and nothing is answered.
    pub(super) fn answer(&self, store: &mut Access<'_>, db: Database, reply: &mut Reply) -> Result<bool, CommandError> {
        for key in self.keys {
            let popped = Popped::take(store, db, key, self.highest, self.count)?;
            if !popped.is_empty() {
                reply.array(2);
                reply.bulk(key);
                popped.write_pairs(reply);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn zmpop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    if !PopRequest::parse(&args[1..])?.answer(call.store, db, call.reply)? {
        call.reply.null_array();
    }
    Ok(())
}

fn zrandmember(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let mut draws = Draws::new(call.random());
    if args.len() == 2 {
        match call.store.sorted_set(db, key)?.as_ref().and_then(|members| members.random(draws.next())) {
            Some((member, _)) => call.reply.bulk(member),
            None => call.reply.null(),
        }
        return Ok(());
    }
    let count = random::signed_count(args[2])?;
    let with_scores = match args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::Plain("ERR value is out of range"));
    }
    match call.store.sorted_set(db, key)? {
        Some(members) => random::answer(call.reply, &members, count, with_scores, &mut draws),
        None => {
            call.reply.array(0);
            Ok(())
        }
    }
}

fn zscan(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let cursor = scan::cursor(args[2])?;
    let mut found = Names::new();
    // SUBTLE: an absent key is answered before the options are read, as in Redis.
    let Some(members) = call.store.sorted_set(db, args[1])? else {
        scan::answer(call.reply, 0, &found);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..], false)?;
    let next = members.scan(cursor, options.count, &mut |member, score| {
        if options.wants(member) {
            found.push(member);
            found.push(resp::double_text(score).as_bytes());
        }
    });
    scan::answer(call.reply, next, &found);
    Ok(())
}
