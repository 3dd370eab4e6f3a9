//! The long trials: a region or a link is cut for a minute under load, a region is away until the others have forgotten
//! its batches, regions crash again and again and come back empty, or with what they have on disk, a region is added to
//! many keys.
//!
//! `cargo run --release -p tests --bin outage -- --seconds 60`, or with `--link`, `--ring-exceeded`, `--crashes` or
//! `--kills 20`, or `--region-added`.

use std::process::ExitCode;
use std::time::Duration;
use tests::arguments::Arguments;
use tests::cluster::Cluster;
use tests::cores::{Cores, precede_programs};
use tests::cut_plan::CutPlan;
use tests::texts::Texts;
use tests::{crashes, kills, link_cut, outage, region_added, ring_exceeded};

const USAGE: &str = "usage: outage [--seconds N] [--seconds-after N] [--clients N] [--pace-us N] [--seed S]
       outage --link [--seconds N] [--clients N] [--pace-us N] [--seed S] [--ring-bytes SIZE]
       outage --ring-exceeded [--keys N] [--value-bytes N] [--changed N] [--ring-bytes SIZE] [--pace-us N]
       outage --crashes [--rounds N] [--keys N] [--clients N] [--pace-us N] [--writing-ms N] [--seed S]
       outage --kills N [--keys N] [--value N] [--clients N] [--pace-us N] [--writing-ms N] [--slack-ms N] [--seed S] \
[--server-cores LIST] [--load-cores LIST]
       outage --region-added [--keys N] [--value N] [--clients N] [--pace-us N] [--interval-us N] [--seed S] \
[--server-cores LIST] [--load-cores LIST]
Starts three nodes as processes, cuts one off from the others (or a link, or kills them one after the other, or adds the
third to a cluster of many keys), and prints what clients noticed and what was lost. --set NAME=VALUE gives all nodes a setting. PELAGO_TESTS_BINARY names the program
instead of building it.";

/// What a gap may last before a third node is asked, which is the setting's default, and a second more.
const OLDEST_VIEW_MAX: Duration = Duration::from_millis(2_000);

/// What a region's cut may cost.
const OUTAGE_BARS: outage::Bars = outage::Bars { stall: Duration::from_millis(100), equal: Duration::from_secs(5) };

fn main() -> ExitCode {
    let arguments = Arguments::of_program(USAGE);
    precede_programs();
    let faults = if arguments.has("--ring-exceeded") {
        exceed_ring(&arguments)
    } else if arguments.has("--link") {
        cut_link(&arguments)
    } else if arguments.has("--crashes") {
        crash(&arguments)
    } else if arguments.has("--region-added") {
        add_region(&arguments)
    } else if arguments.has("--kills") {
        kill(&arguments)
    } else {
        cut_region(&arguments)
    };
    faults.iter().for_each(|fault| println!("FAULT: {fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start(arguments: &Arguments, settings: &[String]) -> Cluster {
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(arguments.all("--set")).collect();
    Cluster::start_with(&link_cut::REGIONS, &settings)
}

/// What a node's clients may miss after a kill under `everysec`: what a flush, a second after the last, did not take.
const UNFLUSHED_MAX: Duration = Duration::from_secs(1);
/// What every node of the trial of kills is started with.
const KILLED_SETTINGS: &[&str] = &["persistence=on", "appendfsync=everysec"];

fn kill(arguments: &Arguments) -> Vec<String> {
    let seed = arguments.number("--seed", 1);
    let plan = kills::Plan {
        kills: arguments.count("--kills", 1),
        texts: Texts {
            keys: arguments.count("--keys", 10_000).max(1),
            value_bytes: arguments.count("--value", 100),
            seed,
        },
        writing: Duration::from_millis(arguments.number("--writing-ms", 2_000)),
        clients: arguments.count("--clients", 4),
        pace: Duration::from_micros(arguments.number("--pace-us", 1_000)),
        seed,
        unflushed: UNFLUSHED_MAX,
        slack: Duration::from_millis(arguments.number("--slack-ms", 100)),
    };
    let cores = Cores::asked(arguments);
    if let Err(error) = cores.take_load() {
        return vec![error];
    }
    let settings: Vec<&str> = KILLED_SETTINGS.iter().copied().chain(arguments.all("--set")).collect();
    let mut cluster = Cluster::start_on(&[&cores.server], &link_cut::REGIONS, &settings);
    let setting =
        format!("{plan:?}; nodes on core {}, load on core {}; {settings:?}; {PROFILE}", cores.server, cores.load);
    let sheet = kills::run(&mut cluster, &plan).sheet(setting);
    print!("{sheet}");
    sheet.faults()
}

fn add_region(arguments: &Arguments) -> Vec<String> {
    let plan = region_added::Plan {
        texts: Texts {
            keys: arguments.count("--keys", 1_000_000).max(1),
            value_bytes: arguments.count("--value", 100),
            seed: arguments.number("--seed", 1),
        },
        clients: arguments.count("--clients", 4),
        pace: Duration::from_micros(arguments.number("--pace-us", 1_000)),
        interval: Duration::from_micros(arguments.number("--interval-us", 1_000)),
        filled_max: Duration::from_secs(600),
    };
    let cores = Cores::asked(arguments);
    if let Err(error) = cores.take_load() {
        return vec![error];
    }
    let settings: Vec<&str> = arguments.all("--set").collect();
    let mut cluster = Cluster::start_on(&cores.of_cluster(), &region_added::REGIONS, &settings);
    let setting = format!("{plan:?}; {cores}; {settings:?}; {PROFILE}");
    match region_added::run(&mut cluster, &cores, &plan, setting) {
        Ok(sheet) => {
            print!("{sheet}");
            sheet.faults()
        }
        Err(error) => vec![error],
    }
}

const PROFILE: &str = if cfg!(debug_assertions) { "build for tests" } else { "release build" };

fn ring(arguments: &Arguments, default: &str) -> String {
    format!("ring-bytes={}", arguments.text("--ring-bytes", default))
}

fn exceed_ring(arguments: &Arguments) -> Vec<String> {
    let cluster = start(arguments, &[ring(arguments, "16mb")]);
    let outcome = ring_exceeded::run(
        &cluster,
        ring_exceeded::Plan {
            keys: arguments.count("--keys", 1_000_000),
            value_bytes: arguments.count("--value-bytes", 100),
            changed: arguments.count("--changed", 300_000),
            pace: Duration::from_micros(arguments.number("--pace-us", 1_000)),
        },
    );
    print!("{outcome}");
    if outcome.verify == Some(0) { Vec::new() } else { vec!["the regions are not equal".to_owned()] }
}

fn cut_region(arguments: &Arguments) -> Vec<String> {
    let cluster = start(arguments, &[]);
    let outcome = outage::run(&cluster, &CutPlan::asked(arguments, 0));
    print!("{outcome}");
    outcome.faults(OUTAGE_BARS)
}

fn cut_link(arguments: &Arguments) -> Vec<String> {
    let cluster = start(arguments, &[ring(arguments, "4mb")]);
    let outcome = link_cut::run(&cluster, &CutPlan::asked(arguments, 1_000));
    print!("{outcome}");
    outcome.faults(OLDEST_VIEW_MAX).into_iter().chain(outcome.growth.faults()).collect()
}

fn crash(arguments: &Arguments) -> Vec<String> {
    // Regions come back empty, unless `--set persistence=on` says otherwise: a later setting wins.
    let mut cluster = start(arguments, &["persistence=off".to_owned()]);
    let plan = crashes::Plan {
        rounds: arguments.count("--rounds", 10),
        keys: arguments.count("--keys", 100_000),
        writing: Duration::from_millis(arguments.number("--writing-ms", 2_000)),
        clients: arguments.count("--clients", 4),
        pace: Duration::from_micros(arguments.number("--pace-us", 1_000)),
        seed: arguments.number("--seed", 1),
        durable: arguments.all("--set").any(|setting| setting == "persistence=on"),
    };
    println!("repeat with --crashes --seed {}", plan.seed);
    let outcome = crashes::run(&mut cluster, &plan);
    print!("{outcome}");
    outcome.faults()
}
