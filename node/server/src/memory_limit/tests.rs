//! The limit as clients see it. The allocator is one that has handed out a thousand bytes for each key, beside
//! the changes that wait.

use super::*;
use crate::metrics::AllocatorFigures;
use crate::testing::{Caller, node, node_with_steps};
use keyspace::Keyspace;
use std::cell::{Cell, RefCell};

thread_local! {
    static KEYSPACE: RefCell<Option<Arc<Keyspace>>> = const { RefCell::new(None) };
    static BESIDE_KEYS: Cell<u64> = const { Cell::new(0) };
}

const BYTES_A_KEY: u64 = 1_000;

struct Scene {
    node: Arc<Node>,
    caller: Caller,
}

impl Scene {
    fn new() -> Self {
        Self::of(node())
    }

    fn of(node: Node) -> Self {
        let node = Arc::new(node);
        node.keyspace.set_number(crdt::NodeNumber::new(1).unwrap());
        KEYSPACE.set(Some(Arc::clone(&node.keyspace)));
        let probe = || {
            let of_keyspace = |keyspace: &Arc<Keyspace>| keyspace.len(0) * BYTES_A_KEY + keyspace.undrained_bytes();
            let used = KEYSPACE.with_borrow(|keyspace| keyspace.as_ref().map_or(0, of_keyspace));
            AllocatorFigures { allocated: used + BESIDE_KEYS.get(), active: 0, resident: 0 }
        };
        node.console.metrics.set_allocator_probe(probe);
        Self { caller: Caller::new(&node), node }
    }

    /// The reply to a line, after the memory was measured.
    fn call(&mut self, line: &str) -> String {
        self.node.memory_limit.measure(&self.node);
        self.caller.call(line)
    }

    fn set(&mut self, pairs: &str) {
        assert_eq!(self.call(&format!("CONFIG SET {pairs}")), "+OK\r\n");
    }
}

const OUT_OF_MEMORY: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

#[test]
fn without_eviction_writes_that_need_memory_are_refused_and_everything_else_goes_on() {
    let mut scene = Scene::new();
    scene.set("maxmemory 10000");
    let replies: Vec<String> = (0..15).map(|number| scene.call(&format!("SET k:{number} v"))).collect();
    assert!(replies[..11].iter().all(|reply| reply == "+OK\r\n"), "{replies:?}");
    assert!(replies[11..].iter().all(|reply| reply == OUT_OF_MEMORY), "{replies:?}");
    assert_eq!(scene.call("GET k:3"), "$1\r\nv\r\n");
    assert_eq!(scene.call("SET k:3 w"), OUT_OF_MEMORY);
    assert_eq!(scene.call("DEL k:3 k:4"), ":2\r\n");
    assert_eq!(scene.call("SET k:3 w"), "+OK\r\n");
    assert_eq!(scene.call("EXPIRE k:3 100"), ":1\r\n");
    scene.set("maxmemory 5000");
    assert_eq!(scene.call("SET k:3 w"), OUT_OF_MEMORY);
    scene.set("maxmemory 0");
    assert_eq!(scene.call("SET k:3 w"), "+OK\r\n");
}

/// Others had removed what made it too much; the last slots of their state said so.
#[test]
fn no_key_goes_for_memory_that_was_used_only_while_the_node_filled() {
    let mut scene = Scene::new();
    scene.set("maxmemory 100000 maxmemory-policy allkeys-random");
    for number in 0..50 {
        assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n");
    }
    scene.node.condition.set_loading(true);
    BESIDE_KEYS.set(90_000);
    scene.node.memory_limit.measure(&scene.node);
    BESIDE_KEYS.set(0);
    scene.node.condition.set_loading(false);
    assert_eq!(scene.caller.call("SET k:50 v"), "+OK\r\n");
    assert_eq!(scene.node.keyspace.len(0), 51);
}

#[test]
fn with_eviction_the_limit_is_kept_and_no_write_is_refused() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let mut scene = Scene::new();
        scene.set(&format!("maxmemory 100000 maxmemory-policy {policy}"));
        for number in 0..1_000 {
            assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n");
            assert!(scene.node.keyspace.len(0) <= 101, "{policy}: {}", scene.node.keyspace.len(0));
        }
        let evicted = 1_000 - scene.node.keyspace.len(0);
        assert!(scene.call("INFO stats").contains(&format!("evicted_keys:{evicted}\r\n")));
        assert!(scene.call("INFO memory").contains("maxmemory:100000\r\n"));
        assert!(scene.call("INFO memory").contains(&format!("maxmemory_policy:{policy}\r\n")));
    }
}

#[test]
fn where_only_keys_with_an_end_go_and_there_are_none_writes_are_refused() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let mut scene = Scene::new();
        scene.set(&format!("maxmemory 2000 maxmemory-policy {policy}"));
        for number in 0..3 {
            assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n");
        }
        assert_eq!(scene.call("SET a v EX 100"), OUT_OF_MEMORY);
        assert_eq!(scene.call("EXPIRE k:1 100"), ":1\r\n");
        assert_eq!(scene.call("SET a v EX 100"), "+OK\r\n");
        assert_eq!(scene.call("EXISTS k:0 k:1 k:2"), ":2\r\n");
    }
}

#[test]
fn a_node_that_must_not_write_evicts_nothing() {
    let mut scene = Scene::new();
    (0..20).for_each(|number| assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n"));
    scene.set("maxmemory 1000 maxmemory-policy allkeys-lru");
    scene.node.condition.refuse_writes(Some("MISCONF the clock of this node is off"));
    scene.call("SET k v");
    assert_eq!(scene.node.keyspace.len(0), 20);
}

#[test]
fn nothing_is_evicted_while_writes_are_paused() {
    let mut scene = Scene::new();
    (0..20).for_each(|number| assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n"));
    scene.set("maxmemory 1000 maxmemory-policy allkeys-lru");
    assert_eq!(scene.call("CLIENT PAUSE 1000 WRITE"), "+OK\r\n");
    let before = scene.node.wall_clock();
    let mut writer = scene.node.keyspace.writer();
    let evict = |scene: &Scene, writer: &mut Writer, now| scene.node.memory_limit.evict(&scene.node, writer, now, 1);
    assert!(!evict(&scene, &mut writer, before));
    assert_eq!(scene.node.keyspace.len(0), 20);
    assert!(!scene.node.condition.is_out_of_memory());
    assert!(evict(&scene, &mut writer, before + 1_000));
    assert_eq!(scene.node.keyspace.len(0), 19);
}

#[test]
fn a_request_that_is_refused_for_its_form_or_for_want_of_a_password_evicts_nothing() {
    let mut scene = Scene::new();
    (0..20).for_each(|number| assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n"));
    scene.set("requirepass secret maxmemory 1000 maxmemory-policy allkeys-lru");
    assert!(scene.call("SET k").starts_with("-ERR wrong number of arguments"));
    let mut stranger = Caller::stranger(&scene.node);
    assert_eq!(stranger.call("SET k v"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(scene.node.keyspace.len(0), 20);
    assert_eq!(scene.call("SET k v"), "+OK\r\n");
    assert!(scene.node.keyspace.len(0) < 20);
}

/// One that found nothing to evict may say so after another has found that the limit is kept again.
#[test]
fn a_refusal_for_want_of_memory_does_not_outlive_the_want() {
    let mut scene = Scene::new();
    scene.set("maxmemory 100000");
    scene.node.memory_limit.measure(&scene.node);
    scene.node.condition.set_out_of_memory(true);
    scene.node.memory_limit.measure(&scene.node);
    assert_eq!(scene.call("SET k v"), "+OK\r\n");
}

#[test]
fn batches_kept_for_others_are_no_reason_to_evict() {
    let mut scene = Scene::new();
    scene.set("maxmemory 10000 maxmemory-policy allkeys-lru");
    (0..5).for_each(|number| assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n"));
    scene.node.console.metrics.replication.ring_bytes.set(60_000);
    BESIDE_KEYS.set(60_000);
    scene.node.memory_limit.measure(&scene.node);
    assert!(!scene.node.memory_limit.is_over());
    let not_counted = 60_000 + scene.node.keyspace.undrained_bytes();
    assert!(scene.caller.call("INFO memory").contains(&format!("mem_not_counted_for_evict:{not_counted}\r\n")));
    BESIDE_KEYS.set(70_000);
    scene.node.memory_limit.measure(&scene.node);
    assert!(scene.node.memory_limit.is_over());
}

#[test]
fn changes_that_no_batch_could_take_yet_are_no_reason_to_evict() {
    let mut scene = Scene::new();
    scene.set("maxmemory 20000 maxmemory-policy allkeys-lru");
    let value = "v".repeat(2_000);
    // Nobody drains what is written, as while the disk keeps nothing. Each overwrite is one more change that waits.
    for number in 0..100 {
        assert_eq!(scene.call(&format!("SET k:{} {value}", number % 10)), "+OK\r\n");
    }
    assert!(scene.node.keyspace.undrained_bytes() > 100 * 2_000);
    assert_eq!(scene.call("DBSIZE"), ":10\r\n");
    assert_eq!(scene.node.console.metrics.keyspace.evicted.value(), 0);
}

#[test]
fn object_tells_of_age_or_of_frequency_as_the_policy_has_it() {
    let mut scene = Scene::new();
    assert_eq!(scene.call("SET k v"), "+OK\r\n");
    assert_eq!(scene.call("OBJECT IDLETIME k"), ":0\r\n");
    assert!(scene.call("OBJECT FREQ k").starts_with("-ERR An LFU maxmemory policy is not selected"));
    scene.set("maxmemory-policy allkeys-lfu");
    assert!(scene.call("OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is selected"));
    assert_eq!(scene.call("SET new v"), "+OK\r\n");
    assert_eq!(scene.call("OBJECT FREQ new"), ":5\r\n");
    assert_eq!(scene.call("OBJECT FREQ missing"), "$-1\r\n");
}

#[test]
fn evictions_that_take_long_are_told_by_the_latency_monitor_and_only_while_it_is_on() {
    let mut scene = Scene::of(node_with_steps(5_000_000));
    scene.set("maxmemory 3000 maxmemory-policy allkeys-random");
    let fill = |scene: &mut Scene| {
        (0..20).for_each(|number| assert_eq!(scene.call(&format!("SET k:{number} v")), "+OK\r\n"));
        [Event::EvictionDel, Event::EvictionCycle].map(|event| scene.node.latency.of(event).is_some())
    };
    assert_eq!(fill(&mut scene), [false, false]);
    scene.set("latency-monitor-threshold 5");
    assert_eq!(fill(&mut scene), [true, true]);
}
