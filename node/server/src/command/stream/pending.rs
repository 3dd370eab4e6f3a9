//! `XPENDING`, `XCLAIM` and `XAUTOCLAIM`: what consumers of a group were given in this region and have not acknowledged,
//! and giving it to others.

use super::group::{in_words, note_consumer, would_be_new};
use super::group_read::each_entry;
use super::{id, reply_entry, reply_id};
use crate::command::number::{self, parse_integer};
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::{StreamId, UnixMillis};
use keyspace::{Claim, ConsumerNumber, PendingList};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "xpending",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: xpending,
        since: "5.0.0",
        summary: "Return information and entries from a stream consumer group pending entries list, that are messages fetched but never acknowledged.",
        group: Group::Stream,
        complexity: "O(N) with N being the number of elements returned, so asking for a small fixed number of entries per call is O(1). O(M), where M is the total number of entries scanned when used with the IDLE filter. When the command returns just the summary and the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.",
        merge: Merge::Local("What is pending belongs to the region that delivered it"),
        subcommands: &[],
    },
    Command {
        name: "xclaim",
        arity: -6,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: xclaim,
        since: "5.0.0",
        summary: "Changes (or acquires) ownership of a message in a consumer group, as if the message was delivered to the specified consumer.",
        group: Group::Stream,
        complexity: "O(log N) with N being the number of messages in the PEL of the consumer group.",
        merge: Merge::Writes("What is pending belongs to this region alone"),
        subcommands: &[],
    },
    Command {
        name: "xautoclaim",
        arity: -6,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: xautoclaim,
        since: "6.2.0",
        summary: "Changes (or acquires) ownership of messages in a consumer group, as if the messages were delivered to the specified consumer.",
        group: Group::Stream,
        complexity: "O(1) if COUNT is small.",
        merge: Merge::Writes("What is pending belongs to this region alone"),
        subcommands: &[],
    },
];

fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (in_words(key), in_words(group));
    CommandError::Detailed(format!("NOGROUP No such key '{key}' or consumer group '{group}'"))
}

/// Which of what is pending a client wants to see.
struct Extended<'a> {
    idle_ms_min: u64,
    from: StreamId,
    to: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Extended<'a> {
    /// Nothing if only the summary is wanted.
    fn parse(args: &'a [&'a [u8]]) -> Result<Option<Self>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::Syntax);
        }
        let (mut at, mut idle_ms_min) = (3, 0);
        if args[3].eq_ignore_ascii_case(b"idle") {
            idle_ms_min = u64::try_from(number::integer(args[4])?).unwrap_or_default();
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            at = 5;
        }
        let count = usize::try_from(number::integer(args[at + 2])?).unwrap_or_default();
        let (from, to) = (id::parse_start(args[at])?, id::parse_end(args[at + 1])?);
        Ok(Some(Self { idle_ms_min, from, to, count, consumer: args.get(at + 3).copied() }))
    }
}

fn xpending(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let extended = Extended::parse(args)?;
    let (db, key, name, now) = (call.db(), args[1], args[2], call.now());
    let reply = &mut *call.reply;
    let answered = call.store.with_group(db, key, name, |group| {
        let pending = &group.delivery().pending;
        match extended {
            None => reply_summary(reply, pending),
            Some(extended) => reply_extended(reply, pending, &extended, now),
        }
    })?;
    answered.ok_or_else(|| no_group(key, name))
}

fn reply_summary(reply: &mut resp::Reply, pending: &PendingList) {
    let mut all = pending.range(StreamId::ZERO..=StreamId::MAX);
    reply.array(4);
    reply.count(pending.len());
    let Some((first, _)) = all.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    let last = all.next_back().map_or(first, |(last, _)| last);
    reply_id(reply, first);
    reply_id(reply, last);
    let busy = || pending.consumers().filter(|consumer| !consumer.ids.is_empty());
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(&consumer.name);
        reply.bulk(consumer.ids.len().to_string().as_bytes());
    }
}

fn reply_extended(reply: &mut resp::Reply, pending: &PendingList, wanted: &Extended<'_>, now: UnixMillis) {
    let place = reply.deferred();
    let mut written = 0;
    let consumer: Option<Option<ConsumerNumber>> = wanted.consumer.map(|name| pending.number_of(name));
    let ids: Box<dyn Iterator<Item = StreamId>> = match consumer {
        _ if wanted.from > wanted.to => Box::new(std::iter::empty()),
        None => Box::new(pending.range(wanted.from..=wanted.to).map(|(id, _)| id)),
        Some(number) => {
            let consumer = number.and_then(|number| pending.consumer(number));
            Box::new(consumer.into_iter().flat_map(|consumer| consumer.ids.range(wanted.from..=wanted.to)).copied())
        }
    };
    for id in ids {
        let Some(entry) = pending.find(id).filter(|_| written < wanted.count) else { break };
        let idle_ms = now.saturating_sub(entry.delivered_ms);
        if idle_ms < wanted.idle_ms_min {
            continue;
        }
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(pending.consumer(entry.consumer).map_or(&[][..], |consumer| &consumer.name));
        reply.integer(i64::try_from(idle_ms).unwrap_or(i64::MAX));
        reply.integer(i64::try_from(entry.deliveries).unwrap_or(i64::MAX));
        written += 1;
    }
    reply.finish_array(place, written);
}

/// The shortest time for which what is claimed was with its consumer, in milliseconds.
fn idle_ms_min(text: &[u8], refusal: &'static str) -> Result<u64, CommandError> {
    let ms = parse_integer(text).ok_or(CommandError::Plain(refusal))?;
    Ok(u64::try_from(ms).unwrap_or_default())
}

/// The options of `XCLAIM`, beside what is claimed.
#[derive(Default)]
struct ClaimOptions {
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
    forces: bool,
    answers_ids: bool,
}

impl ClaimOptions {
    fn parse(options: &[&[u8]], now: UnixMillis) -> Result<Self, CommandError> {
        let mut found = Self::default();
        let mut at = 0;
        let integer = |text: &[u8], refusal| parse_integer(text).ok_or(CommandError::Plain(refusal));
        while let Some(word) = options.get(at) {
            let value = options.get(at + 1);
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            match value {
                _ if is("force") => found.forces = true,
                _ if is("justid") => found.answers_ids = true,
                Some(value) if is("idle") => {
                    let idle = integer(value, "ERR Invalid IDLE option argument for XCLAIM")?;
                    found.delivered_ms = Some(i64::try_from(now).unwrap_or(i64::MAX).wrapping_sub(idle));
                }
                Some(value) if is("time") => {
                    found.delivered_ms = Some(integer(value, "ERR Invalid TIME option argument for XCLAIM")?);
                }
                Some(value) if is("retrycount") => {
                    let count = integer(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    found.deliveries = u64::try_from(count).ok();
                }
                Some(value) if is("lastid") => found.last_id = id::parse_strict(value, 0)?,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(CommandError::Detailed(format!("ERR Unrecognized XCLAIM option '{word}'")));
                }
            }
            at += if is("force") || is("justid") { 1 } else { 2 };
        }
        Ok(found)
    }
}

fn xclaim(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name, consumer, now) = (call.db(), args[1], args[2], args[3], call.now());
    if call.store.with_group(db, key, name, |_| ())?.is_none() {
        return Err(no_group(key, name));
    }
    let idle_ms_min = idle_ms_min(args[4], "ERR Invalid min-idle-time argument for XCLAIM")?;
    // What is no id begins the options.
    let ids: Vec<StreamId> = args[5..].iter().map_while(|text| id::parse_strict(text, 0).ok()).collect();
    let options = ClaimOptions::parse(&args[5 + ids.len()..], now)?;
    let delivered_ms =
        options.delivered_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms <= now).unwrap_or(now);
    let ClaimOptions { deliveries, forces, answers_ids, last_id, .. } = options;
    let claim = Claim { idle_ms_min, delivered_ms, deliveries, forces, is_quiet: answers_ids };
    let is_new = would_be_new(call.store, db, key, name, consumer);
    let claimed = call.store.change_group(db, key, name, |group| {
        group.raise_last_id(last_id);
        ids.iter().copied().filter(|id| group.claim(consumer, *id, &claim, now)).collect::<Vec<StreamId>>()
    })?;
    let is_new = is_new && has_consumer(call, key, name, consumer);
    note_consumer(call.store, db, key, is_new);
    reply_claimed(call, key, &claimed.unwrap_or_default(), answers_ids)
}

/// Whether a consumer is there.
fn has_consumer(call: &mut Call<'_, '_>, key: &[u8], group: &[u8], consumer: &[u8]) -> bool {
    let is_there = |group: &mut keyspace::GroupMut<'_>| group.delivery().pending.number_of(consumer).is_some();
    call.store.with_group(call.client.database, key, group, is_there).is_ok_and(|is_there| is_there == Some(true))
}

/// Answers what was claimed: ids, or the entries.
fn reply_claimed(
    call: &mut Call<'_, '_>,
    key: &[u8],
    claimed: &[StreamId],
    answers_ids: bool,
) -> Result<(), CommandError> {
    call.reply.array(claimed.len());
    if answers_ids {
        claimed.iter().for_each(|id| reply_id(call.reply, *id));
        return Ok(());
    }
    let Some(stream) = call.store.stream(call.client.database, key)? else { return Ok(()) };
    // A client may name them in any order, and twice.
    for in_order in claimed.chunk_by(|one, next| one < next) {
        each_entry(stream, in_order, |_, entry| entry.iter().for_each(|entry| reply_entry(call.reply, entry)));
    }
    Ok(())
}

/// Entries that `XAUTOCLAIM` claims if it is not told.
const AUTOCLAIM_COUNT: usize = 100;

fn xautoclaim(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name, consumer, now) = (call.db(), args[1], args[2], args[3], call.now());
    let idle_ms_min = idle_ms_min(args[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let from = id::parse_start(args[5])?;
    let (mut count, mut answers_ids, mut at) = (AUTOCLAIM_COUNT, false, 6);
    while let Some(word) = args.get(at) {
        if let (true, Some(text)) = (word.eq_ignore_ascii_case(b"count"), args.get(at + 1)) {
            let most = i64::MAX / COUNT_FACTOR_MAX;
            let wanted = parse_integer(text).filter(|wanted| (1..=most).contains(wanted));
            let wanted = wanted.ok_or(CommandError::Plain("ERR COUNT must be > 0"))?;
            count = usize::try_from(wanted).unwrap_or(usize::MAX);
            at += 2;
        } else if word.eq_ignore_ascii_case(b"justid") {
            answers_ids = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let claim = Claim { idle_ms_min, delivered_ms: now, deliveries: None, forces: false, is_quiet: answers_ids };
    let is_new = would_be_new(call.store, db, key, name, consumer);
    let claimed =
        call.store.change_group(db, key, name, |group| group.claim_from(consumer, from, count, &claim, now))?;
    let Some(over) = claimed else { return Err(no_group(key, name)) };
    let is_new = is_new && has_consumer(call, key, name, consumer);
    note_consumer(call.store, db, key, is_new);
    call.reply.array(3);
    reply_id(call.reply, over.next.unwrap_or_default());
    reply_claimed(call, key, &over.claimed, answers_ids)?;
    call.reply.array(over.gone.len());
    over.gone.iter().for_each(|id| reply_id(call.reply, *id));
    Ok(())
}

/// The greatest count is the greatest integer divided by this, as in Redis.
const COUNT_FACTOR_MAX: i64 = 16;
