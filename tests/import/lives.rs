//! Lives of keys while a running Redis is followed: no key ends before the source says so, and at the end all have their
//! own ends.

use super::live::{Import, prepare, url};
use super::{assert_same, report};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::redis::Redis;
use tests::wait;

/// Keys with short lives at the source, imported and then renewed before they were over; the latest first end of them, in
/// Unix milliseconds. How long an import takes here is not known, so lives are longer from try to try.
fn import_and_renew(source: &mut Client, through: &[&str], import: impl Fn(&[&str])) -> i64 {
    for life_ms in [2000, 4000, 8000, 16_000, 32_000] {
        for line in [
            format!("SET session s PX {life_ms}"),
            "HSET hash f v".to_owned(),
            format!("PEXPIRE hash {life_ms}"),
            format!("SET limit 100 PX {life_ms}"),
            format!("SET read r PX {life_ms}"),
            format!("SET over x PX {life_ms}"),
        ] {
            source.must(&line);
        }
        let first_end = source.must("PEXPIRETIME over").integer().expect("it has an end");
        import(through);
        // In one step, so that all of them are in time or none.
        for line in ["MULTI", "EXISTS session hash limit read", "PEXPIRE session 1000000", "PEXPIRE hash 1000000"] {
            source.must(line);
        }
        for line in ["HSET hash g w", "INCR limit", "PERSIST limit", "GETEX read EX 1000"] {
            source.must(line);
        }
        let answers = source.must("EXEC");
        if answers.elements()[0].integer() == Some(4) {
            return first_end;
        }
        source.must("DEL session hash limit read over");
    }
    panic!("an import takes longer than half a minute here");
}

/// Waits until this moment has passed for a server.
fn wait_for(server: &mut Client, moment_ms: i64) {
    wait::until("the first lives are over", || {
        let time = server.must("TIME");
        let part = |at: usize| time.elements()[at].text().and_then(|text| text.parse::<i64>().ok());
        let now = part(0).zip(part(1)).map(|(seconds, micros)| seconds * 1000 + micros / 1000);
        if now > Some(moment_ms) { Ok(()) } else { Err(format!("it is {now:?}")) }
    });
}

#[test]
fn what_was_renewed_at_the_source_between_two_runs_is_there_with_its_value_and_its_end() {
    let Some(redis) = Redis::start("how lives are renewed between two runs") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    let from = url(&redis);
    let through = ["import", "--from", &from, "--via", &node.resp];
    let first_end = import_and_renew(&mut source, &through, |through| {
        let (told, is_success) = report(&[through, &["--until-synced"]].concat());
        assert!(is_success, "{told}");
        assert_eq!(told["stream"]["lives"]["held"], true, "{told}");
    });
    let mut client = node.client();
    for server in [&mut source, &mut client] {
        wait_for(server, first_end);
    }
    let (told, is_success) = report(&[&through[..], &["--until-synced"]].concat());
    assert!(is_success && told["stream"]["is_resumed"] == true, "{told}");
    assert_eq!(client.must("GET limit").text().as_deref(), Some("101"));
    let (compared, is_equal) = report(&[&through[..], &["--dry-run"]].concat());
    assert!(is_equal && compared["lives_held"].as_u64() == Some(3), "{compared}");
    let (told, is_success) = report(&[&through[..], &["--cut-over", "--pause", "600"]].concat());
    assert!(is_success && told["stream"]["lives"]["held"] == false, "{told}");
    assert_same(&mut source, &mut client, &[]);
    assert_eq!(client.must("GET over").text(), None);
    let (compared, is_equal) = report(&[&through[..], &["--dry-run"]].concat());
    assert!(is_equal && compared["lives_held"] == 0, "{compared}");
}

/// The importer is killed as soon as everything has arrived, and what was renewed at the source comes when the first lives
/// are over.
#[test]
fn a_late_stream_finds_every_key_that_it_renews() {
    let Some(redis) = Redis::start("how a late stream renews lives") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    let from = url(&redis);
    let through = ["--from", &from, "--via", &node.resp];
    let mut client = node.client();
    let first_end = import_and_renew(&mut source, &through, |through| {
        let import = Import::start(through);
        let (mut client, mut source) = (node.client(), redis.client());
        source.must("INCR mark");
        let mark = source.must("GET mark").text();
        let note = format!("GET pelago:import:from:{}/all", redis.address);
        wait::until("everything so far has arrived, and the place is noted", || {
            let found = (client.must("GET mark").text(), client.must(&note).text());
            let is_noted = found.1.as_ref().is_some_and(|note| !note.starts_with("copying"));
            if found.0 == mark && is_noted { Ok(()) } else { Err(format!("{found:?}")) }
        });
        drop(import);
    });
    for server in [&mut source, &mut client] {
        wait_for(server, first_end);
    }
    let words = [&["import"], &through[..], &["--until-synced", "--release"]].concat();
    let (told, is_success) = report(&words);
    assert!(is_success && told["stream"]["is_resumed"] == true, "{told}");
    assert_eq!(told["stream"]["lives"]["held"], false, "{told}");
    assert_same(&mut source, &mut client, &[]);
    // It was the last run: a later one cannot go on from it.
    assert_eq!(client.must("KEYS pelago:import:*").elements().len(), 0);
}

#[test]
fn lives_are_released_when_no_import_is_left_or_when_it_is_told() {
    let Some(redis) = Redis::start("how lives are released") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    source.must("SET own 1 PXAT 4000000000000");
    let from = url(&redis);
    let through = ["import", "--from", &from, "--via", &node.resp];
    // Another shard of the same source is imported as well.
    let mut client = node.client();
    client.must("SET pelago:import:from:other:6379/all copying");
    let (told, is_success) = report(&[&through[..], &["--cut-over"]].concat());
    assert!(is_success, "{told}");
    assert_eq!(told["stream"]["lives"]["held_for"][0], "pelago:import:from:other:6379/all", "{told}");
    assert_eq!(client.must("PEXPIRETIME own").integer(), Some(39_000_000_000_000));
    // What clients write has its end already, a field of a hash too; a thousand keys more, so that there are pages.
    client.must("SET client 1 PXAT 4100000000000");
    client.must("HSET hash held v own w");
    client.must("HPEXPIREAT hash 39000000000000 FIELDS 1 held");
    client.must("HPEXPIREAT hash 4100000000000 FIELDS 1 own");
    client.must("SET over 1 PXAT 35000000000001");
    client.must("SELECT 3");
    for index in 0..1000 {
        client.must(&format!("SET k:{index} v PXAT {}", 39_000_000_000_000_u64 + index));
    }
    client.must("SELECT 0");
    let (told, is_success) = report(&["import", "--release", "--via", &node.resp]);
    assert!(is_success, "{told}");
    assert_eq!(
        (&told["lives"]["released_keys"], &told["lives"]["released_fields"]),
        (&Value::from(1002), &Value::from(1))
    );
    assert_eq!(told["ended"], Value::from(vec!["pelago:import:from:other:6379/all"]));
    for (key, expected) in [("own", 4_000_000_000_000), ("client", 4_100_000_000_000), ("over", -2)] {
        assert_eq!(client.must(&format!("PEXPIRETIME {key}")).integer(), Some(expected), "{key}");
    }
    let fields = client.must("HPEXPIRETIME hash FIELDS 2 held own");
    let fields: Vec<_> = fields.elements().iter().map(|reply| reply.integer()).collect();
    assert_eq!(fields, [Some(4_000_000_000_000), Some(4_100_000_000_000)]);
    client.must("SELECT 3");
    for index in [0, 500, 999] {
        let expected = 4_000_000_000_000 + index;
        assert_eq!(client.must(&format!("PEXPIRETIME k:{index}")).integer(), Some(expected));
    }
    assert_eq!(client.must("DBSIZE").integer(), Some(1000));
    // Twice does no harm.
    let (told, is_success) = report(&["import", "--release", "--via", &node.resp]);
    assert!(is_success && told["lives"]["released_keys"] == 0, "{told}");
}

/// Clients may have moved already, and some keys are written all the time.
#[test]
fn a_key_that_is_always_written_is_released_too() {
    let cluster = Cluster::start(&["only"]);
    let node = &cluster.nodes[0];
    let mut client = node.client();
    for index in 0..100 {
        client.must(&format!("SET k:{index} 0 PXAT 39000000000000"));
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, mut other) = (Arc::clone(&is_over), node.client());
    let writer = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            (0..100).for_each(|index| other.queue(&["INCR".to_owned(), format!("k:{index}")]));
            other.send().expect("the node takes it");
            (0..100).for_each(|_| drop(other.receive().expect("an answer")));
        }
    });
    let (told, is_success) = report(&["import", "--release", "--via", &node.resp]);
    is_over.store(true, Ordering::Relaxed);
    writer.join().expect("the writer does not fail");
    assert!(is_success && told["lives"]["released_keys"] == 100, "{told}");
    for index in 0..100 {
        assert_eq!(client.must(&format!("PEXPIRETIME k:{index}")).integer(), Some(4_000_000_000_000));
    }
}
