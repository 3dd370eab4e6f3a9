//! Which of Redis' commands are known, asked of a real Redis.

use super::Server;
use super::redis::Redis;
use super::reply::Answer;

/// What is not offered, with the reason in `docs/differences.md`: replication between Redis servers, and what the nodes of a
/// divided cluster say to each other.
const LEFT_OUT: &[&str] = &["psync", "replconf", "restore-asking", "sync"];

/// So many of a hundred commands and subcommands of Redis 7.0 must be known.
const KNOWN_PERCENT_MIN: usize = 98;

#[test]
fn nearly_every_command_of_redis_is_known_and_the_others_are_listed() {
    let Some(mut redis) = Redis::start() else {
        eprintln!("SKIPPED: no redis-server 7.0 is installed, so nobody says which commands there are");
        return;
    };
    let Answer::Array(names) = redis.call(&[b"COMMAND".to_vec(), b"LIST".to_vec()]) else {
        panic!("COMMAND LIST answers an array");
    };
    let names: Vec<String> = names
        .iter()
        .map(|name| match name {
            Answer::Bulk(name) => String::from_utf8_lossy(name).into_owned(),
            other => panic!("a name is a byte string, and not {other}"),
        })
        .collect();
    let table = server::command::table::table();
    let unknown: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| table.find_full(name.as_bytes()).is_none()).collect();
    let unlisted: Vec<&&str> = unknown.iter().filter(|name| !LEFT_OUT.contains(name)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?} are neither known nor listed");
    let known = names.len() - unknown.len();
    println!(
        "{known} of {} commands and subcommands of Redis are known: {:.1} %",
        names.len(),
        known as f64 * 100.0 / names.len() as f64
    );
    assert!(names.len() > 300 && known * 100 >= names.len() * KNOWN_PERCENT_MIN, "{known} of {}", names.len());
}
