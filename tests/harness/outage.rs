//! A region is cut off while clients write everywhere: what the clients noticed, and whether anything was lost.

use crate::account::Account;
use crate::cluster::Cluster;
use crate::cut_plan::CutPlan;
use crate::wait;
use std::fmt;
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What clients were told, and what the nodes say. Its time counts from the last write.
    pub account: Account,
    /// When the cut began and ended, since the clients were started.
    pub cut: (Duration, Duration),
    /// Time from the end of the cut until everything written before it was everywhere, while clients went on.
    pub caught_up: Duration,
}

/// The node that is cut off.
const AWAY: usize = 2;
/// A region may take so long to catch up before the trial is given up.
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

/// Runs the trial in a cluster of three.
pub fn run(cluster: &Cluster, plan: &CutPlan) -> Outcome {
    let started = Instant::now();
    let writers = plan.start(cluster, true);
    wait::pause(plan.before);
    let begun = started.elapsed();
    cluster.cut(AWAY);
    wait::pause(plan.cut);
    cluster.nodes.iter().for_each(|node| drop(node.client().must(&format!("SET marker:{} written", node.name))));
    cluster.heal(AWAY);
    let healed = Instant::now();
    await_markers(cluster);
    let caught_up = healed.elapsed();
    wait::pause(plan.after);
    let told = Account::stop(cluster, writers, plan.clients);
    let account = Account::draw_up(cluster, told);
    Outcome { account, cut: (begun, healed - started), caught_up }
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

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account.write_told(f)?;
        let [begun, ended] = [self.cut.0, self.cut.1].map(|time| time.as_secs_f64());
        writeln!(f, "cut from second {begun:.3} to second {ended:.3}")?;
        writeln!(f, "caught up after the cut: {:.3} s (clients going on)", self.caught_up.as_secs_f64())?;
        writeln!(f, "equal after the last write: {:.3} s", self.account.equal.as_secs_f64())?;
        write!(f, "{}", self.account)
    }
}
