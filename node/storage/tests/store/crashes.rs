//! The power fails at any step of anything, several times in a row.

use crate::model::{Back, Chance, SmallNode, recover};
use std::collections::BTreeSet;
use storage::{FlushPolicy, Health, Problem, SimulatedFs, StoreError};

/// One life, which notes what it was promised to be durable.
fn live(fs: &SimulatedFs, seed: u64, memory: &mut Memory) -> Result<(), StoreError> {
    let mut chance = Chance(seed);
    let policy = [FlushPolicy::Always, FlushPolicy::EverySecond, FlushPolicy::Never][chance.below(3) as usize];
    let (mut node, back) = SmallNode::start(fs, seed, policy)?;
    if fs.is_off() {
        // What it could not read is not lost.
        return Ok(());
    }
    memory.check(&back, seed);
    for _ in 0..30 {
        match chance.below(12) {
            0 => drop(node.checkpoint(&mut chance)),
            1..4 => node.pass(chance.below(1_500)),
            _ => drop(node.write()),
        }
        if chance.below(2) == 0 {
            node.pass(0);
        }
        let durable = node.disk.progress().durable();
        if node.disk.progress().health() == Health::Sound {
            // What an earlier life has written is durable before anything that follows it.
            if durable.to > durable.from && durable.from == back.next {
                memory.promised.extend(back.all());
            }
            memory.promised.extend(durable.from..durable.to);
        }
    }
    Ok(())
}

/// What somebody outside remembers of all lives.
#[derive(Default)]
struct Memory {
    /// Records that were durable.
    promised: BTreeSet<u64>,
    /// Records that a start has reported as missing; a later checkpoint is complete without them.
    told: BTreeSet<u64>,
}

impl Memory {
    /// Everything that was promised is there; of what was not, a part may be missing before another, and that is told.
    fn check(&mut self, back: &Back, seed: u64) {
        let (all, next) = (back.all(), back.next);
        let expected: BTreeSet<u64> = (0..next).collect();
        let missing: BTreeSet<u64> = expected.difference(&all).copied().collect();
        if back.problems.iter().any(Problem::is_damage) {
            self.told.extend(&missing);
        }
        let silent: Vec<&u64> = missing.difference(&self.told).collect();
        assert!(silent.is_empty(), "seed {seed}: of {next} records {silent:?} are missing: {:?}", back.problems);
        let lost: Vec<&u64> = self.promised.difference(&all).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} were durable and are lost");
        let beyond: Vec<&u64> = all.difference(&expected).collect();
        assert!(beyond.is_empty(), "seed {seed}: {beyond:?} are beyond the {next} records that came back");
    }
}

#[test]
fn what_was_durable_comes_back_whenever_the_power_fails() {
    for seed in 0..400 {
        let fs = SimulatedFs::new(seed);
        let mut chance = Chance(seed ^ 0xc4a5);
        let mut memory = Memory::default();
        for life in 0..6 {
            let step = fs.operations() + 1 + chance.below(260);
            fs.fail_power_at(step);
            // However far it came, the power fails.
            let _ = live(&fs, seed * 10 + life, &mut memory);
            fs.crash();
        }
        let (_, back) = recover(&fs).unwrap();
        memory.check(&back, seed);
    }
}

#[test]
fn a_dead_process_has_lost_nothing_that_was_written() {
    for seed in 0..100 {
        let fs = SimulatedFs::new(seed);
        let mut chance = Chance(seed);
        let mut written = 0;
        for life in 0..4 {
            let (mut node, back) = SmallNode::start(&fs, seed * 10 + life, FlushPolicy::Never).unwrap();
            assert!(back.problems.is_empty(), "{:?}", back.problems);
            assert_eq!(
                (back.next, back.sound.map(|life| life.nonce)),
                (written, (life > 0).then(|| seed * 10 + life - 1))
            );
            Memory { promised: (0..written).collect(), ..Memory::default() }.check(&back, seed);
            for _ in 0..chance.below(60) {
                node.write();
                if chance.below(20) == 0 {
                    node.checkpoint(&mut chance).unwrap();
                }
            }
            node.pass(0);
            written = node.disk.progress().written();
            fs.end_process();
        }
    }
}

#[test]
fn the_journal_keeps_its_bound_and_never_lets_go_of_what_no_checkpoint_covers() {
    let fs = SimulatedFs::new(1);
    let mut chance = Chance(1);
    let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
    for _ in 0..400 {
        node.write();
        node.pass(1);
    }
    let uncovered = node.disk.progress().journal_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(uncovered > 30_000);
    assert!(node.checkpoint(&mut chance).unwrap());
    for _ in 0..20 {
        node.write();
        node.pass(1);
    }
    let covered = node.disk.progress().journal_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(covered < 8_000, "{covered}");
}
