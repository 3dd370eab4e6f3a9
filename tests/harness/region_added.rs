//! A region is added to a cluster of many keys under load, and removed again: how long its clients wait for it, and
//! whether those of the others notice.

use crate::account::Account;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::figure::{Bar, Sheet};
use crate::load::{Load, Writers};
use crate::random::Random;
use crate::texts::{ReadsAndWrites, Texts};
use crate::wait;
use crate::waits::Waits;
use std::time::{Duration, Instant};

/// How much, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keys that are there before.
    pub texts: Texts,
    /// Writing clients at each node.
    pub clients: usize,
    /// What each of them waits between two commands.
    pub pace: Duration,
    /// Between two commands of a client at each node that looks for stalls.
    pub interval: Duration,
    /// How long a region may take to fill before the trial is given up.
    pub filled_max: Duration,
}

/// The regions that are there before.
pub const REGIONS: [&str; 2] = ["us-east", "eu-west"];
const ADDED: &str = "ap-south";
/// What clients of the others may have to wait.
const STALL_MS: Bar = Bar::AtMost(100.0);
/// Clients are watched so long before and after.
const AROUND: Duration = Duration::from_secs(3);

/// Runs the trial in a cluster of [`REGIONS`].
pub fn run(cluster: &mut Cluster, cores: &Cores, plan: &Plan, setting: String) -> Result<Sheet, String> {
    let mut sheet = Sheet::new(setting);
    plan.texts.fill(&mut cluster.nodes[0].client());
    cluster.await_equal();
    let addresses = cluster.nodes.iter().flat_map(|node| std::iter::repeat_n(node.resp.clone(), plan.clients));
    let load = Load { pace: plan.pace, seed: plan.texts.seed, members: true };
    let writers = Writers::start_with(&addresses.collect::<Vec<_>>(), load);
    let waits = Waits::start(cluster, cores, plan.interval, || ReadsAndWrites {
        texts: plan.texts,
        random: Random::new(plan.texts.seed),
    });
    wait::pause(AROUND);
    waits.enter();
    cluster.nodes[0].client().must("SET marker written");
    let begun = Instant::now();
    cluster.admit(ADDED)?;
    let admitted = begun.elapsed();
    let added = cluster.nodes.last_mut().expect("it was just added");
    added.spawn();
    let address = added.resp.clone();
    wait::within(plan.filled_max, "the region that was added has what was there", || {
        let mut client = Client::connect(&address).map_err(|error| error.to_string())?;
        match client.try_call(&["EXISTS", "marker"]).map_err(|error| error.to_string())? {
            reply if reply.integer() == Some(1) => Ok(()),
            other => Err(other.to_string()),
        }
    });
    let filled = begun.elapsed();
    let mut client = added.client();
    plan.texts.check(&mut client, &mut Random::new(plan.texts.seed), CHECKED)?;
    wait::pause(AROUND);
    let waited = waits.stop(cluster);
    let told = Account::stop(cluster, writers, plan.clients);
    let stopped = Instant::now();
    let account = Account::draw_up(cluster, told, stopped);
    let mut waited = waited?;
    for (at, node) in cluster.nodes.iter().take(REGIONS.len()).enumerate() {
        waited.show(at, &node.name, STALL_MS, &mut sheet);
    }
    for (node, told) in &account.told[..REGIONS.len()] {
        sheet.add(format!("{node}: longest wait of its writing clients"), told.latency_ms(1.0), "ms", Bar::None);
    }
    let keys = cluster.nodes[0].client().must("DBSIZE").integer().unwrap_or_default();
    sheet.add("keys", keys as f64, "", Bar::AtLeast(plan.texts.keys as f64));
    for (what, time) in [("admitted", admitted), ("filled and serving", filled)] {
        sheet.add(format!("{what} after"), time.as_secs_f64(), "s", Bar::None);
    }
    sheet.add("equal after the last write", account.equal.as_secs_f64(), "s", Bar::None);
    sheet.faulty(account.faults());
    let begun = Instant::now();
    let removed = cluster.nodes[0].pelago(&["region", "remove", ADDED]);
    sheet.add("removed after", begun.elapsed().as_secs_f64(), "s", Bar::None);
    if !removed.status.success() {
        sheet.fault(format!("it could not be removed: {}", crate::node::text(&removed.stderr)));
    }
    Ok(sheet)
}

/// Keys that are looked at in the region that was added.
const CHECKED: usize = 10_000;
