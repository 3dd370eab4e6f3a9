//! A region is cut off while clients write everywhere: what the clients noticed, and whether anything was lost.

use crate::account::Account;
use crate::cluster::Cluster;
use crate::cores::allowed;
use crate::cut_plan::CutPlan;
use crate::switches::Threads;
use crate::taken::{Taken, Watch};
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
    /// Time from the end of the cut until everything written before it was everywhere.
    pub caught_up: Duration,
    /// Whether clients went on meanwhile.
    clients_went_on: bool,
    /// For each node the longest that a client waited, without what was taken of any core meanwhile: what no program had is
    /// nobody's but the machine's.
    pub own_stalls: Vec<Duration>,
    /// What could not be looked at of the cores.
    unseen: Vec<String>,
}

/// What a trial must come to.
#[derive(Clone, Copy, Debug)]
pub struct Bars {
    /// What a client may wait that the machine is not to blame for.
    pub stall: Duration,
    /// Until everybody has what was written during the cut, and until all are equal after the last write.
    pub equal: Duration,
}

/// The node that is cut off.
const AWAY: usize = 2;
/// A region may take so long to catch up before the trial is given up.
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

/// Runs the trial in a cluster of three.
pub fn run(cluster: &Cluster, plan: &CutPlan) -> Outcome {
    let (cores, mut unseen) = match allowed() {
        Ok(cores) => (cores, Vec::new()),
        Err(error) => (Vec::new(), vec![error]),
    };
    let watch = Watch::start_idle(&cores.iter().map(String::as_str).collect::<Vec<_>>());
    let writers = plan.start(cluster, true);
    let started = writers.started;
    wait::pause(plan.before);
    let begun = started.elapsed();
    cluster.cut(AWAY);
    wait::pause(plan.cut);
    cluster.nodes.iter().for_each(|node| drop(node.client().must(&format!("SET marker:{} written", node.name))));
    cluster.heal(AWAY);
    let healed = Instant::now();
    let stop = || (Account::stop(cluster, writers, plan.clients), Instant::now());
    let (caught_up, (told, stopped)) = if plan.after.is_zero() {
        let stopped = stop();
        await_markers(cluster);
        (healed.elapsed(), stopped)
    } else {
        await_markers(cluster);
        let caught_up = healed.elapsed();
        wait::pause(plan.after);
        (caught_up, stop())
    };
    let watched = watch.stop(&Threads::of(std::iter::empty()));
    unseen.extend(watched.missing);
    let taken = Taken::of_any(&watched.taken);
    let own_stalls = told.iter().map(|(_, told)| told.stalls.longest_without(started, &taken)).collect();
    let account = Account::draw_up(cluster, told, stopped);
    let (cut, clients_went_on) = ((begun, healed - started), !plan.after.is_zero());
    Outcome { account, cut, caught_up, clients_went_on, own_stalls, unseen }
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
    /// What must not be; nothing if all is well.
    pub fn faults(&self, bars: Bars) -> Vec<String> {
        let mut faults = self.account.faults();
        for ((node, _), stall) in self.account.told.iter().zip(&self.own_stalls) {
            if *stall > bars.stall {
                faults.push(format!(
                    "a client of {node} waited for {stall:?} that no core was away, over {:?}",
                    bars.stall
                ));
            }
        }
        for (what, took) in [("after the cut", self.caught_up), ("after the last write", self.account.equal)] {
            if took > bars.equal {
                faults.push(format!("what was written was everywhere {took:?} {what}, over {:?}", bars.equal));
            }
        }
        faults
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account.write_told(f)?;
        for ((node, _), stall) in self.account.told.iter().zip(&self.own_stalls) {
            let stall = stall.as_secs_f64() * 1e3;
            writeln!(f, "{node:<12} longest stall without what was taken of a core: {stall:.1} ms (0 if under 20)")?;
        }
        self.unseen.iter().try_for_each(|error| writeln!(f, "not all that was taken was looked at ({error})"))?;
        let [begun, ended] = [self.cut.0, self.cut.1].map(|time| time.as_secs_f64());
        writeln!(f, "cut from second {begun:.3} to second {ended:.3}")?;
        let clients = if self.clients_went_on { "clients going on" } else { "clients stopped" };
        writeln!(f, "caught up after the cut: {:.3} s ({clients})", self.caught_up.as_secs_f64())?;
        writeln!(f, "equal after the last write: {:.3} s", self.account.equal.as_secs_f64())?;
        write!(f, "{}", self.account)
    }
}
