//! `WAIT`, `WAITAOF`, `PELAGO TOKEN` and `PELAGO AWAIT`: waiting for other regions, for what comes from them, and for the
//! disk.
//!
//! A handler answers what is true at once; else it leaves what is awaited, and the connection waits for it.

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::arrivals::{Awaited, Goal, Token};
use crate::client::Order;
use std::time::Duration;

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
        flags: Flags::NO_SCRIPT,
        keys: Keys::None,
        handler,
        since,
        summary,
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Local("Waits, and changes nothing"),
        subcommands: &[],
    }
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("wait", 3, wait, "3.0.0", "Wait until other regions have applied all that this client has written"),
    row("waitaof", 4, waitaof, "7.2.0", "Wait for the writes of the connection to be flushed to the append-only file"),
];

/// `WAIT numregions timeout`.
fn wait(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let wanted = resp::parse_integer(args[1]).ok_or(CommandError::NotAnInteger)?;
    let timeout = timeout(args[2])?;
    let count = call.node.arrivals.regions_with(call.written());
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if count >= wanted || call.client.is_in_exec {
        call.reply.count(count);
        return Ok(());
    }
    begin(call, Goal::Regions(wanted), timeout);
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`.
fn waitaof(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let number = |word: &[u8]| resp::parse_integer(word).ok_or(CommandError::NotAnInteger);
    let local = number(args[1])?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::Plain("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = number(args[2])?;
    if replicas < 0 {
        return Err(CommandError::Plain("ERR value is out of range, must be positive"));
    }
    let timeout = timeout(args[3])?;
    let durability = &call.node.durability;
    if local > 0 && !durability.is_on() {
        return Err(CommandError::Plain("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."));
    }
    if replicas > 0 {
        return Err(CommandError::Plain(
            "ERR other regions say what they have applied, not what they have flushed: numreplicas must be 0; WAIT tells how many have applied it",
        ));
    }
    if call.client.is_in_exec {
        let is_durable = durability.is_on() && durability.durable() >= call.written();
        call.reply.array(2);
        call.reply.integer(i64::from(is_durable));
        call.reply.integer(0);
        return Ok(());
    }
    begin(call, Goal::Durable { is_awaited: local > 0 }, timeout);
    Ok(())
}

/// `PELAGO TOKEN`: what this client may have seen.
pub(super) fn token(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.len() != 2 {
        return Err(CommandError::wrong_arity("pelago|token"));
    }
    call.node.arrivals.cluster().map_err(|error| CommandError::Detailed(format!("ERR {error}")))?;
    begin(call, Goal::Seen, Some(TOKEN_TIME));
    Ok(())
}

/// `PELAGO AWAIT token timeout`: whether all that a token names is here, within so many milliseconds.
pub(super) fn until_seen(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let refused = |error: &dyn std::fmt::Display| CommandError::Detailed(format!("ERR {error}"));
    let cluster = call.node.arrivals.cluster().map_err(|error| refused(&error))?;
    let token = Token::decode(args[2], cluster).map_err(|error| refused(&error))?;
    let timeout = timeout(args[3])?;
    let is_here = call.node.arrivals.is_here(&token.seen, &call.node.keyspace.applied());
    if is_here || call.client.is_in_exec {
        call.reply.integer(i64::from(is_here));
        return Ok(());
    }
    begin(call, Goal::Token(token.seen), timeout);
    Ok(())
}

fn begin(call: &mut Call<'_, '_>, goal: Goal, timeout: Option<Duration>) {
    call.client.order = Some(Order::Arrival(Box::new(Awaited { goal, timeout })));
}

/// Milliseconds; nothing is for ever.
fn timeout(argument: &[u8]) -> Result<Option<Duration>, CommandError> {
    let ms = resp::parse_integer(argument);
    let ms = ms.ok_or(CommandError::Plain("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::Plain("ERR timeout is negative"))?;
    Ok((ms > 0).then(|| Duration::from_millis(ms)))
}

/// How long a token waits for what was written to be closed, which a disk that is far behind holds up.
const TOKEN_TIME: Duration = Duration::from_secs(10);
