//! One link of three is cut while clients write everywhere: what each region writes must reach the others through the
//! third, soon and for as long as the cut lasts, and nothing may grow meanwhile.

use crate::account::Account;
use crate::cluster::Cluster;
use crate::cut_plan::CutPlan;
use crate::growth::Growth;
use crate::node::Node;
use crate::probe::{OldestView, Probes};
use crate::wait;
use std::fmt;
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What clients were told, and what the nodes say. Its time counts from when nobody waited for an acknowledgement.
    pub account: Account,
    /// How old views were before the cut, with all links up.
    pub views_before: Vec<OldestView>,
    /// How old they were during the cut, its beginning included.
    pub views: Vec<OldestView>,
    /// What nodes held during the cut.
    pub growth: Growth,
    /// Gaps that were asked of the third node during the cut, by node.
    pub pulls: Vec<u64>,
    /// Catch-ups by state from the cut on, by node.
    pub sessions: Vec<u64>,
    /// Time from the end of the cut until the two had acknowledged each other what they had not, clients going on.
    pub drained: Duration,
    /// Time from the last write until nobody waited for an acknowledgement.
    pub drained_after_the_last_write: Duration,
}

/// The two that lose their link.
const ENDS: (usize, usize) = (0, 1);
/// Between two looks at what nodes hold.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const DRAIN_MAX: Duration = Duration::from_secs(120);
/// Changes on their way at any moment while clients write.
const ON_THE_WAY: u64 = 5_000;
const PULLS: &str = "pelago_replication_pulls_total";
const SESSIONS: &str = "pelago_replication_sessions_total";

/// Runs the trial in a cluster of three.
pub fn run(cluster: &Cluster, plan: &CutPlan) -> Outcome {
    let writers = plan.start(cluster, false);
    let probes = Probes::start(cluster);
    wait::pause(plan.before);
    let views_before = probes.take();
    let (pulls_before, sessions_before) = (count(cluster, PULLS), count(cluster, SESSIONS));
    cluster.cut_link(ENDS.0, ENDS.1);
    let mut growth = Growth::default();
    let begun = Instant::now();
    while begun.elapsed() < plan.cut {
        growth.look(cluster, has_link);
        wait::pause(LOOK_INTERVAL.min(plan.cut.saturating_sub(begun.elapsed())));
    }
    let views = probes.take();
    let pulls = more(count(cluster, PULLS), &pulls_before);
    cluster.heal_link(ENDS.0, ENDS.1);
    let healed = Instant::now();
    await_acknowledged(cluster, ON_THE_WAY);
    let drained = healed.elapsed();
    wait::pause(plan.after);
    probes.stop();
    let told = Account::stop(cluster, writers, plan.clients);
    let stopped = Instant::now();
    await_acknowledged(cluster, 0);
    let drained_after_the_last_write = stopped.elapsed();
    let account = Account::draw_up(cluster, told, Instant::now());
    Outcome {
        account,
        views_before,
        views,
        growth,
        pulls,
        sessions: more(count(cluster, SESSIONS), &sessions_before),
        drained,
        drained_after_the_last_write,
    }
}

/// Whether two nodes have a link during the cut.
fn has_link(one: &Node, other: &Node) -> bool {
    // The third node is the one that neither end is.
    let third = |node: &Node| node.region == REGIONS[3 - ENDS.0 - ENDS.1];
    third(one) || third(other)
}

/// The regions of this trial.
pub const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// Waits until the two have acknowledged each other all but so many changes, over a link that is up.
fn await_acknowledged(cluster: &Cluster, but: u64) {
    for (node, peer) in [ENDS, (ENDS.1, ENDS.0)] {
        let (node, peer) = (&cluster.nodes[node], &cluster.nodes[peer]);
        let mut client = node.client();
        wait::within(DRAIN_MAX, "what was not acknowledged is", || {
            let list = client.json("PELAGO LAG")?;
            let row = list["peers"].as_array().into_iter().flatten().find(|row| row["node"] == peer.name.as_str());
            match row {
                Some(row) if row["link"] == "up" && row["unacked_changes"].as_u64().is_some_and(|n| n <= but) => Ok(()),
                row => Err(format!("at {}: {row:?}", node.name)),
            }
        });
    }
}

fn count(cluster: &Cluster, metric: &str) -> Vec<u64> {
    cluster.nodes.iter().map(|node| node.metrics().sum(metric, "") as u64).collect()
}

fn more(after: Vec<u64>, before: &[u64]) -> Vec<u64> {
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}

impl Outcome {
    /// The oldest of the views during the cut.
    pub fn oldest_view(&self) -> Duration {
        self.views.iter().map(|view| view.age).max().unwrap_or_default()
    }

    /// What of it must not be; nothing if all is well. Growth is judged by its own [`Growth::faults`].
    pub fn faults(&self, age_max: Duration) -> Vec<String> {
        let mut faults = self.account.faults();
        for view in self.views.iter().filter(|view| view.age > age_max) {
            let OldestView { writer, reader, age } = view;
            faults.push(format!("{reader} saw {writer} as it was {:.3} s ago", age.as_secs_f64()));
        }
        faults
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account.write_told(f)?;
        for (when, views) in [("before the cut", &self.views_before), ("during the cut", &self.views)] {
            writeln!(f, "oldest view {when} (a time is written every 20 ms):")?;
            for OldestView { writer, reader, age } in views {
                writeln!(f, "  of {writer:<12} at {reader:<12} {:>9.1} ms", age.as_secs_f64() * 1e3)?;
            }
        }
        writeln!(f, "gaps asked of the third node: {:?}   catch-ups by state: {:?}", self.pulls, self.sessions)?;
        write!(f, "held by the nodes, at the beginning and at the end of the cut:\n{}", self.growth)?;
        let [drained, last, equal] =
            [self.drained, self.drained_after_the_last_write, self.account.equal].map(|time| time.as_secs_f64());
        writeln!(
            f,
            "acknowledged after the cut: {drained:.3} s with clients going on, {last:.3} s after the last write"
        )?;
        writeln!(f, "equal after that: {equal:.3} s")?;
        write!(f, "{}", self.account)
    }
}
