//! One run of one scenario with one seed: load and faults, then the end of all faults, then the judgement.

use crate::broken::Broken;
use crate::faults::{Ending, fault};
use crate::invariants;
use crate::observer::Tally;
use crate::oracle::History;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use xxhash_rust::xxh3::xxh3_64;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The hash of everything that happened: datagrams, commands, answers, stamps, faults.
    pub trace_hash: u64,
    /// What was found wrong, if anything was.
    pub broken: Option<Broken>,
    /// What happened, in figures.
    pub figures: Figures,
}

/// What happened in a run, in figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// What the observer counted.
    pub tally: Tally,
    /// Calls whose answer was lost.
    pub unanswered: u64,
    /// Messages that were heard in other regions than they were published in.
    pub messages: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Keys that could not be judged because they were written while state was compared.
    pub uncertain_keys: usize,
    /// Ended numbers that were sealed with a tail which nobody knows as a whole.
    pub partial_seals: usize,
    /// Datagrams between nodes.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
}

/// Nodes must serve within this time of a start.
const START_MS_MAX: u64 = 30_000;
/// Clients stop within this time: their longest wait and some.
const STOP_MS_MAX: u64 = 6_000;
/// Some heartbeats and rounds of housekeeping.
const SETTLE_MS: u64 = 3_000;
/// A clock that was ahead by the most that clocks jump, and some.
const RESETS_MS_MAX: u64 = 90_000;
/// Between two looks at what must hold all the time.
const LOOK_MS: u64 = 10;

/// What makes a run one that must not pass: to prove that the judgement can fail.
#[derive(Clone, Copy)]
pub enum Alteration {
    /// None.
    Nothing,
    /// The history is changed before it is held against the nodes.
    History(fn(&mut History)),
    /// The user who moves reads without awaiting its token.
    Impatience,
}

/// Runs one seed.
pub fn run(scenario: &'static Scenario, seed: u64) -> Outcome {
    run_altered(scenario, seed, Alteration::Nothing)
}

/// Runs one seed, altered.
pub fn run_altered(scenario: &'static Scenario, seed: u64, alter: Alteration) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| run_world(scenario, seed, alter))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let broken = Broken::new("runs", format!("a panic: {}", text.unwrap_or_default()));
            Outcome { trace_hash: 0, broken: Some(broken), figures: Figures::default() }
        }
    }
}

fn run_world(scenario: &'static Scenario, seed: u64, alter: Alteration) -> Outcome {
    let mut world = match World::found(scenario, seed) {
        Ok(world) => world,
        Err(broken) => return Outcome { trace_hash: 0, broken: Some(broken), figures: Figures::default() },
    };
    world.script.awaits.set(!matches!(alter, Alteration::Impatience));
    let mut faults = 0;
    let broken = drive(&mut world, seed, &mut faults, alter).err();
    let observer = world.observer.borrow();
    let traffic = world.weather.traffic();
    let figures = Figures {
        tally: observer.tally,
        unanswered: world.script.unanswered.get(),
        messages: world.messages.crossed,
        faults,
        uncertain_keys: observer.history.uncertain_keys(),
        partial_seals: observer.partial_seals(),
        datagrams: traffic.datagrams,
        bytes: traffic.bytes,
        simulated_ms: world.time.ms(),
    };
    let words = [observer.trace_hash(), world.weather.trace_hash(), world.time.ms()];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Outcome { trace_hash: xxh3_64(&bytes), broken, figures }
}

fn drive(world: &mut World, seed: u64, faults: &mut u64, alter: Alteration) -> Result<(), Broken> {
    let serve = |world: &World| {
        let served = |index: usize| world.node(index).is_some_and(|node| !node.condition.is_loading());
        world.members().into_iter().all(served)
    };
    if !world.run_until(START_MS_MAX, serve)? {
        return Err(Broken::new("serving", "a new cluster does not serve within 30 s"));
    }
    let mut striking = Striking::new(seed);
    let end = world.time.ms() + world.scenario.lasts_ms;
    while world.time.ms() < end {
        striking.turn(world, faults)?;
        world.step()?;
        if world.time.ms().is_multiple_of(LOOK_MS) {
            invariants::look(world)?;
        }
    }
    striking.end_all(world);
    world.script.goes_on.set(false);
    world.run_until(STOP_MS_MAX, |world| world.script.running.get() == 0)?;
    if let Alteration::History(alter) = alter {
        alter(&mut world.observer.borrow_mut().history);
    }
    for _ in 0..2 {
        invariants::wait_for_convergence(world)?;
        // Heartbeats tell what others have applied, and what was kept for them is collected.
        world.run_for(SETTLE_MS)?;
        invariants::wait_for_convergence(world)?;
        world.observer.borrow_mut().take_seals();
        invariants::judge(world)?;
        invariants::wait_for_lives(world)?;
        // Of a number whose writes are from the future it is known late what is left.
        world.run_until(RESETS_MS_MAX, |world| {
            world
                .live()
                .into_iter()
                .all(|index| world.node(index).is_none_or(|node| node.keyspace.remembered_resets() == 0))
        })?;
        world.is_at_rest = true;
    }
    Ok(())
}

/// Faults as they come and go.
struct Striking {
    random: Random,
    next_at: u64,
    active: Vec<(u64, &'static str, Ending)>,
}

impl Striking {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, "faults"), next_at: 0, active: Vec::new() }
    }

    fn turn(&mut self, world: &mut World, faults: &mut u64) -> Result<(), Broken> {
        let now = world.time.ms();
        while let Some(at) = self.active.iter().position(|(until, _, _)| *until <= now) {
            let (_, name, end) = self.active.swap_remove(at);
            tracing::info!(now, name, "a fault ends");
            world.observer.borrow_mut().note(&format!("{now} {name} ends"));
            end(world);
        }
        if now < self.next_at || self.active.len() >= world.scenario.at_once_max || world.scenario.faults.is_empty() {
            return Ok(());
        }
        let (low, high) = world.scenario.gap_ms;
        let first = self.next_at == 0;
        self.next_at = now + self.random.between(low, high);
        if first {
            return Ok(());
        }
        let weights: Vec<u32> = world.scenario.faults.iter().map(|(_, weight)| *weight).collect();
        let name = world.scenario.faults[self.random.weighted(&weights)].0;
        let Some(kind) = fault(name) else { return Err(Broken::new("runs", format!("there is no fault {name}"))) };
        if self.active.iter().any(|(_, active, _)| *active == kind.name) {
            return Ok(());
        }
        if let Some(ending) = (kind.strike)(world, &mut self.random)? {
            *faults += 1;
            let until = now + self.random.between(kind.lasts_ms.0, kind.lasts_ms.1);
            tracing::info!(now, until, name, "a fault strikes");
            world.observer.borrow_mut().note(&format!("{now} {name} until {until}"));
            self.active.push((until, kind.name, ending));
        }
        Ok(())
    }

    /// Everything is mended; what is down starts.
    fn end_all(&mut self, world: &mut World) {
        for (_, _, end) in std::mem::take(&mut self.active) {
            end(world);
        }
        world.weather.clear();
        for index in world.members() {
            world.hosts[index].clock.set_off_ms(0);
            let waits = world.orders.iter().any(|order| order.host == index);
            if world.hosts[index].life.get().is_none() && !waits {
                world.restart(index);
            }
        }
    }
}
