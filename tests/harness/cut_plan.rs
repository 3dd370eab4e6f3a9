//! How long and how hard a trial is in which something is cut under load.

use crate::arguments::Arguments;
use crate::cluster::Cluster;
use crate::load::{Load, Writers};
use std::time::Duration;

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct CutPlan {
    /// Writing before the cut.
    pub before: Duration,
    /// How long the cut lasts.
    pub cut: Duration,
    /// Writing after the cut, once everybody has what was written before its end. With none, clients of a region's cut stop
    /// when it ends.
    pub after: Duration,
    /// Clients at each node.
    pub clients: usize,
    /// What each client waits between two commands.
    pub pace: Duration,
    /// For what they write.
    pub seed: u64,
}

/// Clients at each node unless something else is asked for.
const CLIENTS: u64 = 4;

impl CutPlan {
    /// What a program was asked for: `--seconds`, `--seconds-after`, `--clients`, `--pace-us` (this by default) and
    /// `--seed`.
    pub fn asked(arguments: &Arguments, pace_us: u64) -> Self {
        Self {
            before: Duration::from_secs(5),
            cut: Duration::from_secs(arguments.number("--seconds", 60)),
            after: Duration::from_secs(arguments.number("--seconds-after", 5)),
            clients: arguments.count("--clients", CLIENTS),
            pace: Duration::from_micros(arguments.number("--pace-us", pace_us)),
            seed: arguments.number("--seed", 1),
        }
    }

    /// A short one.
    pub fn short(pace: Duration) -> Self {
        let (before, cut, after) = (Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(1));
        Self { before, cut, after, clients: 2, pace, seed: 1 }
    }

    /// Starts its clients. With `members` they add members to the set of all, which then grows.
    pub fn start(&self, cluster: &Cluster, members: bool) -> Writers {
        let each = cluster.nodes.iter().flat_map(|node| std::iter::repeat_n(node.resp.clone(), self.clients));
        Writers::start_with(&each.collect::<Vec<_>>(), Load { pace: self.pace, seed: self.seed, members })
    }
}
