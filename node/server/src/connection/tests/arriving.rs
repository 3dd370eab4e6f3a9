//! Clients that wait for other regions, for what comes from them, and for the disk.

use super::waiting::until;
use super::{Client, Scene, run};
use crate::arrivals::{Here, Token};
use crdt::{NodeNumber, Stamp, VersionVector};
use protocol::ClusterId;

const CLUSTER: ClusterId = ClusterId([3; 16]);
const EVERYTHING_CLOSED: Stamp = Stamp::MAX;

impl Scene {
    /// A node of another region has applied all that is written here.
    fn apply_elsewhere(&self, region: &str) {
        let keyspace = &self.node().keyspace;
        let clock = keyspace.clock();
        self.node().arrivals.note_applied(region, &[(clock.author(), clock)].into_iter().collect());
        self.serve_arrivals(&keyspace.applied());
    }

    fn serve_arrivals(&self, applied: &VersionVector) {
        let here = Here { applied, closed_up_to: EVERYTHING_CLOSED };
        self.node().arrivals.serve(&here, || applied.clone());
    }

    async fn wait_begins(&self, client: &mut Client, request: &str) {
        let before = self.node().arrivals.count();
        client.send(format!("{request}\r\n").as_bytes()).await;
        until(|| self.node().arrivals.count() == before + 1).await;
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn wait_answers_how_many_other_regions_have_what_the_client_wrote() {
    run(async |scene| {
        let mut client = scene.connect();
        client.send(b"WAIT 0 0\r\nWAIT 1 100\r\n").await;
        client.expect(":0\r\n:0\r\n").await;
        scene.wait_begins(&mut client, "SET k v\r\nWAIT 1 0").await;
        client.expect("+OK\r\n").await;
        scene.apply_elsewhere("eu");
        client.expect(":1\r\n").await;
        client.send(b"WAIT 1 0\r\nWAIT 2 100\r\nWAIT -5 0\r\n").await;
        client.expect(":1\r\n:1\r\n:1\r\n").await;
        // What another client writes is not waited for, but what this one writes in the same pipeline is.
        let mut other = scene.connect();
        other.send(b"SET k w\r\n").await;
        other.expect("+OK\r\n").await;
        client.send(b"WAIT 1 0\r\nSET k x\r\nWAIT 1 100\r\n").await;
        client.expect(":1\r\n+OK\r\n:0\r\n").await;
        until(|| scene.node().arrivals.count() == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn wait_in_a_transaction_does_not_wait() {
    run(async |scene| {
        let mut client = scene.connect();
        client.send(b"SET k v\r\n").await;
        client.expect("+OK\r\n").await;
        scene.apply_elsewhere("eu");
        client.send(b"MULTI\r\nWAIT 9 0\r\nWAITAOF 0 0 0\r\nEXEC\r\n").await;
        client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n*2\r\n:0\r\n:0\r\n").await;
        client.send(b"SET k w\r\nMULTI\r\nWAIT 9 0\r\nEXEC\r\n").await;
        client.expect("+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn who_waits_for_regions_can_be_unblocked_and_is_marked_as_blocked() {
    run(async |scene| {
        let [mut waiter, mut other] = [(); 2].map(|()| scene.connect());
        waiter.send(b"CLIENT ID\r\n").await;
        waiter.expect(":1\r\n").await;
        for (request, unblock, answer) in [
            ("WAIT 1 0", "CLIENT UNBLOCK 1", ":0\r\n"),
            ("WAIT 1 0", "CLIENT UNBLOCK 1 ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ] {
            scene.wait_begins(&mut waiter, request).await;
            let all = scene.node().clients.all();
            assert!(all[0].look().marks.contains(crate::clients::Marks::BLOCKED));
            other.send(format!("{unblock}\r\n").as_bytes()).await;
            other.expect(":1\r\n").await;
            waiter.expect(answer).await;
        }
        other.send(b"CLIENT UNBLOCK 1\r\n").await;
        other.expect(":0\r\n").await;
        assert!(!scene.node().clients.all()[0].look().marks.contains(crate::clients::Marks::BLOCKED));
        // Who hangs up waits no longer.
        scene.wait_begins(&mut waiter, "WAIT 1 0").await;
        drop(waiter);
        until(|| scene.node().arrivals.count() == 0 && scene.node().clients.count() == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_token_is_awaited_until_all_it_names_is_here() {
    run(async |scene| {
        scene.node().arrivals.begin(CLUSTER, || {});
        let author = NodeNumber::new(5).unwrap();
        let (early, late) = (Stamp::at(1_700_000_000_000, author), Stamp::at(1_700_000_000_001, author));
        let vector = |stamp| [(author, stamp)].into_iter().collect::<VersionVector>();
        let token = |cluster| Token { cluster, seen: vector(late) }.encode();
        let [mut one, mut two] = [(); 2].map(|()| scene.connect());
        scene.wait_begins(&mut one, &format!("PELAGO AWAIT {} 0", token(CLUSTER))).await;
        scene.serve_arrivals(&vector(early));
        two.send(format!("PELAGO AWAIT {} 100\r\n", token(CLUSTER)).as_bytes()).await;
        two.expect(":0\r\n").await;
        scene.serve_arrivals(&vector(late));
        one.expect(":1\r\n").await;
        let refused = format!(
            "PELAGO AWAIT {} 0\r\nPELAGO AWAIT x 0\r\nPELAGO AWAIT {} -1\r\n",
            token(ClusterId([9; 16])),
            token(CLUSTER)
        );
        two.send(refused.as_bytes()).await;
        two.expect("-ERR the token was made by another cluster\r\n").await;
        two.expect("-ERR the token is damaged: hand on exactly what PELAGO TOKEN answered\r\n").await;
        two.expect("-ERR timeout is negative\r\n").await;
        scene.wait_begins(&mut two, "PELAGO TOKEN").await;
        scene.serve_arrivals(&vector(late));
        let text = token(CLUSTER);
        two.expect(&format!("${}\r\n{text}\r\n", text.len())).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_node_without_peers_has_no_tokens() {
    run(async |scene| {
        let mut client = scene.connect();
        client.send(b"PELAGO TOKEN\r\nPELAGO AWAIT x 0\r\n").await;
        client.expect("-ERR this node runs without peers\r\n-ERR this node runs without peers\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn waitaof_is_refused_as_redis_refuses_it_and_answers_at_once_what_is_not_awaited() {
    run(async |scene| {
        let mut client = scene.connect();
        for (request, answer) in [
            ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1\r\n"),
            ("WAITAOF 0 -1 0", "-ERR value is out of range, must be positive\r\n"),
            ("WAITAOF 0 0 -1", "-ERR timeout is negative\r\n"),
            ("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"),
            ("WAITAOF 0 0 0", "*2\r\n:0\r\n:0\r\n"),
        ] {
            client.send(format!("{request}\r\n").as_bytes()).await;
            client.expect(answer).await;
        }
    })
    .await;
}
