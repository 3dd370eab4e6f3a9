//! Short forms of the long trials (`cargo run --release -p tests --bin outage`).

use std::time::Duration;
use tests::cluster::Cluster;
use tests::cut_plan::CutPlan;
use tests::{crashes, link_cut, outage, ring_exceeded};

#[test]
fn a_cut_costs_no_client_an_error_and_no_increment_is_lost() {
    let cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let plan = CutPlan::short(Duration::from_millis(1));
    let outcome = outage::run(&cluster, &plan);
    println!("{outcome}");
    let faults = outcome.account.faults();
    assert!(faults.is_empty(), "{}\n{outcome}", faults.join("\n"));
    assert!(outcome.account.told.iter().all(|(_, told)| told.commands > 500), "{outcome}");
    assert!(outcome.caught_up < Duration::from_secs(10), "{outcome}");
    // Who was cut off has closed its links itself, the others have seen them close.
    for (node, links) in cluster.nodes.iter().zip([1.0, 1.0, 2.0]) {
        let lost = node.metrics().sum("pelago_peer_links_lost_total", "");
        assert!(lost >= links, "{} says that it lost {lost} links", node.name);
    }
}

#[test]
fn a_region_that_was_away_too_long_for_the_ring_gets_what_changed_and_little_more() {
    let cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["ring-bytes=1mb", "persistence=off"]);
    let plan = ring_exceeded::Plan { keys: 50_000, value_bytes: 100, changed: 20_000, pace: Duration::from_millis(2) };
    let outcome = ring_exceeded::run(&cluster, plan);
    println!("{outcome}");
    assert!(outcome.sessions >= 1, "the ring was to be exceeded\n{outcome}");
    assert_eq!(outcome.verify, Some(0), "{outcome}");
    assert_eq!(outcome.others.errors_count, 0, "{outcome}");
    assert!(outcome.others.commands > 0 && outcome.sent_by.iter().sum::<u64>() > 0, "nothing was tried\n{outcome}");
    assert!(outcome.share() < SHARE_MAX, "{outcome}");
}

/// Stamps and names of slots come on top of keys and values; everything twice would be too much.
const SHARE_MAX: f64 = 2.0;

#[test]
fn two_regions_without_a_link_reach_each_other_through_the_third() {
    let cluster = Cluster::start(&link_cut::REGIONS);
    let plan = CutPlan::short(Duration::from_millis(2));
    let outcome = link_cut::run(&cluster, &plan);
    println!("{outcome}");
    let faults = outcome.faults(OLDEST_VIEW_MAX);
    assert!(faults.is_empty(), "{}\n{outcome}", faults.join("\n"));
    assert!(outcome.pulls[..2].iter().all(|&pulls| pulls > 0), "the third was to be asked\n{outcome}");
}

/// The grace time and what a loaded machine may need beyond.
const OLDEST_VIEW_MAX: Duration = Duration::from_secs(4);

#[test]
fn a_region_that_crashes_takes_with_it_only_what_nobody_else_had() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["persistence=off"]);
    let plan = crashes::Plan {
        rounds: 2,
        keys: 3000,
        writing: Duration::from_millis(500),
        clients: 2,
        pace: Duration::from_millis(2),
        seed: 1,
        durable: false,
    };
    let outcome = crashes::run(&mut cluster, &plan);
    println!("{outcome}");
    assert!(outcome.faults().is_empty(), "{}\n{outcome}", outcome.faults().join("\n"));
    assert_ne!(outcome.rounds[0].catalogue_lost, outcome.rounds[1].catalogue_lost, "{outcome}");
}
