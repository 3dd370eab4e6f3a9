//! A region is cut off while clients write everywhere: what the clients noticed, and whether anything was lost.

use crate::cluster::Cluster;
use crate::load::{COUNTERS, Told, Writers, counters};
use crate::wait;
use std::fmt;
use std::time::{Duration, Instant};

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Writing before the cut.
    pub before: Duration,
    /// How long the region is cut off.
    pub cut: Duration,
    /// Writing after the cut.
    pub after: Duration,
    /// Clients at each node.
    pub clients: usize,
    /// What each client waits between two commands.
    pub pace: Duration,
    /// For what they write.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Names of the nodes and what their clients were told.
    pub told: Vec<(String, Told)>,
    /// When the cut began and ended, since the clients were started.
    pub cut: (Duration, Duration),
    /// Time from the end of the cut until everything written before it was everywhere, while clients went on.
    pub caught_up: Duration,
    /// Time from the last write until all nodes were equal.
    pub equal: Duration,
    /// Increments that were acknowledged.
    pub acknowledged: [u64; COUNTERS],
    /// What each node answers for the counters.
    pub counted: Vec<[u64; COUNTERS]>,
    /// Members whose addition was acknowledged.
    pub members_acknowledged: usize,
    /// How many members each node has.
    pub members: Vec<i64>,
    /// Exit status of `pelago verify` at the end.
    pub verify: Option<i32>,
}

/// The node that is cut off.
const AWAY: usize = 2;
/// A region may take so long to catch up before the trial is given up.
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

/// Runs the trial in a cluster of three.
pub fn run(cluster: &Cluster, plan: &Plan) -> Outcome {
    let each = cluster.nodes.iter().flat_map(|node| std::iter::repeat_n(node.resp.clone(), plan.clients));
    let started = Instant::now();
    let writers = Writers::start(&each.collect::<Vec<_>>(), plan.pace, plan.seed);
    wait::pause(plan.before);
    let cut = started.elapsed();
    cluster.cut(AWAY);
    wait::pause(plan.cut);
    cluster.nodes.iter().for_each(|node| drop(node.client().must(&format!("SET marker:{} written", node.name))));
    cluster.heal(AWAY);
    let healed = Instant::now();
    await_markers(cluster);
    let caught_up = healed.elapsed();
    wait::pause(plan.after);
    let mut by_client = writers.stop().into_iter();
    let equal = cluster.await_equal();
    let told: Vec<(String, Told)> = cluster
        .nodes
        .iter()
        .map(|node| (node.name.clone(), Told::sum(by_client.by_ref().take(plan.clients))))
        .collect();
    let mut clients = cluster.clients();
    Outcome {
        cut: (cut, healed - started),
        caught_up,
        equal,
        acknowledged: std::array::from_fn(|counter| told.iter().map(|(_, told)| told.increments[counter]).sum()),
        counted: clients.iter_mut().map(counters).collect(),
        members_acknowledged: told.iter().map(|(_, told)| told.members.len()).sum(),
        members: clients.iter_mut().map(|client| client.must("SCARD members").integer().unwrap_or(-1)).collect(),
        verify: cluster.nodes[0].pelago(&["verify"]).status.code(),
        told,
    }
}

/// Whoever has a marker has everything that its node wrote before it.
fn await_markers(cluster: &Cluster) {
    let mut clients = cluster.clients();
    for node in &cluster.nodes {
        wait::within(CATCH_UP_MAX, "what was written during the cut is everywhere", || {
            for (client, reader) in clients.iter_mut().zip(&cluster.nodes) {
                if client.line(&format!("EXISTS marker:{}", node.name)).integer() != Some(1) {
                    return Err(format!("{} lacks what {} wrote", reader.name, node.name));
                }
            }
            Ok(())
        });
    }
}

impl Outcome {
    /// What of it must not be; nothing if all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (node, told) in &self.told {
            if told.errors_count > 0 {
                faults.push(format!("clients of {node} saw {} errors: {:?}", told.errors_count, told.errors));
            }
        }
        for (counted, (node, _)) in self.counted.iter().zip(&self.told) {
            if *counted != self.acknowledged {
                faults.push(format!("{node} counts {counted:?}, acknowledged were {:?}", self.acknowledged));
            }
        }
        for (members, (node, _)) in self.members.iter().zip(&self.told) {
            if usize::try_from(*members) != Ok(self.members_acknowledged) {
                faults.push(format!("{node} has {members} members, acknowledged were {}", self.members_acknowledged));
            }
        }
        if self.verify != Some(0) {
            faults.push(format!("pelago verify ended with {:?}", self.verify));
        }
        faults
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told.iter().try_for_each(|(node, told)| told.write(f, node))?;
        let [begun, ended] = [self.cut.0, self.cut.1].map(|time| time.as_secs_f64());
        writeln!(f, "cut from second {begun:.3} to second {ended:.3}")?;
        writeln!(f, "caught up after the cut: {:.3} s (clients going on)", self.caught_up.as_secs_f64())?;
        writeln!(f, "equal after the last write: {:.3} s", self.equal.as_secs_f64())?;
        writeln!(f, "counters acknowledged: {:?}", self.acknowledged)?;
        for (counted, (node, _)) in self.counted.iter().zip(&self.told) {
            writeln!(f, "counters at {node:<9}: {counted:?}")?;
        }
        writeln!(f, "members acknowledged {}, at the nodes {:?}", self.members_acknowledged, self.members)?;
        writeln!(f, "pelago verify: exit status {}", self.verify.map_or("none".to_owned(), |code| code.to_string()))
    }
}
