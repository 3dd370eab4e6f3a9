//! `EVAL` and its like, and `SCRIPT`.

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::command::table::Entry;
use crate::scripting::cache::{Came, parse_digest};
use crate::scripting::machine::{Compiled, Job, Machine};
use crate::scripting::run::{Plan, run};
use crate::scripting::stage::Stage;
use std::cell::RefMut;
use std::rc::Rc;

const KEYS: Keys = Keys::Counted { count: 2, also: None };
const RUNS: Flags = Flags::NO_SCRIPT
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::SCRIPT);
const HERE: Flags = Flags::NO_SCRIPT;

/// What every row of a command that runs scripts says about merging.
pub const MERGES: &str = "Each command that the script calls merges as it would alone; together they are one step here and \
                          become visible in every other region whole or not at all";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "eval",
        arity: -3,
        flags: RUNS.union(Flags::MAY_REPLICATE),
        keys: KEYS,
        handler: eval,
        since: "2.6.0",
        summary: "Execute a Lua script server side",
        group: Group::Scripting,
        complexity: "Depends on the script that is executed.",
        merge: Merge::Local(MERGES),
        subcommands: &[],
    },
    Command {
        name: "eval_ro",
        arity: -3,
        flags: RUNS.union(Flags::READONLY),
        keys: KEYS,
        handler: eval_ro,
        since: "7.0.0",
        summary: "Execute a read-only Lua script server side",
        group: Group::Scripting,
        complexity: "Depends on the script that is executed.",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "evalsha",
        arity: -3,
        flags: RUNS.union(Flags::MAY_REPLICATE),
        keys: KEYS,
        handler: evalsha,
        since: "2.6.0",
        summary: "Execute a Lua script server side",
        group: Group::Scripting,
        complexity: "Depends on the script that is executed.",
        merge: Merge::Local(MERGES),
        subcommands: &[],
    },
    Command {
        name: "evalsha_ro",
        arity: -3,
        flags: RUNS.union(Flags::READONLY),
        keys: KEYS,
        handler: evalsha_ro,
        since: "7.0.0",
        summary: "Execute a read-only Lua script server side",
        group: Group::Scripting,
        complexity: "Depends on the script that is executed.",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "script",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        handler: needs_subcommand,
        since: "2.6.0",
        summary: "A container for Lua scripts management commands",
        group: Group::Scripting,
        complexity: "Depends on subcommand.",
        merge: Merge::Local("Concerns this node's cache of scripts"),
        subcommands: SCRIPT,
    },
];

const SCRIPT: &[Command] = &[
    Command {
        name: "load",
        arity: 3,
        flags: HERE.union(Flags::STALE).union(Flags::SCRIPT),
        keys: Keys::None,
        handler: load,
        since: "2.6.0",
        summary: "Load the specified Lua script into the script cache.",
        group: Group::Scripting,
        complexity: "O(N) with N being the length in bytes of the script body.",
        merge: Merge::Local("Concerns this node's cache of scripts"),
        subcommands: &[],
    },
    Command {
        name: "exists",
        arity: -3,
        flags: HERE,
        keys: Keys::None,
        handler: exists,
        since: "2.6.0",
        summary: "Check existence of scripts in the script cache.",
        group: Group::Scripting,
        complexity: "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        merge: Merge::Local("Concerns this node's cache of scripts"),
        subcommands: &[],
    },
    Command {
        name: "flush",
        arity: -2,
        flags: HERE,
        keys: Keys::None,
        handler: flush,
        since: "2.6.0",
        summary: "Remove all the scripts from the script cache.",
        group: Group::Scripting,
        complexity: "O(N) with N being the number of scripts in cache",
        merge: Merge::Local("Concerns this node's cache of scripts"),
        subcommands: &[],
    },
    Command {
        name: "kill",
        arity: 2,
        flags: HERE.union(Flags::ALLOW_BUSY),
        keys: Keys::None,
        handler: kill,
        since: "2.6.0",
        summary: "Kill the script currently in execution.",
        group: Group::Scripting,
        complexity: "O(1)",
        merge: Merge::Local("Concerns the scripts that run on this node"),
        subcommands: &[],
    },
    Command {
        name: "debug",
        arity: 3,
        flags: HERE,
        keys: Keys::None,
        handler: debug,
        since: "3.2.0",
        summary: "Set the debug mode for executed scripts.",
        group: Group::Scripting,
        complexity: "O(1)",
        merge: Merge::Local("Concerns this connection"),
        subcommands: &[],
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.union(Flags::STALE),
        keys: Keys::None,
        handler: help,
        since: "5.0.0",
        summary: "Show helpful text about the different subcommands",
        group: Group::Scripting,
        complexity: "O(1)",
        merge: Merge::Local("Reads nothing"),
        subcommands: &[],
    },
];

fn needs_subcommand(_call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::wrong_arity("script"))
}

/// The worker's virtual machine; it is made when it is first needed.
pub fn machine<'s>(stage: &'s Stage<'s>) -> Result<RefMut<'s, Machine>, CommandError> {
    let mut machine = stage.machine.borrow_mut();
    if machine.is_none() {
        let node = stage.node.upgrade().ok_or(STOPPING)?;
        let made = Machine::new(node).map_err(|error| CommandError::Detailed(format!("ERR {error}")))?;
        *machine = Some(made);
    }
    RefMut::filter_map(machine, Option::as_mut).map_err(|_| STOPPING)
}

const STOPPING: CommandError = CommandError::Plain("ERR the node is stopping");

/// The place of a command that runs scripts.
pub fn stage<'c>(call: &Call<'c, '_>) -> Result<&'c Stage<'c>, CommandError> {
    call.stage.ok_or(CommandError::Plain("ERR a script cannot be run here"))
}

/// Whether a command may use keys that it does not name, as far as is known before it runs.
pub fn is_open(stage: &Stage<'_>, entry: &Entry, args: &[&[u8]]) -> bool {
    let Ok(mut machine) = machine(stage) else { return true };
    let Some(name) = args.get(1) else { return true };
    let script = match entry.command.name {
        "eval" | "eval_ro" => machine.find_body(name),
        "evalsha" | "evalsha_ro" => parse_digest(name).and_then(|digest| machine.find_digest(&digest)),
        "fcall" | "fcall_ro" => {
            let function = std::str::from_utf8(name).ok().and_then(|name| machine.libraries.function(name));
            return function.is_none_or(|function| function.reach.is_open());
        }
        _ => return false,
    };
    script.is_none_or(|script| script.script.reach.is_open())
}

/// Shows a command that runs a script to those who want to see commands: before those that the script calls.
pub fn show(call: &Call<'_, '_>, args: &[&[u8]]) {
    if call.node.monitors.is_watched() {
        crate::dispatch::show_from(call.node, call.client, &call.client.presence.address, args);
    }
}

/// Words of a request.
type Words<'w> = &'w [&'w [u8]];

/// The keys and the other arguments of a command that runs scripts.
pub fn split<'w>(args: Words<'w>) -> Result<(Words<'w>, Words<'w>), CommandError> {
    let keys = resp::parse_integer(args[2]).ok_or(CommandError::NotAnInteger)?;
    let rest = &args[3..];
    let keys = match usize::try_from(keys) {
        Ok(keys) if keys <= rest.len() => keys,
        Ok(_) => return Err(CommandError::Plain("ERR Number of keys can't be greater than number of args")),
        Err(_) => return Err(CommandError::Plain("ERR Number of keys can't be negative")),
    };
    Ok(rest.split_at(keys))
}

fn eval(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    evaluate(call, args, false)
}

fn eval_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    evaluate(call, args, true)
}

fn evaluate(call: &mut Call<'_, '_>, args: &[&[u8]], is_read_only: bool) -> Result<(), CommandError> {
    show(call, args);
    let stage = stage(call)?;
    let lists = split(args)?;
    let mut machine = machine(stage)?;
    let compiled = match machine.find_body(args[1]) {
        Some(compiled) => compiled,
        None => keep(&mut machine, call, args[1], Came::Evaluated)?,
    };
    execute(call, &mut machine, &compiled, (args, lists), is_read_only)
}

/// Compiles a source and keeps it, here and for the other workers.
fn keep(machine: &mut Machine, call: &Call<'_, '_>, body: &[u8], came: Came) -> Result<Rc<Compiled>, CommandError> {
    crate::scripting::shebang::of_script(body).map_err(CommandError::Detailed)?;
    let failed = |text| CommandError::Detailed(format!("ERR Error compiling script (new function): {text}"));
    machine.compile(body, "@user_script").map_err(failed)?;
    let script = call.node.scripts.cache.keep(body, came).map_err(CommandError::Detailed)?;
    machine.keep(&script).map_err(failed)
}

fn evalsha(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    evaluate_known(call, args, false)
}

fn evalsha_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    evaluate_known(call, args, true)
}

fn evaluate_known(call: &mut Call<'_, '_>, args: &[&[u8]], is_read_only: bool) -> Result<(), CommandError> {
    const UNKNOWN: CommandError = CommandError::Plain("NOSCRIPT No matching script. Please use EVAL.");
    show(call, args);
    let stage = stage(call)?;
    // As in Redis: what is no digest is refused before the keys are counted, and what nobody knows afterwards.
    let digest = parse_digest(args[1]).ok_or(UNKNOWN)?;
    let lists = split(args)?;
    let mut machine = machine(stage)?;
    let compiled = match machine.find_digest(&digest) {
        Some(compiled) => compiled,
        None => {
            let script = call.node.scripts.cache.find(&digest).ok_or(UNKNOWN)?;
            let failed = |text| CommandError::Detailed(format!("ERR Error compiling script (new function): {text}"));
            machine.keep(&script).map_err(failed)?
        }
    };
    execute(call, &mut machine, &compiled, (args, lists), is_read_only)
}

fn execute(
    call: &mut Call<'_, '_>,
    machine: &mut Machine,
    compiled: &Compiled,
    (args, (keys, rest)): (&[&[u8]], (Words<'_>, Words<'_>)),
    is_read_only: bool,
) -> Result<(), CommandError> {
    let script = &compiled.script;
    let plan = Plan {
        name: &script.digest,
        is_function: false,
        flags: script.flags,
        is_read_only,
        keys,
        reach: &script.reach,
    };
    run(call, machine, &plan, args, &mut |machine| {
        Ok(Job::Script {
            function: compiled.function.clone(),
            environment: compiled.environment.clone(),
            keys: machine.list(keys)?,
            argv: machine.list(rest)?,
        })
    })
}

fn load(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let mut machine = machine(stage(call)?)?;
    let compiled = keep(&mut machine, call, args[2], Came::Loaded)?;
    call.reply.bulk(&compiled.script.digest);
    Ok(())
}

fn exists(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(args.len() - 2);
    for digest in &args[2..] {
        let known = parse_digest(digest).and_then(|digest| call.node.scripts.cache.find(&digest));
        call.reply.integer(i64::from(known.is_some()));
    }
    Ok(())
}

/// Whether `SCRIPT FLUSH` or `FUNCTION FLUSH` says nothing more than how, if that.
pub fn is_flush(args: &[&[u8]]) -> bool {
    match &args[2..] {
        [] => true,
        [how] => how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async"),
        _ => false,
    }
}

fn flush(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if !is_flush(args) {
        return Err(CommandError::Plain("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    call.node.scripts.cache.flush();
    call.reply.ok();
    Ok(())
}

fn kill(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.node.scripts.running.kill(false).map_err(CommandError::Plain)?;
    call.reply.ok();
    Ok(())
}

fn debug(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if args[2].eq_ignore_ascii_case(b"no") {
        call.reply.ok();
        return Ok(());
    }
    if args[2].eq_ignore_ascii_case(b"yes") || args[2].eq_ignore_ascii_case(b"sync") {
        return Err(CommandError::Plain("ERR SCRIPT DEBUG: there is no debugger for scripts here"));
    }
    Err(CommandError::Plain("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    const LINES: &[&str] = &[
        "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DEBUG (YES|SYNC|NO)",
        "    Set the debug mode for subsequent scripts executed.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache. Very dangerous on replicas.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the scripts cache.",
        "    * SYNC: Synchronously flush the scripts cache.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        "HELP",
        "    Prints this help.",
    ];
    call.reply.array(LINES.len());
    LINES.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}
