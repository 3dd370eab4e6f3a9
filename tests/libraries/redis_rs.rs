//! redis-rs, with both protocols: what an application in Rust uses.

use redis::{Commands, ErrorKind, RedisResult, Script, Value};
use std::collections::BTreeMap;
use tests::cluster::Cluster;

/// What the library says of a reply that is not of the type that was asked for, or an error.
fn must<T>(what: &str, result: RedisResult<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn uses_every_family(url: &str) {
    let client = must("a client", redis::Client::open(url));
    let mut connection = must("a connection", client.get_connection());
    let r = &mut connection;
    must("FLUSHDB", r.flushdb::<()>());
    must("SET", r.set_ex::<_, _, ()>("s", "one", 100));
    assert_eq!(must("GET", r.get::<_, Option<String>>("s")).as_deref(), Some("one"));
    assert_eq!(must("GET of nothing", r.get::<_, Option<String>>("none")), None);
    assert_eq!(must("INCR", r.incr::<_, _, i64>("n", 41)), 41);
    must("HSET", r.hset_multiple::<_, _, _, ()>("h", &[("x", 1), ("y", 2)]));
    let fields: BTreeMap<String, i64> = must("HGETALL", r.hgetall("h"));
    assert_eq!(fields, BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
    must("ZADD", r.zadd::<_, _, _, ()>("z", "one", 1.5));
    assert_eq!(must("ZRANGE", r.zrange_withscores::<_, Vec<(String, f64)>>("z", 0, -1)), [("one".to_owned(), 1.5)]);
    let (first, second): (i64, i64) = must("MULTI", redis::pipe().atomic().incr("n", 1).incr("n", 1).query(r));
    assert_eq!((first, second), (42, 43));
    let outcome: (i64,) = must(
        "WATCH",
        redis::transaction(r, &["n"], |connection, pipe| {
            let seen: i64 = connection.get("n")?;
            pipe.set("n", seen * 2).ignore().get("n").query(connection)
        }),
    );
    assert_eq!(outcome, (86,));
    let script = Script::new("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}");
    assert_eq!(must("EVALSHA", script.key("n").arg("x").invoke::<Vec<String>>(r)), ["n", "x", "86"]);
    let members: Vec<i64> = (0..1000).collect();
    must("SADD", r.sadd::<_, _, ()>("set", &members));
    let mut scanned: Vec<i64> =
        must("SSCAN", r.sscan::<_, i64>("set")).map(|member| must("a member", member)).collect();
    scanned.sort_unstable();
    scanned.dedup();
    assert_eq!(scanned, members);
    let id: String = must("XADD", r.xadd("stream", "*", &[("field", "value")]));
    assert!(id.contains('-'));
    let refused = r.lpush::<_, _, i64>("s", "x").expect_err("a list command on a string");
    assert_eq!(refused.code(), Some("WRONGTYPE"));
    assert!(!matches!(refused.kind(), ErrorKind::Io));
    let mut listening = must("a subscriber", client.get_connection());
    let mut listener = listening.as_pubsub();
    must("SUBSCRIBE", listener.subscribe("news"));
    assert_eq!(must("PUBLISH", r.publish::<_, _, i64>("news", "hello")), 1);
    let message = must("a message", listener.get_message());
    assert_eq!(must("its text", message.get_payload::<String>()), "hello");
    assert!(matches!(must("PING", redis::cmd("PING").query::<Value>(r)), Value::SimpleString(_)));
}

#[test]
fn redis_rs_finds_everything_as_in_redis() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let address = cluster.nodes[0].resp.clone();
    uses_every_family(&format!("redis://{address}/?protocol=resp2"));
    uses_every_family(&format!("redis://{address}/?protocol=resp3"));
    cluster.await_equal();
}
