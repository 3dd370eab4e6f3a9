//! What several sorted sets have in common, have together, or have without each other. Sets count too: their members
//! have the score 1.
//!
//! Members are copied out one key after the other: their slots are locked all along, so nothing changes in between.

use super::range::{store, write_header, write_member};
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use keyspace::{Access, Database, Elements, Kind, SortedElements};
use std::collections::HashMap;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "zunion",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::Counted { count: 1, also: None },
        handler: zunion,
        since: "6.2.0",
        summary: "Add multiple sorted sets",
        group: Group::SortedSet,
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zunionstore",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Counted { count: 2, also: Some(1) },
        handler: zunionstore,
        since: "2.0.0",
        summary: "Add multiple sorted sets and store the resulting sorted set in a new key",
        group: Group::SortedSet,
        complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: ZUNIONSTORE ‖ ZUNIONSTORE leaves the members of both results, of one in both the later stamp; ZUNIONSTORE ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zinter",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::Counted { count: 1, also: None },
        handler: zinter,
        since: "6.2.0",
        summary: "Intersect multiple sorted sets",
        group: Group::SortedSet,
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zinterstore",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Counted { count: 2, also: Some(1) },
        handler: zinterstore,
        since: "2.0.0",
        summary: "Intersect multiple sorted sets and store the resulting sorted set in a new key",
        group: Group::SortedSet,
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: ZINTERSTORE ‖ ZINTERSTORE leaves the members of both results, of one in both the later stamp; ZINTERSTORE ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "zintercard",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::Counted { count: 1, also: None },
        handler: zintercard,
        since: "7.0.0",
        summary: "Intersect multiple sorted sets and return the cardinality of the result",
        group: Group::SortedSet,
        complexity: "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zdiff",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::Counted { count: 1, also: None },
        handler: zdiff,
        since: "6.2.0",
        summary: "Subtract multiple sorted sets",
        group: Group::SortedSet,
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "zdiffstore",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Counted { count: 2, also: Some(1) },
        handler: zdiffstore,
        since: "6.2.0",
        summary: "Subtract multiple sorted sets and store the resulting sorted set in a new key",
        group: Group::SortedSet,
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: ZDIFFSTORE ‖ ZDIFFSTORE leaves the members of both results, of one in both the later stamp; ZDIFFSTORE ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algebra {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the scores of one member in several keys.
#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Sum,
    Least,
    Greatest,
}

impl Aggregate {
    /// Opposite infinities add up to nothing.
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => or_zero(one + other),
            Aggregate::Least => {
                if other < one {
                    other
                } else {
                    one
                }
            }
            Aggregate::Greatest => {
                if other > one {
                    other
                } else {
                    one
                }
            }
        }
    }
}

fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Some of the arguments.
type Words<'a> = &'a [&'a [u8]];

/// What the arguments ask for.
struct Request<'a> {
    keys: Words<'a>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// How many members to count at most; 0: all.
    limit: usize,
}

/// What is done with the result, which decides which words there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Answer,
    Store,
    Count,
}

impl<'a> Request<'a> {
    /// Reads the number of keys and the keys. The words behind them come later, because Redis looks at the keys first.
    fn keys(name: &str, args: Words<'a>) -> Result<(Words<'a>, Words<'a>), CommandError> {
        let keys = number::integer(args[0])?;
        if keys < 1 {
            return Err(CommandError::Detailed(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let keys = usize::try_from(keys).ok().filter(|&keys| keys < args.len()).ok_or(CommandError::Syntax)?;
        Ok(args[1..].split_at(keys))
    }

    fn parse(keys: &'a [&'a [u8]], words: &[&[u8]], algebra: Algebra, purpose: Use) -> Result<Self, CommandError> {
        let (weights, aggregate) = (vec![1.0; keys.len()], Aggregate::Sum);
        let mut request = Self { keys, weights, aggregate, with_scores: false, limit: 0 };
        let combines = algebra != Algebra::Difference && purpose != Use::Count;
        let mut rest = words;
        while let [word, after @ ..] = rest {
            rest = match (word.to_ascii_lowercase().as_slice(), after) {
                (b"weights", after) if combines && after.len() >= keys.len() => {
                    let (weights, after) = after.split_at(keys.len());
                    for (weight, text) in request.weights.iter_mut().zip(weights) {
                        *weight = number::double(text).ok_or(CommandError::Plain("ERR weight value is not a float"))?;
                    }
                    after
                }
                (b"aggregate", [how, after @ ..]) if combines => {
                    request.aggregate = match how.to_ascii_lowercase().as_slice() {
                        b"sum" => Aggregate::Sum,
                        b"min" => Aggregate::Least,
                        b"max" => Aggregate::Greatest,
                        _ => return Err(CommandError::Syntax),
                    };
                    after
                }
                (b"withscores", after) if purpose == Use::Answer => {
                    request.with_scores = true;
                    after
                }
                (b"limit", [limit, after @ ..]) if purpose == Use::Count => {
                    request.limit = number::count(limit, "ERR LIMIT can't be negative")?;
                    after
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(request)
    }
}

/// The members of one key.
#[derive(Clone, Copy)]
enum Source<'a> {
    Absent,
    Sorted(SortedElements<'a>),
    Set(Elements<'a>),
}

impl<'a> Source<'a> {
    fn read(store: &'a mut Access<'_>, db: Database, key: &[u8]) -> Result<Self, CommandError> {
        Ok(match store.kind(db, key) {
            None => Self::Absent,
            Some(Kind::Set) => store.set(db, key)?.map_or(Self::Absent, Self::Set),
            Some(Kind::SortedSet | Kind::String | Kind::Hash | Kind::List | Kind::Stream) => {
                store.sorted_set(db, key)?.map_or(Self::Absent, Self::Sorted)
            }
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Sorted(members) => members.len(),
            Self::Set(members) => members.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::Sorted(members) => members.score(member),
            Self::Set(members) => members.contains(member).then_some(1.0),
        }
    }

    fn each(&self, mut each: impl FnMut(&'a [u8], f64)) {
        match self {
            Self::Absent => {}
            Self::Sorted(members) => members.iter().for_each(|(member, score)| each(member, score)),
            Self::Set(members) => members.iter().for_each(|(member, _)| each(member, 1.0)),
        }
    }
}

type Scored = Vec<(Vec<u8>, f64)>;

fn combine(
    store: &mut Access<'_>,
    db: Database,
    algebra: Algebra,
    request: &Request<'_>,
) -> Result<Scored, CommandError> {
    let mut order = Vec::with_capacity(request.keys.len());
    for (index, key) in request.keys.iter().enumerate() {
        order.push((Source::read(store, db, key)?.len(), index));
    }
    // The smallest first, so that the others are only asked for what it holds; scores are added up in this order.
    order.sort_by_key(|&(length, _)| length);
    let order: Vec<usize> = order.into_iter().map(|(_, index)| index).collect();
    let mut result = match algebra {
        Algebra::Union => union(store, db, request, &order)?,
        Algebra::Intersection => intersection(store, db, request, &order)?,
        Algebra::Difference => difference(store, db, request.keys)?,
    };
    result.sort_unstable_by(|(one, score), (other, other_score)| {
        score.partial_cmp(other_score).unwrap_or(std::cmp::Ordering::Equal).then_with(|| one.cmp(other))
    });
    Ok(result)
}

fn union(store: &mut Access<'_>, db: Database, request: &Request<'_>, order: &[usize]) -> Result<Scored, CommandError> {
    let mut all: HashMap<Vec<u8>, f64> = HashMap::new();
    for &index in order {
        let weight = request.weights[index];
        Source::read(store, db, request.keys[index])?.each(|member, score| {
            let score = or_zero(weight * score);
            match all.get_mut(member) {
                Some(sum) => *sum = request.aggregate.of(*sum, score),
                None => drop(all.insert(member.to_vec(), score)),
            }
        });
    }
    Ok(all.into_iter().collect())
}

fn intersection(
    store: &mut Access<'_>,
    db: Database,
    request: &Request<'_>,
    order: &[usize],
) -> Result<Scored, CommandError> {
    let mut shared = Scored::new();
    let Some((&smallest, others)) = order.split_first() else { return Ok(shared) };
    let weight = request.weights[smallest];
    Source::read(store, db, request.keys[smallest])?
        .each(|member, score| shared.push((member.to_vec(), or_zero(weight * score))));
    for &index in others {
        let (source, weight) = (Source::read(store, db, request.keys[index])?, request.weights[index]);
        shared.retain_mut(|(member, sum)| match source.score(member) {
            Some(score) => {
                *sum = request.aggregate.of(*sum, weight * score);
                true
            }
            None => false,
        });
    }
    Ok(shared)
}

/// The members of the first key that no other has, with their scores.
fn difference(store: &mut Access<'_>, db: Database, keys: &[&[u8]]) -> Result<Scored, CommandError> {
    let mut left = Scored::new();
    Source::read(store, db, keys[0])?.each(|member, score| left.push((member.to_vec(), score)));
    for key in &keys[1..] {
        let source = Source::read(store, db, key)?;
        left.retain(|(member, _)| source.score(member).is_none());
    }
    Ok(left)
}

/// Reads the request behind the command's name (and target), and works out its result.
fn result_of<'a>(
    call: &mut Call<'_, '_>,
    name: &str,
    args: Words<'a>,
    algebra: Algebra,
    purpose: Use,
) -> Result<(Request<'a>, Scored), CommandError> {
    let db = call.db();
    let (keys, words) = Request::keys(name, args)?;
    for key in keys {
        Source::read(call.store, db, key)?;
    }
    let request = Request::parse(keys, words, algebra, purpose)?;
    let result = combine(call.store, db, algebra, &request)?;
    Ok((request, result))
}

fn answer(call: &mut Call<'_, '_>, name: &str, args: &[&[u8]], algebra: Algebra) -> Result<(), CommandError> {
    let (request, result) = result_of(call, name, &args[1..], algebra, Use::Answer)?;
    write_header(call.reply, result.len(), request.with_scores);
    for (member, score) in &result {
        write_member(call.reply, member, request.with_scores.then_some(*score));
    }
    Ok(())
}

fn store_result(call: &mut Call<'_, '_>, name: &str, args: &[&[u8]], algebra: Algebra) -> Result<(), CommandError> {
    let (_, result) = result_of(call, name, &args[2..], algebra, Use::Store)?;
    store(call, (name, args[1]), result.iter().map(|(member, score)| (&**member, *score)))
}

fn zunion(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, "zunion", args, Algebra::Union)
}

fn zunionstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    store_result(call, "zunionstore", args, Algebra::Union)
}

fn zinter(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, "zinter", args, Algebra::Intersection)
}

fn zinterstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    store_result(call, "zinterstore", args, Algebra::Intersection)
}

fn zintercard(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (request, result) = result_of(call, "zintercard", &args[1..], Algebra::Intersection, Use::Count)?;
    let limit = if request.limit == 0 { usize::MAX } else { request.limit };
    call.reply.integer(result.len().min(limit) as i64);
    Ok(())
}

fn zdiff(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, "zdiff", args, Algebra::Difference)
}

fn zdiffstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    store_result(call, "zdiffstore", args, Algebra::Difference)
}
