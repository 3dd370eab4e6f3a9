//! Whether anything grows in the nodes while a trial goes on: their own figures, looked at once a second.

use crate::cluster::Cluster;
use crate::node::Node;
use std::fmt;

/// What is looked at: the metric, and how much more of it is no growth.
const WATCHED: &[(&str, f64)] =
    &[("pelago_replication_waiting_batches", 50.0), ("pelago_replication_waiting_bytes", 1e6)];
/// Memory, without the ring: that is a cache with a budget, and filling it is its purpose, so it is compared with that.
const RESIDENT: &str = "process_resident_memory_bytes";
const BESIDE_THE_RING: &str = "resident bytes beside the ring";
const RESIDENT_SPARE: f64 = 6e6;
const RING: &str = "pelago_replication_ring_bytes";
const RING_MAX: &str = "pelago_replication_ring_bytes_max";
/// Changes that a linked peer has not acknowledged, of which so many more are no growth.
const UNACKNOWLEDGED: &str = "pelago_peer_unacked_changes";
const UNACKNOWLEDGED_SPARE: f64 = 5_000.0;
/// Beyond what is spare, a mean may be so many times the earlier one.
const SHARE_MAX: f64 = 1.1;

/// The figures of all nodes over time.
#[derive(Debug, Default)]
pub struct Growth {
    rows: Vec<Row>,
}

/// One figure of one node.
#[derive(Debug)]
struct Row {
    node: String,
    figure: String,
    spare: f64,
    values: Vec<f64>,
}

impl Growth {
    /// Looks at all nodes. `is_linked` says whether two of them are to have a link: what cannot be acknowledged waits in
    /// the ring, whose own bound is looked at.
    pub fn look(&mut self, cluster: &Cluster, is_linked: impl Fn(&Node, &Node) -> bool) {
        for node in &cluster.nodes {
            let metrics = node.metrics();
            for &(figure, spare) in WATCHED {
                self.note(node, figure, spare, metrics.sum(figure, ""));
            }
            let [ring, ring_max, resident] = [RING, RING_MAX, RESIDENT].map(|name| metrics.sum(name, ""));
            self.note(node, RING, ring_max, ring);
            self.note(node, BESIDE_THE_RING, RESIDENT_SPARE, resident - ring);
            for peer in cluster.nodes.iter().filter(|peer| peer.name != node.name && is_linked(node, peer)) {
                let value = metrics.sum(UNACKNOWLEDGED, &format!("\"{}\"", peer.name));
                self.note(node, &format!("{UNACKNOWLEDGED} {}", peer.name), UNACKNOWLEDGED_SPARE, value);
            }
        }
    }

    fn note(&mut self, node: &Node, figure: &str, spare: f64, value: f64) {
        match self.rows.iter_mut().find(|row| row.node == node.name && row.figure == figure) {
            Some(row) => row.values.push(value),
            None => {
                let (node, figure) = (node.name.clone(), figure.to_owned());
                self.rows.push(Row { node, figure, spare, values: vec![value] });
            }
        }
    }

    /// What has grown: the mean of the last third of the looks, twenty at most, compared with that of the first.
    pub fn faults(&self) -> Vec<String> {
        self.rows.iter().filter(|row| row.has_grown()).map(|row| format!("it grows: {row}")).collect()
    }
}

impl Row {
    /// The means at the beginning and at the end.
    fn means(&self) -> (f64, f64) {
        let count = (self.values.len() / 3).clamp(1, LOOKS_MAX);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        (mean(&self.values[..count]), mean(&self.values[self.values.len() - count..]))
    }

    fn has_grown(&self) -> bool {
        let (first, last) = self.means();
        match self.figure == RING {
            true => last > self.spare,
            false => last > first * SHARE_MAX + self.spare,
        }
    }
}

/// Looks at the beginning and at the end of a long trial.
const LOOKS_MAX: usize = 20;

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.means();
        write!(f, "{:<12} {:<48} first {first:>13.0}   last {last:>13.0}", self.node, self.figure)
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
