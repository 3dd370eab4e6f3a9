//! `CLIENT TRACKING` and what belongs to it: clients that cache what they read.

use super::client_calls::on_or_off;
use super::{Call, CommandError};
use crate::client::ClientState;
use crate::tracking::{TrackingMode, Tracks};
use std::sync::Arc;

pub(super) fn caching(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let Some(tracks) = &mut call.client.tracks else {
        return Err(CommandError::Plain(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let (mode, refusal) = if args[2].eq_ignore_ascii_case(b"yes") {
        (TrackingMode::OPT_IN, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    } else if args[2].eq_ignore_ascii_case(b"no") {
        (TrackingMode::OPT_OUT, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    } else {
        return Err(CommandError::Syntax);
    };
    if !tracks.mode.contains(mode) {
        return Err(CommandError::Plain(refusal));
    }
    tracks.is_caching = true;
    call.reply.ok();
    Ok(())
}

pub(super) fn getredir(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.integer(call.node.tracking.redirect(call.client.id()));
    Ok(())
}

/// What `CLIENT TRACKING` asks for.
#[derive(Default)]
struct Wish<'a> {
    mode: TrackingMode,
    redirect: Option<u64>,
    prefixes: Vec<&'a [u8]>,
}

fn wish<'a>(call: &Call<'_, '_>, mut options: &[&'a [u8]]) -> Result<Wish<'a>, CommandError> {
    let mut wish = Wish::default();
    while let [option, rest @ ..] = options {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        options = rest;
        if is("redirect") && !rest.is_empty() {
            if wish.redirect.is_some() {
                return Err(CommandError::Plain("ERR A client can only redirect to a single other client"));
            }
            let id = resp::parse_integer(rest[0]).ok_or(CommandError::NotAnInteger)?;
            let there = u64::try_from(id).ok().filter(|id| call.node.clients.find(*id).is_some());
            let text = "ERR The client ID you want redirect to does not exist";
            wish.redirect = Some(there.ok_or(CommandError::Plain(text))?);
            options = &rest[1..];
        } else if is("prefix") && !rest.is_empty() {
            wish.prefixes.push(rest[0]);
            options = &rest[1..];
        } else if is("bcast") {
            wish.mode |= TrackingMode::BROADCAST;
        } else if is("optin") {
            wish.mode |= TrackingMode::OPT_IN;
        } else if is("optout") {
            wish.mode |= TrackingMode::OPT_OUT;
        } else if is("noloop") {
            wish.mode |= TrackingMode::NO_LOOP;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(wish)
}

impl Wish<'_> {
    /// Whether it makes sense, also after what the client has asked for before.
    fn check(&self, before: Option<&Tracks>) -> Result<(), CommandError> {
        let (broadcast, opt_in, opt_out) = (TrackingMode::BROADCAST, TrackingMode::OPT_IN, TrackingMode::OPT_OUT);
        let had = before.map_or(TrackingMode::empty(), |before| before.mode);
        let refusal = if !self.mode.contains(broadcast) && !self.prefixes.is_empty() {
            "ERR PREFIX option requires BCAST mode to be enabled"
        } else if before.is_some() && had.contains(broadcast) != self.mode.contains(broadcast) {
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode."
        } else if self.mode.contains(broadcast) && self.mode.intersects(opt_in.union(opt_out)) {
            "ERR OPTIN and OPTOUT are not compatible with BCAST"
        } else if self.mode.contains(opt_in.union(opt_out)) {
            "ERR You can't specify both OPTIN mode and OPTOUT mode"
        } else if self.mode.union(had).contains(opt_in.union(opt_out)) {
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode."
        } else {
            return self.check_prefixes(before.map_or(&[], |before| &before.prefixes));
        };
        Err(CommandError::Plain(refusal))
    }

    fn check_prefixes(&self, known: &[Box<[u8]>]) -> Result<(), CommandError> {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let refuse = |one: &[u8], which: &str, other: &[u8]| {
            let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
            CommandError::Detailed(format!(
                "ERR Prefix '{one}' overlaps with {which} prefix '{other}'. Prefixes for a single client must not overlap."
            ))
        };
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
                return Err(refuse(prefix, "an existing", other));
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
                return Err(refuse(prefix, "another provided", other));
            }
        }
        Ok(())
    }
}

pub(super) fn tracking(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let wish = wish(call, &args[3..])?;
    if on_or_off(args[2])? {
        wish.check(call.client.tracks.as_deref())?;
        begin(call, &wish)?;
    } else {
        end(call);
    }
    call.client.note_special();
    call.reply.ok();
    Ok(())
}

fn begin(call: &mut Call<'_, '_>, wish: &Wish<'_>) -> Result<(), CommandError> {
    let ClientState { tracks, presence, .. } = &mut *call.client;
    let room = &call.node.tracking;
    if !room.enter(presence, wish.mode, wish.redirect, call.store) {
        return Err(CommandError::Plain(call.node.scripts.running.refusal()));
    }
    let id = presence.id;
    let tracks =
        tracks.get_or_insert_with(|| Box::new(Tracks::new(Arc::clone(room), Arc::clone(&call.node.keyspace), id)));
    (tracks.mode, tracks.redirect) = (wish.mode, wish.redirect);
    let mut prefixes = wish.prefixes.clone();
    if wish.mode.contains(TrackingMode::BROADCAST) && prefixes.is_empty() {
        prefixes.push(b"");
    }
    for prefix in prefixes {
        if !tracks.prefixes.iter().any(|known| **known == *prefix) {
            if !room.enter_prefix(id, prefix) {
                return Err(CommandError::Plain("ERR too many prefixes are tracked"));
            }
            let place = tracks.prefixes.partition_point(|known| **known < *prefix);
            tracks.prefixes.insert(place, prefix.into());
        }
    }
    Ok(())
}

fn end(call: &mut Call<'_, '_>) {
    // Inside a transaction slots are locked.
    match call.client.tracks.take() {
        Some(tracks) if call.client.is_in_exec => tracks.end_locked(),
        Some(_) | None => {}
    }
}

pub(super) fn trackinginfo(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let mut flags = Vec::new();
    let (mut redirect, mut prefixes): (i64, &[Box<[u8]>]) = (-1, &[]);
    if let Some(tracks) = &call.client.tracks {
        flags.push("on");
        let named = [
            (tracks.mode.contains(TrackingMode::BROADCAST), "bcast"),
            (tracks.mode.contains(TrackingMode::OPT_IN), "optin"),
            (tracks.mode.contains(TrackingMode::OPT_IN) && tracks.is_caching, "caching-yes"),
            (tracks.mode.contains(TrackingMode::OPT_OUT), "optout"),
            (tracks.mode.contains(TrackingMode::OPT_OUT) && tracks.is_caching, "caching-no"),
            (tracks.mode.contains(TrackingMode::NO_LOOP), "noloop"),
            (tracks.room().is_broken(call.client.id()), "broken_redirect"),
        ];
        flags.extend(named.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name));
        redirect = call.node.tracking.redirect(call.client.id());
        prefixes = &tracks.prefixes;
    } else {
        flags.push("off");
    }
    let reply = &mut *call.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirect);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
