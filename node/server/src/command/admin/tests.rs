//! The replies of Redis 7.0.15, tried there, and ours where Redis has another answer that would not be true here.

use super::*;
use crate::testing::{Caller, STARTED_AT, node, node_with_steps};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn check(cases: &[(&str, &str)]) {
    let mut caller = Caller::new(&Arc::new(node()));
    for (line, reply) in cases {
        assert_eq!(caller.call(line), *reply, "{line}");
    }
}

#[test]
fn config_answers_as_redis_does() {
    check(&[
        ("CONFIG", "-ERR wrong number of arguments for 'config' command\r\n"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command\r\n"),
        ("CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n"),
        ("CONFIG GET nosuch", "*0\r\n"),
        ("CONFIG GET PORT timeou? port", "*4\r\n$4\r\nPORT\r\n$4\r\n6379\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"),
        ("CONFIG SET maxclients", "-ERR wrong number of arguments for 'config|set' command\r\n"),
        ("CONFIG SET maxclients 20 timeout", "-ERR syntax error\r\n"),
        ("CONFIG SET maxclients 1 foo 2", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'\r\n"),
        (
            "CONFIG SET maxclients 0",
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and 4294967295 inclusive\r\n",
        ),
        ("CONFIG SET maxclients 20 timeout 9", "+OK\r\n"),
        ("CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$2\r\n20\r\n"),
        ("CONFIG SET save ''", "+OK\r\n"),
        ("CONFIG REWRITE", "-ERR The server is running without a config file\r\n"),
        ("CONFIG RESETSTAT", "+OK\r\n"),
        ("CONFIG RESETSTAT x", "-ERR wrong number of arguments for 'config|resetstat' command\r\n"),
        ("CONFIG BLAH", "-ERR unknown subcommand 'BLAH'. Try CONFIG HELP.\r\n"),
    ]);
}

#[test]
fn config_set_refuses_what_is_not_text() {
    let mut caller = Caller::new(&Arc::new(node()));
    let reply = caller.call_bytes(&[b"config", b"set", b"requirepass", b"\xff"]);
    let text = "-ERR CONFIG SET failed (possibly related to argument 'requirepass') - argument must be one line of UTF-8 text\r\n";
    assert_eq!(String::from_utf8_lossy(&reply), text);
    let reply = caller.call_bytes(&[b"config", b"set", b"\xff", b"1"]);
    assert!(reply.starts_with(b"-ERR Unknown option"));
}

#[test]
fn help_has_the_frame_of_redis() {
    let mut caller = Caller::new(&Arc::new(node()));
    let reply = caller.call("CONFIG HELP");
    assert!(
        reply.starts_with(
            "*11\r\n+CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+GET <pattern>\r\n"
        )
    );
    assert!(reply.ends_with("+HELP\r\n+    Prints this help.\r\n"));
    assert!(caller.call("MEMORY HELP").starts_with("*14\r\n"));
    assert!(caller.call("SLOWLOG HELP").starts_with("*12\r\n"));
    assert!(caller.call("LATENCY HELP").starts_with("*17\r\n"));
}

#[test]
fn info_answers_sections() {
    let mut caller = Caller::new(&Arc::new(node()));
    assert_eq!(caller.call("INFO nosuch"), "$0\r\n\r\n");
    assert!(caller.call("INFO server nosuch cpu").contains("# CPU\r\nused_cpu_sys:"));
    caller.call("HELLO 3");
    assert!(caller.call("INFO cluster").starts_with("=34\r\ntxt:# Cluster\r\n"));
    caller.call("CONFIG RESETSTAT");
    assert!(caller.call("INFO commandstats").contains("cmdstat_info:calls=1,"));
}

#[test]
fn time_is_told_in_microseconds_each_time_and_stands_still_in_a_transaction_or_script() {
    let looks = AtomicU64::new(STARTED_AT * 1000);
    let node = node().with_microseconds(move || looks.fetch_add(7, Ordering::Relaxed));
    let mut caller = Caller::new(&Arc::new(node));
    let time = |micros: u64| {
        let micros = micros.to_string();
        format!("*2\r\n$10\r\n1700000000\r\n${}\r\n{micros}\r\n", micros.len())
    };
    // All of it at one moment of the clock that is read for a pipeline.
    assert_eq!(caller.call("TIME"), time(0));
    assert_eq!(caller.call("TIME"), time(7));
    let script: &[u8] = b"redis.call('time') return redis.call('time')";
    let queue = |caller: &mut Caller| {
        caller.call("MULTI");
        caller.call("TIME");
        caller.call("TIME");
    };
    queue(&mut caller);
    assert_eq!(caller.call("EXEC"), format!("*2\r\n{0}{0}", time(14)));
    assert_eq!(caller.call_bytes(&[b"EVAL", script, b"0"]), time(21).into_bytes());
    // A script in a transaction is a part of that step.
    queue(&mut caller);
    caller.call_bytes(&[b"EVAL", script, b"0"]);
    assert_eq!(caller.call("EXEC"), format!("*3\r\n{0}{0}{0}", time(28)));
    assert_eq!(caller.call("TIME"), time(35));
}

#[test]
fn time_is_in_whole_milliseconds_where_the_clock_is() {
    check(&[
        ("TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"),
        ("TIME x", "-ERR wrong number of arguments for 'time' command\r\n"),
        ("LASTSAVE", ":1700000000\r\n"),
    ]);
    assert_eq!(STARTED_AT, 1_700_000_000_000);
}

#[test]
fn what_a_node_cannot_do_is_said() {
    let saved = "-ERR nothing is saved to disk: keys are in memory and in the other regions; start the node with persistence = on to keep them\r\n";
    check(&[
        ("SAVE", saved),
        ("BGSAVE", saved),
        ("BGSAVE SCHEDULE", saved),
        ("BGREWRITEAOF", saved),
        ("BGSAVE x", "-ERR syntax error\r\n"),
        ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        ("REPLICAOF no one", "+OK\r\n"),
        ("SLAVEOF NO ONE", "+OK\r\n"),
        (
            "REPLICAOF 10.0.0.1 6379",
            "-ERR every region takes writes, so there are no replicas: add a region with PELAGO REGION ADD instead\r\n",
        ),
    ]);
    assert!(
        Caller::new(&Arc::new(node()))
            .call("DEBUG SLEEP 0")
            .starts_with("-ERR DEBUG command not allowed. If the enable-debug-command ")
    );
}

#[test]
fn memory_answers_as_redis_does() {
    check(&[
        ("MEMORY USAGE nokey", "$-1\r\n"),
        ("MEMORY USAGE a samples", "-ERR syntax error\r\n"),
        ("MEMORY USAGE a samples x", "-ERR value is not an integer or out of range\r\n"),
        ("MEMORY USAGE a samples -1", "-ERR syntax error\r\n"),
        ("MEMORY USAGE a foo bar", "-ERR syntax error\r\n"),
        ("MEMORY PURGE", "+OK\r\n"),
        ("MEMORY MALLOC-STATS x", "-ERR wrong number of arguments for 'memory|malloc-stats' command\r\n"),
    ]);
    let mut caller = Caller::new(&Arc::new(node()));
    assert_eq!(caller.call("SET a b"), "+OK\r\n");
    let usage = caller.call("MEMORY USAGE a SAMPLES 0");
    assert!(usage.starts_with(':') && usage != ":0\r\n", "{usage}");
    assert!(caller.call("MEMORY STATS").starts_with("*54\r\n$14\r\npeak.allocated\r\n:"));
    assert!(caller.call("MEMORY DOCTOR").contains("in use"));
}

#[test]
fn the_slow_log_is_shown_newest_first() {
    let node = Arc::new(node());
    let mut caller = Caller::new(&node);
    let log = &node.console.metrics.slow_log;
    for name in ["keys", "smembers"] {
        log.note(1_700_000_001, Duration::from_micros(20_000), &[name.as_bytes(), b"a"], "127.0.0.1:5", "me", 128);
    }
    let entry = |number: u64, name: &str| {
        format!(
            "*6\r\n:{number}\r\n:1700000001\r\n:20000\r\n*2\r\n${}\r\n{name}\r\n$1\r\na\r\n$11\r\n127.0.0.1:5\r\n$2\r\nme\r\n",
            name.len()
        )
    };
    for (line, reply) in [
        ("SLOWLOG LEN", ":2\r\n".to_owned()),
        ("SLOWLOG GET", format!("*2\r\n{}{}", entry(1, "smembers"), entry(0, "keys"))),
        ("SLOWLOG GET 1", format!("*1\r\n{}", entry(1, "smembers"))),
        ("SLOWLOG GET -1", format!("*2\r\n{}{}", entry(1, "smembers"), entry(0, "keys"))),
        ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1\r\n".to_owned()),
        ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1\r\n".to_owned()),
        (
            "SLOWLOG GET 1 2",
            "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.\r\n".to_owned(),
        ),
        ("SLOWLOG RESET", "+OK\r\n".to_owned()),
        ("SLOWLOG GET", "*0\r\n".to_owned()),
    ] {
        assert_eq!(caller.call(line), reply, "{line}");
    }
}

#[test]
fn latency_answers_as_a_redis_without_its_monitor() {
    check(&[
        ("LATENCY LATEST", "*0\r\n"),
        ("LATENCY HISTORY command", "*0\r\n"),
        ("LATENCY RESET a b", ":0\r\n"),
        ("LATENCY GRAPH command", "-ERR No samples available for event 'command'\r\n"),
        ("LATENCY HISTOGRAM nosuch", "*0\r\n"),
    ]);
}

#[test]
fn lolwut_shows_a_version() {
    check(&[("LOLWUT VERSION x", "-ERR value is not an integer or out of range\r\n")]);
    let reply = Caller::new(&Arc::new(node())).call("LOLWUT");
    assert!(reply.contains("Redis ver. 7.4.0\n"), "{reply}");
}

#[test]
fn shutdown_asks_the_node_to_stop_and_can_be_taken_back() {
    let node = Arc::new(node());
    let mut caller = Caller::new(&node);
    for line in ["SHUTDOWN foo", "SHUTDOWN NOSAVE SAVE", "SHUTDOWN ABORT NOW"] {
        assert_eq!(caller.call(line), "-ERR syntax error\r\n", "{line}");
    }
    assert_eq!(caller.call("SHUTDOWN ABORT"), "-ERR No shutdown in progress.\r\n");
    assert!(caller.call("SHUTDOWN SAVE").starts_with("-ERR nothing is saved to disk"));
    assert_eq!(node.console.stop_requested(), None);
    assert_eq!(caller.call("SHUTDOWN NOSAVE"), "");
    assert!(caller.is_closing());
    assert_eq!(node.console.stop_requested(), Some(Stop::Orderly));
    assert_eq!(Caller::new(&node).call("SHUTDOWN ABORT"), "+OK\r\n");
    assert_eq!(caller.call("SHUTDOWN SAVE NOW FORCE"), "");
    assert_eq!(node.console.stop_requested(), Some(Stop::Now));
}

#[test]
fn a_node_whose_disk_does_not_keep_what_is_written_stops_only_when_that_is_meant() {
    let node = Arc::new(node());
    node.durability.set_policy(true, false);
    node.durability.change_state(|state| state.health = storage::Health::Full("no space".to_owned()));
    for line in ["SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOW"] {
        assert_eq!(Caller::new(&node).call(line), "-ERR Errors trying to SHUTDOWN. Check logs.\r\n", "{line}");
        assert_eq!(node.console.stop_requested(), None);
    }
    for line in ["SHUTDOWN NOSAVE", "SHUTDOWN FORCE", "SHUTDOWN SAVE FORCE"] {
        assert_eq!(Caller::new(&node).call(line), "", "{line}");
        assert_eq!(node.console.stop_requested(), Some(Stop::Orderly));
        assert_eq!(Caller::new(&node).call("SHUTDOWN ABORT"), "+OK\r\n");
    }
    node.durability.change_state(|state| state.health = storage::Health::Sound);
    assert_eq!(Caller::new(&node).call("SHUTDOWN"), "");
}

/// Everything that is timed takes five milliseconds here.
#[test]
fn the_latency_monitor_keeps_what_took_long_while_it_is_on() {
    let mut caller = Caller::new(&Arc::new(node_with_steps(5_000_000)));
    let latest = |caller: &mut Caller| caller.call("LATENCY LATEST");
    for line in ["SET k v", "GET k", "KEYS *"] {
        caller.call(line);
    }
    assert_eq!(latest(&mut caller), "*0\r\n");
    assert_eq!(caller.call("CONFIG SET latency-monitor-threshold 6"), "+OK\r\n");
    caller.call("LATENCY RESET");
    caller.call("GET k");
    assert_eq!(latest(&mut caller), "*0\r\n", "shorter than the threshold");
    assert_eq!(caller.call("CONFIG SET latency-monitor-threshold 5"), "+OK\r\n");
    caller.call("LATENCY RESET");
    let seconds = STARTED_AT / 1000;
    caller.call("GET k");
    let sample = format!(":{seconds}\r\n:5\r\n");
    let fast = format!("*4\r\n$12\r\nfast-command\r\n{sample}:5\r\n");
    let command = format!("*4\r\n$7\r\ncommand\r\n{sample}:5\r\n");
    // `LATENCY RESET` itself ends after it has forgotten everything.
    assert_eq!(latest(&mut caller), format!("*2\r\n{command}{fast}"));
    assert_eq!(caller.call("LATENCY HISTORY fast-command"), format!("*1\r\n*2\r\n{sample}"));
    assert!(caller.call("LATENCY GRAPH command").contains("command - high 5 ms, low 5 ms (all time high 5 ms)\n"));
    assert!(caller.call("LATENCY DOCTOR").contains("fast-command: 1 samples, 5 ms on average"));
    assert_eq!(caller.call("LATENCY RESET nosuch"), ":0\r\n");
    assert_eq!(caller.call("LATENCY RESET COMMAND nosuch command"), ":1\r\n");
    assert_eq!(caller.call("CONFIG SET latency-monitor-threshold 0"), "+OK\r\n");
    caller.call("LATENCY RESET");
    caller.call("KEYS *");
    assert_eq!(latest(&mut caller), "*0\r\n");
}

#[test]
fn the_latency_monitor_hears_of_commands_in_transactions_and_scripts() {
    for lines in [["MULTI", "GET k", "EXEC"], ["PING", "EVAL return/**/1 0", "EVAL redis.call('get','k') 0"]] {
        let mut caller = Caller::new(&Arc::new(node_with_steps(5_000_000)));
        caller.call("CONFIG SET latency-monitor-threshold 5");
        caller.call(lines[0]);
        caller.call("LATENCY RESET");
        caller.call(lines[1]);
        caller.call(lines[2]);
        assert!(caller.call("LATENCY LATEST").contains("fast-command"), "{lines:?}");
    }
}
