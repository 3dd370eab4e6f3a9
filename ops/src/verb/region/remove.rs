//! `pelago region remove`: takes a region or node out of the cluster for good.

use crate::failure::Result;
use crate::target::Password;
use crate::terminal::{self, plain};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;
use std::time::Duration;

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
    for row in unconfirmed {
        terminal::line(format!("  {}", plain(row)));
    }
}

/// The node itself waits up to half a minute for the last writes.
const ANSWER_TIME: Duration = Duration::from_secs(60);
