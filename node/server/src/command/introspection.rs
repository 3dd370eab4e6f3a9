//! `COMMAND`: what commands there are, told to clients. All of it comes from the rows of the table.

mod docs;

use self::docs::write_docs;
use super::client_calls::write_help;
use super::key_searches::{self, Begin, Find, Search};
use super::key_uses::Use;
use super::table::Entry;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge, glob};
use resp::Reply;

const FLAGS: Flags = Flags::LOADING.union(Flags::STALE);

/// A row of this family.
const fn row(
    name: &'static str,
    arity: i32,
    handler: super::Handler,
    since: &'static str,
    summary: &'static str,
    complexity: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags: FLAGS,
        keys: Keys::None,
        handler,
        since,
        summary,
        group: Group::Server,
        complexity,
        merge: Merge::Local("Tells what this node offers"),
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    subcommands: &[
        row("count", 2, count, "2.8.13", "Get total number of Redis commands", "O(1)"),
        row(
            "docs",
            -2,
            docs,
            "7.0.0",
            "Get array of specific Redis command documentation",
            "O(N) where N is the number of commands to look up",
        ),
        row(
            "getkeys",
            -4,
            getkeys,
            "2.8.13",
            "Extract keys given a full Redis command",
            "O(N) where N is the number of arguments to the command",
        ),
        row(
            "getkeysandflags",
            -4,
            getkeysandflags,
            "7.0.0",
            "Extract keys and access flags given a full Redis command",
            "O(N) where N is the number of arguments to the command",
        ),
        row("help", 2, help, "5.0.0", "Show helpful text about the different subcommands", "O(1)"),
        row(
            "info",
            -2,
            info,
            "2.8.13",
            "Get array of specific Redis command details, or all when no argument is given",
            "O(N) where N is the number of commands to look up",
        ),
        row(
            "list",
            -2,
            list,
            "7.0.0",
            "Get an array of Redis command names",
            "O(N) where N is the total number of Redis commands",
        ),
    ],
    ..row(
        "command",
        -1,
        all,
        "2.8.13",
        "Get array of Redis command details",
        "O(N) where N is the total number of Redis commands",
    )
}];

fn all(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let entries = call.node.table.entries();
    call.reply.array(entries.len());
    entries.iter().for_each(|entry| write_info(call.reply, entry));
    Ok(())
}

fn count(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.count(call.node.table.entries().len());
    Ok(())
}

fn docs(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let table = call.node.table;
    let wanted: Vec<&Entry> = match &args[2..] {
        [] => table.entries().iter().collect(),
        names => names.iter().filter_map(|name| table.find_full(&name.to_ascii_lowercase())).collect(),
    };
    call.reply.map(wanted.len());
    wanted.into_iter().for_each(|entry| write_docs(call.reply, entry));
    Ok(())
}

fn info(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let names = &args[2..];
    if names.is_empty() {
        return all(call, args);
    }
    call.reply.array(names.len());
    for name in names {
        match call.node.table.find_full(name) {
            Some(entry) => write_info(call.reply, entry),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    write_help(call, "COMMAND", HELP);
    Ok(())
}

/// Which names `COMMAND LIST` shows.
enum Filter<'a> {
    All,
    Category(&'a [u8]),
    Pattern(&'a [u8]),
    /// There are no modules.
    Module,
}

fn list(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let filter = match &args[2..] {
        [] => Filter::All,
        [by, kind, value] if by.eq_ignore_ascii_case(b"filterby") => {
            if kind.eq_ignore_ascii_case(b"aclcat") {
                Filter::Category(value)
            } else if kind.eq_ignore_ascii_case(b"pattern") {
                Filter::Pattern(value)
            } else if kind.eq_ignore_ascii_case(b"module") {
                Filter::Module
            } else {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    let is_wanted = |entry: &&Entry| match filter {
        Filter::All => true,
        Filter::Category(wanted) => {
            entry.categories.names().any(|category| category.as_bytes().eq_ignore_ascii_case(wanted))
        }
        Filter::Pattern(pattern) => glob::matches(&pattern.to_ascii_lowercase(), entry.full_name.as_bytes()),
        Filter::Module => false,
    };
    let entries = call.node.table.entries();
    let every = entries.iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
    let wanted: Vec<&Entry> = every.filter(is_wanted).collect();
    call.reply.array(wanted.len());
    wanted.into_iter().for_each(|entry| call.reply.bulk(entry.full_name.as_bytes()));
    Ok(())
}

fn getkeys(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let request = &args[2..];
    let (_, positions) = find_keys(call, request)?;
    call.reply.array(positions.len());
    for position in positions {
        call.reply.bulk(request.get(position).copied().unwrap_or_default());
    }
    Ok(())
}

fn getkeysandflags(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let request = &args[2..];
    let (entry, positions) = find_keys(call, request)?;
    call.reply.array(positions.len());
    let uses = entry.uses.of(request);
    for (number, position) in positions.into_iter().enumerate() {
        call.reply.array(2);
        call.reply.bulk(request.get(position).copied().unwrap_or_default());
        write_names(call.reply, uses.get(number).or(uses.last()).copied().unwrap_or(Use::ANY).names());
    }
    Ok(())
}

/// The command a request names, and where its keys are.
fn find_keys(call: &Call<'_, '_>, request: &[&[u8]]) -> Result<(&'static Entry, Vec<usize>), CommandError> {
    let found = request.first().and_then(|name| call.node.table.find(name));
    let found = match (found, request.get(1)) {
        (Some(entry), Some(name)) if !entry.subcommands.is_empty() => entry.subcommand(name),
        (found, _) => found,
    };
    let entry = found.ok_or(CommandError::Plain("ERR Invalid command specified"))?;
    if !entry.command.keys.any() {
        return Err(CommandError::Plain("ERR The command has no key arguments"));
    }
    if !entry.takes(request.len()) {
        return Err(CommandError::Plain("ERR Invalid number of arguments specified for command"));
    }
    let mut positions = Vec::new();
    let fits = entry.command.keys.positions(request, |position| positions.push(position));
    if (!fits || positions.is_empty()) && !entry.command.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return Err(CommandError::Plain("ERR Invalid arguments specified for command"));
    }
    Ok((entry, positions))
}

/// One element of `COMMAND INFO`.
fn write_info(reply: &mut Reply, entry: &Entry) {
    let command = entry.command;
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(i64::from(command.arity));
    let movable = command.keys.are_movable().then_some("movablekeys");
    write_names(reply, command.flags.names().chain(movable));
    let (first, last, step) = match key_searches::of_command(&entry.full_name) {
        Some([Search { begin: Begin::Keyword(..), .. }, ..]) => (0, 0, 0),
        Some([Search { begin: Begin::Index(first), find: Find::One, .. }, ..]) => (*first, *first, 1),
        Some(_) | None => command.keys.range(),
    };
    [first, last, step].into_iter().for_each(|number| reply.integer(number));
    let categories: Vec<String> = entry.categories.names().map(|name| format!("@{name}")).collect();
    write_names(reply, categories.iter().map(String::as_str));
    // Hints for clients that spread commands over nodes: none, every node has everything.
    reply.set(0);
    write_key_specifications(reply, entry);
    // Redis has an empty set here and a list that is not empty.
    if entry.subcommands.is_empty() {
        reply.set(0)
    } else {
        reply.array(entry.subcommands.len())
    }
    entry.subcommands.iter().for_each(|subcommand| write_info(reply, subcommand));
}

fn write_names<'n>(reply: &mut Reply, names: impl Iterator<Item = &'n str>) {
    let place = reply.deferred();
    let mut count = 0;
    for name in names {
        reply.simple(name);
        count += 1;
    }
    reply.finish_set(place, count);
}

/// Where the keys of a command are, apart by what it does with them.
fn write_key_specifications(reply: &mut Reply, entry: &Entry) {
    if let Some(searches) = key_searches::of_command(&entry.full_name) {
        reply.set(searches.len());
        return searches.iter().for_each(|search| write_known_search(reply, search));
    }
    let uses = entry.uses.all();
    let varies = entry.uses.vary().then_some("variable_flags");
    let last_use = uses.last().copied().unwrap_or(Use::ANY);
    match entry.command.keys {
        Keys::None | Keys::Queued => reply.set(0),
        Keys::Range { first, last, step } => {
            reply.set(uses.len());
            for (number, used) in uses.iter().enumerate() {
                let at = first + number * step;
                // Relative to the first key, unless it counts from the end.
                let last = match number + 1 < uses.len() {
                    true => 0,
                    false if last < 0 => i64::from(last),
                    false => i64::from(last) - at as i64,
                };
                write_search(reply, *used, varies, Begin::Index(at as i64));
                write_find(reply, "range", &[("lastkey", last), ("keystep", step as i64), ("limit", 0)]);
            }
        }
        Keys::Counted { count, also } => {
            reply.set(1 + usize::from(also.is_some()));
            if let Some(also) = also {
                let used = uses.first().copied().unwrap_or(last_use);
                write_search(reply, used, varies, Begin::Index(also as i64));
                write_find(reply, "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]);
            }
            write_search(reply, last_use, varies, Begin::Index(count as i64));
            write_find(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
        }
        Keys::Computed(_) | Keys::Open { .. } => {
            reply.set(1);
            let used = uses.first().copied().unwrap_or(last_use);
            let search = Search { used, begin: Begin::Unknown, find: Find::Unknown, is_incomplete: false };
            write_known_search(reply, &search);
        }
    }
}

fn write_known_search(reply: &mut Reply, search: &Search) {
    write_search(reply, search.used, search.is_incomplete.then_some("incomplete"), search.begin);
    match search.find {
        Find::All => write_find(reply, "range", &[("lastkey", -1), ("keystep", 1), ("limit", 0)]),
        Find::One => write_find(reply, "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]),
        Find::FirstHalf => write_find(reply, "range", &[("lastkey", -1), ("keystep", 1), ("limit", 2)]),
        Find::Unknown => write_find(reply, "unknown", &[]),
    }
}

fn write_search(reply: &mut Reply, used: Use, note: Option<&'static str>, begin: Begin) {
    reply.map(3);
    reply.bulk(b"flags");
    write_names(reply, used.names().chain(note));
    reply.bulk(b"begin_search");
    match begin {
        Begin::Index(index) => write_step(reply, "index", &[("index", index)]),
        Begin::Keyword(word, from) => {
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(from);
        }
        Begin::Unknown => write_step(reply, "unknown", &[]),
    }
}

fn write_find(reply: &mut Reply, kind: &str, numbers: &[(&str, i64)]) {
    reply.bulk(b"find_keys");
    write_step(reply, kind, numbers);
}

fn write_step(reply: &mut Reply, kind: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];
