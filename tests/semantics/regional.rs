//! What the contract says beyond two writes at once: what is seen elsewhere as a whole, what waits, what belongs to one
//! region, and what a region does by itself.

use super::{number, snapshot};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::reply::Reply;
use tests::wait;

/// The key's parts are in different slots, so they are locked, drained and applied apart.
const PARTS: [&str; 3] = ["{1}a", "{2}h", "{3}s"];
const READS: [&str; 3] = ["GET {1}a", "HGET {2}h f", "GET {3}s"];
const STEPS: u64 = 150;
const BODY: &str = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('HSET', KEYS[2], 'f', ARGV[1]) \
                    return redis.call('SET', KEYS[3], ARGV[1])";

#[test]
fn scripts_functions_and_writes_of_several_keys_are_seen_elsewhere_whole_or_not_at_all() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut writer, mut reader) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    let library = format!("#!lua name=parts\nredis.register_function('write', function(KEYS, ARGV) {BODY} end)");
    must(&mut writer, &["FUNCTION", "LOAD", &library]);
    writer.must(&format!("HSET {} f 0", PARTS[1]));
    cluster.await_equal();
    for step in 1..=STEPS {
        let value = step.to_string();
        let call = match step % 2 {
            0 => vec!["EVAL", BODY, "3"],
            _ => vec!["FCALL", "write", "3"],
        };
        must(&mut writer, &[&call[..], &PARTS, &[&value]].concat());
        let seen = snapshot(&mut reader, &READS);
        assert!(seen.iter().all(|part| number(part) == number(&seen[0])), "a part of a step was seen: {seen:?}");
    }
    cluster.await_equal();
    assert_eq!(snapshot(&mut reader, &READS), vec![STEPS.to_string(); 3]);
    for step in STEPS + 1..=2 * STEPS {
        writer.must(&format!("MSET {{1}}a {step} {{2}}b {step} {{3}}s {step}"));
        let seen = snapshot(&mut reader, &["MGET {1}a {2}b {3}s"]);
        assert!(
            seen[0] == format!("[{STEPS} nil {STEPS}]") || is_one_number(&seen[0]),
            "a part of an MSET was seen: {seen:?}"
        );
    }
    cluster.await_equal();
    let last = 2 * STEPS;
    assert_eq!(snapshot(&mut reader, &["MGET {1}a {2}b {3}s"]), [format!("[{last} {last} {last}]")]);
}

/// One command that must succeed, whose words may have blanks.
fn must(client: &mut Client, words: &[&str]) {
    let reply = client.call(words);
    assert!(!reply.is_error(), "{words:?} was answered with {reply}");
}

/// Whether a list has one number in it, however often.
fn is_one_number(list: &str) -> bool {
    let mut words = list.trim_matches(['[', ']']).split(' ');
    let first = words.next().unwrap_or_default();
    first.parse::<u64>().is_ok() && words.all(|word| word == first)
}

#[test]
fn who_waits_is_served_by_what_arrives_in_the_order_of_waiting() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    let cases = [
        (["BLPOP queue 0", "BRPOP queue 0"], "RPUSH queue a b", ["[queue a]", "[queue b]"]),
        (["BLMPOP 0 1 jobs LEFT", "BLMOVE jobs done LEFT RIGHT 0"], "RPUSH jobs a b", ["[jobs [a]]", "b"]),
        (["BZPOPMIN scored 0", "BZMPOP 0 1 scored MAX"], "ZADD scored 1 x 2 y", ["[scored x 1]", "[scored [[y 2]]]"]),
    ];
    for (waits, write, answers) in cases {
        cluster.cut_all();
        let mut waiting: Vec<Client> = (1..).zip(waits).map(|(count, line)| begin(&cluster, line, count)).collect();
        east.must(write);
        cluster.heal_all();
        for (client, expected) in waiting.iter_mut().zip(answers) {
            assert_eq!(client.receive().expect("an answer").to_string(), expected, "{waits:?}");
        }
        cluster.await_equal();
        let name = write.split(' ').nth(1).unwrap_or_default();
        for client in [&mut east, &mut west] {
            assert_eq!(client.must(&format!("EXISTS {name}")), Reply::Integer(0), "{name} was taken from");
        }
    }
}

/// A client of the second region that waits, as the `count`th.
fn begin(cluster: &Cluster, line: &str, count: usize) -> Client {
    let mut client = cluster.nodes[1].client();
    client.queue(&line.split(' ').collect::<Vec<_>>());
    client.send().expect("the server takes requests");
    wait::until("it waits", || {
        let info = cluster.nodes[1].client().must("INFO clients").text().unwrap_or_default();
        if info.contains(&format!("blocked_clients:{count}\r")) { Ok(()) } else { Err(info) }
    });
    client
}

#[test]
fn who_waits_for_entries_of_a_group_is_woken_by_what_arrives_and_told_when_there_is_nothing_to_wait_for() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let mut east = cluster.nodes[0].client();
    let cases = [
        ("XADD stream 5-1 f v", "[[stream [[5-1 [f v]]]]]"),
        ("XGROUP DESTROY stream g", "-NOGROUP"),
        ("DEL stream", "-UNBLOCKED"),
    ];
    for (write, expected) in cases {
        east.must("DEL stream");
        east.must("XGROUP CREATE stream g $ MKSTREAM");
        cluster.await_equal();
        let mut client = begin(&cluster, "XREADGROUP GROUP g c BLOCK 0 STREAMS stream >", 1);
        east.must(write);
        let answer = client.receive().expect("an answer").to_string();
        assert!(answer.starts_with(expected), "{write}: {answer}");
    }
}

#[test]
fn what_is_pending_belongs_to_the_region_that_delivered_and_an_acknowledgement_counts_from_anywhere() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    let none = "[0 nil nil nil]";
    let read =
        |client: &mut Client, key: &str| client.must(&format!("XREADGROUP GROUP g c STREAMS {key} >")).to_string();
    for line in ["XADD k 1-1 f a", "XADD k 2-1 f b", "XADD k 3-1 f c", "XGROUP CREATE k g 0"] {
        east.must(line);
    }
    cluster.await_equal();
    let all = "[[k [[1-1 [f a]] [2-1 [f b]] [3-1 [f c]]]]]";
    assert_eq!(read(&mut east, "k"), all);
    cluster.await_equal();
    assert_eq!(west.must("XPENDING k g").to_string(), none);
    assert_eq!(west.must("XINFO CONSUMERS k g").to_string(), "[]");
    // Nobody has delivered it here, so it counts for what the other region delivered.
    assert_eq!(west.must("XACK k g 1-1"), Reply::Integer(1));
    cluster.await_equal();
    assert_eq!(east.must("XPENDING k g").to_string(), "[2 2-1 3-1 [[c 2]]]");
    assert_eq!(east.must("XACK k g 1-1"), Reply::Integer(0));
    // A consumer that moves gets what nobody has acknowledged.
    assert_eq!(read(&mut west, "k"), "[[k [[2-1 [f b]] [3-1 [f c]]]]]");
    assert_eq!(west.must("XACK k g 2-1"), Reply::Integer(1));
    cluster.await_equal();
    east.must("RENAME k l");
    cluster.await_equal();
    assert_eq!(east.must("XPENDING l g").to_string(), "[1 3-1 3-1 [[c 1]]]");
    assert_eq!(west.must("XPENDING l g").to_string(), none);
    assert_eq!(read(&mut west, "l"), "[[l [[3-1 [f c]]]]]");
    assert_eq!(read(&mut east, "l"), "nil");
}

#[test]
fn a_watch_sees_what_has_arrived_and_nothing_else() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    east.must("WATCH k");
    west.must("SET k arrived");
    cluster.await_equal();
    assert_eq!(exec(&mut east, "SET k 1"), "nil");
    cluster.cut_all();
    east.must("WATCH k");
    west.must("SET k elsewhere");
    assert_eq!(exec(&mut east, "SET k 2"), "[OK]");
    cluster.heal_all();
}

fn exec(client: &mut Client, line: &str) -> String {
    client.must("MULTI");
    client.must(line);
    client.must("EXEC").to_string()
}

#[test]
fn two_types_under_one_key_are_counted_where_they_meet() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    let count =
        || cluster.nodes.iter().map(|node| node.metrics().sum("pelago_keyspace_type_conflicts_total", "")).sum::<f64>();
    assert!(count() < 1.0, "nothing was in conflict yet");
    cluster.cut_all();
    east.must("SET k v");
    west.must("SADD k x");
    cluster.heal_all();
    assert!(count() >= 1.0, "it was not counted");
    let types = [&mut east, &mut west].map(|client| client.must("TYPE k").to_string());
    assert_eq!(types[0], types[1]);
}

#[test]
fn an_evicted_key_goes_everywhere_unless_somebody_wrote_it_meanwhile() {
    const KEYS: usize = 1_000;
    const WRITTEN: usize = 100;
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    (0..KEYS).for_each(|key| drop(east.must(&format!("SET key:{key} value"))));
    (0..WRITTEN).for_each(|key| drop(east.must(&format!("SET kept:{key} old"))));
    cluster.await_equal();
    cluster.cut_all();
    (0..WRITTEN).for_each(|key| drop(west.must(&format!("SET kept:{key} new"))));
    east.must("CONFIG SET maxmemory-policy allkeys-random maxmemory 1");
    wait::until("everything is evicted", || match east.must("DBSIZE") {
        Reply::Integer(0) => Ok(()),
        other => Err(other.to_string()),
    });
    east.must("CONFIG SET maxmemory 0");
    cluster.heal_all();
    for client in [&mut east, &mut west] {
        assert_eq!(client.must("DBSIZE"), Reply::Integer(WRITTEN as i64));
        for key in 0..WRITTEN {
            assert_eq!(client.must(&format!("GET kept:{key}")).to_string(), "new");
        }
    }
}

#[test]
fn a_list_that_is_inserted_into_between_the_newest_everywhere_loses_nothing() {
    const INSERTED: usize = 600;
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let mut clients = cluster.clients();
    clients[0].must("RPUSH k first last");
    cluster.await_equal();
    cluster.cut_all();
    for (client, name) in clients.iter_mut().zip(["east", "west"]) {
        client.must(&format!("LINSERT k AFTER first {name}-0"));
        for step in 1..INSERTED {
            // By turns to both sides of the newest.
            let side = if step % 2 == 0 { "BEFORE" } else { "AFTER" };
            let reply = client.must(&format!("LINSERT k {side} {name}-{} {name}-{step}", step - 1));
            assert_eq!(reply, Reply::Integer(step as i64 + 3));
        }
    }
    cluster.heal_all();
    let lists: Vec<Vec<String>> = clients
        .iter_mut()
        .map(|client| client.must("LRANGE k 0 -1").elements().iter().map(Reply::to_string).collect())
        .collect();
    assert_eq!(lists[0], lists[1]);
    for name in ["east", "west"] {
        for step in 0..INSERTED {
            let element = format!("{name}-{step}");
            assert!(lists[0].contains(&element), "{element} is lost");
        }
    }
    assert!(["first", "last"].iter().all(|&element| lists[0].iter().any(|found| found == element)));
}
