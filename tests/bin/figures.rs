//! What nodes cost, measured on real processes: memory for a key, a core's share of a cluster in which nothing happens,
//! and the time until a write can be read elsewhere.
//!
//! `cargo run --release -p tests --bin figures -- --memory`, or with `--idle` or `--delay`.

use std::process::ExitCode;
use std::time::Duration;
use tests::arguments::Arguments;
use tests::cluster::Cluster;
use tests::{delay, idle, memory};

const USAGE: &str = "usage: figures --memory [--keys N] [--key-bytes N] [--value-bytes N]
       figures --idle [--seconds N] [--rest-seconds N] [--keys N]
       figures --delay [--writes N] [--interval-ms N]
Starts nodes as processes with their default settings, and prints what they use. --set NAME=VALUE gives all nodes a
setting. PELAGO_TESTS_BINARY names the program instead of building it. Memory and processor are those that Linux counts.";

fn main() -> ExitCode {
    let arguments = Arguments::of_program(USAGE);
    let shown = if arguments.has("--memory") {
        show_memory(&arguments)
    } else if arguments.has("--idle") {
        show_idle(&arguments)
    } else {
        Ok(show_delay(&arguments))
    };
    match shown {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("it could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A cluster with the settings that a node has by default, which are not those of the tests.
fn start(arguments: &Arguments, regions: &[&str]) -> Cluster {
    let settings: Vec<&str> = ["workers=0", "development=no"].into_iter().chain(arguments.all("--set")).collect();
    Cluster::start_with(regions, &settings)
}

fn show_memory(arguments: &Arguments) -> Result<String, String> {
    let cluster = start(arguments, &["us-east", "eu-west"]);
    let plan = memory::Plan {
        keys: arguments.count("--keys", 2_000_000),
        key_bytes: arguments.count("--key-bytes", 16),
        value_bytes: arguments.count("--value-bytes", 32),
        rest: Duration::from_secs(4),
    };
    memory::run(&cluster, plan).map(|outcome| outcome.to_string())
}

fn show_idle(arguments: &Arguments) -> Result<String, String> {
    let cluster = start(arguments, &["us-east", "eu-west", "ap-south"]);
    tests::load::fill(&mut cluster.nodes[0].client(), arguments.count("--keys", 0), 1);
    let seconds = |name, default| Duration::from_secs(arguments.number(name, default));
    let outcome = idle::run(&cluster, seconds("--rest-seconds", 10), seconds("--seconds", 20))?;
    Ok(outcome.to_string())
}

fn show_delay(arguments: &Arguments) -> String {
    let cluster = start(arguments, &["us-east", "eu-west"]);
    let plan = delay::Plan {
        writes: arguments.count("--writes", 2_000),
        interval: Duration::from_millis(arguments.number("--interval-ms", 20)),
    };
    delay::run(&cluster, plan).to_string()
}
