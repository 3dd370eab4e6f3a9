//! Clients whose large collections are moved by the thread.

use super::*;
use crate::condition::Paused;
use crate::connection::serve_connection;
use crate::testing::node;
use crate::worker::Worker;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};

struct Client(DuplexStream);

impl Client {
    fn connect(worker: &Rc<Worker>) -> Self {
        let (stream, served) = duplex(1 << 20);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        spawn_local(serve_connection(Rc::clone(worker), served, address, address));
        Self(stream)
    }

    async fn ask(&mut self, request: &str, replies: &str) {
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = vec![0; replies.len()];
        self.0.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), replies, "{request}");
    }
}

/// A client of a node with such a thread, and of a node without.
async fn check(script: impl AsyncFn(&mut Client)) {
    for has_thread in [true, false] {
        let node = Arc::new(node());
        if has_thread {
            start(&node).unwrap();
        }
        let script = &script;
        let body = async move {
            let mut client = Client::connect(&Worker::new(node));
            script(&mut client).await;
        };
        LocalSet::new().run_until(body).await;
    }
}

fn fill(key: &str) -> String {
    let members: Vec<String> = (0..3_000).map(|number| format!("member:{number}")).collect();
    format!("SADD {key} {}\r\n", members.join(" "))
}

#[tokio::test(flavor = "current_thread")]
async fn a_large_collection_is_moved_and_the_commands_behind_find_it() {
    check(async |client| {
        client.ask(&fill("a"), ":3000\r\n").await;
        client.ask("RENAME a b\r\nSCARD a\r\nSCARD b\r\n", "+OK\r\n:0\r\n:3000\r\n").await;
        client.ask("COPY b c\r\nCOPY b c\r\nCOPY b c REPLACE\r\nDBSIZE\r\n", ":1\r\n:0\r\n:1\r\n:2\r\n").await;
        client.ask("RENAMENX b c\r\nRENAMENX b d\r\nEXISTS b d\r\n", ":0\r\n:1\r\n:1\r\n").await;
        client.ask("MOVE d 1\r\nEXISTS d\r\nSELECT 1\r\nSCARD d\r\n", ":1\r\n:0\r\n+OK\r\n:3000\r\n").await;
        client.ask("RENAME d d\r\nRENAME none d\r\n", "+OK\r\n-ERR no such key\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn inside_a_transaction_it_is_moved_at_once() {
    check(async |client| {
        client.ask(&fill("a"), ":3000\r\n").await;
        let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:3000\r\n";
        client.ask("MULTI\r\nRENAME a b\r\nSCARD b\r\nEXEC\r\n", queued).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_wants_no_reply_gets_none() {
    check(async |client| {
        client.ask(&fill("a"), ":3000\r\n").await;
        client.ask("CLIENT REPLY SKIP\r\nRENAME a b\r\nSCARD b\r\n", ":3000\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_watches_the_other_key_or_waits_for_it_is_told() {
    check(async |client| {
        let push: Vec<String> = (0..3_000).map(|number| format!("text:{number}")).collect();
        client.ask(&format!("RPUSH a {}\r\n", push.join(" ")), ":3000\r\n").await;
        client
            .ask("WATCH b\r\nRENAME a b\r\nMULTI\r\nPING\r\nEXEC\r\n", "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n")
            .await;
        client.ask("BLMOVE b c LEFT RIGHT 0\r\n", "$6\r\ntext:0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn after_a_defect_before_the_stamp_the_next_collection_is_moved() {
    let node = Arc::new(node());
    let mut fails = true;
    let pause = move || {
        if std::mem::take(&mut fails) {
            // As a panic does, and says nothing in the output of the tests.
            std::panic::resume_unwind(Box::new("a defect"));
        }
    };
    start_with(&node, pause).unwrap();
    let body = async move {
        let mut client = Client::connect(&Worker::new(node));
        client.ask(&fill("a"), ":3000\r\n").await;
        let failed = "-ERR it was not done, since the node is stopping or has a defect that its log tells\r\n";
        client.ask("RENAME a b\r\nSCARD a\r\n", &format!("{failed}:3000\r\n")).await;
        client.ask("RENAME a b\r\nSCARD b\r\n", "+OK\r\n:3000\r\n").await;
    };
    LocalSet::new().run_until(body).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_collection_is_moved_when_a_pause_of_writes_is_over() {
    let node = Arc::new(node());
    // Writes are paused while its elements are read.
    let (paused, is_paused) = (Arc::downgrade(&node), Arc::new(tokio::sync::Notify::new()));
    let (notify, mut pauses) = (Arc::clone(&is_paused), true);
    let pause = move || {
        if std::mem::take(&mut pauses)
            && let Some(node) = paused.upgrade()
        {
            node.condition.pause(Paused::Writes, u64::MAX);
            notify.notify_one();
        }
    };
    start_with(&node, pause).unwrap();
    let body = async move {
        let worker = Worker::new(Arc::clone(&node));
        let mut client = Client::connect(&worker);
        client.ask(&fill("a"), ":3000\r\n").await;
        client.0.write_all(b"RENAME a b\r\n").await.unwrap();
        is_paused.notified().await;
        while node.keyspace.has_frozen() {
            tokio::task::yield_now().await;
        }
        let mut other = Client::connect(&worker);
        other.ask("SCARD a\r\nCLIENT UNPAUSE\r\n", ":3000\r\n+OK\r\n").await;
        client.ask("SCARD b\r\n", "+OK\r\n:3000\r\n").await;
    };
    LocalSet::new().run_until(body).await;
}
