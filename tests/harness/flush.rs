//! What keeping keys on disk costs a node that is written to as fast as it goes, and what it costs Redis.

use crate::checkpoint::info;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::figure::{Bar, Sheet, median};
use crate::pipelines::{self, Pipelines};
use crate::processor::{busy_nanoseconds, nanoseconds};
use crate::redis::Redis;
use crate::wait;
use std::time::Duration;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is sent.
    pub load: pipelines::Plan,
    /// How long each server is loaded in each round, after a quarter of that to warm up.
    pub time: Duration,
    /// Rounds: in each, every server has its turn.
    pub rounds: usize,
}

const OF_NO_PERSISTENCE: Bar = Bar::AtLeast(0.85);
const OF_REDIS: Bar = Bar::AtLeast(1.5);
/// Below, the server waited: for the load, or for a disk.
const BUSY_MIN: f64 = 0.9;
/// Above, the load has no time left.
const LOAD_BUSY_MAX: f64 = 0.95;
const REST_MAX: Duration = Duration::from_secs(120);

/// One server, and what it did in each round.
struct Server<'a> {
    name: &'static str,
    cores: &'a str,
    address: String,
    process: u32,
    turns: Vec<Turn>,
}

#[derive(Clone, Copy)]
struct Turn {
    /// Writes a second.
    rate: f64,
    /// Nanoseconds on a processor for each write, of all threads.
    nanoseconds: f64,
    /// The share of one core that it used.
    busy: f64,
    /// The share of one core that the load used.
    load_busy: f64,
    /// The share of one core that others used of its cores.
    others: f64,
}

/// Runs the trial: `durable` and `volatile` are clusters of one node. All servers are on `cores`.
pub fn run(
    durable: &Cluster,
    volatile: &Cluster,
    redis: &Redis,
    cores: &str,
    plan: &Plan,
    setting: String,
) -> Result<Sheet, String> {
    let node = |name, cluster: &Cluster| {
        let node = &cluster.nodes[0];
        Server { name, cores, address: node.resp.clone(), process: node.process_id(), turns: Vec::new() }
    };
    let mut servers = [
        node("node with everysec", durable),
        node("node without persistence", volatile),
        Server {
            name: "redis-server with everysec",
            cores,
            address: redis.address.clone(),
            process: redis.process_id(),
            turns: Vec::new(),
        },
    ];
    for round in 0..plan.rounds {
        for server in &mut servers {
            let load = pipelines::Plan { seed: plan.load.seed.wrapping_add(round as u64), ..plan.load };
            let turn = server.turn(load, plan.time)?;
            server.turns.push(turn);
        }
    }
    let mut sheet = Sheet::new(setting);
    for server in &servers {
        server.show(&mut sheet);
    }
    let [durable, volatile, redis] = servers.each_ref().map(|server| &server.turns);
    sheet.add(
        "throughput of everysec, of that without persistence",
        ratio(durable, volatile, |turn| turn.rate),
        "x",
        OF_NO_PERSISTENCE,
    );
    let cost = ratio(durable, volatile, |turn| turn.nanoseconds);
    sheet.add("processor time a write of everysec, of that without", cost, "x", Bar::None);
    sheet.add("throughput of everysec, of redis-server's", ratio(durable, redis, |turn| turn.rate), "x", OF_REDIS);
    Ok(sheet)
}

/// The median over the rounds of the ratio in each round: what the machine does meanwhile meets both.
fn ratio(one: &[Turn], other: &[Turn], of: impl Fn(&Turn) -> f64) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| of(one) / of(other)).collect())
}

impl Server<'_> {
    fn turn(&self, load: pipelines::Plan, time: Duration) -> Result<Turn, String> {
        await_rest(&self.address);
        let mut pipelines = Pipelines::connect(&self.address, load)?;
        pipelines.run(time / 4)?;
        let own = std::process::id();
        let before = (nanoseconds(self.process)?, nanoseconds(own)?, busy_nanoseconds(self.cores)?);
        let (writes, took) = pipelines.run(time)?;
        let used = nanoseconds(self.process)?.saturating_sub(before.0) as f64;
        let on_cores = busy_nanoseconds(self.cores)?.saturating_sub(before.2) as f64;
        let used_by_load = nanoseconds(own)?.saturating_sub(before.1) as f64;
        let (writes, seconds) = (writes as f64, took.as_secs_f64());
        Ok(Turn {
            rate: writes / seconds,
            nanoseconds: used / writes,
            busy: used / 1e9 / seconds,
            load_busy: used_by_load / 1e9 / seconds,
            others: (on_cores - used).max(0.0) / 1e9 / seconds,
        })
    }

    fn show(&self, sheet: &mut Sheet) {
        let of = |of: fn(&Turn) -> f64| median(self.turns.iter().map(of).collect());
        let (name, busy) = (self.name, of(|turn| turn.busy));
        sheet.add(format!("{name}: throughput"), of(|turn| turn.rate), "/s", Bar::None);
        sheet.add(format!("{name}: processor time a write"), of(|turn| turn.nanoseconds), "ns", Bar::None);
        sheet.add(format!("{name}: share of a core in use"), busy, "", Bar::None);
        let load_busy = of(|turn| turn.load_busy);
        sheet.add(format!("{name}: share of a core that the load used"), load_busy, "", Bar::None);
        let others = of(|turn| turn.others);
        let used = format!("{name} used {busy:.2} of a core");
        if busy >= BUSY_MIN {
            return;
        }
        if others > 1.0 - BUSY_MIN {
            sheet.fault(format!("{used} and others {others:.2} of the same: nothing is measured"));
        } else if load_busy > LOAD_BUSY_MAX {
            sheet.fault(format!("{used}: its throughput is that of the load, which had no more"));
        } else {
            sheet.note(format!("{used}, the load {load_busy:.2}: a disk was waited for, or answers"));
        }
    }
}

/// Waits until a server does nothing by itself any more: no checkpoint, no rewriting.
pub fn await_rest(address: &str) {
    let mut client = Client::connect(address).expect("the server takes connections");
    wait::within(REST_MAX, "the server rests", || {
        let running = info(&mut client, "rdb_bgsave_in_progress")? + info(&mut client, "aof_rewrite_in_progress")?;
        if running == 0 { Ok(()) } else { Err("it writes a checkpoint".to_owned()) }
    });
}
