//! Chance that repeats: a seeded generator, and a loop over seeds that says how to repeat the one that failed.
//! Shared by the property tests of several crates; nothing here knows what is tested.
#![allow(dead_code, reason = "each test binary that includes this file uses a part of it")]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// SplitMix64 (Steele, Lea and Flood, 2014): a word of state, good enough to choose steps.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    /// Evenly in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// An index by weight: `weights[i]` out of their sum.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        weights.iter().position(|&weight| left.checked_sub(weight).map(|rest| left = rest).is_none()).unwrap()
    }

    /// Two different indices below `bound`, which is at least two.
    pub fn pair(&mut self, bound: usize) -> (usize, usize) {
        let first = self.below(bound);
        (first, (first + self.between(1, bound - 1)) % bound)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

/// Runs `check` for the seeds `0..count`, or only for the one in `PELAGO_SEED`, or for `PELAGO_SEEDS` times as many.
/// `name` is the test's name.
pub fn for_seeds(name: &str, count: u64, check: impl Fn(u64)) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let all = 0..count * variable("PELAGO_SEEDS").unwrap_or(1);
    let seeds = variable("PELAGO_SEED").map_or(all, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(seed))) {
            eprintln!("repeat with: PELAGO_SEED={seed} cargo test --test properties {name}");
            resume_unwind(panic);
        }
    }
}

/// The smallest script found that still fails, by leaving out ever smaller runs of steps (delta debugging). `fails`
/// returns what went wrong; a script without some steps has to make sense too.
pub fn shrink<Step: Clone + Debug>(
    script: Vec<Step>,
    fails: impl Fn(&[Step]) -> Option<String>,
) -> (Vec<Step>, String) {
    let mut smallest = script;
    let mut reason = fails(&smallest).expect("only a failing script is shrunk");
    let mut run = smallest.len().div_ceil(2).max(1);
    loop {
        let mut start = 0;
        let mut shrunk = false;
        while start < smallest.len() {
            let mut candidate = smallest.clone();
            candidate.drain(start..(start + run).min(smallest.len()));
            match fails(&candidate) {
                Some(why) => (smallest, reason, shrunk) = (candidate, why, true),
                None => start += run,
            }
        }
        match (run, shrunk) {
            (1, false) => return (smallest, reason),
            (1, true) => {}
            _ => run = run.div_ceil(2),
        }
    }
}

/// Runs a script and panics with the smallest one that fails the same check.
pub fn check_script<Step: Clone + Debug>(script: Vec<Step>, fails: impl Fn(&[Step]) -> Option<String>) {
    if fails(&script).is_none() {
        return;
    }
    let (smallest, reason) = shrink(script, fails);
    let lines: Vec<String> = smallest.iter().map(|step| format!("    {step:?}")).collect();
    panic!("{reason}\nsmallest script, {} steps:\n{}", smallest.len(), lines.join("\n"));
}
