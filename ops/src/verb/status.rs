//! `pelago status`: the cluster as one node knows it.

use super::region::members;
use super::watch::Watch;
use crate::failure::Result;
use crate::target::Target;
use crate::terminal::{Table, bytes, grouped, milliseconds, plain};
use clap::Args;
use serde_json::Value;

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
        self.watch.show(&self.target, &["PELAGO", "STATUS"], text)
    }
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
        let store = |health: &str, problem: &str, failed: bool, lacks: u64| {
            json!({ "health": health, "problem": problem, "space_bytes": 0, "checkpoint_failed": failed,
                "checkpoint_lacks_bytes": lacks })
        };
        let said = |store: Value| text(&json!({ "node": "a", "store": store, "members": [] }));
        for (store, part) in [
            (store("full", "no space: x", false, 0), "Its disk does NOT keep what is written (full): no space: x."),
            (store("ok", "", true, 2 << 20), "Its disk has no room for a checkpoint: 2.0 MB are missing."),
            (store("ok", "", true, 0), "Its last checkpoint failed"),
        ] {
            let said = said(store);
            assert!(said.contains(part), "{part}: {said}");
        }
        // Nor is anything said of a node that keeps nothing on a disk.
        for quiet in [store("ok", "", false, 0), Value::Null] {
            assert!(!said(quiet.clone()).contains("Its "), "{quiet}");
        }
    }

    #[test]
    fn what_an_operator_must_know_is_said_in_words() {
        let status = json!({
            "node": "us-east-1", "region": "us-east", "version": "0.1.0", "keys": 1234, "memory_bytes": 1 << 21,
            "digest": "ab", "filling": "it fills from its peers", "catching_up_from": "eu-west-1",
            "writes_refused": "ERR this node was removed",
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
            "81 % of the 1024",
            "eu-west  eu-west-1  active  up    3 ms  7 changes",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
