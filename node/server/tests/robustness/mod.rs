//! Requests with random edits, for every command there is: nothing that a client sends ends the server, and what Redis
//! refuses is refused with the same code.
//!
//! The requests begin as those of the conformance scripts. This is the debug build, so sums that leave their range
//! panic instead of going round. Every failure names the seed that repeats it.

mod request;

use crate::conformance::node::Pelago;
use crate::conformance::redis::Redis;
use crate::conformance::reply::Answer;
use crate::conformance::{Server, script};
use request::{Chance, Requests, encode};
use resp::Version;
use server::command::table::table;
use server::config::{Config, Settings};
use server::connection::serve_connection;
use server::node::{Node, Seams};
use server::worker::Worker;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::{LocalSet, spawn_local};

/// Sequences of requests, unless `PELAGO_SEED` names one.
const SEQUENCES: u64 = 1_200;
/// Sequences that one node has to bear: some change its settings.
const SEQUENCES_OF_A_NODE: u64 = 20;
/// Requests of a sequence.
const REQUESTS_MAX: u64 = 24;
/// Sequences that Redis is asked too.
const COMPARED: u64 = 300;
/// What a test waits at most for a connection to end that has nothing more to read.
const PATIENCE: Duration = Duration::from_secs(60);

/// What there is to be found, with values at the ends of their ranges.
const PREPARATION: &[&str] = &[
    "SET k text",
    "SET max 9223372036854775807",
    "SET min -9223372036854775808",
    "SET float 1e308",
    "SET short x PX 100000000",
    "SET late x PXAT 9223372036854775807",
    "INCR n",
    "HSET h f 9223372036854775807 g -9223372036854775808 e 1e308 t text",
    "HINCRBY h n 1",
    "SADD s 1 2 3 -9223372036854775808 9223372036854775807",
    "SADD words a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb cc dd",
    "RPUSH l 9223372036854775807 -9223372036854775808 text '' 1 2 3",
    "ZADD z 1 a 2 b 3 c inf top -inf bottom 1e308 large 0 0 1.5 1",
    "ZADD names 0 a 0 b 0 c 0 d 0 e",
    "GEOADD places 13.361389 38.115556 a 15.087269 37.502669 b 180 85 c",
];

fn seeds(most: u64) -> std::ops::RangeInclusive<u64> {
    match std::env::var("PELAGO_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..=seed,
        None => 1..=most,
    }
}

/// Whether a node begins with the sequence of this seed.
fn is_first_of_a_node(seed: u64) -> bool {
    seed % SEQUENCES_OF_A_NODE == 1
}

/// The same seeds and those that the first one's node has borne before it: what they have left there may matter.
fn from_the_nodes_first(seeds: std::ops::RangeInclusive<u64>) -> std::ops::RangeInclusive<u64> {
    let first = (0..=*seeds.start()).rev().find(|&seed| is_first_of_a_node(seed));
    first.unwrap_or(*seeds.start())..=*seeds.end()
}

/// A line's words; there are no blanks in them.
fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn worker() -> Rc<Worker> {
    let seams = Seams { wall_clock: Arc::new(|| 1_790_000_000_000), monotonic_ns: Arc::new(|| 0), seed: 1 };
    let settings = Settings::new(Config::default());
    // Strings stay small enough for thousands of requests.
    settings.set(&[("proto-max-bulk-len", "1mb")]).unwrap();
    Worker::new(Arc::new(Node::new(keyspace::Keyspace::new(1), Arc::new(settings), seams)))
}

/// Sends bytes over one connection, in some pieces, and returns what came back until it ended.
async fn converse(worker: &Rc<Worker>, bytes: &[u8], chance: &mut Chance) -> Result<Vec<u8>, String> {
    let (stream, served) = duplex(1 << 16);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let served = spawn_local(serve_connection(Rc::clone(worker), served, address, address));
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(1 + chance.below(rest.len() as u64) as usize);
        pieces.push(piece.to_vec());
        rest = behind;
    }
    let sent = spawn_local(async move {
        for piece in pieces {
            // The other side may have hung up on what it has read already.
            if writer.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = writer.shutdown().await;
    });
    let mut answers = Vec::new();
    let all = async {
        reader.read_to_end(&mut answers).await.map_err(|error| error.to_string())?;
        sent.await.map_err(|error| error.to_string())?;
        served.await.map_err(|error| format!("the connection's task ended with {error}"))
    };
    tokio::time::timeout(PATIENCE, all).await.map_err(|_| "the connection hangs".to_owned())??;
    Ok(answers)
}

/// Whether these bytes are answers, one after the other.
fn are_answers(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        if Answer::read(&mut rest).is_err() {
            return false;
        }
    }
    true
}

#[test]
fn a_seed_is_repeated_on_a_node_that_has_borne_the_same() {
    assert_eq!(from_the_nodes_first(1..=1_200), 1..=1_200);
    assert_eq!(from_the_nodes_first(45..=45), 41..=45);
    assert_eq!(from_the_nodes_first(60..=60), 41..=60);
}

#[test]
fn every_command_is_tried() {
    let requests = Requests::new();
    let mut paths = Vec::new();
    for entry in table().entries() {
        paths.push(vec![entry.command.name]);
        paths.extend(entry.subcommands.iter().map(|subcommand| vec![entry.command.name, subcommand.command.name]));
    }
    paths.retain(|path| !requests.begin_with(path) && !request::left_out(path));
    assert!(paths.is_empty(), "no request begins with {paths:?}: add one to `request.rs` or to a script");
}

#[test]
fn no_request_ends_the_server_however_it_is_edited() {
    let requests = Requests::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut node = worker();
        for seed in from_the_nodes_first(seeds(SEQUENCES)) {
            let mut chance = Chance::new(seed);
            if is_first_of_a_node(seed) {
                node = worker();
            }
            let mut bytes: Vec<u8> = PREPARATION.iter().flat_map(|line| encode(&words(line))).collect();
            let prepared = bytes.len();
            let mut said = Vec::new();
            for _ in 0..=chance.below(REQUESTS_MAX) {
                let request = requests.edited(&mut chance);
                bytes.extend(encode(&request));
                said.push(request.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" "));
            }
            let is_damaged = chance.below(4) == 0;
            if is_damaged {
                request::damage(&mut bytes, prepared, &mut chance);
            }
            let outcome = converse(&node, &bytes, &mut chance).await;
            let sound = outcome.as_ref().is_ok_and(|answers| are_answers(answers));
            assert!(
                sound,
                "{outcome:?}\nrepeat with PELAGO_SEED={seed} cargo test -p server --test main robustness\n{}{}",
                said.join("\n"),
                if is_damaged { "\n(and the bytes were damaged)" } else { "" }
            );
        }
    });
}

/// The code of an error.
fn code(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Error(text) => Some(text.split(' ').next().unwrap_or_default()),
        _ => None,
    }
}

fn prepare(server: &mut impl Server) {
    server.begin(Version::Resp3);
    for line in PREPARATION {
        let answer = server.call(&words(line));
        assert!(code(&answer).is_none(), "{line}: {answer}");
    }
}

#[test]
fn what_redis_refuses_is_refused_with_the_same_code() {
    let Some(mut redis) = Redis::start() else {
        eprintln!("SKIPPED: no redis-server 7.0 is installed, so refusals are not compared with Redis");
        return;
    };
    let requests = Requests::new();
    let mut pelago = Pelago::new();
    let small = words("CONFIG SET proto-max-bulk-len 1mb");
    assert_eq!(redis.call(&small), pelago.call(&small));
    let mut differences = Vec::new();
    for seed in seeds(COMPARED) {
        let mut chance = Chance::new(seed);
        prepare(&mut redis);
        prepare(&mut pelago);
        for _ in 0..=chance.below(REQUESTS_MAX) {
            let request = requests.edited(&mut chance);
            if !request::is_comparable(&request) {
                continue;
            }
            let (expected, answer) = (redis.call(&request), pelago.call(&request));
            if code(&expected) != code(&answer) {
                let said: Vec<String> = request.iter().map(|word| word.escape_ascii().to_string()).collect();
                differences.push(format!("seed {seed}: {}\n    Redis {expected}\n    here  {answer}", said.join(" ")));
                break;
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} sequences (repeat with PELAGO_SEED=... cargo test -p server --test main robustness)\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// The requests of all scripts.
fn of_scripts() -> Vec<Vec<Vec<u8>>> {
    let scripts = crate::conformance::SCRIPTS.iter();
    let scenarios = scripts.flat_map(|(family, text)| script::parse(family, text));
    scenarios.flat_map(|scenario| scenario.steps.into_iter().map(|step| step.args)).collect()
}
