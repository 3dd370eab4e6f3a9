//! Files in both directions.

use super::{Contents, assert_same, report, saved};
use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::node::{run, text};
use tests::redis::Redis;
use tests::wait;

/// Fills a Redis with strings, hashes, sets and sorted sets of every size, in several databases, some with deadlines.
fn fill(redis: &mut Client, keys: usize) {
    for index in 0..keys {
        if index % 100 == 0 {
            redis.queue(&["SELECT".to_owned(), (index / 100 % 4).to_string()]);
        }
        let key = format!("key:{index}");
        match index % 5 {
            0 => redis.queue(&["SET".to_owned(), key, "v".repeat(index % 200)]),
            1 => redis.queue(&["SET".to_owned(), key, (index as i64 * 7919 - 20_000).to_string()]),
            2 => redis.queue(&[
                "HSET".to_owned(),
                key,
                "f".to_owned(),
                index.to_string(),
                "g".to_owned(),
                "x y".to_owned(),
            ]),
            3 => redis.queue(&["SADD".to_owned(), key, index.to_string(), "7".to_owned(), "-1".to_owned()]),
            _ => redis.queue(&[
                "SET".to_owned(),
                key,
                "later".to_owned(),
                "PXAT".to_owned(),
                (4_000_000_000_000 + index).to_string(),
            ]),
        }
    }
    redis.queue(&["SELECT", "2"]);
    for index in 0..1000 {
        redis.queue(&["HSET".to_owned(), "large hash".to_owned(), format!("field {index}"), "z".repeat(index % 90)]);
        redis.queue(&["SADD".to_owned(), "large set".to_owned(), format!("member {index}")]);
        let score = format!("{}.5", index * 37 % 1000);
        redis.queue(&["ZADD".to_owned(), "large sorted set".to_owned(), score, format!("member {index}")]);
    }
    redis.queue(&["PEXPIREAT", "large set", "4000000000999"]);
    redis.queue(&["SET", "\r\n\0 any bytes", "\r\n"]);
    redis.queue(&["SELECT", "0"]);
    redis.send().expect("redis takes it");
    for _ in 0..keys + keys.div_ceil(100) + 3004 {
        let reply = redis.receive().expect("an answer");
        assert!(!reply.is_error(), "{reply}");
    }
}

#[test]
fn a_file_of_redis_is_imported_key_by_key_and_again_does_no_harm() {
    let Some(redis) = Redis::start("what is imported from a file") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    fill(&mut source, 3000);
    let file = saved(&mut source);
    let (first, is_success) = report(&["import", &file, "--via", &node.resp]);
    assert!(is_success, "{first}");
    assert_same(&mut source, &mut node.client(), &[]);
    let (compared, is_equal) = report(&["import", &file, "--dry-run", "--via", &node.resp]);
    assert!(is_equal, "{compared}");
    assert_eq!(compared["equal"], first["copy"]["written"]);
    // What stands there already gives way, and what is not in the file stays and is told.
    let mut client = node.client();
    client.must("SELECT 2");
    client.call(&["SADD", "large hash", "another type"]);
    client.call(&["DEL", "large hash"]);
    client.call(&["SADD", "large hash", "another type"]);
    client.call(&["SADD", "large set", "another member"]);
    client.must("SET more 1");
    let (compared, is_equal) = report(&["import", &file, "--dry-run", "--via", &node.resp]);
    assert!(!is_equal);
    assert_eq!((compared["different"].as_u64(), compared["only_at_target"].as_u64()), (Some(2), Some(1)), "{compared}");
    assert!(report(&["import", &file, "--via", &node.resp]).1);
    assert_same(&mut source, &mut node.client(), &["more"]);
}

#[test]
fn what_a_node_cannot_hold_is_skipped_and_told() {
    let Some(redis) = Redis::start("what is skipped") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    let known: Vec<String> =
        node.client().must("COMMAND LIST").elements().iter().filter_map(|name| name.text()).collect();
    let makings = [("rpush", "RPUSH list a b"), ("zadd", "ZADD zset 1 a"), ("xadd", "XADD stream 1-1 a b")];
    let mut skipped = 0;
    for (command, line) in makings {
        source.must(line);
        skipped += u64::from(!known.contains(&command.to_owned()));
    }
    source.must("SET string v");
    let file = saved(&mut source);
    let (told, is_success) = report(&["import", &file, "--via", &node.resp]);
    let counts = told["copy"]["skipped"].as_object().expect("reasons with counts").values();
    assert_eq!(counts.filter_map(|count| count.as_u64()).sum::<u64>(), skipped, "{told}");
    assert_eq!((told["copy"]["written"].as_u64(), is_success), (Some(4 - skipped), skipped == 0), "{told}");
    assert!(report(&["import", &file, "--allow-skipped", "--via", &node.resp]).1);
    assert_eq!(node.client().must("GET string").text().as_deref(), Some("v"));
}

#[test]
fn an_import_that_failed_goes_on_where_it_was() {
    let Some(redis) = Redis::start("how an import goes on") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    fill(&mut source, 20_000);
    let file = saved(&mut source);
    // Connections that carry much break: those of the import, and not the one on which it notes how far it is.
    let through = breaking(&node.resp, 150_000);
    let failed = run(&["import", &file, "--via", &through]);
    assert!(!failed.status.success(), "{}", text(&failed.stdout));
    let (told, is_success) = report(&["import", &file, "--via", &node.resp]);
    assert!(is_success, "{told}");
    assert!(told["copy"]["resumed"].as_u64() > Some(100), "{told}");
    assert_same(&mut source, &mut node.client(), &[]);
    // Nothing is left of it.
    assert_eq!(node.client().must("KEYS pelago:import:*").elements().len(), 0);
}

/// What a region has not sent when it is cut off would come on top of what was imported again.
#[test]
fn a_file_goes_on_in_another_region_only_when_all_of_it_is_there() {
    let Some(redis) = Redis::start("how an import goes on in another region") else { return };
    let cluster = Cluster::start(&["a", "b"]);
    let mut source = redis.client();
    fill(&mut source, 20_000);
    let file = saved(&mut source);
    let failed = run(&["import", &file, "--via", &breaking(&cluster.nodes[0].resp, 150_000)]);
    assert!(!failed.status.success(), "{}", text(&failed.stdout));
    cluster.await_equal();
    cluster.cut_all();
    // What the first run had not sent could be anything.
    cluster.nodes[0].client().must("SET unsent 1");
    let early = run(&["import", &file, "--via", &cluster.nodes[1].resp]);
    let said = text(&early.stderr);
    assert!(!early.status.success() && said.contains("has written through a-1"), "{said:?}");
    cluster.heal_all();
    let (told, is_success) = report(&["import", &file, "--via", &cluster.nodes[1].resp]);
    assert!(is_success && told["copy"]["resumed"].as_u64() > Some(100), "{told}");
    cluster.await_equal();
    assert_same(&mut source, &mut cluster.nodes[0].client(), &["unsent"]);
}

/// Leads to an address; a connection ends after so many bytes to there.
fn breaking(address: &str, most: u64) -> String {
    let listener = TcpListener::bind("127.79.0.1:0").expect("the system has a free port");
    let (here, address) = (listener.local_addr().expect("it is bound").to_string(), address.to_owned());
    std::thread::spawn(move || {
        for near in listener.incoming().filter_map(Result::ok) {
            let far = TcpStream::connect(&address).expect("the node takes connections");
            let (mut from_far, mut to_near) = (far.try_clone().expect("a socket"), near.try_clone().expect("a socket"));
            std::thread::spawn(move || drop(std::io::copy(&mut from_far, &mut to_near)));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&near).take(most), &mut &far);
                let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
            });
        }
    });
    here
}

#[test]
fn nothing_of_a_damaged_file_comes_in() {
    let Some(redis) = Redis::start("what is done about damage") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, mut source) = (&cluster.nodes[0], redis.client());
    fill(&mut source, 1000);
    let file = saved(&mut source);
    let mut bytes = std::fs::read(&file).expect("redis has written it");
    let place = bytes.len() - 100;
    bytes[place] ^= 1;
    std::fs::write(&file, &bytes).expect("it is ours");
    let refused = node.pelago(&["import", &file]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("nothing was imported"), "{}", text(&refused.stderr));
    assert_eq!(node.client().must("DBSIZE").to_string(), "0");
    assert!(!node.pelago(&["import", &file, "--salvage"]).status.success());
    assert_eq!(node.client().must("EXISTS key:1").to_string(), "1");
}

#[test]
fn every_kind_is_written_with_its_own_commands() {
    // Redis itself is the target: it knows them all.
    let (Some(redis), Some(other)) = (Redis::start("every kind of value"), Redis::start("every kind of value")) else {
        return;
    };
    let (mut source, mut target) = (redis.client(), other.client());
    for line in [
        "RPUSH list a 1 -300 70000 b",
        "ZADD zset 1 a 2.5 b inf c -inf d 1e300 e 1e-9 f",
        "XADD stream 5-1 a 1 b 2",
        "XADD stream 5-2 a 1 b 2",
        "XADD stream 7-0 other x",
        "XADD stream 8-0 other y",
        "XDEL stream 5-2",
        "XGROUP CREATE stream readers 0",
        "XREADGROUP GROUP readers alice COUNT 2 STREAMS stream >",
        "XGROUP CREATECONSUMER stream readers bob",
        "XADD emptied 9-1 a 1",
        "XTRIM emptied MAXLEN 0",
        "PFADD sketch a b c",
        "PEXPIREAT list 4000000000123",
        "SET string v",
        "HSET hash f v",
        "SADD set a b",
    ] {
        source.must(line);
    }
    for index in 0..3000 {
        source.call(&["RPUSH".to_owned(), "long".to_owned(), "e".repeat(index % 300)]);
        source.call(&["ZADD".to_owned(), "ranked".to_owned(), format!("{index}.25"), format!("m{index}")]);
    }
    let file = saved(&mut source);
    // Something of another type stands in the way.
    target.must("SADD list x");
    let (told, is_success) = report(&["import", &file, "--via", &other.address]);
    assert!(is_success, "{told}");
    assert_same(&mut source, &mut target, &[]);
    for question in
        ["XINFO STREAM stream", "XPENDING stream readers - + 10", "XINFO GROUPS stream", "XINFO STREAM emptied"]
    {
        let without_memory = |reply: tests::reply::Reply| {
            let texts: Vec<String> = reply.elements().iter().map(ToString::to_string).collect();
            // The shape of the radix tree and the time since the delivery are nobody's promise.
            let kept = texts.iter().filter(|text| text.parse::<u64>().is_err_and(|_| true) || text.len() < 4);
            kept.cloned().collect::<Vec<_>>()
        };
        let shown = |client: &mut Client| match question.starts_with("XINFO STREAM") {
            true => without_memory(client.must(question)),
            false => client
                .must(question)
                .elements()
                .iter()
                .map(|row| row.elements().iter().take(2).map(ToString::to_string).collect())
                .collect(),
        };
        assert_eq!(shown(&mut source), shown(&mut target), "{question}");
    }
    let (compared, is_equal) = report(&["import", &file, "--dry-run", "--via", &other.address]);
    assert!(is_equal, "{compared}");
}

#[test]
fn redis_loads_what_a_node_exports() {
    let Some(redis) = Redis::start("what is exported") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, directory) = (&cluster.nodes[0], tempfile::tempdir().expect("a temporary directory"));
    let mut client = node.client();
    fill(&mut client, 2000);
    client.must("INCRBY counter 41");
    client.must("INCR counter");
    client.must("HINCRBYFLOAT counters f 1.5");
    let file = directory.path().join("dump.rdb");
    let path = file.display().to_string();
    let (told, is_success) = report(&["export", &path, "--via", &node.resp]);
    assert!(is_success, "{told}");
    let (mut process, mut loaded) = loading(directory.path());
    let mut contents = Contents::of(&mut loaded);
    let differences = contents.differences(&Contents::of(&mut client));
    process.kill().expect("it is ours");
    process.wait().expect("it is ours");
    assert!(differences.is_empty(), "{differences:?}");
    contents.forget(|_| false);
    assert_eq!(Some(contents.len() as u64), told["keys"].as_u64());
    drop(redis);
}

/// The reference with the file `dump.rdb` of this directory, once it has loaded it.
fn loading(directory: &Path) -> (Child, Client) {
    let free =
        TcpListener::bind("127.78.0.1:0").expect("the system has a free port").local_addr().expect("it is bound");
    let process = Command::new("redis-server")
        .args(["--bind", "127.78.0.1", "--port", &free.port().to_string(), "--save", "", "--dir"])
        .arg(directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let loaded = wait::until("redis-server has loaded the file", || {
        let mut loaded = Client::connect(&free.to_string()).map_err(|error| error.to_string())?;
        let reply = loaded.try_call(&["PING"]).map_err(|error| error.to_string())?;
        if reply.is_error() { Err(reply.to_string()) } else { Ok(loaded) }
    });
    (process, loaded)
}

#[test]
fn libraries_of_functions_come_in_and_go_out_with_the_keys() {
    let Some(redis) = Redis::start("how libraries of functions move") else { return };
    let cluster = Cluster::start(&["only"]);
    let (node, directory) = (&cluster.nodes[0], tempfile::tempdir().expect("a temporary directory"));
    let mut source = redis.client();
    let library = |name: &str, function: &str, answer: &str| {
        format!("#!lua name={name}\nredis.register_function('{function}', function() return '{answer}' end)")
    };
    source.must("SET k v");
    source.call(&["FUNCTION", "LOAD", &library("one", "first", "one")]);
    source.call(&["FUNCTION", "LOAD", &library("two", "second", &"two".repeat(1000))]);
    node.client().call(&["FUNCTION", "LOAD", &library("one", "before", "old")]);
    node.client().call(&["FUNCTION", "LOAD", &library("own", "third", "own")]);
    let (told, is_success) = report(&["import", &saved(&mut source), "--via", &node.resp]);
    assert!(is_success && told["copy"]["functions"] == 2, "{told}");
    let mut client = node.client();
    assert_eq!(client.must("FCALL first 0").text().as_deref(), Some("one"));
    assert!(client.line("FCALL before 0").is_error(), "a library of the same name is replaced");
    assert_eq!(client.must("FCALL third 0").text().as_deref(), Some("own"), "others stay");
    let path = directory.path().join("dump.rdb").display().to_string();
    let (told, is_success) = report(&["export", &path, "--via", &node.resp]);
    assert!(is_success && told["libraries"] == 3 && told["keys"] == 1, "{told}");
    let (mut process, mut loaded) = loading(directory.path());
    let answers = ["FCALL first 0", "FCALL second 0", "FCALL third 0", "GET k"].map(|line| {
        let (loaded, here) = (loaded.line(line), client.must(line));
        (line, loaded, here)
    });
    process.kill().expect("it is ours");
    process.wait().expect("it is ours");
    for (line, loaded, here) in answers {
        assert_eq!(loaded, here, "{line}");
    }
}
