//! Clients that send on while their replies wait to be written.

use super::waiting::until;
use super::{Client, Scene, run};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Longer than anything takes: the clock is stopped and goes on only when everybody waits.
const FOR_EVER: Duration = Duration::from_secs(1);

impl Client {
    /// Sends all of it before it reads anything. False if that comes to no end.
    async fn sends_all(&mut self, bytes: &[u8]) -> bool {
        timeout(FOR_EVER, self.stream.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }
}

async fn with_a_value(scene: &Scene, room: usize) -> Client {
    let mut client = scene.connect_with_room(room);
    client.send(format!("SET k {}\r\n", "v".repeat(300)).as_bytes()).await;
    client.expect("+OK\r\n").await;
    client
}

fn buffered(scene: &Scene) -> u64 {
    scene.node().clients.all().iter().map(|presence| presence.look().input.waiting).max().unwrap_or(0)
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_client_that_sends_all_before_it_reads_is_answered_all() {
    run(async |scene| {
        let mut client = with_a_value(&scene, 1000).await;
        let requests = 20_000;
        assert!(client.sends_all(&b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(requests)).await);
        // Nothing was executed whose replies nobody takes.
        assert!(scene.node().tallies.totals().commands < 1000);
        let reply = format!("$300\r\n{}\r\n", "v".repeat(300));
        for _ in 0..requests {
            client.expect(&reply).await;
        }
        // What came behind while the last of them were written is not forgotten.
        assert!(client.sends_all(&[&b"GET k\r\n".repeat(10)[..], b"PING\r\nQUIT\r\n"].concat()).await);
        assert_eq!(client.rest().await, reply.repeat(10) + "+PONG\r\n+OK\r\n");
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_is_kept_while_replies_wait_is_bounded_and_counted() {
    run(async |scene| {
        scene.node().config.set(&[("client-query-buffer-limit", "1mb")]).unwrap();
        let mut client = with_a_value(&scene, 1000).await;
        let requests = b"GET k\r\n".repeat(400_000);
        assert!(!client.sends_all(&requests).await);
        let kept = buffered(&scene);
        assert!((1 << 20..2 << 20).contains(&kept), "{kept}");
        // It is made to wait and no more: all goes on as it reads.
        let (mut reader, _writer) = tokio::io::split(client.stream);
        let reply = format!("$300\r\n{}\r\n", "v".repeat(300));
        for _ in 0..100_000 {
            let mut bytes = vec![0; reply.len()];
            reader.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, reply.as_bytes());
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn nearly_nothing_is_kept_of_a_stranger_that_does_not_read() {
    run(async |scene| {
        scene.node().config.set(&[("requirepass", "secret")]).unwrap();
        let mut client = scene.connect_with_room(100);
        assert!(!client.sends_all(&b"GET k\r\n".repeat(400_000)).await);
        assert!(buffered(&scene) < 100_000);
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_client_that_closes_its_side_while_replies_wait_still_gets_them() {
    run(async |scene| {
        let mut client = with_a_value(&scene, 1000).await;
        assert!(client.sends_all(&b"GET k\r\n".repeat(1000)).await);
        client.stream.shutdown().await.unwrap();
        until(|| scene.node().tallies.totals().bytes_in > 7000).await;
        assert_eq!(client.rest().await.len(), 1000 * (6 + 300 + 2));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_goes_while_it_is_paused_is_counted_no_longer_and_its_command_is_not_run() {
    run(async |scene| {
        scene.node().condition.pause(crate::condition::Paused::All, u64::MAX);
        for behind in [0, 100_000] {
            let mut client = scene.connect();
            client.send(b"SET k 1\r\n").await;
            client.send(&b"PING\r\n".repeat(behind)).await;
            until(|| scene.node().clients.count() == 1).await;
            drop(client.stream);
            until(|| scene.node().clients.count() == 0).await;
            client.served.await.unwrap();
        }
        scene.node().condition.end_pause();
        let mut other = scene.connect();
        other.send(b"EXISTS k\r\n").await;
        other.expect(":0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn strangers_that_go_while_they_are_paused_are_counted_no_longer() {
    run(async |scene| {
        scene.node().config.set(&[("requirepass", "secret")]).unwrap();
        scene.node().condition.pause(crate::condition::Paused::All, u64::MAX);
        let mut client = scene.connect();
        client.send(b"AUTH secret\r\n").await;
        until(|| scene.node().clients.count() == 1).await;
        drop(client.stream);
        until(|| scene.node().clients.count() == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_client_sends_while_it_is_paused_is_kept_up_to_a_limit_and_executed_afterwards() {
    run(async |scene| {
        scene.node().config.set(&[("client-query-buffer-limit", "1mb")]).unwrap();
        scene.node().condition.pause(crate::condition::Paused::All, u64::MAX);
        let (mut reader, mut writer) = tokio::io::split(scene.connect_with_room(1000).stream);
        let sent = tokio::task::spawn_local(async move {
            writer.write_all(&b"PING\r\n".repeat(400_000)).await.unwrap();
            writer
        });
        until(|| buffered(&scene) >= 1 << 20).await;
        assert!(buffered(&scene) < 2 << 20 && !sent.is_finished());
        scene.node().condition.end_pause();
        let mut replies = vec![0; 7 * 400_000];
        reader.read_exact(&mut replies).await.unwrap();
        assert!(replies == b"+PONG\r\n".repeat(400_000));
        sent.await.unwrap();
    })
    .await;
}
