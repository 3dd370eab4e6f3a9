use super::*;
use crate::testing::{Caller, STARTED_AT, node};

struct Scene {
    node: Arc<crate::node::Node>,
}

impl Scene {
    fn new() -> Self {
        Self { node: Arc::new(node()) }
    }

    /// A client of the newer version that tracks in some way.
    fn tracker(&self, options: &str) -> Caller {
        let mut caller = Caller::new(&self.node);
        caller.call("HELLO 3");
        assert_eq!(caller.call(format!("CLIENT TRACKING ON {options}").trim()), "+OK\r\n");
        caller
    }

    fn caller(&self) -> Caller {
        Caller::new(&self.node)
    }
}

/// The keys that a client was told of since it was asked last.
fn told(caller: &mut Caller) -> String {
    let text = caller.mail();
    let words = text.split("\r\n").filter(|line| !line.starts_with(['*', '$', '>']) && *line != "invalidate");
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[test]
fn a_client_is_told_once_of_a_key_that_it_has_read_whoever_changes_it() {
    let scene = Scene::new();
    let (mut reader, mut writer) = (scene.tracker(""), scene.caller());
    for line in ["GET a", "HGETALL h", "MGET b c", "SET d 1"] {
        reader.call(line);
    }
    for line in ["SET a 1", "SET a 2", "HSET h f v", "DEL c", "RPUSH c x", "SET d 2"] {
        writer.call(line);
    }
    assert_eq!(told(&mut reader), "a h c");
    reader.call("GET a");
    reader.call("SET a 3");
    assert_eq!(told(&mut reader), "a");
    assert_eq!(scene.node.tracking.figures().keys, 1, "b is left");
}

#[test]
fn who_wants_no_loop_is_not_told_of_its_own_changes() {
    let scene = Scene::new();
    let (mut quiet, mut other) = (scene.tracker("NOLOOP"), scene.tracker("BCAST NOLOOP"));
    quiet.call("GET a");
    quiet.call("SET a 1");
    assert_eq!((told(&mut quiet), told(&mut other)), (String::new(), "a".to_owned()));
    other.call("SET a 2");
    assert_eq!((told(&mut quiet), told(&mut other)), (String::new(), String::new()));
    quiet.call("GET a");
    other.call("SET a 3");
    assert_eq!(told(&mut quiet), "a");
}

#[test]
fn opting_in_and_out_is_for_the_next_command_or_transaction() {
    let scene = Scene::new();
    let (mut in_, mut out, mut writer) = (scene.tracker("OPTIN"), scene.tracker("OPTOUT"), scene.caller());
    for line in
        ["GET a", "CLIENT CACHING YES", "GET b", "GET c", "CLIENT CACHING YES", "MULTI", "GET d", "GET e", "EXEC"]
    {
        in_.call(line);
    }
    for line in ["GET a", "CLIENT CACHING NO", "GET b", "GET c"] {
        out.call(line);
    }
    for key in ["a", "b", "c", "d", "e"] {
        writer.call(&format!("SET {key} 1"));
    }
    assert_eq!((told(&mut in_).as_str(), told(&mut out).as_str()), ("b d e", "a c"));
}

#[test]
fn who_is_told_by_prefix_is_told_of_all_keys_with_it() {
    let scene = Scene::new();
    let (mut some, mut all, mut writer) =
        (scene.tracker("BCAST PREFIX user: PREFIX item:"), scene.tracker("BCAST"), scene.caller());
    for line in ["SET user:1 a", "SET other b", "LPUSH item:2 c"] {
        writer.call(line);
    }
    assert_eq!((told(&mut some).as_str(), told(&mut all).as_str()), ("user:1 item:2", "user:1 other item:2"));
    assert_eq!(scene.node.tracking.figures().prefixes, 3);
    drop(some);
    assert_eq!(scene.node.tracking.figures().prefixes, 1);
}

/// As in Redis, where only what makes the stream is a change of its key.
#[test]
fn groups_and_ids_of_a_stream_are_nobodys_who_watches_or_caches_it() {
    let scene = Scene::new();
    let (mut reader, mut writer) = (scene.tracker(""), scene.caller());
    for (command, is_change) in [
        ("XGROUP CREATE x g 0 MKSTREAM", true),
        ("XADD x 1-1 f v", true),
        ("XGROUP CREATE x g2 0 MKSTREAM", false),
        ("XGROUP SETID x g 1-1", false),
        ("XGROUP SETID x g 0", false),
        ("XGROUP CREATECONSUMER x g c", false),
        ("XGROUP DELCONSUMER x g c", false),
        ("XREADGROUP GROUP g c STREAMS x >", false),
        ("XACK x g 1-1", false),
        ("XSETID x 5-5", false),
        ("XGROUP DESTROY x g", false),
        ("XDEL x 1-1", true),
        ("XADD x 9-9 f v", true),
        ("XTRIM x MAXLEN 0", true),
        ("XGROUP DESTROY x g2", false),
        ("DEL x", true),
    ] {
        for line in ["GET other", "EXISTS x", "WATCH x"] {
            reader.call(line);
        }
        assert!(!writer.call(command).starts_with('-'), "{command}");
        let told = told(&mut reader) == "x";
        reader.call("MULTI");
        let fails = reader.call("EXEC") == "_\r\n";
        assert_eq!((told, fails), (is_change, is_change), "{command}");
    }
}

#[test]
fn who_is_told_by_prefix_is_told_once_of_each_key_of_a_command_or_transaction() {
    let scene = Scene::new();
    let (mut reader, mut writer) = (scene.tracker("BCAST"), scene.caller());
    for (lines, keys) in [
        (&["SADD k a b c"][..], "k"),
        (&["HSET h a 1 b 2"], "h"),
        (&["ZADD z 1 a 2 b 3 c"], "z"),
        (&["SREM k a b"], "k"),
        (&["MSET a 1 b 2"], "a b"),
        (&["SADD k d", "SADD k e"], "k k"),
        (&["MULTI", "SET q 1", "SADD k x y", "SET q 2", "SADD k z", "EXEC"], "q k"),
        (&["EVAL redis.call('sadd',KEYS[1],1,2)redis.call('sadd',KEYS[1],3,4) 1 n"], "n n"),
    ] {
        lines.iter().for_each(|line| drop(writer.call(line)));
        assert_eq!(told(&mut reader), keys, "{lines:?}");
    }
}

#[test]
fn all_are_told_of_a_flush_once() {
    let scene = Scene::new();
    let (mut reader, mut broadcast, mut writer) = (scene.tracker(""), scene.tracker("BCAST"), scene.caller());
    writer.call("MSET a 1 b 2");
    told(&mut broadcast);
    reader.call("MGET a b");
    writer.call("FLUSHALL");
    for caller in [&mut reader, &mut broadcast] {
        assert_eq!(caller.mail(), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    }
    assert_eq!(scene.node.tracking.figures().keys, 0);
}

/// Several threads, as workers are. Nobody may miss a flush, or the change of a key that it has read, whoever else comes
/// and goes meanwhile.
#[test]
fn nobody_misses_anything_while_others_come_and_go() {
    const ROUNDS: usize = 60;
    let scene = Scene::new();
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|threads| {
        // The last one that tracks goes while others come.
        threads.spawn(|| {
            for _ in 0..ROUNDS {
                let last = scene.tracker("");
                barrier.wait();
                drop(last);
                barrier.wait();
                barrier.wait();
            }
        });
        threads.spawn(|| {
            let mut writer = scene.caller();
            for _ in 0..ROUNDS {
                barrier.wait();
                barrier.wait();
                writer.call("SET k v");
                writer.call("FLUSHALL");
                barrier.wait();
            }
        });
        threads.spawn(|| {
            for round in 0..ROUNDS {
                barrier.wait();
                let (mut reader, mut broadcast) = (scene.tracker(""), scene.tracker("BCAST PREFIX k"));
                reader.call("GET k");
                barrier.wait();
                barrier.wait();
                let key = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
                let all = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
                for caller in [&mut reader, &mut broadcast] {
                    assert_eq!(caller.mail(), format!("{key}{all}"), "round {round}");
                }
            }
        });
    });
}

#[test]
fn a_table_is_not_cleared_of_what_somebody_who_came_meanwhile_has_read() {
    let table = Table::default();
    for number in 0..100_u64 {
        table.remember(format!("k{number}").as_bytes(), 1, &|_| true);
    }
    let asked = Cell::new(0);
    // After some parts were cleared somebody comes, and reads what was in them and what was not.
    table.clear_while(|| {
        asked.set(asked.get() + 1);
        asked.get() <= 4
    });
    let left = table.keys();
    assert!((1..100).contains(&left), "{left}");
    table.clear_while(|| true);
    assert_eq!((table.keys(), table.items()), (0, 0));
}

#[test]
fn another_client_is_told_in_its_place_and_the_end_of_that_one_is_said() {
    let scene = Scene::new();
    let (mut listener, mut writer) = (scene.caller(), scene.caller());
    listener.call("SUBSCRIBE __redis__:invalidate");
    let id = listener.id();
    let mut reader = scene.tracker(&format!("REDIRECT {id}"));
    reader.call("GET a");
    writer.call("SET a 1");
    let expected = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\na\r\n";
    assert_eq!((listener.mail().as_str(), reader.mail().as_str()), (expected, ""));
    assert_eq!(reader.call("CLIENT GETREDIR"), format!(":{id}\r\n"));
    scene.node.clients.leave(id);
    reader.call("GET a");
    writer.call("SET a 2");
    assert_eq!(reader.mail(), format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n"));
    assert!(reader.call("CLIENT TRACKINGINFO").contains("broken_redirect"));
}

#[test]
fn beyond_the_limit_keys_are_forgotten_and_their_readers_told() {
    let scene = Scene::new();
    scene.node.config.set(&[("tracking-table-max-keys", "3")]).unwrap();
    let mut reader = scene.tracker("");
    for index in 0..10 {
        reader.call(&format!("GET key:{index}"));
    }
    let figures = scene.node.tracking.figures();
    assert_eq!((figures.keys, figures.items, figures.forgotten), (3, 3, 7));
    assert_eq!(told(&mut reader).split(' ').count(), 7);
}

#[test]
fn nothing_is_left_when_nobody_tracks_and_the_next_one_is_told_again() {
    let scene = Scene::new();
    let mut writer = scene.caller();
    for _ in 0..2 {
        let mut reader = scene.tracker("");
        reader.call("GET a");
        writer.call("SET a 1");
        assert_eq!(told(&mut reader), "a");
        reader.call("GET a");
        drop(reader);
        assert_eq!(scene.node.tracking.figures().keys, 0);
    }
    let mut reader = scene.caller();
    reader.call("HELLO 3");
    for line in ["MULTI", "CLIENT TRACKING ON", "GET a", "CLIENT TRACKING OFF", "CLIENT TRACKING ON", "GET b", "EXEC"] {
        reader.call(line);
    }
    writer.call("MSET a 1 b 2");
    assert_eq!(told(&mut reader), "b");
}

#[test]
fn clients_that_have_gone_do_not_pile_up_at_a_key() {
    let scene = Scene::new();
    let _stays = scene.tracker("");
    for _ in 0..1_000 {
        scene.tracker("").call("GET a");
    }
    assert!(scene.node.tracking.figures().items < 32);
}

#[test]
fn nobody_is_told_of_what_the_node_keeps_for_itself() {
    let scene = Scene::new();
    let (mut all, mut reader, mut writer) = (scene.tracker("BCAST"), scene.tracker(""), scene.caller());
    reader.call("GET functions");
    let library = b"#!lua name=own\nredis.register_function('f', function() return 1 end)".as_slice();
    writer.call_bytes(&[b"FUNCTION", b"LOAD", library]);
    assert_eq!(writer.call("FCALL f 0"), ":1\r\n");
    writer.call("FUNCTION DELETE own");
    assert_eq!((told(&mut all).as_str(), told(&mut reader).as_str()), ("", ""));
    writer.call("SET functions x");
    assert_eq!((told(&mut all).as_str(), told(&mut reader).as_str()), ("functions", "functions"));
}

#[test]
fn the_last_one_leaves_also_while_a_script_was_put_aside_on_its_thread() {
    let scene = Scene::new();
    let (reader, node) = (scene.tracker(""), &scene.node);
    let mut script = node.keyspace.writer();
    let access = script.access(STARTED_AT, &[b"k"]);
    node.keyspace.set_busy(true);
    drop(reader);
    assert!(
        !node.tracking.is_used() && node.tracking.is_left.load(Ordering::Relaxed),
        "the slot of the script tells on"
    );
    drop(access);
    node.keyspace.set_busy(false);
    node.tracking.tidy(&node.keyspace);
    assert!(!node.tracking.is_left.load(Ordering::Relaxed));
    let (mut reader, mut writer) = (scene.tracker(""), scene.caller());
    reader.call("GET k");
    writer.call("SET k 1");
    assert_eq!(told(&mut reader), "k", "it tells again");
}

#[test]
fn no_command_forgets_all_that_a_lowered_limit_leaves_over() {
    let scene = Scene::new();
    let mut reader = scene.tracker("");
    let keys: String = (0..200).map(|index| format!(" key:{index}")).collect();
    reader.call(&format!("MGET{keys}"));
    scene.node.config.set(&[("tracking-table-max-keys", "3")]).unwrap();
    reader.call("GET other");
    assert_eq!(scene.node.tracking.figures().forgotten, 1 + TRACKING_FORGOTTEN_MAX as u64);
    for _ in 0..3 {
        reader.call("GET other");
    }
    assert_eq!(scene.node.tracking.figures().keys, 3);
}

#[test]
fn long_prefixes_are_no_way_around_their_number() {
    let scene = Scene::new();
    let mut caller = scene.caller();
    caller.call("HELLO 3");
    let mut prefix = vec![b'p'; 1 << 20];
    let mut refused = None;
    for number in 0..=TRACKING_PREFIX_BYTES_MAX >> 20 {
        prefix[0] = number as u8;
        let reply = caller.call_bytes(&[b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", &prefix]);
        if reply != b"+OK\r\n" {
            refused = Some(reply);
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some(b"-ERR too many prefixes are tracked\r\n".as_slice()));
    let figures = scene.node.tracking.figures();
    assert!(figures.prefixes_refused == 1 && figures.prefix_bytes <= TRACKING_PREFIX_BYTES_MAX, "{figures:?}");
    caller.call("CLIENT TRACKING OFF");
    assert_eq!(scene.node.tracking.figures().prefix_bytes, 0);
}

#[test]
fn long_keys_are_forgotten_for_others_though_they_are_few() {
    let scene = Scene::new();
    let mut reader = scene.tracker("");
    let mut key = vec![b'k'; 4 << 20];
    let reads = (TRACKING_TABLE_BYTES_MAX >> 22) + 8;
    for number in 0..reads {
        key[0] = number as u8;
        reader.call_bytes(&[b"GET", &key]);
    }
    let figures = scene.node.tracking.figures();
    assert!(figures.bytes <= TRACKING_TABLE_BYTES_MAX && figures.forgotten >= 8, "{figures:?}");
    assert_eq!(figures.keys as u64 + figures.forgotten, reads as u64);
    reader.call("CLIENT TRACKING OFF");
    assert_eq!(scene.node.tracking.figures().bytes, 0);
}
