//! A single write is soon elsewhere (`cargo run --release -p tests --bin figures -- --delay` has the figures).

use std::time::Duration;
use tests::cluster::Cluster;
use tests::delay;

#[test]
fn a_single_write_does_not_wait_for_others() {
    // An interval that nobody mistakes for a loaded machine: a write leaves before it is over, whether the one before was
    // longer ago than that or not.
    let cluster = Cluster::start_with(&["us-east", "eu-west"], &["batch-interval-ms=500"]);
    for (writes, interval_ms) in [(100, 5), (5, 600)] {
        let outcome = delay::run(&cluster, delay::Plan { writes, interval: Duration::from_millis(interval_ms) });
        println!("{outcome}");
        // A build without optimisation on a loaded machine takes some of it; waiting for a heartbeat would take 250 ms.
        assert!(outcome.visible_within(0.5) < Duration::from_millis(25), "every {interval_ms} ms: {outcome}");
    }
}
