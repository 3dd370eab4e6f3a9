//! What is noticed of a command by those who want to know: clients that cache what they read, and who hears of new keys and
//! of keys that were looked for in vain. Wherever a handler is called, it is called through here.

use super::{KeyList, collect_keys};
use crate::client::{ClientState, Special};
use crate::command::table::Entry;
use crate::command::{Call, CommandError, Flags};
use crate::limits::GROUP_BYTES_MAX;
use crate::tracking::Quiet;
use keyspace::{EventClass, Together};
use std::time::Duration;

/// Runs the handler of a command.
#[inline]
pub fn run_handler(call: &mut Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> Result<(), CommandError> {
    let tells = call.node.keyspace.wants_events(EventClass::NEW.union(EventClass::KEY_MISS));
    if tells || call.client.special.intersects(Special::TRACKS.union(Special::QUIET)) {
        return run_noticed(call, entry, args, tells);
    }
    (entry.command.handler)(call, args)
}

/// The same of a command in a transaction or of a script. It is counted and timed, and the slow log and the latency monitor
/// hear of it, as one that stands alone; what all of them change has to fit into one batch.
#[inline]
pub fn run_inner_handler(call: &mut Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> Result<(), CommandError> {
    let timed = call.client.tally.call(entry.ordinal) || entry.is_timed(args.len());
    if call.store.pending_bytes() > GROUP_BYTES_MAX && entry.command.flags.contains(Flags::WRITE) {
        call.node.console.metrics.replication.limits_met.add("group_bytes", 1);
        return Err(CommandError::Plain("ERR what is written at once would be more than one batch can hold"));
    }
    let is_script = entry.command.flags.contains(Flags::SCRIPT);
    let _together = (!is_script && call.node.tracking.broadcasts()).then(Together::begin);
    if !timed {
        return run_handler(call, entry, args);
    }
    let began_ns = call.node.monotonic_ns();
    let result = run_handler(call, entry, args);
    let taken_ns = call.node.monotonic_ns().saturating_sub(began_ns);
    call.client.tally.time(entry.ordinal, taken_ns);
    let (taken, config) = (Duration::from_nanos(taken_ns), call.node.config.load());
    super::note_if_slow(call.node, call.client, entry, taken, call.now(), args, &config);
    result
}

#[cold]
fn run_noticed(call: &mut Call<'_, '_>, entry: &Entry, args: &[&[u8]], tells: bool) -> Result<(), CommandError> {
    let writes = entry.command.flags.contains(Flags::WRITE);
    let mut keys = KeyList::new();
    if !collect_keys(entry, args, &mut keys) {
        keys.clear();
    }
    let database = call.client.database;
    let reads = entry.command.flags.contains(Flags::READONLY);
    if tells && !reads {
        note_missing(call, entry, args, &keys);
    }
    if tells && writes {
        call.store.expect_new(database, keys.iter().copied());
    }
    // Not around a script, which may be put aside in the middle: what it calls comes through here too.
    let is_quiet = writes && call.client.special.contains(Special::QUIET);
    let quiet = is_quiet.then(|| Quiet::begin(call.client.id()));
    let result = (entry.command.handler)(call, args);
    drop(quiet);
    if tells && writes {
        call.store.settle_new();
    }
    let has_looked = match &result {
        // These refuse what they have looked for in vain.
        Err(CommandError::NoSuchKey) => true,
        Err(CommandError::Detailed(_)) => entry.full_name == "xpending",
        other => other.is_ok(),
    };
    if tells && reads && has_looked {
        note_missing(call, entry, args, &keys);
    }
    note_reads(call, entry, if reads { &keys } else { &[] });
    result
}

/// Commands about keys that do not count as reading them.
const LOOKS_ASIDE: [&str; 5] = ["memory|usage", "object|encoding", "object|freq", "object|idletime", "object|refcount"];

/// Notes the keys that a command will look for in vain: those that it reads, also if it writes others.
fn note_missing(call: &mut Call<'_, '_>, entry: &Entry, args: &[&[u8]], keys: &[&[u8]]) {
    let says = |word: &[u8]| args.get(2..).unwrap_or_default().iter().any(|other| other.eq_ignore_ascii_case(word));
    let (read, only_first): (&[&[u8]], bool) = match &*entry.full_name {
        "getex" | "getdel" | "getset" | "xack" | "xclaim" | "xautoclaim" | "xreadgroup" | "pfmerge" | "migrate" => {
            (keys, false)
        }
        "set" if says(b"get") => (keys, false),
        "bitfield" if !says(b"set") && !says(b"incrby") => (keys, false),
        "copy" | "sort" | "georadius" | "georadiusbymember" => (keys.get(..1).unwrap_or_default(), false),
        "sinterstore" => (keys.get(1..).unwrap_or_default(), true),
        "sdiffstore" | "sunionstore" | "zrangestore" | "geosearchstore" | "bitop" => {
            (keys.get(1..).unwrap_or_default(), false)
        }
        // Their target stands first, wherever the row gives it.
        "zunionstore" | "zinterstore" | "zdiffstore" => {
            let count =
                args.get(2).and_then(|count| resp::parse_integer(count)).and_then(|count| usize::try_from(count).ok());
            (count.and_then(|count| args.get(3..3 + count)).unwrap_or_default(), false)
        }
        name if entry.command.flags.contains(Flags::READONLY) && !LOOKS_ASIDE.contains(&name) => (keys, false),
        _ => return,
    };
    let database = call.client.database;
    for key in read {
        if !call.store.is_there(database, key) {
            call.store.note(EventClass::KEY_MISS, "keymiss", database, key);
            if only_first {
                return;
            }
        }
    }
}

/// Remembers for a client that caches what it reads which keys a command has read. Their slots are locked.
fn note_reads(call: &mut Call<'_, '_>, entry: &Entry, keys: &[&[u8]]) {
    let id = call.client.id();
    let Some(tracks) = &mut call.client.tracks else { return };
    if tracks.remembers() && !keys.is_empty() {
        keys.iter().for_each(|key| tracks.room().remember(id, key));
        tracks.room().keep_within_limit(keys.len());
    }
    end_caching(call.client, Some(entry));
}

/// What `CLIENT CACHING` said is meant for the command behind it, or for the transaction, whatever becomes of that.
pub(super) fn end_caching(client: &mut ClientState, entry: Option<&Entry>) {
    let is_own = entry.is_some_and(|entry| entry.command.name == "client" || entry.full_name.starts_with("client|"));
    if !client.is_in_exec
        && client.transaction.is_none()
        && !is_own
        && let Some(tracks) = &mut client.tracks
    {
        tracks.is_caching = false;
    }
}
