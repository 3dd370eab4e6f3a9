//! Random calls, given to this server and to a real `redis-server`: both must answer the same.
//!
//! Only calls whose answers depend on nothing but the calls before: no time that passes, no chance, no encodings. Sums
//! of floats stay small, because beyond 64 significant bits Redis rounds at every step and this server once.

use super::reply::Answer;
use super::{Server, node, redis};
use resp::Version;

const SEQUENCES: u64 = 60;
const CALLS: usize = 150;

/// Calls, with `K` for a key, `F` for a field or member, `V` for a value, `I` for an integer, `N` for a position, `B`
/// for a bit, `W` for the width of a bit field, `T` for a deadline far away, `D` for one that may be over, `G` for a
/// pattern.
#[rustfmt::skip]
const STRINGS: &[&str] = &[
    "SET K V", "SET K V NX", "SET K V XX GET", "SET K V GET", "SET K V PXAT T", "SET K V KEEPTTL", "SETNX K V",
    "GET K", "GETSET K V", "GETDEL K", "GETEX K", "GETEX K PXAT D", "GETEX K PERSIST", "MGET K K K", "MSET K V K V",
    "MSETNX K V K V", "APPEND K F", "STRLEN K", "SETRANGE K B V", "GETRANGE K N N", "INCR K", "DECR K", "INCRBY K I",
    "DECRBY K I", "INCRBYFLOAT K -3", "INCRBYFLOAT K 0.5", "LCS K K", "LCS K K IDX WITHMATCHLEN", "LCS K K LEN",
    "SETBIT K B 1", "SETBIT K B 0", "GETBIT K B", "BITCOUNT K", "BITCOUNT K N N", "BITCOUNT K N N BIT", "BITPOS K 1",
    "BITPOS K 0", "BITPOS K 0 N", "BITPOS K 1 N N", "BITPOS K 0 N N BIT", "BITPOS K 1 N N BIT", "BITOP AND K K K",
    "BITOP OR K K K", "BITOP XOR K K K", "BITOP NOT K K", "BITFIELD K GET W B", "BITFIELD K SET W B I",
    "BITFIELD K OVERFLOW SAT INCRBY W B I GET W B", "BITFIELD K OVERFLOW FAIL INCRBY W B I SET W B I",
    "BITFIELD K INCRBY W B I INCRBY W #1 I", "BITFIELD_RO K GET W B",
];
#[rustfmt::skip]
const KEYS_OF_ANY_TYPE: &[&str] = &[
    "DEL K", "DEL K K", "UNLINK K", "EXISTS K K", "TYPE K", "PEXPIREAT K D", "PEXPIREAT K T NX", "PEXPIREAT K D XX",
    "PEXPIREAT K T GT", "PEXPIREAT K T LT", "PEXPIRETIME K", "EXPIRETIME K", "PERSIST K", "KEYS G",
    "SCAN 0 COUNT 1000 MATCH G", "SCAN 0 COUNT 1000 TYPE hash", "RENAME K K", "RENAMENX K K", "COPY K K",
    "COPY K K REPLACE", "DBSIZE", "TOUCH K K",
];
#[rustfmt::skip]
const HASHES: &[&str] = &[
    "HSET K F V", "HSET K F V F V", "HSETNX K F V", "HMSET K F V F V", "HGET K F", "HMGET K F F", "HGETALL K",
    "HKEYS K", "HVALS K", "HDEL K F", "HDEL K F F", "HLEN K", "HSTRLEN K F", "HEXISTS K F", "HINCRBY K F I",
    "HINCRBYFLOAT K F 2", "HINCRBYFLOAT K F 0.5", "HSCAN K 0 COUNT 100 MATCH G", "HRANDFIELD K 100 WITHVALUES",
];
#[rustfmt::skip]
const SETS: &[&str] = &[
    "SADD K F", "SADD K F F F", "SREM K F", "SREM K F F", "SMEMBERS K", "SISMEMBER K F", "SMISMEMBER K F F", "SCARD K",
    "SMOVE K K F", "SINTER K K", "SUNION K K", "SDIFF K K", "SINTER K K K", "SDIFF K K K", "SINTERSTORE K K K",
    "SUNIONSTORE K K K", "SDIFFSTORE K K K", "SINTERCARD 2 K K", "SINTERCARD 2 K K LIMIT 1", "SPOP K 100",
    "SRANDMEMBER K 100", "SSCAN K 0 COUNT 100 MATCH G",
];

/// Each family with the keys it mostly works on.
const FAMILIES: &[(&[&str], &[&str])] = &[
    (STRINGS, &["s1", "s2", "s3"]),
    (STRINGS, &["s1", "s2", "s3"]),
    (KEYS_OF_ANY_TYPE, KEYS),
    (HASHES, &["h1", "h2"]),
    (SETS, &["m1", "m2", "m3"]),
];

/// One call in so many takes its keys from all families.
const STRAY_ONE_OF: u64 = 8;
const KEYS: &[&str] = &["s1", "s2", "s3", "h1", "h2", "m1", "m2", "m3"];
const FIELDS: &[&str] = &["a", "b", "c", "10", "-3", ""];
const VALUES: &[&str] =
    &["1", "-7", "10", "text", "", "1.5", "9223372036854775807", "a longer value, with blanks", "01"];
const INTEGERS: &[&str] = &["1", "-1", "3", "100", "7", "-20", "-9223372036854775807", "9223372036854775807", "0", "x"];
const POSITIONS: &[&str] = &["0", "1", "-1", "2", "-2", "5", "-9", "100", "17", "3", "8", "x"];
const BITS: &[&str] = &["0", "1", "7", "8", "13", "40", "100", "-1"];
const WIDTHS: &[&str] = &["u1", "i1", "u5", "i8", "u16", "i32", "u63", "i64", "u64"];
const DEADLINES: &[&str] = &["33177117420000", "33177117421500", "33177117429999"];
const DEADLINES_OR_PAST: &[&str] = &["33177117420000", "33177117421500", "33177117429999", "1"];
const PATTERNS: &[&str] = &["*", "s*", "?", "[ab]", "[^a]*", "[a-s][1-2]", "*1*"];

/// Random words from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    fn call(&mut self) -> Vec<String> {
        let (calls, keys) = FAMILIES[(self.next() % FAMILIES.len() as u64) as usize];
        let keys = if self.next().is_multiple_of(STRAY_ONE_OF) { KEYS } else { keys };
        let words = self.one_of(calls).split(' ');
        let filled = words.map(|word| match word {
            "K" => self.one_of(keys),
            "F" => self.one_of(FIELDS),
            "V" => self.one_of(VALUES),
            "I" => self.one_of(INTEGERS),
            "N" => self.one_of(POSITIONS),
            "B" => self.one_of(BITS),
            "W" => self.one_of(WIDTHS),
            "T" => self.one_of(DEADLINES),
            "D" => self.one_of(DEADLINES_OR_PAST),
            "G" => self.one_of(PATTERNS),
            word => word,
        });
        filled.map(str::to_owned).collect()
    }
}

/// The answer with everything in a fixed order whose order is nobody's promise.
fn in_order(name: &str, answer: Answer) -> Answer {
    let sorted = |mut answers: Vec<Answer>, group: usize| {
        let mut groups: Vec<Vec<Answer>> = answers.chunks_mut(group).map(|group| group.to_vec()).collect();
        groups.sort_by_key(|group| format!("{group:?}"));
        groups.concat()
    };
    match (name, answer) {
        ("KEYS" | "HKEYS" | "HVALS" | "SRANDMEMBER" | "HRANDFIELD", Answer::Array(answers)) => {
            Answer::Array(sorted(answers, 1))
        }
        ("SCAN" | "SSCAN" | "HSCAN", Answer::Array(mut answers)) => {
            let group = if name == "HSCAN" { 2 } else { 1 };
            if let Some(Answer::Array(found)) = answers.pop() {
                answers.push(Answer::Array(sorted(found, group)));
            }
            Answer::Array(answers)
        }
        (_, Answer::Set(answers)) => Answer::Set(sorted(answers, 1)),
        ("HGETALL", Answer::Map(answers)) => Answer::Map(sorted(answers, 2)),
        (_, answer) => answer,
    }
}

fn compare(seed: u64, pelago: &mut node::Pelago, redis: &mut redis::Redis) {
    let mut chance = Chance(seed);
    pelago.begin(Version::Resp3);
    redis.begin(Version::Resp3);
    let mut history = Vec::new();
    for _ in 0..CALLS {
        let call = chance.call();
        let args: Vec<Vec<u8>> = call.iter().map(|word| word.as_bytes().to_vec()).collect();
        let expected = in_order(&call[0], redis.call(&args));
        let answer = in_order(&call[0], pelago.call(&args));
        history.push(format!("{call:?} -> {expected}"));
        assert_eq!(
            answer,
            expected,
            "answered otherwise than Redis after (repeat with PELAGO_SEED={seed} cargo test -p server --test main differential)\n{}",
            history.join("\n")
        );
    }
}

#[test]
fn random_calls_are_answered_as_redis_answers_them() {
    let Some(mut redis) = redis::Redis::start() else {
        eprintln!("SKIPPED: no redis-server 7.0 is installed, so random calls are not compared with Redis");
        return;
    };
    let mut pelago = node::Pelago::new();
    let given = std::env::var("PELAGO_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in given.map_or(1..=SEQUENCES, |seed| seed..=seed) {
        compare(seed, &mut pelago, &mut redis);
    }
}
