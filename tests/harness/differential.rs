//! Random calls, given to a node and to a real `redis-server`: how many are answered the same, and what differs.
//!
//! What a command takes is read from Redis itself (`COMMAND DOCS`), so no list of ours can forget an argument. Values
//! come from pools with the odd ones in them, and some calls are spoilt on purpose. A sequence of calls ends at its
//! first difference, because what follows from different data says nothing.

mod events;
mod generator;
mod grammar;
mod normal;
mod parties;
mod pools;
mod scripts;
mod session;
mod special;
mod talk;
mod told;
mod topics;

pub use events::run_events;
pub use grammar::{FOR_TALKS, Grammar};
pub use talk::run_talks;

use crate::client::{Client, shown};
use crate::random::Random;
use generator::Generator;
use session::{Answers, Session};
use std::collections::BTreeMap;
use std::fmt;

/// Calls of one sequence.
pub const CALLS: usize = 80;

/// What came of many sequences.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Calls that were compared.
    pub calls: u64,
    /// Sequences that were run.
    pub sequences: u64,
    /// Calls by command.
    pub by_command: BTreeMap<String, u64>,
    /// Differences by what they have in common.
    pub differences: BTreeMap<String, Difference>,
}

/// A kind of difference.
#[derive(Clone, Debug)]
pub struct Difference {
    /// How often.
    pub count: u64,
    /// The first case.
    pub example: String,
}

impl Report {
    /// The share of calls that were answered the same.
    pub fn identical_percent(&self) -> f64 {
        let different: u64 = self.differences.values().map(|difference| difference.count).sum();
        100.0 * (self.calls - different) as f64 / self.calls.max(1) as f64
    }
}

/// Runs the sequence of every seed. `nodes` opens a connection to the node, `redis` one to Redis.
pub fn run(
    grammar: &Grammar,
    seeds: impl IntoIterator<Item = u64>,
    node: &dyn Fn() -> Client,
    redis: &dyn Fn() -> Client,
) -> Report {
    let mut report = Report::default();
    let mut session = Session::new(node, redis);
    for seed in seeds {
        sequence(grammar, seed, &mut session, &mut report);
        report.sequences += 1;
    }
    report
}

fn sequence(grammar: &Grammar, seed: u64, session: &mut Session<'_>, report: &mut Report) {
    let mut generator = Generator::new(grammar, Random::new(seed));
    let version = if seed.is_multiple_of(2) { 2 } else { 3 };
    session.begin(version);
    let mut history = Vec::new();
    for _ in 0..CALLS {
        let call = generator.call();
        let name = String::from_utf8_lossy(&call[0]).to_ascii_uppercase();
        let answers = session.call(&call);
        report.calls += 1;
        *report.by_command.entry(name.clone()).or_default() += 1;
        history.push(shown(&call));
        if let Some(Answers { node, redis }) = answers.difference() {
            let kind = format!("{name}: redis {} / node {}", class(&redis), class(&node));
            let recent = history[history.len().saturating_sub(HISTORY_SHOWN)..].join("\n      ");
            let example = format!(
                "RESP{version}, repeat with --seed {seed}\n      {recent}\n    redis: {}\n    node:  {}",
                cut(&redis),
                cut(&node)
            );
            let difference = report.differences.entry(kind).or_insert(Difference { count: 0, example });
            difference.count += 1;
            return;
        }
    }
}

/// What two different answers have in common with others of their kind.
fn class(answer: &str) -> String {
    let kept: String = answer.chars().take(CLASS_LETTERS).map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
    if answer.starts_with('-') { kept } else { kept.split([' ', '[']).next().unwrap_or_default().to_owned() }
}

fn cut(answer: &str) -> String {
    answer.chars().take(ANSWER_LETTERS).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} calls of {} commands in {} sequences: {:.3} % answered as Redis does",
            self.calls,
            self.by_command.len(),
            self.sequences,
            self.identical_percent()
        )?;
        for (kind, Difference { count, example }) in &self.differences {
            writeln!(f, "  {count} x {kind}\n    {example}")?;
        }
        Ok(())
    }
}

const HISTORY_SHOWN: usize = 12;
const CLASS_LETTERS: usize = 80;
const ANSWER_LETTERS: usize = 400;
