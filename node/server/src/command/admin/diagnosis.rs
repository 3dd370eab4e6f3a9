//! `MEMORY`, `SLOWLOG` and `LATENCY`: what takes memory and time.

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
    let gap = |larger: u64, smaller: u64| integer(larger.saturating_sub(smaller));
    let integers = [
        ("peak.allocated", integer(figures.peak)),
        ("total.allocated", integer(figures.used)),
        ("startup.allocated", 0),
        ("replication.backlog", integer(ring)),
        ("clients.slaves", 0),
        ("clients.normal", 0),
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

/// Redis' latency monitor is not offered, so no event has a sample, as in a Redis where it is off.
pub fn latency_latest(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(0);
    Ok(())
}

pub fn latency_history(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(0);
    Ok(())
}

pub fn latency_reset(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.integer(0);
    Ok(())
}

pub fn latency_graph(_: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let event = String::from_utf8_lossy(args[2]);
    Err(CommandError::Detailed(format!("ERR No samples available for event '{event}'")))
}

pub fn latency_doctor(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let console = &call.node.console.metrics.console;
    let text = format!(
        "The latency monitor is not offered. The longest delay of an event loop was {} us; {} were longer than 10 ms. \
         See LATENCY HISTOGRAM, SLOWLOG and the metrics.\n",
        console.event_loop_stall_us_max.value(),
        console.event_loop_stalls.value()
    );
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

pub fn latency_histogram(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let node = call.node;
    let statistics = node.console.metrics.statistics(node);
    let asked = |name: &str| {
        let container = name.split('|').next().unwrap_or(name);
        let is = |argument: &&[u8]| {
            argument.eq_ignore_ascii_case(name.as_bytes()) || argument.eq_ignore_ascii_case(container.as_bytes())
        };
        args.len() == 2 || args[2..].iter().any(is)
    };
    let timed = statistics.used_commands().filter(|(name, totals)| totals.latencies.count() > 0 && asked(name));
    let timed: Vec<_> = timed.collect();
    call.reply.map(timed.len());
    for (name, totals) in timed {
        call.reply.bulk(name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.integer(integer(totals.latencies.count()));
        call.reply.bulk(b"histogram_usec");
        let powers = totals.latencies.by_powers_us();
        call.reply.map(powers.len());
        for (micros, below) in powers {
            call.reply.integer(integer(micros));
            call.reply.integer(integer(below));
        }
    }
    Ok(())
}

pub fn latency_help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    help(
        call,
        "LATENCY",
        &[
            "DOCTOR",
            "    Return a human readable latency analysis report.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
            "    If no commands are specified then all histograms are replied.",
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
