//! The bytes of HyperLogLogs, beside those of a real `redis-server`: many elements, merges, both forms.

use super::reply::Answer;
use super::{Server, node, redis};
use resp::Version;

/// Calls of one sequence; `N` stands for a number, of which there are enough that a sketch becomes dense.
const CALLS: &[&str] = &[
    "PFADD a N",
    "PFADD a N N N",
    "PFADD b N N N N N N N N N N N N N N N N",
    "PFADD c N N",
    "PFMERGE c a",
    "PFMERGE d c b",
    "PFADD d N N N N N N N N",
];

fn call(server: &mut impl Server, text: &str) -> Answer {
    let args: Vec<Vec<u8>> = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    server.call(&args)
}

fn check(seed: u64, numbers: u64, rounds: usize) {
    let Some(mut redis) = redis::Redis::start() else {
        return eprintln!("SKIPPED: no redis-server 7.0 is installed, so sketches are not compared with Redis");
    };
    let mut node = node::Pelago::new();
    redis.begin(Version::Resp2);
    node.begin(Version::Resp2);
    let mut word = seed;
    let mut next = |bound: u64| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 33) % bound
    };
    for round in 0..rounds {
        let mut line = CALLS[next(CALLS.len() as u64) as usize].to_owned();
        // Merges are the way to large sketches, and seldom.
        if line.starts_with("PFMERGE") && next(20) > 0 {
            line = "PFADD a N N".to_owned();
        }
        while line.contains('N') {
            line = line.replacen('N', &next(numbers).to_string(), 1);
        }
        assert_eq!(call(&mut node, &line), call(&mut redis, &line), "{line} in round {round} of seed {seed}");
        if round % 40 == 0 {
            for key in ["a", "b", "c", "d"] {
                let get = format!("GET {key}");
                assert!(call(&mut node, &get) == call(&mut redis, &get), "{key} after round {round} of seed {seed}");
            }
        }
    }
    for line in ["PFCOUNT a", "PFCOUNT b", "PFCOUNT c", "PFCOUNT d", "PFCOUNT a b c d"] {
        assert_eq!(call(&mut node, line), call(&mut redis, line), "{line} at the end of seed {seed}");
    }
}

#[test]
fn sparse_sketches_have_the_bytes_of_redis() {
    check(1, 400, 1_500);
}

#[test]
fn sketches_become_dense_where_those_of_redis_do() {
    check(2, 1 << 30, 6_000);
}
