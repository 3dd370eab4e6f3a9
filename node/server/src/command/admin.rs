//! Commands for operators: configuration, information, memory, the slow log, and what Redis has for saving,
//! replication and stopping.
//!
//! `CONFIG` is handled in `admin::config`, `MEMORY` and `SLOWLOG` in `admin::diagnosis`, `LATENCY` in `admin::latency`. Commands that make
//! no sense on a node whose regions all write are refused with a sentence that says what there is instead.

pub(crate) mod config;
mod diagnosis;
mod latency;
mod saving;
#[cfg(test)]
mod tests;

use super::{Call, Command, CommandError, Flags, Group, Handler, Keys, Merge};
use crate::client::Special;
use crate::console::Stop;
use crate::info;
use crate::metrics::VERSION;

const ADMIN: Flags = Flags::ADMIN.union(Flags::NO_SCRIPT);
const ALWAYS: Flags = Flags::LOADING.union(Flags::STALE);
const ADMIN_ALWAYS: Flags = ADMIN.union(ALWAYS);
const TOLD: Flags = Flags::ADMIN.union(ALWAYS);
const ADMIN_FAST: Flags = ALWAYS.union(Flags::FAST).union(Flags::DANGEROUS);
const NODE: Merge = Merge::Local("Concerns this node only");
const SETTINGS: Merge = Merge::Local("Each node has settings of its own");

/// A row of this family.
const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags,
        keys: Keys::None,
        handler,
        since,
        summary,
        group: Group::Server,
        complexity: "O(1)",
        merge: NODE,
        subcommands: &[],
    }
}

/// The row of a command that is nothing without its subcommands.
const fn container(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    subcommands: &'static [Command],
) -> Command {
    Command {
        complexity: "Depends on subcommand.",
        subcommands,
        ..row(name, -2, Flags::empty(), alone, since, summary)
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("bgrewriteaof", 1, ADMIN, saving::bgrewriteaof, "1.0.0", "Asynchronously rewrite the append-only file"),
    row("bgsave", -1, ADMIN, saving::bgsave, "1.0.0", "Asynchronously save the dataset to disk"),
    container("config", "2.0.0", "A container for server configuration commands", CONFIG),
    row("debug", -2, ADMIN_ALWAYS.union(Flags::PROTECTED), refuse_debug, "1.0.0", "A container for debugging commands"),
    row(
        "info",
        -1,
        ALWAYS.union(Flags::DANGEROUS),
        information,
        "1.0.0",
        "Get information and statistics about the server",
    ),
    row(
        "lastsave",
        1,
        ADMIN_FAST,
        saving::lastsave,
        "1.0.0",
        "Get the UNIX time stamp of the last successful save to disk",
    ),
    container("latency", "2.8.13", "A container for latency diagnostics commands", LATENCY),
    Command {
        merge: Merge::Reads,
        ..row(
            "lolwut",
            -1,
            Flags::READONLY.union(Flags::FAST),
            lolwut,
            "5.0.0",
            "Display some computer art and the Redis version",
        )
    },
    container("memory", "4.0.0", "A container for memory diagnostics commands", MEMORY),
    row("monitor", 1, ADMIN_ALWAYS, monitor, "1.0.0", "Listen for all requests received by the server in real time"),
    row(
        "replicaof",
        3,
        ADMIN.union(Flags::STALE),
        replicaof,
        "5.0.0",
        "Make the server a replica of another instance, or promote it as master.",
    ),
    row(
        "role",
        1,
        ADMIN_FAST.union(Flags::NO_SCRIPT),
        role,
        "2.8.12",
        "Return the role of the instance in the context of replication",
    ),
    row("save", 1, ADMIN.union(Flags::NO_MULTI), saving::save, "1.0.0", "Synchronously save the dataset to disk"),
    row(
        "shutdown",
        -1,
        SHUTDOWN,
        shutdown,
        "1.0.0",
        "Synchronously save the dataset to disk and then shut down the server",
    ),
    row(
        "slaveof",
        3,
        ADMIN.union(Flags::STALE),
        replicaof,
        "1.0.0",
        "Make the server a replica of another instance, or promote it as master.",
    ),
    container("slowlog", "2.2.12", "A container for slow log commands", SLOWLOG),
    row("time", 1, ALWAYS.union(Flags::FAST), time, "2.6.0", "Return the current server time"),
];

const SHUTDOWN: Flags = ADMIN_ALWAYS.union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY);

const CONFIG: &[Command] = &[
    Command {
        merge: SETTINGS,
        complexity: "O(N) when N is the number of configuration parameters provided",
        ..row("get", -3, ADMIN_ALWAYS, config::get, "2.0.0", "Get the values of configuration parameters")
    },
    row("help", 2, ALWAYS, config::help, "5.0.0", "Show helpful text about the different subcommands"),
    row("resetstat", 2, ADMIN_ALWAYS, config::resetstat, "2.0.0", "Reset the stats returned by INFO"),
    Command {
        merge: SETTINGS,
        ..row(
            "rewrite",
            2,
            ADMIN_ALWAYS,
            config::rewrite,
            "2.8.0",
            "Rewrite the configuration file with the in memory configuration",
        )
    },
    Command {
        merge: SETTINGS,
        complexity: "O(N) when N is the number of configuration parameters provided",
        ..row(
            "set",
            -4,
            ADMIN_ALWAYS.union(Flags::SKIP_SLOWLOG),
            config::set,
            "2.0.0",
            "Set configuration parameters to the given values",
        )
    },
];

const LATENCY: &[Command] = &[
    row("doctor", 2, ADMIN_ALWAYS, latency::doctor, "2.8.13", "Return a human readable latency analysis report."),
    row("graph", 3, ADMIN_ALWAYS, latency::graph, "2.8.13", "Return a latency graph for the event."),
    row("help", 2, ALWAYS, latency::help, "2.8.13", "Show helpful text about the different subcommands."),
    Command {
        complexity: "O(N) where N is the number of commands with latency information being retrieved.",
        ..row(
            "histogram",
            -2,
            ADMIN_ALWAYS,
            latency::histogram,
            "7.0.0",
            "Return the cumulative distribution of latencies of a subset of commands or all.",
        )
    },
    row("history", 3, ADMIN_ALWAYS, latency::history, "2.8.13", "Return timestamp-latency samples for the event."),
    row("latest", 2, ADMIN_ALWAYS, latency::latest, "2.8.13", "Return the latest latency samples for all events."),
    row("reset", -2, ADMIN_ALWAYS, latency::reset, "2.8.13", "Reset latency data for one or more events."),
];

const MEMORY: &[Command] = &[
    row("doctor", 2, Flags::empty(), diagnosis::memory_doctor, "4.0.0", "Outputs memory problems report"),
    row("help", 2, ALWAYS, diagnosis::memory_help, "4.0.0", "Show helpful text about the different subcommands"),
    row("malloc-stats", 2, Flags::empty(), diagnosis::memory_malloc_stats, "4.0.0", "Show allocator internal stats"),
    row("purge", 2, Flags::empty(), diagnosis::memory_purge, "4.0.0", "Ask the allocator to release memory"),
    row("stats", 2, Flags::empty(), diagnosis::memory_stats, "4.0.0", "Show memory usage details"),
    Command {
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        merge: Merge::Reads,
        ..row("usage", -3, Flags::READONLY, diagnosis::memory_usage, "4.0.0", "Estimate the memory usage of a key")
    },
];

const SLOWLOG: &[Command] = &[
    Command {
        complexity: "O(N) where N is the number of entries returned",
        ..row("get", -2, TOLD, diagnosis::slowlog_get, "2.2.12", "Get the slow log's entries")
    },
    row("help", 2, ALWAYS, diagnosis::slowlog_help, "6.2.0", "Show helpful text about the different subcommands"),
    row("len", 2, TOLD, diagnosis::slowlog_len, "2.2.12", "Get the slow log's length"),
    Command {
        complexity: "O(N) where N is the number of entries in the slowlog",
        ..row("reset", 2, TOLD, diagnosis::slowlog_reset, "2.2.12", "Clear all entries from the slow log")
    },
];

/// A container that is called alone; dispatch refuses that before, by its arity.
fn alone(_: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let name = args.first().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).unwrap_or_default();
    Err(CommandError::wrong_arity(&name))
}

/// The lines of a `HELP`: what Redis puts before and after those of the command.
fn help(call: &mut Call<'_, '_>, name: &str, lines: &[&str]) {
    call.reply.array(lines.len() + 3);
    call.reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| call.reply.simple(line));
    call.reply.simple("HELP");
    call.reply.simple("    Prints this help.");
}

fn refuse_debug(_: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::protected("debug"))
}

fn information(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let text = info::text(call.node, call.now(), &args[1..]);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn lolwut(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if let [_, option, version, ..] = args
        && option.eq_ignore_ascii_case(b"version")
        && resp::parse_integer(version).is_none()
    {
        return Err(CommandError::NotAnInteger);
    }
    let mut text = String::new();
    for _ in 0..ISLAND_ROWS {
        let line: String =
            (0..ISLAND_COLUMNS).map(|_| if call.random().is_multiple_of(9) { '^' } else { '~' }).collect();
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&format!("\nIslands in one sea. Pelago ver. {VERSION}, Redis ver. {}\n", info::REDIS_VERSION));
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn monitor(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    if call.client.is_in_exec {
        return Err(CommandError::Plain("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    call.node.monitors.enter(&call.client.presence);
    call.client.special.insert(Special::MONITOR);
    call.reply.ok();
    Ok(())
}

fn replicaof(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one") {
        call.reply.ok();
        return Ok(());
    }
    Err(CommandError::Plain(
        "ERR every region takes writes, so there are no replicas: add a region with PELAGO REGION ADD instead",
    ))
}

fn role(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.integer(0);
    call.reply.array(0);
    Ok(())
}

fn shutdown(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let is = |option: &[u8], name: &str| option.eq_ignore_ascii_case(name.as_bytes());
    let asked = |name: &str| args[1..].iter().any(|option| is(option, name));
    let known = ["nosave", "save", "now", "force", "abort"];
    let all_known = args[1..].iter().all(|option| known.iter().any(|name| is(option, name)));
    if !all_known || (asked("abort") && args.len() > 2) || (asked("save") && asked("nosave")) {
        return Err(CommandError::Syntax);
    }
    if asked("abort") {
        if !call.node.console.cancel_stop() {
            return Err(CommandError::Plain("ERR No shutdown in progress."));
        }
        call.reply.ok();
        return Ok(());
    }
    if call.node.condition.is_busy() && !asked("nosave") {
        return Err(CommandError::Plain(call.node.scripts.running.refusal()));
    }
    if asked("save") && !asked("force") && !call.node.durability.is_on() {
        return Err(CommandError::Plain(saving::NOT_KEPT));
    }
    if !asked("nosave") && !asked("force") {
        saving::check_kept(&call.node.durability)?;
    }
    tracing::warn!(client = call.client.id(), "a client asked the node to stop");
    call.node.console.request_stop(if asked("now") { Stop::Now } else { Stop::Orderly });
    // Redis hangs up without an answer.
    call.client.closing = true;
    Ok(())
}

fn time(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let node = call.node;
    let now_us = if call.client.is_in_exec {
        *call.client.step_us.get_or_insert_with(|| node.wall_clock_us())
    } else {
        node.wall_clock_us()
    };
    call.reply.array(2);
    call.reply.bulk((now_us / 1_000_000).to_string().as_bytes());
    call.reply.bulk((now_us % 1_000_000).to_string().as_bytes());
    Ok(())
}

/// A number as replies have it; beyond the range it stays at the end of it.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

const ISLAND_ROWS: usize = 5;
const ISLAND_COLUMNS: usize = 40;
