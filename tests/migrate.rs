//! `MIGRATE`, of whole processes: from Redis, to Redis, to another cluster of one's own, and against another region.

use tests::client::Client;
use tests::cluster::Cluster;
use tests::node::Node;
use tests::redis::Redis;
use tests::reply::Reply;
use tests::wait;

/// What keys hold that are moved: one of each type, some with a life.
const FILLING: &[&str] = &[
    "SET string hello",
    "SET number 7",
    "INCRBY number 5",
    "SET ends soon EX 5000",
    "HSET hash f v n 5",
    "SADD set a b 3",
    "ZADD sorted 1.5 a -inf b",
    "RPUSH list a 1 -70000 b",
    "XADD stream 5-1 f v",
    "XGROUP CREATE stream g 0",
];
const KEYS: &[&str] = &["string", "number", "ends", "hash", "set", "sorted", "list", "stream"];
/// How they are looked at.
const LOOKS: &[&str] = &[
    "GET string",
    "GET number",
    "GET ends",
    "HGET hash n",
    "SMISMEMBER set a b 3 4",
    "ZSCORE sorted a",
    "LRANGE list 0 -1",
    "XRANGE stream - +",
    "XINFO GROUPS stream",
    "EXISTS string number ends hash set sorted list stream",
];

fn looked(client: &mut Client) -> Vec<Reply> {
    LOOKS.iter().map(|look| client.must(look)).collect()
}

/// A request for `to`, with `rest` behind its address.
fn migrate(from: &mut Client, to: &str, rest: &str) -> String {
    let (host, port) = to.rsplit_once(':').expect("an address has a port");
    let line = format!("MIGRATE {host} {port} {rest}");
    let words: Vec<&str> = line.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
    from.call(&words).to_string()
}

/// Moves everything and looks at it on both sides.
#[track_caller]
fn check_moves(from: &mut Client, to_address: &str, to: &mut Client) {
    for client in [&mut *from, &mut *to] {
        client.must("FLUSHALL");
    }
    FILLING.iter().for_each(|line| drop(from.must(line)));
    let before = looked(from);
    let all = KEYS.join(" ");
    assert_eq!(migrate(from, to_address, "string 0 5000 COPY"), "OK");
    assert_eq!(from.must("GET string").to_string(), to.must("GET string").to_string());
    let busy = "Target instance replied with error: BUSYKEY Target key name already exists.";
    let told = migrate(from, to_address, &format!("'' 0 5000 KEYS {all}"));
    assert!(told.contains(busy), "{told}");
    // What was not in the way is there.
    assert_eq!(from.must("DBSIZE").integer(), Some(1));
    assert_eq!(migrate(from, to_address, "string 0 5000 REPLACE"), "OK");
    assert_eq!(looked(to), before);
    assert_eq!(from.must("DBSIZE").integer(), Some(0));
    let life = to.must("TTL ends").integer().expect("a number");
    assert!((4900..=5000).contains(&life), "{life}");
    assert_eq!(migrate(from, to_address, &format!("'' 0 5000 KEYS {all}")), "NOKEY");
}

#[test]
fn keys_go_to_redis_and_come_back() {
    let Some(redis) = Redis::start("what MIGRATE moves to and from it") else { return };
    let cluster = Cluster::start(&["only"]);
    let node = &cluster.nodes[0];
    check_moves(&mut node.client(), &redis.address, &mut redis.client());
    check_moves(&mut redis.client(), &node.resp, &mut node.client());
}

#[test]
fn keys_go_to_another_cluster_in_all_its_regions_and_from_all_of_ones_own() {
    let (here, there) = (Cluster::start(&["us-east", "eu-west"]), Cluster::start(&["ap-south", "sa-east"]));
    check_moves(&mut here.nodes[0].client(), &there.nodes[0].resp, &mut there.nodes[0].client());
    here.await_equal();
    there.await_equal();
    assert_eq!((here.nodes[1].keys(), there.nodes[1].keys()), (0, KEYS.len() as i64));
    // Into another database, by somebody who has to say who it is.
    let mut target = there.nodes[0].client();
    target.must("ACL SETUSER mover on >secret ~* +restore +select");
    let (mut source, mut monitor) = (here.nodes[0].client(), here.nodes[0].client());
    source.must("SET k v");
    monitor.must("MONITOR");
    let told = migrate(&mut source, &there.nodes[0].resp, "k 3 5000 AUTH2 mover wrong");
    assert!(told.contains("Target instance replied with error: WRONGPASS"), "{told}");
    assert_eq!(migrate(&mut source, &there.nodes[0].resp, "k 3 5000 AUTH2 mover secret"), "OK");
    let shown = [(); 2].map(|()| monitor.receive().expect("a command is shown").to_string());
    assert!(shown.iter().all(|line| line.ends_with("\"AUTH2\" \"(redacted)\" \"(redacted)\"")), "{shown:?}");
    target.must("SELECT 3");
    assert_eq!(target.must("GET k").text().as_deref(), Some("v"));
    assert_eq!(source.must("EXISTS k").integer(), Some(0));
}

/// The errors of both, with the same target.
#[test]
fn what_goes_wrong_is_told_as_by_redis() {
    let Some(redis) = Redis::start("what MIGRATE answers") else { return };
    let Some(target) = Redis::start("what MIGRATE answers") else { return };
    let cluster = Cluster::start(&["only"]);
    let (mut node, mut redis) = (cluster.nodes[0].client(), redis.client());
    let nobody = tests::place::free_stream_address(tests::place::own_host());
    for client in [&mut node, &mut redis] {
        client.must("SET k v");
    }
    target.client().must("SET k other");
    let cases = [
        (&target.address, "k 0 5000"),
        (&target.address, "k 99 5000 REPLACE COPY"),
        (&target.address, "k 0 5000 AUTH pass"),
        (&target.address, "k 0 5000 AUTH2 ann pass"),
        (&target.address, "k 0 5000 COPY REPLACE"),
        (&target.address, "none 0 5000"),
        (&nobody, "k 0 5000"),
    ];
    for (address, rest) in cases {
        let answers = [&mut node, &mut redis].map(|client| migrate(client, address, rest));
        assert_eq!(answers[0], answers[1], "{rest}");
    }
    let answers = [&mut node, &mut redis].map(|client| client.line("MIGRATE no/name 1 k 0 5000").to_string());
    assert_eq!(answers[0], answers[1]);
    for client in [&mut node, &mut redis] {
        assert_eq!(client.must("GET k").text().as_deref(), Some("v"));
    }
}

#[test]
fn what_another_region_has_written_meanwhile_stands() {
    let (cluster, target) = (Cluster::start(&["us-east", "eu-west"]), Cluster::start(&["other"]));
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    east.must("HSET h a 1 b 2");
    east.must("SET s old");
    cluster.await_equal();
    cluster.cut(1);
    west.must("HSET h c 3");
    west.must("SET s new");
    assert_eq!(migrate(&mut east, &target.nodes[0].resp, "'' 0 5000 KEYS h s"), "OK");
    cluster.heal(1);
    cluster.await_equal();
    for client in [&mut east, &mut west] {
        assert_eq!(client.must("HLEN h").integer(), Some(1));
        assert_eq!(client.must("HGET h c").text().as_deref(), Some("3"));
        assert_eq!(client.must("GET s").text().as_deref(), Some("new"));
    }
    assert_eq!(target.nodes[0].client().must("HLEN h").integer(), Some(2));
}

/// Increments go on while their counter is moved: each is counted, here or there.
#[test]
fn no_write_is_lost_while_a_key_is_moved() {
    const MOVES: usize = 20;
    let (here, there) = (Cluster::start(&["here"]), Cluster::start(&["there"]));
    let (source, target): (&Node, &Node) = (&here.nodes[0], &there.nodes[0]);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (mut mover, mut changed) = (source.client(), 0);
    let increments = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = source.client();
            let mut increments = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                increments += i64::from(client.must("INCR counter").integer().is_some());
                // Moves get their moment between two of them.
                wait::pause(std::time::Duration::from_millis(1));
            }
            increments
        });
        // What arrives goes on to another key, so that the next move finds the name free.
        let mut collector = target.client();
        for _ in 0..MOVES {
            wait::until("the counter is moved", || {
                match migrate(&mut mover, &target.resp, "counter 0 5000 REPLACE").as_str() {
                    "OK" => Ok(()),
                    told => {
                        changed += usize::from(told.contains("changed here"));
                        Err(told.to_owned())
                    }
                }
            });
            let moved = collector.must("GETDEL counter").text().expect("it was moved");
            collector.must(&format!("INCRBY sum {moved}"));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("the writer writes")
    });
    let number = |client: &mut Client, key: &str| {
        client.must(&format!("GET {key}")).text().map_or(0, |text| text.parse().expect("a number"))
    };
    println!("{MOVES} moves, {changed} times the key had changed meanwhile, {increments} increments");
    let (left, sum): (i64, i64) = (number(&mut mover, "counter"), number(&mut target.client(), "sum"));
    assert_eq!(left + sum, increments);
}
