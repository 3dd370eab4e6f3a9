//! How many bytes are written to disk for each byte that is changed, while the same keys are overwritten again and again.

use crate::checkpoint::{await_no_checkpoint, checkpoint_bytes};
use crate::cluster::Cluster;
use crate::figure::{Bar, Sheet};
use crate::node::Node;
use crate::processor::written_bytes;
use crate::random::Random;
use crate::texts::Texts;
use crate::wait;
use std::time::{Duration, Instant};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The keys, and their values in the first round.
    pub texts: Texts,
    /// How often as many keys as there are, are overwritten.
    pub rounds: usize,
    /// Writes a second; 0 is as many as the node takes.
    pub rate: usize,
}

const TIMES: Bar = Bar::AtMost(3.0);
/// Overwrites that are sent at once, at most.
const CHUNK: usize = 1_000;
/// How often some are sent when there is a rate.
const CHUNKS_A_SECOND: usize = 1_000;
/// How long what is written may take to be on disk.
const REST_MAX: Duration = Duration::from_secs(60);

/// Runs the trial at the first node, which is alone.
pub fn run(cluster: &Cluster, plan: &Plan, setting: String) -> Result<Sheet, String> {
    let node = &cluster.nodes[0];
    let mut client = node.client();
    plan.texts.fill(&mut client);
    settle(node)?;
    let before = Written::of(node)?;
    let writes = plan.texts.keys * plan.rounds;
    let mut random = Random::new(plan.texts.seed);
    let begin = Instant::now();
    // A calm node closes many small batches: writes at a rate come evenly.
    let chunk = if plan.rate == 0 { CHUNK } else { (plan.rate / CHUNKS_A_SECOND).clamp(1, CHUNK) };
    for done in (0..writes).step_by(chunk) {
        if plan.rate > 0 {
            let due = Duration::from_secs_f64(done as f64 / plan.rate as f64);
            wait::pause(due.saturating_sub(begin.elapsed()));
        }
        // Every chunk has values of its own.
        let texts = Texts { seed: random.word(), ..plan.texts };
        texts.write(&mut client, (0..chunk.min(writes - done)).map(|_| random.below(plan.texts.keys)));
    }
    let took = begin.elapsed();
    settle(node)?;
    let after = Written::of(node)?;
    let changed = (writes * plan.texts.bytes_each()) as f64;
    let mut sheet = Sheet::new(setting);
    let system = after.system - before.system;
    let own = after.journal - before.journal + after.checkpoints - before.checkpoints;
    sheet.add("bytes of keys and values overwritten", changed, "B", Bar::None);
    sheet.add("overwrites a second", writes as f64 / took.as_secs_f64(), "/s", Bar::None);
    sheet.add("checkpoints meanwhile", after.count - before.count, "", Bar::None);
    sheet.add(
        "journal, by the node's metric, of the changed bytes",
        (after.journal - before.journal) / changed,
        "x",
        Bar::None,
    );
    sheet.add(
        "checkpoints, by the node's metric, of the changed bytes",
        (after.checkpoints - before.checkpoints) / changed,
        "x",
        Bar::None,
    );
    sheet.add("written, by the node's metrics, of the changed bytes", own / changed, "x", TIMES);
    sheet.add("written, as Linux counts it, of the changed bytes", system / changed, "x", TIMES);
    if system < own / 2.0 {
        sheet.fault(format!(
            "Linux counts {system} bytes written and the node {own}: its directory {} is not on a disk",
            node.directory.display()
        ));
    }
    Ok(sheet)
}

/// What has been written since the node started.
struct Written {
    system: f64,
    journal: f64,
    checkpoints: f64,
    count: f64,
}

impl Written {
    fn of(node: &Node) -> Result<Self, String> {
        let metrics = node.metrics();
        Ok(Self {
            system: written_bytes(node.process_id())? as f64,
            journal: metrics.try_sum("pelago_store_appended_bytes_total", "")?,
            checkpoints: checkpoint_bytes(node),
            count: metrics.try_sum("pelago_store_checkpoints_total", "")?,
        })
    }
}

/// Waits until everything that was written is on disk, and no checkpoint is taken.
fn settle(node: &Node) -> Result<(), String> {
    let mut client = node.client();
    await_no_checkpoint(&mut client);
    let reply = client.line(&format!("WAITAOF 1 0 {}", REST_MAX.as_millis()));
    match reply.elements().first().and_then(crate::reply::Reply::integer) {
        Some(1) => Ok(()),
        _ => Err(format!("what was written does not reach the disk: {reply}")),
    }
}
