//! What `INFO` promises to clients and exporters.

use super::*;
use crate::testing::{Caller, STARTED_AT, node};
use std::sync::Arc;

/// The names of sections in an answer.
fn sections(node: &Node, names: &[&str]) -> Vec<String> {
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let text = text(node, STARTED_AT, &names);
    text.split("\r\n").filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect()
}

fn field(text: &str, name: &str) -> String {
    let line = text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("there is no {name} in\n{text}")).to_owned()
}

#[test]
fn sections_are_those_that_were_asked_for_in_the_order_of_redis() {
    let node = node();
    let all: Vec<&str> = Section::ALL.iter().map(|section| section.title()).collect();
    let default: Vec<&str> =
        all.iter().copied().filter(|title| !["Commandstats", "Latencystats"].contains(title)).collect();
    assert_eq!(sections(&node, &[]), default);
    assert_eq!(sections(&node, &["default"]), default);
    assert_eq!(sections(&node, &["ALL"]), all);
    assert_eq!(sections(&node, &["everything"]), all);
    assert_eq!(sections(&node, &["cpu", "nothing", "Server"]), ["Server", "CPU"]);
    assert_eq!(sections(&node, &["default", "commandstats"]).len(), default.len() + 1);
    assert_eq!(text(&node, STARTED_AT, &[b"nothing"]), "");
}

#[test]
fn sections_are_apart_by_an_empty_line_and_lines_end_as_in_redis() {
    let text = text(&node(), STARTED_AT, &[b"all"]);
    assert!(text.starts_with("# Server\r\nredis_version:7.4.0\r\n"));
    assert_eq!(text.matches("\r\n\r\n# ").count(), Section::ALL.len() - 1);
    assert!(text.ends_with("\r\n") && !text.ends_with("\r\n\r\n"));
    for line in text.split_terminator("\r\n").filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        assert!(line.contains(':') && !line.contains('\n'), "{line:?}");
    }
}

#[test]
fn clients_and_exporters_find_the_fields_of_redis() {
    let node = node();
    let text = text(&node, STARTED_AT + 90_061_000, &[b"all"]);
    for (name, value) in [
        ("redis_mode", "standalone"),
        ("role", "master"),
        ("connected_slaves", "0"),
        ("uptime_in_seconds", "90061"),
        ("uptime_in_days", "1"),
        ("tcp_port", "6379"),
        ("loading", "0"),
        ("aof_enabled", "0"),
        ("maxclients", "10000"),
        ("connected_clients", "0"),
        ("maxmemory_policy", "noeviction"),
        ("cluster_enabled", "0"),
        ("total_commands_processed", "0"),
        ("maxmemory_human", "0B"),
    ] {
        assert_eq!(field(&text, name), value, "{name}");
    }
    assert_eq!(field(&text, "run_id").len(), 40);
    assert_eq!(field(&text, "master_replid").len(), 40);
    assert!(field(&text, "used_memory_rss").parse::<u64>().is_ok());
}

#[test]
fn every_field_of_redis_that_programs_read_is_there() {
    let text = text(&node(), STARTED_AT, &[b"all"]);
    for name in REDIS_FIELDS.split_whitespace() {
        field(&text, name);
    }
}

#[test]
fn scripts_and_functions_are_counted_with_the_memory_that_they_take() {
    let node = std::sync::Arc::new(node());
    let mut caller = crate::testing::Caller::new(&node);
    assert_eq!(field(&text(&node, STARTED_AT, &[b"memory"]), "number_of_cached_scripts"), "0");
    caller.call("EVAL return(1) 0");
    caller.call("SCRIPT LOAD return(2)");
    let library = b"#!lua name=own\nredis.register_function('f', function() return 1 end)\n\
        redis.register_function('g', function() return 2 end)";
    caller.call_bytes(&[b"FUNCTION", b"LOAD", library]);
    let said = text(&node, STARTED_AT, &[b"memory"]);
    for (name, value) in [("number_of_cached_scripts", "2"), ("number_of_libraries", "1"), ("number_of_functions", "2")]
    {
        assert_eq!(field(&said, name), value, "{name}");
    }
    let number = |name: &str| field(&said, name).parse::<usize>().unwrap();
    assert_eq!(number("used_memory_functions"), library.len());
    assert_eq!(number("used_memory_scripts"), number("used_memory_scripts_eval") + library.len());
    assert!(number("used_memory_vm_eval") > 10_000, "a machine was made");
    assert_eq!(number("used_memory_vm_eval"), number("used_memory_lua"));
    caller.call("SCRIPT FLUSH");
    caller.call("FUNCTION FLUSH");
    let said = text(&node, STARTED_AT, &[b"memory"]);
    for name in ["number_of_cached_scripts", "number_of_libraries", "number_of_functions", "used_memory_scripts"] {
        assert_eq!(field(&said, name), "0", "{name}");
    }
}

#[test]
fn what_connections_hold_is_counted_as_their_memory() {
    let node = Arc::new(node());
    let told = || field(&text(&node, STARTED_AT, &[b"memory"]), "mem_clients_normal").parse::<u64>().unwrap();
    assert_eq!(told(), 0);
    let mut clients = [Caller::new(&node), Caller::new(&node), Caller::new(&node)];
    let bare = told();
    assert!(bare > 0);
    clients[0].call(&format!("SUBSCRIBE {}", "a".repeat(10_000)));
    clients[1].call(&format!("SUBSCRIBE {}", "b".repeat(20_000)));
    assert!(told() > bare + 30_000);
    let each = node.clients.all();
    assert_eq!(told(), each.iter().map(|presence| presence.memory_bytes()).sum::<u64>());
    let stats = clients[2].call("MEMORY STATS");
    assert!(stats.contains(&format!("clients.normal\r\n:{}\r\n", told())), "{stats}");
}

#[test]
fn calls_and_errors_are_counted_by_name() {
    let node = node();
    let tally = node.tallies.add();
    let config_get = node.table.find_full(b"config|get").unwrap().ordinal;
    (0..4).for_each(|_| _ = tally.call(config_get));
    tally.time(config_get, 2_500);
    tally.failed(config_get, "ERR no");
    tally.rejected(Some(config_get), "NOAUTH Authentication required.");
    let text = text(&node, STARTED_AT, &[b"all"]);
    let line = "calls=4,usec=10,usec_per_call=2.50,rejected_calls=1,failed_calls=1";
    assert_eq!(field(&text, "cmdstat_config|get"), line);
    assert_eq!(field(&text, "errorstat_NOAUTH"), "count=1");
    assert_eq!(field(&text, "total_error_replies"), "2");
}

#[test]
fn the_cluster_is_told_as_far_as_it_is_known() {
    let node = node();
    let alone = text(&node, STARTED_AT, &[b"pelago"]);
    assert_eq!((field(&alone, "members").as_str(), field(&alone, "vector").as_str()), ("0", ""));
    node.keyspace.conflicts().kinds.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
    node.console.set_cluster_view(|| ClusterStatus {
        cluster: "00ff".to_owned(),
        node: "eu-west-1".to_owned(),
        region: "eu-west".to_owned(),
        number: Some(3),
        members: vec![
            MemberStatus {
                node: "us-east-1".to_owned(),
                region: "us-east".to_owned(),
                link: LinkState::CatchingUp,
                applied_lag_ms: Some(12),
                unacked_changes: 4,
                ..MemberStatus::default()
            },
            MemberStatus { node: "gone-1".to_owned(), state: MemberState::Removed, ..MemberStatus::default() },
        ],
        vector: [("eu-west-1".to_owned(), "7".to_owned()), ("us-east-1".to_owned(), "9".to_owned())].into(),
        catching_up_from: Some("us-east-1".to_owned()),
        filling: None,
        writes_refused: Some("ERR no".to_owned()),
    });
    let text = text(&node, STARTED_AT, &[b"pelago"]);
    assert_eq!(field(&text, "node"), "eu-west-1");
    assert_eq!(field(&text, "number"), "3");
    assert_eq!(field(&text, "members"), "1");
    assert_eq!(field(&text, "vector"), "eu-west-1=7,us-east-1=9");
    assert_eq!(field(&text, "catching_up_from"), "us-east-1");
    assert_eq!(field(&text, "writes_refused"), "ERR no");
    assert_eq!(field(&text, "conflicts_type"), "2");
    let member = "node=us-east-1,region=us-east,state=active,link=catching_up,applied_lag_ms=12,unacked_changes=4,\
                  clock_offset_ms=,advertise=,resp=";
    assert_eq!(field(&text, "member0"), member);
}

#[test]
fn bytes_are_shown_to_people_as_in_redis() {
    for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_780_496, "1.70M"), (25_276_510_208, "23.54G")]
    {
        assert_eq!(sections::human(bytes), text);
    }
}

/// What Redis 7.0.15 answers to `INFO all`, without what belongs to its build.
const REDIS_FIELDS: &str = "
redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits monotonic_clock multiplexing_api
process_id process_supervised run_id tcp_port server_time_usec uptime_in_seconds uptime_in_days hz configured_hz lru_clock
executable config_file io_threads_active connected_clients cluster_connections maxclients client_recent_max_input_buffer
client_recent_max_output_buffer blocked_clients tracking_clients clients_in_timeout_table used_memory used_memory_human
used_memory_rss used_memory_rss_human used_memory_peak used_memory_peak_human used_memory_peak_perc used_memory_overhead
used_memory_startup used_memory_dataset used_memory_dataset_perc allocator_allocated allocator_active allocator_resident
total_system_memory total_system_memory_human used_memory_lua used_memory_vm_eval used_memory_lua_human
used_memory_scripts_eval number_of_cached_scripts number_of_functions number_of_libraries used_memory_vm_functions
used_memory_vm_total used_memory_vm_total_human used_memory_functions used_memory_scripts used_memory_scripts_human
maxmemory maxmemory_human maxmemory_policy allocator_frag_ratio allocator_frag_bytes allocator_rss_ratio
allocator_rss_bytes rss_overhead_ratio rss_overhead_bytes mem_fragmentation_ratio mem_fragmentation_bytes
mem_not_counted_for_evict mem_replication_backlog mem_total_replication_buffers mem_clients_slaves mem_clients_normal
mem_cluster_links mem_aof_buffer mem_allocator active_defrag_running lazyfree_pending_objects lazyfreed_objects loading
async_loading current_cow_peak current_cow_size current_cow_size_age current_fork_perc current_save_keys_processed
current_save_keys_total rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status
rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec rdb_saves rdb_last_cow_size rdb_last_load_keys_expired
rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled aof_last_rewrite_time_sec
aof_current_rewrite_time_sec aof_last_bgrewrite_status aof_rewrites aof_rewrites_consecutive_failures
aof_last_write_status aof_last_cow_size module_fork_in_progress module_fork_last_cow_size total_connections_received
total_commands_processed instantaneous_ops_per_sec total_net_input_bytes total_net_output_bytes
total_net_repl_input_bytes total_net_repl_output_bytes instantaneous_input_kbps instantaneous_output_kbps
instantaneous_input_repl_kbps instantaneous_output_repl_kbps rejected_connections sync_full sync_partial_ok
sync_partial_err expired_keys expired_stale_perc expired_time_cap_reached_count expire_cycle_cpu_milliseconds
evicted_keys evicted_clients total_eviction_exceeded_time current_eviction_exceeded_time keyspace_hits keyspace_misses
pubsub_channels pubsub_patterns pubsubshard_channels latest_fork_usec total_forks migrate_cached_sockets
slave_expires_tracked_keys active_defrag_hits active_defrag_misses active_defrag_key_hits active_defrag_key_misses
total_active_defrag_time current_active_defrag_time tracking_total_keys tracking_total_items tracking_total_prefixes
unexpected_error_replies total_error_replies dump_payload_sanitizations total_reads_processed total_writes_processed
io_threaded_reads_processed io_threaded_writes_processed reply_buffer_shrinks reply_buffer_expands role
connected_slaves master_failover_state master_replid master_replid2 master_repl_offset second_repl_offset
repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen used_cpu_sys used_cpu_user
used_cpu_sys_children used_cpu_user_children cluster_enabled";

#[test]
fn reads_that_find_their_key_and_those_that_do_not_are_counted() {
    let node = Arc::new(node());
    let mut caller = Caller::new(&node);
    let counted = || {
        let text = text(&node, STARTED_AT, &[b"stats"]);
        (field(&text, "keyspace_hits"), field(&text, "keyspace_misses"))
    };
    // As in Redis, a command that writes looks for its key for its own sake.
    for line in ["SET k v", "SETRANGE k 0 x", "EXPIRE k 100", "DEL nothing", "HSET h f v", "SADD s m"] {
        caller.call(line);
    }
    assert_eq!(counted(), ("0".to_owned(), "0".to_owned()));
    // One key of one command counts once, however often the handler looks at it.
    for line in ["GET k", "TTL k", "TYPE h", "HGETALL h", "SISMEMBER s x", "OBJECT ENCODING k", "EXISTS k k"] {
        caller.call(line);
    }
    assert_eq!(counted(), ("8".to_owned(), "0".to_owned()));
    for line in ["GET nothing", "MGET k no nothing", "HGET no f", "MULTI", "GET k", "GET no", "EXEC"] {
        caller.call(line);
    }
    assert_eq!(counted(), ("10".to_owned(), "5".to_owned()));
    caller.call("CONFIG RESETSTAT");
    assert_eq!(counted(), ("0".to_owned(), "0".to_owned()));
    // Each of several keys counts once too, however often the handler looks at all of them.
    for line in [
        "ZADD z 1 m",
        "XADD x 1-1 f v",
        "ZUNION 2 no z",
        "ZINTER 2 no z",
        "SINTERCARD 2 no s",
        "XREAD STREAMS no x 0 0",
    ] {
        caller.call(line);
    }
    assert_eq!(counted(), ("4".to_owned(), "4".to_owned()));
}

#[test]
fn keys_with_an_end_and_how_long_they_live_are_counted_by_database() {
    let node = Arc::new(node());
    let mut caller = Caller::new(&node);
    let database = |name: &str| field(&text(&node, STARTED_AT, &[b"keyspace"]), name);
    let lines = [
        "SET a v PX 100000",
        "SET b v EX 300",
        "SET c v",
        "SADD s m",
        "EXPIRE s 200",
        "INCR n",
        "PEXPIREAT n 1",
        "SET gone v EX 100",
        "DEL gone",
        "SET plain v EX 100",
        "SET plain v",
        "SELECT 3",
        "HSET h f v",
        "EXPIRE h 10",
        "PERSIST h",
    ];
    lines.iter().for_each(|line| drop(caller.call(line)));
    let shown = database("db0");
    let mean: u64 =
        shown.strip_prefix("keys=5,expires=3,avg_ttl=").unwrap_or_else(|| panic!("{shown}")).parse().unwrap();
    assert!(mean.abs_diff(200_000) < 1_100, "{mean}");
    assert_eq!(database("db3"), "keys=1,expires=0,avg_ttl=0");
    caller.call("FLUSHALL");
    assert_eq!(node.keyspace.keys_with_end(0), 0);
}
