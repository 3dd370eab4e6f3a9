//! `FUNCTION`, `FCALL` and `FCALL_RO`: libraries of functions, which every region has and which survive restarts.
//!
//! The code of all libraries is one hash in the database that no client sees, a field for each library: so it is
//! replicated, journaled and compared like every other hash, and of two regions that load one library at once the later
//! write stands. Each worker's machine loads them again when that hash has changed.

use super::scripting::{MERGES, is_flush, machine, show, split, stage};
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::command::glob::matches;
use crate::node::Node;
use crate::scripting::library::{self, Library};
use crate::scripting::machine::{Job, Machine};
use crate::scripting::run::{Plan, run};
use crate::scripting::stage::Stage;
use crdt::UnixMillis;
use keyspace::{Access, Database, Watch, slot_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The hash that holds the code of each library.
pub(crate) const KEY: &[u8] = b"functions";

/// For how long the code of a library may run while it is loaded, in nanoseconds: half a second, as in Redis.
const LOAD_TIME_MAX_NS: u64 = 500_000_000;

const RUNS: Flags = Flags::NO_SCRIPT
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::SCRIPT);
const READS: Flags = Flags::NO_SCRIPT.union(Flags::SCRIPT);
const WRITES: Flags = Flags::NO_SCRIPT.union(Flags::SCRIPT).union(Flags::WRITE);
const LATER: Merge = Merge::Writes(
    "Libraries merge one by one: of two loads of one library the later stands, a load that a removal had not observed \
     stands, and of two libraries that register one name that whose name comes first is called",
);

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "fcall",
        arity: -3,
        flags: RUNS.union(Flags::MAY_REPLICATE),
        keys: Keys::Counted { count: 2, also: None },
        handler: fcall,
        since: "7.0.0",
        summary: "Invoke a function",
        group: Group::Scripting,
        complexity: "Depends on the function that is executed.",
        merge: Merge::Local(MERGES),
        subcommands: &[],
    },
    Command {
        name: "fcall_ro",
        arity: -3,
        flags: RUNS.union(Flags::READONLY),
        keys: Keys::Counted { count: 2, also: None },
        handler: fcall_ro,
        since: "7.0.0",
        summary: "Invoke a read-only function",
        group: Group::Scripting,
        complexity: "Depends on the function that is executed.",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "function",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        handler: needs_subcommand,
        since: "7.0.0",
        summary: "A container for function commands",
        group: Group::Scripting,
        complexity: "Depends on subcommand.",
        merge: Merge::Local("Concerns libraries of functions, which every region has"),
        subcommands: FUNCTION,
    },
];

const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: super::Handler,
    (summary, complexity): (&'static str, &'static str),
    merge: Merge,
) -> Command {
    let (keys, since, group) = (Keys::None, "7.0.0", Group::Scripting);
    Command { name, arity, flags, keys, handler, since, summary, group, complexity, merge, subcommands: &[] }
}

const LOAD_COST: &str = "O(1) (considering compilation time is redundant)";
const FUNCTION: &[Command] = &[
    row(
        "load",
        -3,
        WRITES.union(Flags::DENY_OOM),
        load,
        ("Create a function with the given arguments (name, code, description)", LOAD_COST),
        LATER,
    ),
    row("delete", 3, WRITES, delete, ("Delete a function by name", "O(1)"), LATER),
    row(
        "flush",
        -2,
        WRITES,
        flush,
        ("Deleting all functions", "O(N) where N is the number of functions deleted"),
        LATER,
    ),
    row(
        "list",
        -2,
        READS,
        list,
        ("List information about all the functions", "O(N) where N is the number of functions"),
        Merge::Reads,
    ),
    row(
        "dump",
        2,
        READS,
        dump,
        ("Dump all functions into a serialized binary payload", "O(N) where N is the number of functions"),
        Merge::Reads,
    ),
    row(
        "restore",
        -3,
        WRITES.union(Flags::DENY_OOM),
        restore,
        ("Restore all the functions on the given payload", "O(N) where N is the number of functions on the payload"),
        LATER,
    ),
    row(
        "stats",
        2,
        Flags::NO_SCRIPT.union(Flags::ALLOW_BUSY).union(Flags::SCRIPT),
        stats,
        ("Return information about the function currently running (name, description, duration)", "O(1)"),
        Merge::Local("Shows the functions that run on this node"),
    ),
    row(
        "kill",
        2,
        Flags::NO_SCRIPT.union(Flags::ALLOW_BUSY),
        kill,
        ("Kill the function currently in execution.", "O(1)"),
        Merge::Local("Concerns the functions that run on this node"),
    ),
    row(
        "help",
        2,
        Flags::LOADING.union(Flags::STALE),
        help,
        ("Show helpful text about the different subcommands", "O(1)"),
        Merge::Local("Reads nothing"),
    ),
];

fn needs_subcommand(_call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::wrong_arity("function"))
}

/// Makes a worker's machine have the libraries that the node has. With no slot locked. False if it cannot know them,
/// because a script holds them for very long.
#[must_use]
pub fn refresh(stage: &Stage<'_>, now: UnixMillis) -> bool {
    let Ok(mut machine) = machine(stage) else { return true };
    if machine.watch.as_ref().is_some_and(|watch| !watch.changed(now)) {
        return true;
    }
    let Some(node) = stage.node.upgrade() else { return true };
    let Some((codes, watch)) = known(&node, now) else { return false };
    let libraries = loaded(&mut machine, codes);
    node.scripts.note_libraries(&libraries, || !watch.changed(now));
    machine.watch = Some(watch);
    machine.libraries.replace(libraries);
    true
}

/// Counts the libraries, so that those that another region has loaded, or that were read from the disk, count before anybody
/// calls them. With no slot locked. What is returned says when they have changed; nothing if a script holds them.
pub fn count(node: &Arc<Node>) -> Option<Watch> {
    let now = node.wall_clock();
    let (codes, watch) = known(node, now)?;
    let libraries = match codes.is_empty() {
        true => BTreeMap::new(),
        false => match Machine::new(Arc::clone(node)) {
            Ok(mut machine) => loaded(&mut machine, codes),
            Err(error) => {
                tracing::warn!(%error, "the functions of libraries cannot be counted");
                return None;
            }
        },
    };
    node.scripts.note_libraries(&libraries, || !watch.changed(now));
    Some(watch)
}

/// The code of all libraries, and what says when it has changed. Nothing while a script holds them for very long.
fn known(node: &Node, now: UnixMillis) -> Option<(Codes, Watch)> {
    let mut writer = node.keyspace.writer();
    let mut access = writer.access_unless_busy(now, &[KEY])?;
    Some((codes(&mut access), access.watch(Database::SYSTEM, KEY)))
}

fn loaded(machine: &mut Machine, codes: Codes) -> BTreeMap<String, Library> {
    let mut libraries: BTreeMap<String, Library> = BTreeMap::new();
    for (name, code) in codes {
        match library::load(machine, &code, LOAD_TIME_MAX_NS) {
            Ok(library) => drop(libraries.insert(library.name.clone(), library)),
            Err(error) => {
                tracing::error!(library = %String::from_utf8_lossy(&name), %error, "a library cannot be loaded")
            }
        }
    }
    libraries
}

/// Code of libraries, by name.
type Codes = BTreeMap<Vec<u8>, Vec<u8>>;

/// The code of all libraries.
pub(crate) fn codes(access: &mut Access<'_>) -> Codes {
    let fields = access.hash(Database::SYSTEM, KEY).ok().flatten();
    fields.iter().flat_map(|fields| fields.iter()).map(|(name, code)| (name.to_vec(), code.into_owned())).collect()
}

/// Locks the hash of the libraries.
fn hold(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let slot = slot_of(KEY);
    let is_held = match call.store.is_wide() {
        true => call.store.hold_also(slot),
        false => call.store.hold_instead(&BTreeSet::from([slot])),
    };
    if is_held { Ok(()) } else { Err(CommandError::Plain(call.node.scripts.running.refusal())) }
}

/// Writes a change of the libraries, and takes it into the machine.
///
/// Only what was asked for is written: others may have changed other libraries since the machine looked.
fn write(
    call: &mut Call<'_, '_>,
    machine: &mut Machine,
    libraries: BTreeMap<String, Library>,
    gone: &Gone<'_>,
) -> Result<(), CommandError> {
    hold(call)?;
    let before = codes(call.store);
    let is_gone = |name: &[u8]| match gone {
        Gone::None => false,
        Gone::One(gone) => gone.as_bytes() == name,
        Gone::All => !libraries.values().any(|library| library.name.as_bytes() == name),
    };
    for name in before.keys().filter(|name| is_gone(name)) {
        // Nobody but this file writes there: it is a hash or not there.
        let _ = call.store.remove_field(Database::SYSTEM, KEY, name);
    }
    for library in libraries.values() {
        let is_new = machine.libraries.get(&library.name).is_none_or(|known| known.code != library.code);
        if is_new {
            let _ = call.store.put_field(Database::SYSTEM, KEY, library.name.as_bytes(), &library.code);
        }
    }
    // Nobody else can change them meanwhile: their slot is locked.
    call.node.scripts.note_libraries(&libraries, || true);
    machine.libraries.replace(libraries);
    Ok(())
}

/// Which libraries go with a change.
enum Gone<'n> {
    None,
    One(&'n str),
    /// All that are not among those that stay.
    All,
}

fn all(machine: &Machine) -> BTreeMap<String, Library> {
    machine.libraries.iter().map(|library| (library.name.clone(), library.clone())).collect()
}

fn load(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (options, code) = args[2..].split_at(args.len() - 3);
    let mut replaces = false;
    for option in options {
        if !option.eq_ignore_ascii_case(b"replace") {
            let option = String::from_utf8_lossy(option);
            let option = option.trim_end_matches(['\r', '\n']);
            return Err(CommandError::Detailed(format!("ERR Unknown option given: {option}")));
        }
        replaces = true;
    }
    let mut machine = machine(stage(call)?)?;
    let name = crate::scripting::shebang::of_library(code[0]).map_err(CommandError::Detailed)?.0;
    if machine.libraries.get(&name).is_some() && !replaces {
        return Err(CommandError::Detailed(format!("ERR Library '{name}' already exists")));
    }
    let library = library::load(&mut machine, code[0], LOAD_TIME_MAX_NS).map_err(CommandError::Detailed)?;
    if let Some(taken) = machine.libraries.taken(&library) {
        return Err(CommandError::Detailed(format!("ERR Function {taken} already exists")));
    }
    let mut libraries = all(&machine);
    libraries.insert(name.clone(), library);
    write(call, &mut machine, libraries, &Gone::None)?;
    call.reply.bulk(name.as_bytes());
    Ok(())
}

fn delete(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let mut machine = machine(stage(call)?)?;
    let mut libraries = all(&machine);
    let name = String::from_utf8_lossy(args[2]);
    if libraries.remove(&*name).is_none() {
        return Err(CommandError::Plain("ERR Library not found"));
    }
    write(call, &mut machine, libraries, &Gone::One(&name))?;
    call.reply.ok();
    Ok(())
}

fn flush(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::unknown_form(args));
    }
    if !is_flush(args) {
        return Err(CommandError::Plain("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    let mut machine = machine(stage(call)?)?;
    write(call, &mut machine, BTreeMap::new(), &Gone::All)?;
    call.reply.ok();
    Ok(())
}

fn list(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (mut with_code, mut pattern) = (false, None);
    let mut options = args[2..].iter();
    while let Some(option) = options.next() {
        if !with_code && option.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"libraryname") {
            pattern = Some(*options.next().ok_or(CommandError::Plain("ERR library name argument was not given"))?);
        } else {
            let option = String::from_utf8_lossy(option);
            return Err(CommandError::Detailed(format!("ERR Unknown argument {option}")));
        }
    }
    let machine = machine(stage(call)?)?;
    let shown = |library: &&Library| pattern.is_none_or(|pattern| matches(pattern, library.name.as_bytes()));
    let libraries: Vec<&Library> = machine.libraries.iter().filter(shown).collect();
    let reply = &mut *call.reply;
    reply.array(libraries.len());
    for library in libraries {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(library.name.as_bytes());
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(function.name.as_bytes());
            reply.bulk(b"description");
            match &function.description {
                Some(description) => reply.bulk(description.as_bytes()),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            reply.set(function.flags.names().count());
            function.flags.names().for_each(|flag| reply.simple(flag));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

fn dump(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let machine = machine(stage(call)?)?;
    call.reply.bulk(&rdb::functions::dump(machine.libraries.iter().map(|library| &*library.code)));
    Ok(())
}

fn restore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let policy = match args.get(3) {
        None => b"append".to_vec(),
        Some(policy) => policy.to_ascii_lowercase(),
    };
    if args.len() > 4 || !matches!(policy.as_slice(), b"append" | b"replace" | b"flush") {
        return Err(CommandError::Plain(
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ));
    }
    let invalid = |_| CommandError::Plain("ERR DUMP payload version or checksum are wrong");
    let codes = rdb::functions::restore(args[2]).map_err(invalid)?;
    let mut machine = machine(stage(call)?)?;
    let known = if policy == b"flush" { BTreeMap::new() } else { all(&machine) };
    let mut libraries = known.clone();
    for code in codes {
        let library = library::load(&mut machine, &code, LOAD_TIME_MAX_NS).map_err(CommandError::Detailed)?;
        if libraries.contains_key(&library.name) && policy != b"replace" {
            return Err(CommandError::Detailed(format!("ERR Library {} already exists", library.name)));
        }
        let names = |library: &Library| library.functions.iter().map(|f| f.name.clone()).collect::<BTreeSet<_>>();
        let own = names(&library);
        let others = libraries.values().filter(|other| other.name != library.name);
        if let Some(taken) = others.flat_map(names).find(|name| own.contains(name)) {
            return Err(CommandError::Detailed(format!("ERR Function {taken} already exists")));
        }
        libraries.insert(library.name.clone(), library);
    }
    let gone = if policy == b"flush" { Gone::All } else { Gone::None };
    write(call, &mut machine, libraries, &gone)?;
    call.reply.ok();
    Ok(())
}

fn stats(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let (libraries, functions) = call.node.scripts.functions();
    let running = call.node.scripts.running.long();
    let now = call.node.monotonic_ns();
    let reply = &mut *call.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match running.first().map(|run| run.about()) {
        Some(about) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(about.name.as_bytes());
            reply.bulk(b"command");
            reply.array(about.words.len());
            about.words.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer((now.saturating_sub(about.began_ns) / 1_000_000) as i64);
        }
        None => reply.null(),
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(libraries);
    reply.bulk(b"functions_count");
    reply.count(functions);
    Ok(())
}

fn kill(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.node.scripts.running.kill(true).map_err(CommandError::Plain)?;
    call.reply.ok();
    Ok(())
}

fn fcall(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    invoke(call, args, false)
}

fn fcall_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    invoke(call, args, true)
}

fn invoke(call: &mut Call<'_, '_>, args: &[&[u8]], is_read_only: bool) -> Result<(), CommandError> {
    show(call, args);
    let mut machine = machine(stage(call)?)?;
    let name = String::from_utf8_lossy(args[1]);
    let function = machine.libraries.function(&name).ok_or(CommandError::Plain("ERR Function not found"))?;
    let keys = resp::parse_integer(args[2]).ok_or(CommandError::Plain("ERR Bad number of keys provided"))?;
    if keys > (args.len() - 3) as i64 {
        return Err(CommandError::Plain("ERR Number of keys can't be greater than number of args"));
    }
    let (keys, rest) = split(args)?;
    let (flags, reach) = (function.flags, &function.reach);
    let plan = Plan { name: name.as_bytes(), is_function: true, flags, is_read_only, keys, reach };
    run(call, &mut machine, &plan, args, &mut |machine| {
        Ok(Job::Function { function: function.function.clone(), keys: machine.list(keys)?, argv: machine.list(rest)? })
    })
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    const LINES: &[&str] = &[
        "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LOAD [REPLACE] <FUNCTION CODE>",
        "    Create a new library with the given library name and code.",
        "DELETE <LIBRARY NAME>",
        "    Delete the given library.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries:",
        "    * Library name",
        "    * The engine used to run the Library",
        "    * Library description",
        "    * Functions list",
        "    * Library code (if WITHCODE is given)",
        "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
        "STATS",
        "    Return information about the current function running:",
        "    * Function name",
        "    * Command used to run the function",
        "    * Duration in MS that the function is running",
        "    If no function is running, return nil",
        "    In addition, returns a list of available engines.",
        "KILL",
        "    Kill the current running function.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the libraries.",
        "    * SYNC: Synchronously flush the libraries.",
        "DUMP",
        "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
        "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
        "    control how to handle existing libraries (default APPEND):",
        "    * FLUSH: delete all existing libraries.",
        "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
        "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
        "      libraries with the new libraries (notice that even on this option there is a chance of failure",
        "      in case of functions name collision with another library).",
        "HELP",
        "    Prints this help.",
    ];
    call.reply.array(LINES.len());
    LINES.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}
