//! How well a node keeps what will be asked for again when memory is short, beside a Redis that holds as many keys.

use crate::checkpoint::info;
use crate::client::Client;
use crate::figure::{Bar, Sheet};
use crate::random::Random;
use crate::reply::Reply;
use crate::steady::{Script, Seen, Steady};
use crate::wait;
use crate::zipf::Zipf;
use std::time::{Duration, Instant};

/// How much.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Keys that are asked for.
    pub keys: usize,
    /// How many of them fit.
    pub resident: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Accesses that count.
    pub accesses: usize,
    /// Accesses before each look at how many keys are held, while the limit is sought.
    pub warming: usize,
    /// Zipf's exponent.
    pub exponent: f64,
    /// Accesses a second, the same at both servers: what is recent is a matter of time. 0 is as many as they take.
    pub rate: usize,
    /// Accesses that are on their way at once.
    pub depth: usize,
    /// Between two commands of the client that looks for stalls.
    pub interval: Duration,
    /// For the trace.
    pub seed: u64,
}

/// What came of it at one server.
#[derive(Clone, Debug)]
pub struct Held {
    /// The share of accesses that found their key, in percent.
    pub hits: f64,
    /// Keys held, on average over the accesses that count.
    pub keys: f64,
    /// The limit in bytes before the accesses that count, and after them.
    pub limits: (u64, u64),
    /// What the client saw that looks for stalls.
    pub probe: Seen,
}

const DIFFERENCE: Bar = Bar::AtMost(1.0);
/// The limit is right when the keys that are held differ by no more from those that are to be held.
const KEYS_SHARE: f64 = 0.005;
/// Both must hold the same, or nothing is compared.
const KEYS_APART_MAX: Bar = Bar::AtMost(1.0);
const ROUNDS_MAX: usize = 24;
/// Looks at how many keys are held during the accesses that count, and in each round while the limit is sought.
const LOOKS: usize = 50;
/// How much of what is wrong is mended at each look: a single look may be at an unusual moment.
const MENDED_SHARE: f64 = 0.5;

/// Runs the trace at a server under a policy, after a limit is found at which it holds as many keys as it is to.
pub fn run(address: &str, policy: &str, plan: &Plan) -> Result<Held, String> {
    let mut server = Server::new(address, plan)?;
    server.client.must("CONFIG SET maxmemory 0");
    server.client.must("FLUSHALL");
    server.client.must(&format!("CONFIG SET maxmemory-policy {policy}"));
    server.find_limit()?;
    let limit_found = server.limit;
    let probe = Steady::start(address, plan.interval, 1, Probe);
    // The trace is the same for everybody, however long the limit was sought.
    server.random = Random::new(plan.seed);
    let evicted = info(&mut server.client, "evicted_keys")?;
    let (hits, keys) = server.access_and_mend(plan.accesses)?;
    let limits = (limit_found, server.limit);
    let probe = probe.stop().remove(0);
    if info(&mut server.client, "evicted_keys")? == evicted {
        return Err("nothing was evicted: nothing was tried".to_owned());
    }
    server.client.must("CONFIG SET maxmemory 0");
    server.client.must("FLUSHALL");
    Ok(Held { hits: hits as f64 * 100.0 / (plan.accesses / LOOKS * LOOKS) as f64, keys, limits, probe })
}

/// Adds the figures of both servers under a policy.
pub fn compare(policy: &str, node: Held, redis: Held, sheet: &mut Sheet) {
    let (hits, keys) = ((node.hits, redis.hits), (node.keys, redis.keys));
    for (name, mut held) in [("node", node), ("redis-server", redis)] {
        let [first, last] = [held.limits.0, held.limits.1].map(|limit| limit as f64 / f64::from(1 << 20));
        sheet.note(format!("{policy}: {name} holds {:.0} keys in {first:.3} MiB first, {last:.3} MiB last", held.keys));
        sheet.add(format!("{policy}: {name} has what it is asked for"), held.hits, "%", Bar::None);
        sheet.add(
            format!("{policy}: longest stall of {name} at the limit"),
            held.probe.latencies.longest_ms(),
            "ms",
            Bar::None,
        );
        sheet.add(
            format!("{policy}: p99.9 of {name} at the limit"),
            held.probe.latencies.within_ms(0.999),
            "ms",
            Bar::None,
        );
        sheet.faulty(held.probe.faults(name));
    }
    sheet.add(format!("{policy}: keys held differ by"), (keys.0 / keys.1 - 1.0).abs() * 100.0, "%", KEYS_APART_MAX);
    sheet.add(format!("{policy}: redis-server has more of what it is asked for, by"), hits.1 - hits.0, "%", DIFFERENCE);
}

struct Server<'p> {
    client: Client,
    plan: &'p Plan,
    zipf: Zipf,
    random: Random,
    value: String,
    /// In bytes.
    limit: u64,
}

impl<'p> Server<'p> {
    fn new(address: &str, plan: &'p Plan) -> Result<Self, String> {
        let client = Client::connect(address).map_err(|error| error.to_string())?;
        let zipf = Zipf::new(plan.keys, plan.exponent);
        let random = Random::new(!plan.seed);
        Ok(Self { client, plan, zipf, random, value: "x".repeat(plan.value_bytes), limit: 0 })
    }

    /// Fills the server with as many keys as it is to hold, takes what it uses for a limit, and mends that while the trace
    /// goes on.
    fn find_limit(&mut self) -> Result<(), String> {
        let wanted = self.plan.resident as f64;
        while self.size()? < self.plan.resident {
            self.access(self.plan.depth)?;
        }
        let used = info(&mut self.client, "used_memory")?;
        self.limit = used - info(&mut self.client, "mem_not_counted_for_evict")?;
        self.client.must(&format!("CONFIG SET maxmemory {}", self.limit));
        let mut keys = 0.0;
        for _ in 0..ROUNDS_MAX {
            keys = self.access_and_mend(self.plan.warming)?.1;
            if (keys / wanted - 1.0).abs() <= KEYS_SHARE {
                return Ok(());
            }
        }
        Err(format!("no limit was found at which {wanted} keys are held; at {} it were {keys}", self.limit))
    }

    /// So many accesses, and looks at how many keys are held meanwhile: what else a server keeps in memory grows and
    /// shrinks, and the limit goes with it, so that as many keys fit all the time. The accesses that found their key, and how
    /// many keys were held on average.
    fn access_and_mend(&mut self, accesses: usize) -> Result<(usize, f64), String> {
        let (mut hits, mut keys) = (0, 0.0);
        for _ in 0..LOOKS {
            hits += self.access(accesses / LOOKS)?;
            let held = self.size()? as f64;
            keys += held / LOOKS as f64;
            self.mend_limit(held);
        }
        Ok((hits, keys))
    }

    /// Moves the limit by what is too much or too little when so many keys are held.
    fn mend_limit(&mut self, keys: f64) {
        let bytes = (self.plan.resident as f64 - keys) * (self.plan.value_bytes + KEY_BYTES) as f64 * MENDED_SHARE;
        self.limit = (self.limit as f64 + bytes).max(1.0) as u64;
        self.client.must(&format!("CONFIG SET maxmemory {}", self.limit));
    }

    fn size(&mut self) -> Result<usize, String> {
        let size = self.client.must("DBSIZE").integer();
        size.and_then(|size| usize::try_from(size).ok()).ok_or("DBSIZE is a number".to_owned())
    }

    /// So many accesses; how many of them found their key. A key that is not found is written.
    fn access(&mut self, accesses: usize) -> Result<usize, String> {
        let begin = Instant::now();
        let (mut done, mut hits) = (0, 0);
        while done < accesses {
            if self.plan.rate > 0 {
                let due = Duration::from_secs_f64(done as f64 / self.plan.rate as f64);
                wait::pause(due.saturating_sub(begin.elapsed()));
            }
            let count = self.plan.depth.min(accesses - done);
            hits += self.access_at_once(count)?;
            done += count;
        }
        Ok(hits)
    }

    fn access_at_once(&mut self, count: usize) -> Result<usize, String> {
        let keys: Vec<String> =
            (0..count).map(|_| format!("cached:{:010}", self.zipf.draw(&mut self.random))).collect();
        keys.iter().for_each(|key| self.client.queue(&["GET", key]));
        let found = self.answers(count)?;
        let missed: Vec<&String> =
            keys.iter().zip(&found).filter(|(_, reply)| matches!(reply, Reply::Null(_))).map(|(key, _)| key).collect();
        missed.iter().for_each(|key| self.client.queue(&["SET", key, &self.value]));
        self.answers(missed.len())?;
        Ok(count - missed.len())
    }

    fn answers(&mut self, count: usize) -> Result<Vec<Reply>, String> {
        self.client.send().map_err(|error| error.to_string())?;
        let replies = (0..count).map(|_| self.client.receive().map_err(|error| error.to_string()));
        let replies = replies.collect::<Result<Vec<Reply>, _>>()?;
        match replies.iter().find(|reply| reply.is_error()) {
            Some(error) => Err(format!("an access was answered with {error}")),
            None => Ok(replies),
        }
    }
}

/// About what a key takes beside its value: a limit that is moved by less than it should be is moved again.
const KEY_BYTES: usize = 64;

/// Writes one key again and again: a write waits for evictions.
struct Probe;

impl Script for Probe {
    fn command(&mut self, number: u64) -> Vec<String> {
        vec!["SET".to_owned(), "probe".to_owned(), number.to_string()]
    }
}
