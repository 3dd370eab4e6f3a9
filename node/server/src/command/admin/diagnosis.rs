//! `MEMORY` and `SLOWLOG`: what takes memory, and what took time.

use super::{help, integer};
use crate::command::{Call, CommandError};
use crate::info::{MemoryFigures, human, ratio};

pub fn memory_usage(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (mut options, mut samples) = (args[3..].iter(), SAMPLES_BY_DEFAULT);
    while let Some(option) = options.next() {
        let asked = options.next().filter(|_| option.eq_ignore_ascii_case(b"samples")).ok_or(CommandError::Syntax)?;
        samples = match resp::parse_integer(asked).ok_or(CommandError::NotAnInteger)? {
            0 => usize::MAX,
            count => usize::try_from(count).map_err(|_| CommandError::Syntax)?,
        };
    }
    match call.store.memory_of(call.client.database, args[2], samples) {
        Some(bytes) => call.reply.count(bytes),
        None => call.reply.null(),
    }
    Ok(())
}

pub fn memory_doctor(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let figures = figures(call);
    let mut text = format!(
        "{} in use, {} of it keys and values; at most {} was in use; {} in RAM.\n",
        human(figures.used),
        human(figures.dataset),
        human(figures.peak),
        human(figures.resident)
    );
    if figures.used > LITTLE && ratio(figures.resident, figures.used) > RESIDENT_RATIO_HIGH {
        text.push_str("Much more is in RAM than in use: the allocator has not given back what is free.\n");
    }
    if figures.used > LITTLE && ratio(figures.peak, figures.used) > PEAK_RATIO_HIGH {
        text.push_str("Much more was in use at some time than now.\n");
    }
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// The figures of Redis that exist here, under Redis' names.
pub fn memory_stats(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let figures = figures(call);
    let keys: u64 = (0..keyspace::DATABASES).map(|database| call.node.keyspace.len(database)).sum();
    let ring = u64::try_from(call.node.console.metrics.replication.ring_bytes.value()).unwrap_or_default();
    let clients = u64::try_from(call.node.console.metrics.clients.connections_bytes.value()).unwrap_or_default();
    let gap = |larger: u64, smaller: u64| integer(larger.saturating_sub(smaller));
    let integers = [
        ("peak.allocated", integer(figures.peak)),
        ("total.allocated", integer(figures.used)),
        ("startup.allocated", 0),
        ("replication.backlog", integer(ring)),
        ("clients.slaves", 0),
        ("clients.normal", integer(clients)),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", integer(figures.overhead())),
        ("keys.count", integer(keys)),
        ("keys.bytes-per-key", integer(figures.dataset.checked_div(keys).unwrap_or_default())),
        ("dataset.bytes", integer(figures.dataset)),
        ("allocator.allocated", integer(figures.allocated)),
        ("allocator.active", integer(figures.active)),
        ("allocator.resident", integer(figures.allocator_resident)),
        ("allocator-fragmentation.bytes", gap(figures.active, figures.allocated)),
        ("allocator-rss.bytes", gap(figures.allocator_resident, figures.active)),
        ("rss-overhead.bytes", gap(figures.resident, figures.allocator_resident)),
        ("fragmentation.bytes", gap(figures.resident, figures.used)),
    ];
    let doubles = [
        ("dataset.percentage", ratio(figures.dataset, figures.used) * 100.0),
        ("peak.percentage", ratio(figures.used, figures.peak) * 100.0),
        ("allocator-fragmentation.ratio", ratio(figures.active, figures.allocated)),
        ("allocator-rss.ratio", ratio(figures.allocator_resident, figures.active)),
        ("rss-overhead.ratio", ratio(figures.resident, figures.allocator_resident)),
        ("fragmentation", ratio(figures.resident, figures.used)),
    ];
    call.reply.map(integers.len() + doubles.len());
    for (name, value) in integers {
        call.reply.bulk(name.as_bytes());
        call.reply.integer(value);
    }
    for (name, value) in doubles {
        call.reply.bulk(name.as_bytes());
        call.reply.double(value);
    }
    Ok(())
}

pub fn memory_malloc_stats(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.bulk(b"Stats not supported for the current allocator");
    Ok(())
}

/// The allocator gives memory back by itself; there is nothing to ask of it.
pub fn memory_purge(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.ok();
    Ok(())
}

pub fn memory_help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    help(
        call,
        "MEMORY",
        &[
            "DOCTOR",
            "    Return memory problems reports.",
            "MALLOC-STATS",
            "    Return internal statistics report from the memory allocator.",
            "PURGE",
            "    Attempt to purge dirty pages for reclamation by the allocator.",
            "STATS",
            "    Return information about the memory usage of the server.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value. Nested values are",
            "    sampled up to <count> times (default: 5, 0 means sample all).",
        ],
    );
    Ok(())
}

pub fn slowlog_get(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let count = match args {
        [_, _] => SLOWLOG_ENTRIES_BY_DEFAULT,
        [_, _, count] => match resp::parse_integer(count) {
            Some(-1) => usize::MAX,
            Some(count) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
            Some(_) | None => {
                return Err(CommandError::OutOfRange("count should be greater than or equal to -1"));
            }
        },
        [..] => {
            let written = String::from_utf8_lossy(args[1]);
            return Err(CommandError::Detailed(format!(
                "ERR unknown subcommand or wrong number of arguments for '{written}'. Try SLOWLOG HELP."
            )));
        }
    };
    let entries = call.node.console.metrics.slow_log.latest(count);
    call.reply.array(entries.len());
    for entry in entries {
        call.reply.array(6);
        call.reply.integer(integer(entry.number));
        call.reply.integer(integer(entry.unix_seconds));
        call.reply.integer(integer(entry.micros));
        call.reply.array(entry.arguments.len());
        entry.arguments.iter().for_each(|argument| call.reply.bulk(argument));
        call.reply.bulk(entry.client_address.as_bytes());
        call.reply.bulk(entry.client_name.as_bytes());
    }
    Ok(())
}

pub fn slowlog_len(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.count(call.node.console.metrics.slow_log.len());
    Ok(())
}

pub fn slowlog_reset(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.node.console.metrics.slow_log.clear();
    call.reply.ok();
    Ok(())
}

pub fn slowlog_help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    help(
        call,
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    );
    Ok(())
}

fn figures(call: &Call<'_, '_>) -> MemoryFigures {
    let node = call.node;
    node.console.metrics.refresh(node);
    MemoryFigures::new(&node.console.metrics)
}

/// Elements that `MEMORY USAGE` looks at, as in Redis.
const SAMPLES_BY_DEFAULT: usize = 5;
const SLOWLOG_ENTRIES_BY_DEFAULT: usize = 10;
/// Below this, ratios say nothing.
const LITTLE: u64 = 64 << 20;
const RESIDENT_RATIO_HIGH: f64 = 1.5;
const PEAK_RATIO_HIGH: f64 = 1.5;
