//! Connections over in-memory pipes: fragments, pipelines, limits and ends.

mod ahead;
mod arriving;
mod mail;
mod migrating;
mod replies;
mod silence;
mod waiting;

use super::*;
use crate::node::Node;
use crate::testing::node;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// A worker and the means to connect to it.
struct Scene {
    worker: Rc<Worker>,
}

struct Client {
    stream: DuplexStream,
    served: JoinHandle<()>,
}

impl Scene {
    fn new() -> Self {
        Self { worker: Worker::new(Arc::new(node())) }
    }

    fn node(&self) -> &Node {
        &self.worker.node
    }

    fn connect(&self) -> Client {
        self.connect_with_room(1 << 20)
    }

    fn connect_with_room(&self, room: usize) -> Client {
        let (stream, served) = duplex(room);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Client { stream, served: spawn_local(serve_connection(Rc::clone(&self.worker), served, address, address)) }
    }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn expect(&mut self, reply: &str) {
        let mut bytes = vec![0; reply.len()];
        self.stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), reply);
    }

    /// What comes up to the end of a line.
    async fn rest_of_line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(self.stream.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap()
    }

    /// All that still comes until the other side closes.
    async fn rest(mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.unwrap();
        self.served.await.unwrap();
        text
    }
}

async fn run(body: impl AsyncFnOnce(Scene)) {
    LocalSet::new().run_until(async move { body(Scene::new()).await }).await;
}

#[tokio::test(flavor = "current_thread")]
async fn every_split_of_a_pipeline_gives_the_same_replies() {
    let pipeline = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb!\r\nGET k\r\n*1\r\n$4\r\nPING\r\nnosuch\r\n";
    let replies = "+OK\r\n$5\r\na\r\nb!\r\n+PONG\r\n-ERR unknown command 'nosuch', with args beginning with: \r\n";
    run(async |scene| {
        for split in 1..pipeline.len() {
            let mut client = scene.connect();
            client.send(&pipeline[..split]).await;
            tokio::task::yield_now().await;
            client.send(&pipeline[split..]).await;
            client.expect(replies).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_pipeline_is_answered_with_one_write() {
    run(async |scene| {
        let mut client = scene.connect();
        client.send(&b"PING\r\n".repeat(100)).await;
        client.expect(&"+PONG\r\n".repeat(100)).await;
        let totals = scene.node().tallies.totals();
        assert_eq!((totals.reads, totals.writes, totals.commands), (1, 1, 100));
        assert_eq!((totals.bytes_in, totals.bytes_out), (600, 700));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_waiting_connection_holds_no_buffer() {
    run(async |scene| {
        let mut clients: Vec<Client> = (0..10).map(|_| scene.connect()).collect();
        // All of them wait for their first request.
        tokio::task::yield_now().await;
        for client in &mut clients {
            client.send(b"PING\r\n").await;
            client.expect("+PONG\r\n").await;
            tokio::task::yield_now().await;
        }
        // One buffer each way was enough for all of them.
        assert_eq!(scene.worker.pooled(), (1, 1));
    })
    .await;
}

#[test]
fn a_connection_takes_little_memory() {
    let worker = Worker::new(Arc::new(node()));
    let (stream, _) = duplex(1);
    let stream_bytes = size_of_val(&stream);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let task = size_of_val(&serve_connection(worker, stream, address, address)) - stream_bytes;
    assert!(task + size_of::<Presence>() <= 1536, "{task} and {}", size_of::<Presence>());
}

#[tokio::test(flavor = "current_thread")]
async fn large_values_arrive_whole_and_their_memory_goes() {
    run(async |scene| {
        let value = vec![b'v'; 3 << 20];
        let mut client = scene.connect();
        let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len());
        client.send(header.as_bytes()).await;
        client.send(&value).await;
        client.send(b"\r\nGET k\r\n").await;
        client.expect(&format!("+OK\r\n${}\r\n", value.len())).await;
        let mut returned = vec![0; value.len() + 2];
        client.stream.read_exact(&mut returned).await.unwrap();
        assert!(returned.starts_with(&value));
        client.send(b"PING\r\n").await;
        client.expect("+PONG\r\n").await;
        let (_, replies) = scene.worker.pooled();
        assert!(replies <= 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn replies_leave_before_all_of_a_pipeline_is_executed() {
    run(async |scene| {
        // Far less room than the replies need: the connection must wait, and goes on as the client reads.
        let mut client = scene.connect_with_room(1000);
        let value = "v".repeat(10_000);
        let set = format!("SET k {value}\r\n");
        client.send(set.as_bytes()).await;
        client.expect("+OK\r\n").await;
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let sent = spawn_local(async move { writer.write_all(&b"GET k\r\n".repeat(100)).await });
        let reply = format!("$10000\r\n{value}\r\n");
        for _ in 0..100 {
            let mut bytes = vec![0; reply.len()];
            reader.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, reply.as_bytes());
        }
        sent.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_broken_protocol_is_answered_and_closed() {
    run(async |scene| {
        let mut client = scene.connect();
        client.send(b"PING\r\n*1\r\n+PING\r\nPING\r\n").await;
        let expected = "+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n";
        assert_eq!(client.rest().await, expected);
        assert_eq!(scene.node().tallies.totals().protocol_errors, 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn quit_is_answered_and_what_follows_is_not() {
    run(async |scene| {
        let mut client = scene.connect();
        client.send(b"SET k 1\r\nQUIT\r\nSET k 2\r\n").await;
        assert_eq!(client.rest().await, "+OK\r\n+OK\r\n");
        let mut other = scene.connect();
        other.send(b"GET k\r\n").await;
        other.expect("$1\r\n1\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_idle_client_can_be_ended_by_another() {
    run(async |scene| {
        let (mut idle, mut killer) = (scene.connect(), scene.connect());
        idle.send(b"CLIENT ID\r\n").await;
        idle.expect(":1\r\n").await;
        killer.send(b"CLIENT KILL ID 1\r\n").await;
        killer.expect(":1\r\n").await;
        assert_eq!(idle.rest().await, "");
        assert_eq!(scene.node().clients.count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_does_not_read_can_be_ended() {
    run(async |scene| {
        let mut stuck = scene.connect_with_room(100);
        stuck.send(b"COMMAND\r\n").await;
        let mut killer = scene.connect();
        killer.send(b"PING\r\n").await;
        killer.expect("+PONG\r\n").await;
        killer.send(b"CLIENT KILL ID 1\r\n").await;
        killer.expect(":1\r\n").await;
        stuck.served.await.unwrap();
        assert_eq!(scene.node().clients.count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn more_clients_than_allowed_are_refused() {
    run(async |scene| {
        scene.node().config.set(&[("maxclients", "1")]).unwrap();
        let mut first = scene.connect();
        first.send(b"PING\r\n").await;
        first.expect("+PONG\r\n").await;
        assert_eq!(scene.connect().rest().await, "-ERR max number of clients reached\r\n");
        drop(first.stream);
        first.served.await.unwrap();
        let mut next = scene.connect();
        next.send(b"PING\r\n").await;
        next.expect("+PONG\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_cannot_send_much() {
    run(async |scene| {
        scene.node().config.set(&[("requirepass", "secret")]).unwrap();
        let mut client = scene.connect();
        client.send(b"*11\r\n").await;
        assert_eq!(client.rest().await, "-ERR Protocol error: unauthenticated multibulk length\r\n");
        let mut client = scene.connect();
        client.send(b"AUTH secret\r\n*2\r\n$4\r\nECHO\r\n$20000\r\n").await;
        client.send(&[b'x'; 20_000]).await;
        client.send(b"\r\n").await;
        client.expect(&format!("+OK\r\n$20000\r\n{}\r\n", "x".repeat(20_000))).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_beyond_the_query_buffer_closes() {
    run(async |scene| {
        scene.node().config.set(&[("client-query-buffer-limit", "1mb")]).unwrap();
        let mut client = scene.connect();
        client.send(b"*2\r\n$4\r\nECHO\r\n$3000000\r\n").await;
        // The other side may close before it has read all of this.
        let _ = client.stream.write_all(&[b'x'; 1 << 20]).await;
        assert_eq!(client.rest().await, "");
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_paused_command_waits_until_somebody_ends_the_pause() {
    run(async |scene| {
        scene.node().condition.pause(crate::condition::Paused::Writes, u64::MAX);
        let mut client = scene.connect();
        client.send(b"PING\r\nSET k 1\r\nGET k\r\n").await;
        client.expect("+PONG\r\n").await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        scene.node().condition.end_pause();
        client.expect("+OK\r\n$1\r\n1\r\n").await;
    })
    .await;
}

/// Replies of `bytes` to a client that reads none of them.
async fn unread_reply(scene: &Scene, bytes: usize) -> Client {
    let mut writer = scene.connect();
    writer.send(format!("SETRANGE large {} x\r\n", bytes - 1).as_bytes()).await;
    writer.expect(&format!(":{bytes}\r\n")).await;
    let mut client = scene.connect_with_room(1000);
    client.send(b"GET large\r\n").await;
    client
}

fn set_output_limit(scene: &Scene, value: &str) {
    scene.node().config.set(&[("client-output-buffer-limit", value)]).unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_reply_beyond_the_hard_limit_closes_and_is_not_kept() {
    run(async |scene| {
        set_output_limit(&scene, "normal 1mb 0 0");
        let client = unread_reply(&scene, 2 << 20).await;
        assert_eq!(client.rest().await, "");
        assert_eq!(scene.node().tallies.totals().output_limit_closed, 1);
        // What fits is served as before.
        let mut other = scene.connect();
        other.send(b"GETRANGE large 0 1\r\n").await;
        other.expect("$2\r\n\0\0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_client_that_stays_above_the_soft_limit_is_closed_after_its_time() {
    run(async |scene| {
        set_output_limit(&scene, "normal 0 100kb 5");
        let began = tokio::time::Instant::now();
        let client = unread_reply(&scene, 1 << 20).await;
        client.served.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(scene.node().tallies.totals().output_limit_closed, 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_client_that_gets_below_the_soft_limit_in_time_may_take_its_time() {
    run(async |scene| {
        set_output_limit(&scene, "normal 0 100kb 5");
        let mut client = unread_reply(&scene, 1 << 20).await;
        let mut bytes = vec![0; 1 << 20];
        let enough = bytes.len() - 50_000;
        client.stream.read_exact(&mut bytes[..enough]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let waiting = scene.node().clients.all().iter().map(|presence| presence.unread_bytes()).max();
        assert!(waiting.is_some_and(|bytes| (1..=100_000).contains(&bytes)), "{waiting:?}");
        client.stream.read_exact(&mut bytes[enough..]).await.unwrap();
        assert_eq!(scene.node().tallies.totals().output_limit_closed, 0);
    })
    .await;
}
