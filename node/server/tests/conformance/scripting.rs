//! Scripts given to this server and to a real `redis-server`: both must answer the same, in both versions of the protocol.
//!
//! The scripts are lines of `scripts/lua.txt`: a script (`\n` is the end of a line in it), before it perhaps
//! `[KEY... | ARGUMENT...] `; lines that begin with `> ` are other commands, `#` is a comment, `##` an empty database.

use super::reply::Answer;
use super::{Server, node, redis, script};
use resp::Version;

const LUA: &str = include_str!("scripts/lua.txt");

/// A line as a call.
fn call_of(line: &str) -> Vec<Vec<u8>> {
    if let Some(command) = line.strip_prefix("> ") {
        return script::arguments(&command.replace("\\n", "\n")).unwrap_or_else(|| panic!("cannot be read: {line}"));
    }
    let (keys, rest, body) = match line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
        Some((words, body)) => {
            let (keys, rest) = words.split_once('|').unwrap_or((words, ""));
            (script::arguments(keys).unwrap(), script::arguments(rest).unwrap(), body)
        }
        None => (vec![], vec![], line),
    };
    let body = body.replace("\\n", "\n");
    let mut call = vec![b"EVAL".to_vec(), body.into_bytes(), keys.len().to_string().into_bytes()];
    call.extend(keys);
    call.extend(rest);
    call
}

#[test]
fn scripts_are_answered_as_redis_answers_them() {
    let Some(mut redis) = redis::Redis::start() else {
        eprintln!("SKIPPED: no redis-server 7.0 is installed, so scripts are not compared with Redis");
        return;
    };
    let mut pelago = node::Pelago::new();
    let (mut differences, mut calls) = (Vec::new(), 0);
    for version in [Version::Resp2, Version::Resp3] {
        for line in LUA.lines().filter(|line| !line.is_empty()) {
            if line.starts_with("##") {
                pelago.begin(version);
                redis.begin(version);
            }
            if line.starts_with('#') && !line.starts_with("#!") {
                continue;
            }
            let call = call_of(line);
            let (expected, answer): (Answer, Answer) = (redis.call(&call), pelago.call(&call));
            calls += 1;
            if answer != expected {
                differences.push(format!("{version:?} {line}\n    expected {expected}\n    answered {answer}"));
            }
        }
    }
    assert!(calls > 500, "the scripts are there");
    assert!(differences.is_empty(), "{} of {calls} answers differ:\n{}", differences.len(), differences.join("\n"));
}
