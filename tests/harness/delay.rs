//! How soon a write can be read in another region when little else happens: a change must not wait for company.

use crate::cluster::Cluster;
use crate::wait;
use std::fmt;
use std::time::{Duration, Instant};

/// How many, and how rarely.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Writes.
    pub writes: usize,
    /// From one that is visible to the next.
    pub interval: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// From the writer's answer until a reader elsewhere saw the value, of each write, sorted.
    pub visible: Vec<Duration>,
    /// From the command until its answer, of each write, sorted.
    pub answered: Vec<Duration>,
    /// How long one look took: what came later than it was looked for is that much too long at most.
    pub look: Duration,
    /// What the writer's node says itself: batches of which it had word so many milliseconds after the first write in
    /// them that they were applied, by the upper end of the range.
    pub applied: Vec<(String, u64)>,
}

/// Writes at the first node and reads at the second.
pub fn run(cluster: &Cluster, plan: Plan) -> Outcome {
    let (mut writer, mut reader) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    let applied_before = applied(cluster);
    let (mut visible, mut answered) = (Vec::new(), Vec::new());
    let (mut looks, mut looking) = (0, Duration::ZERO);
    for number in 0..plan.writes {
        let begin = Instant::now();
        writer.must(&format!("SET number {number}"));
        let written = Instant::now();
        answered.push(written - begin);
        loop {
            let shown = reader.must("GET number").text().and_then(|text| text.parse::<usize>().ok());
            looks += 1;
            if shown == Some(number) {
                break;
            }
            assert!(written.elapsed() < wait::PATIENCE, "a write does not arrive: {shown:?} instead of {number}");
        }
        visible.push(written.elapsed());
        looking += written.elapsed();
        // SUBTLE: counted from here, or one write that is late would have the next follow its batch at once, and so on.
        wait::pause(plan.interval);
    }
    visible.sort_unstable();
    answered.sort_unstable();
    let of = |range: &str| applied_before.iter().find(|(known, _)| known == range).map_or(0, |(_, count)| *count);
    let applied = applied(cluster).into_iter().map(|(range, count)| (range.clone(), count - of(&range))).collect();
    Outcome { visible, answered, look: looking / looks.max(1), applied }
}

/// The ranges of the writer's figure, and how many batches were in them or below.
fn applied(cluster: &Cluster) -> Vec<(String, u64)> {
    let metrics = cluster.nodes[0].metrics();
    let rows = metrics.lines().filter(|line| line.starts_with(APPLIED));
    rows.filter_map(|row| {
        let (labels, count) = row.rsplit_once(' ')?;
        let range = labels.split_once("le=\"")?.1.split('"').next()?;
        Some((range.to_owned(), count.parse().ok()?))
    })
    .collect()
}

const APPLIED: &str = "pelago_peer_write_to_applied_ms_bucket";

impl Outcome {
    /// The time that `share` of the writes did not exceed. 1.0 is the longest.
    pub fn visible_within(&self, share: f64) -> Duration {
        at(&self.visible, share)
    }
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * share).ceil() as usize;
    sorted.get(index.min(last)).copied().unwrap_or_default()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes = self.visible.len();
        for (what, times) in
            [("from answer to visible elsewhere", &self.visible), ("from command to answer", &self.answered)]
        {
            let shown: Vec<String> = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)]
                .iter()
                .map(|(name, share)| format!("{name} {:.0} us", at(times, *share).as_nanos() as f64 / 1e3))
                .collect();
            writeln!(f, "{what:<33} {}", shown.join("   "))?;
        }
        let within = self.visible.iter().filter(|time| **time <= Duration::from_millis(1)).count();
        writeln!(f, "{within} of {writes} visible within 1 ms; one look took {} us", self.look.as_micros())?;
        let ranges: Vec<String> =
            self.applied.iter().map(|(range, count)| format!("{count} within {range} ms")).collect();
        writeln!(f, "batches of whose application the writer's node had word: {}", ranges.join(", "))
    }
}
