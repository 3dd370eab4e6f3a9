//! `MIGRATE`, to a target that answers what a test says.

use super::*;
use tokio::net::{TcpListener, TcpStream};

/// What listens for the keys.
struct Goal {
    listener: TcpListener,
}

/// The connection over which they come.
struct Taker(TcpStream);

impl Goal {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// A request: `rest` follows the address.
    fn migrate(&self, rest: &str) -> Vec<u8> {
        format!("MIGRATE 127.0.0.1 {} {rest}\r\n", self.listener.local_addr().unwrap().port()).into_bytes()
    }

    async fn accept(&self) -> Taker {
        Taker(self.listener.accept().await.unwrap().0)
    }
}

impl Taker {
    /// The next request: its words.
    async fn request(&mut self) -> Vec<String> {
        let count = self.number(b'*').await;
        let mut words = Vec::new();
        for _ in 0..count {
            let mut word = vec![0; self.number(b'$').await + 2];
            self.0.read_exact(&mut word).await.unwrap();
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        words
    }

    async fn number(&mut self, kind: u8) -> usize {
        assert_eq!(self.0.read_u8().await.unwrap(), kind);
        let mut digits = String::new();
        loop {
            match self.0.read_u8().await.unwrap() {
                b'\r' => {}
                b'\n' => return digits.parse().unwrap(),
                digit => digits.push(char::from(digit)),
            }
        }
    }

    async fn answer(&mut self, lines: &str) {
        self.0.write_all(lines.as_bytes()).await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_target_takes_goes_and_what_it_refuses_stays() {
    run(async |scene| {
        let (goal, mut client, mut other) = (Goal::new().await, scene.connect(), scene.connect());
        client.send(b"MSET a 1 b 2 c 3\r\nPEXPIRE a 100000\r\n").await;
        client.expect("+OK\r\n:1\r\n").await;
        client.send(&goal.migrate("\"\" 0 5000 KEYS a none b c")).await;
        let mut taker = goal.accept().await;
        for (key, rest) in [("a", "100000"), ("b", "0"), ("c", "0")] {
            let words = taker.request().await;
            assert_eq!((&*words[0], &*words[1], words.len()), ("RESTORE", key, 4));
            // A little of its life is over.
            assert!(words[2] == rest || (key == "a" && words[2].len() == 5), "{words:?}");
        }
        // The worker waits for nothing.
        other.send(b"PING\r\n").await;
        other.expect("+PONG\r\n").await;
        taker.answer("+OK\r\n-BUSYKEY first\r\n-BUSYKEY second\r\n").await;
        client.expect("-ERR Target instance replied with error: BUSYKEY first\r\n").await;
        client.send(b"MGET a b c\r\n").await;
        client.expect("*3\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_key_that_changes_before_the_answer_stays_and_the_client_is_told() {
    run(async |scene| {
        let (goal, mut client, mut other) = (Goal::new().await, scene.connect(), scene.connect());
        client.send(b"SADD s a\r\nSET k 1\r\nSET gone 1\r\n").await;
        client.expect(":1\r\n+OK\r\n+OK\r\n").await;
        client.send(&goal.migrate("\"\" 0 5000 KEYS s k gone")).await;
        let mut taker = goal.accept().await;
        for key in ["s", "k", "gone"] {
            assert_eq!(taker.request().await[1], key);
        }
        other.send(b"SADD s b\r\nDEL gone\r\n").await;
        other.expect(":1\r\n:1\r\n").await;
        taker.answer("+OK\r\n+OK\r\n+OK\r\n").await;
        let told = "-ERR 2 of the keys changed here while the target instance took them: they stay here, and are there as \
                    they were before. MIGRATE with REPLACE sends them again\r\n";
        client.expect(told).await;
        client.send(b"SMEMBERS s\r\nEXISTS k gone\r\n").await;
        client.expect("*2\r\n$1\r\na\r\n$1\r\nb\r\n:0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_key_that_is_named_twice_goes_once_and_has_not_changed() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        client.send(b"SET k 1\r\n").await;
        client.expect("+OK\r\n").await;
        client.send(&goal.migrate("\"\" 0 5000 REPLACE KEYS k k")).await;
        let mut taker = goal.accept().await;
        for _ in 0..2 {
            assert_eq!(taker.request().await[4], "REPLACE");
        }
        taker.answer("+OK\r\n+OK\r\n").await;
        client.expect("+OK\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_is_sent_to_a_target_that_refuses_the_password_or_the_database() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        client.send(b"SET k 1\r\n").await;
        client.expect("+OK\r\n").await;
        for (answers, told) in [
            ("-WRONGPASS no\r\n-ERR DB index is out of range\r\n", "WRONGPASS no"),
            ("+OK\r\n-ERR DB index is out of range\r\n", "ERR DB index is out of range"),
        ] {
            client.send(&goal.migrate("k 99 5000 AUTH2 ann secret")).await;
            let mut taker = goal.accept().await;
            assert_eq!(taker.request().await, ["AUTH", "ann", "secret"]);
            assert_eq!(taker.request().await, ["SELECT", "99"]);
            taker.answer(answers).await;
            client.expect(&format!("-ERR Target instance replied with error: {told}\r\n")).await;
            assert_eq!(taker.0.read(&mut [0]).await.unwrap(), 0);
        }
        client.send(b"EXISTS k\r\n").await;
        client.expect(":1\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_target_that_ends_in_the_middle_has_what_it_has_answered() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        for answers in ["+OK\r\n", "+OK\r\n:1\r\n", "+OK\r\n+OK"] {
            client.send(b"MSET a 1 b 2\r\n").await;
            client.expect("+OK\r\n").await;
            client.send(&goal.migrate("\"\" 0 5000 KEYS a b")).await;
            let mut taker = goal.accept().await;
            for _ in 0..2 {
                taker.request().await;
            }
            taker.answer(answers).await;
            drop(taker);
            client.expect("-IOERR error or timeout reading to target instance\r\n").await;
            client.send(b"MGET a b\r\n").await;
            client.expect("*2\r\n$-1\r\n$1\r\n2\r\n").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_target_that_says_nothing_or_too_much_is_not_waited_for() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        client.send(b"SET k 1\r\n").await;
        client.expect("+OK\r\n").await;
        client.send(&goal.migrate("k 0 1")).await;
        let _silent = goal.accept().await;
        client.expect("-IOERR error or timeout reading to target instance\r\n").await;
        client.send(&goal.migrate("k 0 60000")).await;
        let mut taker = goal.accept().await;
        taker.request().await;
        let endless = "-".repeat(2 * crate::limits::TARGET_REPLY_BYTES_MAX);
        // It may have hung up by the end of that.
        let _ = taker.0.write_all(endless.as_bytes()).await;
        client.expect("-IOERR error or timeout reading to target instance\r\n").await;
        client.send(b"MIGRATE 127.0.0.1 0 k 0 5000\r\nMIGRATE not/a/name 1 k 0 5000\r\nEXISTS k\r\n").await;
        client.expect("-IOERR error or timeout writing to target instance\r\n").await;
        client.expect("-IOERR error or timeout connecting to the client\r\n:1\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn keys_go_some_at_a_time_in_their_order() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        let keys: Vec<String> = (0..600).map(|number| format!("key:{number}")).collect();
        for key in &keys {
            client.send(format!("SET {key} {}\r\n", "x".repeat(100)).as_bytes()).await;
            client.expect("+OK\r\n").await;
        }
        client.send(&goal.migrate(&format!("\"\" 0 5000 KEYS {}", keys.join(" ")))).await;
        let mut taker = goal.accept().await;
        let (mut heard, mut bytes) = (0, Vec::new());
        while heard < keys.len() {
            for _ in 0..crate::limits::MIGRATED_AT_ONCE_KEYS.min(keys.len() - heard) {
                assert_eq!(taker.request().await[1], keys[heard]);
                heard += 1;
                bytes.extend_from_slice(b"+OK\r\n");
            }
            taker.0.write_all(&bytes).await.unwrap();
            bytes.clear();
        }
        client.expect("+OK\r\n").await;
        client.send(b"DBSIZE\r\n").await;
        client.expect(":0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_copy_stays_and_a_client_that_wants_no_reply_gets_none() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        client.send(b"SET k 1\r\nCLIENT REPLY SKIP\r\n").await;
        client.expect("+OK\r\n").await;
        client.send(&goal.migrate("k 0 5000 COPY")).await;
        let mut taker = goal.accept().await;
        taker.request().await;
        taker.answer("+OK\r\n").await;
        client.send(b"GET k\r\n").await;
        client.expect("$1\r\n1\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_has_begun_to_move_is_moved_though_the_client_goes() {
    run(async |scene| {
        let (goal, mut client) = (Goal::new().await, scene.connect());
        client.send(b"SET k 1\r\n").await;
        client.expect("+OK\r\n").await;
        client.send(&goal.migrate("k 0 5000")).await;
        let mut taker = goal.accept().await;
        taker.request().await;
        drop(client.stream);
        taker.answer("+OK\r\n").await;
        client.served.await.unwrap();
        let mut other = scene.connect();
        other.send(b"EXISTS k\r\n").await;
        other.expect(":0\r\n").await;
    })
    .await;
}
