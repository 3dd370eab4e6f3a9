//! A few seeds of every scenario, that a run repeats to the last datagram, and that a wrong merge is found.

use simulation::oracle::{Execution, History, Key, shown};
use simulation::reply::Value;
use simulation::scenario::{SCENARIOS, scenario};
use simulation::{Alteration, document, oracle, run, run_altered};

#[test]
fn a_seed_repeats_itself_and_another_one_does_not() {
    let crash = scenario("crash").unwrap();
    let (first, again, other) = (run(crash, 7), run(crash, 7), run(crash, 8));
    assert_eq!(first.trace_hash, again.trace_hash);
    assert_ne!(first.trace_hash, other.trace_hash);
}

#[test]
fn every_scenario_holds_for_its_first_seed() {
    const SEED: u64 = 1;
    let mut broken = Vec::new();
    for scenario in SCENARIOS {
        let outcome = run(scenario, SEED);
        let tally = outcome.figures.tally;
        if let Some(found) = outcome.broken {
            let name = scenario.name;
            broken.push(format!("{found}\n  cargo run --release -p simulation -- --seed {SEED} --scenario {name}"));
        } else {
            assert!(tally.judged > 100, "{} judges next to nothing: {tally:?}", scenario.name);
            let messages = outcome.figures.messages;
            assert!(tally.moves > 2 && messages > 50, "{}: {messages} messages, {tally:?}", scenario.name);
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The real nodes, held against histories that are not theirs: the run must not pass.
#[test]
fn nodes_that_forget_removals_or_increments_are_found() {
    let calm = scenario("calm").unwrap();
    for alter in [History::forget_removals as fn(&mut History), History::forget_an_increment] {
        let broken = run_altered(calm, 3, Alteration::History(alter)).broken.expect("the judgement can fail");
        // A sweep may come before the judgement and find its key alive in the other history.
        assert!(matches!(broken.invariant, "contents" | "expiry"), "{broken}");
    }
}

/// A user who reads in another region without awaiting its token reads what is older, and is told so.
#[test]
fn who_awaits_no_token_reads_what_is_older() {
    let broken =
        run_altered(scenario("calm").unwrap(), 3, Alteration::Impatience).broken.expect("the judgement can fail");
    assert_eq!(broken.invariant, "tokens", "{broken}");
}

#[test]
fn the_document_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
    if std::env::var("SIMULATION_DOCUMENT").is_ok_and(|wish| wish == "write") {
        std::fs::write(path, document::document()).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let hint = "docs/faults.md is stale: SIMULATION_DOCUMENT=write cargo test -p simulation the_document_is_fresh";
    assert!(found == document::document(), "{hint}");
}

/// A small history: a key is set, counted up and removed; a removal that a broken merge forgets changes what is shown.
#[test]
fn a_merge_that_forgets_a_removal_is_told_from_the_contract() {
    let me = crdt::NodeNumber::new(3).unwrap();
    let (mut history, key) = (History::default(), Key::new(0, "k"));
    let mut clock = crdt::Stamp::at(1_800_000_000_000, me);
    for command in [["SET", "k", "5"].as_slice(), &["INCRBY", "k", "2"], &["DEL", "k"], &["INCR", "k"]] {
        let args: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let mut execution = Execution::new(&mut history, &|_, _| false, 1_800_000_000_000, me, clock);
        execution.begin_command();
        oracle::execute(&mut execution, 0, &args, &Value::Null).unwrap();
        clock = execution.clock;
    }
    let text = |history: &History| format!("{:?}", shown(&history.standing(&key, &|_| true), 0).map(|s| s.content));
    assert_eq!(text(&history), "Some(String(\"1\"))");
    history.forget_removals();
    assert_eq!(text(&history), "Some(String(\"8\"))");
}

/// Node 1 makes a hash and removes it; node 2 knows both by state when it writes a string there, and its batch does not say
/// so. Node 3 has the hash and the string: what it answers is nobody's mistake, until it has the removal too.
#[test]
fn what_follows_from_state_cannot_be_told_where_the_state_is_missing() {
    const NOW: u64 = 1_800_000_000_000;
    let number = |number| crdt::NodeNumber::new(number).unwrap();
    let (mut history, key) = (History::default(), Key::new(0, "m"));
    let mut clock = crdt::Stamp::at(NOW, number(1));
    let mut stamps = Vec::new();
    for (author, command) in [(1, ["HSET", "m", "g", "1"].as_slice()), (1, &["DEL", "m"]), (2, &["SET", "m", "x"])] {
        let args: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let all: std::sync::Arc<crdt::VersionVector> = std::sync::Arc::new([(number(1), clock)].into_iter().collect());
        let ahead = |_: &Key| Some(all.clone());
        let mut execution = Execution::new(&mut history, &|_, _| true, NOW, number(author), clock);
        if author == 2 {
            execution = execution.unsettled(&ahead);
        }
        execution.begin_command();
        oracle::execute(&mut execution, 0, &args, &Value::Null).unwrap();
        clock = execution.clock;
        stamps.push(clock);
    }
    let can_tell = |history: &mut History, seen: &[crdt::Stamp]| {
        !Execution::new(history, &|_, stamp| seen.contains(&stamp), NOW, number(3), clock).cannot_tell(&key)
    };
    assert!(can_tell(&mut history, &stamps[..1]) && can_tell(&mut history, &stamps));
    assert!(!can_tell(&mut history, &[stamps[0], stamps[2]]));
}
