//! Answers that are shown once, or again and again to who watches: shared by `region list`, `status` and `lag`.

use super::seconds;
use crate::failure::Result;
use crate::target::Target;
use crate::terminal;
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// How an answer is shown, and how often.
#[derive(Debug, Args)]
pub struct Watch {
    /// Print JSON, one line each time
    #[arg(long)]
    json: bool,
    /// Show it again every second, or every so many
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,
}

impl Watch {
    /// Asks the node, and shows what it answers: as JSON, or as `text` puts it for people.
    pub fn show(&self, target: &Target, words: &[&str], text: impl Fn(&Value) -> String) -> Result<()> {
        let mut client = target.connect()?;
        loop {
            let answer = client.json(words)?;
            if self.watch.is_some() && !self.json && terminal::is_watched() {
                terminal::line(CLEAR_SCREEN);
            }
            terminal::line(if self.json { answer.to_string() } else { text(&answer) });
            match self.watch {
                Some(interval) => std::thread::sleep(interval.clamp(INTERVAL_MIN, INTERVAL_MAX)),
                None => return Ok(()),
            }
        }
    }
}

/// Ten times a second is more than anybody reads.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// The cursor goes home and what was below is gone.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[J";
