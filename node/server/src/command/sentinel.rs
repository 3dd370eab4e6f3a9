//! `SENTINEL`: where Sentinel-aware clients find a node, asked of any node.
//!
//! The answers have the form of a real Sentinel's, so that clients need not know that there is none. There are no
//! replicas: every node takes writes.

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::sentinel::{Address, Other, Place};
use xxhash_rust::xxh3::xxh3_128;

const ASK: Flags = Flags::NO_SCRIPT.union(Flags::LOADING).union(Flags::STALE);
const NODE: Merge = Merge::Local("Each node answers by what it knows of the others");

const fn row(
    name: &'static str,
    arity: i32,
    handler: super::Handler,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags: ASK,
        keys: Keys::None,
        handler,
        since,
        summary,
        group: Group::Sentinel,
        complexity: "O(N) with N the number of members.",
        merge: NODE,
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    subcommands: SUBCOMMANDS,
    complexity: "Depends on subcommand.",
    ..row("sentinel", -2, alone, "2.8.4", "A container for Sentinel commands")
}];

const SUBCOMMANDS: &[Command] = &[
    row("ckquorum", 3, ckquorum, "2.8.4", "Check for a Sentinel quorum"),
    Command {
        flags: ASK.union(Flags::ADMIN),
        ..row("failover", 3, failover, "2.8.4", "Force a failover; refused, since every node takes writes")
    },
    Command {
        flags: ASK.union(Flags::ADMIN),
        ..row("flushconfig", 2, flushconfig, "2.8.4", "Rewrite the Sentinel configuration file; there is none")
    },
    row("get-master-addr-by-name", 3, address, "2.8.4", "Get port and address of the node that serves a name"),
    row("help", 2, help, "6.2.0", "Show helpful text about the different subcommands"),
    row("is-master-down-by-addr", 6, is_down, "2.8.4", "Check if a master is down"),
    row("master", 3, master, "2.8.4", "Show the state of a name and the node that serves it"),
    row("masters", 2, masters, "2.8.4", "List the names and the nodes that serve them"),
    row("myid", 2, myid, "6.2.0", "Get the Sentinel instance ID"),
    row("pending-scripts", 2, nothing, "2.8.4", "Get information about pending scripts; there are none"),
    row("replicas", 3, replicas, "5.0.0", "List the monitored replicas; there are none"),
    Command {
        flags: ASK.union(Flags::ADMIN),
        ..row("reset", 3, reset, "2.8.4", "Reset masters by name pattern; nothing is kept that could be reset")
    },
    row("sentinels", 3, sentinels, "2.8.4", "List the other nodes, which answer as Sentinels too"),
    row("slaves", 3, replicas, "2.8.0", "List the monitored replicas; there are none"),
];

const NO_SUCH: CommandError = CommandError::Plain("ERR No such master with that name");

fn alone(_: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::wrong_arity("sentinel"))
}

/// The place of a name; the client is remembered while clients of other regions are served here.
fn place(call: &Call<'_, '_>, name: &[u8]) -> Option<Place> {
    let sentinel = &call.node.sentinel;
    sentinel.note_visitor(call.client.presence.address.ip(), call.now());
    sentinel.place(std::str::from_utf8(name).ok()?)
}

/// What the client is told: of this node the address that it has reached it by, if the node gives none that can be dialed.
fn reachable(call: &Call<'_, '_>, place: &Place) -> Address {
    let mut address = place.address.clone();
    let local = call.client.presence.local_address;
    if place.is_own && (address.host.is_empty() || address.port == 0) {
        (address.host, address.port) = (local.ip().to_string(), local.port());
    }
    address
}

fn address(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    match place(call, args[2]) {
        Some(place) => {
            let address = reachable(call, &place);
            call.reply.array(2);
            call.reply.bulk(address.host.as_bytes());
            call.reply.bulk(address.port.to_string().as_bytes());
        }
        None => call.reply.null_array(),
    }
    Ok(())
}

fn master(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let place = place(call, args[2]).ok_or(NO_SUCH)?;
    write_master(call, &String::from_utf8_lossy(args[2]), &place);
    Ok(())
}

fn masters(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.node.sentinel.note_visitor(call.client.presence.address.ip(), call.now());
    let places = call.node.sentinel.places();
    call.reply.array(places.len());
    places.iter().for_each(|(name, place)| write_master(call, name, place));
    Ok(())
}

fn write_master(call: &mut Call<'_, '_>, name: &str, place: &Place) {
    let address = reachable(call, place);
    let others = call.node.sentinel.others().len();
    let silence_ms = call.node.config.load().link_silence.as_millis();
    let flags = if place.is_healthy { "master" } else { "s_down,o_down,master" };
    let fields = [
        ("name", name.to_owned()),
        ("ip", address.host),
        ("port", address.port.to_string()),
        ("runid", id_of(&place.node)),
        ("flags", flags.to_owned()),
        ("link-pending-commands", "0".to_owned()),
        ("link-refcount", "1".to_owned()),
        ("last-ping-sent", "0".to_owned()),
        ("last-ok-ping-reply", "0".to_owned()),
        ("last-ping-reply", "0".to_owned()),
        ("down-after-milliseconds", silence_ms.to_string()),
        ("info-refresh", "0".to_owned()),
        ("role-reported", "master".to_owned()),
        ("role-reported-time", call.now().saturating_sub(place.since).to_string()),
        ("config-epoch", place.switches.to_string()),
        ("num-slaves", "0".to_owned()),
        ("num-other-sentinels", others.to_string()),
        ("quorum", "1".to_owned()),
        ("failover-timeout", silence_ms.to_string()),
        ("parallel-syncs", "1".to_owned()),
    ];
    write_fields(call, &fields);
}

fn write_fields(call: &mut Call<'_, '_>, fields: &[(&str, String)]) {
    call.reply.map(fields.len());
    for (name, value) in fields {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
}

fn sentinels(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    place(call, args[2]).ok_or(NO_SUCH)?;
    let others = call.node.sentinel.others();
    let silence_ms = call.node.config.load().link_silence.as_millis().to_string();
    call.reply.array(others.len());
    for Other { node, address, is_healthy } in others {
        let flags = if is_healthy { "sentinel" } else { "s_down,sentinel,disconnected" };
        let fields = [
            ("name", node.clone()),
            ("ip", address.host),
            ("port", address.port.to_string()),
            ("runid", id_of(&node)),
            ("flags", flags.to_owned()),
            ("link-pending-commands", "0".to_owned()),
            ("link-refcount", "1".to_owned()),
            ("last-ping-sent", "0".to_owned()),
            ("last-ok-ping-reply", "0".to_owned()),
            ("last-ping-reply", "0".to_owned()),
            ("down-after-milliseconds", silence_ms.clone()),
            ("last-hello-message", "0".to_owned()),
            ("voted-leader", "?".to_owned()),
            ("voted-leader-epoch", "0".to_owned()),
        ];
        write_fields(call, &fields);
    }
    Ok(())
}

fn replicas(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    place(call, args[2]).ok_or(NO_SUCH)?;
    call.reply.array(0);
    Ok(())
}

fn nothing(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(0);
    Ok(())
}

fn ckquorum(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let place = place(call, args[2]).ok_or(NO_SUCH)?;
    let usable = 1 + call.node.sentinel.others().iter().filter(|other| other.is_healthy).count();
    if !place.is_healthy {
        return Err(CommandError::Detailed(format!(
            "NOQUORUM {usable} usable Sentinels. No node is healthy that could serve this name"
        )));
    }
    call.reply.simple(&format!("OK {usable} usable Sentinels. Quorum and failover authorization can be reached"));
    Ok(())
}

/// `SENTINEL IS-MASTER-DOWN-BY-ADDR ip port epoch runid`: nobody is voted for here.
fn is_down(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let port = resp::parse_integer(args[3]).ok_or(CommandError::NotAnInteger)?;
    resp::parse_integer(args[4]).ok_or(CommandError::NotAnInteger)?;
    let is_asked = |address: &Address| address.host.as_bytes() == args[2] && i64::from(address.port) == port;
    let others = call.node.sentinel.others();
    let is_down = others.iter().any(|other| !other.is_healthy && is_asked(&other.address));
    call.reply.array(3);
    call.reply.integer(i64::from(is_down));
    call.reply.bulk(b"*");
    call.reply.integer(0);
    Ok(())
}

fn myid(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let id = id_of(&call.node.console.cluster().node);
    call.reply.bulk(id.as_bytes());
    Ok(())
}

/// Forty hexadecimal digits, as clients expect, that stand for a node's name.
fn id_of(node: &str) -> String {
    let hash = xxh3_128(node.as_bytes());
    format!("{hash:032x}{:08x}", hash as u32)
}

fn failover(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    place(call, args[2]).ok_or(NO_SUCH)?;
    Err(CommandError::Plain(
        "NOGOODSLAVE every node takes writes, so there is nothing to promote; clients are sent elsewhere when a node fails",
    ))
}

fn flushconfig(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.ok();
    Ok(())
}

/// How many names fit: nothing is kept of them that could be reset.
fn reset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let places = call.node.sentinel.places();
    let fitting = places.iter().filter(|(name, _)| super::glob::matches(args[2], name.as_bytes())).count();
    call.reply.count(fitting);
    Ok(())
}

fn help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    const LINES: &[&str] = &[
        "CKQUORUM <master-name>",
        "    Whether a node is healthy that can serve the name.",
        "GET-MASTER-ADDR-BY-NAME <master-name>",
        "    Address and port of the node that serves the name.",
        "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
        "    Whether the node with this address cannot be reached from here.",
        "MASTER <master-name>",
        "    The state of the name and the node that serves it.",
        "MASTERS",
        "    The same of all names: one for each region, and sentinel-master-name for this node's.",
        "MYID",
        "    The id of this node.",
        "REPLICAS <master-name>",
        "    Nothing: every node takes writes.",
        "SENTINELS <master-name>",
        "    The other nodes, each of which answers as a Sentinel.",
    ];
    super::client_calls::write_help(call, "SENTINEL", LINES);
    Ok(())
}
