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
