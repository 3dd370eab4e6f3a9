//! The long trials: a region is cut off for a minute under load, or until the others have forgotten their batches.
//!
//! `cargo run --release -p tests --bin outage -- --seconds 60`, or with `--ring-exceeded`.

use std::process::ExitCode;
use std::time::Duration;
use tests::cluster::Cluster;
use tests::{outage, ring_exceeded};

const USAGE: &str = "usage: outage [--seconds N] [--clients N] [--pace-us N] [--seed S]
       outage --ring-exceeded [--keys N] [--value-bytes N] [--changed N] [--ring-bytes SIZE] [--pace-us N]
Starts three nodes as processes, cuts one off from the others, and prints what clients noticed and what was lost.
--set NAME=VALUE gives all nodes a setting. PELAGO_TESTS_BINARY names the program instead of building it.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let value = |name: &str| {
        let position = arguments.iter().position(|word| word == name)?;
        arguments.get(position + 1).cloned()
    };
    let number = |name: &str, default: u64| match value(name).map(|text| text.parse::<u64>()) {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(_)) => panic!("{name} wants a number\n{USAGE}"),
    };
    let count = |name: &str, default: u64| usize::try_from(number(name, default)).unwrap_or(usize::MAX);
    let ring = format!("ring-bytes={}", value("--ring-bytes").unwrap_or("16mb".to_owned()));
    let ring_exceeded = arguments.iter().any(|word| word == "--ring-exceeded");
    let mut settings = Vec::new();
    if ring_exceeded {
        settings.push(ring.as_str());
    }
    let given = arguments.windows(2).filter(|pair| pair[0] == "--set").map(|pair| pair[1].as_str());
    settings.extend(given);
    let cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &settings);
    let faults = if ring_exceeded {
        let outcome = ring_exceeded::run(
            &cluster,
            ring_exceeded::Plan {
                keys: count("--keys", 1_000_000),
                value_bytes: count("--value-bytes", 100),
                changed: count("--changed", 300_000),
                pace: Duration::from_micros(number("--pace-us", 1_000)),
            },
        );
        print!("{outcome}");
        if outcome.verify == Some(0) { Vec::new() } else { vec!["the regions are not equal".to_owned()] }
    } else {
        let outcome = outage::run(
            &cluster,
            &outage::Plan {
                before: Duration::from_secs(5),
                cut: Duration::from_secs(number("--seconds", 60)),
                after: Duration::from_secs(5),
                clients: count("--clients", 2),
                pace: Duration::from_micros(number("--pace-us", 0)),
                seed: number("--seed", 1),
            },
        );
        print!("{outcome}");
        outcome.faults()
    };
    faults.iter().for_each(|fault| println!("FAULT: {fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
