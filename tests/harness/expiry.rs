//! Many keys expire in the same second in three regions: nobody may see one of them afterwards, nobody may notice, their
//! memory must be free soon, and each must be removed by one owner.

use crate::checkpoint::info;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::figure::{Bar, Sheet};
use crate::load::settle;
use crate::node::Node;
use crate::random::Random;
use crate::reply::Reply;
use crate::steady::Script;
use crate::wait;
use crate::waits::Waits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keys that expire; each node writes its share.
    pub keys: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// From the first write until the first key expires.
    pub lifetime: Duration,
    /// Within which all expire.
    pub spread: Duration,
    /// Between two commands of the client that looks for stalls, and of the one that reads keys that expire.
    pub interval: Duration,
    /// How long memory may take before the trial is given up.
    pub free_max: Duration,
    /// Chooses what is read.
    pub seed: u64,
}

const SHOWN: Bar = Bar::AtMost(0.0);
const STALL_MS: Bar = Bar::AtMost(5.0);
const FREE_S: Bar = Bar::AtMost(10.0);
const PIPELINE: usize = 1_000;
/// Clients are watched so long before the first key expires.
const BEFORE: Duration = Duration::from_secs(3);
/// Memory is free when no more than this share of what the keys took is left.
const LEFT_SHARE_MAX: f64 = 0.05;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const FREED_BYTES: &str = "pelago_keyspace_memory_bytes";
const EXPIRED: &str = "pelago_keyspace_expired_total";

/// Runs the trial in a cluster.
pub fn run(cluster: &Cluster, cores: &Cores, plan: &Plan, setting: String) -> Result<Sheet, String> {
    let empty: Vec<f64> = cluster.nodes.iter().map(memory).collect();
    let expired_before = expired(cluster);
    let first_ms = now_ms() + millis(plan.lifetime);
    fill(cluster, plan, first_ms);
    await_keys(cluster, plan)?;
    let full: Vec<f64> = cluster.nodes.iter().map(memory).collect();
    let watching = first_ms.saturating_sub(millis(BEFORE));
    if now_ms() > watching {
        return Err(format!("the keys were written {} ms too late: take a longer --lifetime-s", now_ms() - watching));
    }
    pause_until(watching);
    let stalls_before: Vec<f64> = cluster.nodes.iter().map(own_stalls).collect();
    let waits = Waits::start(cluster, cores, plan.interval, || Probe);
    let readers: Vec<Reader> = cluster.nodes.iter().map(|node| Reader::start(node, *plan, first_ms)).collect();
    pause_until(first_ms);
    waits.enter();
    let over_ms = first_ms + millis(plan.spread);
    pause_until(over_ms);
    let over = Instant::now();
    let free = await_free(cluster, &empty, &full, over, plan)?;
    let mut waited = waits.stop(cluster)?;
    let seen: Vec<Sight> = readers.into_iter().map(Reader::stop).collect();
    let mut sheet = Sheet::new(setting);
    for (node, seen) in cluster.nodes.iter().zip(&seen) {
        show_sight(&node.name, seen, &mut sheet);
    }
    for (at, (node, own_before)) in cluster.nodes.iter().zip(stalls_before).enumerate() {
        waited.show(at, &node.name, STALL_MS, &mut sheet);
        sheet.add(format!("{}: its own stalls over 10 ms", node.name), own_stalls(node) - own_before, "", Bar::None);
    }
    for ((node, free), (empty, full)) in cluster.nodes.iter().zip(free).zip(empty.iter().zip(&full)) {
        let name = &node.name;
        sheet.add(format!("{name}: bytes that a key takes"), (full - empty) / plan.keys as f64, "B", Bar::None);
        match free {
            Ok(time) => sheet.add(format!("{name}: time until their memory is free"), time.as_secs_f64(), "s", FREE_S),
            Err(fault) => sheet.fault(fault),
        }
    }
    cluster.await_equal();
    let removed = expired(cluster) - expired_before;
    sheet.add("removals, counted at all nodes together", removed, "", Bar::None);
    sheet.add("keys removed by none or by several", (removed - plan.keys as f64).abs(), "", Bar::AtMost(0.0));
    let verify = cluster.nodes[0].pelago(&["verify"]).status.code();
    if verify != Some(0) {
        sheet.fault(format!("pelago verify ended with {verify:?}"));
    }
    Ok(sheet)
}

fn show_sight(name: &str, seen: &Sight, sheet: &mut Sheet) {
    sheet.add(format!("{name}: reads before a deadline"), seen.before as f64, "", Bar::AtLeast(1.0));
    sheet.add(format!("{name}: of these, keys that were gone already"), seen.gone_early as f64, "", SHOWN);
    sheet.add(format!("{name}: reads after a deadline"), seen.after as f64, "", Bar::AtLeast(1.0));
    sheet.add(format!("{name}: of these, keys that were still shown"), seen.shown_late as f64, "", SHOWN);
    if seen.shown_late > 0 {
        sheet.note(format!("{name} showed a key up to {} ms after its deadline", seen.latest_ms));
    }
}

fn key(index: usize) -> String {
    format!("expiring:{index:010}")
}

/// When a key expires, in milliseconds since 1970.
fn deadline_ms(plan: &Plan, first_ms: u64, index: usize) -> u64 {
    first_ms + index as u64 % millis(plan.spread).max(1)
}

/// Every node writes its share.
fn fill(cluster: &Cluster, plan: &Plan, first_ms: u64) {
    let nodes = cluster.nodes.len();
    let value = "x".repeat(plan.value_bytes);
    for (at, node) in cluster.nodes.iter().enumerate() {
        let mut client = node.client();
        let mut queued = 0;
        for index in (at..plan.keys).step_by(nodes) {
            let deadline = deadline_ms(plan, first_ms, index).to_string();
            client.queue(&["SET", &key(index), &value, "PXAT", &deadline]);
            queued += 1;
            if queued == PIPELINE {
                settle(&mut client, &mut queued);
            }
        }
        settle(&mut client, &mut queued);
    }
}

/// Waits until every node has all keys.
fn await_keys(cluster: &Cluster, plan: &Plan) -> Result<(), String> {
    for node in &cluster.nodes {
        let mut client = node.client();
        wait::within(plan.lifetime, &format!("{} has all keys", node.name), || {
            let size = client.must("DBSIZE").integer();
            if size == i64::try_from(plan.keys).ok() { Ok(()) } else { Err(format!("it has {size:?}")) }
        });
    }
    Ok(())
}

/// Looks at all nodes until each is free of the keys, or there is no more patience. The time of each, or what it still has.
fn await_free(
    cluster: &Cluster,
    empty: &[f64],
    full: &[f64],
    over: Instant,
    plan: &Plan,
) -> Result<Vec<Result<Duration, String>>, String> {
    let mut clients = cluster.clients();
    let mut free: Vec<Result<Duration, String>> = vec![Err("nobody has looked".to_owned()); clients.len()];
    while free.iter().any(Result::is_err) && over.elapsed() <= plan.free_max {
        for at in (0..clients.len()).filter(|&at| free[at].is_err()).collect::<Vec<_>>() {
            let node = &cluster.nodes[at];
            let keys = clients[at].must("DBSIZE").integer().ok_or("DBSIZE is a number")?;
            let left = (memory(node) - empty[at]) / (full[at] - empty[at]);
            let passed = over.elapsed();
            free[at] = match keys == 0 && left <= LEFT_SHARE_MAX {
                true => Ok(passed),
                false => {
                    let used = info(&mut clients[at], "used_memory")?;
                    let left = left * 100.0;
                    let name = &node.name;
                    Err(format!(
                        "{name} has {keys} keys and {left:.1} % of their memory after {passed:?}; used_memory is {used}"
                    ))
                }
            };
        }
        wait::pause(LOOK_INTERVAL);
    }
    Ok(free)
}

/// Bytes that keys and values take.
fn memory(node: &Node) -> f64 {
    node.metrics().sum(FREED_BYTES, "")
}

fn expired(cluster: &Cluster) -> f64 {
    cluster.nodes.iter().map(|node| node.metrics().sum(EXPIRED, "")).sum()
}

fn own_stalls(node: &Node) -> f64 {
    node.metrics().sum("pelago_console_event_loop_stalls_total", "")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970"))
}

fn pause_until(ms: u64) {
    wait::pause(Duration::from_millis(ms.saturating_sub(now_ms())));
}

/// Asks for a key that is not there, all over the keyspace, which a node answers with next to no work.
struct Probe;

impl Script for Probe {
    fn command(&mut self, number: u64) -> Vec<String> {
        vec!["GET".to_owned(), format!("probe:{number}")]
    }
}

/// What a reader of keys that expire has seen.
#[derive(Debug, Default)]
struct Sight {
    before: u64,
    gone_early: u64,
    after: u64,
    shown_late: u64,
    latest_ms: u64,
}

struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sight>,
}

impl Reader {
    fn start(node: &Node, plan: Plan, first_ms: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut client, over) = (node.client(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let (mut sight, mut random) = (Sight::default(), Random::new(plan.seed));
            while !over.load(Ordering::Relaxed) {
                sight.look(&mut client, &plan, first_ms, random.below(plan.keys));
                wait::pause(plan.interval);
            }
            sight
        });
        Self { stop, thread }
    }

    fn stop(self) -> Sight {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a reader keeps its connection")
    }
}

impl Sight {
    /// Reads a key. What is asked for after its deadline must not be shown, what is answered before it must be.
    fn look(&mut self, client: &mut Client, plan: &Plan, first_ms: u64, index: usize) {
        let deadline = deadline_ms(plan, first_ms, index);
        let asked = now_ms();
        let reply = client.call(&["GET", &key(index)]);
        let answered = now_ms();
        let is_shown = !matches!(reply, Reply::Null(_));
        // Clocks are read in whole milliseconds, and a key may be shown in the millisecond of its deadline.
        if asked > deadline {
            self.after += 1;
            self.shown_late += u64::from(is_shown);
            if is_shown {
                self.latest_ms = self.latest_ms.max(asked - deadline);
            }
        } else if answered < deadline {
            self.before += 1;
            self.gone_early += u64::from(!is_shown);
        }
    }
}
