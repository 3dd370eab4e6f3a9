//! Random calls, given to this server and to a real `redis-server`: both must answer the same.
//!
//! Only calls whose answers depend on nothing but the calls before: no time that passes, no chance, no encodings. Sums
//! of floats stay small, because beyond 64 significant bits Redis rounds at every step and this server once.

use super::reply::Answer;
use super::{Server, node, redis};
use resp::Version;

const SEQUENCES: u64 = 90;
const CALLS: usize = 150;

/// Calls, with `K` for a key, `F` for a field or member, `Z` for one of many members, `S` for a score, `R` for the end of
/// a range of scores, `L` for that of a range of names, `P` for a place, `V` for a value, `I` for an integer, `N` for a position, `B`
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

#[rustfmt::skip]
const SORTED_SETS: &[&str] = &[
    "ZADD K S F", "ZADD K S F", "ZADD K S F S F S F", "ZADD K NX S F S F", "ZADD K XX CH S F S F", "ZADD K GT CH S F S F",
    "ZADD K LT S F", "ZADD K INCR S F", "ZADD K GT INCR S F", "ZADD K NX INCR S F", "ZINCRBY K S F", "ZINCRBY K S F",
    "ZREM K F", "ZREM K F F", "ZCARD K", "ZSCORE K F", "ZMSCORE K F F", "ZRANK K F", "ZREVRANK K F", "ZPOPMIN K",
    "ZPOPMAX K", "ZPOPMIN K 2", "ZMPOP 2 K K MIN", "ZMPOP 2 K K MAX COUNT 2", "ZRANDMEMBER K 100", "ZSCAN K 0 COUNT 1000",
    "ZRANGE K N N", "ZRANGE K N N WITHSCORES", "ZRANGE K N N REV WITHSCORES", "ZRANGE K R R BYSCORE",
    "ZRANGE K R R BYSCORE WITHSCORES LIMIT N N", "ZRANGE K R R BYSCORE REV LIMIT N N", "ZRANGE K 0 -1 WITHSCORES",
    "ZRANGEBYSCORE K R R", "ZRANGEBYSCORE K R R WITHSCORES LIMIT N N", "ZREVRANGEBYSCORE K R R", "ZREVRANGE K N N",
    "ZCOUNT K R R", "ZRANGESTORE K K N N", "ZRANGESTORE K K R R BYSCORE", "ZREMRANGEBYRANK K N 2",
    "ZREMRANGEBYSCORE K R R", "ZUNION 2 K K WITHSCORES", "ZUNION 2 K K WEIGHTS 2 S AGGREGATE MAX WITHSCORES",
    "ZINTER 2 K K WITHSCORES", "ZINTER 2 K K WEIGHTS S 1 AGGREGATE MIN WITHSCORES", "ZDIFF 2 K K WITHSCORES",
    "ZUNIONSTORE K 2 K K", "ZINTERSTORE K 2 K K AGGREGATE MAX", "ZDIFFSTORE K 2 K K", "ZINTERCARD 2 K K",
    "ZINTERCARD 2 K K LIMIT 1",
];
#[rustfmt::skip]
const LISTS: &[&str] = &[
    "RPUSH K V", "LPUSH K V", "RPUSH K V V V", "LPUSH K I I V", "RPUSH K Z Z Z Z Z Z Z Z Z Z Z Z Z Z Z Z Z Z Z Z",
    "LPUSHX K V", "RPUSHX K V", "LPOP K", "RPOP K", "LPOP K 3", "RPOP K 2", "LPOP K 0", "LLEN K", "LINDEX K N", "LSET K N V",
    "LRANGE K N N", "LRANGE K 0 -1", "LRANGE K 0 99", "LINSERT K BEFORE V V", "LINSERT K AFTER V F", "LINSERT K AFTER F V",
    "LREM K N V", "LREM K 0 F", "LREM K -2 Z", "LTRIM K 0 40", "LTRIM K N -1", "LTRIM K N N", "LPOS K V", "LPOS K V COUNT 0",
    "LPOS K F RANK N COUNT 2", "LPOS K V RANK -1 MAXLEN 7", "LMOVE K K LEFT RIGHT", "LMOVE K K RIGHT LEFT",
    "LMOVE K K LEFT LEFT", "RPOPLPUSH K K", "LMPOP 2 K K LEFT", "LMPOP 2 K K RIGHT COUNT 3", "BLPOP K K 0.001",
    "COPY K K REPLACE", "RENAME K K",
];
/// Sets that are so large that their order is kept.
#[rustfmt::skip]
const LARGE_SORTED_SETS: &[&str] = &[
    "ZADD K S Z S Z S Z S Z S Z S Z S Z S Z", "ZADD K S Z S Z S Z S Z S Z S Z S Z S Z", "ZADD K CH S Z S Z S Z",
    "ZINCRBY K S Z", "ZREM K Z Z Z", "ZSCORE K Z", "ZRANK K Z", "ZREVRANK K Z", "ZPOPMIN K 3", "ZPOPMAX K",
    "ZRANGE K N N WITHSCORES", "ZRANGE K N N REV", "ZRANGE K R R BYSCORE WITHSCORES", "ZREVRANGEBYSCORE K R R LIMIT N N",
    "ZCOUNT K R R", "ZRANGE K 0 -1 WITHSCORES", "ZREMRANGEBYRANK K N 5", "ZREMRANGEBYSCORE K (2 4", "ZCARD K",
    "ZRANGESTORE K K N N REV", "ZUNION 2 K K WITHSCORES", "ZINTERSTORE K 2 K K", "COPY K K REPLACE", "ZRANDMEMBER K 100",
];
/// Members of one score: of others nobody knows what a range of names is, so these keep to their key.
#[rustfmt::skip]
const LEXICAL: &[&str] = &[
    "ZADD K 0 Z 0 Z 0 Z 0 Z 0 Z 0 Z 0 Z 0 Z 0 Z 0 Z", "ZADD K 0 F 0 F", "ZREM K Z Z", "ZRANGEBYLEX K L L",
    "ZRANGEBYLEX K L L LIMIT N N", "ZREVRANGEBYLEX K L L", "ZREVRANGEBYLEX K L L LIMIT N N", "ZLEXCOUNT K L L",
    "ZREMRANGEBYLEX K L [b", "ZRANGE K L L BYLEX", "ZRANGE K L L BYLEX REV", "ZRANGE K 0 -1",
];
#[rustfmt::skip]
const PLACES: &[&str] = &[
    "GEOADD K P Z P Z P Z", "GEOADD K P Z P Z P Z P Z P Z", "GEOADD K NX CH P Z", "GEOPOS K Z Z", "GEODIST K Z Z km",
    "GEOHASH K Z Z", "GEOSEARCH K FROMLONLAT P BYRADIUS U WITHDIST", "GEOSEARCH K FROMLONLAT P BYRADIUS U ASC WITHHASH",
    "GEOSEARCH K FROMMEMBER Z BYRADIUS U DESC WITHCOORD", "GEOSEARCH K FROMLONLAT P BYBOX 900 U WITHDIST",
    "GEOSEARCH K FROMMEMBER Z BYBOX 3000 U", "GEOSEARCH K FROMLONLAT P BYRADIUS U COUNT 3",
    "GEOSEARCH K FROMLONLAT P BYRADIUS U COUNT 2 ANY", "GEOSEARCHSTORE K K FROMLONLAT P BYRADIUS U STOREDIST",
    "GEOSEARCHSTORE K K FROMLONLAT P BYRADIUS U", "GEORADIUS K P U WITHDIST", "GEORADIUS K P U STORE K",
    "GEORADIUSBYMEMBER K Z U ASC", "GEORADIUS_RO K P U COUNT 2", "ZRANGE K 0 -1",
];

/// Each family with the keys it mostly works on.
const FAMILIES: &[(&[&str], &[&str])] = &[
    (LISTS, &["q1", "q2"]),
    (LISTS, &["q3"]),
    (SORTED_SETS, &["z1", "z2"]),
    (LARGE_SORTED_SETS, &["y1", "y2"]),
    (LEXICAL, &["x1"]),
    (PLACES, &["g1", "g2"]),
    (STRINGS, &["s1", "s2", "s3"]),
    (STRINGS, &["s1", "s2", "s3"]),
    (KEYS_OF_ANY_TYPE, KEYS),
    (HASHES, &["h1", "h2"]),
    (SETS, &["m1", "m2", "m3"]),
];

/// The first of them answer in an order, so that version 2 can be compared too.
const ORDERED_FAMILIES: usize = 6;

/// One call in so many takes its keys from all families.
const STRAY_ONE_OF: u64 = 8;
const KEYS: &[&str] = &["s1", "s2", "s3", "h1", "h2", "m1", "m2", "m3", "z1", "z2", "y1", "g1", "q1"];
/// More than a list holds.
const MEMBERS: [&str; 60] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "a1", "b1",
    "c1", "d1", "e1", "f1", "g1", "h1", "i1", "j1", "k1", "l1", "m1", "n1", "o1", "p1", "q1", "r1", "s1", "t1", "aa",
    "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj", "kk", "ll", "mm", "nn", "oo", "pp", "qq", "rr", "ss", "tt",
];
/// Sums of a few of them are doubles.
const SCORES: &[&str] = &["0", "1", "2", "-3", "2.5", "0.125", "10", "4", "3", "1e3", "inf", "-inf", "x"];
const SCORE_ENDS: &[&str] = &["-inf", "inf", "0", "(0", "2", "(2", "2.5", "10", "(-3", "4", "x"];
const NAME_ENDS: &[&str] = &["-", "+", "[b", "(b", "[c", "(m", "[k1", "[", "(zz", "[a", "x"];
/// Degrees, to which some digits are added.
#[rustfmt::skip]
const PLACES_ON_EARTH: &[(&str, &str)] = &[
    ("13.3", "38.1"), ("15.0", "37.5"), ("2.3", "48.8"), ("-0.1", "51.5"), ("-73.9", "40.7"), ("139.7", "35.7"),
    ("179.9", "-17."), ("-179.9", "-16."), ("10.", "84."), ("0.", "0."), ("13.4", "52.5"), ("200.", "1."),
];
const RADII: &[&str] = &["200 km", "10 m", "1000 km", "3000 mi", "20000 km", "0 m", "900000 ft", "-1 m"];
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

    fn call(&mut self, families: &[(&[&str], &[&'static str])]) -> Vec<String> {
        let (calls, keys) = families[(self.next() % families.len() as u64) as usize];
        let strays = self.next().is_multiple_of(STRAY_ONE_OF) && calls.as_ptr() != LEXICAL.as_ptr();
        let keys = if strays { KEYS } else { keys };
        let words = self.one_of(calls).split(' ');
        let mut filled: Vec<String> = Vec::new();
        for word in words {
            let word = match word {
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
                "Z" => self.one_of(&MEMBERS),
                "S" => self.one_of(SCORES),
                "R" => self.one_of(SCORE_ENDS),
                "L" => self.one_of(NAME_ENDS),
                "P" => {
                    // No two members are equally far away: nobody promises anything about their order.
                    let (longitude, latitude) = PLACES_ON_EARTH[(self.next() % PLACES_ON_EARTH.len() as u64) as usize];
                    filled.push(format!("{longitude}{:04}", self.next() % 10_000));
                    filled.push(format!("{latitude}{:04}", self.next() % 10_000));
                    continue;
                }
                "U" => self.one_of(RADII),
                word => word,
            };
            filled.extend(word.split(' ').map(str::to_owned));
        }
        filled
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
        ("KEYS" | "HKEYS" | "HVALS" | "SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER", Answer::Array(answers)) => {
            Answer::Array(sorted(answers, 1))
        }
        ("SCAN" | "SSCAN" | "HSCAN" | "ZSCAN", Answer::Array(mut answers)) => {
            let group = if matches!(name, "HSCAN" | "ZSCAN") { 2 } else { 1 };
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
    // In version 2 nothing says which answers have no order: only families whose answers all have one.
    let (version, families) = match seed % 3 {
        0 => (Version::Resp2, &FAMILIES[..ORDERED_FAMILIES]),
        _ => (Version::Resp3, FAMILIES),
    };
    pelago.begin(version);
    redis.begin(version);
    let mut history = Vec::new();
    for _ in 0..CALLS {
        let call = chance.call(families);
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
