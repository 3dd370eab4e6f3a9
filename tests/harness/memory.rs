//! What a key takes: many small ones are written, and the node's memory is looked at before and after.

use crate::cluster::Cluster;
use crate::load::settle;
use crate::node::Node;
use crate::processor::resident_bytes;
use crate::wait;
use std::fmt;
use std::time::Duration;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keys.
    pub keys: usize,
    /// Bytes of each key.
    pub key_bytes: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// How long memory may take to go back to the system.
    pub rest: Duration,
}

/// What came of it, by node: the first is written to.
#[derive(Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// Each node.
    pub nodes: Vec<Taken>,
}

/// What one node takes.
#[derive(Debug)]
pub struct Taken {
    /// Its name.
    pub node: String,
    /// Bytes resident before and after.
    pub resident: (u64, u64),
    /// Bytes that it had allocated before and after.
    pub allocated: (u64, u64),
    /// Bytes of recent batches that it keeps for peers.
    pub ring: u64,
}

const PIPELINE: usize = 1000;

/// Runs the trial.
pub fn run(cluster: &Cluster, plan: Plan) -> Result<Outcome, String> {
    wait::pause(plan.rest);
    let look = |node: &Node| Ok::<_, String>((resident_bytes(node.process_id())?, figure(node, ALLOCATED)));
    let before = cluster.nodes.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let mut client = cluster.nodes[0].client();
    let mut queued = 0;
    for key in 0..plan.keys {
        client.queue(&["SET", &format!("{key:0>0$}", plan.key_bytes), &format!("{key:0>0$}", plan.value_bytes)]);
        queued += 1;
        if queued == PIPELINE {
            settle(&mut client, &mut queued);
        }
    }
    settle(&mut client, &mut queued);
    drop(client);
    cluster.await_equal();
    wait::pause(plan.rest);
    let after = cluster.nodes.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let taken = |(index, node): (usize, &Node)| Taken {
        node: node.name.clone(),
        resident: (before[index].0, after[index].0),
        allocated: (before[index].1, after[index].1),
        ring: figure(node, "pelago_replication_ring_bytes"),
    };
    Ok(Outcome { plan, nodes: cluster.nodes.iter().enumerate().map(taken).collect() })
}

fn figure(node: &Node, metric: &str) -> u64 {
    node.metrics().sum(metric, "") as u64
}

const ALLOCATED: &str = "pelago_allocator_allocated_bytes";

impl Outcome {
    /// Bytes that a node's resident memory grew by for each key; the most of all nodes.
    pub fn bytes_a_key(&self) -> f64 {
        let grown = self.nodes.iter().map(|taken| taken.resident.1.saturating_sub(taken.resident.0)).max();
        grown.unwrap_or(0) as f64 / self.plan.keys as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { keys, key_bytes, value_bytes, .. } = self.plan;
        writeln!(f, "{keys} keys of {key_bytes} bytes with values of {value_bytes}, written at the first node")?;
        for Taken { node, resident, allocated, ring } in &self.nodes {
            let a_key = |(before, after): &(u64, u64)| (*after as f64 - *before as f64) / keys as f64;
            writeln!(
                f,
                "{node:<12} resident {:.2} bytes a key (allocated {:.2}), of which recent batches {:.2}",
                a_key(resident),
                a_key(allocated),
                *ring as f64 / keys as f64
            )?;
        }
        Ok(())
    }
}
