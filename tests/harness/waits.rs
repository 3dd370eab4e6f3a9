//! How long clients wait at each node of a cluster while something goes on, and how much of it is nobody's but the machine's.

use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::figure::{Bar, Sheet};
use crate::node::Node;
use crate::steady::{Script, Seen, Steady};
use crate::switches::Threads;
use crate::taken::{Taken, Watch, Watched};
use std::time::Duration;

/// A client at each node that sends its commands at fixed times, and a look at the cores.
#[derive(Debug)]
pub struct Waits {
    clients: Vec<Steady>,
    watch: Watch,
}

/// What the clients of all nodes saw before and while it went on.
#[derive(Debug)]
pub struct Waited {
    seen: Vec<[Seen; 2]>,
    watched: Watched,
}

impl Waits {
    /// Starts the clients; nothing goes on yet.
    pub fn start<S: Script>(cluster: &Cluster, cores: &Cores, interval: Duration, script: impl Fn() -> S) -> Self {
        let watch = Watch::start(&cores.single());
        let client = |address: &str| Steady::start_first(address, interval, 2, script());
        Self { clients: cluster.nodes.iter().map(|node| client(&node.resp)).collect(), watch }
    }

    /// It goes on from now.
    pub fn enter(&self) {
        self.clients.iter().for_each(|client| client.enter(1));
    }

    /// It is over.
    pub fn stop(self, cluster: &Cluster) -> Result<Waited, String> {
        let threads = Threads::of(cluster.nodes.iter().map(Node::process_id));
        let both = |client: Steady| <[Seen; 2]>::try_from(client.stop()).map_err(|_| "there are two phases".to_owned());
        let seen = self.clients.into_iter().map(both).collect::<Result<_, String>>()?;
        Ok(Waited { seen, watched: self.watch.stop(&threads) })
    }
}

impl Waited {
    /// Adds the figures of a node, by its place in the cluster. The bar holds for what the machine is not to blame for.
    pub fn show(&mut self, at: usize, name: &str, bar: Bar, sheet: &mut Sheet) {
        let [before, during] = &mut self.seen[at];
        let nothing = Taken::default();
        // The first node has the first core, the others have the second.
        let taken = self.watched.taken.get(at.min(1)).unwrap_or(&nothing);
        sheet.faulty(before.faults(name).into_iter().chain(during.faults(name)));
        for missing in &self.watched.missing {
            sheet.note(format!("{name}: not all that was taken of the cores was looked at ({missing})"));
        }
        let waits = [
            ("longest wait before", before.latencies.longest_ms(), Bar::None),
            ("longest wait before, less what was taken of the cores", before.longest_without_ms(taken), Bar::None),
            ("longest wait during it", during.latencies.longest_ms(), Bar::None),
            ("longest wait during it, less what was taken of the cores", during.longest_without_ms(taken), bar),
            ("the client itself was woken late by at most", during.woken.longest_ms(), Bar::None),
        ];
        for (what, wait, bar) in waits {
            sheet.add(format!("{name}: {what}"), wait, "ms", bar);
        }
    }
}
