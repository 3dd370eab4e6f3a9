//! Which commands wait while clients that write are paused: those that Redis holds back, a script or function by what it
//! says of itself.

use crate::client::ClientState;
use crate::command::table::Entry;
use crate::command::{Flags, Keys};
use crate::node::Node;
use crate::scripting::cache::parse_digest;
use crate::scripting::shebang::{self, ScriptFlags};
use crdt::UnixMillis;

/// Until when a command is paused, if it is.
#[inline]
pub(super) fn paused_until(
    node: &Node,
    client: &ClientState,
    entry: &Entry,
    args: &[&[u8]],
    now: UnixMillis,
) -> Option<UnixMillis> {
    // Nearly always nobody is.
    node.condition.paused_until(now, true)?;
    node.condition.paused_until(now, is_held_as_write(node, client, entry, args))
}

/// Whether a command waits as one that writes; `EXEC` does if one of its commands would.
#[cold]
fn is_held_as_write(node: &Node, client: &ClientState, entry: &Entry, args: &[&[u8]]) -> bool {
    match (entry.command.keys, &client.transaction) {
        (Keys::Queued, Some(transaction)) => {
            transaction.commands().any(|(entry, args)| may_replicate(node, entry, &args))
        }
        _ => may_replicate(node, entry, args),
    }
}

fn may_replicate(node: &Node, entry: &Entry, args: &[&[u8]]) -> bool {
    match declared(node, entry, args) {
        Some(script) => !script.contains(ScriptFlags::NO_WRITES),
        None => entry.command.flags.intersects(Flags::WRITE.union(Flags::MAY_REPLICATE)),
    }
}

/// What the script says of itself that a command runs; nothing if it is not known, or says nothing.
fn declared(node: &Node, entry: &Entry, args: &[&[u8]]) -> Option<ScriptFlags> {
    let script = args.get(1)?;
    let flags = match entry.command.name {
        "eval" | "eval_ro" => shebang::of_script(script).ok()?,
        "evalsha" | "evalsha_ro" => node.scripts.cache.find(&parse_digest(script)?)?.flags,
        "fcall" | "fcall_ro" => node.scripts.flags_of(std::str::from_utf8(script).ok()?)?,
        _ => return None,
    };
    (!flags.contains(ScriptFlags::COMPATIBLE)).then_some(flags)
}
