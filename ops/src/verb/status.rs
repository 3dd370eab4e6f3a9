//! `pelago status`: the cluster as one node knows it.

use super::region::members;
use super::watch::Watch;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::target::Target;
use crate::terminal::{Table, bytes, grouped, milliseconds, plain};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The node to ask.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    watch: Watch,
}

impl Status {
    /// Shows it.
    pub fn run(self) -> Result<()> {
        self.watch.show_with(&self.target, &["PELAGO", "STATUS"], add_store, text)
    }
}

/// How the node's disk is, which is in `INFO`. Who may not ask for that is told the rest.
fn add_store(client: &mut Client, status: &mut Value) -> Result<()> {
    match client.call(&["INFO", "persistence"]) {
        Ok(reply) => {
            status["store"] = store(&reply.text().unwrap_or_default());
            Ok(())
        }
        Err(Failure::Refused { .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// What `INFO persistence` says of the disk; nothing where keys are not kept on one.
fn store(info: &str) -> Value {
    let fields: BTreeMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let Some(health) = fields.get("store_health") else { return Value::Null };
    let text = |name: &str| fields.get(name).copied().unwrap_or_default();
    let number = |name: &str| text(name).parse::<u64>().unwrap_or_default();
    json!({
        "health": health,
        "problem": text("store_problem"),
        "space_bytes": number("store_space_bytes"),
        "checkpoint_failed": text("rdb_last_bgsave_status") == "err",
        "checkpoint_lacks_bytes": number("store_checkpoint_lacks_bytes"),
    })
}

/// What is wrong with the disk, if anything is.
fn disk(store: &Value) -> Option<String> {
    let health = store["health"].as_str()?;
    let lacks = store["checkpoint_lacks_bytes"].as_u64().unwrap_or_default();
    if health != "ok" {
        let problem = store["problem"].as_str().unwrap_or_default();
        return Some(format!("Its disk does NOT keep what is written ({health}): {problem}."));
    }
    if lacks > 0 {
        return Some(format!(
            "Its disk has no room for a checkpoint: {} are missing. The journal grows meanwhile.",
            bytes(lacks)
        ));
    }
    let failed = store["checkpoint_failed"] == true;
    failed.then(|| "Its last checkpoint failed; the node's log says why. The journal grows meanwhile.".to_owned())
}

fn text(status: &Value) -> String {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    let mut lines = vec![format!(
        "{} in {}, version {}: {} keys, {}, digest {}",
        plain(&status["node"]),
        plain(&status["region"]),
        plain(&status["version"]),
        grouped(number("keys")),
        bytes(number("memory_bytes")),
        plain(&status["digest"]),
    )];
    if let Some(filling) = status["filling"].as_str() {
        lines.push(format!("It does not serve yet: {filling}."));
    }
    if let Some(error) = status["writes_refused"].as_str() {
        lines.push(format!("Writes are refused here: {error}"));
    }
    if let Some(trouble) = status["disk"].as_str() {
        lines.push(format!("Not all that is written here is durable: {trouble}"));
    }
    if let Some(source) = status["catching_up_from"].as_str() {
        lines.push(format!("It catches up from {source} by comparing state."));
    }
    lines.extend(disk(&status["store"]));
    let used = status["numbers_used_percent"].as_f64().unwrap_or_default();
    if used >= NUMBERS_WARNING_PERCENT {
        lines.push(format!(
            "{used:.0} % of the 1024 node numbers a cluster has are used up: remove regions without --force where that can be, \
             restart nodes that keep nothing on disk less often, and plan a new cluster."
        ));
    }
    let mut table =
        Table::new(&["REGION", "NODE", "STATE", "LINK", "LAG", "NOT YET THERE", "CLOCK AHEAD BY", "CLIENTS", "NODES"]);
    for member in members(status) {
        table.row(vec![
            plain(&member["region"]),
            plain(&member["node"]),
            plain(&member["state"]),
            plain(&member["link"]),
            milliseconds(&member["applied_lag_ms"]),
            format!("{} changes", plain(&member["unacked_changes"])),
            milliseconds(&member["clock_offset_ms"]),
            plain(&member["resp"]),
            plain(&member["advertise"]),
        ]);
    }
    lines.push(table.text());
    lines.join("\n")
}

/// From here on it takes planning.
const NUMBERS_WARNING_PERCENT: f64 = 80.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_disk_that_keeps_nothing_is_told() {
        let info = |health: &str, problem: &str, bgsave: &str, lacks: u64| {
            store(&format!(
                "# Persistence\r\nrdb_last_bgsave_status:{bgsave}\r\nstore_health:{health}\r\nstore_problem:{problem}\r\n\
                 store_space_bytes:0\r\nstore_checkpoint_lacks_bytes:{lacks}\r\n"
            ))
        };
        let said = |store: Value| text(&json!({ "node": "a", "store": store, "members": [] }));
        for (store, part) in [
            (info("full", "no space: x", "ok", 0), "Its disk does NOT keep what is written (full): no space: x."),
            (info("ok", "", "err", 2 << 20), "Its disk has no room for a checkpoint: 2.0 MB are missing."),
            (info("ok", "", "err", 0), "Its last checkpoint failed"),
        ] {
            let said = said(store);
            assert!(said.contains(part), "{part}: {said}");
        }
        let sound = info("ok", "", "ok", 0);
        assert_eq!((&sound["health"], &sound["space_bytes"]), (&json!("ok"), &json!(0)));
        // Nor is anything said of a node that keeps nothing, or that does not say how it is.
        for quiet in [sound, store("# Persistence\r\naof_enabled:0\r\n"), Value::Null] {
            assert!(!said(quiet.clone()).contains("Its "), "{quiet}");
        }
    }

    #[test]
    fn what_an_operator_must_know_is_said_in_words() {
        let status = json!({
            "node": "us-east-1", "region": "us-east", "version": "0.1.0", "keys": 1234, "memory_bytes": 1 << 21,
            "digest": "ab", "filling": "it fills from its peers", "catching_up_from": "eu-west-1",
            "writes_refused": "ERR this node was removed", "disk": "no space is left",
            "numbers_used_percent": 81.0,
            "members": [{"region": "eu-west", "node": "eu-west-1", "state": "active", "link": "up", "applied_lag_ms": 3,
                "unacked_changes": 7, "clock_offset_ms": null, "resp": "b:1", "advertise": "b:2"}],
        });
        let text = text(&status);
        for part in [
            "us-east-1 in us-east, version 0.1.0: 1,234 keys, 2.0 MB, digest ab",
            "does not serve yet: it fills",
            "catches up from eu-west-1",
            "Writes are refused here: ERR this node was removed",
            "durable: no space is left",
            "81 % of the 1024",
            "eu-west  eu-west-1  active  up    3 ms  7 changes",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
