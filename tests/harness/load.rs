//! Data of every type, and clients that write all the time and remember what they were told.

use crate::client::Client;
use crate::node::DATABASES;
use crate::random::Random;
use crate::stalls::Stalls;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Commands that wait for their answers at once while data is loaded.
const PIPELINE: usize = 500;

/// Writes `keys` keys of all types into several databases, some with a lifetime. The same seed, the same data.
pub fn fill(client: &mut Client, keys: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut queued = 0;
    for key in 0..keys {
        if key % PIPELINE == 0 {
            client.queue(&["SELECT".to_owned(), (key / PIPELINE % DATABASES).to_string()]);
            queued += 1;
        }
        let name = format!("key:{key}");
        let value = format!("{:016x}", random.word());
        let words: Vec<String> = match key % 6 {
            0 | 1 => vec!["SET".to_owned(), name.clone(), value],
            2 => vec!["INCRBY".to_owned(), name.clone(), (random.word() % 1000).to_string()],
            3 => vec!["HSET".to_owned(), name.clone(), "f".to_owned(), value.clone(), "g".to_owned(), value],
            4 => vec!["SADD".to_owned(), name.clone(), value, "m".to_owned()],
            _ => vec!["SET".to_owned(), name.clone(), value, "EX".to_owned(), "100000".to_owned()],
        };
        client.queue(&words);
        queued += 1;
        if queued >= PIPELINE {
            settle(client, &mut queued);
        }
    }
    client.queue(&["SELECT", "0"]);
    queued += 1;
    settle(client, &mut queued);
}

/// Sends what is queued; nothing of it may be answered with an error.
pub fn settle(client: &mut Client, queued: &mut usize) {
    client.send().expect("the node takes the pipeline");
    for _ in 0..std::mem::take(queued) {
        let reply = client.receive().expect("the node answers the pipeline");
        assert!(!reply.is_error(), "a write was answered with {reply}");
    }
}

/// What a client was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Commands that were sent; those that nobody answered are among the errors.
    pub commands: u64,
    /// Increments that were acknowledged, by counter.
    pub increments: [u64; COUNTERS],
    /// Members whose addition was acknowledged.
    pub members: Vec<String>,
    /// Error replies and broken connections, the first few.
    pub errors: Vec<String>,
    /// How many errors there were.
    pub errors_count: u64,
    /// Time from a command to its answer, in microseconds.
    pub latencies_us: Vec<u32>,
    /// Those that took long.
    pub stalls: Stalls,
    /// How many clients were told this.
    pub clients: usize,
}

/// Counters that all clients count in.
pub const COUNTERS: usize = 8;
const ERRORS_KEPT_MAX: usize = 5;
/// Every so many commands a client adds a member to the set of all.
const MEMBER_EVERY: u64 = 16;

impl Told {
    /// Adds what another client was told.
    pub fn add(&mut self, other: Told) {
        self.commands += other.commands;
        self.errors_count += other.errors_count;
        self.increments.iter_mut().zip(other.increments).for_each(|(sum, more)| *sum += more);
        self.members.extend(other.members);
        self.errors.extend(other.errors);
        self.latencies_us.extend(other.latencies_us);
        self.stalls.add(other.stalls);
        self.clients += other.clients;
    }

    /// What several clients were told together.
    pub fn sum(told: impl Iterator<Item = Told>) -> Self {
        let mut sum = Self::default();
        told.for_each(|told| sum.add(told));
        sum
    }

    /// One line about the clients of a node, and one for each command that took long.
    pub fn write(&self, f: &mut fmt::Formatter<'_>, node: &str) -> fmt::Result {
        let (commands, errors) = (self.commands, self.errors_count);
        let (p99, longest) = (self.latency_ms(0.99), self.latency_ms(1.0));
        writeln!(
            f,
            "{node:<12} clients {:>3}   commands {commands:>9}   client errors {errors}   p99 {p99:.2} ms   longest stall {longest:.1} ms",
            self.clients
        )?;
        self.stalls.lines(node).iter().try_for_each(|line| writeln!(f, "{line}"))
    }

    /// The latency that `share` of the commands did not exceed, in milliseconds. 1.0 is the longest.
    pub fn latency_ms(&self, share: f64) -> f64 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let index = (last as f64 * share).ceil() as usize;
        f64::from(sorted.get(index.min(last)).copied().unwrap_or(0)) / 1e3
    }
}

/// Clients that write until they are stopped.
#[derive(Debug)]
pub struct Writers {
    /// When they were started.
    pub started: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Told>>,
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What each waits between two commands.
    pub pace: Duration,
    /// For what they write.
    pub seed: u64,
    /// Whether they add members to the set of all. Without, the data does not grow.
    pub members: bool,
}

impl Writers {
    /// One client at each address; each waits `pace` between two commands.
    pub fn start(addresses: &[String], pace: Duration, seed: u64) -> Self {
        Self::start_with(addresses, Load { pace, seed, members: true })
    }

    /// One client at each address.
    pub fn start_with(addresses: &[String], load: Load) -> Self {
        let (stop, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let start = |(index, address): (usize, &String)| {
            let (stop, address) = (Arc::clone(&stop), address.clone());
            std::thread::spawn(move || write(&address, index, load, started, &stop))
        };
        let threads = addresses.iter().enumerate().map(start).collect();
        Self { started, stop, threads }
    }

    /// Stops them; what each was told.
    pub fn stop(self) -> Vec<Told> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer does not panic")).collect()
    }
}

fn write(address: &str, index: usize, load: Load, started: Instant, stop: &AtomicBool) -> Told {
    let mut told = Told { clients: 1, ..Told::default() };
    let mut random = Random::new(load.seed.wrapping_add(index as u64));
    let mut client = Client::connect(address);
    while !stop.load(Ordering::Relaxed) {
        let counter = random.below(COUNTERS);
        let adds = load.members && told.commands.is_multiple_of(MEMBER_EVERY);
        let member = adds.then(|| format!("{index}-{}", told.commands));
        let words = command(&mut random, counter, member.as_deref());
        let begin = Instant::now();
        let answer = match &mut client {
            Ok(client) => client.try_call(&words).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let took = begin.elapsed();
        told.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        told.stalls.note(begin - started, took, index, &words);
        told.commands += 1;
        match answer {
            Ok(reply) if reply.is_error() => told.note(format!("{}: {reply}", words.join(" "))),
            Ok(_) if words[0] == "INCR" || words[0] == "HINCRBY" => told.increments[counter] += 1,
            Ok(_) => told.members.extend(member),
            Err(error) => {
                told.note(format!("{}: {error}", words.join(" ")));
                client = Client::connect(address);
            }
        }
        if !load.pace.is_zero() {
            crate::wait::pause(load.pace);
        }
    }
    told
}

impl Told {
    fn note(&mut self, error: String) {
        self.errors_count += 1;
        if self.errors.len() < ERRORS_KEPT_MAX {
            self.errors.push(error);
        }
    }
}

/// Half of the counters are strings, the others fields.
fn command(random: &mut Random, counter: usize, member: Option<&str>) -> Vec<String> {
    match (member, random.below(4)) {
        (Some(member), _) => vec!["SADD".into(), "members".into(), member.into()],
        (None, 0) => vec!["SET".into(), format!("value:{}", random.below(1000)), format!("{:064x}", random.word())],
        (None, 1) => vec!["GET".into(), format!("value:{}", random.below(1000))],
        (None, _) if counter < COUNTERS / 2 => vec!["INCR".into(), format!("counter:{counter}")],
        (None, _) => vec!["HINCRBY".into(), "counters".into(), counter.to_string(), "1".into()],
    }
}

/// What a node answers for the counters now.
pub fn counters(client: &mut Client) -> [u64; COUNTERS] {
    std::array::from_fn(|counter| {
        let reply = match counter < COUNTERS / 2 {
            true => client.line(&format!("GET counter:{counter}")),
            false => client.line(&format!("HGET counters {counter}")),
        };
        reply.text().and_then(|text| text.parse().ok()).unwrap_or(0)
    })
}
