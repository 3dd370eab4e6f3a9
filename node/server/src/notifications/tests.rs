use crate::node::Node;
use crate::testing::{Caller, node};
use std::sync::Arc;

/// A node that tells of events, a client that hears of them, and one that makes them.
fn scene(events: &str) -> (Arc<Node>, Caller, Caller) {
    let node = Arc::new(node());
    node.config.set(&[("notify-keyspace-events", events)]).unwrap();
    let mut listener = Caller::new(&node);
    listener.call("PSUBSCRIBE __key*@*__:*");
    let caller = Caller::new(&node);
    (node, listener, caller)
}

/// The events that a client has heard of, each with its key.
fn heard(listener: &mut Caller) -> String {
    let text = listener.mail();
    let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with('$')).collect();
    let mut told = Vec::new();
    for message in lines.split(|line| line.starts_with('*')).filter(|message| message.len() >= 4) {
        let channel = message[2].trim_start_matches("__keyevent@0__:").trim_start_matches("__keyspace@0__:");
        told.push(format!("{channel} {}", message[3]));
    }
    told.join(", ")
}

#[test]
fn commands_tell_what_they_have_done_and_to_what() {
    let (_node, mut listener, mut caller) = scene("EA");
    let cases = [
        ("SET a 1 EX 100", "set a, expire a"),
        ("INCR a", "incrby a"),
        ("SET a 1 XX KEEPTTL", "set a"),
        ("SETNX a 1", ""),
        ("RENAME a b", "rename_from a, rename_to b"),
        ("DEL b none", "del b"),
        ("HSET h f 1 g 2", "hset h"),
        ("HPEXPIRE h 100000 FIELDS 1 f", "hexpire h"),
        ("HPERSIST h FIELDS 1 f", "hpersist h"),
        ("HPERSIST h FIELDS 1 f", ""),
        ("HGETEX h EX 100 FIELDS 1 f", "hexpire h"),
        ("HGETEX h PERSIST FIELDS 1 f", "hpersist h"),
        ("HGETEX h FIELDS 1 f", ""),
        ("HSETEX h2 EX 100 FIELDS 2 a 1 b 2", "hset h2, hexpire h2"),
        ("HSETEX h2 FIELDS 1 c 3", "hset h2"),
        ("HGETDEL h2 FIELDS 1 c", "hdel h2"),
        ("HEXPIRE h2 0 FIELDS 2 a b", "hdel h2, del h2"),
        ("HDEL h f none", "hdel h"),
        ("HDEL h g", "hdel h, del h"),
        ("RPUSH l 1 2 3", "rpush l"),
        ("LMOVE l m LEFT RIGHT", "rpush m, lpop l"),
        ("LMOVE m l LEFT LEFT", "lpush l, lpop m, del m"),
        ("LTRIM l 1 0", "ltrim l, del l"),
        ("SADD s a b", "sadd s"),
        ("SADD s a", ""),
        ("SMOVE s t a", "srem s, sadd t"),
        ("SUNIONSTORE u s t", "sunionstore u"),
        ("SINTERSTORE u s t", "del u"),
        ("ZADD z 1 a", "zadd z"),
        ("ZADD z 1 a", ""),
        ("ZINCRBY z 1 a", "zincr z"),
        ("ZPOPMIN z", "zpopmin z, del z"),
        ("XADD x 1-1 f v", "xadd x"),
        ("XADD x MAXLEN 1 2-1 f v", "xadd x, xtrim x"),
        ("XGROUP CREATE x g $", "xgroup-create x"),
        ("EXPIRE x 100", "expire x"),
        ("PERSIST x", "persist x"),
        ("EXPIRE x -1", "del x"),
        ("GET none", ""),
    ];
    for (command, events) in cases {
        caller.call(command);
        assert_eq!(heard(&mut listener), events, "{command}");
    }
}

#[test]
fn both_channels_are_told_if_both_are_wanted_and_none_if_none_is() {
    let (node, mut listener, mut caller) = scene("KE$");
    caller.call("SET k 1");
    assert_eq!(heard(&mut listener), "k set, set k");
    caller.call("LPUSH l 1");
    assert_eq!(heard(&mut listener), "");
    node.config.set(&[("notify-keyspace-events", "")]).unwrap();
    caller.call("SET k 1");
    assert_eq!(heard(&mut listener), "");
}

#[test]
fn new_keys_are_told_before_what_made_them_and_missing_ones_when_they_are_read() {
    let (_node, mut listener, mut caller) = scene("E$lnm");
    for (command, events) in [
        ("SET k 1", "new k, set k"),
        ("SET k 2", "set k"),
        ("RPOPLPUSH none m", ""),
        ("MSET k 1 j 2", "set k, new j, set j"),
        ("GET none", "keymiss none"),
        ("MGET k no", "keymiss no"),
    ] {
        caller.call(command);
        assert_eq!(heard(&mut listener), events, "{command}");
    }
}

#[test]
fn a_transaction_tells_in_order() {
    let (_node, mut listener, mut caller) = scene("EA");
    for command in ["MULTI", "SET a 1", "DEL a", "LPUSH a x", "EXEC"] {
        caller.call(command);
    }
    assert_eq!(heard(&mut listener), "set a, del a, lpush a");
}

#[test]
fn nobody_hears_of_what_the_node_keeps_for_itself() {
    let (_node, mut listener, mut caller) = scene("KEAmn");
    let library = b"#!lua name=own\nredis.register_function('f', function() return redis.call('incr', 'n') end)";
    caller.call_bytes(&[b"FUNCTION", b"LOAD", library]);
    caller.call("FUNCTION LIST");
    assert_eq!(listener.mail(), "");
    assert_eq!(caller.call("FCALL f 0"), ":1\r\n");
    assert!(heard(&mut listener).contains("incrby n"), "what it writes for clients is told");
    caller.call("FUNCTION FLUSH");
    assert_eq!(listener.mail(), "");
}

#[test]
fn what_changes_nothing_is_no_event_where_redis_sends_none() {
    let (_node, mut listener, mut caller) = scene("EAm");
    for command in ["ZADD z 1 a", "SETBIT bits 1 1", "XADD x 1-1 f v", "XGROUP CREATE x g $"] {
        caller.call(command);
    }
    heard(&mut listener);
    for (command, events) in [
        ("ZINCRBY z 0 a", ""),
        ("ZADD z INCR 0 a", ""),
        ("ZINCRBY z 1 a", "zincr z"),
        ("ZINCRBY z 0 b", "zincr z"),
        ("BITFIELD bits SET u1 1 1", ""),
        ("BITFIELD bits INCRBY u8 0 0", ""),
        ("BITFIELD bits SET u1 1 0", "setbit bits"),
        ("BITFIELD bits SET u1 1 1 SET u1 1 0", "setbit bits"),
        ("BITFIELD bits SET u8 100 0", "setbit bits"),
        ("XREADGROUP GROUP g c STREAMS x >", ""),
        ("XREADGROUP GROUP g c STREAMS x 0", "xgroup-createconsumer x"),
        ("MEMORY USAGE none", ""),
        ("XINFO STREAM none", "keymiss none"),
        ("XINFO GROUPS none", "keymiss none"),
        ("XPENDING none g", "keymiss none"),
        ("XPENDING none g x", ""),
    ] {
        caller.call(command);
        assert_eq!(heard(&mut listener), events, "{command}");
    }
}
