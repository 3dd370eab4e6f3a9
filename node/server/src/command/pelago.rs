//! Pelago's own commands: what `pelago status`, `region`, `lag` and `verify` ask a node over its Redis port.
//!
//! They are answered by the thread of the peers, some only after a while, so a handler only hands the order over; the
//! connection waits for the answer before it goes on with the client's next command.

mod backup;

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::client::Order;

const ORDER: Flags =
    Flags::ADMIN.union(Flags::NO_SCRIPT).union(Flags::LOADING).union(Flags::STALE).union(Flags::NO_MULTI);
const CLUSTER: Merge = Merge::Local("Concerns the cluster, whose membership has a merge of its own");
const SEEN: Merge = Merge::Local("Tells what has come here, and changes nothing");
const SINCE: &str = "0.1.0";

const fn row(name: &'static str, arity: i32, summary: &'static str) -> Command {
    Command {
        name,
        arity,
        flags: ORDER,
        keys: Keys::None,
        handler: order,
        since: SINCE,
        summary,
        group: Group::Pelago,
        complexity: "O(N) with N the number of members.",
        merge: CLUSTER,
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    handler: alone,
    // Not all of them are for operators: each says so itself.
    flags: Flags::empty(),
    subcommands: SUBCOMMANDS,
    ..row("pelago", -2, "A container for Pelago's own commands.")
}];

const SUBCOMMANDS: &[Command] = &[
    row("status", 2, "Returns the cluster as this node knows it, as JSON."),
    row("lag", 2, "Returns how far behind each peer is, as JSON."),
    row("region", -3, "Lists members, admits a node, or removes a region."),
    row("verify", -2, "Compares all slots with every peer by digest, as JSON."),
    row("release-drift", -3, "Accepts the changes of a node whose clock was ahead."),
    row("seal", -3, "Gives up what a removed node wrote and nobody who can be reached holds."),
    Command {
        handler: backup::backup,
        complexity: "O(N) with N the number of files for BEGIN, and the number of bytes for READ.",
        merge: Merge::Local("Reads this node's own files"),
        ..row("backup", -3, "Begins, reads or ends a copy of the node's store; `pelago backup` does all of it.")
    },
    Command {
        handler: super::arrival::token,
        flags: Flags::NO_SCRIPT.union(Flags::NO_MULTI),
        complexity: "O(N) with N the number of nodes that ever wrote.",
        merge: SEEN,
        ..row("token", 2, "Returns what this client may have seen, as a text for PELAGO AWAIT in another region.")
    },
    Command {
        handler: super::arrival::until_seen,
        flags: Flags::NO_SCRIPT.union(Flags::LOADING).union(Flags::STALE),
        complexity: "O(N) with N the number of nodes that ever wrote.",
        merge: SEEN,
        ..row("await", 4, "Waits until all that a token names is visible here.")
    },
    row("cut", -2, "Cuts this node off from all others, or from some of them, for trials."),
    row("heal", -2, "Ends all cuts of this node, or those from some others."),
    Command { handler: help, ..row("help", 2, "Returns helpful text about the different subcommands.") },
];

fn alone(_: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::Plain("ERR wrong number of arguments for 'pelago' command"))
}

fn order(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let words = args[1..].iter().map(|word| word.to_vec()).collect();
    let answered = call.node.control.order(words).map_err(|error| CommandError::Detailed(format!("ERR {error}")))?;
    call.client.order = Some(Order::Text(answered));
    Ok(())
}

fn help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    const LINES: &[&str] = &[
        "PELAGO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "STATUS",
        "    The cluster as this node knows it.",
        "LAG",
        "    How far behind each peer is.",
        "REGION LIST",
        "    The members.",
        "REGION ADD <json>",
        "    Admits a node; `pelago region add` makes the request.",
        "REGION REMOVE <region|node> [FORCE]",
        "    Removes a region once everybody has its writes; with FORCE at once.",
        "VERIFY [<timeout-ms>]",
        "    Compares all slots with every peer.",
        "RELEASE-DRIFT <region|node> [PREVIEW]",
        "    Accepts changes of a node whose clock was ahead.",
        "SEAL <identity> [PREVIEW]",
        "    Gives up what a removed node wrote and nobody who can be reached holds.",
        "BACKUP BEGIN [LEASE <ms>]",
        "    Begins a copy of the node's store: a token, and files with their lengths.",
        "BACKUP READ <token> <name> <offset> <bytes> [UNLESS <checksum>]",
        "    A piece of a file, or nothing if its XXH3-64 is that.",
        "BACKUP END <token>",
        "    Ends it; without a read it ends by itself after its lease.",
        "TOKEN",
        "    What this client may have seen, for AWAIT in another region.",
        "AWAIT <token> <timeout-ms>",
        "    Waits until all that a token names is visible here; 0 waits for ever. Answers 1, or 0 at the timeout.",
        "CUT [<region|node> ...]",
        "    Cuts this node off from all others or these; only with the setting development.",
        "HEAL [<region|node> ...]",
        "    Ends all cuts of this node, or those from these.",
        "HELP",
        "    Print this help.",
    ];
    call.reply.array(LINES.len());
    LINES.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}
