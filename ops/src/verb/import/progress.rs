//! The bar of an import or export. It is on standard error, and only on a terminal.

use crate::terminal::{bytes, grouped};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;

/// A bar with keys and their rate.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    /// One that is full at so many bytes.
    pub fn of_bytes(all: u64) -> Self {
        Self::new(all, "[{bar:40}] {bytes} of {total_bytes}, {msg}")
    }

    /// One that is full at so many keys.
    pub fn of_keys(all: u64) -> Self {
        Self::new(all, "[{bar:40}] {human_pos} of {human_len} keys, {msg}")
    }

    /// One without an end: only a text.
    pub fn of_text() -> Self {
        Self::new(0, "{spinner} {msg}")
    }

    fn new(all: u64, template: &str) -> Self {
        let bar = ProgressBar::new(all);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, began: Instant::now() }
    }

    /// Shows where it is, and how many keys that were.
    pub fn show(&self, position: u64, keys: u64) {
        let rate = keys as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        self.bar.set_position(position);
        self.bar.set_message(format!("{} keys, {} a second", grouped(keys), grouped(rate as u64)));
    }

    /// Shows where it is, and a text.
    pub fn show_text(&self, position: u64, text: String) {
        self.bar.set_position(position);
        self.bar.set_message(text);
    }

    /// Shows a text.
    pub fn say(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
        self.bar.tick();
    }

    /// Seconds since it began.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Leaves the line.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes as people read them, for lags.
pub fn lag(behind: u64) -> String {
    format!("{} behind", bytes(behind))
}
