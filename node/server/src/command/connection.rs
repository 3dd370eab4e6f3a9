//! Commands about the connection itself: who it is, what it speaks, which database it means.
//!
//! `CLIENT` and its subcommands are rows here; their handlers are in `client_calls`.

use super::acl::note_not_admitted;
use super::client_calls as client;
use super::client_tracking as tracking;
use super::pubsub;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::acl::DEFAULT_USER;
use crate::client::{Replies, Special};
use crate::info::REDIS_VERSION;
use keyspace::{DATABASES, Database};
use resp::Version;
use std::sync::Arc;

const QUICK: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);
const OPEN: Flags = QUICK.union(Flags::NO_SCRIPT).union(Flags::NO_AUTH).union(Flags::ALLOW_BUSY);
const LAST: Flags = OPEN.union(Flags::NEVER_QUEUED).union(Flags::SUBSCRIBER);
const CLIENT: Flags = Flags::NO_SCRIPT.union(Flags::LOADING).union(Flags::STALE);
const CLIENT_ADMIN: Flags = CLIENT.union(Flags::ADMIN);
const HERE: Merge = Merge::Local("Concerns this connection only");
const NODE: Merge = Merge::Local("Concerns the connections of this node only");

/// A row of this family.
const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: super::Handler,
    since: &'static str,
    summary: &'static str,
    merge: Merge,
) -> Command {
    Command {
        name,
        arity,
        flags,
        keys: Keys::None,
        handler,
        since,
        summary,
        group: Group::Connection,
        complexity: "O(1)",
        merge,
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("auth", -2, OPEN, auth, "1.0.0", "Authenticate to the server", HERE),
    Command {
        complexity: "Depends on subcommand.",
        subcommands: CLIENT_SUBCOMMANDS,
        ..row(
            "client",
            -2,
            Flags::empty(),
            client::help,
            "2.4.0",
            "A container for client connection commands",
            Merge::Local("Concerns the connections of this node only"),
        )
    },
    row("echo", 2, Flags::FAST.union(Flags::LOADING).union(Flags::STALE), echo, "1.0.0", "Echo the given string", HERE),
    row("hello", -1, OPEN, hello, "6.0.0", "Handshake with Redis", HERE),
    row("ping", -1, Flags::FAST.union(Flags::SUBSCRIBER), ping, "1.0.0", "Ping the server", HERE),
    row("quit", -1, LAST, quit, "1.0.0", "Close the connection", HERE),
    row("reset", 1, LAST, reset, "6.2.0", "Reset the connection", HERE),
    row("select", 2, QUICK, select, "1.0.0", "Change the selected database for the current connection", HERE),
];

const CLIENT_SUBCOMMANDS: &[Command] = &[
    row(
        "caching",
        3,
        CLIENT,
        tracking::caching,
        "6.0.0",
        "Instruct the server about tracking or not keys in the next request",
        HERE,
    ),
    row("getname", 2, CLIENT, client::getname, "2.6.9", "Get the current connection name", HERE),
    row(
        "getredir",
        2,
        CLIENT,
        tracking::getredir,
        "6.0.0",
        "Get tracking notifications redirection client ID if any",
        HERE,
    ),
    row(
        "help",
        2,
        Flags::LOADING.union(Flags::STALE),
        client::help,
        "5.0.0",
        "Show helpful text about the different subcommands",
        HERE,
    ),
    row("id", 2, CLIENT, client::id, "5.0.0", "Returns the client ID for the current connection", HERE),
    row("info", 2, CLIENT, client::info, "6.2.0", "Returns information about the current client connection", HERE),
    Command {
        complexity: "O(N) where N is the number of client connections",
        ..row("kill", -3, CLIENT_ADMIN, client::kill, "2.4.0", "Kill the connection of a client", NODE)
    },
    Command {
        complexity: "O(N) where N is the number of client connections",
        ..row("list", -2, CLIENT_ADMIN, client::list, "2.4.0", "Get the list of client connections", NODE)
    },
    row(
        "no-evict",
        3,
        CLIENT_ADMIN,
        client::no_evict,
        "7.0.0",
        "Set client eviction mode for the current connection",
        HERE,
    ),
    row(
        "no-touch",
        3,
        CLIENT,
        client::no_touch,
        "7.2.0",
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys",
        HERE,
    ),
    row(
        "pause",
        -3,
        CLIENT_ADMIN,
        client::pause,
        "2.9.50",
        "Stop processing commands from clients for some time",
        NODE,
    ),
    row("reply", 3, CLIENT, client::reply, "3.2.0", "Instruct the server whether to reply to commands", HERE),
    row("setinfo", 4, CLIENT, client::setinfo, "7.2.0", "Set client or connection specific info", HERE),
    row("setname", 3, CLIENT, client::setname, "2.6.9", "Set the current connection name", HERE),
    row(
        "tracking",
        -3,
        CLIENT.union(Flags::WHOLE_DATABASE),
        tracking::tracking,
        "6.0.0",
        "Enable or disable server assisted client side caching support",
        HERE,
    ),
    row(
        "trackinginfo",
        2,
        CLIENT,
        tracking::trackinginfo,
        "6.2.0",
        "Return information about server assisted client side caching for the current connection",
        HERE,
    ),
    row(
        "unblock",
        -3,
        CLIENT_ADMIN,
        client::unblock,
        "5.0.0",
        "Unblock a client blocked in a blocking command from a different connection",
        NODE,
    ),
    row("unpause", 2, CLIENT_ADMIN, client::unpause, "6.2.0", "Resume processing of clients that were paused", NODE),
];

fn auth(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (user, password) = match args {
        [_, _] if call.node.acl.default_user().rights().any_password => {
            return Err(CommandError::Plain(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        [_, password] => (DEFAULT_USER, *password),
        [_, user, password] => (*user, *password),
        _ => return Err(CommandError::Syntax),
    };
    authenticate(call, args[0], user, password)?;
    call.reply.ok();
    Ok(())
}

/// Makes the client a user's, if the password is right. `command` is what it asked with.
fn authenticate(call: &mut Call<'_, '_>, command: &[u8], name: &[u8], password: &[u8]) -> Result<(), CommandError> {
    match call.node.acl.authenticate(name, password) {
        Some(user) => {
            call.client.become_user(Arc::clone(&user));
            // SUBTLE: in this order: who deletes it from here on ends this connection.
            if !call.node.acl.has(&user) {
                call.client.closing = true;
            }
            Ok(())
        }
        None => {
            note_not_admitted(call.node, call.client, name, command, call.now());
            Err(CommandError::Plain("WRONGPASS invalid username-password pair or user is disabled."))
        }
    }
}

fn echo(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.bulk(args[1]);
    Ok(())
}

fn hello(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let version = match args.get(1).map(|version| resp::parse_integer(version)) {
        None => call.reply.version(),
        Some(Some(2)) => Version::Resp2,
        Some(Some(3)) => Version::Resp3,
        Some(Some(_)) => return Err(CommandError::Plain("NOPROTO unsupported protocol version")),
        Some(None) => return Err(CommandError::Plain("ERR Protocol version is not an integer or out of range")),
    };
    greet(call, args[0], args.get(2..).unwrap_or_default())?;
    if !call.client.authenticated && call.node.acl.requires_password() {
        return Err(CommandError::Plain(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    set_version(call, version);
    let id = i64::try_from(call.client.id()).unwrap_or(i64::MAX);
    let reply = &mut *call.reply;
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(version.number());
    reply.bulk(b"id");
    reply.integer(id);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// Does what the options of `HELLO` say, one after the other. As in Redis, what was done before one that fails stays done.
fn greet(call: &mut Call<'_, '_>, command: &[u8], mut options: &[&[u8]]) -> Result<(), CommandError> {
    loop {
        options = match options {
            [] => return Ok(()),
            [option, user, password, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                authenticate(call, command, user, password)?;
                rest
            }
            [option, name, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                client::rename(call, name)?;
                rest
            }
            [option, ..] => {
                let option = String::from_utf8_lossy(option);
                return Err(CommandError::Detailed(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        }
    }
}

fn ping(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    match args {
        [_] if pubsub::is_restricted(call) => pubsub::ping(call, b""),
        [_, message] if pubsub::is_restricted(call) => pubsub::ping(call, message),
        [_] => call.reply.simple("PONG"),
        [_, message] => call.reply.bulk(message),
        _ => return Err(CommandError::wrong_arity("ping")),
    }
    Ok(())
}

fn quit(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.client.closing = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let client = &mut *call.client;
    client.transaction = None;
    client.watches.clear();
    client.subscriptions = None;
    client.tracks = None;
    client.note_special();
    client.database = Database(0);
    client.replies = Replies::On;
    client.no_evict = false;
    client.no_touch = false;
    client.become_stranger(&call.node.acl);
    call.node.monitors.leave(client.id());
    client.special.remove(Special::MONITOR);
    client.presence.rename(|names| names.name.clear());
    set_version(call, Version::Resp2);
    call.reply.simple("RESET");
    Ok(())
}

/// Changes the version of the protocol, for replies and for what is posted to the client. Inside a transaction others
/// learn of it at the end, see [`settle_version`].
fn set_version(call: &mut Call<'_, '_>, version: Version) {
    call.reply.set_version(version);
    if !call.client.is_in_exec {
        tell_version(call);
    }
}

/// At the end of a transaction: if the version was changed in it, what waits in the other one is put before its answer,
/// which begins at `start`.
pub(super) fn settle_version(call: &mut Call<'_, '_>, start: usize) {
    if call.reply.version() != call.client.presence.version() {
        let answer = call.reply.bytes()[start..].to_vec();
        call.reply.truncate(start);
        tell_version(call);
        call.reply.append(&answer);
    }
}

fn tell_version(call: &mut Call<'_, '_>) {
    let (version, presence) = (call.reply.version(), Arc::clone(&call.client.presence));
    presence.change_version(version, call.client.aloud(call.reply));
}

fn select(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let number = resp::parse_integer(args[1]).ok_or(CommandError::NotAnInteger)?;
    if i32::try_from(number).is_err() {
        return Err(CommandError::OutOfRange("value is out of range, value must between -2147483648 and 2147483647"));
    }
    let database = u8::try_from(number).ok().filter(|number| *number < DATABASES);
    call.client.database = Database(database.ok_or(CommandError::OutOfRange("DB index is out of range"))?);
    call.reply.ok();
    Ok(())
}
