//! Short forms of the two long trials (`cargo run --release -p tests --bin outage`).

use std::time::Duration;
use tests::cluster::Cluster;
use tests::{outage, ring_exceeded};

#[test]
fn a_cut_costs_no_client_an_error_and_no_increment_is_lost() {
    let cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let plan = outage::Plan {
        before: Duration::from_secs(1),
        cut: Duration::from_secs(4),
        after: Duration::from_secs(1),
        clients: 2,
        pace: Duration::from_millis(1),
        seed: 1,
    };
    let outcome = outage::run(&cluster, &plan);
    println!("{outcome}");
    assert!(outcome.faults().is_empty(), "{}\n{outcome}", outcome.faults().join("\n"));
    assert!(outcome.told.iter().all(|(_, told)| told.commands > 500), "{outcome}");
    assert!(outcome.caught_up < Duration::from_secs(10), "{outcome}");
}

#[test]
fn a_region_that_was_away_too_long_for_the_ring_gets_what_changed_and_little_more() {
    let cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["ring-bytes=1mb"]);
    let plan = ring_exceeded::Plan { keys: 50_000, value_bytes: 100, changed: 20_000, pace: Duration::from_millis(2) };
    let outcome = ring_exceeded::run(&cluster, plan);
    println!("{outcome}");
    assert!(outcome.sessions >= 1, "the ring was to be exceeded\n{outcome}");
    assert_eq!(outcome.verify, Some(0), "{outcome}");
    assert_eq!(outcome.others.errors_count, 0, "{outcome}");
    assert!(outcome.share() < SHARE_MAX, "{outcome}");
}

/// Stamps and names of slots come on top of keys and values; everything twice would be too much.
const SHARE_MAX: f64 = 2.0;
