//! `pelago verify`: whether all regions hold the same data.

use super::seconds;
use crate::failure::Result;
use crate::target::Target;
use crate::terminal::{self, plain};
use clap::Args;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// The node that compares.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    target: Target,
    /// Seconds to wait at most for slots that are being written to
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Compares. The exit status is 1 if anything differs, and 3 if nothing was found to differ and not everything could be
    /// compared in time.
    pub fn run(self) -> Result<ExitCode> {
        let mut client = self.target.connect()?;
        client.wait_at_most(self.timeout + ANSWER_TIME)?;
        let verdict = client.json(&["PELAGO", "VERIFY", &self.timeout.as_millis().to_string()])?;
        let status = status(&verdict);
        let told = if self.json { verdict.to_string() } else { text(&verdict) };
        terminal::verdict(told, status);
        Ok(ExitCode::from(status))
    }
}

fn status(verdict: &Value) -> u8 {
    let peers = verdict["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let differs = |peer: &Value| peer["differing"].as_array().is_some_and(|slots| !slots.is_empty());
    match verdict["equal"] == Value::Bool(true) {
        true => 0,
        false if peers.iter().any(differs) => DIFFERS,
        false => NOT_COMPARED,
    }
}

fn text(verdict: &Value) -> String {
    let slots = plain(&verdict["slots_compared"]);
    let peers = verdict["peers"].as_array().map_or(&[][..], Vec::as_slice);
    if verdict["equal"] == Value::Bool(true) {
        return format!("Equal: {slots} slots compared with {} other nodes.", peers.len());
    }
    let mut lines = vec![format!("NOT confirmed as equal ({slots} slots):")];
    for peer in peers {
        let differing = peer["differing"].as_array().map_or(&[][..], Vec::as_slice);
        let mut parts = Vec::new();
        if !differing.is_empty() {
            let shown: Vec<String> = differing.iter().take(SLOTS_SHOWN_MAX).map(plain).collect();
            let more = if differing.len() > SLOTS_SHOWN_MAX { " and more (--json shows all)" } else { "" };
            parts.push(format!("{} slots differ: {}{more}", differing.len(), shown.join(" ")));
        }
        match (peer["error"].as_str(), peer["unsettled"].as_u64().unwrap_or(0)) {
            (Some(error), _) => parts.push(error.to_owned()),
            (None, 0) => {}
            (None, slots) => {
                let busy = peer["busy"].as_array().map_or(&[][..], Vec::as_slice);
                let shown: Vec<String> = busy.iter().take(SLOTS_SHOWN_MAX).map(plain).collect();
                parts.push(format!(
                    "{slots} slots could not be compared, as they were written to all the time: {}{}; give it more time \
                     with --timeout",
                    shown.join(" "),
                    if slots > shown.len() as u64 { " and more" } else { "" },
                ));
            }
        }
        if parts.is_empty() {
            parts.push("equal".to_owned());
        }
        lines.push(format!("  {}: {}", plain(&peer["node"]), parts.join("; ")));
    }
    lines.join("\n")
}

const DIFFERS: u8 = 1;
/// 2 is for what was asked wrongly.
const NOT_COMPARED: u8 = 3;
/// Beyond the time that the node itself takes.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const SLOTS_SHOWN_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_reason_for_a_doubt_is_told() {
        let equal = json!({"equal": true, "slots_compared": 16384, "peers": [{"node": "b"}, {"node": "c"}]});
        assert_eq!(text(&equal), "Equal: 16384 slots compared with 2 other nodes.");
        let unequal = json!({"equal": false, "slots_compared": 16384, "peers": [
            {"node": "b", "differing": [7, 9], "unsettled": 0, "error": null},
            {"node": "c", "differing": [], "unsettled": 3, "busy": [4, 5, 6], "error": null},
            {"node": "e", "differing": [], "unsettled": 0, "not_asked": 9, "error": "it cannot be reached"},
            {"node": "d", "differing": [], "unsettled": 0, "error": null}]});
        assert_eq!((status(&equal), status(&unequal)), (0, DIFFERS));
        let busy =
            json!({"equal": false, "peers": [{"node": "c", "differing": [], "unsettled": 3, "busy": [1, 2, 3]}]});
        assert_eq!(status(&busy), NOT_COMPARED);
        let text = text(&unequal);
        for part in [
            "b: 2 slots differ: 7 9",
            "c: 3 slots could not be compared, as they were written to all the time: 4 5 6;",
            "e: it cannot be reached",
            "d: equal",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
