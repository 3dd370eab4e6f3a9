//! What nodes cost, measured on real processes: memory for a key, a core's share of a cluster in which nothing happens, the
//! time until a write can be read elsewhere; and what checkpoints, flushes, expiry, evictions and an import come to, each
//! against its bar.
//!
//! `cargo run --release -p tests --bin figures -- --memory`, or another of the forms that `--help` shows.

use std::process::ExitCode;
use std::time::Duration;
use tests::arguments::Arguments;
use tests::cluster::Cluster;
use tests::cores::{Cores, precede_programs};
use tests::figure::Sheet;
use tests::redis::Redis;
use tests::texts::Texts;
use tests::{
    amplification, checkpoint, delay, element_memory, eviction, expiry, flush, idle, idle_clients, large, memory,
    moving_in, pipelines, speed,
};

const USAGE: &str = "usage: figures --memory [--keys N] [--key-bytes N] [--value-bytes N]
       figures --element-memory [--elements N] [--shape NAME]... [--seed S] [--rest-s N] [--server-cores LIST] [--load-cores LIST]
       figures --speed [--command NAME]... [--requests N] [--requests-alone N] [--clients N] [--keys N] [--value N] \
[--rounds N] [--kept no|everysec] [--server-cores LIST] [--load-cores LIST]
       figures --speed --one-region [--command NAME]... [--requests N] [--requests-alone N] [--clients N] [--keys N] [--value N] \
[--rounds N] [--kept no|everysec] [--server-cores LIST] [--load-cores LIST]
       figures --speed --redis-replica [--command NAME]... [--requests N] [--requests-alone N] [--clients N] [--keys N] [--value N] \
[--rounds N] [--kept no|everysec] [--server-cores LIST] [--load-cores LIST]
       figures --idle [--seconds N] [--rest-seconds N] [--keys N]
       figures --idle-clients [--clients N] (with ulimit -n above twice N)
       figures --delay [--writes N] [--interval-ms N]
       figures --checkpoint [--keys N] [--value N] [--before-s N] [--checkpoints N] [--interval-us N] [--journal-keys N] \
[--load-max-s N] [--seed S] [--server-cores LIST] [--load-cores LIST]
       figures --amplification [--keys N] [--value N] [--rounds N] [--rate N] [--seed S] [--server-cores LIST] \
[--load-cores LIST]
       figures --flush [--clients N] [--depth N] [--keys N] [--value N] [--seconds N] [--rounds N] [--seed S] \
[--server-cores LIST] [--load-cores LIST]
       figures --expiry [--keys N] [--value N] [--lifetime-s N] [--spread-ms N] [--interval-us N] [--free-max-s N] \
[--seed S] [--server-cores LIST] [--load-cores LIST]
       figures --eviction [--keys N] [--resident N] [--value N] [--accesses N] [--warming N] [--exponent-percent N] \
[--rate N] [--depth N] [--interval-us N] [--policy NAME] [--seed S] [--server-cores LIST] [--load-cores LIST]
       figures --large [--elements N] [--kind NAME]... [--act NAME]... [--interval-us N] [--through-max-s N] \
[--server-cores LIST] [--load-cores LIST]
       figures --import [--keys N] [--value N] [--rate N] [--pause-s N] [--seed S] [--server-cores LIST] [--load-cores LIST]
Starts nodes as processes with their default settings, and prints what they use. --set NAME=VALUE gives all nodes a
setting. PELAGO_TESTS_BINARY names the program instead of building it. Memory and processor are those that Linux counts.
From checkpoints on, the node that is measured (and redis-server beside it) has core 0 and everything else core 1 unless
other lists are given, a line is a figure with its bar and its setting, and the exit status is 1 if a bar is missed. Sizes
are for a quick look by default.";

fn main() -> ExitCode {
    let arguments = Arguments::of_program(USAGE);
    precede_programs();
    let shown = match FORMS.iter().find(|(name, _)| arguments.has(name)) {
        Some((name, measure)) => held_to_bars(&arguments, name, measure),
        None => shown_only(&arguments).map(|text| (text, Vec::new())),
    };
    match shown {
        Ok((text, faults)) => {
            print!("{text}");
            faults.iter().for_each(|fault| println!("FAULT: {fault}"));
            if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("it could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures something that has bars.
type Measure = fn(&Scene<'_>) -> Result<Sheet, String>;

/// Those that have.
const FORMS: &[(&str, Measure)] = &[
    ("--element-memory", measure_element_memory),
    ("--speed", measure_speed),
    ("--checkpoint", measure_checkpoint),
    ("--amplification", measure_amplification),
    ("--flush", measure_flush),
    ("--expiry", measure_expiry),
    ("--eviction", measure_eviction),
    ("--import", measure_import),
    ("--large", measure_large),
];

/// What a measurement was asked for, and where it takes place.
struct Scene<'a> {
    arguments: &'a Arguments,
    cores: Cores,
    name: &'a str,
}

fn held_to_bars(arguments: &Arguments, name: &str, measure: &Measure) -> Result<(String, Vec<String>), String> {
    let cores = Cores::asked(arguments);
    cores.take_load()?;
    let sheet = measure(&Scene { arguments, cores, name })?;
    Ok((sheet.to_string(), sheet.faults()))
}

impl Scene<'_> {
    /// A cluster with default settings and these, whose first node is measured.
    fn start(&self, regions: &[&str], more: &[&str]) -> Cluster {
        let settings: Vec<&str> = DEFAULTS.iter().chain(more).copied().chain(self.arguments.all("--set")).collect();
        Cluster::start_on(&self.cores.of_cluster(), regions, &settings)
    }

    /// A Redis in the place of the node, or beside the load.
    fn redis(&self, cores: &str, options: &[&str]) -> Option<Redis> {
        Redis::start_on(Some(cores), self.name, options)
    }

    fn must_redis(&self, cores: &str, options: &[&str]) -> Result<Redis, String> {
        self.redis(cores, options).ok_or_else(|| "there is no redis-server to compare with".to_owned())
    }

    /// All that one needs to know to measure the same again.
    fn setting(&self, plan: &impl std::fmt::Debug) -> String {
        let set: Vec<&str> = self.arguments.all("--set").collect();
        let profile = if cfg!(debug_assertions) { "build for tests" } else { "release build" };
        format!("figures {}: {plan:?}; {}; --set {set:?}; {profile}", self.name, self.cores)
    }

    fn texts(&self, keys: u64) -> Texts {
        Texts {
            keys: self.arguments.count("--keys", keys).max(1),
            value_bytes: self.arguments.count("--value", 100),
            seed: self.arguments.number("--seed", 1),
        }
    }

    fn seconds(&self, name: &str, default: u64) -> Duration {
        Duration::from_secs(self.arguments.number(name, default))
    }

    fn micros(&self, name: &str, default: u64) -> Duration {
        Duration::from_micros(self.arguments.number(name, default))
    }
}

/// What the harness' own settings are set back to: the defaults of a node.
const DEFAULTS: &[&str] = &["workers=0", "development=no"];
const NO_FILE: &[&str] = &["--appendonly", "no"];
const EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

/// What else a node keeps for peers and on disk is not what is compared.
const MEMORY_ONLY: &[&str] = &["ring-bytes=1mb", "persistence=off"];

fn measure_element_memory(scene: &Scene<'_>) -> Result<Sheet, String> {
    let plan = element_memory::Plan {
        shapes: chosen(scene.arguments, "--shape", &element_memory::Shape::ALL)?,
        elements: scene.arguments.count("--elements", 1_000_000).max(1),
        seed: scene.arguments.number("--seed", 1),
        rest: scene.seconds("--rest-s", 3),
    };
    let start = || scene.start(&["only"], MEMORY_ONLY);
    let redis = || scene.must_redis(&scene.cores.server, NO_FILE);
    element_memory::run(start, redis, &plan, scene.setting(&plan))
}

fn measure_speed(scene: &Scene<'_>) -> Result<Sheet, String> {
    let plan = speed::Plan {
        commands: chosen(scene.arguments, "--command", &speed::ALL)?,
        requests: scene.arguments.count("--requests", 500_000).max(1),
        requests_alone: scene.arguments.count("--requests-alone", 100_000).max(1),
        clients: scene.arguments.count("--clients", 50).max(1),
        keys: scene.arguments.count("--keys", 100_000).max(1),
        value_bytes: scene.arguments.count("--value", 64),
        rounds: scene.arguments.count("--rounds", 3).max(1),
    };
    // One worker beside Redis' one thread; the other region is there so that everything is replicated. It has its core
    // together with the load, and only one region can be driven as fast as it goes by what one core sends.
    let regions: &[&str] = if scene.arguments.has("--one-region") { &["us-east"] } else { &["us-east", "eu-west"] };
    // Both keep nothing on disk, or both keep it with the same promise.
    let (persistence, file) = match scene.arguments.text("--kept", "no").as_str() {
        "no" => (["persistence=off"].as_slice(), NO_FILE),
        "everysec" => (["persistence=on", "appendfsync=everysec"].as_slice(), EVERY_SECOND),
        other => return Err(format!("--kept is no or everysec, and not {other}")),
    };
    let cluster = scene.start(regions, &[&["workers=1"], persistence].concat());
    let redis = scene.must_redis(&scene.cores.server, file)?;
    // Where the other region is, so that both have somebody who gets everything.
    let replica = match scene.arguments.has("--redis-replica") {
        true => Some(scene.must_redis(&scene.cores.load, &[file, &redis.as_replica()].concat())?),
        false => None,
    };
    replica.iter().for_each(Redis::await_master);
    speed::run(&cluster, (&redis, replica.as_ref()), &scene.cores.server, &plan, scene.setting(&plan))
}

fn measure_checkpoint(scene: &Scene<'_>) -> Result<Sheet, String> {
    let plan = checkpoint::Plan {
        texts: scene.texts(100_000),
        before: scene.seconds("--before-s", 3),
        checkpoints: scene.arguments.count("--checkpoints", 3).max(1),
        interval: scene.micros("--interval-us", 1_000),
        journal_keys: scene.arguments.count("--journal-keys", 0),
        load_max: scene.seconds("--load-max-s", 600),
    };
    let mut cluster = scene.start(&["only"], &[]);
    checkpoint::run(&mut cluster, || scene.redis(&scene.cores.server, NO_FILE), &plan, scene.setting(&plan))
}

fn measure_amplification(scene: &Scene<'_>) -> Result<Sheet, String> {
    let plan = amplification::Plan {
        texts: scene.texts(20_000),
        rounds: scene.arguments.count("--rounds", 40),
        rate: scene.arguments.count("--rate", 0),
    };
    amplification::run(&scene.start(&["only"], &[]), &plan, scene.setting(&plan))
}

fn measure_flush(scene: &Scene<'_>) -> Result<Sheet, String> {
    let texts = scene.texts(100_000);
    let plan = flush::Plan {
        load: pipelines::Plan {
            clients: scene.arguments.count("--clients", 50).max(1),
            depth: scene.arguments.count("--depth", 16).max(1),
            keys: texts.keys,
            value_bytes: texts.value_bytes,
            seed: texts.seed,
        },
        time: scene.seconds("--seconds", 2),
        rounds: scene.arguments.count("--rounds", 3).max(1),
    };
    let durable = scene.start(&["only"], &["persistence=on", "appendfsync=everysec"]);
    let volatile = scene.start(&["only"], &["persistence=off"]);
    let redis = scene.must_redis(&scene.cores.server, EVERY_SECOND)?;
    flush::run(&durable, &volatile, &redis, &scene.cores.server, &plan, scene.setting(&plan))
}

fn measure_expiry(scene: &Scene<'_>) -> Result<Sheet, String> {
    let texts = scene.texts(30_000);
    let plan = expiry::Plan {
        keys: texts.keys,
        value_bytes: texts.value_bytes,
        lifetime: scene.seconds("--lifetime-s", 20),
        spread: Duration::from_millis(scene.arguments.number("--spread-ms", 1_000)),
        interval: scene.micros("--interval-us", 1_000),
        free_max: scene.seconds("--free-max-s", 60),
        seed: texts.seed,
    };
    let cluster = scene.start(&["us-east", "eu-west", "ap-south"], &[]);
    expiry::run(&cluster, &scene.cores, &plan, scene.setting(&plan))
}

fn measure_eviction(scene: &Scene<'_>) -> Result<Sheet, String> {
    let texts = scene.texts(50_000);
    let accesses = scene.arguments.count("--accesses", 100_000);
    let plan = eviction::Plan {
        keys: texts.keys,
        resident: scene.arguments.count("--resident", (texts.keys / 5) as u64).max(1),
        value_bytes: texts.value_bytes,
        accesses,
        warming: scene.arguments.count("--warming", (accesses / 5) as u64),
        exponent: scene.arguments.number("--exponent-percent", 99) as f64 / 100.0,
        rate: scene.arguments.count("--rate", 20_000),
        depth: scene.arguments.count("--depth", 16).max(1),
        interval: scene.micros("--interval-us", 1_000),
        seed: texts.seed,
    };
    let policies: Vec<&str> = match scene.arguments.all("--policy").collect::<Vec<_>>() {
        none if none.is_empty() => vec!["allkeys-lru", "allkeys-lfu"],
        asked => asked,
    };
    let cluster = scene.start(&["only"], &[]);
    let redis = scene.must_redis(&scene.cores.server, NO_FILE)?;
    let mut sheet = Sheet::new(scene.setting(&plan));
    for policy in policies {
        let node = eviction::run(&cluster.nodes[0].resp, policy, &plan)?;
        let redis = eviction::run(&redis.address, policy, &plan)?;
        eviction::compare(policy, node, redis, &mut sheet);
    }
    Ok(sheet)
}

fn measure_import(scene: &Scene<'_>) -> Result<Sheet, String> {
    let texts = scene.texts(100_000);
    let plan = moving_in::Plan {
        texts,
        rate: scene.arguments.count("--rate", 10_000),
        seed: texts.seed,
        pause_s: scene.arguments.number("--pause-s", 900),
    };
    let cluster = scene.start(&["only"], &[]);
    let redis = scene.must_redis(&scene.cores.load, NO_FILE)?;
    moving_in::run(&cluster, &redis, &plan, scene.setting(&plan))
}

fn measure_large(scene: &Scene<'_>) -> Result<Sheet, String> {
    let plan = large::Plan {
        elements: scene.arguments.count("--elements", 500_000).max(1),
        kinds: chosen(scene.arguments, "--kind", &large::Kind::ALL)?,
        acts: chosen(scene.arguments, "--act", &large::Act::ALL)?,
        interval: scene.micros("--interval-us", 1_000),
        through_max: scene.seconds("--through-max-s", 120),
    };
    // One worker: whoever asks for another key is served by the thread that works on the large one.
    let cluster = scene.start(&["us-east", "eu-west"], &["workers=1"]);
    large::run(&cluster, &scene.cores, &plan, scene.setting(&plan))
}

/// What was asked for by name, or everything.
fn chosen<T: Copy>(arguments: &Arguments, name: &str, all: &[(&str, T)]) -> Result<Vec<T>, String> {
    let asked: Vec<&str> = arguments.all(name).collect();
    if asked.is_empty() {
        return Ok(all.iter().map(|(_, choice)| *choice).collect());
    }
    let find = |asked: &&str| all.iter().find(|(known, _)| known == asked).map(|(_, choice)| *choice);
    asked.iter().map(|asked| find(asked).ok_or_else(|| format!("{name} {asked} is not known"))).collect()
}

/// Measures something that has no bar here.
fn shown_only(arguments: &Arguments) -> Result<String, String> {
    if arguments.has("--memory") {
        show_memory(arguments)
    } else if arguments.has("--idle") {
        show_idle(arguments)
    } else if arguments.has("--idle-clients") {
        let cluster = start(arguments, &["us-east"]);
        let rest = Duration::from_secs(2);
        let outcome = idle_clients::run(&cluster.nodes[0], arguments.number("--clients", 9_000), rest)?;
        Ok(outcome.to_string())
    } else {
        Ok(show_delay(arguments))
    }
}

/// A cluster with the settings that a node has by default, which are not those of the tests.
fn start(arguments: &Arguments, regions: &[&str]) -> Cluster {
    let settings: Vec<&str> = DEFAULTS.iter().copied().chain(arguments.all("--set")).collect();
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
