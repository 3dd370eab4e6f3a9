//! What Redis has for saving: checkpoints on demand, and waiting until writes are durable.

use super::integer;
use crate::command::{Call, CommandError};
use crate::durability::{Durability, Wish};

pub(super) const NOT_KEPT: &str = "ERR nothing is saved to disk: keys are in memory and in the other regions; start the node with persistence = on to keep them";
const NOT_STOPPED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";
const RUNNING: &str = "ERR Background save already in progress";

/// `BGSAVE [SCHEDULE]`: begins a checkpoint.
pub(super) fn bgsave(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let scheduled = args.len() == 2 && args[1].eq_ignore_ascii_case(b"schedule");
    if args.len() > 1 && !scheduled {
        return Err(CommandError::Syntax);
    }
    let durability = &call.node.durability;
    if !durability.is_on() {
        return Err(CommandError::Plain(NOT_KEPT));
    }
    match (durability.wish_checkpoint(), scheduled) {
        (true, _) => call.reply.simple("Background saving started"),
        (false, true) => {
            durability.wish_next_checkpoint();
            call.reply.simple("Background saving scheduled");
        }
        (false, false) => return Err(CommandError::Plain(RUNNING)),
    }
    Ok(())
}

/// `BGREWRITEAOF`: the same, by the name of what it does to the journal.
pub(super) fn bgrewriteaof(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let durability = &call.node.durability;
    if !durability.is_on() {
        return Err(CommandError::Plain(NOT_KEPT));
    }
    match durability.wish_checkpoint() {
        true => call.reply.simple("Background append only file rewriting started"),
        false => {
            durability.wish_next_checkpoint();
            call.reply.simple("Background append only file rewriting scheduled");
        }
    }
    Ok(())
}

/// `SAVE`: a checkpoint, and the answer when it is finished. Other clients are served meanwhile.
pub(super) fn save(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let durability = &call.node.durability;
    if !durability.is_on() {
        return Err(CommandError::Plain(NOT_KEPT));
    }
    let before = durability.checkpoints_ended();
    if !durability.wish_checkpoint() {
        return Err(CommandError::Plain(RUNNING));
    }
    call.client.wish = Some(Wish::Checkpoint { before });
    Ok(())
}

/// Refuses to stop a node whose disk does not keep what is written: what it has in memory would be lost.
pub(super) fn check_kept(durability: &Durability) -> Result<(), CommandError> {
    let health = durability.state().health;
    match health.sentence().filter(|_| durability.is_on()) {
        None => Ok(()),
        Some(sentence) => {
            tracing::error!(
                disk = health.name(),
                sentence,
                "the node does not stop, as its disk does not keep what is written; SHUTDOWN NOSAVE or FORCE stops it all the same"
            );
            Err(CommandError::Plain(NOT_STOPPED))
        }
    }
}

/// When the last checkpoint was finished. Redis answers when it started if it has not saved since, and so do we.
pub(super) fn lastsave(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let finished_ms = call.node.durability.state().checkpoint_finished_ms;
    let last_ms = if finished_ms > 0 { finished_ms } else { call.node.started_at() };
    call.reply.integer(integer(last_ms / 1000));
    Ok(())
}
