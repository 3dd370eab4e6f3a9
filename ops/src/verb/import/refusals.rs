//! What the target did not take, and which refusals mean that going on is pointless.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Refusals, counted by their text.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    counts: BTreeMap<String, u64>,
}

impl Refusals {
    /// Counts one.
    pub fn note(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]).into_owned();
        if self.counts.len() < TEXTS_MAX || self.counts.contains_key(&text) {
            *self.counts.entry(text).or_default() += 1;
        } else {
            *self.counts.entry("other errors".to_owned()).or_default() += 1;
        }
    }

    /// Whether the target refuses whatever is written: for want of room, of permission, of itself.
    pub fn is_fatal(text: &[u8]) -> bool {
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        const FATAL: [&[u8]; 9] = [
            b"LOADING",
            b"OOM",
            b"READONLY",
            b"MISCONF",
            b"NOAUTH",
            b"NOPERM",
            b"CLUSTERDOWN",
            b"MASTERDOWN",
            b"NOREPLICAS",
        ];
        FATAL.contains(&code)
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Those of another place too.
    pub fn add(&mut self, other: &Self) {
        for (text, count) in &other.counts {
            *self.counts.entry(text.clone()).or_default() += count;
        }
    }

    /// Each text with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(text, count)| (text.as_str(), *count))
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        json!(self.counts)
    }
}

/// Different texts that are counted one by one.
const TEXTS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 200;
