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
        self.count(&String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]), 1);
    }

    fn count(&mut self, text: &str, more: u64) {
        let is_own = self.counts.len() < TEXTS_MAX || self.counts.contains_key(text);
        *self.counts.entry(if is_own { text } else { OTHERS }.to_owned()).or_default() += more;
    }

    /// Whether the target refuses whatever is written: for want of room, of permission, of itself. Also if that is why it
    /// refused a whole transaction.
    pub fn is_fatal(text: &[u8]) -> bool {
        let text = text.strip_prefix(b"EXECABORT Transaction discarded because of: ").unwrap_or(text);
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
        other.counts.iter().for_each(|(text, count)| self.count(text, *count));
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
/// What is counted together beyond that.
const OTHERS: &str = "other errors";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_texts_there_are_they_take_little_room_and_all_count() {
        let mut all = Refusals::default();
        for place in 0..4 {
            let mut here = Refusals::default();
            (0..100).for_each(|number| here.note(format!("ERR {place} {number}").as_bytes()));
            all.add(&here);
        }
        assert!(all.iter().count() <= TEXTS_MAX + 1, "{}", all.iter().count());
        assert_eq!(all.total(), 400);
    }

    #[test]
    fn a_whole_transaction_is_refused_for_want_of_room_too() {
        assert!(Refusals::is_fatal(b"OOM command not allowed"));
        assert!(Refusals::is_fatal(b"EXECABORT Transaction discarded because of: OOM command not allowed"));
        assert!(!Refusals::is_fatal(b"EXECABORT Transaction discarded because of previous errors."));
        assert!(!Refusals::is_fatal(b"ERR OOM"));
    }
}
