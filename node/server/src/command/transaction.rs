//! `MULTI`, `EXEC`, `DISCARD`, `WATCH` and `UNWATCH`.
//!
//! A transaction runs at `EXEC` in one go, with the slots of all its keys locked (dispatch does that), and travels to
//! other regions as one group: they see it whole or not at all. `WATCH` is decided by this region alone.

use super::acl::note_denied;
use super::connection::settle_version;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::acl;
use crate::command::table::Entry;
use crate::dispatch;
use crate::limits::{QUEUED_BYTES_MAX, WATCHES_MAX};
use crdt::UnixMillis;
use keyspace::{Database, Watch};
use smallvec::SmallVec;
use std::collections::{BTreeMap, btree_map};

const HERE: Flags = Flags::NO_SCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::NEVER_QUEUED);
const QUICK: Flags = HERE.union(Flags::FAST).union(Flags::ALLOW_BUSY);

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "multi",
        arity: 1,
        flags: QUICK,
        keys: Keys::None,
        handler: multi,
        since: "1.2.0",
        summary: "Mark the start of a transaction block",
        group: Group::Transactions,
        complexity: "O(1)",
        merge: Merge::Local("Queues on this connection"),
        subcommands: &[],
    },
    Command {
        name: "exec",
        arity: 1,
        flags: HERE.union(Flags::SKIP_SLOWLOG),
        keys: Keys::Queued,
        handler: exec,
        since: "1.2.0",
        summary: "Execute all commands issued after MULTI",
        group: Group::Transactions,
        complexity: "Depends on commands in the transaction",
        merge: Merge::Local(
            "Each queued command merges as it would alone; together they are one step here and become visible in \
             every other region whole or not at all",
        ),
        subcommands: &[],
    },
    Command {
        name: "discard",
        arity: 1,
        flags: QUICK,
        keys: Keys::None,
        handler: discard,
        since: "2.0.0",
        summary: "Discard all commands issued after MULTI",
        group: Group::Transactions,
        complexity: "O(N), when N is the number of queued commands",
        merge: Merge::Local("Forgets what this connection queued"),
        subcommands: &[],
    },
    Command {
        name: "watch",
        arity: -2,
        flags: QUICK,
        keys: Keys::ALL,
        handler: watch,
        since: "2.2.0",
        summary: "Watch the given keys to determine execution of the MULTI/EXEC block",
        group: Group::Transactions,
        complexity: "O(1) for every key.",
        merge: Merge::Local(
            "Decided by this region alone: a write elsewhere counts once it has arrived here, so it is no lock across \
             regions",
        ),
        subcommands: &[],
    },
    Command {
        name: "unwatch",
        arity: 1,
        flags: QUICK.difference(Flags::NEVER_QUEUED),
        keys: Keys::None,
        handler: unwatch,
        since: "2.2.0",
        summary: "Forget about all watched keys",
        group: Group::Transactions,
        complexity: "O(1)",
        merge: Merge::Local("Forgets what this connection watches"),
        subcommands: &[],
    },
];

fn multi(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    if call.client.transaction.is_some() {
        return Err(CommandError::Plain("ERR MULTI calls can not be nested"));
    }
    call.client.transaction = Some(Box::default());
    call.reply.ok();
    Ok(())
}

fn exec(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let transaction = call.client.transaction.take().ok_or(CommandError::Plain("ERR EXEC without MULTI"))?;
    let watches = std::mem::take(&mut call.client.watches);
    if transaction.refused {
        return Err(CommandError::Plain("EXECABORT Transaction discarded because of previous errors."));
    }
    if watches.any_changed(call.now()) {
        call.reply.null_array();
        return Ok(());
    }
    let start = call.reply.len();
    call.reply.array(transaction.len());
    call.store.begin_group();
    call.client.is_in_exec = true;
    call.client.executed = Some((transaction.len(), transaction.allocated_bytes()));
    call.client.step_us = None;
    for (entry, args) in transaction.commands() {
        if let Err(error) = permitted(call, entry, &args) {
            let error = error.to_string();
            call.client.tally.rejected(Some(entry.ordinal), &error);
            call.reply.error(&error);
            continue;
        }
        let before = call.reply.len();
        call.store.begin_command();
        let result = dispatch::run_inner_handler(call, entry, &args);
        if let Err(error) = result {
            let error = error.to_string();
            call.client.tally.failed(entry.ordinal, &error);
            call.reply.truncate(before);
            call.reply.error(&error);
        }
        call.client.tally.looked(entry.command.flags, call.store.lookups());
        if call.node.monitors.is_watched() {
            dispatch::show(call.node, call.client, entry, &args);
        }
    }
    call.client.is_in_exec = false;
    call.client.executed = None;
    call.store.end_group();
    settle_version(call, start);
    Ok(())
}

/// Whether the client may still do what it has queued: its user may have been changed.
#[inline]
fn permitted(call: &Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> Result<(), CommandError> {
    if call.client.is_trusted() {
        return Ok(());
    }
    call.client.user.may(entry, args).map_err(|denied| {
        note_denied(call.node, call.client, acl::Place::Transaction, denied, (entry, args), call.now());
        CommandError::Detailed(denied.refusal_in_exec())
    })
}

fn discard(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    if call.client.transaction.take().is_none() {
        return Err(CommandError::Plain("ERR DISCARD without MULTI"));
    }
    call.client.watches.clear();
    call.reply.ok();
    Ok(())
}

fn watch(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if call.client.transaction.is_some() {
        return Err(CommandError::Plain("ERR WATCH inside MULTI is not allowed"));
    }
    let keys = &args[1..];
    if call.client.watches.len() + keys.len() > WATCHES_MAX {
        return Err(CommandError::Plain("ERR too many watched keys"));
    }
    let database = call.db();
    for key in keys {
        call.client.watches.add(database, key, || call.store.watch(database, key));
    }
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.client.watches.clear();
    call.reply.ok();
    Ok(())
}

/// What a client has queued since `MULTI`.
#[derive(Debug)]
pub struct Transaction {
    queue: Vec<Queued>,
    /// All arguments of all commands, one after the other.
    bytes: Vec<u8>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
    /// The flags of all commands together.
    flags: Flags,
    /// A command was refused while queueing: `EXEC` will refuse everything.
    refused: bool,
}

#[derive(Debug)]
struct Queued {
    entry: &'static Entry,
    /// How many of `ends` belong to this command and those before it.
    arguments_end: usize,
}

/// The arguments of one request.
pub type Arguments<'b> = SmallVec<[&'b [u8]; 8]>;

impl Default for Transaction {
    fn default() -> Self {
        Self { queue: Vec::new(), bytes: Vec::new(), ends: Vec::new(), flags: Flags::empty(), refused: false }
    }
}

impl Transaction {
    /// How many commands are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The flags of all queued commands together.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Makes `EXEC` refuse everything.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    /// Queues a command, unless the transaction would hold too much.
    pub fn queue(&mut self, entry: &'static Entry, args: &[&[u8]]) -> Result<(), CommandError> {
        let bytes: usize = args.iter().map(|argument| argument.len() + size_of::<usize>()).sum();
        if self.memory() + bytes > QUEUED_BYTES_MAX {
            return Err(CommandError::Plain("ERR the transaction holds too much: discard it and send less at once"));
        }
        for argument in args {
            self.bytes.extend_from_slice(argument);
            self.ends.push(self.bytes.len());
        }
        self.flags |= entry.command.flags;
        if entry.command.keys.are_open(args) {
            // Which keys it needs, an earlier command of the transaction may decide.
            self.flags |= Flags::WHOLE_DATABASE;
        }
        self.queue.push(Queued { entry, arguments_end: self.ends.len() });
        Ok(())
    }

    /// The queued commands in their order.
    pub fn commands(&self) -> impl Iterator<Item = (&'static Entry, Arguments<'_>)> {
        let (mut first, mut start) = (0, 0);
        self.queue.iter().map(move |queued| {
            let mut arguments = Arguments::new();
            for end in &self.ends[first..queued.arguments_end] {
                arguments.push(&self.bytes[start..*end]);
                start = *end;
            }
            first = queued.arguments_end;
            (queued.entry, arguments)
        })
    }

    /// Bytes that what is queued takes, with the room for more that comes with it.
    pub fn allocated_bytes(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<usize>();
        self.bytes.capacity() + ends + self.queue.capacity() * size_of::<Queued>() + size_of::<Self>()
    }

    /// Bytes of what is queued.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>() + self.queue.len() * size_of::<Queued>()
    }
}

/// The keys a client watches, each once: the first watch is the one that counts.
#[derive(Debug, Default)]
pub struct Watches {
    keys: BTreeMap<(u8, Box<[u8]>), Watch>,
    bytes: usize,
}

/// What watching a key takes beside the bytes of the key, here and with the key.
const WATCHED_KEY_BYTES: usize = 100;

impl Watches {
    /// Watches one more key, unless it is watched already.
    fn add(&mut self, database: Database, key: &[u8], watch: impl FnOnce() -> Watch) {
        if let btree_map::Entry::Vacant(place) = self.keys.entry((database.0, key.into())) {
            place.insert(watch());
            self.bytes += key.len() + WATCHED_KEY_BYTES;
        }
    }

    /// The watched keys; their databases do not matter to locks.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(|(_, key)| &**key)
    }

    /// Whether any of them changed since it is watched.
    pub fn any_changed(&self, now: UnixMillis) -> bool {
        self.keys.values().any(|watch| watch.changed(now))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Watches nothing any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
