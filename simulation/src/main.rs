//! `simulation --seed S [--seeds N] [--scenario NAME]`: runs seeds and says what broke.

use clap::Parser;
use simulation::scenario::{SCENARIOS, Scenario, scenario};
use simulation::{Outcome, run};
use std::process::ExitCode;

/// Runs the real node under simulated faults. The same seed gives the same run.
#[derive(Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The scenario, or `all`.
    #[arg(long, default_value = "mix")]
    scenario: String,
    /// Goes on after a seed that broke something.
    #[arg(long)]
    keep_going: bool,
    /// Says what happened in figures.
    #[arg(long)]
    figures: bool,
    /// Shows the nodes' log, as `RUST_LOG` has it (by default what concerns the run itself).
    #[arg(long)]
    log: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.log {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let filter = filter.unwrap_or_else(|_| "simulation=info,server=info".into());
        tracing_subscriber::fmt().with_env_filter(filter).without_time().init();
    }
    let chosen: Vec<&'static Scenario> = match (arguments.scenario.as_str(), scenario(&arguments.scenario)) {
        ("all", _) => SCENARIOS.iter().collect(),
        (_, Some(one)) => vec![one],
        (name, None) => {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            eprintln!("there is no scenario {name}; there are all, {}", names.join(", "));
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for scenario in chosen {
        for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
            let outcome = run(scenario, seed);
            failed += u32::from(outcome.broken.is_some());
            print(scenario, seed, &outcome, arguments.figures);
            if outcome.broken.is_some() && !arguments.keep_going {
                return ExitCode::FAILURE;
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(scenario: &Scenario, seed: u64, outcome: &Outcome, with_figures: bool) {
    let (name, hash) = (scenario.name, outcome.trace_hash);
    match &outcome.broken {
        None => println!("seed {seed}: ok ({name}, trace {hash:016x})"),
        Some(broken) => {
            println!("seed {seed}: broken ({name}, trace {hash:016x})\n  {broken}");
            println!("  repeat: cargo run --release -p simulation -- --seed {seed} --scenario {name}");
        }
    }
    if with_figures {
        let figures = &outcome.figures;
        println!(
            "  {} commands, {} judged, {} not ({} keys), {} refused, {} transactions, {} swept, {} evicted (at least {} % left), {} answers lost, {} moves, {} messages, \
             {} partial seals, {} faults, {} datagrams, {} KB, {} simulated s",
            figures.tally.commands,
            figures.tally.judged,
            figures.tally.not_judged,
            figures.uncertain_keys,
            figures.tally.refused,
            figures.tally.transactions,
            figures.tally.swept,
            figures.tally.evicted,
            figures.tally.left_least,
            figures.unanswered,
            figures.tally.moves,
            figures.messages,
            figures.partial_seals,
            figures.faults,
            figures.datagrams,
            figures.bytes / 1000,
            figures.simulated_ms / 1000
        );
    }
}
