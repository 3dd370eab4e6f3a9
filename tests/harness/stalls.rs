//! Commands that took long: when in the run, what they were, and how long they took, so that causes can be found in the
//! log of the node. Not the distribution of latencies, which `load` keeps whole.

use crate::client::shown;
use crate::taken::Taken;
use std::time::{Duration, Instant};

/// A command that took longer than this is a stall.
pub const STALL_MIN: Duration = Duration::from_millis(20);
/// Stalls of one node that are told: the longest. More would hide the others, and how many there were is told.
const SHOWN_MAX: usize = 24;
/// Stalls of one node that are kept, the longest.
const KEPT_MAX: usize = 10_000;
/// Letters of a command that are told: its name, its key and the beginning of its value.
const LETTERS_MAX: usize = 40;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When it was sent, since the clients were started.
    pub at: Duration,
    /// Until it was answered.
    pub took: Duration,
    /// Which client of the trial sent it.
    pub client: usize,
    /// What was sent, shortened.
    pub command: String,
}

/// The longest of them, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    count: u64,
    kept: Vec<Stall>,
}

impl Stalls {
    /// Looks at a command that was answered.
    pub fn note(&mut self, at: Duration, took: Duration, client: usize, words: &[String]) {
        if took > STALL_MIN {
            self.count += 1;
            let command = shown(words).chars().take(LETTERS_MAX).collect();
            self.keep(Stall { at, took, client, command });
        }
    }

    /// Adds those of another client.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        other.kept.into_iter().for_each(|stall| self.keep(stall));
    }

    fn keep(&mut self, stall: Stall) {
        self.kept.push(stall);
        if self.kept.len() >= 2 * KEPT_MAX {
            self.leave_longest(KEPT_MAX);
        }
    }

    fn leave_longest(&mut self, most: usize) {
        self.kept.sort_by_key(|stall| std::cmp::Reverse(stall.took));
        self.kept.truncate(most);
    }

    /// The longest, each without what was taken of the cores during it; zero if there were none.
    pub fn longest_without(&self, started: Instant, taken: &Taken) -> Duration {
        let without = |stall: &Stall| {
            let sent = started + stall.at;
            stall.took.saturating_sub(taken.of((sent, sent + stall.took)))
        };
        self.kept.iter().map(without).max().unwrap_or_default()
    }

    /// A line each in the order of time, after one that says how many there were; none if there were none.
    pub fn lines(&self, node: &str) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut longest = self.clone();
        longest.leave_longest(SHOWN_MAX);
        let shown = if self.count > longest.kept.len() as u64 { ", the longest" } else { "" };
        let first = format!("{node:<12} {} commands took over {} ms{shown}:", self.count, STALL_MIN.as_millis());
        let mut in_time: Vec<&Stall> = longest.kept.iter().collect();
        in_time.sort_by_key(|stall| stall.at);
        let line = |Stall { at, took, client, command }: &Stall| {
            let (second, took) = (at.as_secs_f64(), took.as_secs_f64() * 1e3);
            format!("  {node:<12} second {second:>8.3}  {took:>8.1} ms  client {client:>3}  {command}")
        };
        std::iter::once(first).chain(in_time.into_iter().map(line)).collect()
    }
}
