//! As many random calls as one likes, to a node and to Redis: the share that is answered the same, and what differs.
//!
//! `cargo run --release -p tests --bin differential -- --seeds 1000`, or with `--seed S` for one sequence.

use std::process::ExitCode;
use tests::arguments::Arguments;
use tests::cluster::Cluster;
use tests::differential::{Grammar, run, run_talks};
use tests::redis::Redis;

const USAGE: &str = "usage: differential [--seeds N] [--from S] [--seed S]
       differential --talks [--seeds N] [--from S] [--seed S]
Runs the sequences, or the talks of three clients, of N seeds against a new node and redis-server 7.0, and prints what differs.";

fn main() -> ExitCode {
    let arguments = Arguments::of_program(USAGE);
    let from = arguments.number("--from", 1);
    let seeds = match arguments.all("--seed").next() {
        None => from..=from.saturating_add(arguments.number("--seeds", 200)).saturating_sub(1),
        Some(_) => arguments.number("--seed", 1)..=arguments.number("--seed", 1),
    };
    let Some(redis) = Redis::start("what the node answers") else { return ExitCode::FAILURE };
    let cluster = Cluster::start(&["only"]);
    let node = || cluster.nodes[0].client();
    let grammar = Grammar::read(&mut redis.client(), &mut node());
    let run = if arguments.has("--talks") { run_talks } else { run };
    let report = run(&grammar, seeds, &node, &|| redis.client());
    print!("{report}");
    if !grammar.missing.is_empty() {
        println!("not offered: {}", grammar.missing.iter().cloned().collect::<Vec<_>>().join(" "));
    }
    if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
