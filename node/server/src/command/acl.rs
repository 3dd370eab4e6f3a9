//! `ACL`: the users of this node, what they may do, and what they were refused.
//!
//! What a rule means and who may do what is decided in the room `acl`; here it is asked for and shown.

mod access_log;

pub use access_log::{note_denied, note_not_admitted};

use super::client_calls::write_help;
use super::table::Entry;
use super::{Call, Command, CommandError, Flags, Group, Handler, Keys, Merge};
use crate::acl::{Categories, Changed, FileError, Rights, Selector, User, categories, file, hexadecimal};
use crate::client::ClientState;
use crate::node::Node;
use crate::pubsub::ChannelKind;
use resp::Reply;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;

const TELLS: Flags = Flags::NO_SCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = TELLS.union(Flags::ADMIN);
const NODE: Merge = Merge::Local("Each node has users of its own");

const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: Handler,
    summary: &'static str,
    complexity: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags,
        keys: Keys::None,
        handler,
        since: "6.0.0",
        summary,
        group: Group::Server,
        complexity,
        merge: NODE,
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    subcommands: SUBCOMMANDS,
    ..row("acl", -2, Flags::empty(), help, "A container for Access List Control commands", "Depends on subcommand.")
}];

const SUBCOMMANDS: &[Command] = &[
    row("cat", -2, TELLS, cat, "List the ACL categories or the commands inside a category", OF_COMMANDS),
    row(
        "deluser",
        -3,
        ADMIN,
        deluser,
        "Remove the specified ACL users and the associated rules",
        "O(1) amortized time considering the typical user.",
    ),
    Command {
        since: "7.0.0",
        ..row(
            "dryrun",
            -4,
            ADMIN,
            dryrun,
            "Returns whether the user can execute the given command without executing the command.",
            "O(1).",
        )
    },
    row("genpass", -2, TELLS, genpass, "Generate a pseudorandom secure password to use for ACL users", "O(1)"),
    row(
        "getuser",
        3,
        ADMIN,
        getuser,
        "Get the rules for a specific ACL user",
        "O(N). Where N is the number of password, command and pattern rules that the user has.",
    ),
    row(
        "help",
        2,
        Flags::LOADING.union(Flags::STALE),
        help,
        "Show helpful text about the different subcommands",
        "O(1)",
    ),
    row("list", 2, ADMIN, list, "List the current ACL rules in ACL config file format", OF_USERS),
    row("load", 2, ADMIN, load, "Reload the ACLs from the configured ACL file", OF_USERS),
    row(
        "log",
        -2,
        ADMIN,
        access_log::log,
        "List latest events denied because of ACLs in place",
        "O(N) with N being the number of entries shown.",
    ),
    row("save", 2, ADMIN, save, "Save the current ACL rules in the configured ACL file", OF_USERS),
    row(
        "setuser",
        -3,
        ADMIN,
        setuser,
        "Modify or create the rules for a specific ACL user",
        "O(N). Where N is the number of rules provided.",
    ),
    row("users", 2, ADMIN, users, "List the username of all the configured ACL rules", OF_USERS),
    row("whoami", 2, TELLS, whoami, "Return the name of the user associated to the current connection", "O(1)"),
];

const OF_COMMANDS: &str = "O(1) since the categories and commands are a fixed set.";
const OF_USERS: &str = "O(N). Where N is the number of configured users.";

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    write_help(call, "ACL", HELP);
    Ok(())
}

fn cat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    match args {
        [_, _] => {
            call.reply.array(categories::NAMES.len());
            categories::NAMES.iter().for_each(|(name, _)| call.reply.bulk(name.as_bytes()));
        }
        [_, _, name] => {
            let category = Categories::named(name).ok_or_else(|| {
                CommandError::Detailed(format!("ERR Unknown category '{}'", String::from_utf8_lossy(name)))
            })?;
            let within: Vec<&Entry> =
                call.node.table.every().filter(|entry| entry.categories.contains(category)).collect();
            call.reply.array(within.len());
            within.into_iter().for_each(|entry| call.reply.bulk(entry.full_name.as_bytes()));
        }
        _ => return Err(CommandError::unknown_form(args)),
    }
    Ok(())
}

fn deluser(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let names = &args[2..];
    if names.contains(&crate::acl::DEFAULT_USER) {
        return Err(CommandError::Plain("ERR The 'default' user cannot be removed"));
    }
    let Changed { what: deleted, kept } = call.node.acl.delete(names);
    end_clients_of(call.node, call.client, &deleted);
    note_change(call, "users were deleted");
    kept.map_err(not_kept)?;
    call.reply.count(deleted.len());
    Ok(())
}

/// A change that holds and was not written is no success: whoever made it believes that it outlives the node.
fn not_kept(error: FileError) -> CommandError {
    let reason = match error {
        FileError::Unwritable { path, error } => format!("{}: {error}", path.display()),
        other @ (FileError::NoFile | FileError::Unreadable { .. } | FileError::Lines(_)) => other.to_string(),
    };
    CommandError::Detailed(format!(
        "ERR the change holds, but could not be written to the file of users and is lost when the node stops: {reason}"
    ))
}

/// Ends the connections of users that are gone; our own one after its reply.
fn end_clients_of(node: &Node, client: &mut ClientState, gone: &[Arc<User>]) {
    if gone.iter().any(|user| Arc::ptr_eq(user, &client.user)) {
        client.closing = true;
    }
    for presence in node.clients.all() {
        if presence.id != client.id() && gone.iter().any(|user| presence.is_of(user)) {
            presence.end();
        }
    }
}

/// Ends the connections that have subscribed to what their users may not hear any more.
fn end_forbidden_subscribers(node: &Node) {
    node.pubsub.end_forbidden(|presence, kind, name| {
        let user = presence.user();
        let user = user.as_ref().unwrap_or_else(|| node.acl.default_user());
        user.rights().allows_channel(name, kind == ChannelKind::Pattern)
    });
}

/// Who changes users is told to the log, and which users never.
fn note_change(call: &Call<'_, '_>, what: &'static str) {
    tracing::info!(client = call.client.id(), by = %String::from_utf8_lossy(call.client.user.name()), what);
}

fn dryrun(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (name, request) = (args[2], &args[3..]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let user = call.node.acl.find(name);
    let user = user.ok_or_else(|| CommandError::Detailed(format!("ERR User '{}' not found", text(name))))?;
    let not_found = || CommandError::Detailed(format!("ERR Command '{}' not found", text(request[0])));
    let mut entry = call.node.table.find(request[0]).ok_or_else(not_found)?;
    if let (false, Some(subcommand)) = (entry.subcommands.is_empty(), request.get(1)) {
        entry = entry.subcommand(subcommand).ok_or_else(not_found)?;
    }
    if !entry.takes(request.len()) {
        return Err(CommandError::wrong_arity(&entry.full_name));
    }
    match user.may(entry, request) {
        Ok(()) => call.reply.ok(),
        Err(denied) => call.reply.bulk(denied.explanation(entry, request).as_bytes()),
    }
    Ok(())
}

fn genpass(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let bits = match args {
        [_, _] => 256,
        [_, _, bits] => resp::parse_integer(bits).ok_or(CommandError::NotAnInteger)?,
        _ => return Err(CommandError::unknown_form(args)),
    };
    let letters =
        usize::try_from(bits).ok().filter(|bits| (1..=PASSWORD_BITS_MAX).contains(bits)).ok_or(CommandError::Plain(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ))?;
    let letters = letters.div_ceil(4);
    let mut chance = vec![0; letters.div_ceil(2)];
    let drawn = SystemRandom::new().fill(&mut chance);
    drawn.map_err(|_| CommandError::Plain("ERR the system gives no random numbers for a password"))?;
    call.reply.bulk(&hexadecimal(&chance).as_bytes()[..letters]);
    Ok(())
}

const PASSWORD_BITS_MAX: usize = 4096;

fn getuser(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let Some(user) = call.node.acl.find(args[2]) else {
        call.reply.null();
        return Ok(());
    };
    let rights = user.rights();
    let reply = &mut *call.reply;
    reply.map(6);
    let flags = rights.flags();
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    let passwords: Vec<String> = rights.password_texts().collect();
    reply.bulk(b"passwords");
    reply.array(passwords.len());
    passwords.iter().for_each(|text| reply.bulk(text.as_bytes()));
    write_selectors(reply, &rights);
    Ok(())
}

fn write_selectors(reply: &mut Reply, rights: &Rights) {
    let write = |reply: &mut Reply, selector: &Selector| {
        let parts = [
            ("commands", selector.describe_commands()),
            ("keys", selector.describe_keys()),
            ("channels", selector.describe_channels(false)),
        ];
        for (name, rules) in parts {
            reply.bulk(name.as_bytes());
            reply.bulk(&rules);
        }
    };
    if let Some(own) = rights.own() {
        write(reply, own);
    }
    reply.bulk(b"selectors");
    reply.array(rights.others().len());
    for selector in rights.others() {
        reply.map(3);
        write(reply, selector);
    }
}

fn list(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let lines = call.node.acl.lines();
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.bulk(line));
    Ok(())
}

fn load(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let gone = call.node.acl.load(allows_all_channels(call.node)).map_err(refused)?;
    end_clients_of(call.node, call.client, &gone);
    end_forbidden_subscribers(call.node);
    note_change(call, "users were read from their file");
    call.reply.ok();
    Ok(())
}

fn save(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.node.acl.save().map_err(refused)?;
    call.reply.ok();
    Ok(())
}

fn refused(error: FileError) -> CommandError {
    CommandError::Detailed(format!("ERR {error}"))
}

fn setuser(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let name = args[2];
    if name.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b)) {
        return Err(CommandError::Plain("ERR Usernames can't contain spaces or null characters"));
    }
    let rules = file::merged(&args[3..]).map_err(|open| {
        let open = String::from_utf8_lossy(&open).into_owned();
        CommandError::Detailed(format!("ERR Unmatched parenthesis in acl selector starting at '{open}'."))
    })?;
    let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
    let changed = call.node.acl.set(name, &rules, allows_all_channels(call.node)).map_err(|refused| {
        let rule = String::from_utf8_lossy(&refused.rule).into_owned();
        CommandError::Detailed(format!("ERR Error in ACL SETUSER modifier '{rule}': {}", refused.error))
    })?;
    end_forbidden_subscribers(call.node);
    note_change(call, "a user was changed");
    changed.kept.map_err(not_kept)?;
    call.reply.ok();
    Ok(())
}

fn allows_all_channels(node: &Node) -> bool {
    node.config.load().acl_pubsub_default == "allchannels"
}

fn users(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let users = call.node.acl.all();
    call.reply.array(users.len());
    users.iter().for_each(|user| call.reply.bulk(user.name()));
    Ok(())
}

fn whoami(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.bulk(call.client.user.name());
    Ok(())
}

const HELP: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];
