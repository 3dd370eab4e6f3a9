//! From a request to its reply: which command, whether now, with which keys locked; then its handler.
//!
//! The checks stand in the order Redis makes them, because clients see which refusal comes first.

use crate::acl;
use crate::client::{ClientState, Replies, Special};
use crate::command::acl::note_denied;
use crate::command::secrets::without_passwords;
use crate::command::table::Entry;
use crate::command::transaction::Transaction;
use crate::command::{Call, CommandError, Flags, Keys, function, pubsub, scripting};
use crate::config::Config;
use crate::latency_monitor::Event;
use crate::monitors::Shown;
use crate::node::Node;
use crate::scripting::stage::{self, Ran, Stage};
use crate::worker::Worker;
use crdt::UnixMillis;
use keyspace::{Access, Keyspace, Place, Together, Writer};
use resp::{Reply, Version};
use smallvec::SmallVec;
use std::time::Duration;

mod noticed;
mod pauses;

pub use noticed::{run_handler, run_inner_handler};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered (or its answer was not wanted).
    Done,
    /// Commands like it are paused until then; the request must be given again.
    Paused(UnixMillis),
    /// Its script runs for long: others are served meanwhile, see [`go_on`].
    Aside,
}

/// Keys on the stack for nearly all commands.
type KeyList<'k> = SmallVec<[&'k [u8]; 16]>;

/// Executes or refuses one request. `args` has at least the name.
pub fn dispatch(
    worker: &Worker,
    client: &mut ClientState,
    reply: &mut Reply,
    now: UnixMillis,
    args: &[&[u8]],
) -> Outcome {
    dispatch_named(worker, client, reply, now, Asked { named: worker.node.table.find(args[0]), place: None, args })
}

/// A request that was looked into before its turn.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    /// The command that its first word names.
    pub named: Option<&'static Entry>,
    /// Where its first key is looked for, if that is known.
    pub place: Option<Place>,
    /// Its words, at least the name.
    pub args: &'r [&'r [u8]],
}

/// The same, of a request that has been looked into.
pub fn dispatch_named(
    worker: &Worker,
    client: &mut ClientState,
    reply: &mut Reply,
    now: UnixMillis,
    asked: Asked<'_>,
) -> Outcome {
    let Asked { named, place, args } = asked;
    let before = reply.len();
    match find(named, args) {
        Ok(entry) => {
            let flags = effective_flags(entry, client);
            if let Err(error) = admit(worker, client, entry, flags, args, now) {
                if is_worth_waiting(worker, &error) {
                    return Outcome::Paused(now + LOADING_LOOK_MS);
                }
                refuse(client, reply, Some(entry), &error);
            } else if let Some(until) = pauses::paused_until(&worker.node, client, entry, args, now) {
                return Outcome::Paused(until);
            } else if client.transaction.is_some() && !entry.command.flags.contains(Flags::NEVER_QUEUED) {
                queue(client, reply, entry, args);
            } else {
                let executed = if flags.contains(Flags::SCRIPT) {
                    match stage::begin(worker, client, reply, now, (entry, place), args) {
                        Ran::Ended(executed) => executed,
                        Ran::Aside => return Outcome::Aside,
                        // It looks at what is known of scripts, from here too.
                        Ran::Occupied if flags.contains(Flags::ALLOW_BUSY) => {
                            execute(worker, client, reply, now, (entry, place), args, None)
                        }
                        Ran::Occupied => {
                            let refusal = worker.node.scripts.running.refusal();
                            refuse(client, reply, Some(entry), &CommandError::Plain(refusal));
                            Executed::Done
                        }
                    }
                } else {
                    execute(worker, client, reply, now, (entry, place), args, None)
                };
                if matches!(executed, Executed::Frozen) {
                    client.showing.again_from(0);
                    let wait = if flags.contains(Flags::SCRIPT) { FROZEN_SCRIPT_LOOK_MS } else { FROZEN_LOOK_MS };
                    return Outcome::Paused(now + wait);
                }
            }
        }
        Err(Unknown::Attack) => client.closing = true,
        Err(Unknown::Refused(error)) => refuse(client, reply, None, &error),
    }
    // Also if it was refused when it came again.
    client.showing.end();
    withhold_unwanted(client, reply, before);
    Outcome::Done
}

/// Goes on with the command that was put aside because its script runs for long.
pub fn go_on(worker: &Worker, client: &mut ClientState, reply: &mut Reply) -> Outcome {
    match stage::go_on(worker, client, reply) {
        (Ran::Aside, _) => Outcome::Aside,
        (Ran::Ended(_) | Ran::Occupied, before) => {
            client.showing.end();
            withhold_unwanted(client, reply, before);
            Outcome::Done
        }
    }
}

/// What became of a command that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// It was executed, or refused.
    Done,
    /// Nothing was done because a key is being moved: the request must be given again.
    Frozen,
}

/// Runs a command on the stack for those that run scripts.
pub fn execute_on_stage(
    worker: &Worker,
    client: &mut ClientState,
    reply: &mut Reply,
    now: UnixMillis,
    (entry, place): (&'static Entry, Option<Place>),
    args: &[&[u8]],
    stage: &Stage<'_>,
) -> Executed {
    if !function::refresh(stage, now) && !entry.command.flags.contains(Flags::ALLOW_BUSY) {
        refuse(client, reply, Some(entry), &CommandError::Plain(worker.node.scripts.running.refusal()));
        return Executed::Done;
    }
    execute(worker, client, reply, now, (entry, place), args, Some(stage))
}

/// Takes the reply back, or that which comes later, if the client does not want it.
#[inline]
fn withhold_unwanted(client: &mut ClientState, reply: &mut Reply, before: usize) {
    if client.replies != Replies::On {
        client.is_answer_unwanted = client.awaits_answer();
        withhold(client, reply, before);
    }
}

/// Why a request names no command.
enum Unknown {
    /// Somebody made a browser or proxy speak to us (cross-protocol scripting): hang up.
    Attack,
    /// A mistake.
    Refused(CommandError),
}

#[inline]
fn find(named: Option<&'static Entry>, args: &[&[u8]]) -> Result<&'static Entry, Unknown> {
    let entry = named.ok_or_else(|| unknown(args))?;
    if entry.subcommands.is_empty() || args.len() < 2 {
        return Ok(entry);
    }
    entry.subcommand(args[1]).ok_or_else(|| {
        Unknown::Refused(CommandError::Detailed(format!(
            "ERR unknown subcommand '{}'. Try {} HELP.",
            shortened(args[1]),
            entry.command.name.to_ascii_uppercase()
        )))
    })
}

#[cold]
fn unknown(args: &[&[u8]]) -> Unknown {
    if args[0].eq_ignore_ascii_case(b"host:") || args[0].eq_ignore_ascii_case(b"post") {
        return Unknown::Attack;
    }
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", shortened(args[0]));
    let start = text.len();
    for argument in &args[1..] {
        if text.len() - start >= QUOTED_BYTES_MAX {
            break;
        }
        let rest = QUOTED_BYTES_MAX - (text.len() - start);
        let quoted = &argument[..argument.len().min(rest)];
        text.push_str(&format!("'{}' ", String::from_utf8_lossy(quoted)));
    }
    Unknown::Refused(CommandError::Detailed(text))
}

/// How much of a request its refusal repeats.
const QUOTED_BYTES_MAX: usize = 128;

fn shortened(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&text[..text.len().min(QUOTED_BYTES_MAX)])
}

/// The flags that count for admission: those of `EXEC` are those of all it would execute.
#[inline]
fn effective_flags(entry: &Entry, client: &ClientState) -> Flags {
    match (entry.command.keys, &client.transaction) {
        (Keys::Queued, Some(transaction)) => {
            let flags = entry.command.flags;
            flags.union(transaction.flags().intersection(Flags::WRITE.union(Flags::DENY_OOM).union(Flags::SCRIPT)))
        }
        _ => entry.command.flags,
    }
}

/// Whether the command may run now. One that may need more memory has keys evicted first, while too much is used.
#[inline]
fn admit(
    worker: &Worker,
    client: &ClientState,
    entry: &Entry,
    flags: Flags,
    args: &[&[u8]],
    now: UnixMillis,
) -> Result<(), CommandError> {
    if !entry.takes(args.len()) {
        return Err(CommandError::wrong_arity(&entry.full_name));
    }
    if flags.contains(Flags::PROTECTED) {
        return Err(CommandError::protected(&entry.full_name));
    }
    let node = &worker.node;
    if !client.is_trusted() {
        permit(node, client, entry, flags, args, now)?;
    }
    if node.condition.is_busy() && !flags.contains(Flags::ALLOW_BUSY) {
        return Err(CommandError::Plain(node.scripts.running.refusal()));
    }
    if node.memory_limit.is_over() && flags.contains(Flags::DENY_OOM) {
        node.memory_limit.relieve(node, &mut worker.writer(), now);
    }
    let condition = &node.condition;
    if condition.is_out_of_memory() && flags.contains(Flags::DENY_OOM) {
        return Err(CommandError::Plain("OOM command not allowed when used memory > 'maxmemory'."));
    }
    if flags.contains(Flags::WRITE)
        && let Some(reason) = condition.writes_refused()
    {
        return Err(CommandError::Detailed(reason));
    }
    if client.special.contains(Special::SUBSCRIBED)
        && !flags.contains(Flags::SUBSCRIBER)
        && client.presence.version() == Version::Resp2
    {
        return Err(pubsub::refusal(&entry.full_name));
    }
    if condition.is_loading() && !flags.contains(Flags::LOADING) && !is_read(node, entry, args) {
        return Err(CommandError::Plain(LOADING));
    }
    if flags.contains(Flags::NO_MULTI) && client.transaction.is_some() {
        return Err(CommandError::Plain("ERR Command not allowed inside a transaction"));
    }
    if client.special.contains(Special::MONITOR) && flags.intersects(USES_KEYS) {
        return Err(CommandError::Plain("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

/// Whether a client that may not do everything may do this.
#[cold]
fn permit(
    node: &Node,
    client: &ClientState,
    entry: &Entry,
    flags: Flags,
    args: &[&[u8]],
    now: UnixMillis,
) -> Result<(), CommandError> {
    if !client.authenticated && !flags.contains(Flags::NO_AUTH) && node.acl.requires_password() {
        return Err(CommandError::Plain("NOAUTH Authentication required."));
    }
    client.user.may(entry, args).map_err(|denied| {
        let place = if client.transaction.is_some() { acl::Place::Transaction } else { acl::Place::TopLevel };
        note_denied(node, client, place, denied, (entry, args), now);
        CommandError::Detailed(denied.refusal(entry))
    })
}

/// Whether all that a command may touch has been read from the disk, though not everything has.
#[cold]
fn is_read(node: &Node, entry: &Entry, args: &[&[u8]]) -> bool {
    if !node.readiness.is_partial() {
        return false;
    }
    let mut keys = KeyList::new();
    match entry.command.keys {
        Keys::None | Keys::Queued => !entry.command.flags.contains(Flags::WHOLE_DATABASE),
        keys if keys.are_open(args) => false,
        // All are looked at: each is to be read soon.
        _ if collect_keys(entry, args, &mut keys) => keys.iter().filter(|key| !node.readiness.has(key)).count() == 0,
        // Its handler refuses it.
        _ => true,
    }
}

/// What a client that is shown all commands may not do: to Redis it is a replica.
const USES_KEYS: Flags = Flags::WRITE.union(Flags::READONLY).union(Flags::MAY_REPLICATE);

const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// Whether a refusal is for lack of keys that will be there in a moment, and is to be waited for.
#[cold]
fn is_worth_waiting(worker: &Worker, error: &CommandError) -> bool {
    matches!(error, CommandError::Plain(LOADING))
        && worker.node.readiness.is_partial()
        && worker.config(|config| config.loading_replies == "wait")
}

/// Milliseconds after which a command looks again whether its keys have been read, if nobody says so.
const LOADING_LOOK_MS: u64 = 100;

/// Answers a refusal. Inside a transaction it dooms the whole; of `EXEC` itself it ends it.
#[cold]
fn refuse(client: &mut ClientState, reply: &mut Reply, entry: Option<&Entry>, error: &CommandError) {
    let text = error.to_string();
    client.tally.rejected(entry.map(|entry| entry.ordinal), &text);
    client.last_command = entry.map(|entry| entry.ordinal).or(client.last_command);
    if entry.is_some_and(|entry| matches!(entry.command.keys, Keys::Queued)) {
        client.transaction = None;
        noticed::end_caching(client, entry);
        client.watches.clear();
        let cause = text.strip_prefix("ERR ").unwrap_or(&text);
        reply.error(&format!("EXECABORT Transaction discarded because of: {cause}"));
        return;
    }
    if let Some(transaction) = &mut client.transaction {
        transaction.refuse();
    }
    noticed::end_caching(client, entry);
    reply.error(&text);
}

fn queue(client: &mut ClientState, reply: &mut Reply, entry: &'static Entry, args: &[&[u8]]) {
    let Some(transaction) = &mut client.transaction else { return };
    client.last_command = Some(entry.ordinal);
    match transaction.queue(entry, args) {
        Ok(()) => reply.simple("QUEUED"),
        Err(error) => refuse(client, reply, Some(entry), &error),
    }
}

/// Locks the keys and runs the handler, unless one of them is being moved.
#[inline]
fn execute(
    worker: &Worker,
    client: &mut ClientState,
    reply: &mut Reply,
    now: UnixMillis,
    (entry, place): (&'static Entry, Option<Place>),
    args: &[&[u8]],
    stage: Option<&Stage<'_>>,
) -> Executed {
    if meets_frozen(worker, client, entry, args) {
        return Executed::Frozen;
    }
    let timed = worker.tally.call(entry.ordinal) || entry.is_timed(args.len());
    let started = if timed { worker.node.monotonic_ns() } else { 0 };
    client.last_command = Some(entry.ordinal);
    let before = reply.len();
    serve_waiting(worker, now);
    let result = {
        let mut writer = if stage.is_some() { worker.script_writer() } else { worker.writer() };
        // Looked at where it was made: it is not small, and every command has one.
        let mut accessed = access(&mut writer, client, now, (entry, place), args, stage);
        let Some(access) = accessed.as_mut() else {
            refuse(client, reply, Some(entry), &CommandError::Plain(worker.node.scripts.running.refusal()));
            return Executed::Done;
        };
        // SUBTLE: again, with the slots locked: nobody freezes keys in them from here on.
        if meets_frozen(worker, client, entry, args) {
            return Executed::Frozen;
        }
        let is_shown = worker.node.monitors.is_watched();
        if is_shown {
            client.showing.begin();
        }
        access.begin_command();
        let mut call = Call { store: access, reply, client, node: &worker.node, stage };
        // What it changes stays locked until it ends. A script may be put aside: its calls are told of one by one.
        let together = (stage.is_none() && worker.node.tracking.broadcasts()).then(Together::begin);
        let result = run_handler(&mut call, entry, args);
        drop(together);
        worker.tally.looked(entry.command.flags, access.lookups());
        let result = if access.has_given_up() {
            Err(CommandError::Plain(worker.node.scripts.running.refusal()))
        } else {
            result
        };
        if is_shown && !matches!(result, Err(CommandError::KeyIsMoved)) {
            show(&worker.node, client, entry, args);
        }
        result
    };
    serve_waiting(worker, now);
    if let Err(CommandError::KeyIsMoved) = result {
        reply.truncate(before);
        return Executed::Frozen;
    }
    if let Err(error) = result {
        let text = error.to_string();
        worker.tally.failed(entry.ordinal, &text);
        reply.truncate(before);
        reply.error(&text);
    }
    if timed {
        let taken_ns = worker.node.monotonic_ns().saturating_sub(started);
        worker.tally.time(entry.ordinal, taken_ns);
        let taken = Duration::from_nanos(taken_ns);
        worker.config(|config| note_if_slow(&worker.node, client, entry, taken, now, args, config));
    }
    Executed::Done
}

/// Shows a command that was executed to those who want it, with its locks held: so in the order in which commands took
/// effect, and in the database that it leaves its client in. What others in it are is shown before, as in Redis, but for
/// scripts, which are shown before what they call.
#[cold]
pub fn show(node: &Node, client: &ClientState, entry: &Entry, args: &[&[u8]]) {
    if !entry.command.flags.intersects(Flags::SKIP_MONITOR.union(Flags::ADMIN)) {
        show_from(node, client, &client.presence.address, &without_passwords(entry, args));
    }
}

/// The same of one that a script calls.
#[cold]
pub fn show_of_script(node: &Node, client: &ClientState, entry: &Entry, args: &[&[u8]]) {
    if !entry.command.flags.intersects(Flags::SKIP_MONITOR.union(Flags::ADMIN)) {
        show_from(node, client, &"lua", &without_passwords(entry, args));
    }
}

/// Shows a command of a client that comes from somewhere, in its database, unless it was shown already.
#[cold]
pub fn show_from(node: &Node, client: &ClientState, source: &dyn std::fmt::Display, args: &[&[u8]]) {
    if !client.showing.is_new() {
        return;
    }
    let config = node.config.load();
    // Not when it began: what runs for long would be shown behind what has begun after it, with an earlier time.
    let now = node.wall_clock();
    let shown = Shown { now, database: client.database.0, source, words: args };
    node.monitors.show(&shown, config.monitor_lines_max, &config.client_output_buffer_limit);
}

/// Milliseconds after which a command looks again whether its keys are still being moved.
const FROZEN_LOOK_MS: u64 = 2;

/// The same for scripts, which may have run until they came upon the key.
const FROZEN_SCRIPT_LOOK_MS: u64 = 10;

/// Whether a command works on a key that is being moved.
#[inline]
fn meets_frozen(worker: &Worker, client: &ClientState, entry: &Entry, args: &[&[u8]]) -> bool {
    worker.node.keyspace.has_frozen() && looks_frozen(&worker.node.keyspace, client, entry, args)
}

#[cold]
fn looks_frozen(keyspace: &Keyspace, client: &ClientState, entry: &Entry, args: &[&[u8]]) -> bool {
    let flags = effective_flags(entry, client);
    // What a script writes is not known before.
    let writes = flags.intersects(Flags::WRITE.union(Flags::SCRIPT));
    let mut keys = KeyList::new();
    match (entry.command.keys, &client.transaction) {
        (Keys::None, _) => return writes && flags.contains(Flags::WHOLE_DATABASE),
        (Keys::Queued, Some(transaction)) => {
            let is_whole = transaction.flags().contains(Flags::WHOLE_DATABASE);
            return writes && is_whole || keyspace.meets_frozen(&keys_of_transaction(client, transaction), writes);
        }
        (Keys::Queued, None) => {}
        _ => _ = collect_keys(entry, args, &mut keys),
    }
    keyspace.meets_frozen(&keys, writes)
}

/// Serves the clients that wait for keys that have changed, before anybody else sees these.
#[inline]
pub(crate) fn serve_waiting(worker: &Worker, now: UnixMillis) {
    if worker.node.blocking.is_ready() {
        worker.node.blocking.serve(&worker.node, &mut worker.writer(), now);
    }
}

/// Tells the latency monitor how long a command took.
fn note_latency(node: &Node, entry: &Entry, taken: Duration) {
    let is_fast = entry.command.flags.contains(Flags::FAST);
    node.latency.note(if is_fast { Event::FastCommand } else { Event::Command }, taken, || node.wall_clock());
}

fn note_if_slow(
    node: &Node,
    client: &ClientState,
    entry: &Entry,
    taken: Duration,
    now: UnixMillis,
    args: &[&[u8]],
    config: &Config,
) {
    note_latency(node, entry, taken);
    let (from, entries_max) = (config.slowlog_log_slower_than, config.slowlog_max_len);
    let is_slow = u128::try_from(from).is_ok_and(|from| taken.as_micros() >= from);
    if !is_slow || entry.command.flags.contains(Flags::SKIP_SLOWLOG) {
        return;
    }
    let (address, name) = (client.presence.address.to_string(), client.presence.names().name);
    let metrics = &node.console.metrics;
    let args = without_passwords(entry, args);
    metrics.slow_log.note(now / 1000, taken, &args, &address, &name, entries_max);
    metrics.console.slow_commands.increment();
}

/// The store with the slots of the command's keys locked.
#[inline]
fn access<'w>(
    writer: &'w mut Writer,
    client: &ClientState,
    now: UnixMillis,
    (entry, place): (&Entry, Option<Place>),
    args: &[&'w [u8]],
    stage: Option<&Stage<'_>>,
) -> Option<Access<'w>> {
    match entry.command.keys {
        // What removes all keys learns with all of them locked whether one is being moved.
        Keys::None if entry.command.flags.contains(Flags::WRITE.union(Flags::WHOLE_DATABASE)) => {
            writer.access_all_unless_busy(now)
        }
        Keys::None => Some(writer.access_none_unless_busy(now)),
        Keys::Range { first: 1, last: 1, .. } if args.len() > 1 => match place {
            Some(place) => writer.access_at_unless_busy(now, place, args[1]),
            None => writer.access_unless_busy(now, &args[1..2]),
        },
        Keys::Range { .. } | Keys::Counted { .. } | Keys::Computed(_) | Keys::Open { .. } => {
            let mut keys = KeyList::new();
            // A request whose keys make no sense is refused by its handler, which locks nothing for that.
            if !collect_keys(entry, args, &mut keys) {
                keys.clear();
            }
            match (stage, place, &*keys) {
                (Some(stage), ..) if scripting::is_open(stage, entry, args) => {
                    writer.access_wide_unless_busy(now, &keys)
                }
                // The place is that of the first key, where there is one.
                (Some(_), Some(place), &[key]) => writer.access_at_unless_busy(now, place, key),
                _ => writer.access_unless_busy(now, &keys),
            }
        }
        Keys::Queued => access_transaction(writer, client, now, stage.is_some()),
    }
}

fn collect_keys<'k>(entry: &Entry, args: &[&'k [u8]], keys: &mut KeyList<'k>) -> bool {
    entry.command.keys.positions(args, |position| keys.extend(args.get(position).copied()))
}

/// The store for everything in a transaction: the slots of all its keys, or all slots if a command works on whole
/// databases. Watched keys are locked too, so that nothing can change between their check and the execution.
fn access_transaction<'w>(
    writer: &'w mut Writer,
    client: &ClientState,
    now: UnixMillis,
    has_scripts: bool,
) -> Option<Access<'w>> {
    let Some(transaction) = &client.transaction else { return Some(writer.access_none(now)) };
    if transaction.flags().contains(Flags::WHOLE_DATABASE) {
        return writer.access_all_unless_busy(now);
    }
    if has_scripts {
        // Its scripts may use other keys, and what comes before them cannot be taken back.
        return writer.access_wide_unless_busy(now, &keys_of_transaction(client, transaction));
    }
    writer.access_unless_busy(now, &keys_of_transaction(client, transaction))
}

/// The keys of a transaction, and those that are watched for it.
fn keys_of_transaction<'c>(client: &'c ClientState, transaction: &'c Transaction) -> KeyList<'c> {
    let mut keys: KeyList<'_> = client.watches.keys().collect();
    for (entry, args) in transaction.commands() {
        let known = keys.len();
        if !collect_keys(entry, &args, &mut keys) {
            keys.truncate(known);
        }
    }
    keys
}

/// Takes a reply back that the client does not want, except for what it is sent all the same.
#[cold]
fn withhold(client: &mut ClientState, reply: &mut Reply, before: usize) {
    reply.truncate(before);
    client.say_aloud(reply);
    client.replies = match client.replies {
        Replies::SkipNext => Replies::Skip,
        Replies::On | Replies::Skip => Replies::On,
        Replies::Off => Replies::Off,
    };
}

#[cfg(test)]
mod tests;
