//! What is posted to a connection without its asking: when it comes, and that it never comes inside a reply.

use super::{Client, Scene, run};
use crate::clients::Presence;
use crate::outbox::Message;
use resp::Reply;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;

impl Scene {
    /// A client and how others see it.
    async fn enter(&self) -> (Client, Arc<Presence>) {
        self.enter_with_room(1 << 20).await
    }

    /// The same, with so many bytes on their way at most.
    async fn enter_with_room(&self, room: usize) -> (Client, Arc<Presence>) {
        let mut client = self.connect_with_room(room);
        client.send(b"PING\r\n").await;
        client.expect("+PONG\r\n").await;
        (client, self.node().clients.all().pop().unwrap())
    }

    fn post(&self, presence: &Presence, text: &str) -> bool {
        let write = |reply: &mut Reply| {
            reply.push(1);
            reply.bulk(text.as_bytes());
        };
        let limits = self.node().config.load().client_output_buffer_limit;
        presence.post(&mut Message::new(&write), &limits, self.node().wall_clock())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_idle_client_gets_what_is_posted_and_holds_no_buffer_afterwards() {
    run(async |scene| {
        let (mut client, presence) = scene.enter().await;
        assert!(scene.post(&presence, "a"));
        assert!(scene.post(&presence, "b"));
        client.expect("*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n").await;
        client.send(b"HELLO 3\r\n").await;
        let mut greeting = vec![0; 1];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut greeting).await.unwrap();
        yield_now().await;
        scene.post(&presence, "c");
        let mut all = String::new();
        while !all.ends_with(">1\r\n$1\r\nc\r\n") {
            let byte = tokio::io::AsyncReadExt::read_u8(&mut client.stream).await.unwrap();
            all.push(char::from(byte));
        }
        yield_now().await;
        assert_eq!(presence.posted(), (0, 0));
        assert_eq!(scene.worker.pooled(), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_waits_for_a_key_or_is_paused_gets_what_is_posted_at_once() {
    run(async |scene| {
        let (mut client, presence) = scene.enter().await;
        client.send(b"PING\r\nBLPOP q 0\r\n").await;
        client.expect("+PONG\r\n").await;
        scene.post(&presence, "a");
        client.expect("*1\r\n$1\r\na\r\n").await;
        let mut other = scene.connect();
        other.send(b"RPUSH q x\r\n").await;
        client.expect("*2\r\n$1\r\nq\r\n$1\r\nx\r\n").await;
        other.expect(":1\r\n").await;
        scene.node().condition.pause(crate::condition::Paused::All, u64::MAX);
        client.send(b"ECHO y\r\n").await;
        for _ in 0..10 {
            yield_now().await;
        }
        scene.post(&presence, "b");
        client.expect("*1\r\n$1\r\nb\r\n").await;
        scene.node().condition.end_pause();
        client.expect("$1\r\ny\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_posted_to_a_client_that_does_not_read_comes_after_the_reply_that_is_being_written() {
    run(async |scene| {
        let mut client = scene.connect_with_room(1024);
        client.send(b"SETRANGE k 99999 x\r\nGET k\r\n").await;
        client.expect(":100000\r\n$100000\r\n").await;
        let presence = scene.node().clients.all().pop().unwrap();
        scene.post(&presence, "a");
        let mut value = vec![0; 100_002];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut value).await.unwrap();
        assert!(value.ends_with(b"x\r\n"));
        client.expect("*1\r\n$1\r\na\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn who_reads_nothing_of_what_is_posted_is_disconnected_and_its_memory_is_given_back() {
    for (limit, wait) in [("normal 1mb 0 0", 0), ("normal 0 100kb 5", 6)] {
        run(async |scene| {
            super::set_output_limit(&scene, limit);
            let (mut stuck, _) = scene.enter().await;
            let (client, presence) = scene.enter_with_room(1024).await;
            let text = "x".repeat(3_000);
            let mut posted = 0;
            while scene.post(&presence, &text) && posted < 350 {
                posted += 1;
                yield_now().await;
            }
            assert!(posted > 300, "{posted}");
            tokio::time::sleep(Duration::from_secs(wait)).await;
            client.rest().await;
            assert_eq!(scene.node().tallies.totals().output_limit_closed, 1);
            assert_eq!(scene.node().clients.outboxes().waiting_bytes(), 0);
            stuck.send(b"PING\r\n").await;
            stuck.expect("+PONG\r\n").await;
        })
        .await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn mail_of_which_some_was_taken_goes_on_where_it_stopped_and_what_came_later_is_behind_it() {
    run(async |scene| {
        let (mut client, presence) = scene.enter_with_room(1024).await;
        let mut expected = String::new();
        for text in ["a".repeat(3_000), "b".to_owned(), "c".repeat(900), "d".repeat(900), "e".repeat(3_000)] {
            scene.post(&presence, &text);
            yield_now().await;
            expected.push_str(&format!("*1\r\n${}\r\n{text}\r\n", text.len()));
        }
        client.send(b"ECHO f\r\n").await;
        client.expect(&expected).await;
        client.expect("$1\r\nf\r\n").await;
        let sent = "+PONG\r\n$1\r\nf\r\n".len() + expected.len();
        assert_eq!(scene.node().tallies.totals().bytes_out, sent as u64);
        assert_eq!((presence.posted(), presence.unread_bytes()), ((0, 0), 0));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_publishes_a_pipeline_is_answered_before_those_who_hear_it_are_written_to() {
    run(async |scene| {
        let [mut subscriber, mut publisher] = [scene.connect(), scene.connect()];
        subscriber.send(b"SUBSCRIBE c\r\n").await;
        subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").await;
        publisher.send(b"PUBLISH c x\r\nPUBLISH c y\r\n").await;
        let came = Rc::new(std::cell::RefCell::new(Vec::new()));
        let message = |text: &str| format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n{text}\r\n");
        let heard = message("x") + &message("y");
        let readers = [(publisher, ":1\r\n:1\r\n".to_owned(), "answer"), (subscriber, heard, "messages")];
        let readers = readers.map(|(mut client, expected, name)| {
            let came = Rc::clone(&came);
            tokio::task::spawn_local(async move {
                client.expect(&expected).await;
                came.borrow_mut().push(name);
            })
        });
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(*came.borrow(), ["answer", "messages"]);
    })
    .await;
}
