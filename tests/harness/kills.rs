//! A region is killed under load and starts again from its disk, again and again: what it had sent is still there, and of
//! what only it had, nothing is missing that was acknowledged before the last flush.
//!
//! Every write is held against its own time: a client notes when it was told, so a write was made no later than that.

use crate::cluster::Cluster;
use crate::crashes::{check_counters, held, wrong};
use crate::figure::{Bar, Sheet};
use crate::ledger::{Ledger, locked};
use crate::random::Random;
use crate::texts::Texts;
use crate::wait;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// How often and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Kills.
    pub kills: usize,
    /// Keys that are there before the first.
    pub texts: Texts,
    /// Writing before each kill, after it, and after the start.
    pub writing: Duration,
    /// Clients at each node.
    pub clients: usize,
    /// What each client waits between two commands.
    pub pace: Duration,
    /// Chooses the victims and the moments.
    pub seed: u64,
    /// For so long an acknowledged write may be on no disk and with no peer: a second under `everysec`.
    pub unflushed: Duration,
    /// What a flush may be late by.
    pub slack: Duration,
}

/// One kill.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Who was killed.
    pub victim: String,
    /// The number of its life before and after.
    pub numbers: (u64, u64),
    /// Writes that it had acknowledged before it was killed.
    pub acknowledged: usize,
    /// Those that another node had.
    pub sent: usize,
    /// Those of them that some node lacks in the end.
    pub sent_lost: Vec<String>,
    /// How long before the kill each write was acknowledged that nobody else had and that is lost, the longest first.
    pub unsent_lost: Vec<Duration>,
    /// From the start of the process until a key was answered.
    pub first_key: Duration,
    /// Until it had read everything, and had what others had written before it started.
    pub everything: Duration,
    /// From the moment at which clients held until all nodes were equal.
    pub equal: Duration,
    /// Exit status of `pelago verify` after that.
    pub verify: Option<i32>,
    /// Writes that it acknowledged after it had started, and those of them that are lost.
    pub since: (usize, usize),
    /// What else must not be.
    pub wrong: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// The kills.
    pub rounds: Vec<Round>,
    /// What must not be, about the counters at the end.
    pub counters_wrong: Vec<String>,
}

/// Between two asks for a first key.
const ASK_INTERVAL: Duration = Duration::from_millis(1);

/// Runs the trial in a cluster of three.
pub fn run(cluster: &mut Cluster, plan: &Plan) -> Outcome {
    plan.texts.fill(&mut cluster.nodes[0].client());
    cluster.await_equal();
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.resp.clone()).collect();
    let ledger = Ledger::start(&addresses, plan.clients, plan.pace);
    let mut random = Random::new(plan.seed);
    let rounds: Vec<Round> = (0..plan.kills)
        .map(|round| {
            let victim = random.below(cluster.nodes.len());
            let round = kill(cluster, &ledger, plan, round, victim, &mut random);
            println!("{round}");
            round
        })
        .collect();
    let killed: BTreeSet<&str> = rounds.iter().map(|round| round.victim.as_str()).collect();
    let counters_wrong = check_counters(cluster, &ledger, &killed);
    ledger.stop();
    Outcome { plan: *plan, rounds, counters_wrong }
}

/// One kill, from writing to equality; afterwards clients hold.
fn kill(
    cluster: &mut Cluster,
    ledger: &Ledger,
    plan: &Plan,
    round: usize,
    victim: usize,
    random: &mut Random,
) -> Round {
    ledger.begin_round(round);
    ledger.go_on();
    // Anywhere between two flushes.
    let more = Duration::from_millis(random.below(MORE_MS) as u64);
    wait::pause(plan.writing + more);
    let number = cluster.nodes[victim].number();
    let killed = Instant::now();
    cluster.nodes[victim].kill();
    wait::pause(plan.writing);
    // Nothing more comes from the dead node by now, neither to its clients nor to its peers.
    let told = told(ledger, victim);
    let sent = had_by_others(cluster, ledger, round, victim);
    let (first_key, everything) = start(cluster, plan, round, victim, random);
    let is_whole = plan.texts.check(&mut cluster.nodes[victim].client(), random, READ_BACK);
    wait::pause(plan.writing);
    ledger.hold();
    let equal = cluster.await_equal();
    let held = held(cluster, ledger, round);
    let is_lost = |write: &(usize, u64)| !held.iter().all(|node| node[write.0].contains(&write.1));
    let mut unsent_lost: Vec<Duration> = told
        .iter()
        .filter(|(write, _)| !sent.contains(write) && is_lost(write))
        .map(|(_, at)| killed.saturating_duration_since(*at))
        .collect();
    unsent_lost.sort_unstable_by(|one, other| other.cmp(one));
    let since: Vec<_> = self::told(ledger, victim).into_keys().filter(|write| !told.contains_key(write)).collect();
    let sent_lost = sent.iter().filter(|write| is_lost(write));
    Round {
        victim: cluster.nodes[victim].name.clone(),
        numbers: (number, cluster.nodes[victim].number()),
        acknowledged: told.len(),
        sent: told.keys().filter(|write| sent.contains(write)).count(),
        sent_lost: sent_lost.map(|(client, number)| format!("{number} of client {client}")).collect(),
        unsent_lost,
        first_key: *first_key.as_ref().unwrap_or(&Duration::MAX),
        everything,
        equal,
        verify: cluster.nodes[0].pelago(&["verify"]).status.code(),
        since: (since.len(), since.iter().filter(|write| is_lost(write)).count()),
        wrong: wrong(ledger, victim, &held)
            .into_iter()
            .chain(errors_elsewhere(ledger, victim))
            .chain(first_key.err())
            .chain(is_whole.err())
            .collect(),
    }
}

/// Keys that are read at a node that has started.
const READ_BACK: usize = 1_000;
/// Flushes are a second apart.
const MORE_MS: usize = 1_000;

/// Starts the victim; the time until it answered a key, and until it had everything.
fn start(
    cluster: &mut Cluster,
    plan: &Plan,
    round: usize,
    victim: usize,
    random: &mut Random,
) -> (Result<Duration, String>, Duration) {
    let marker = |node: usize| format!("marker:{round}:{node}");
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|&node| node != victim).collect();
    others.iter().for_each(|&node| drop(cluster.nodes[node].client().must(&format!("SET {} 1", marker(node)))));
    let started = Instant::now();
    cluster.nodes[victim].spawn();
    let first_key = first_key(&cluster.nodes[victim].resp, &plan.texts, started, random);
    cluster.nodes[victim].wait_ready();
    let mut client = cluster.nodes[victim].client();
    wait::until("the node has what others wrote before it started", || {
        match others.iter().find(|&&node| client.line(&format!("EXISTS {}", marker(node))).integer() != Some(1)) {
            None => Ok(()),
            Some(&node) => Err(format!("{} is missing", marker(node))),
        }
    });
    (first_key, started.elapsed())
}

/// Asks for one key after the other, chosen at random, from a server that starts. The time until one was answered; an error
/// if it was answered with anything but its value.
pub fn first_key(address: &str, texts: &Texts, started: Instant, random: &mut Random) -> Result<Duration, String> {
    let mut client = None;
    wait::until("a key is answered", || {
        let connected = match client.take() {
            Some(connected) => connected,
            None => crate::client::Client::connect(address).map_err(|error| error.to_string())?,
        };
        let client = client.insert(connected);
        loop {
            match texts.read(client, random.below(texts.keys)) {
                Ok(Some(())) => return Ok(Ok(started.elapsed())),
                Ok(None) if started.elapsed() < wait::PATIENCE => wait::pause(ASK_INTERVAL),
                Ok(None) => return Err("it loads".to_owned()),
                Err(error) => return Ok(Err(format!("a server that starts: {error}"))),
            }
        }
    })
}

/// What the victim's clients were told was done, and when.
fn told(ledger: &Ledger, victim: usize) -> BTreeMap<(usize, u64), Instant> {
    let mut told = BTreeMap::new();
    for (client, page) in ledger.pages.iter().enumerate() {
        let page = locked(page);
        if page.node == victim {
            let writes = page.acknowledged.iter().zip(&page.acknowledged_at);
            told.extend(writes.map(|(&number, &at)| ((client, number), at)));
        }
    }
    told
}

/// What the victim's clients wrote in this round and some other node has.
fn had_by_others(cluster: &Cluster, ledger: &Ledger, round: usize, victim: usize) -> BTreeSet<(usize, u64)> {
    let seen = crate::crashes::seen_elsewhere(cluster, ledger, round, victim);
    seen.into_iter().flat_map(|(client, numbers)| numbers.into_iter().map(move |number| (client, number))).collect()
}

/// Errors that clients of nodes saw that were not killed.
fn errors_elsewhere(ledger: &Ledger, victim: usize) -> Vec<String> {
    let pages = ledger.pages.iter().map(|page| locked(page));
    let spared = pages.filter(|page| page.node != victim && page.errors_count > 0);
    spared
        .map(|page| format!("a client of node {} saw {} errors: {:?}", page.node, page.errors_count, page.errors))
        .collect()
}

impl Round {
    /// What of it must not be.
    fn faults(&self, plan: &Plan) -> Vec<String> {
        let victim = &self.victim;
        let age_max = plan.unflushed + plan.slack;
        let old = self.unsent_lost.iter().filter(|age| **age > age_max).count();
        let cases = [
            (!self.sent_lost.is_empty(), format!("of {victim} others had writes that are lost: {:?}", self.sent_lost)),
            (old > 0, format!("{victim} lost {old} writes that it had acknowledged more than {age_max:?} before")),
            (self.since.1 > 0, format!("{victim} lost {} writes of its new life", self.since.1)),
            (self.numbers.0 != self.numbers.1, format!("{victim} came back under another number: {:?}", self.numbers)),
            (self.verify != Some(0), format!("pelago verify ended with {:?}", self.verify)),
            (self.sent == 0, format!("nobody had a write of {victim}: nothing was tried")),
            (self.since.0 == 0, format!("{victim} acknowledged nothing after its start: nothing was tried")),
        ];
        let met = cases.into_iter().filter_map(|(is_so, what)| is_so.then_some(what));
        met.chain(self.wrong.iter().cloned()).collect()
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest =
            self.unsent_lost.first().map_or("none".to_owned(), |age| format!("{:.1} ms", age.as_secs_f64() * 1e3));
        let [first, everything, equal] = [self.first_key, self.everything, self.equal].map(|time| time.as_secs_f64());
        write!(
            f,
            "{:<12} acknowledged {}, others had {}, of these lost {}; of the rest lost {} (acknowledged before the kill, \
             the oldest: {oldest}); first key {first:.3} s, everything {everything:.3} s, equal {equal:.3} s, then {} \
             writes, lost {}; number {} -> {}",
            self.victim,
            self.acknowledged,
            self.sent,
            self.sent_lost.len(),
            self.unsent_lost.len(),
            self.since.0,
            self.since.1,
            self.numbers.0,
            self.numbers.1
        )
    }
}

impl Outcome {
    /// Its figures over all rounds, and what must not be.
    pub fn sheet(&self, setting: String) -> Sheet {
        let mut sheet = Sheet::new(setting);
        let sum = |count: &dyn Fn(&Round) -> usize| self.rounds.iter().map(count).sum::<usize>() as f64;
        let most = |time: &dyn Fn(&Round) -> Duration| self.rounds.iter().map(time).max().unwrap_or_default();
        let oldest = most(&|round| round.unsent_lost.first().copied().unwrap_or_default());
        let age_max = self.plan.unflushed + self.plan.slack;
        sheet.add("kills", self.rounds.len() as f64, "", Bar::AtLeast(self.plan.kills.max(1) as f64));
        sheet.add("writes acknowledged by the killed", sum(&|round| round.acknowledged), "", Bar::None);
        sheet.add("of those that a peer had, lost", sum(&|round| round.sent_lost.len()), "", Bar::AtMost(0.0));
        sheet.add("of those that no peer had, lost", sum(&|round| round.unsent_lost.len()), "", Bar::None);
        sheet.add(
            "oldest of these when the node was killed",
            oldest.as_secs_f64() * 1e3,
            "ms",
            Bar::AtMost(age_max.as_secs_f64() * 1e3),
        );
        let unequal = sum(&|round| usize::from(round.verify != Some(0)));
        sheet.add("rounds after which regions differ", unequal, "", Bar::AtMost(0.0));
        for (name, time) in [
            ("longest time until a key was answered", most(&|round| round.first_key)),
            ("longest time until everything was there", most(&|round| round.everything)),
            ("longest time until all were equal after the load", most(&|round| round.equal)),
        ] {
            sheet.add(name, time.as_secs_f64(), "s", Bar::None);
        }
        for (number, round) in self.rounds.iter().enumerate() {
            sheet.faulty(round.faults(&self.plan).into_iter().map(|fault| format!("kill {}: {fault}", number + 1)));
        }
        sheet.faulty(self.counters_wrong.iter().cloned());
        sheet
    }
}
