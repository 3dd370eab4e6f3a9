//! What access rules are made of, compared with a `redis-server`: categories of commands, and what commands do with keys.

use super::Server;
use super::node::Pelago;
use super::redis::Redis;
use super::reply::Answer;
use resp::Version;
use std::collections::{BTreeMap, BTreeSet};

fn ask<S: Server>(server: &mut S, words: &[&str]) -> Answer {
    server.call(&words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
}

fn texts(answer: Answer) -> BTreeSet<String> {
    let (Answer::Array(all) | Answer::Set(all)) = answer else { panic!("a list was expected, not {answer}") };
    let text = |answer| match answer {
        Answer::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
        Answer::Simple(text) => text,
        other => panic!("a text was expected, not {other}"),
    };
    all.into_iter().map(text).collect()
}

#[test]
fn categories_have_the_commands_that_they_have_in_redis() {
    let Some(mut redis) = Redis::start() else {
        return eprintln!("SKIPPED: no redis-server 7.0 is installed, so categories are not compared with Redis");
    };
    let mut pelago = Pelago::new();
    redis.begin(Version::Resp2);
    pelago.begin(Version::Resp2);
    let known = texts(ask(&mut pelago, &["COMMAND", "LIST"]));
    let in_redis = texts(ask(&mut redis, &["COMMAND", "LIST"]));
    let mut differences = Vec::new();
    for category in texts(ask(&mut redis, &["ACL", "CAT"])) {
        let (here, there) = (ask(&mut pelago, &["ACL", "CAT", &category]), ask(&mut redis, &["ACL", "CAT", &category]));
        let (here, there) = (texts(here), texts(there));
        for name in here.symmetric_difference(&there).filter(|name| known.contains(*name) && in_redis.contains(*name)) {
            let place = if here.contains(name) { "only here" } else { "only in Redis" };
            differences.push(format!("{name} is in @{category} {place}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Requests with all the keys of each command that names any.
const REQUESTS: &str = include_str!("scripts/keys.txt");

#[test]
fn commands_do_with_their_keys_what_they_do_in_redis() {
    let Some(mut redis) = Redis::start() else {
        return eprintln!("SKIPPED: no redis-server 7.0 is installed, so the uses of keys are not compared with Redis");
    };
    let mut pelago = Pelago::new();
    redis.begin(Version::Resp2);
    pelago.begin(Version::Resp2);
    let uses = |answer: Answer| -> BTreeMap<String, BTreeSet<String>> {
        let Answer::Array(keys) = answer else { panic!("a list was expected, not {answer}") };
        let pair = |answer| match answer {
            Answer::Array(pair) => match <[Answer; 2]>::try_from(pair) {
                Ok([Answer::Bulk(key), uses]) => (String::from_utf8(key).unwrap(), texts(uses)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other}"),
        };
        keys.into_iter().map(pair).collect()
    };
    let mut differences = Vec::new();
    for request in REQUESTS.lines() {
        let words: Vec<&str> = ["COMMAND", "GETKEYSANDFLAGS"].into_iter().chain(request.split(' ')).collect();
        let (here, there) = (uses(ask(&mut pelago, &words)), uses(ask(&mut redis, &words)));
        if here != there {
            differences.push(format!("{request}: {here:?}, in Redis {there:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
