//! `pelago region remove`: takes a region or node out of the cluster for good.

use crate::failure::Result;
use crate::target::Password;
use crate::terminal::{self, plain};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// A region to remove.
#[derive(Debug, Args)]
pub struct Remove {
    /// The region, or one node of it
    region: String,
    /// Do not wait for its last writes: it is lost. What could not be confirmed is told
    #[arg(long)]
    force: bool,
    /// RESP address of a live member of another region
    #[arg(long, value_name = "HOST:PORT")]
    via: String,
    #[command(flatten)]
    secret: Password,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Remove {
    /// Removes it.
    pub fn run(self) -> Result<()> {
        let mut client = self.secret.connect(&self.via)?;
        client.wait_at_most(ANSWER_TIME)?;
        let bar = (!self.json && !self.force).then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.set_message(format!("every region takes what {} wrote", self.region));
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        let mut words = vec!["PELAGO", "REGION", "REMOVE", &self.region];
        words.extend(self.force.then_some("FORCE"));
        let answer = client.json(&words);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let answer = answer?;
        if self.json {
            terminal::line(answer.to_string());
            return Ok(());
        }
        tell(&answer);
        Ok(())
    }
}

fn tell(answer: &Value) {
    terminal::line(format!("Removed for good: {}.", plain(&answer["removed"])));
    let unconfirmed = answer["unconfirmed"].as_array().map_or(&[][..], Vec::as_slice);
    if unconfirmed.is_empty() {
        terminal::line("Every region has everything that was written there.");
        return;
    }
    terminal::line("Not confirmed, because the region was not waited for; later writes of these may be lost:");
    unconfirmed.iter().for_each(|row| terminal::line(format!("  {}", last_held(row))));
}

/// Up to when the member that was asked holds what a node wrote.
fn last_held(row: &Value) -> String {
    let writer = format!("{} (number {})", plain(&row["node"]), plain(&row["number"]));
    let seconds = row["last_held_here_unix_ms"].as_i64().map(|ms| ms / 1_000);
    match seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()).map(moment) {
        Some(until) => format!("{writer}: what it wrote up to {until} is here"),
        None => format!("{writer}: nothing that it wrote is here"),
    }
}

/// `2027-03-09 14:05:00 UTC`.
fn moment(at: OffsetDateTime) -> String {
    let (year, month, day) = at.to_calendar_date();
    format!("{year:04}-{:02}-{day:02} {:02}:{:02}:{:02} UTC", u8::from(month), at.hour(), at.minute(), at.second())
}

/// The node itself waits up to half a minute for the last writes.
const ANSWER_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_here_of_a_lost_node_is_told_as_a_date() {
        let row = json!({ "node": "eu-1", "number": 7, "last_held_here": "1", "last_held_here_unix_ms": 1_780_000_000_123_u64 });
        assert_eq!(last_held(&row), "eu-1 (number 7): what it wrote up to 2026-05-28 20:26:40 UTC is here");
        let row = json!({ "node": "eu-1", "number": 7, "last_held_here": "0", "last_held_here_unix_ms": null });
        assert_eq!(last_held(&row), "eu-1 (number 7): nothing that it wrote is here");
    }
}
