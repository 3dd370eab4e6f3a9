//! `ACL LOG`, and how refusals come into it.

use crate::acl::{Denied, Place, Reason, Refusal};
use crate::client::ClientState;
use crate::command::client_calls::described;
use crate::command::table::Entry;
use crate::command::{Call, CommandError};
use crate::limits::ACL_LOG_NAME_BYTES_MAX;
use crate::node::Node;
use crdt::UnixMillis;

pub(super) fn log(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let count = match args {
        [_, _] => ENTRIES_SHOWN,
        [_, _, word] if word.eq_ignore_ascii_case(b"reset") => {
            call.node.acl.log.lock().clear();
            call.reply.ok();
            return Ok(());
        }
        [_, _, count] => {
            let count = resp::parse_integer(count).ok_or(CommandError::NotAnInteger)?;
            usize::try_from(count).unwrap_or(0)
        }
        _ => return Err(CommandError::unknown_form(args)),
    };
    let (now, log) = (call.now(), call.node.acl.log.lock());
    let reply = &mut *call.reply;
    reply.array(log.entries().len().min(count));
    for entry in log.entries().take(count) {
        reply.map(7);
        reply.bulk(b"count");
        reply.integer(i64::try_from(entry.count).unwrap_or(i64::MAX));
        let texts: [(&str, &[u8]); 4] = [
            ("reason", entry.reason.name().as_bytes()),
            ("context", entry.place.name().as_bytes()),
            ("object", &entry.object),
            ("username", &entry.user),
        ];
        for (field, text) in texts {
            reply.bulk(field.as_bytes());
            reply.bulk(text);
        }
        reply.bulk(b"age-seconds");
        reply.double(now.saturating_sub(entry.at) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.client.as_bytes());
    }
    Ok(())
}

/// Without a count so many are shown.
const ENTRIES_SHOWN: usize = 10;

/// Notes that a client may not make a request.
#[cold]
pub fn note_denied(
    node: &Node,
    client: &ClientState,
    place: Place,
    denied: Denied,
    (entry, args): (&Entry, &[&[u8]]),
    now: UnixMillis,
) {
    let argument = |at: usize| beginning(args.get(at).copied().unwrap_or_default());
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, entry.full_name.clone().into_bytes()),
        Denied::Key(at) => (Reason::Key, argument(at)),
        Denied::Channel(at) => (Reason::Channel, argument(at)),
    };
    note(node, client, Refusal { reason, place, object, ..unnamed(client, now) });
}

/// Notes that a client could not become a user. `command` is what it asked with.
#[cold]
pub fn note_not_admitted(node: &Node, client: &ClientState, user: &[u8], command: &[u8], now: UnixMillis) {
    let place = if client.is_in_exec { Place::Transaction } else { Place::TopLevel };
    let (user, object) = (beginning(user), beginning(command));
    note(node, client, Refusal { place, object, user, ..unnamed(client, now) });
}

/// As much of a name as the log keeps.
fn beginning(name: &[u8]) -> Vec<u8> {
    name[..name.len().min(ACL_LOG_NAME_BYTES_MAX)].to_vec()
}

/// A refusal of this client, of which nothing is known yet.
fn unnamed(client: &ClientState, now: UnixMillis) -> Refusal {
    Refusal {
        reason: Reason::Auth,
        place: Place::TopLevel,
        object: Vec::new(),
        user: client.user.name().to_vec(),
        count: 1,
        at: now,
        client: String::new(),
    }
}

fn note(node: &Node, client: &ClientState, mut refusal: Refusal) {
    refusal.client = described(node, &client.presence, refusal.at);
    node.console.metrics.console.access_denied.increment();
    let entries_max = usize::try_from(node.config.load().acllog_max_len).unwrap_or(usize::MAX);
    node.acl.log.lock().note(refusal, entries_max);
}
