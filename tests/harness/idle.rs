//! What a cluster costs in which nothing happens.

use crate::cluster::Cluster;
use crate::node::Node;
use crate::processor;
use crate::wait;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What the nodes use.
#[derive(Debug)]
pub struct Outcome {
    /// How long they were watched.
    pub watched: Duration,
    /// Each node.
    pub nodes: Vec<Used>,
}

/// What one node uses.
#[derive(Debug)]
pub struct Used {
    /// Its name.
    pub node: String,
    /// Shares of one core, by name of thread.
    pub by_thread: BTreeMap<String, f64>,
    /// Bytes a second to all peers.
    pub sent: f64,
    /// Bytes a second from all peers.
    pub received: f64,
}

/// Lets the nodes rest, then watches them.
pub fn run(cluster: &Cluster, rest: Duration, watch: Duration) -> Result<Outcome, String> {
    wait::pause(rest);
    let bytes_before: Vec<[f64; 2]> = cluster.nodes.iter().map(bytes).collect();
    let used = |node: &Node| processor::nanoseconds_by_thread(node.process_id());
    let before = cluster.nodes.iter().map(used).collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    wait::pause(watch);
    let after = cluster.nodes.iter().map(used).collect::<Result<Vec<_>, _>>()?;
    let watched = begin.elapsed();
    let nodes = cluster.nodes.iter().enumerate().map(|(index, node)| {
        let share = |(name, now): (&String, &u64)| {
            let then = before[index].get(name).copied().unwrap_or(0);
            // A thread of that name may have ended meanwhile, and what it had used went with it.
            (name.clone(), now.saturating_sub(then) as f64 / watched.as_nanos() as f64)
        };
        let [sent, received] = bytes(node);
        let [sent_before, received_before] = bytes_before[index];
        Used {
            node: node.name.clone(),
            by_thread: after[index].iter().map(share).collect(),
            sent: (sent - sent_before) / watched.as_secs_f64(),
            received: (received - received_before) / watched.as_secs_f64(),
        }
    });
    Ok(Outcome { watched, nodes: nodes.collect() })
}

fn bytes(node: &Node) -> [f64; 2] {
    let metrics = node.metrics();
    ["pelago_peer_bytes_out_total", "pelago_peer_bytes_in_total"].map(|metric| metrics.sum(metric, ""))
}

impl Used {
    /// The share of one core that the node uses.
    pub fn share(&self) -> f64 {
        self.by_thread.values().sum()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "watched for {:.1} s", self.watched.as_secs_f64())?;
        for used in &self.nodes {
            let threads = used.by_thread.iter().filter(|(_, share)| **share > SHARE_SHOWN);
            let threads: Vec<String> = threads.map(|(name, share)| format!("{name} {:.3}", share * 100.0)).collect();
            writeln!(
                f,
                "{:<12} {:.3} % of a core ({})   sent {:.0} B/s, received {:.0} B/s",
                used.node,
                used.share() * 100.0,
                threads.join(", "),
                used.sent,
                used.received
            )?;
        }
        Ok(())
    }
}

/// Threads that use less are not named.
const SHARE_SHOWN: f64 = 0.000_05;
