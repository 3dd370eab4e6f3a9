//! A region crashes and comes back empty, again and again, while clients write everywhere: it fills, what others had of
//! it is still there, and nobody else notices.

use crate::cluster::Cluster;
use crate::ledger::{Ledger, counter_of, locked, members};
use crate::load::fill;
use crate::random::Random;
use crate::wait;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// How often and how hard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Crashes.
    pub rounds: usize,
    /// Keys of all types that are there before the first.
    pub keys: usize,
    /// Writing before each crash, and while the region is away.
    pub writing: Duration,
    /// Clients at each node.
    pub clients: usize,
    /// What each client waits between two commands.
    pub pace: Duration,
    /// Chooses the victims, and what is taken from them.
    pub seed: u64,
    /// Whether nodes keep their keys on disk: then one that lost nothing goes on under its number.
    pub durable: bool,
}

/// One crash.
#[derive(Debug, Default)]
pub struct Round {
    /// Who was killed.
    pub victim: String,
    /// Whether its catalogue went too, so that a peer had to give it a number.
    pub catalogue_lost: bool,
    /// The number of its life before and after.
    pub numbers: (u64, u64),
    /// Time from its start until it served.
    pub served: Duration,
    /// Time from the moment at which clients held until all nodes were equal.
    pub equal: Duration,
    /// Exit status of `pelago verify` after that.
    pub verify: Option<i32>,
    /// Writes of the victim's clients that others were seen to have before it was killed.
    pub seen_elsewhere: usize,
    /// Those that are not there any more, at any node.
    pub lost_although_seen: Vec<String>,
    /// Writes that the victim had acknowledged before it was killed.
    pub acknowledged: usize,
    /// Those that died with it.
    pub died_unsent: usize,
    /// Writes that the victim acknowledged after it had come back.
    pub acknowledged_since: usize,
    /// Those that are missing at some node.
    pub lost_since: usize,
    /// What clients of other nodes miss, and what is there that nobody has written.
    pub wrong: Vec<String>,
    /// Errors that clients of other nodes saw.
    pub errors_elsewhere: Vec<String>,
    /// The longest that a command took at another node.
    pub longest_elsewhere: Duration,
    /// Writes of this round that the other nodes acknowledged.
    pub acknowledged_elsewhere: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// The crashes.
    pub rounds: Vec<Round>,
    /// What must not be, about the counters at the end.
    pub counters_wrong: Vec<String>,
}

/// Runs the trial in a cluster of three.
pub fn run(cluster: &mut Cluster, plan: &Plan) -> Outcome {
    fill(&mut cluster.nodes[0].client(), plan.keys, plan.seed);
    cluster.await_equal();
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.resp.clone()).collect();
    let ledger = Ledger::start(&addresses, plan.clients, plan.pace);
    let mut random = Random::new(plan.seed);
    let first_kept = random.percent(50);
    let rounds: Vec<Round> = (0..plan.rounds)
        .map(|round| {
            let victim = random.below(cluster.nodes.len());
            crash(cluster, &ledger, plan, round, victim, first_kept == (round % 2 == 0))
        })
        .collect();
    let crashed: BTreeSet<&str> = rounds.iter().map(|round| round.victim.as_str()).collect();
    let counters_wrong = check_counters(cluster, &ledger, &crashed);
    ledger.stop();
    Outcome { plan: *plan, rounds, counters_wrong }
}

/// One crash, from writing to equality; afterwards clients hold.
fn crash(cluster: &mut Cluster, ledger: &Ledger, plan: &Plan, round: usize, victim: usize, kept: bool) -> Round {
    ledger.begin_round(round);
    ledger.go_on();
    wait::pause(plan.writing);
    let number = cluster.nodes[victim].number();
    let seen = seen_elsewhere(cluster, ledger, round, victim);
    cluster.nodes[victim].kill();
    wait::pause(plan.writing);
    // Nothing more is acknowledged there by now; what was on its way to a client when it was killed has arrived.
    let before = acknowledged(ledger, victim);
    if !kept {
        cluster.nodes[victim].remove_catalogue();
    }
    let started = Instant::now();
    cluster.nodes[victim].start();
    let served = started.elapsed();
    wait::pause(plan.writing);
    ledger.hold();
    let equal = cluster.await_equal();
    let held: Vec<Vec<BTreeSet<u64>>> = held(cluster, ledger, round);
    let at_all = |client: usize, number: u64| held.iter().all(|node| node[client].contains(&number));
    let since: Vec<_> = acknowledged(ledger, victim).into_iter().filter(|write| !before.contains(write)).collect();
    let lost_although_seen = seen.iter().flat_map(|(&client, numbers)| numbers.iter().map(move |&n| (client, n)));
    let lost_although_seen = lost_although_seen.filter(|&(client, number)| !at_all(client, number));
    let others: Vec<_> = ledger.pages.iter().map(|page| locked(page)).filter(|page| page.node != victim).collect();
    Round {
        victim: cluster.nodes[victim].name.clone(),
        catalogue_lost: !kept,
        numbers: (number, cluster.nodes[victim].number()),
        served,
        equal,
        verify: cluster.nodes[0].pelago(&["verify"]).status.code(),
        seen_elsewhere: seen.values().map(BTreeSet::len).sum(),
        lost_although_seen: lost_although_seen.map(|(client, number)| format!("{number} of client {client}")).collect(),
        died_unsent: before.iter().filter(|&&(client, number)| !at_all(client, number)).count(),
        acknowledged: before.len(),
        acknowledged_since: since.len(),
        lost_since: since.iter().filter(|&&(client, number)| !at_all(client, number)).count(),
        errors_elsewhere: others.iter().flat_map(|page| page.errors.iter().cloned()).collect(),
        longest_elsewhere: others.iter().map(|page| page.longest).max().unwrap_or_default(),
        acknowledged_elsewhere: others.iter().map(|page| page.acknowledged.len()).sum(),
        wrong: {
            drop(others);
            wrong(ledger, victim, &held)
        },
    }
}

/// What the victim's clients wrote in this round and some other node has.
pub(crate) fn seen_elsewhere(
    cluster: &Cluster,
    ledger: &Ledger,
    round: usize,
    victim: usize,
) -> BTreeMap<usize, BTreeSet<u64>> {
    let mut others: Vec<_> =
        cluster.nodes.iter().enumerate().filter(|(node, _)| *node != victim).map(|(_, node)| node.client()).collect();
    let mine = |client: &usize| locked(&ledger.pages[*client]).node == victim;
    let seen = |client: usize| (client, others.iter_mut().flat_map(|other| members(other, client, round)).collect());
    (0..ledger.pages.len()).filter(mine).map(seen).collect()
}

/// What the victim's clients were told was done.
fn acknowledged(ledger: &Ledger, victim: usize) -> BTreeSet<(usize, u64)> {
    let pages = ledger.pages.iter().map(|page| locked(page)).enumerate();
    pages
        .filter(|(_, page)| page.node == victim)
        .flat_map(|(client, page)| page.acknowledged.iter().map(|&number| (client, number)).collect::<Vec<_>>())
        .collect()
}

/// What each node has of each client's set.
pub(crate) fn held(cluster: &Cluster, ledger: &Ledger, round: usize) -> Vec<Vec<BTreeSet<u64>>> {
    let of_node = |node: &crate::node::Node| {
        let mut client = node.client();
        (0..ledger.pages.len()).map(|page| members(&mut client, page, round)).collect()
    };
    cluster.nodes.iter().map(of_node).collect()
}

/// What clients of others than the victim miss, and what nobody has written.
pub(crate) fn wrong(ledger: &Ledger, victim: usize, held: &[Vec<BTreeSet<u64>>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (client, page) in ledger.pages.iter().enumerate() {
        let page = locked(page);
        for (node, sets) in held.iter().enumerate() {
            let has = &sets[client];
            let missing = page.acknowledged.iter().filter(|number| !has.contains(number)).count();
            if page.node != victim && missing > 0 {
                wrong.push(format!("node {node} lacks {missing} writes of client {client}, whose node did not crash"));
            }
            let told: BTreeSet<u64> = page.acknowledged.iter().copied().collect();
            let invented = has.iter().filter(|number| !told.contains(number) && !page.unanswered.contains(number));
            let invented = invented.count();
            if invented > 0 {
                wrong.push(format!("node {node} has {invented} writes of client {client} that it never made"));
            }
        }
    }
    wrong
}

/// Counters of nodes that never crashed are exact; others are no greater than what was asked for. Clients hold.
pub(crate) fn check_counters(cluster: &Cluster, ledger: &Ledger, crashed: &BTreeSet<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut clients = cluster.clients();
    for (client, page) in ledger.pages.iter().enumerate() {
        let page = locked(page);
        let shown: Vec<u64> = clients
            .iter_mut()
            .map(|node| {
                let reply = node.must(&format!("GET {}", counter_of(client)));
                reply.text().and_then(|text| text.parse().ok()).unwrap_or(0)
            })
            .collect();
        let exact = !crashed.contains(cluster.nodes[page.node].name.as_str());
        // An increment whose answer did not come may have been done.
        let right = |count: &u64| if exact { *count == page.increments } else { *count <= page.increments_asked };
        if page.increments == 0 {
            wrong.push(format!("client {client} had no increment acknowledged: nothing was tried"));
        }
        if !shown.iter().all(right) || shown.windows(2).any(|pair| pair[0] != pair[1]) {
            wrong.push(format!("client {client} incremented {} times, the nodes show {shown:?}", page.increments));
        }
    }
    wrong
}

impl Round {
    /// What did not happen that had to, so that something could have gone wrong.
    fn untried(&self) -> Vec<String> {
        let victim = &self.victim;
        [
            (self.acknowledged, format!("{victim} acknowledged no write before it was killed")),
            (self.seen_elsewhere, format!("nobody had a write of {victim} before it was killed")),
            (self.acknowledged_since, format!("{victim} acknowledged no write after it had come back")),
            (self.acknowledged_elsewhere, "no other node acknowledged a write".to_owned()),
        ]
        .into_iter()
        .filter_map(|(count, what)| (count == 0).then_some(what))
        .collect()
    }
}

impl Outcome {
    /// What of it must not be; nothing if all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.counters_wrong.clone();
        if self.rounds.is_empty() {
            faults.push("no node was killed: nothing was tried".to_owned());
        }
        for (number, round) in self.rounds.iter().enumerate() {
            let mut note = |fault: String| faults.push(format!("crash {}: {fault}", number + 1));
            round.untried().into_iter().for_each(|what| note(format!("{what}: nothing was tried")));
            if round.lost_since > 0 {
                let (lost, of) = (round.lost_since, round.acknowledged_since);
                note(format!(
                    "{lost} of {of} writes are gone that {} acknowledged after it had come back",
                    round.victim
                ));
            }
            if !round.lost_although_seen.is_empty() {
                let (count, first) = (round.lost_although_seen.len(), &round.lost_although_seen[0]);
                note(format!("{count} writes are gone that others had, such as {first}"));
            }
            round.wrong.iter().for_each(|wrong| note(wrong.clone()));
            round.errors_elsewhere.iter().for_each(|error| note(format!("a client elsewhere saw {error}")));
            let empty = round.catalogue_lost || !self.plan.durable;
            if empty && round.numbers.0 == round.numbers.1 {
                note(format!("{} came back under its old number", round.victim));
            }
            if round.verify != Some(0) {
                note(format!("pelago verify ended with {:?}", round.verify));
            }
        }
        faults
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.plan.seed)?;
        for (number, round) in self.rounds.iter().enumerate() {
            let Round { victim, numbers, seen_elsewhere, acknowledged, died_unsent, .. } = round;
            let [served, equal] = [round.served, round.equal].map(|time| time.as_secs_f64());
            let catalogue = if round.catalogue_lost { "without its catalogue" } else { "with its catalogue" };
            writeln!(
                f,
                "crash {:>2}: {victim:<12} back {catalogue:<21} number {:>4} -> {:>4}   served {served:.2} s, equal {equal:.2} s",
                number + 1,
                numbers.0,
                numbers.1,
            )?;
            writeln!(
                f,
                "          of {acknowledged} acknowledged writes {seen_elsewhere} were seen elsewhere, {} of these lost; {died_unsent} died unsent",
                round.lost_although_seen.len(),
            )?;
            writeln!(
                f,
                "          {} writes acknowledged after it was back; elsewhere: {}, {} errors, longest {:.1} ms; pelago verify: exit status {}",
                round.acknowledged_since,
                round.acknowledged_elsewhere,
                round.errors_elsewhere.len(),
                round.longest_elsewhere.as_secs_f64() * 1e3,
                round.verify.map_or("none".to_owned(), |code| code.to_string())
            )?;
        }
        Ok(())
    }
}
