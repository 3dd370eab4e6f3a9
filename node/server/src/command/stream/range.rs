//! `XRANGE` and `XREVRANGE`.

use super::{id, reply_entries};
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "xrange",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: xrange,
        since: "5.0.0",
        summary: "Return a range of elements in a stream, with IDs matching the specified IDs interval",
        group: Group::Stream,
        complexity: "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "xrevrange",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: xrevrange,
        since: "5.0.0",
        summary: "Return a range of elements in a stream, with IDs matching the specified IDs interval, in reverse order (from greater to smaller IDs) compared to XRANGE",
        group: Group::Stream,
        complexity: "O(N) with N being the number of elements returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

fn xrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    reply_range(call, args, false)
}

fn xrevrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    reply_range(call, args, true)
}

fn reply_range(call: &mut Call<'_, '_>, args: &[&[u8]], is_reversed: bool) -> Result<(), CommandError> {
    let (start, end) = if is_reversed { (args[3], args[2]) } else { (args[2], args[3]) };
    let (start, end) = (id::parse_start(start)?, id::parse_end(end)?);
    let mut count = None;
    let mut rest = args[4..].iter();
    while let Some(word) = rest.next() {
        let value = rest.next().filter(|_| word.eq_ignore_ascii_case(b"count")).ok_or(CommandError::Syntax)?;
        count = Some(usize::try_from(number::integer(value)?).unwrap_or(0));
    }
    let Some(stream) = call.store.stream(call.client.database, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    let most = count.unwrap_or(usize::MAX);
    match most {
        0 => call.reply.null_array(),
        _ if is_reversed => drop(reply_entries(call.reply, stream.range_back(start, end), most)),
        _ => drop(reply_entries(call.reply, stream.range(start, end), most)),
    }
    Ok(())
}
