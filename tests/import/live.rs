//! From a running Redis, while it is written to.

use super::{assert_same, last_line, report};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tests::binary;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::node::{run, text};
use tests::random::Random;
use tests::redis::Redis;
use tests::wait;

/// Fills a Redis, and lets it copy without the pause that waits for more replicas.
pub fn prepare(redis: &mut Client, keys: usize) {
    redis.must("CONFIG SET repl-diskless-sync-delay 0");
    // What is written while nobody follows must still be there.
    redis.must("CONFIG SET repl-backlog-size 256mb");
    for index in 0..keys {
        redis.queue(&["SET".to_owned(), format!("first:{index}"), "x".repeat(50)]);
    }
    redis.send().expect("redis takes it");
    (0..keys).for_each(|_| drop(redis.receive().expect("an answer")));
}

/// Load that a build for tests can follow on a busy machine: at most ten writes in this time.
const BETWEEN_WRITES: Duration = Duration::from_millis(2);

/// Writes until it is told to stop or the server makes it wait.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    fn start(mut client: Client, seed: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(seed);
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..10 {
                    let line = write(&mut random);
                    client.queue(&line.split(' ').collect::<Vec<_>>());
                }
                // Refusals (INCR of a text and the like) are part of the game.
                client.send().expect("redis takes it");
                (0..10).for_each(|_| drop(client.receive().expect("an answer")));
                sent += 10;
                wait::pause(BETWEEN_WRITES);
            }
            sent
        });
        Self { is_over, thread }
    }

    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not fail")
    }
}

/// Some write. Keys are few, so that writes meet.
fn write(random: &mut Random) -> String {
    let number = random.below(300);
    match random.below(16) {
        0 => format!("SET s:{number} value-{}", random.below(1000)),
        1 => format!("SET s:{number} short PX {}", 1_000_000 + random.below(1000)),
        2 => format!("INCR c:{number}"),
        3 => format!("INCRBYFLOAT c:{number} 0.5"),
        4 => format!("HSET h:{number} f{} {number}", random.below(30)),
        5 => format!("HINCRBY h:{number} n 3"),
        6 => format!("HDEL h:{number} f{}", random.below(30)),
        7 => format!("SADD m:{number} {}", random.below(50)),
        8 => format!("SPOP m:{number}"),
        9 => format!("DEL s:{number} c:{number}"),
        10 => format!("PEXPIRE h:{number} {}", 2_000_000 + random.below(1000)),
        11 => format!("RENAME s:{number} s:{}", random.below(300)),
        12 => format!("APPEND s:{number} more"),
        13 => format!("SELECT {}", random.below(3)),
        14 => format!("SMOVE m:{number} m:{} {}", random.below(300), random.below(50)),
        _ => format!("SETRANGE s:{number} 5 in"),
    }
}

/// `pelago import` that runs beside the test.
pub struct Import(Option<Child>, Vec<String>);

impl Import {
    pub fn start(words: &[&str]) -> Self {
        let words: Vec<String> =
            ["import"].iter().chain(words).chain(&["--json"]).map(|&word| word.to_owned()).collect();
        let process = binary::command().args(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(Some(process.expect("the program under test starts")), words)
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_some_and(|process| process.try_wait().is_ok_and(|status| status.is_some()))
    }

    fn wait(mut self) -> (Value, bool) {
        let words: Vec<&str> = self.1.iter().map(String::as_str).collect();
        let process = self.0.take().expect("it runs");
        last_line(&words, &process.wait_with_output().expect("its output can be read"))
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub fn url(redis: &Redis) -> String {
    format!("redis://{}", redis.address)
}

#[test]
fn a_live_import_is_exact_at_the_cut_over() {
    let Some(redis) = Redis::start("what is imported from a running server") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 20_000);
    let writers: Vec<Writer> = (0..2).map(|seed| Writer::start(redis.client(), seed)).collect();
    let import = Import::start(&["--from", &url(&redis), "--via", &node.resp, "--cut-over", "--pause", "600"]);
    let (told, is_success) = import.wait();
    println!("{told}");
    // The writers wait for the server now.
    assert_same(&mut source, &mut node.client(), &[]);
    source.must("CLIENT UNPAUSE");
    let written: u64 = writers.into_iter().map(Writer::stop).sum();
    println!("{written} writes meanwhile");
    assert!(is_success, "{told}");
    assert_eq!(
        (&told["stream"]["is_complete"], told["stream"]["refused"].to_string().as_str()),
        (&Value::Bool(true), "{}")
    );
    assert!(told["copy"]["keys"].as_u64() >= Some(20_000), "{told}");
    assert_eq!(node.client().must("KEYS pelago:import:*").elements().len(), 0);
}

#[test]
fn an_import_that_was_killed_goes_on_without_repeating_anything() {
    let Some(redis) = Redis::start("how a live import goes on") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 100);
    let from = url(&redis);
    let through = ["--from", &from, "--via", &node.resp];
    let import = Import::start(&through);
    let mut client = node.client();
    wait::until("the copy is there and the place noted", || {
        let notes = client.must("KEYS pelago:import:from:*");
        if notes.elements().is_empty() { Err("no note".to_owned()) } else { Ok(()) }
    });
    let writer = Writer::start(redis.client(), 7);
    source.must("SELECT 5");
    for _ in 0..200 {
        source.must("INCR exactly");
    }
    wait::until("some of it has arrived", || {
        client.must("SELECT 5");
        let arrived = client.must("EXISTS exactly").to_string();
        client.must("SELECT 0");
        if arrived == "1" { Ok(()) } else { Err("nothing yet".to_owned()) }
    });
    // kill -9, in the middle of whatever it does.
    drop(import);
    for _ in 0..200 {
        source.must("INCR exactly");
    }
    writer.stop();
    source.must("SELECT 0");
    let (told, is_success) = report(&["import", "--from", &from, "--via", &node.resp, "--until-synced", "--release"]);
    assert!(is_success, "{told}");
    assert_eq!(told["stream"]["is_resumed"], true, "{told}");
    assert_same(&mut source, &mut client, &[]);
    let (compared, is_equal) = report(&["import", "--from", &from, "--via", &node.resp, "--dry-run"]);
    assert!(is_equal, "{compared}");
}

/// The source has deleted a key since, and forgotten that it did: a full copy is no end of that key here.
#[test]
fn an_import_that_cannot_be_gone_on_with_says_so() {
    let Some(redis) = Redis::start("how an import is told that it was away for too long") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    source.must("CONFIG SET repl-backlog-size 16384");
    source.must("MSET gone 1 stays 1");
    let from = url(&redis);
    let through = ["import", "--from", &from, "--via", &node.resp, "--until-synced"];
    let (told, is_success) = report(&through);
    assert!(is_success && told["stream"]["is_after_interruption"] == false, "{told}");
    source.must("DEL gone");
    for _ in 0..8 {
        source.must(&format!("SET large {}", "x".repeat(8192)));
    }
    let (told, is_success) = report(&through);
    assert!(is_success && told["stream"]["is_resumed"] == false, "{told}");
    assert_eq!(told["stream"]["is_after_interruption"], true, "{told}");
    // Nor does an import that is told to begin anew remove anything.
    let (told, _) = report(&[&through[..], &["--restart"]].concat());
    assert_eq!(told["stream"]["is_after_interruption"], true, "{told}");
}

#[test]
fn a_link_that_breaks_is_opened_again() {
    let Some(redis) = Redis::start("how a broken link is opened again") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    source.must("HSET hash f v");
    let import = Import::start(&["--from", &url(&redis), "--via", &node.resp]);
    let mut client = node.client();
    for round in 1..=3 {
        source.must("INCR counted");
        wait::until("the increment has arrived", || {
            let found = client.must("GET counted").text();
            if found == Some(round.to_string()) { Ok(()) } else { Err(format!("{found:?}")) }
        });
        source.must("CLIENT KILL TYPE replica");
    }
    drop(import);
    assert_same(&mut source, &mut client, &[]);
    // The database was empty at first: nothing had to be removed before the hash was written.
    let commands = client.must("INFO commandstats").text().expect("a text");
    assert!(commands.contains("cmdstat_hset:") && !commands.contains("cmdstat_del:"), "{commands}");
}

/// How far the source is, is asked over a connection of its own.
#[test]
fn every_connection_to_the_source_is_opened_again() {
    let Some(redis) = Redis::start("how every connection is opened again") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    let mut import = Import::start(&["--from", &url(&redis), "--via", &node.resp]);
    let mut last = 0;
    for _ in 0..3 {
        wait::until("somebody asks how far the source is", || {
            assert!(!import.has_ended(), "the import goes on");
            let clients = source.must("CLIENT LIST TYPE normal").text().expect("a text");
            let asking = clients.lines().find(|client| client.contains("cmd=info")).ok_or("nobody")?;
            let id = asking.split(' ').find_map(|fact| fact.strip_prefix("id=")?.parse().ok()).expect("a number");
            if id > std::mem::replace(&mut last, id) { Ok(()) } else { Err("the same as before".to_owned()) }
        });
        source.must("CLIENT KILL TYPE normal");
    }
    source.must("SET last 1");
    let mut client = node.client();
    wait::until("the last write has arrived", || {
        assert!(!import.has_ended(), "the import goes on");
        if client.must("EXISTS last").integer() == Some(1) { Ok(()) } else { Err("not yet".to_owned()) }
    });
}

#[test]
fn one_database_is_imported_alone_and_transactions_arrive() {
    let Some(redis) = Redis::start("how one database is imported") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    // A copy that the source makes on its disk first has its length before it.
    source.must("CONFIG SET repl-diskless-sync no");
    source.must("SELECT 3");
    source.must("SET mine 1");
    let from = format!("{}/3", url(&redis));
    // As if an earlier copy had been interrupted.
    node.client().must(&format!("SET pelago:import:from:{}/3 copying", redis.address));
    let (told, is_success) = report(&["import", "--from", &from, "--via", &node.resp, "--until-synced"]);
    assert!(is_success && told["stream"]["is_after_interruption"] == true, "{told}");
    for line in
        ["MULTI", "INCR mine", "HSET h f v", "LPUSH unknown x", "LPOP unknown", "SELECT 0", "SET other 1", "EXEC"]
    {
        source.must(line);
    }
    let (told, is_success) =
        report(&["import", "--from", &from, "--via", &node.resp, "--until-synced", "--allow-skipped"]);
    assert!(is_success, "{told}");
    let mut client = node.client();
    assert_eq!(client.must("KEYS *").elements().len(), 1, "only the note");
    client.must("SELECT 3");
    assert_eq!(client.must("GET mine").text().as_deref(), Some("2"));
    assert_eq!(client.must("HGET h f").text().as_deref(), Some("v"));
}

#[test]
fn where_nobody_may_follow_every_key_is_copied() {
    let Some(redis) = Redis::start("how keys are copied one by one") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 3000);
    source.must("SELECT 1");
    source.must("HSET hash f v");
    source.must("PEXPIREAT hash 4000000000000");
    source.must("SELECT 0");
    source.must("ACL SETUSER reader on >p@ss ~* +@all -psync -sync");
    let from = format!("redis://reader:p%40ss@{}", redis.address);
    // Nobody may believe that the clients can move, or that a timer has done its work.
    for until in ["--cut-over", "--until-synced"] {
        let output = run(&["import", "--from", &from, "--via", &node.resp, until]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("NOPERM"), "{until}: {said:?}");
        assert_eq!(node.client().must("DBSIZE").to_string(), "0");
    }
    let (told, is_success) = report(&["import", "--from", &from, "--via", &node.resp]);
    assert!(is_success, "{told}");
    assert!(told["stream"]["refused"].as_str().is_some_and(|reason| reason.contains("NOPERM")), "{told}");
    assert_same(&mut source, &mut node.client(), &[]);
}

/// A region is cut off with what it has not sent, and with the note of how far it was: the other region's note is older.
#[test]
fn an_import_goes_on_in_another_region_when_all_of_it_is_there_and_repeats_nothing() {
    let Some(redis) = Redis::start("how an import goes on in another region") else { return };
    let cluster = Cluster::start(&["a", "b"]);
    let mut source = redis.client();
    prepare(&mut source, 10);
    source.must("INCR counted");
    let from = url(&redis);
    let through = |node: usize| ["import", "--from", &from, "--via", &cluster.nodes[node].resp, "--until-synced"];
    let (told, is_success) = report(&through(0));
    assert!(is_success, "{told}");
    cluster.await_equal();
    cluster.cut(0);
    source.must("INCR counted");
    let (told, is_success) = report(&through(0));
    assert!(is_success && told["stream"]["is_resumed"] == true, "{told}");
    let early = run(&through(1));
    cluster.heal_all();
    for node in &cluster.nodes {
        assert_eq!(node.client().must("GET counted").text().as_deref(), Some("2"), "{}", node.name);
    }
    let said = text(&early.stderr);
    assert!(!early.status.success() && said.contains("has written through a-1"), "{said:?}");
    source.must("INCR counted");
    let (told, is_success) = report(&[&through(1)[..], &["--release"]].concat());
    assert!(is_success && told["stream"]["is_resumed"] == true, "{told}");
    cluster.await_equal();
    assert_same(&mut source, &mut cluster.nodes[0].client(), &[]);
}

#[test]
fn libraries_of_functions_arrive_also_those_that_are_loaded_meanwhile() {
    let Some(redis) = Redis::start("how libraries of functions are followed") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    prepare(&mut source, 10);
    let library = |name: &str| {
        format!(
            "#!lua name={name}\nredis.register_function('of_{name}', function(keys) return redis.call('incr', keys[1]) end)"
        )
    };
    source.call(&["FUNCTION", "LOAD", &library("a")]);
    source.must("FCALL of_a 1 n");
    let from = url(&redis);
    let (told, is_success) = report(&["import", "--from", &from, "--via", &node.resp, "--until-synced"]);
    assert!(is_success && told["copy"]["functions"] == 1, "{told}");
    source.call(&["FUNCTION", "LOAD", &library("b")]);
    source.must("FUNCTION DELETE a");
    source.must("FCALL of_b 1 n");
    let (told, is_success) = report(&["import", "--from", &from, "--via", &node.resp, "--until-synced"]);
    assert!(is_success, "{told}");
    let mut client = node.client();
    assert_eq!(client.must("GET n").text().as_deref(), Some("2"), "calls arrive as what they wrote");
    assert_eq!(client.must("FCALL of_b 1 n").integer(), Some(3));
    assert!(client.line("FCALL of_a 1 n").is_error());
    // Where nobody may follow they are asked for.
    let other = Cluster::start(&["only"]);
    source.must("ACL SETUSER reader on >p ~* +@all -psync -sync");
    let from = format!("redis://reader:p@{}", redis.address);
    let (told, is_success) = report(&["import", "--from", &from, "--via", &other.nodes[0].resp]);
    assert!(is_success && told["copy"]["functions"] == 1, "{told}");
    assert_eq!(other.nodes[0].client().must("FCALL of_b 1 n").integer(), Some(3));
}
