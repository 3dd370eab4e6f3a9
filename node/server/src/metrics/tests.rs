//! What metrics promise.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::command::table::table;
use crate::tally::Tally;
use crate::testing::node;

/// A node and the tallies of two workers.
struct Scene {
    node: Node,
    workers: [Arc<Tally>; 2],
}

impl Scene {
    fn new() -> Self {
        let node = node();
        let workers = [node.tallies.add(), node.tallies.add()];
        Self { node, workers }
    }

    fn metrics(&self) -> &Metrics {
        &self.node.console.metrics
    }

    fn text(&self) -> String {
        self.metrics().text(&self.node)
    }

    fn statistics(&self) -> Statistics {
        self.metrics().statistics(&self.node)
    }

    #[track_caller]
    fn shows(&self, lines: &[&str]) {
        let text = self.text();
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
    }
}

fn ordinal(name: &str) -> usize {
    table().find_full(name.as_bytes()).unwrap().ordinal
}

#[test]
fn workers_count_apart_and_are_shown_together() {
    let scene = Scene::new();
    for worker in &scene.workers {
        worker.call(ordinal("get"));
        worker.time(ordinal("get"), 10_000);
        worker.bytes_in.add(100);
    }
    scene.workers[0].rejected(Some(ordinal("config|get")), "NOAUTH Authentication required.");
    scene.shows(&[
        "# TYPE pelago_commands_total counter",
        "pelago_commands_total 2",
        "pelago_bytes_read_total 200",
        "pelago_command_calls_total{command=\"get\"} 2",
        "pelago_command_duration_seconds_count{command=\"get\"} 2",
        "pelago_command_rejected_total{command=\"config|get\"} 1",
        "pelago_errors_total{code=\"NOAUTH\"} 1",
    ]);
    assert!(!scene.text().contains("\"set\""), "commands that nobody calls are not shown");
}

#[test]
fn peers_have_a_label_that_is_escaped() {
    let scene = Scene::new();
    let metrics = scene.metrics();
    metrics.replication.peer("eu-\"west\"-1").applied_lag_ms.set(42);
    metrics.replication.peer("gone-1").applied_lag_ms.set(7);
    let kept = ["eu-\"west\"-1".to_owned()].into();
    assert_eq!(metrics.replication.keep_peers(&kept).len(), 1);
    assert_eq!(metrics.replication.keep_peers(&kept).len(), 0);
    let text = scene.text();
    assert!(text.contains("pelago_peer_applied_lag_ms{peer=\"eu-\\\"west\\\"-1\"} 42\n"), "{text}");
    assert!(!text.contains("gone-1"));
}

#[test]
fn figures_kept_elsewhere_are_copied_when_shown() {
    let scene = Scene::new();
    let metrics = scene.metrics();
    metrics.on_scrape(|metrics| {
        metrics.keyspace.early_dots.set(12);
        metrics.keyspace.changes_made.mirror(10);
    });
    metrics.replication.peer("a").bytes_out.add(500);
    metrics.replication.limits_met.add("waiting-bytes", 2);
    metrics.set_allocator_probe(|| AllocatorFigures { allocated: 9, active: 10, resident: 11 });
    metrics.set_identity("eu-west-1", "eu-west");
    scene.shows(&[
        "pelago_keyspace_early_dots 12",
        "pelago_keyspace_keys{database=\"15\"} 0",
        "pelago_keyspace_conflicts_total{kind=\"type\"} 0",
        "pelago_replication_bytes_out_per_write 50",
        "pelago_replication_limits_met_total{limit=\"waiting-bytes\"} 2",
        "pelago_allocator_allocated_bytes 9",
        "pelago_info{version=\"0.1.0\",node=\"eu-west-1\",region=\"eu-west\"} 1",
    ]);
}

#[test]
fn every_sample_belongs_to_the_metric_announced_before_it_and_none_is_announced_twice() {
    let scene = Scene::new();
    scene.metrics().replication.peer("a");
    scene.workers[0].rejected(None, "ERR no");
    let mut announced = BTreeSet::new();
    let mut current = String::new();
    for line in scene.text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(announced.insert(current.clone()), "{current} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&current), "{line} after {current}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn a_reset_begins_what_info_counts_anew_and_leaves_prometheus_alone() {
    let scene = Scene::new();
    let (worker, get) = (&scene.workers[0], ordinal("get"));
    (0..5).for_each(|_| _ = worker.call(get));
    worker.time(get, 8_000);
    worker.failed(get, "ERR no");
    scene.metrics().reset_statistics(&scene.node);
    assert_eq!(scene.statistics().workers.commands, 0);
    assert!(scene.statistics().errors.is_empty());
    (0..2).for_each(|_| _ = worker.call(get));
    worker.time(get, 100_000);
    worker.failed(get, "WRONGTYPE Operation against");
    let statistics = scene.statistics();
    assert_eq!(statistics.workers.commands, 2);
    let command = &statistics.by_command[get];
    assert_eq!((command.calls, command.failed, command.timed, command.micros()), (2, 1, 1, 200));
    assert_eq!(statistics.errors.into_iter().collect::<Vec<_>>(), [("WRONGTYPE".to_owned(), 1)]);
    scene.shows(&["pelago_commands_total 7"]);
}

#[test]
fn rates_are_averages_over_the_latest_samples() {
    let scene = Scene::new();
    let sample = |now| scene.metrics().sample_rates(&scene.node, now);
    assert_eq!(scene.metrics().rates(), Rates::default());
    sample(1_000);
    scene.workers[1].commands.add(100);
    scene.workers[1].bytes_in.add(3_000);
    sample(1_500);
    sample(1_500);
    let rates = scene.metrics().rates();
    assert_eq!((rates.commands, rates.bytes_read), (200.0, 6_000.0));
    (0..16).for_each(|number| sample(2_000 + number));
    assert_eq!(scene.metrics().rates().commands, 0.0);
}

#[test]
fn ranges_include_their_upper_end() {
    let histogram = Histogram::new(&[10, 20]);
    [10, 11, 20, 21, u64::MAX].iter().for_each(|value| histogram.observe(*value));
    let mut out = Exposition::new();
    out.sample("h", &[], &instrument::Instrument::sample(&histogram));
    let text = out.finish();
    assert!(text.starts_with("h_bucket{le=\"10\"} 1\nh_bucket{le=\"20\"} 3\nh_bucket{le=\"+Inf\"} 5\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_event_loop_is_noticed() {
    let console = ConsoleMetrics::default();
    let stall = async {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(350)).await;
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(1)).await;
    };
    let work = std::cell::Cell::new(0);
    let works = || work.replace(work.get() + 1);
    tokio::select! { () = watch_event_loop(&console, works) => {}, () = stall => {} }
    assert!(console.event_loop_stall_us_max.value() >= 200_000, "{}", console.event_loop_stall_us_max.value());
    assert_eq!(console.event_loop_stalls.value(), 1);
}

#[test]
fn the_documentation_is_current() {
    crate::document_check::is_current("docs/metrics.md", &document());
}
