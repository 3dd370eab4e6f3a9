//! Random calls of all families, and random talks of several clients, answered as Redis answers them.

use tests::cluster::Cluster;
use tests::differential::{FOR_TALKS, Grammar, run, run_talks};
use tests::redis::Redis;

/// What is answered the same, at least. What is known to differ is in `docs/differences.md`.
const IDENTICAL_PERCENT_MIN: f64 = 99.5;
/// Sequences and talks. With more of them `--bin differential` is run by hand.
const SEQUENCES: u64 = 240;
const TALKS: u64 = 120;

#[test]
fn random_calls_are_answered_as_redis_answers_them() {
    let Some(redis) = Redis::start("what commands answer") else { return };
    let cluster = Cluster::start(&["only"]);
    let node = || cluster.nodes[0].client();
    let grammar = Grammar::read(&mut redis.client(), &mut node());
    assert!(grammar.missing.is_empty(), "{:?} are not offered", grammar.missing);
    let report = run(&grammar, 1..=SEQUENCES, &node, &|| redis.client());
    println!("{report}");
    let unused: Vec<_> = grammar
        .commands
        .keys()
        .filter(|name| !FOR_TALKS.contains(&name.as_str()))
        .filter_map(|name| name.split('|').next())
        .filter(|name| !report.by_command.contains_key(&name.to_ascii_uppercase()))
        .collect();
    assert!(unused.is_empty(), "never called: {unused:?}");
    assert!(report.identical_percent() >= IDENTICAL_PERCENT_MIN, "{report}");
}

#[test]
fn what_clients_say_to_each_other_goes_as_with_redis() {
    let Some(redis) = Redis::start("what several clients are told") else { return };
    let cluster = Cluster::start(&["only"]);
    let node = || cluster.nodes[0].client();
    let grammar = Grammar::read(&mut redis.client(), &mut node());
    let report = run_talks(&grammar, 1..=TALKS, &node, &|| redis.client());
    println!("{report}");
    let spoken = ["publish", "spublish", "xread", "xreadgroup", "watch", "exec", "acl", "auth", "eval", "hello"];
    let unused: Vec<_> = FOR_TALKS
        .iter()
        .chain(&spoken)
        .filter_map(|name| name.split('|').next())
        .filter(|name| !report.by_command.contains_key(&name.to_ascii_uppercase()))
        .collect();
    assert!(unused.is_empty(), "never called: {unused:?}");
    assert!(report.identical_percent() >= IDENTICAL_PERCENT_MIN, "{report}");
}
