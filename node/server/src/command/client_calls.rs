//! `CLIENT` and its subcommands: what connections there are, what they are called, and ending or pausing them.

use super::{Call, CommandError};
use crate::acl::User;
use crate::client::Replies;
use crate::clients::{InputBytes, Marks, Presence, is_client_name};
use crate::condition::Paused;
use crate::config::ClientClass;
use crate::node::Node;
use crdt::UnixMillis;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// The refusal of a name that would make `CLIENT LIST` unreadable.
const BAD_NAME: CommandError =
    CommandError::Plain("ERR Client names cannot contain spaces, newlines or special characters.");

pub(super) fn getname(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let name = call.client.presence.names().name;
    if name.is_empty() {
        call.reply.null()
    } else {
        call.reply.bulk(name.as_bytes())
    }
    Ok(())
}

pub(super) fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    write_help(call, "CLIENT", HELP);
    Ok(())
}

/// Writes the lines of a `HELP` subcommand, with Redis' first and last ones.
pub(super) fn write_help(call: &mut Call<'_, '_>, command: &str, lines: &[&str]) {
    call.reply.array(lines.len() + 3);
    call.reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        call.reply.simple(line);
    }
    call.reply.simple("HELP");
    call.reply.simple("    Prints this help.");
}

pub(super) fn id(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.integer(i64::try_from(call.client.id()).unwrap_or(i64::MAX));
    Ok(())
}

pub(super) fn info(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    refresh_own(call);
    let mut text = String::new();
    describe(call.node, &call.client.presence, call.now(), &mut text);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn list(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let mut wanted: Vec<Arc<Presence>> = Vec::new();
    match args {
        [_, _] => wanted = call.node.clients.all(),
        [_, _, option, kind] if option.eq_ignore_ascii_case(b"type") => {
            let kind = Kind::named(kind)?;
            wanted = call.node.clients.all();
            wanted.retain(|presence| Kind::of(presence) == kind);
        }
        [_, _, option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let all = call.node.clients.all();
            for id in ids {
                let id = resp::parse_integer(id).ok_or(CommandError::Plain("ERR Invalid client ID"))?;
                // Nobody has a negative one.
                let id = u64::try_from(id).ok();
                wanted.extend(all.iter().find(|presence| Some(presence.id) == id).cloned());
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    refresh_own(call);
    let mut text = String::new();
    for presence in &wanted {
        describe(call.node, presence, call.now(), &mut text);
    }
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Other connections are as they were after their last read; our own is in the middle of one.
fn refresh_own(call: &Call<'_, '_>) {
    let look = call.client.look(call.now(), call.reply.version(), InputBytes::default());
    call.client.presence.update(&look);
}

/// One line of `CLIENT LIST`. What a node like ours does not have stands there as in a Redis that does not use it.
fn describe(node: &Node, presence: &Presence, now: UnixMillis, text: &mut String) {
    let (look, names, user) = (presence.look(), presence.names(), presence.user_name());
    let (subscribed, (posted, pieces)) = (presence.subscribed(), presence.posted());
    let waiting = presence.unread_bytes() + posted;
    let command = look.last_command.and_then(|ordinal| node.table.by_ordinal(ordinal));
    let command = command.map_or("NULL", |entry| entry.full_name.as_str());
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} \
         qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl=0 oll={} omem={} tot-mem={} events=r cmd={command} \
         user={user} redir={} resp={} lib-name={} lib-ver={}",
        presence.id,
        presence.address,
        presence.local_address,
        presence.id,
        names.name,
        presence.age(now).as_secs(),
        presence.idle(now).as_secs(),
        letters(look.marks),
        look.database,
        subscribed.channels,
        subscribed.patterns,
        subscribed.shard_channels,
        look.queued,
        look.input.waiting,
        look.input.spare,
        look.queued_bytes,
        pieces,
        waiting,
        presence.memory_bytes(),
        node.tracking.redirect(presence.id),
        look.version,
        names.library,
        names.library_version,
    );
}

/// A connection in one line, as `CLIENT LIST` shows it.
pub(super) fn described(node: &Node, presence: &Presence, now: UnixMillis) -> String {
    let mut text = String::new();
    describe(node, presence, now, &mut text);
    text.truncate(text.trim_end().len());
    text
}

fn letters(marks: Marks) -> String {
    const LETTERS: [(Marks, char); 10] = [
        (Marks::MONITOR, 'O'),
        (Marks::SUBSCRIBED, 'P'),
        (Marks::TRANSACTION, 'x'),
        (Marks::BLOCKED, 'b'),
        (Marks::TRACKING, 't'),
        (Marks::BROKEN_REDIRECT, 'R'),
        (Marks::BROADCAST, 'B'),
        (Marks::CLOSING, 'c'),
        (Marks::NO_EVICT, 'e'),
        (Marks::NO_TOUCH, 'T'),
    ];
    let letters: String = LETTERS.iter().filter(|(mark, _)| marks.contains(*mark)).map(|(_, letter)| letter).collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

/// The kinds of clients that Redis tells apart; others than these there are none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    PubSub,
    Other,
}

impl Kind {
    fn of(presence: &Presence) -> Self {
        match presence.class() {
            ClientClass::Normal => Self::Normal,
            ClientClass::PubSub => Self::PubSub,
            ClientClass::Replica => Self::Other,
        }
    }

    fn named(name: &[u8]) -> Result<Self, CommandError> {
        if name.eq_ignore_ascii_case(b"normal") {
            return Ok(Self::Normal);
        }
        if name.eq_ignore_ascii_case(b"pubsub") {
            return Ok(Self::PubSub);
        }
        let others: [&[u8]; 3] = [b"slave", b"replica", b"master"];
        if others.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return Ok(Self::Other);
        }
        let name = String::from_utf8_lossy(name);
        Err(CommandError::Detailed(format!("ERR Unknown client type '{name}'")))
    }
}

/// Which connections a `CLIENT KILL` means: those that fit all that is given.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    address: Option<String>,
    local_address: Option<String>,
    kind: Option<Kind>,
    user: Option<Arc<User>>,
    /// Kills those that are at least this old, in seconds.
    age_min: Option<u64>,
    includes_own: bool,
}

impl Filter {
    fn fits(&self, presence: &Presence, own: u64, now: UnixMillis) -> bool {
        let has = |wanted: &Option<String>, address: SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string())
        };
        self.id.is_none_or(|id| id == presence.id)
            && has(&self.address, presence.address)
            && has(&self.local_address, presence.local_address)
            && self.kind.is_none_or(|kind| kind == Kind::of(presence))
            && self.user.as_ref().is_none_or(|user| presence.is_of(user))
            && self.age_min.is_none_or(|age_min| presence.age(now).as_secs() >= age_min)
            && (self.includes_own || presence.id != own)
    }
}

pub(super) fn kill(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if let [_, _, address] = args {
        let address = String::from_utf8_lossy(address).into_owned();
        let filter = Filter { address: Some(address), includes_own: true, ..Filter::default() };
        if end_fitting(call, &filter) == 0 {
            return Err(CommandError::Plain("ERR No such client"));
        }
        call.reply.ok();
        return Ok(());
    }
    let filter = filter(call.node, &args[2..])?;
    let ended = end_fitting(call, &filter);
    call.reply.count(ended);
    Ok(())
}

fn filter(node: &Node, options: &[&[u8]]) -> Result<Filter, CommandError> {
    let (pairs, []) = options.as_chunks::<2>() else { return Err(CommandError::Syntax) };
    let mut filter = Filter::default();
    for [option, value] in pairs {
        let text = || String::from_utf8_lossy(value).into_owned();
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("id") {
            let id = resp::parse_integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            filter.id = Some(id.ok_or(CommandError::Plain("ERR client-id should be greater than 0"))?);
        } else if is("type") {
            filter.kind = Some(Kind::named(value)?);
        } else if is("addr") {
            filter.address = Some(text());
        } else if is("laddr") {
            filter.local_address = Some(text());
        } else if is("user") {
            let user = node.acl.find(value);
            filter.user = Some(user.ok_or_else(|| CommandError::Detailed(format!("ERR No such user '{}'", text())))?);
        } else if is("maxage") {
            let age = resp::parse_integer(value).and_then(|age| u64::try_from(age).ok()).filter(|age| *age > 0);
            filter.age_min = Some(age.ok_or(CommandError::Plain("ERR maxage should be greater than 0"))?);
        } else if is("skipme") {
            filter.includes_own = !yes_or_no(value)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(filter)
}

/// Ends the connections that fit and says how many. Our own is closed after its reply.
fn end_fitting(call: &mut Call<'_, '_>, filter: &Filter) -> usize {
    let (own, now) = (call.client.id(), call.now());
    let mut ended = 0;
    for presence in call.node.clients.all() {
        if !filter.fits(&presence, own, now) {
            continue;
        }
        ended += 1;
        if presence.id == own { call.client.closing = true } else { presence.end() }
    }
    ended
}

pub(super) fn no_evict(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    call.client.no_evict = on_or_off(args[2])?;
    call.reply.ok();
    Ok(())
}

pub(super) fn no_touch(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    call.client.no_touch = on_or_off(args[2])?;
    call.reply.ok();
    Ok(())
}

pub(super) fn pause(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let what = match args {
        [_, _, _] => Paused::All,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"all") => Paused::All,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"write") => Paused::Writes,
        [_, _, _, _] => return Err(CommandError::Plain("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(CommandError::unknown_form(args)),
    };
    let span = resp::parse_integer(args[2]);
    let span = span.ok_or(CommandError::Plain("ERR timeout is not an integer or out of range"))?;
    let span = u64::try_from(span).map_err(|_| CommandError::Plain("ERR timeout is negative"))?;
    call.node.condition.pause(what, call.now().saturating_add(span));
    call.reply.ok();
    Ok(())
}

pub(super) fn reply(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if args[2].eq_ignore_ascii_case(b"on") {
        call.client.replies = Replies::On;
        // Of a transaction that began without replies.
        call.client.say_aloud(call.reply);
        call.reply.ok();
    } else if args[2].eq_ignore_ascii_case(b"off") {
        call.client.replies = Replies::Off;
    } else if args[2].eq_ignore_ascii_case(b"skip") {
        if call.client.replies != Replies::Off {
            call.client.replies = Replies::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

pub(super) fn setinfo(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (option, value) = (args[2], args[3]);
    if !is_client_name(value) {
        let option = String::from_utf8_lossy(option).to_ascii_lowercase();
        let text = format!("ERR {option} cannot contain spaces, newlines or special characters.");
        return Err(CommandError::Detailed(text));
    }
    let value = String::from_utf8_lossy(value).into_owned();
    if option.eq_ignore_ascii_case(b"lib-name") {
        call.client.presence.rename(|names| names.library = value);
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        call.client.presence.rename(|names| names.library_version = value);
    } else {
        let option = String::from_utf8_lossy(option);
        return Err(CommandError::Detailed(format!("ERR Unrecognized option '{option}'")));
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn setname(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    rename(call, args[2])?;
    call.reply.ok();
    Ok(())
}

/// Gives the connection a name; an empty one takes it away.
pub(super) fn rename(call: &mut Call<'_, '_>, name: &[u8]) -> Result<(), CommandError> {
    if !is_client_name(name) {
        return Err(BAD_NAME);
    }
    let name = String::from_utf8_lossy(name).into_owned();
    call.client.presence.rename(|names| names.name = name);
    Ok(())
}

pub(super) fn unblock(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let with_error = match args {
        [_, _, _] => false,
        [_, _, _, reason] if reason.eq_ignore_ascii_case(b"timeout") => false,
        [_, _, _, reason] if reason.eq_ignore_ascii_case(b"error") => true,
        [_, _, _, _] => return Err(CommandError::Plain("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(CommandError::unknown_form(args)),
    };
    let id = resp::parse_integer(args[2]).ok_or(CommandError::NotAnInteger)?;
    let waited = u64::try_from(id)
        .is_ok_and(|id| call.node.blocking.unblock(id, with_error) || call.node.arrivals.unblock(id, with_error));
    call.reply.integer(i64::from(waited));
    Ok(())
}

pub(super) fn unpause(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.node.condition.end_pause();
    call.reply.ok();
    Ok(())
}

pub(super) fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

fn yes_or_no(word: &[u8]) -> Result<bool, CommandError> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    With OPTIN or OPTOUT: whether the keys of the next command are tracked.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ID <client-id>",
    "      Kill the connection with this id.",
    "    * ADDR <ip:port>",
    "      Kill connections made from the specified address",
    "    * LADDR <ip:port>",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * MAXAGE <seconds>",
    "      Kill connections that are at least as old.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "    * ID <client-id> [...]",
    "      Return clients with these ids.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Say which client library uses the current connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Tell the connection which keys have changed that it may have kept.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
];
