//! `CONFIG`: the settings of this node while it runs.

use super::help as help_lines;
use crate::client::Order;
use crate::command::{Call, CommandError};
use crate::config::{Config, SetError};
use crate::doors::{Doors, Listeners, LookedUp};
use crate::node::Node;
use crate::tls::TlsError;

pub fn get(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let found = call.node.config.matching(&args[2..]);
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

pub fn set(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (pairs, []) = args[2..].as_chunks::<2>() else {
        return Err(CommandError::Syntax);
    };
    let mut texts = Vec::with_capacity(pairs.len());
    for [name, value] in pairs {
        let name = std::str::from_utf8(name).map_err(|_| unknown(name))?;
        let value = std::str::from_utf8(value).map_err(|_| not_text(name))?;
        texts.push((name, value));
    }
    if let Some(host) = unknown_host(call.node, &texts)? {
        if call.client.is_in_exec {
            return Err(CommandError::Plain(
                "ERR CONFIG SET failed (possibly related to argument 'bind') - A name is not looked up inside a transaction: everything in it would wait.",
            ));
        }
        let texts = texts.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        call.client.order = Some(Order::Settings(Box::new(SettingsChange { host, texts })));
        return Ok(());
    }
    apply(call.node, call.client.id(), &texts, None)?;
    call.reply.ok();
    Ok(())
}

/// A change of the settings that waits for the resolver of names.
#[derive(Debug)]
pub struct SettingsChange {
    /// The name.
    host: String,
    texts: Vec<(String, String)>,
}

impl SettingsChange {
    /// Makes the change when it is known what the name stands for.
    pub async fn carry_out(&self, node: &Node, client: u64) -> Result<(), CommandError> {
        let looked_up = LookedUp::ask(self.host.clone()).await;
        let texts: Vec<(&str, &str)> = self.texts.iter().map(|(name, value)| (&**name, &**value)).collect();
        apply(node, client, &texts, Some(&looked_up))
    }
}

/// Changes settings, all or none.
fn apply(node: &Node, client: u64, texts: &[(&str, &str)], looked_up: Option<&LookedUp>) -> Result<(), CommandError> {
    let names: Vec<&str> = texts.iter().map(|(name, _)| *name).collect();
    let _changing = node.doors.change();
    let doors = try_doors(node, texts, looked_up)?;
    if let Some(tls) = names.iter().find(|name| name.to_ascii_lowercase().starts_with("tls-")) {
        try_tls(node, tls, texts)?;
    }
    node.config.set(texts).map_err(|error| CommandError::Detailed(format!("ERR {error}")))?;
    if let Some(doors) = doors {
        node.doors.open(doors);
    }
    // A lower limit counts for the next command already.
    node.memory_limit.measure(node);
    // Names only: a value may be a password.
    tracing::info!(client, settings = names.join(" "), "settings were changed by a client");
    Ok(())
}

/// The first of these settings that is changed.
fn named(texts: &[(&str, &str)], wanted: &[&str]) -> Option<String> {
    let is_wanted = |(name, _): &&(&str, &str)| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    texts.iter().find(is_wanted).map(|(name, _)| name.to_ascii_lowercase())
}

/// What the settings would be.
fn preview(node: &Node, texts: &[(&str, &str)]) -> Result<Config, CommandError> {
    node.config.preview(texts).map_err(|error| CommandError::Detailed(format!("ERR {error}")))
}

/// A name that has to be looked up first.
fn unknown_host(node: &Node, texts: &[(&str, &str)]) -> Result<Option<String>, CommandError> {
    if named(texts, &["bind", "resp"]).is_none() {
        return Ok(None);
    }
    Ok(Doors::unknown_host(&node.config.load(), &preview(node, texts)?))
}

/// Listens where the settings will say that clients connect, if that changes. If it cannot be had, nothing changes.
fn try_doors(
    node: &Node,
    texts: &[(&str, &str)],
    looked_up: Option<&LookedUp>,
) -> Result<Option<Listeners>, CommandError> {
    let named = |wanted: &[&str]| named(texts, wanted);
    if named(&["port", "bind", "resp", "resp-plain", "tls-port"]).is_none() {
        return Ok(None);
    }
    let now = node.config.load();
    let after = preview(node, texts)?;
    node.doors.prepare(&now, &after, looked_up).map_err(|error| {
        tracing::warn!(%error, "clients go on connecting where they did");
        let by_host = if now.resp.host() == after.resp.host() { None } else { named(&["bind"]) };
        let (name, sentence) = match by_host {
            Some(name) => (Some(name), "Failed to bind to specified addresses."),
            None if error.is_tls => (named(&["tls-port"]), "Unable to listen on this port. Check server logs."),
            None => (named(&["port"]), "Unable to listen on this port. Check server logs."),
        };
        let name = name.or_else(|| named(&["resp", "resp-plain", "tls-port", "bind", "port"])).unwrap_or_default();
        let text = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {sentence}");
        CommandError::Detailed(text)
    })
}

/// Uses the files of TLS that the settings will name. If they cannot be used, nothing changes.
fn try_tls(node: &Node, name: &str, texts: &[(&str, &str)]) -> Result<(), CommandError> {
    let config = preview(node, texts)?;
    node.tls.apply(&config, node.wall_clock()).map_err(|error| {
        tracing::error!(%error, "the settings of TLS are not changed");
        let sentence = match &error {
            // Redis takes such a certificate, so there are no words of its own for this.
            TlsError::Expired(_) | TlsError::NotYetValid(_) => error.to_string(),
            TlsError::Missing(_)
            | TlsError::File { .. }
            | TlsError::Pair(_)
            | TlsError::Authorities(_)
            | TlsError::Unusable(_) => "Unable to update TLS configuration. Check server logs.".to_owned(),
        };
        CommandError::Detailed(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {sentence}"))
    })
}

fn unknown(name: &[u8]) -> CommandError {
    let error = SetError::UnknownSetting(String::from_utf8_lossy(name).into_owned());
    CommandError::Detailed(format!("ERR {error}"))
}

fn not_text(name: &str) -> CommandError {
    let error = SetError::WrongValue { name: name.to_owned(), error: crate::config::ValueError::NotPlainText };
    CommandError::Detailed(format!("ERR {error}"))
}

pub fn resetstat(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    let node = call.node;
    node.console.metrics.reset_statistics(node);
    call.reply.ok();
    Ok(())
}

pub fn rewrite(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    call.node.config.rewrite().map_err(|error| CommandError::Detailed(format!("ERR {error}")))?;
    call.reply.ok();
    Ok(())
}

pub fn help(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    help_lines(
        call,
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    );
    Ok(())
}
