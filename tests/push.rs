//! What clients are sent without asking: messages of channels, events of keys, invalidations. Also across regions, and beside
//! Redis.

use tests::client::Client;
use tests::cluster::Cluster;
use tests::differential::{Grammar, run_events};
use tests::redis::Redis;
use tests::reply::Reply;
use tests::wait;

const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// Events that are told as Redis tells them, at least: the rest is in `docs/differences.md`.
const EVENTS_IDENTICAL_PERCENT_MIN: f64 = 99.0;

/// The next message of a subscriber: its words.
fn message(client: &mut Client) -> Vec<String> {
    let reply = client.receive().expect("a message comes");
    flat(&reply)
}

fn flat(reply: &Reply) -> Vec<String> {
    match reply.elements() {
        [] => vec![reply.text().unwrap_or_else(|| reply.to_string())],
        elements => elements.iter().flat_map(flat).collect(),
    }
}

/// All messages up to one that says `end`.
fn until_end(client: &mut Client) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let words = message(client);
        let payload = words.last().expect("a message has a payload").clone();
        if payload == "end" {
            return heard;
        }
        heard.push(payload);
    }
}

fn subscriber(cluster: &Cluster, node: usize, request: &str) -> Client {
    let mut client = cluster.nodes[node].client();
    client.must(request);
    client
}

#[test]
fn a_message_reaches_the_subscribers_of_every_region_once() {
    let cluster = Cluster::start(&REGIONS);
    let mut subscribers: Vec<Client> = (0..3).map(|node| subscriber(&cluster, node, "SUBSCRIBE news")).collect();
    let mut by_pattern = subscriber(&cluster, 1, "PSUBSCRIBE n*");
    let mut sharded = subscriber(&cluster, 2, "SSUBSCRIBE news");
    let mut publishers = cluster.clients();
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); 3];
    for round in 0..200 {
        for (node, publisher) in publishers.iter_mut().enumerate() {
            let said = format!("{node}-{round}");
            let local = if node == 1 { 2 } else { 1 };
            assert_eq!(publisher.must(&format!("PUBLISH news {said}")), Reply::Integer(local), "of this node alone");
            expected[node].push(said);
        }
    }
    publishers[0].must("SPUBLISH news sharded");
    assert_eq!(message(&mut sharded), ["smessage", "news", "sharded"]);
    // What one publishes comes in order: each says when it is done.
    for publisher in &mut publishers {
        publisher.must("PUBLISH news end");
    }
    for subscriber in subscribers.iter_mut().chain([&mut by_pattern]) {
        let mut heard: Vec<String> = Vec::new();
        for _ in 0..3 {
            heard.extend(until_end(subscriber));
        }
        for (node, expected) in expected.iter().enumerate() {
            let from: Vec<&String> = heard.iter().filter(|said| said.starts_with(&format!("{node}-"))).collect();
            assert_eq!(from, expected.iter().collect::<Vec<_>>(), "once, and in order");
        }
        assert_eq!(heard.len(), 600, "nothing else");
    }
}

#[test]
fn a_region_that_was_cut_off_hears_what_is_published_after_that_and_nothing_twice() {
    let cluster = Cluster::start(&REGIONS);
    let mut far = subscriber(&cluster, 2, "SUBSCRIBE news");
    let mut near = subscriber(&cluster, 0, "SUBSCRIBE news");
    let mut publisher = cluster.nodes[0].client();
    cluster.cut(2);
    let is_alone = |node: usize| {
        let status = cluster.nodes[node].client().json("PELAGO STATUS").expect("a status");
        let members = status["members"].as_array().expect("members").clone();
        members.iter().all(|member| member["link"] != "up" || member["region"] == REGIONS[node])
    };
    wait::until("the cut is noticed", || if is_alone(2) { Ok(()) } else { Err("a link is up".to_owned()) });
    publisher.must("PUBLISH news lost");
    assert_eq!(message(&mut near), ["message", "news", "lost"]);
    cluster.heal(2);
    cluster.await_equal();
    publisher.must("PUBLISH news after");
    publisher.must("PUBLISH news end");
    assert_eq!(until_end(&mut far), ["after"]);
}

#[test]
fn messages_stay_in_their_region_if_they_are_to() {
    let cluster = Cluster::start_with(&REGIONS, &["pubsub-regions=no"]);
    let mut far = subscriber(&cluster, 1, "SUBSCRIBE news");
    let mut near = subscriber(&cluster, 0, "SUBSCRIBE news");
    let mut publisher = cluster.nodes[0].client();
    publisher.must("PUBLISH news one");
    assert_eq!(message(&mut near), ["message", "news", "one"]);
    for node in &cluster.nodes {
        node.client().must("CONFIG SET pubsub-regions yes");
    }
    publisher.must("PUBLISH news two");
    assert_eq!(message(&mut far), ["message", "news", "two"]);
}

#[test]
fn a_forgotten_subscriber_is_disconnected_and_costs_no_memory_and_the_others_miss_nothing() {
    let cluster =
        Cluster::start_with(&["only"], &["client-output-buffer-limit=normal 0 0 0 slave 0 0 0 pubsub 4mb 1mb 5"]);
    let _forgotten = subscriber(&cluster, 0, "SUBSCRIBE news");
    let mut attentive = subscriber(&cluster, 0, "SUBSCRIBE news");
    let mut publisher = cluster.nodes[0].client();
    let payload = "x".repeat(100_000);
    // Both sockets and the limit hold some dozen megabytes together.
    for _ in 0..500 {
        publisher.must(&format!("PUBLISH news {payload}"));
        assert_eq!(message(&mut attentive)[2].len(), payload.len());
    }
    assert_eq!(publisher.must("PUBSUB NUMSUB news").elements()[1], Reply::Integer(1));
    let info = publisher.must("INFO everything").text().expect("a text");
    assert!(info.contains("output_limit_disconnections:1\r"), "{info}");
}

#[test]
fn what_arrives_from_another_region_wakes_invalidates_and_is_told() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut east, mut west) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    west.must("CONFIG SET notify-keyspace-events EAR");
    let mut events = subscriber(&cluster, 1, "PSUBSCRIBE __keyevent@0__:*");
    let mut caching = cluster.nodes[1].client();
    caching.must("HELLO 3");
    caching.must("CLIENT TRACKING ON");
    caching.must("GET cached");
    let waiting = [
        ("BLPOP list 0", "RPUSH list a", vec!["list", "a"]),
        ("BZPOPMIN scored 0", "ZADD scored 1 m", vec!["scored", "m", "1"]),
        ("XREAD BLOCK 0 STREAMS stream $", "XADD stream 9-1 f v", vec!["stream", "9-1", "f", "v"]),
        ("BLMOVE from to LEFT RIGHT 0", "RPUSH from x", vec!["x"]),
    ];
    for (blocked, wakes, answer) in &waiting {
        let mut client = cluster.nodes[1].client();
        client.queue(&blocked.split(' ').collect::<Vec<_>>());
        client.send().expect("the server takes requests");
        wait::until("it waits", || {
            let info = west.must("INFO clients").text().unwrap_or_default();
            if info.contains("blocked_clients:1") { Ok(()) } else { Err(info) }
        });
        east.must(wakes);
        assert_eq!(flat(&client.receive().expect("an answer")), *answer, "{blocked}");
    }
    east.must("SET cached 1");
    assert_eq!(flat(&caching.receive().expect("an invalidation")), ["invalidate", "cached"]);
    let mut told = Vec::new();
    while !told.contains(&"set cached".to_owned()) {
        let words = message(&mut events);
        told.push(format!("{} {}", words[2].trim_start_matches("__keyevent@0__:"), words[3]));
    }
    for event in ["rpush list", "lpop list", "zadd scored", "zpopmin scored", "xadd stream", "rpush from", "rpush to"] {
        assert!(told.contains(&event.to_owned()), "{event}: {told:?}");
    }
}

#[test]
fn random_calls_tell_of_the_events_that_redis_tells_of() {
    let Some(redis) = Redis::start("which events are told") else { return };
    let cluster = Cluster::start(&["only"]);
    let node = || cluster.nodes[0].client();
    let grammar = Grammar::read(&mut redis.client(), &mut node());
    let report = run_events(&grammar, 1..=30, &node, &|| redis.client());
    println!("{report}");
    assert!(report.calls > 1_000, "{report}");
    assert!(report.identical_percent() >= EVENTS_IDENTICAL_PERCENT_MIN, "{report}");
}

/// A conversation of several clients, of which each line says who says what. Afterwards each has received something.
struct Talk<'a> {
    name: &'a str,
    /// 2 or 3 for each client.
    versions: &'a [u8],
    lines: &'a [(usize, &'a str)],
}

const TALKS: &[Talk<'static>] = &[
    Talk {
        name: "subscriptions",
        versions: &[2, 3, 2],
        lines: &[
            (0, "SUBSCRIBE a b"),
            (1, "SUBSCRIBE a"),
            (1, "PSUBSCRIBE a? zz*"),
            (2, "PUBLISH a hello"),
            (2, "PUBLISH ab x"),
            (2, "PUBSUB CHANNELS a*"),
            (2, "PUBSUB NUMSUB a b c"),
            (2, "PUBSUB NUMPAT"),
            (0, "GET k"),
            (0, "PING hi"),
            (0, "UNSUBSCRIBE a"),
            (1, "PUNSUBSCRIBE a? zz* none"),
            (2, "PUBLISH a again"),
            (0, "UNSUBSCRIBE"),
            (0, "UNSUBSCRIBE"),
            (0, "PING"),
            (1, "SSUBSCRIBE s"),
            (2, "SPUBLISH s shard"),
            (2, "PUBLISH s none"),
            (2, "PUBSUB SHARDCHANNELS"),
            (2, "PUBSUB SHARDNUMSUB s t"),
            (1, "SUNSUBSCRIBE"),
            (1, "RESET"),
            (1, "PUBSUB CHANNELS x y"),
            (2, "PUBSUB NOSUCH"),
        ],
    },
    Talk {
        name: "transactions",
        versions: &[3, 2],
        lines: &[
            (0, "MULTI; SUBSCRIBE a; PSUBSCRIBE b*; EXEC"),
            (1, "MULTI; PUBLISH a x; PUBLISH bb y; EXEC"),
            (0, "UNSUBSCRIBE"),
        ],
    },
    Talk {
        name: "tracking",
        versions: &[3, 2, 3],
        lines: &[
            (0, "CLIENT TRACKING ON"),
            (0, "GET a"),
            (0, "HGETALL h"),
            (1, "SET a 1"),
            (1, "SET a 2"),
            (1, "HSET h f v"),
            (0, "CLIENT TRACKINGINFO"),
            (0, "CLIENT GETREDIR"),
            (0, "CLIENT CACHING YES"),
            (0, "CLIENT TRACKING ON BCAST"),
            (0, "CLIENT TRACKING OFF"),
            (0, "CLIENT TRACKINGINFO"),
            (0, "CLIENT TRACKING ON OPTIN"),
            (0, "GET a"),
            (0, "CLIENT CACHING YES"),
            (0, "CLIENT TRACKINGINFO"),
            (0, "GET b"),
            (0, "GET c"),
            (1, "MSET a 3 b 3 c 3"),
            (0, "CLIENT CACHING NO"),
            (0, "CLIENT TRACKING ON OPTOUT"),
            (2, "CLIENT TRACKING ON BCAST PREFIX user: PREFIX item: NOLOOP"),
            (2, "CLIENT TRACKING ON BCAST PREFIX user:1"),
            (2, "CLIENT TRACKING ON BCAST PREFIX x PREFIX xy"),
            (2, "CLIENT TRACKINGINFO"),
            (2, "SET user:1 own"),
            (1, "SET user:2 other"),
            (1, "SET none other"),
            (1, "DEL user:1"),
            (1, "EXPIRE user:2 -1"),
            (1, "FLUSHALL"),
            (2, "CLIENT TRACKING ON REDIRECT 123456"),
            (2, "CLIENT TRACKING ON OPTIN OPTOUT"),
            (2, "CLIENT TRACKING ON PREFIX a"),
            (2, "CLIENT TRACKING SIDEWAYS"),
        ],
    },
];

/// What each client received, line by line.
fn talk(talk: &Talk<'_>, connect: &dyn Fn() -> Client) -> Vec<Vec<String>> {
    let mut clients: Vec<Client> = talk.versions.iter().map(|_| connect()).collect();
    clients[0].must("FLUSHALL");
    for (client, version) in clients.iter_mut().zip(talk.versions) {
        client.must(&format!("HELLO {version}"));
    }
    let mut received = vec![Vec::new(); clients.len()];
    for (number, (who, line)) in talk.lines.iter().enumerate() {
        let mut said = vec![Vec::new(); clients.len()];
        for request in line.split("; ") {
            clients[*who].queue(&request.split(' ').collect::<Vec<_>>());
        }
        collect(&mut clients[*who], number, &mut said[*who]);
        for (client, said) in clients.iter_mut().zip(&mut said) {
            collect(client, number, said);
        }
        for (received, said) in received.iter_mut().zip(said) {
            received.push(format!("{line} -> {}", said.join(" | ")));
        }
    }
    received
}

/// Everything up to the answer to a `PING` of its own.
fn collect(client: &mut Client, number: usize, into: &mut Vec<String>) {
    let word = format!("asked-{number}");
    client.queue(&["PING", &word]);
    client.send().expect("the server takes requests");
    loop {
        let reply = client.receive().expect("the server answers");
        let words = flat(&reply);
        if words.last() == Some(&word) && words.len() <= 2 {
            return;
        }
        match (&reply, words.first().map(String::as_str)) {
            // How many keys one message names is each server's own business.
            (Reply::Push(_), Some("invalidate")) => {
                into.extend(words[1..].iter().map(|key| format!("invalidate {key}")))
            }
            _ => into.push(format!("{reply:?}")),
        }
    }
}

#[test]
fn conversations_go_as_with_redis() {
    let Some(redis) = Redis::start("what subscribers and clients that cache receive") else { return };
    let cluster = Cluster::start(&["only"]);
    for subject in TALKS {
        let ours = talk(subject, &|| cluster.nodes[0].client());
        let theirs = talk(subject, &|| redis.client());
        for (client, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert_eq!(ours, theirs, "{}: client {client}", subject.name);
            }
        }
    }
}

#[test]
fn a_redirected_client_hears_in_the_older_version_and_the_end_of_the_other_is_told() {
    let cluster = Cluster::start(&["only"]);
    let mut listener = cluster.nodes[0].client();
    let id = listener.must("CLIENT ID").integer().expect("a number");
    listener.must("SUBSCRIBE __redis__:invalidate");
    let (mut caching, mut writer) = (cluster.nodes[0].client(), cluster.nodes[0].client());
    caching.must("HELLO 3");
    caching.must(&format!("CLIENT TRACKING ON REDIRECT {id}"));
    caching.must("GET a");
    writer.must("SET a 1");
    assert_eq!(message(&mut listener), ["message", "__redis__:invalidate", "a"]);
    drop(listener);
    wait::until("it has gone", || {
        let list = writer.must("CLIENT LIST").text().unwrap_or_default();
        if list.contains(&format!("id={id} ")) { Err(list) } else { Ok(()) }
    });
    caching.must("GET a");
    writer.must("SET a 2");
    assert_eq!(flat(&caching.receive().expect("a push")), ["tracking-redir-broken".to_owned(), id.to_string()]);
}

#[test]
fn the_client_that_waits_longest_is_served_first_whichever_thread_it_is_on() {
    let cluster = Cluster::start_with(&["only"], &["workers=3"]);
    let node = &cluster.nodes[0];
    let mut observer = node.client();
    let mut waiting: Vec<Client> = Vec::new();
    for count in 1..=12 {
        let mut client = node.client();
        client.queue(&["BLPOP", "queue", "0"]);
        client.send().expect("the server takes requests");
        wait::until("it waits", || {
            let info = observer.must("INFO clients").text().unwrap_or_default();
            if info.contains(&format!("blocked_clients:{count}\r")) { Ok(()) } else { Err(info) }
        });
        waiting.push(client);
    }
    let unblocked = observer.must("CLIENT LIST").text().expect("a text");
    let first = unblocked.lines().find(|line| line.contains("flags=b")).expect("a client that waits");
    let id = first.split(['=', ' ']).nth(1).expect("an id").to_owned();
    assert_eq!(observer.must(&format!("CLIENT UNBLOCK {id} ERROR")), Reply::Integer(1));
    let refused = waiting.remove(0).receive().expect("an answer");
    assert!(refused.to_string().contains("UNBLOCKED"), "{refused}");
    // While writes are paused nobody is served; then all are, in the order in which they began.
    observer.must("CLIENT PAUSE 100000 WRITE");
    let mut pusher = node.client();
    pusher.queue(&["RPUSH", "queue", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    pusher.send().expect("the server takes requests");
    assert_eq!(observer.must("LLEN queue"), Reply::Integer(0));
    observer.must("CLIENT UNPAUSE");
    for (place, client) in waiting.iter_mut().enumerate() {
        assert_eq!(flat(&client.receive().expect("an answer")), ["queue".to_owned(), (place + 1).to_string()]);
    }
    assert_eq!(pusher.receive().ok(), Some(Reply::Integer(11)));
}
