//! Publishing and subscribing. Who has subscribed to what is known to the room `pubsub`; how messages reach a client is
//! its outbox's affair.

use super::client_calls::write_help;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::client::ClientState;
use crate::limits::SUBSCRIPTIONS_MAX;
use crate::pubsub::{ChannelKind, Reach, Subscriptions};
use resp::Version;
use std::sync::Arc;

const OPEN: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);
const SUBSCRIBER: Flags = OPEN.union(Flags::NO_SCRIPT).union(Flags::SUBSCRIBER);
const HERE: Merge = Merge::Local("Concerns this connection only");
const NODE: Merge = Merge::Local("Says what is subscribed to on this node only");
const MESSAGE: Merge = Merge::Local(
    "A message reaches the subscribers of every connected region at most once, and is kept nowhere; the reply counts \
     those of this node",
);

/// A row of this family.
const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: super::Handler,
    since: &'static str,
    (summary, complexity): (&'static str, &'static str),
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
        group: Group::PubSub,
        complexity,
        merge,
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row(
        "subscribe",
        -2,
        SUBSCRIBER,
        subscribe,
        "2.0.0",
        (
            "Listen for messages published to the given channels",
            "O(N) where N is the number of channels to subscribe to.",
        ),
        HERE,
    ),
    row(
        "unsubscribe",
        -1,
        SUBSCRIBER,
        unsubscribe,
        "2.0.0",
        (
            "Stop listening for messages posted to the given channels",
            "O(N) where N is the number of clients already subscribed to a channel.",
        ),
        HERE,
    ),
    row(
        "psubscribe",
        -2,
        SUBSCRIBER,
        psubscribe,
        "2.0.0",
        (
            "Listen for messages published to channels matching the given patterns",
            "O(N) where N is the number of patterns the client is already subscribed to.",
        ),
        HERE,
    ),
    row(
        "punsubscribe",
        -1,
        SUBSCRIBER,
        punsubscribe,
        "2.0.0",
        (
            "Stop listening for messages posted to channels matching the given patterns",
            "O(N+M) where N is the number of patterns the client is already subscribed and M is the number of total \
             patterns subscribed in the system (by any client).",
        ),
        HERE,
    ),
    row(
        "ssubscribe",
        -2,
        SUBSCRIBER,
        ssubscribe,
        "7.0.0",
        (
            "Listen for messages published to the given shard channels",
            "O(N) where N is the number of shard channels to subscribe to.",
        ),
        HERE,
    ),
    row(
        "sunsubscribe",
        -1,
        SUBSCRIBER,
        sunsubscribe,
        "7.0.0",
        (
            "Stop listening for messages posted to the given shard channels",
            "O(N) where N is the number of clients already subscribed to a shard channel.",
        ),
        HERE,
    ),
    row(
        "publish",
        3,
        OPEN.union(Flags::FAST).union(Flags::GROWS).union(Flags::MAY_REPLICATE),
        publish,
        "2.0.0",
        (
            "Post a message to a channel",
            "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of \
             subscribed patterns (by any client).",
        ),
        MESSAGE,
    ),
    row(
        "spublish",
        3,
        OPEN.union(Flags::FAST).union(Flags::GROWS).union(Flags::MAY_REPLICATE),
        spublish,
        "7.0.0",
        (
            "Post a message to a shard channel",
            "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        ),
        MESSAGE,
    ),
    Command {
        subcommands: PUBSUB_SUBCOMMANDS,
        ..row(
            "pubsub",
            -2,
            Flags::empty(),
            help,
            "2.8.0",
            ("A container for Pub/Sub commands", "Depends on subcommand."),
            NODE,
        )
    },
];

const PUBSUB_SUBCOMMANDS: &[Command] = &[
    row(
        "channels",
        -2,
        OPEN,
        channels,
        "2.8.0",
        (
            "List active channels",
            "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively \
             short channels and patterns)",
        ),
        NODE,
    ),
    row(
        "help",
        2,
        Flags::LOADING.union(Flags::STALE),
        help,
        "6.2.0",
        ("Show helpful text about the different subcommands", "O(1)"),
        NODE,
    ),
    row("numpat", 2, OPEN, numpat, "2.8.0", ("Get the count of unique patterns pattern subscriptions", "O(1)"), NODE),
    row(
        "numsub",
        -2,
        OPEN,
        numsub,
        "2.8.0",
        (
            "Get the count of subscribers for channels",
            "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        ),
        NODE,
    ),
    row(
        "shardchannels",
        -2,
        OPEN,
        shardchannels,
        "7.0.0",
        (
            "List active shard channels",
            "O(N) where N is the number of active shard channels, and assuming constant time pattern matching \
             (relatively short channels).",
        ),
        NODE,
    ),
    row(
        "shardnumsub",
        -2,
        OPEN,
        shardnumsub,
        "7.0.0",
        (
            "Get the count of subscribers for shard channels",
            "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        ),
        NODE,
    ),
];

fn subscribe(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    enter(call, ChannelKind::Channel, &args[1..])
}

fn psubscribe(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    enter(call, ChannelKind::Pattern, &args[1..])
}

fn ssubscribe(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    enter(call, ChannelKind::Shard, &args[1..])
}

fn unsubscribe(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    leave(call, ChannelKind::Channel, &args[1..]);
    Ok(())
}

fn punsubscribe(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    leave(call, ChannelKind::Pattern, &args[1..]);
    Ok(())
}

fn sunsubscribe(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    leave(call, ChannelKind::Shard, &args[1..]);
    Ok(())
}

/// The subscriptions of the client of a call; it has a place for them from now on.
fn subscriptions<'c>(call: &'c mut Call<'_, '_>) -> &'c mut Subscriptions {
    let ClientState { subscriptions, presence, .. } = &mut *call.client;
    subscriptions
        .get_or_insert_with(|| Box::new(Subscriptions::new(Arc::clone(&call.node.pubsub), Arc::clone(presence))))
}

fn enter(call: &mut Call<'_, '_>, kind: ChannelKind, names: &[&[u8]]) -> Result<(), CommandError> {
    let has = call.client.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.count().all() as usize);
    if has.saturating_add(names.len()) > SUBSCRIPTIONS_MAX {
        return Err(CommandError::Plain("ERR too many channels and patterns are subscribed to"));
    }
    for name in names {
        let subscriptions = subscriptions(call);
        subscriptions.enter(kind, name);
        let count = subscriptions.count();
        confirm(call, kind, kind.subscribed(), Some(name), count);
    }
    call.client.note_special();
    // SUBTLE: once more, now that it has subscribed: who takes the right away from here on ends this connection.
    let may_hear = |name: &&[u8]| call.client.user.rights().allows_channel(name, kind == ChannelKind::Pattern);
    if !call.client.is_trusted() && !names.iter().all(may_hear) {
        call.client.closing = true;
    }
    Ok(())
}

fn leave(call: &mut Call<'_, '_>, kind: ChannelKind, names: &[&[u8]]) {
    let all: Vec<crate::pubsub::Name>;
    let names: Vec<&[u8]> = if names.is_empty() {
        all = call.client.subscriptions.as_ref().map(|subscriptions| subscriptions.names(kind)).unwrap_or_default();
        all.iter().map(|name| &**name).collect()
    } else {
        names.to_vec()
    };
    if names.is_empty() {
        let count = call.client.subscriptions.as_ref().map(|subscriptions| subscriptions.count());
        confirm(call, kind, kind.unsubscribed(), None, count.unwrap_or_default());
    }
    for name in names {
        let subscriptions = subscriptions(call);
        subscriptions.leave(kind, name);
        let count = subscriptions.count();
        // What came before the end of the subscription is said before it. Inside a transaction it has to wait.
        if !call.client.is_in_exec {
            let presence = Arc::clone(&call.client.presence);
            presence.collect_all_mail(call.client.aloud(call.reply));
        }
        confirm(call, kind, kind.unsubscribed(), Some(name), count);
    }
    if call.client.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.count().all() == 0) {
        call.client.subscriptions = None;
    }
    call.client.note_special();
}

fn confirm(
    call: &mut Call<'_, '_>,
    kind: ChannelKind,
    word: &str,
    name: Option<&[u8]>,
    count: crate::outbox::Subscribed,
) {
    let reply = call.client.aloud(call.reply);
    reply.push(3);
    reply.bulk(word.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    let of_kind = if kind == ChannelKind::Shard { count.shard_channels } else { count.channels + count.patterns };
    reply.integer(of_kind.into());
}

fn publish(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    publish_to(call, ChannelKind::Channel, args)
}

fn spublish(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    publish_to(call, ChannelKind::Shard, args)
}

fn publish_to(call: &mut Call<'_, '_>, kind: ChannelKind, args: &[&[u8]]) -> Result<(), CommandError> {
    let (limits, reach) = {
        let config = call.node.config.load();
        (config.client_output_buffer_limit, if config.pubsub_regions { Reach::Everywhere } else { Reach::Region })
    };
    let receivers = call.node.pubsub.publish(kind, args[1], args[2], reach, &limits, call.now());
    call.client.is_heard |= receivers > 0;
    call.reply.count(receivers);
    Ok(())
}

fn channels(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    list(call, ChannelKind::Channel, args)
}

fn shardchannels(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    list(call, ChannelKind::Shard, args)
}

fn list(call: &mut Call<'_, '_>, kind: ChannelKind, args: &[&[u8]]) -> Result<(), CommandError> {
    let pattern = match args {
        [_, _] => None,
        [_, _, pattern] => Some(*pattern),
        _ => return Err(CommandError::unknown_form(args)),
    };
    let names = call.node.pubsub.channels(kind, pattern);
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name));
    Ok(())
}

fn numpat(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.count(call.node.pubsub.pattern_count());
    Ok(())
}

fn numsub(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    count(call, ChannelKind::Channel, &args[2..]);
    Ok(())
}

fn shardnumsub(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    count(call, ChannelKind::Shard, &args[2..]);
    Ok(())
}

fn count(call: &mut Call<'_, '_>, kind: ChannelKind, names: &[&[u8]]) {
    call.reply.array(names.len() * 2);
    for name in names {
        call.reply.bulk(name);
        call.reply.count(call.node.pubsub.subscribers(kind, name));
    }
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    write_help(call, "PUBSUB", HELP);
    Ok(())
}

/// What a client that has subscribed may not do in the older version of the protocol, in which a reply could not be told
/// from a message.
#[cold]
pub fn refusal(full_name: &str) -> CommandError {
    CommandError::Detailed(format!(
        "ERR Can't execute '{full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
         this context"
    ))
}

/// The answer to `PING` of such a client.
pub(super) fn ping(call: &mut Call<'_, '_>, message: &[u8]) {
    call.reply.array(2);
    call.reply.bulk(b"pong");
    call.reply.bulk(message);
}

/// Whether a client is in the mode in which it may only subscribe and unsubscribe.
pub(super) fn is_restricted(call: &Call<'_, '_>) -> bool {
    call.client.subscriptions.is_some() && call.reply.version() == Version::Resp2
}

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

#[cfg(test)]
mod tests;
