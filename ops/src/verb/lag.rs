//! `pelago lag`: how far behind a node's writes every other node is.

use super::watch::Watch;
use crate::failure::Result;
use crate::target::Target;
use crate::terminal::{Table, bytes, milliseconds, plain};
use clap::Args;
use serde_json::Value;

/// The node to ask.
#[derive(Debug, Args)]
pub struct Lag {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    watch: Watch,
}

impl Lag {
    /// Shows it.
    pub fn run(self) -> Result<()> {
        self.watch.show(&self.target, &["PELAGO", "LAG"], text)
    }
}

fn text(lag: &Value) -> String {
    let peers = lag["peers"].as_array().map_or(&[][..], Vec::as_slice);
    if peers.is_empty() {
        return format!("{} has no peers.", plain(&lag["node"]));
    }
    let headings =
        ["REGION", "NODE", "LINK", "LAST WRITE THERE AFTER", "NOT YET THERE", "ROUND TRIP", "CLOCK AHEAD BY"];
    let mut table = Table::new(&headings);
    for peer in peers {
        table.row(vec![
            plain(&peer["region"]),
            plain(&peer["node"]),
            plain(&peer["link"]),
            milliseconds(&peer["applied_lag_ms"]),
            format!(
                "{} changes, {}",
                plain(&peer["unacked_changes"]),
                bytes(peer["unacked_bytes"].as_u64().unwrap_or_default())
            ),
            milliseconds(&peer["rtt_ms"]),
            milliseconds(&peer["clock_offset_ms"]),
        ]);
    }
    table.text()
}
