//! The reference: Redis writes what is read here, and loads what is written here.

use crate::samples::{Random, object, text};
use rdb::payload::{self, Payload};
use rdb::{Entry, Item, Object, Reader, SortedSet, Writer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running `redis-server` in a directory of its own.
struct Redis {
    process: Child,
    stream: BufReader<TcpStream>,
}

impl Redis {
    /// Starts one that loads `dump.rdb` from the directory. Nothing, loudly, where none is installed.
    fn start(directory: &Path) -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output();
        if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("v=7.")) {
            assert!(std::env::var_os("PELAGO_TESTS_NEED_REDIS").is_none(), "redis-server 7 is not installed");
            eprintln!("\n!!! SKIPPED: no redis-server 7 is installed: the format is NOT compared with Redis\n");
            return None;
        }
        let free = TcpListener::bind("127.77.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.77.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--enable-debug-command", "yes", "--dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) => assert!(process.try_wait().unwrap().is_none(), "redis-server did not take the file"),
            }
            std::thread::yield_now();
        };
        let mut redis = Self { process, stream: BufReader::new(stream) };
        while redis.call(&[b"PING"]).is_err() {
            assert!(redis.process.try_wait().unwrap().is_none(), "redis-server did not take the file");
        }
        Some(redis)
    }

    /// One command; its answer, or the text of the error.
    fn call(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, String> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        let written = self.stream.get_mut().write_all(&request);
        written.map_err(|error| error.to_string())?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(|error| error.to_string())?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("-", error)) => Err(error.to_owned()),
            Some(("$", length)) => {
                let mut text = vec![0; length.parse::<usize>().map_err(|_| "nothing".to_owned())? + 2];
                self.stream.read_exact(&mut text).map_err(|error| error.to_string())?;
                text.truncate(text.len() - 2);
                Ok(text)
            }
            Some((_, answer)) => Ok(answer.as_bytes().to_vec()),
            None => Err("the connection ended".to_owned()),
        }
    }

    fn line(&mut self, line: &str) -> Vec<u8> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call(&words).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn normalized(mut object: Object) -> Object {
    object.normalize();
    object
}

#[test]
fn redis_loads_a_file_of_every_kind_and_holds_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(5);
    let mut writer = Writer::new(std::fs::File::create(directory.path().join("dump.rdb")).unwrap()).unwrap();
    writer.auxiliary("redis-ver", "7.0.0").unwrap();
    let mut entries = Vec::new();
    for database in 0..3 {
        writer.database(database, 100, 10).unwrap();
        for index in 0..100 {
            let key = [text(&mut random), format!(":{index}").into_bytes()].concat();
            let deadline = (index % 10 == 0).then_some(4_000_000_000_000 + index);
            let object = normalized(object(&mut random, false));
            writer.entry(&key, deadline, &object).unwrap();
            entries.push((database, key, deadline, object));
        }
    }
    writer.finish().unwrap();
    let Some(mut redis) = Redis::start(directory.path()) else { return };
    for (database, key, deadline, object) in entries {
        redis.line(&format!("SELECT {database}"));
        let dumped = redis.call(&[b"DUMP", &key]).unwrap();
        let found = normalized(Payload::verify(&dumped).unwrap().object().unwrap());
        assert_eq!(found, object, "{}", key.escape_ascii());
        let expires = redis.call(&[b"PEXPIRETIME", &key]).unwrap();
        assert_eq!(expires, deadline.map_or(b"-1".to_vec(), |deadline| deadline.to_string().into_bytes()));
        redis.call(&[b"DEBUG", b"OBJECT", &key]).unwrap();
    }
}

#[test]
fn redis_restores_what_is_written_and_dumps_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut redis) = Redis::start(directory.path()) else { return };
    let mut random = Random::new(6);
    for _ in 0..400 {
        let object = normalized(object(&mut random, false));
        let mut bytes = Vec::new();
        payload::write(&mut bytes, &object).unwrap();
        redis.call(&[b"RESTORE", b"k", b"0", &bytes, b"REPLACE"]).unwrap();
        let dumped = redis.call(&[b"DUMP", b"k"]).unwrap();
        assert_eq!(normalized(Payload::verify(&dumped).unwrap().object().unwrap()), object);
    }
}

/// Commands that make every encoding that Redis 7.0 writes.
const MAKING: &[&str] = &[
    "SET string hello",
    "SET integer -70000",
    "SETRANGE sparse 5000 end",
    "RPUSH list a 1 -300 70000 5000000000 b",
    "HSET hash f v g 12 h -1",
    "SADD integers 1 2 3 -4000000000",
    "SADD set a b c",
    "ZADD zset 1 a 2.5 b inf c -inf d 1e300 e",
    "XADD stream 5-1 a 1 b 2",
    "XADD stream 5-2 a 1 b 2",
    "XADD stream 7-0 other x",
    "XDEL stream 5-2",
    "XGROUP CREATE stream readers 0",
    "XREADGROUP GROUP readers alice COUNT 1 STREAMS stream >",
    "XGROUP CREATECONSUMER stream readers bob",
    "XADD emptied 1-1 a 1",
    "XTRIM emptied MAXLEN 0",
    "PFADD sketch a b c d",
    "PEXPIREAT hash 4000000000123",
    "SELECT 3",
    "SET elsewhere 1",
];

#[test]
fn a_file_of_redis_is_read_as_redis_dumps_it() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut redis) = Redis::start(directory.path()) else { return };
    for line in MAKING {
        redis.line(line).clear();
        // The answer to XREADGROUP is a list, of which only the first line was taken.
        if line.starts_with("XREADGROUP") {
            let address = redis.stream.get_ref().peer_addr().unwrap();
            redis.stream = BufReader::new(TcpStream::connect(address).unwrap());
        }
    }
    redis.line("SELECT 0");
    for index in 0..1500 {
        for line in [
            format!("RPUSH long {}", "x".repeat(index % 90)),
            format!("HSET large f{index} v"),
            format!("SADD many m{index}"),
            format!("ZADD ranked {index}.5 m{index}"),
            format!("XADD log * n {index}"),
        ] {
            redis.line(&line);
        }
    }
    redis.line(&format!("RPUSH long {}", "y".repeat(20_000)));
    redis.line("SAVE");
    let mut reader = Reader::new(std::fs::File::open(directory.path().join("dump.rdb")).unwrap()).unwrap();
    assert_eq!(reader.version(), 10);
    let (mut entry, mut keys) = (Entry::default(), 0);
    loop {
        match reader.next(&mut entry).unwrap() {
            Item::Key => {
                keys += 1;
                redis.line(&format!("SELECT {}", entry.database));
                let dumped = redis.call(&[b"DUMP", &entry.key]).unwrap();
                let dumped = normalized(Payload::verify(&dumped).unwrap().object().unwrap());
                entry.object.normalize();
                assert_eq!(entry.object, dumped, "{}", entry.key.escape_ascii());
                assert_eq!(entry.deadline.is_some(), entry.key == b"hash");
                look_closer(&entry);
            }
            Item::End => break,
            Item::Passed(_) | Item::Function(_) | Item::Auxiliary { .. } | Item::Sizes { .. } | Item::Module(_) => {}
        }
    }
    assert_eq!(keys, 17);
}

#[test]
fn redis_reads_every_score_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(std::fs::File::create(directory.path().join("dump.rdb")).unwrap()).unwrap();
    writer.database(0, 1, 0).unwrap();
    // With all their digits some of these are longer than what Redis looks at.
    let scores = vec![1e300, -1.5e299, f64::MAX, 5e-324, 1e-200, 0.1, -0.0, 3.0, 1e17, 123_456_789_012_345_680.0];
    let names: Vec<String> = (0..scores.len()).map(|index| format!("m{index}")).collect();
    let members = names.iter().map(String::as_bytes).collect();
    let sorted = SortedSet { members, scores: scores.clone() };
    writer.entry(b"scores", None, &Object::SortedSet(sorted)).unwrap();
    writer.finish().unwrap();
    let Some(mut redis) = Redis::start(directory.path()) else { return };
    for (name, score) in names.iter().zip(scores) {
        let told = redis.call(&[b"ZSCORE", b"scores", name.as_bytes()]).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(told.parse::<f64>().unwrap(), score, "{told}");
    }
}

/// What some of the keys must hold, so that reading and dumping do not err together.
fn look_closer(entry: &Entry) {
    match (&entry.key[..], &entry.object) {
        (b"string", Object::String(value)) => assert_eq!(value, b"hello"),
        (b"integer", Object::String(value)) => assert_eq!(value, b"-70000"),
        (b"list", Object::List(texts)) => {
            let expected: [&[u8]; 6] = [b"a", b"1", b"-300", b"70000", b"5000000000", b"b"];
            assert!(texts.iter().eq(expected));
        }
        (b"zset", Object::SortedSet(sorted)) => {
            assert_eq!(sorted.scores, [1.0, 2.5, f64::INFINITY, f64::NEG_INFINITY, 1e300]);
        }
        (b"stream", Object::Stream(stream)) => {
            let ids: Vec<String> = stream.iter().map(|entry| entry.id.to_string()).collect();
            assert_eq!(ids, ["5-1", "7-0"]);
            assert_eq!(stream.iter().next().unwrap().iter().next(), Some((&b"a"[..], &b"1"[..])));
            assert_eq!((stream.entries_added, stream.groups.len()), (Some(3), 1));
            assert_eq!(stream.groups[0].pending.len(), 1);
            assert_eq!(stream.groups[0].consumers.len(), 2);
        }
        (b"long", Object::List(texts)) => assert_eq!(texts.len(), 1501),
        (b"large", Object::Hash(hash)) => assert_eq!(hash.len(), 1500),
        (b"log", Object::Stream(stream)) => assert_eq!(stream.len(), 1500),
        _ => {}
    }
}
