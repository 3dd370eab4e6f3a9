//! A single write is soon elsewhere (`cargo run --release -p tests --bin figures -- --delay` has the figures).

use std::time::Duration;
use tests::cluster::Cluster;
use tests::delay;

#[test]
fn a_single_write_does_not_wait_for_others() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let outcome = delay::run(&cluster, delay::Plan { writes: 200, interval: Duration::from_millis(5) });
    println!("{outcome}");
    // A build without optimisation on a loaded machine takes some of it; waiting for a heartbeat would take 250 ms.
    assert!(outcome.visible_within(0.5) < Duration::from_millis(25), "{outcome}");
}
