//! Scripts and functions in real processes: what arrives elsewhere, what survives, and what ends them.

use tests::client::Client;
use tests::cluster::Cluster;
use tests::reply::Reply;
use tests::wait;

const REGIONS: [&str; 2] = ["us-east", "eu-west"];

const LIBRARY: &str = "#!lua name=queues\n\
    local function push(keys, args) return redis.call('rpush', keys[1], args[1]) end\n\
    redis.register_function('push', push)\n\
    redis.register_function{function_name='size', callback=function(keys) return redis.call('llen', keys[1]) end, flags={'no-writes'}}\n";

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    wait::until(what, || if look() { Ok(()) } else { Err("not yet".to_owned()) });
}

fn eval(client: &mut Client, script: &str, keys: &[&str]) -> Reply {
    let count = keys.len().to_string();
    let mut words = vec!["EVAL", script, count.as_str()];
    words.extend(keys);
    client.call(&words)
}

#[test]
fn what_a_script_writes_arrives_elsewhere_whole() {
    let cluster = Cluster::start(&REGIONS);
    let mut clients = cluster.clients();
    // Both keys always hold the same number, in slots of their own; one of them is not declared.
    let script = "local n = redis.call('incr', KEYS[1]) redis.call('set', 'mirror', n) return n";
    let reader = "return {redis.call('get', KEYS[1]), redis.call('get', KEYS[2])}";
    let mut last = Reply::Integer(0);
    for _ in 0..500 {
        last = eval(&mut clients[0], script, &["counter"]);
        let seen = eval(&mut clients[1], reader, &["counter", "mirror"]);
        let [one, other] = seen.elements() else { panic!("two numbers: {seen}") };
        assert_eq!(one, other, "half of a script was seen elsewhere");
    }
    assert_eq!(last, Reply::Integer(500));
    eventually("the last script has arrived", || clients[1].must("GET mirror").text().as_deref() == Some("500"));
}

/// The libraries and functions that `INFO` tells of.
fn counted(client: &mut Client) -> [u64; 2] {
    let text = client.must("INFO memory").text().unwrap_or_default();
    ["number_of_libraries", "number_of_functions"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
    })
}

#[test]
fn libraries_reach_every_region_and_survive_a_restart() {
    let mut cluster = Cluster::start(&REGIONS);
    let mut clients = cluster.clients();
    assert_eq!(clients[0].call(&["FUNCTION", "LOAD", LIBRARY]).text().as_deref(), Some("queues"));
    assert_eq!(clients[0].must("FCALL push 1 q a"), Reply::Integer(1));
    // Before anybody has called it there.
    eventually("the other region counts it", || counted(&mut clients[1]) == [1, 2]);
    eventually("the library has arrived", || clients[1].line("FCALL size 1 q") == Reply::Integer(1));
    clients[1].must("FLUSHALL");
    assert_eq!(clients[1].must("DBSIZE"), Reply::Integer(0));
    assert_eq!(clients[1].must("FCALL push 1 q b"), Reply::Integer(1), "no client's flush takes a library");
    cluster.await_equal();
    drop(clients);
    cluster.nodes[0].stop();
    cluster.nodes[0].start();
    let mut again = cluster.nodes[0].client();
    eventually("the node counts its libraries", || counted(&mut again) == [1, 2]);
    eventually("the node has its libraries", || again.line("FCALL size 1 q") == Reply::Integer(1));
    again.must("FUNCTION DELETE queues");
    let mut other = cluster.nodes[1].client();
    eventually("the removal has arrived", || other.line("FCALL size 1 q").to_string().contains("Function not found"));
}

#[test]
fn a_script_that_does_not_end_is_ended_by_somebody_else_also_with_one_worker() {
    let mut cluster = Cluster::start_with(&["us-east"], &["busy-reply-threshold=50"]);
    let (mut slow, mut other) = (cluster.nodes[0].client(), cluster.nodes[0].client());
    slow.queue(&["EVAL", "while true do pcall(function() while true do end end) end", "1", "k"]);
    slow.send().unwrap();
    eventually("others are told", || other.line("GET x").to_string().contains("BUSY"));
    assert!(other.line("PING").to_string().contains("BUSY Redis is busy running a script"));
    assert!(other.line("FUNCTION KILL").to_string().contains("BUSY"));
    assert!(other.line("FUNCTION STATS").to_string().contains("running_script"));
    other.must("SCRIPT KILL");
    let ended = slow.receive().unwrap().to_string();
    assert!(ended.contains("Script killed by user with SCRIPT KILL"), "{ended}");
    eventually("others are served again", || !other.line("GET k").to_string().contains("BUSY"));
    assert!(slow.must("EVAL return(1) 0") == Reply::Integer(1), "its connection goes on");

    // One that has written cannot be ended, but the node can.
    slow.queue(&["EVAL", "redis.call('set', KEYS[1], 1) while true do end", "1", "k"]);
    slow.send().unwrap();
    eventually("others are told", || other.line("GET x").to_string().contains("BUSY"));
    let refused = other.line("SCRIPT KILL").to_string();
    assert!(refused.contains("UNKILLABLE"), "{refused}");
    let refused = other.line("SHUTDOWN").to_string();
    assert!(refused.contains("BUSY") && refused.contains("SHUTDOWN NOSAVE"), "{refused}");
    other.queue(&["SHUTDOWN", "NOSAVE"]);
    other.send().unwrap();
    assert!(cluster.nodes[0].wait_ended().success(), "the node ends in order");
    cluster.nodes[0].start();
    assert_eq!(cluster.nodes[0].client().must("PING").text().as_deref(), Some("PONG"));
}

/// Who had begun to walk over all keys when a script locked some of them waited for it to the end.
#[test]
fn who_walks_over_all_keys_or_waits_for_one_is_told_busy_and_does_not_hang() {
    let cluster = Cluster::start_with(&["us-east"], &["busy-reply-threshold=200", "workers=2"]);
    let node = &cluster.nodes[0];
    let (mut waiting, mut slow, mut other) = (node.client(), node.client(), node.client());
    other.must("SET k 1");
    waiting.queue(&["BLPOP", "list", "0"]);
    waiting.send().unwrap();
    let walks = ["SCAN 0 COUNT 1000000", "KEYS *", "RANDOMKEY", "CLIENT TRACKING ON", "BLPOP k{list} 0.01", "DBSIZE"];
    std::thread::scope(|scope| {
        // Two clients each, so that some are of the other worker: they find the slot of the script locked before the node
        // is known to be busy.
        for line in walks.iter().chain(&walks) {
            let mut client = node.client();
            client.must("HELLO 3");
            scope.spawn(move || {
                while !client.line(line).to_string().contains("BUSY Redis is busy running a script") {
                    client.line("CLIENT TRACKING OFF");
                }
            });
        }
        slow.queue(&["EVAL", "while true do end", "2", "k", "k{list}"]);
        slow.send().unwrap();
    });
    other.must("SCRIPT KILL");
    assert!(slow.receive().unwrap().to_string().contains("killed by user"));
    eventually("others are served again", || !other.line("DBSIZE").to_string().contains("BUSY"));
    other.must("RPUSH list x");
    assert_eq!(waiting.receive().unwrap().elements().len(), 2, "it had waited all the time");
    for line in walks {
        other.must(line);
    }
}

/// The libraries of `docs/rate-limits.md`, as they stand there.
fn libraries_of_the_page() -> Vec<&'static str> {
    let page = include_str!("../docs/rate-limits.md");
    let blocks = page.split("```lua\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("a block ends").0).collect()
}

#[test]
fn the_examples_of_the_page_about_rate_limits_do_what_it_says() {
    let cluster = Cluster::start(&["us-east"]);
    let mut client = cluster.nodes[0].client();
    let libraries = libraries_of_the_page();
    assert_eq!(libraries.len(), 2);
    let names = libraries.iter().map(|code| client.call(&["FUNCTION", "LOAD", code]).text());
    assert_eq!(names.collect::<Vec<_>>(), [Some("window".to_owned()), Some("leaky".to_owned())]);

    // Three calls in ten seconds.
    let mut allows = |who: &str, now: u32, call: &str| {
        client.must(&format!("FCALL allow 1 {who} {now} 10000 3 {call}")).integer() == Some(1)
    };
    assert!(allows("ann", 1000, "a") && allows("ann", 1001, "b") && allows("ann", 5000, "c"));
    assert!(!allows("ann", 5000, "d"), "a fourth one within the window");
    assert!(allows("bob", 5000, "a"), "another one has a window of his own");
    assert!(!allows("ann", 10_999, "d"), "the first one still counts");
    assert!(allows("ann", 11_000, "d"), "the first one has left the window");
    assert!(allows("ann", 11_001, "e") && !allows("ann", 11_002, "f"), "so has the second one, not the third");
    assert_eq!(client.must("ZCARD ann").integer(), Some(3), "who was refused is not counted");
    let left = client.must("PTTL ann").integer().expect("a number");
    assert!((1..=10_000).contains(&left), "what nobody uses goes by itself: {left}");

    // Two tasks a second, never faster, also after a rest.
    for task in ["one", "two", "three"] {
        client.must(&format!("FCALL put 1 {{t}}queue {task}"));
    }
    let mut take = |now: u32| client.must(&format!("FCALL take 2 {{t}}queue {{t}}bucket {now} 2"));
    assert_eq!(take(100_000).text().as_deref(), Some("one"));
    assert_eq!(take(100_000), Reply::Integer(500));
    assert_eq!(take(100_400), Reply::Integer(100));
    assert_eq!(take(100_500).text().as_deref(), Some("two"));
    assert_eq!(take(200_000).text().as_deref(), Some("three"));
    let after_a_rest = take(200_000);
    assert!(after_a_rest.integer().is_some(), "no burst after a rest: {after_a_rest}");
}
