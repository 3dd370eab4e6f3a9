//! What a checkpoint costs while it is taken, and how soon a node serves again from it, beside a Redis that loads the same.

use crate::client::Client;
use crate::cluster::Cluster;
use crate::figure::{Bar, Sheet};
use crate::kills::first_key;
use crate::latencies::Latencies;
use crate::node::Node;
use crate::processor::resident_bytes;
use crate::random::Random;
use crate::redis::Redis;
use crate::steady::{Seen, Steady};
use crate::texts::{ReadsAndWrites, Texts};
use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The keys.
    pub texts: Texts,
    /// How long clients are watched before each checkpoint.
    pub before: Duration,
    /// Checkpoints, one after the other.
    pub checkpoints: usize,
    /// Between two commands of the client that is watched.
    pub interval: Duration,
    /// Keys that are written again after the last checkpoint, so that a start has a journal to read too.
    pub journal_keys: usize,
    /// How long a start of either server may take.
    pub load_max: Duration,
}

/// Keys written before each checkpoint: many for each group of slots, so that none is without a change.
const TOUCHED: usize = 8_192;
/// A checkpoint that writes a smaller part of the images has left something out, and says nothing about a whole one.
const WRITTEN_SHARE_MIN: f64 = 0.95;
/// Between two looks at memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(2);
/// Between two looks whether something has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Keys that are read at a node that has started.
const READ_BACK: usize = 10_000;
const CHECKPOINT_MAX: Duration = Duration::from_secs(600);

const GROWTH_PERCENT: Bar = Bar::AtMost(5.0);
const P999_MS: Bar = Bar::AtMost(2.0);
const FIRST_KEY_S: Bar = Bar::AtMost(1.0);
const OF_REDIS: Bar = Bar::AtMost(1.0);

/// Phases of the client that is watched.
const ELSE: usize = 0;
const BEFORE: usize = 1;
const DURING: usize = 2;

/// Runs the trial at the first node, which is alone; `redis` starts the server it is compared with.
pub fn run(
    cluster: &mut Cluster,
    redis: impl FnOnce() -> Option<Redis>,
    plan: &Plan,
    setting: String,
) -> Result<Sheet, String> {
    let mut sheet = Sheet::new(setting);
    plan.texts.fill(&mut cluster.nodes[0].client());
    let mut random = Random::new(plan.texts.seed);
    watch(&cluster.nodes[0], plan, &mut random, &mut sheet)?;
    let (first, all) = restart(cluster, plan, &mut random)?;
    sheet.add("restart: first key answered", first.as_secs_f64(), "s", FIRST_KEY_S);
    sheet.add("restart: all keys there", all.as_secs_f64(), "s", Bar::None);
    cluster.nodes[0].stop();
    let redis = redis().ok_or("there is no redis-server to compare with")?;
    let of_redis = redis_restart(redis, plan)?;
    sheet.add("redis-server: all keys there, from its RDB", of_redis.as_secs_f64(), "s", Bar::None);
    sheet.add(
        "restart: all keys there, of redis-server's time",
        all.as_secs_f64() / of_redis.as_secs_f64(),
        "x",
        OF_REDIS,
    );
    Ok(sheet)
}

/// Memory and clients, before and during checkpoints.
fn watch(node: &Node, plan: &Plan, random: &mut Random, sheet: &mut Sheet) -> Result<(), String> {
    let mut client = node.client();
    let script = ReadsAndWrites { texts: plan.texts, random: random.clone() };
    let steady = Steady::start(&node.resp, plan.interval, DURING + 1, script);
    let (mut grown, mut resident, mut took) = (f64::NEG_INFINITY, (0, 0), Duration::ZERO);
    for _ in 0..plan.checkpoints {
        await_no_checkpoint(&mut client);
        plan.texts.write(&mut client, (0..TOUCHED.min(plan.texts.keys)).map(|_| random.below(plan.texts.keys)));
        let memory = Memory::watch(node.process_id());
        steady.enter(BEFORE);
        wait::pause(plan.before);
        let before = memory.most()?;
        let written = checkpoint_bytes(node);
        let saves = info(&mut client, "rdb_saves")?;
        let memory = Memory::watch(node.process_id());
        let begin = Instant::now();
        steady.enter(DURING);
        client.must("BGSAVE");
        wait::within(CHECKPOINT_MAX, "the checkpoint is finished", || match info(&mut client, "rdb_saves")? > saves {
            true => Ok(()),
            false => Err("it goes on".to_owned()),
        });
        steady.enter(ELSE);
        took += begin.elapsed();
        let during = memory.most()?;
        let growth = (during as f64 / before as f64 - 1.0) * 100.0;
        if growth > grown {
            (grown, resident) = (growth, (before, during));
        }
        let written = checkpoint_bytes(node) - written;
        let whole = node.metrics().sum("pelago_store_checkpoint_bytes", "");
        if written < whole * WRITTEN_SHARE_MIN {
            sheet.fault(format!("a checkpoint wrote {written} bytes of {whole}: it was no whole one"));
        }
    }
    let [_, before, during]: [Seen; 3] = steady.stop().try_into().map_err(|_| "there are three phases")?;
    sheet.faulty(before.faults("the node before").into_iter().chain(during.faults("the node during checkpoints")));
    let (mib, each) = (|bytes: u64| bytes as f64 / f64::from(1 << 20), took.as_secs_f64() / plan.checkpoints as f64);
    sheet.add("memory resident before a checkpoint", mib(resident.0), "MiB", Bar::None);
    sheet.add("memory resident at most during it", mib(resident.1), "MiB", Bar::None);
    sheet.add("memory resident: growth", grown, "%", GROWTH_PERCENT);
    sheet.add("a checkpoint takes", each, "s", Bar::None);
    show_latencies(before.latencies, during.latencies, sheet);
    Ok(())
}

fn show_latencies(mut before: Latencies, mut during: Latencies, sheet: &mut Sheet) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)] {
        sheet.add(
            format!("client {name} before ({} commands)", before.count()),
            before.within_ms(share),
            "ms",
            Bar::None,
        );
        sheet.add(
            format!("client {name} during ({} commands)", during.count()),
            during.within_ms(share),
            "ms",
            Bar::None,
        );
    }
    sheet.add("client p99.9: growth", during.within_ms(0.999) - before.within_ms(0.999), "ms", P999_MS);
    if during.count() < COMMANDS_MIN {
        sheet.fault(format!(
            "{} commands during checkpoints say nothing about one in a thousand: take more keys or checkpoints",
            during.count()
        ));
    }
}

/// Below, one in a thousand is the longest, and nothing else.
const COMMANDS_MIN: usize = 1_000;

/// Stops the node and starts it; the time until it answered a key, and until all were there.
fn restart(cluster: &mut Cluster, plan: &Plan, random: &mut Random) -> Result<(Duration, Duration), String> {
    let node = &mut cluster.nodes[0];
    plan.texts.write(&mut node.client(), 0..plan.journal_keys.min(plan.texts.keys));
    await_no_checkpoint(&mut node.client());
    if !node.stop().success() {
        return Err(format!("{} did not stop as it should:\n{}", node.name, node.log_tail()));
    }
    let started = Instant::now();
    node.spawn();
    let first = first_key(&node.resp, &plan.texts, started, random)?;
    let all = await_all(&mut node.client(), plan, started)?;
    node.wait_ready();
    plan.texts.check(&mut node.client(), random, READ_BACK)?;
    Ok((first, all))
}

/// The same of Redis: only when everything is there it answers anything.
fn redis_restart(mut redis: Redis, plan: &Plan) -> Result<Duration, String> {
    plan.texts.fill(&mut redis.client());
    redis.client().must("SAVE");
    redis.stop();
    let started = Instant::now();
    redis.spawn();
    let mut client = wait::until("redis-server listens", || Client::connect(&redis.address).map_err(|e| e.to_string()));
    wait::within(plan.load_max, "redis-server has loaded", || match client.line("PING") {
        reply if reply.is_error() => Err(reply.to_string()),
        _ => Ok(()),
    });
    await_all(&mut client, plan, started)
}

/// Waits until a server counts its keys, which it does when it has all of them. The time since it was started.
fn await_all(client: &mut Client, plan: &Plan, started: Instant) -> Result<Duration, String> {
    let size = wait::within(plan.load_max, "all keys are there", || {
        let reply = client.line("DBSIZE");
        reply.integer().ok_or_else(|| format!("DBSIZE is answered with {reply}"))
    });
    let took = started.elapsed();
    match usize::try_from(size) == Ok(plan.texts.keys) {
        true => Ok(took),
        false => Err(format!("a server that has loaded has {size} keys instead of {}", plan.texts.keys)),
    }
}

/// Waits until no checkpoint is taken.
pub fn await_no_checkpoint(client: &mut Client) {
    wait::within(CHECKPOINT_MAX, "no checkpoint is taken", || match info(client, "rdb_bgsave_in_progress")? {
        0 => Ok(()),
        _ => {
            wait::pause(LOOK_INTERVAL);
            Err("one is".to_owned())
        }
    });
}

/// A number in `INFO`.
pub fn info(client: &mut Client, name: &str) -> Result<u64, String> {
    let text = client.must("INFO").text().unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    found.ok_or(format!("INFO has no number {name}"))
}

/// Bytes that checkpoints have written.
pub fn checkpoint_bytes(node: &Node) -> f64 {
    node.metrics().sum("pelago_store_checkpoint_bytes_written_total", "")
}

/// Looks at the memory of a process all the time.
struct Memory {
    is_over: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<(), String>>,
}

impl Memory {
    fn watch(process: u32) -> Self {
        let (is_over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, seen) = (Arc::clone(&is_over), Arc::clone(&most));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(resident_bytes(process)?, Ordering::Relaxed);
                wait::pause(MEMORY_INTERVAL);
            }
            Ok(())
        });
        Self { is_over, most, thread }
    }

    /// Ends; the most that was resident.
    fn most(self) -> Result<u64, String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("looking at memory does not panic")?;
        Ok(self.most.load(Ordering::Relaxed))
    }
}
