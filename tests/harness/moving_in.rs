//! How fast `pelago import` takes in everything that a running Redis has while that is written to, and whether it is exact
//! when clients could move.

use crate::binary;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::figure::{Bar, Sheet};
use crate::random::Random;
use crate::redis::Redis;
use crate::reply::Reply;
use crate::texts::Texts;
use crate::wait;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keys that are there before; the load changes some and adds others.
    pub texts: Texts,
    /// Writes a second at the source.
    pub rate: usize,
    /// Chooses what is written.
    pub seed: u64,
    /// For how long the source refuses writes at the end, in seconds: comparing must be done by then.
    pub pause_s: u64,
}

const KEYS_A_SECOND: Bar = Bar::AtLeast(150_000.0);
const DIFFERING: Bar = Bar::AtMost(0.0);
/// Writes that are sent at once.
const BURST: usize = 50;
/// Keys that are compared at once.
const PAGE: usize = 1_000;
/// Keys of other types, and new ones, that the load writes.
const OTHERS: usize = 10_000;
/// The load must have made this share of its writes.
const RATE_SHARE_MIN: f64 = 0.9;

/// Runs the trial: everything of `redis` goes to the first node.
pub fn run(cluster: &Cluster, redis: &Redis, plan: &Plan, setting: String) -> Result<Sheet, String> {
    let node = &cluster.nodes[0];
    let mut source = redis.client();
    source.must("CONFIG SET repl-diskless-sync-delay 0");
    plan.texts.fill(&mut source);
    let writer = Writer::start(redis.client(), *plan);
    let begin = Instant::now();
    let mut import = binary::command()
        .args(["import", "--from", &format!("redis://{}", redis.address), "--via", &node.resp, "--cut-over", "--json"])
        .args(["--pause", &plan.pause_s.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("pelago import: {error}"))?;
    let said = import.stdout.take().ok_or("pelago import says nothing")?;
    let (mut last, mut cut_over) = (None, None);
    for line in BufReader::new(said).lines() {
        let line = line.map_err(|error| format!("pelago import: {error}"))?;
        let Ok(said) = serde_json::from_str::<Value>(&line) else { continue };
        if said["phase"] == "handed_over" {
            cut_over = Some((begin.elapsed(), writer.sent.load(Ordering::SeqCst)));
        }
        last = Some(said);
    }
    let status = import.wait().map_err(|error| format!("pelago import: {error}"))?;
    let ended = begin.elapsed();
    let last = last.ok_or("pelago import says nothing")?;
    let (took, sent) =
        cut_over.ok_or_else(|| format!("pelago import ended with {status} before the cut-over: {last}"))?;
    let mut sheet = Sheet::new(setting);
    if !status.success() || last["stream"]["is_complete"] != true {
        sheet.fault(format!("pelago import ended with {status}: {last}"));
    }
    let found = compare(&mut source, &mut node.client())?;
    source.must("CLIENT UNPAUSE");
    sheet.faulty(writer.stop());
    let rate = sent as f64 / took.as_secs_f64();
    sheet.note(format!("pelago import says {last}"));
    sheet.add(
        "keys a second until the cut-over, all of them there",
        plan.texts.keys as f64 / took.as_secs_f64(),
        "/s",
        KEYS_A_SECOND,
    );
    sheet.add("from then until all keys have their own ends", (ended - took).as_secs_f64(), "s", Bar::None);
    sheet.add("writes a second at the source meanwhile", rate, "/s", Bar::AtLeast(plan.rate as f64 * RATE_SHARE_MIN));
    sheet.add("keys compared at the cut-over", found.compared as f64, "", Bar::AtLeast(1.0));
    sheet.add("keys that differ, are missing or too many", found.differing as f64, "", DIFFERING);
    sheet.faulty(found.examples);
    Ok(sheet)
}

/// What a comparison has found.
#[derive(Debug, Default)]
struct Found {
    compared: usize,
    differing: usize,
    examples: Vec<String>,
}

const EXAMPLES_MAX: usize = 5;

/// Reads every key of the source, and the same key of the target. Nobody writes meanwhile.
fn compare(source: &mut Client, target: &mut Client) -> Result<Found, String> {
    let mut found = Found::default();
    let mut cursor = "0".to_owned();
    loop {
        let reply = source.must(&format!("SCAN {cursor} COUNT {PAGE}"));
        let [next, keys] = reply.elements() else { return Err(format!("SCAN is answered with {reply}")) };
        let keys: Vec<Vec<u8>> = keys.elements().iter().filter_map(bulk).collect();
        let kinds = read(source, keys.iter().map(|key| vec![b"TYPE".to_vec(), key.clone()]))?;
        let asked = || keys.iter().zip(&kinds).flat_map(|(key, kind)| questions(key, &kind.to_string()));
        let (has, shows) = (read(source, asked())?, read(target, asked())?);
        for (at, key) in keys.iter().enumerate() {
            let [has, shows] = [&has, &shows].map(|replies| described(&replies[at * QUESTIONS..][..QUESTIONS]));
            found.compared += 1;
            if has != shows {
                found.differing += 1;
                if found.examples.len() < EXAMPLES_MAX {
                    found.examples.push(format!("{}: {has:?} and {shows:?}", key.escape_ascii()));
                }
            }
        }
        cursor = next.text().unwrap_or_default();
        if cursor == "0" {
            break;
        }
    }
    let [has, shows] = [source, target].map(|client| client.must("DBSIZE").integer().unwrap_or(-1));
    if has != shows {
        found.differing += usize::try_from(has.abs_diff(shows)).unwrap_or(usize::MAX);
        found.examples.push(format!("the source has {has} keys and the node {shows}"));
    }
    Ok(found)
}

/// Questions that are asked about each key.
const QUESTIONS: usize = 3;

/// Type, deadline and value.
fn questions(key: &[u8], kind: &str) -> [Vec<Vec<u8>>; QUESTIONS] {
    let value = match kind {
        "string" => "GET",
        "hash" => "HGETALL",
        "set" => "SMEMBERS",
        _ => "DUMP",
    };
    ["TYPE", "PEXPIRETIME", value].map(|command| vec![command.as_bytes().to_vec(), key.to_vec()])
}

fn bulk(reply: &Reply) -> Option<Vec<u8>> {
    if let Reply::Bulk(bytes) = reply { Some(bytes.clone()) } else { None }
}

/// Answers to the questions about a key, with what has no order in an order.
fn described(answers: &[Reply]) -> Vec<String> {
    let kind = answers.first().map(ToString::to_string).unwrap_or_default();
    // Of a hash, the value goes with its field.
    let together = if kind == "hash" { 2 } else { 1 };
    let one = |reply: &Reply| {
        let parts: Vec<String> = reply.elements().iter().map(ToString::to_string).collect();
        let mut parts: Vec<String> = parts.chunks(together).map(|part| part.join(" ")).collect();
        parts.sort();
        if parts.is_empty() { reply.to_string() } else { parts.join(", ") }
    };
    answers.iter().map(one).collect()
}

fn read(client: &mut Client, commands: impl Iterator<Item = Vec<Vec<u8>>>) -> Result<Vec<Reply>, String> {
    let mut count = 0;
    commands.for_each(|command| {
        client.queue(&command);
        count += 1;
    });
    client.send().map_err(|error| error.to_string())?;
    (0..count).map(|_| client.receive().map_err(|error| error.to_string())).collect()
}

/// Writes at the source at a fixed rate until it is told to stop; it waits while the source refuses writes.
struct Writer {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Option<String>>,
}

impl Writer {
    fn start(client: Client, plan: Plan) -> Self {
        let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&sent));
        let thread = std::thread::spawn(move || write(client, &plan, &over, &count));
        Self { is_over, sent, thread }
    }

    /// What was wrong with it, if anything was.
    fn stop(self) -> Option<String> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("the writer does not panic")
    }
}

fn write(mut client: Client, plan: &Plan, is_over: &AtomicBool, sent: &AtomicU64) -> Option<String> {
    let mut random = Random::new(plan.seed);
    let begin = Instant::now();
    let mut written = 0;
    while !is_over.load(Ordering::SeqCst) {
        let due = Duration::from_secs_f64(written as f64 / plan.rate.max(1) as f64);
        wait::pause(due.saturating_sub(begin.elapsed()));
        (0..BURST).for_each(|_| client.queue(&command(&mut random, &plan.texts)));
        if let Err(error) = client.send() {
            return Some(format!("the writer: {error}"));
        }
        for _ in 0..BURST {
            match client.receive() {
                Ok(reply) if reply.is_error() => return Some(format!("a write was answered with {reply}")),
                Ok(_) => drop(sent.fetch_add(1, Ordering::SeqCst)),
                // It was paused for longer than a client waits: everything that mattered was before.
                Err(_) if begin.elapsed() > due + PAUSED_MIN => return None,
                Err(error) => return Some(format!("the writer: {error}")),
            }
        }
        written += BURST;
    }
    None
}

/// A client gives up after a minute.
const PAUSED_MIN: Duration = Duration::from_secs(30);

/// Mostly keys that are there already; each prefix has one type, so that none is refused.
fn command(random: &mut Random, texts: &Texts) -> Vec<String> {
    let words = |command: &str, prefix: &str, random: &mut Random, rest: &[String]| {
        let mut words = vec![command.to_owned(), format!("{prefix}:{}", random.below(OTHERS))];
        words.extend_from_slice(rest);
        words
    };
    match random.below(10) {
        0 => words("INCR", "counted", random, &[]),
        1 => {
            let pair = [format!("field{}", random.below(20)), format!("{:016x}", random.word())];
            words("HSET", "hash", random, &pair)
        }
        2 => words("DEL", "hash", random, &[]),
        3 => {
            let lifetime_ms = LIFETIME_MS + random.below(1_000) as u64;
            words("PEXPIRE", "counted", random, &[lifetime_ms.to_string()])
        }
        4 => vec!["DEL".to_owned(), Texts::key(random.below(texts.keys))],
        5 => words("SADD", "set", random, &[format!("{:016x}", random.clone().word())]),
        6 => words("SPOP", "set", random, &[]),
        _ => {
            let other = Texts { seed: random.word(), ..*texts };
            let index = random.below(texts.keys);
            vec!["SET".to_owned(), Texts::key(index), other.value(index)]
        }
    }
}

/// Longer than any trial.
const LIFETIME_MS: u64 = 1_000_000_000;
