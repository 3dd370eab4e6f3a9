//! `pelago lag`: how far behind a node's writes every other node is.

use crate::failure::Result;
use crate::target::Target;
use crate::terminal::{self, Table, bytes, milliseconds, plain};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// The node to ask.
#[derive(Debug, Args)]
pub struct Lag {
    #[command(flatten)]
    target: Target,
    /// Print JSON, one line each time
    #[arg(long)]
    json: bool,
    /// Show it again every second, or every so many
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", require_equals = true)]
    watch: Option<f64>,
}

impl Lag {
    /// Shows it.
    pub fn run(self) -> Result<()> {
        let mut client = self.target.connect()?;
        loop {
            let lag = client.json(&["PELAGO", "LAG"])?;
            if self.watch.is_some() && !self.json && terminal::is_watched() {
                terminal::line(CLEAR_SCREEN);
            }
            terminal::line(if self.json { lag.to_string() } else { text(&lag) });
            match self.watch {
                // Ten times a second is more than anybody reads.
                Some(seconds) => std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.1, 3600.0))),
                None => return Ok(()),
            }
        }
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

/// The cursor goes home and what was below is gone.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[J";
