//! What clients at all nodes were told, held against what the nodes say in the end: nothing that was acknowledged may be
//! missing, and nothing may be there twice.

use crate::cluster::Cluster;
use crate::load::{COUNTERS, Told, Writers, counters};
use std::fmt;
use std::time::{Duration, Instant};

/// The account.
#[derive(Debug)]
pub struct Account {
    /// Names of the nodes and what their clients were told.
    pub told: Vec<(String, Told)>,
    /// Time from when it was drawn up until all nodes were equal.
    pub equal: Duration,
    /// Increments that were acknowledged.
    acknowledged: [u64; COUNTERS],
    /// What each node answers for the counters.
    counted: Vec<[u64; COUNTERS]>,
    /// Members whose addition was acknowledged.
    members_acknowledged: usize,
    /// How many members each node has.
    members: Vec<i64>,
    /// Exit status of `pelago verify` at the end.
    pub verify: Option<i32>,
}

impl Account {
    /// Stops `clients` clients at each node.
    pub fn stop(cluster: &Cluster, writers: Writers, clients: usize) -> Vec<(String, Told)> {
        let mut by_client = writers.stop().into_iter();
        let of = |node: &crate::node::Node| (node.name.clone(), Told::sum(by_client.by_ref().take(clients)));
        cluster.nodes.iter().map(of).collect()
    }

    /// Waits until all nodes are equal, and asks them for what clients were told; the time counts from `begun`.
    pub fn draw_up(cluster: &Cluster, told: Vec<(String, Told)>, begun: Instant) -> Self {
        cluster.await_equal();
        let equal = begun.elapsed();
        let mut clients = cluster.clients();
        Self {
            equal,
            acknowledged: std::array::from_fn(|counter| told.iter().map(|(_, told)| told.increments[counter]).sum()),
            counted: clients.iter_mut().map(counters).collect(),
            members_acknowledged: told.iter().map(|(_, told)| told.members.len()).sum(),
            members: clients.iter_mut().map(|client| client.must("SCARD members").integer().unwrap_or(-1)).collect(),
            verify: cluster.nodes[0].pelago(&["verify"]).status.code(),
            told,
        }
    }

    /// What of it must not be; nothing if all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.told.iter().all(|(_, told)| told.clients == 0) {
            faults.push("there were no clients: nothing was tried".to_owned());
        }
        for (node, told) in &self.told {
            if told.errors_count > 0 {
                faults.push(format!("clients of {node} saw {} errors: {:?}", told.errors_count, told.errors));
            }
            if told.clients > 0 && told.increments.iter().sum::<u64>() == 0 {
                faults.push(format!("clients of {node} counted nothing: nothing was tried"));
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

    /// What clients noticed.
    pub fn write_told(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told.iter().try_for_each(|(node, told)| told.write(f, node))
    }
}

/// What the nodes say in the end.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "counters acknowledged: {:?}", self.acknowledged)?;
        for (counted, (node, _)) in self.counted.iter().zip(&self.told) {
            writeln!(f, "counters at {node:<9}: {counted:?}")?;
        }
        writeln!(f, "members acknowledged {}, at the nodes {:?}", self.members_acknowledged, self.members)?;
        writeln!(f, "pelago verify: exit status {}", self.verify.map_or("none".to_owned(), |code| code.to_string()))
    }
}
