//! A region is away for longer than the others remember batches: it catches up by comparing state, and only what
//! changed may cross the wire.

use crate::cluster::Cluster;
use crate::load::settle;
use crate::load::{Told, Writers};
use crate::node::Node;
use crate::wait;
use std::fmt;
use std::time::{Duration, Instant};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keys before the cut.
    pub keys: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Keys that others change during the cut.
    pub changed: usize,
    /// What clients of the others wait between two commands.
    pub pace: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// Bytes of keys and values that were changed.
    pub changed_bytes: u64,
    /// Bytes that each other node sent to the region that had been away, from the end of the cut until it was equal.
    pub sent_by: Vec<u64>,
    /// Bytes that it sent to them.
    pub returned_bytes: u64,
    /// Whether it caught up by state and not from remembered batches: sessions begun.
    pub sessions: u64,
    /// Time from the end of the cut until it had everything.
    pub caught_up: Duration,
    /// What clients of the other nodes were told meanwhile.
    pub others: Told,
    /// What the same clients were told just before, without anything going on.
    pub others_before: Told,
    /// Keys that the region holds at the end.
    pub keys_held: i64,
    /// Exit status of `pelago verify` at the end.
    pub verify: Option<i32>,
}

const AWAY: usize = 2;
const PIPELINE: usize = 1000;
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// How long clients are measured without anything going on.
const CALM: Duration = Duration::from_secs(3);
const BATCHES_SENT: &str = "pelago_peer_batches_out_total";

/// Runs the trial in a cluster of three, whose rings must be small.
pub fn run(cluster: &Cluster, plan: Plan) -> Outcome {
    write(&cluster.nodes[0], 0..plan.keys, plan.value_bytes, "0");
    // Loading may have been too fast for the rings already.
    cluster.await_equal();
    cluster.cut(AWAY);
    let half = plan.changed / 2;
    write(&cluster.nodes[0], 0..half, plan.value_bytes, "1");
    write(&cluster.nodes[1], half..plan.changed, plan.value_bytes, "1");
    let addresses: Vec<String> = cluster.nodes[..AWAY].iter().map(|node| node.resp.clone()).collect();
    let calm = Writers::start(&addresses, plan.pace, 1);
    wait::pause(CALM);
    let others_before = together(calm);
    let (sent_before, returned_before, sessions_before) = traffic(cluster);
    let writers = Writers::start(&addresses, plan.pace, 2);
    let healed = Instant::now();
    cluster.heal(AWAY);
    await_caught_up(cluster);
    let caught_up = healed.elapsed();
    let others = together(writers);
    cluster.nodes.iter().for_each(await_figures);
    let (sent, returned, sessions) = traffic(cluster);
    cluster.await_equal();
    let key_bytes: usize = (0..plan.changed).map(|key| name(key).len()).sum();
    Outcome {
        plan,
        changed_bytes: (key_bytes + plan.changed * plan.value_bytes) as u64,
        sent_by: sent.iter().zip(sent_before).map(|(after, before)| after - before).collect(),
        returned_bytes: returned - returned_before,
        sessions: sessions - sessions_before,
        caught_up,
        others,
        others_before,
        keys_held: cluster.nodes[AWAY].keys(),
        verify: cluster.nodes[0].pelago(&["verify"]).status.code(),
    }
}

fn together(writers: Writers) -> Told {
    Told::sum(writers.stop().into_iter())
}

fn name(key: usize) -> String {
    format!("key:{key:08}")
}

fn write(node: &Node, keys: std::ops::Range<usize>, value_bytes: usize, mark: &str) {
    let mut client = node.client();
    let mut queued = 0;
    for key in keys {
        // Not compressible beyond what real values are: the digits differ from key to key.
        let mut random = crate::random::Random::new(key as u64 ^ (u64::from(mark.as_bytes()[0]) << 40));
        let mut value = mark.to_owned();
        while value.len() < value_bytes {
            value.push_str(&format!("{:016x}", random.word()));
        }
        value.truncate(value_bytes);
        client.queue(&["SET", &name(key), &value]);
        queued += 1;
        if queued == PIPELINE {
            settle(&mut client, &mut queued);
        }
    }
    settle(&mut client, &mut queued);
}

/// Waits until the region has everything that was written before, whether from remembered batches, which are applied
/// in order, or by state, in any order, so that what was written last may be there first.
///
/// Not with a comparison of all slots: that crosses the wire that is measured, and does not end while clients write.
fn await_caught_up(cluster: &Cluster) {
    let (away, others) = (&cluster.nodes[AWAY], &cluster.nodes[..AWAY]);
    others.iter().for_each(|node| drop(node.client().must(&format!("SET healed:{} yes", node.name))));
    let mut client = away.client();
    wait::within(CATCH_UP_MAX, "the region has caught up", || {
        if let Some(node) =
            others.iter().find(|node| client.line(&format!("EXISTS healed:{}", node.name)).integer() != Some(1))
        {
            return Err(format!("it lacks what {} wrote", node.name));
        }
        // After the markers: a session may have brought them as the first thing of all.
        let status = client.json("PELAGO STATUS")?;
        let source = &status["catching_up_from"];
        if source.is_null() { Ok(()) } else { Err(format!("it catches up from {source}")) }
    });
}

/// Waits until a node's figures are later than now: it is told to send a batch, and they say that it has.
fn await_figures(node: &Node) {
    let before = node.metrics().sum(BATCHES_SENT, "");
    node.client().must(&format!("SET looked:{} yes", node.name));
    wait::until("the figures are up to date", || {
        let sent = node.metrics().try_sum(BATCHES_SENT, "")?;
        if sent > before { Ok(()) } else { Err(format!("{} has sent {sent} batches", node.name)) }
    });
}

/// Bytes of each other node to the region that is away, bytes from it, and sessions begun there.
fn traffic(cluster: &Cluster) -> (Vec<u64>, u64, u64) {
    let label = format!("\"{}\"", cluster.nodes[AWAY].name);
    let sent = |node: &Node| node.metrics().sum("pelago_peer_bytes_out_total", &label) as u64;
    let sent = cluster.nodes[..AWAY].iter().map(sent).collect();
    let away = cluster.nodes[AWAY].metrics();
    let returned = away.sum("pelago_peer_bytes_out_total", "");
    let sessions = away.sum("pelago_replication_sessions_total", "");
    (sent, returned as u64, sessions as u64)
}

impl Outcome {
    /// Bytes on the wire for each byte that changed.
    pub fn share(&self) -> f64 {
        self.sent_by.iter().sum::<u64>() as f64 / self.changed_bytes as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { keys, value_bytes, changed, .. } = self.plan;
        writeln!(f, "{keys} keys of {value_bytes} bytes, {changed} changed elsewhere during the cut")?;
        writeln!(f, "changed keys and values: {} bytes", self.changed_bytes)?;
        writeln!(f, "sent to the region:      {:?} bytes ({:.2} for each changed byte)", self.sent_by, self.share())?;
        writeln!(f, "sent by the region:      {} bytes", self.returned_bytes)?;
        writeln!(f, "catch-ups by state begun there: {}", self.sessions)?;
        writeln!(f, "caught up in {:.2} s; it holds {} keys", self.caught_up.as_secs_f64(), self.keys_held)?;
        for (when, told) in [("before", &self.others_before), ("meanwhile", &self.others)] {
            let (count, errors) = (told.commands, told.errors_count);
            let (p99, longest) = (told.latency_ms(0.99), told.latency_ms(1.0));
            writeln!(f, "others {when:<9}: p99 {p99:.2} ms, longest {longest:.1} ms, {errors} errors of {count}")?;
        }
        writeln!(f, "pelago verify: exit status {}", self.verify.map_or("none".to_owned(), |code| code.to_string()))
    }
}
