//! Which clients may say nothing for longer than `timeout`.

use super::waiting::until;
use super::{Scene, run};
use crate::clients::Marks;
use crate::testing::STARTED_AT;
use std::time::Duration;
use tokio::io::AsyncReadExt;

impl Scene {
    /// Who is ended when nobody has said anything for a long time, by number.
    fn ended_for_silence(&self) -> Vec<u64> {
        let clients = &self.node().clients;
        clients.end_silent(STARTED_AT + 1_000_000, Duration::from_secs(5));
        clients.all().iter().filter(|presence| presence.is_ended()).map(|presence| presence.id).collect()
    }

    pub(super) fn has_marked(&self, id: u64, mark: Marks) -> bool {
        self.node().clients.find(id).is_some_and(|presence| presence.look().marks.contains(mark))
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_is_paused_may_be_silent_and_one_that_asks_nothing_may_not() {
    run(async |scene| {
        let [mut paused, mut idle] = [(); 2].map(|()| scene.connect());
        paused.send(b"PING\r\n").await;
        paused.expect("+PONG\r\n").await;
        scene.node().condition.pause(crate::condition::Paused::All, u64::MAX);
        paused.send(b"SET k 1\r\n").await;
        until(|| scene.has_marked(1, Marks::ATTENDING)).await;
        idle.send(b"\r\n").await;
        until(|| scene.node().clients.count() == 2).await;
        assert_eq!(scene.ended_for_silence(), [2]);
        scene.node().condition.end_pause();
        paused.expect("+OK\r\n").await;
        until(|| !scene.has_marked(1, Marks::ATTENDING)).await;
        assert_eq!(scene.ended_for_silence(), [1]);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn subscribers_and_those_who_are_shown_commands_may_be_silent_until_they_are_that_no_longer() {
    run(async |scene| {
        let [mut subscriber, mut monitor] = [(); 2].map(|()| scene.connect());
        subscriber.send(b"SUBSCRIBE c\r\n").await;
        subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").await;
        monitor.send(b"MONITOR\r\n").await;
        monitor.expect("+OK\r\n").await;
        assert!(scene.ended_for_silence().is_empty());
        monitor.send(b"RESET\r\n").await;
        monitor.expect("+RESET\r\n").await;
        assert_eq!(scene.ended_for_silence(), [2]);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_takes_a_long_reply_is_active_as_long_as_it_takes_some_of_it() {
    run(async |scene| {
        let mut client = scene.connect_with_room(1000);
        client.send(b"SETRANGE k 99999 x\r\nGET k\r\n").await;
        client.expect(":100000\r\n$100000\r\n").await;
        let presence = scene.node().clients.find(1).unwrap();
        until(|| presence.unread_bytes() > 0).await;
        presence.note_active(0);
        let mut piece = vec![0; 5000];
        client.stream.read_exact(&mut piece).await.unwrap();
        until(|| presence.look().last_active == STARTED_AT).await;
        assert!(presence.unread_bytes() > 0);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn clients_that_are_shown_commands_are_listed_with_their_letter() {
    run(async |scene| {
        let [mut monitor, mut other] = [(); 2].map(|()| scene.connect());
        monitor.send(b"MONITOR\r\n").await;
        monitor.expect("+OK\r\n").await;
        let mut flags = async || {
            other.send(b"CLIENT LIST ID 1\r\n").await;
            let mut bytes = vec![0; 1000];
            let read = other.stream.read(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            text.split(' ').find(|field| field.starts_with("flags=")).map(str::to_owned)
        };
        assert_eq!(flags().await.as_deref(), Some("flags=O"));
        monitor.send(b"RESET\r\n").await;
        until(|| !scene.has_marked(1, Marks::MONITOR)).await;
        assert_eq!(flags().await.as_deref(), Some("flags=N"));
    })
    .await;
}
