//! Clients that wait for a key: who is served by what, in which order, and what ends the waiting.

use super::{Client, Scene, run};
use crate::testing::STARTED_AT;
use crdt::NodeNumber;
use keyspace::{Database, Drain, End, Keyspace};
use tokio::task::yield_now;

impl Client {
    /// Sends a request of which no answer comes now, and lets it be executed.
    async fn begin(&mut self, request: &str, scene: &Scene, waiting: usize) {
        self.send(format!("{request}\r\n").as_bytes()).await;
        until(|| scene.node().blocking.count() == waiting).await;
    }

    async fn ask(&mut self, request: &str, reply: &str) {
        self.send(format!("{request}\r\n").as_bytes()).await;
        self.expect(reply).await;
    }
}

/// Lets the other tasks of this thread go on until something is true.
pub(super) async fn until(is_true: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is_true() {
            return;
        }
        yield_now().await;
    }
    panic!("it did not come true");
}

/// The answer of `BLPOP` and its like.
fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{element}\r\n", key.len(), element.len())
}

#[tokio::test(flavor = "current_thread")]
async fn who_began_to_wait_first_is_served_first() {
    run(async |scene| {
        let [mut one, mut two, mut three, mut pusher] = [(); 4].map(|()| scene.connect());
        one.begin("BLPOP other q 0", &scene, 1).await;
        two.begin("BRPOP q 0", &scene, 2).await;
        three.begin("BLMPOP 0 1 q LEFT COUNT 5", &scene, 3).await;
        pusher.ask("RPUSH q a b c d", ":4\r\n").await;
        one.expect(&popped("q", "a")).await;
        two.expect(&popped("q", "d")).await;
        three.expect("*2\r\n$1\r\nq\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n").await;
        pusher.ask("EXISTS q", ":0\r\n").await;
        until(|| scene.node().blocking.count() == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_pusher_finds_nothing_of_what_others_waited_for() {
    run(async |scene| {
        let [mut waiter, mut pusher] = [(); 2].map(|()| scene.connect());
        waiter.begin("BLPOP q 0", &scene, 1).await;
        // In one pipeline: the waiting client comes before the next command.
        pusher.ask("RPUSH q a\r\nLPOP q\r\nLLEN q", ":1\r\n$-1\r\n:0\r\n").await;
        waiter.expect(&popped("q", "a")).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_comes_behind_a_waiting_command_is_executed_after_it() {
    run(async |scene| {
        let [mut waiter, mut pusher] = [(); 2].map(|()| scene.connect());
        waiter.begin("PING\r\nBLPOP q 0\r\nPING\r\nECHO x", &scene, 1).await;
        waiter.expect("+PONG\r\n").await;
        waiter.send(b"ECHO y\r\n").await;
        pusher.ask("LPUSH q a", ":1\r\n").await;
        waiter.expect(&format!("{}+PONG\r\n$1\r\nx\r\n$1\r\ny\r\n", popped("q", "a"))).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_transaction_serves_whoever_waits_when_it_is_over_and_never_waits_itself() {
    run(async |scene| {
        let [mut waiter, mut other] = [(); 2].map(|()| scene.connect());
        waiter.begin("BLPOP q 0", &scene, 1).await;
        other.ask("MULTI\r\nRPUSH q a\r\nDEL q\r\nEXEC", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n").await;
        assert_eq!(scene.node().blocking.count(), 1);
        other
            .ask("MULTI\r\nRPUSH q a b\r\nLPOP q\r\nEXEC", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:2\r\n$1\r\na\r\n")
            .await;
        waiter.expect(&popped("q", "b")).await;
        let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n";
        other
            .ask("MULTI\r\nBLPOP q 0\r\nBLMOVE q r LEFT LEFT 0\r\nEXEC", &format!("{queued}*2\r\n*-1\r\n$-1\r\n"))
            .await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn whatever_puts_a_list_there_serves_whoever_waits_for_it() {
    run(async |scene| {
        let [mut waiter, mut other] = [(); 2].map(|()| scene.connect());
        for command in ["RENAME full q", "COPY full q", "LMOVE full q LEFT LEFT", "MOVE q 0"] {
            waiter.begin("BLPOP q 0", &scene, 1).await;
            let select = if command.starts_with("MOVE") { "SELECT 1\r\nRPUSH q a" } else { "SELECT 0\r\nRPUSH full a" };
            other.ask(&format!("FLUSHALL\r\n{select}"), "+OK\r\n+OK\r\n:1\r\n").await;
            other.send(format!("{command}\r\n").as_bytes()).await;
            waiter.expect(&popped("q", "a")).await;
            other.ask("CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON", answer_of(command)).await;
        }
        // Another kind of value serves nobody, and what is there afterwards does.
        waiter.begin("BLPOP q 0", &scene, 1).await;
        other.ask("SELECT 0\r\nSET q x\r\nDEL q\r\nSADD q x\r\nDEL q", "+OK\r\n+OK\r\n:1\r\n:1\r\n:1\r\n").await;
        assert_eq!(scene.node().blocking.count(), 1);
        other.ask("RPUSH q a", ":1\r\n").await;
        waiter.expect(&popped("q", "a")).await;
    })
    .await;
}

/// What a command answers, and `CLIENT REPLY ON` behind it.
fn answer_of(command: &str) -> &'static str {
    match command.split(' ').next() {
        Some("RENAME") => "+OK\r\n+OK\r\n",
        Some("LMOVE") => "$1\r\na\r\n+OK\r\n",
        _ => ":1\r\n+OK\r\n",
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_move_that_was_waited_for_serves_whoever_waits_for_its_target() {
    run(async |scene| {
        let [mut mover, mut popper, mut pusher] = [(); 3].map(|()| scene.connect());
        mover.begin("BLMOVE a b LEFT RIGHT 0", &scene, 1).await;
        popper.begin("BLPOP b 0", &scene, 2).await;
        pusher.ask("RPUSH a x", ":1\r\n").await;
        mover.expect("$1\r\nx\r\n").await;
        popper.expect(&popped("b", "x")).await;
        // A target of another type is the mover's error, and the element stays.
        pusher.ask("SET b text", "+OK\r\n").await;
        mover.begin("BRPOPLPUSH a b 0", &scene, 1).await;
        pusher.ask("RPUSH a x", ":1\r\n").await;
        mover.expect("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n").await;
        pusher.ask("LLEN a", ":1\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_write_of_another_region_serves_whoever_waits() {
    run(async |scene| {
        let [mut one, mut two] = [(); 2].map(|()| scene.connect());
        one.begin("BLPOP q 0", &scene, 1).await;
        two.begin("BLPOP q 0", &scene, 2).await;
        let elsewhere = Keyspace::new(2);
        let number = NodeNumber::new(7).unwrap();
        elsewhere.set_number(number);
        let (mut writer, mut drain) = (elsewhere.writer(), Drain::default());
        {
            let mut access = writer.access(STARTED_AT, &[b"q"]);
            access.begin_command();
            access.push(Database(0), b"q", End::Tail, [&b"a"[..], b"b"]).unwrap();
        }
        for batch in drain.take(&elsewhere) {
            let keyspace = &scene.node().keyspace;
            keyspace.apply(number, batch.previous, batch.last, &batch.payload, STARTED_AT).unwrap();
        }
        one.expect(&popped("q", "a")).await;
        two.expect(&popped("q", "b")).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn waiting_ends_by_time_by_order_and_with_the_connection() {
    run(async |scene| {
        let [mut waiter, mut other] = [(); 2].map(|()| scene.connect());
        waiter.ask("CLIENT ID", ":1\r\n").await;
        waiter.ask("BLPOP q 0.01", "*-1\r\n").await;
        waiter.ask("BLMOVE q r LEFT LEFT 0.01", "*-1\r\n").await;
        waiter.begin("BLPOP q 0", &scene, 1).await;
        other.ask("CLIENT UNBLOCK 1", ":1\r\n").await;
        waiter.expect("*-1\r\n").await;
        other.ask("CLIENT UNBLOCK 1", ":0\r\n").await;
        waiter.begin("BLPOP q 0", &scene, 1).await;
        other.ask("CLIENT UNBLOCK 1 ERROR", ":1\r\n").await;
        waiter.expect("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n").await;
        // Ended by somebody, and by the client itself: what is pushed then stays.
        waiter.begin("BLPOP q 0", &scene, 1).await;
        other.ask("CLIENT KILL ID 1", ":1\r\n").await;
        assert_eq!(waiter.rest().await, "");
        let mut waiter = scene.connect();
        waiter.begin("BLPOP q 0", &scene, 1).await;
        drop(waiter);
        until(|| scene.node().blocking.count() == 0).await;
        other.ask("RPUSH q a\r\nLLEN q", ":1\r\n:1\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn nobody_is_served_while_writes_are_paused() {
    run(async |scene| {
        let [mut waiter, mut late, mut other] = [(); 3].map(|()| scene.connect());
        waiter.begin("BLPOP q 0", &scene, 1).await;
        other
            .ask(
                "MULTI\r\nRPUSH q a\r\nCLIENT PAUSE 100000 WRITE\r\nEXEC",
                "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n+OK\r\n",
            )
            .await;
        other.ask("LLEN q", ":1\r\n").await;
        other.ask("CLIENT UNPAUSE", "+OK\r\n").await;
        // Whoever comes now finds the first one served already.
        late.ask("LPOP q", "$-1\r\n").await;
        waiter.expect(&popped("q", "a")).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn those_who_wait_are_counted_and_shown_and_keep_nothing_afterwards() {
    run(async |scene| {
        let [mut waiter, mut other] = [(); 2].map(|()| scene.connect());
        waiter.begin("BLPOP q r s q 0", &scene, 1).await;
        other.send(b"CLIENT LIST ID 1\r\nINFO clients\r\nCLIENT UNBLOCK 1\r\n").await;
        waiter.expect("*-1\r\n").await;
        other.send(b"QUIT\r\n").await;
        let text = other.rest().await;
        assert!(text.contains(" flags=b ") && text.contains("cmd=blpop"), "{text}");
        assert!(text.contains("\r\nblocked_clients:1\r\n"), "{text}");
        until(|| scene.node().blocking.count() == 0).await;
        assert!(!scene.node().blocking.is_ready());
        let debug = format!("{:?}", scene.node().blocking);
        assert!(
            debug.contains("queues: {}") && debug.contains("by_client: {}") && debug.contains("bytes: 0"),
            "{debug}"
        );
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn members_of_sorted_sets_are_waited_for_too() {
    run(async |scene| {
        let [mut one, mut two, mut three, mut four, mut pusher] = [(); 5].map(|()| scene.connect());
        one.begin("BZPOPMIN z 0", &scene, 1).await;
        two.begin("BZPOPMAX other z 0", &scene, 2).await;
        three.begin("BZMPOP 0 1 z MIN COUNT 2", &scene, 3).await;
        // A list is not what they wait for.
        pusher.ask("RPUSH other a", ":1\r\n").await;
        pusher.ask("ZADD z 1 a 2 b 3 c 4 d", ":4\r\n").await;
        one.expect("*3\r\n$1\r\nz\r\n$1\r\na\r\n$1\r\n1\r\n").await;
        two.expect("*3\r\n$1\r\nz\r\n$1\r\nd\r\n$1\r\n4\r\n").await;
        three.expect("*2\r\n$1\r\nz\r\n*2\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n").await;
        pusher.ask("EXISTS z", ":0\r\n").await;
        for (write, answer, score) in
            [("ZINCRBY z 2.5 m", "$3\r\n2.5\r\n", "2.5"), ("GEOADD z 0 0 m", ":1\r\n", "3377699720527872")]
        {
            four.begin("BZPOPMIN z 0", &scene, 1).await;
            pusher.ask(write, answer).await;
            four.expect(&format!("*3\r\n$1\r\nz\r\n$1\r\nm\r\n${}\r\n{score}\r\n", score.len())).await;
        }
        until(|| scene.node().blocking.count() == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_ends_while_earlier_replies_are_written_waits_no_longer() {
    run(async |scene| {
        let mut other = scene.connect();
        other.ask("SETRANGE large 9999 x", ":10000\r\n").await;
        for ends_by in ["its own", "somebody"] {
            // Far less room than the reply needs.
            let mut waiter = scene.connect_with_room(1000);
            waiter.begin("CLIENT ID\r\nGET large\r\nBLPOP q 0", &scene, 1).await;
            if ends_by == "somebody" {
                other.ask("CLIENT KILL ID 3", ":1\r\n").await;
            } else {
                drop(waiter);
            }
            until(|| scene.node().blocking.count() == 0).await;
            other.ask("RPUSH q a\r\nLPOP q", ":1\r\n$1\r\na\r\n").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_has_sent_much_behind_a_waiting_command_is_known_to_be_gone() {
    run(async |scene| {
        let much = "PING\r\n".repeat(100_000);
        let mut waiter = scene.connect();
        waiter.begin(&format!("BLPOP q 0\r\n{much}"), &scene, 1).await;
        drop(waiter);
        until(|| scene.node().blocking.count() == 0).await;
        // All of it is executed behind the command, and more than may be kept ends the connection.
        scene.node().config.set(&[("client-query-buffer-limit", "1mb")]).unwrap();
        let [mut waiter, mut pusher] = [(); 2].map(|()| scene.connect());
        waiter.begin(&format!("BLPOP q 0\r\n{much}"), &scene, 1).await;
        pusher.ask("RPUSH q a", ":1\r\n").await;
        waiter.expect(&popped("q", "a")).await;
        waiter.expect(&"+PONG\r\n".repeat(100_000)).await;
        waiter.begin("\r\nBLPOP q 0", &scene, 1).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut waiter.stream, &[b'x'; 2 << 20]).await;
        until(|| scene.node().blocking.count() == 0).await;
    })
    .await;
}

/// The answer of `XREADGROUP` to one entry of the stream `s`.
fn delivered(id: &str) -> String {
    format!("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n${}\r\n{id}\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", id.len())
}

#[tokio::test(flavor = "current_thread")]
async fn entries_are_waited_for_by_consumers_and_each_is_given_to_one() {
    run(async |scene| {
        let [mut one, mut two, mut plain, mut other] = [(); 4].map(|()| scene.connect());
        other.ask("XGROUP CREATE s g 0 MKSTREAM", "+OK\r\n").await;
        one.begin("XREADGROUP GROUP g ann BLOCK 0 STREAMS s >", &scene, 1).await;
        plain.begin("XREAD BLOCK 0 STREAMS s 0", &scene, 2).await;
        two.begin("XREADGROUP GROUP g bob COUNT 1 BLOCK 0 STREAMS s >", &scene, 3).await;
        other.ask("XADD s 5-1 f v", "$3\r\n5-1\r\n").await;
        one.expect(&delivered("5-1")).await;
        plain.expect(&delivered("5-1")).await;
        other.ask("XADD s 6-1 f v", "$3\r\n6-1\r\n").await;
        two.expect(&delivered("6-1")).await;
        other.ask("XPENDING s g", "*4\r\n:2\r\n$3\r\n5-1\r\n$3\r\n6-1\r\n*2\r\n*2\r\n$3\r\nann\r\n$1\r\n1\r\n*2\r\n$3\r\nbob\r\n$1\r\n1\r\n").await;
        // What is asked for again is not waited for.
        one.ask("XREADGROUP GROUP g ann BLOCK 0 STREAMS s 5-1", "*1\r\n*2\r\n$1\r\ns\r\n*0\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn whoever_reads_for_a_group_is_told_when_it_or_its_stream_goes() {
    run(async |scene| {
        let [mut list, mut one, mut plain, mut two, mut other] = [(); 5].map(|()| scene.connect());
        const GONE: &str = "-UNBLOCKED the stream key no longer exists\r\n";
        const NO_GROUP: &str = "-NOGROUP the consumer group this client was blocked on no longer exists\r\n";
        // Before each of them everything goes.
        for (command, reply, told) in [
            ("XGROUP DESTROY s g", ":1\r\n", NO_GROUP),
            ("DEL s", ":1\r\n", GONE),
            ("SET s x", "+OK\r\n", GONE),
            ("RENAME s t", "+OK\r\n", GONE),
            ("EXPIRE s -1", ":1\r\n", GONE),
            ("FLUSHALL", "+OK\r\n", GONE),
        ] {
            other.ask("FLUSHALL", "+OK\r\n").await;
            // Others who wait for the key go on waiting.
            list.begin("BLPOP s 0", &scene, 1).await;
            other.ask("XGROUP CREATE s g $ MKSTREAM", "+OK\r\n").await;
            plain.begin("XREAD BLOCK 0 STREAMS s $", &scene, 2).await;
            one.begin("XREADGROUP GROUP g ann BLOCK 0 STREAMS s >", &scene, 3).await;
            two.begin("XREADGROUP GROUP g bob BLOCK 0 STREAMS s >", &scene, 4).await;
            other.ask(command, reply).await;
            one.expect(told).await;
            two.expect(told).await;
            until(|| scene.node().blocking.count() == 2).await;
            other.ask("FLUSHALL\r\nXADD s 9-1 f v", "+OK\r\n$3\r\n9-1\r\n").await;
            plain.expect(&delivered("9-1")).await;
            other.ask("DEL s\r\nRPUSH s a", ":1\r\n:1\r\n").await;
            list.expect(&popped("s", "a")).await;
        }
    })
    .await;
}

/// The answer of `XREAD` on one stream with one entry of the field `f`.
fn read(key: &str, id: &str, value: &str) -> String {
    let entry = format!("*2\r\n${}\r\n{id}\r\n*2\r\n$1\r\nf\r\n${}\r\n{value}\r\n", id.len(), value.len());
    format!("*1\r\n*2\r\n${}\r\n{key}\r\n*1\r\n{entry}", key.len())
}

#[tokio::test(flavor = "current_thread")]
async fn all_who_read_a_stream_are_served_by_an_entry_that_is_new_to_them() {
    run(async |scene| {
        let [mut one, mut two, mut writer] = [(); 3].map(|()| scene.connect());
        writer.ask("XADD x 5-1 f a", "$3\r\n5-1\r\n").await;
        one.begin("XREAD BLOCK 0 STREAMS other x 0 $", &scene, 1).await;
        two.begin("XREAD BLOCK 0 STREAMS x 7-0", &scene, 2).await;
        writer.ask("XADD x 6-1 f b", "$3\r\n6-1\r\n").await;
        one.expect(&read("x", "6-1", "b")).await;
        // A removal is nothing to read.
        writer.ask("XDEL x 6-1", ":1\r\n").await;
        writer.ask("XADD x 8-1 f c", "$3\r\n8-1\r\n").await;
        two.expect(&read("x", "8-1", "c")).await;
        until(|| scene.node().blocking.count() == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_entry_of_another_region_serves_who_waits_for_it() {
    run(async |scene| {
        let mut reader = scene.connect();
        reader.begin("XREAD BLOCK 0 STREAMS x 0", &scene, 1).await;
        let (elsewhere, origin) = (Keyspace::new(9), NodeNumber::new(9).unwrap());
        elsewhere.set_number(origin);
        {
            let mut writer = elsewhere.writer();
            let mut access = writer.access(STARTED_AT, &[b"x"]);
            access.begin_command();
            let id = keyspace::IdRequest::Given(crdt::StreamId::new(5, 9));
            access.append_entry(Database(0), b"x", id, &[b"f", b"v"]).unwrap().unwrap();
        }
        for batch in Drain::default().take(&elsewhere) {
            let keyspace = &scene.node().keyspace;
            keyspace.apply(origin, batch.previous, batch.last, &batch.payload, STARTED_AT).unwrap();
        }
        reader.expect(&read("x", "5-9", "v")).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_is_to_end_answers_first_what_has_come_and_what_it_waits_for() {
    run(async |scene| {
        let mut waiter = scene.connect();
        waiter.begin("BLPOP q 0", &scene, 1).await;
        scene.node().clients.all()[0].retire();
        yield_now().await;
        let mut other = scene.connect();
        other.ask("RPUSH q a", ":1\r\n").await;
        assert_eq!(waiter.rest().await, popped("q", "a"));
        other.send(b"PING\r\n").await;
        scene.node().clients.all()[0].retire();
        assert_eq!(other.rest().await, "+PONG\r\n");
    })
    .await;
}

/// What the node counts as the memory of the largest of its clients.
fn largest(scene: &Scene) -> u64 {
    scene.node().clients.all().iter().map(|presence| presence.memory_bytes()).max().unwrap_or(0)
}

#[tokio::test(flavor = "current_thread")]
async fn what_comes_behind_a_waiting_command_counts_as_memory_and_may_end_its_client() {
    run(async |scene| {
        let [mut waiter, mut small] = [(); 2].map(|()| scene.connect());
        small.ask("PING", "+PONG\r\n").await;
        waiter.begin("BLPOP q 0", &scene, 1).await;
        assert!(largest(&scene) < 10_000);
        waiter.send(&b"PING\r\n".repeat(50_000)).await;
        until(|| largest(&scene) > 300_000).await;
        scene.node().clients.end_largest(100_000);
        until(|| scene.node().clients.count() == 1).await;
        assert_eq!((scene.node().clients.evicted(), scene.node().blocking.count()), (1, 0));
        small.ask("PING", "+PONG\r\n").await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_keys_that_are_waited_for_or_watched_count_as_memory() {
    run(async |scene| {
        let [mut waiter, mut watcher] = [(); 2].map(|()| scene.connect());
        let key = "k".repeat(20_000);
        waiter.begin(&format!("BLPOP {key} 0"), &scene, 1).await;
        assert!(largest(&scene) > 20_000);
        watcher.ask(&format!("WATCH {key} other{key}"), "+OK\r\n").await;
        until(|| largest(&scene) > 40_000).await;
        watcher.ask(&format!("UNWATCH\r\nRPUSH {key} a"), "+OK\r\n:1\r\n").await;
        waiter.expect(&popped(&key, "a")).await;
        waiter.ask("PING", "+PONG\r\n").await;
        until(|| largest(&scene) < 10_000).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_transaction_has_queued_counts_as_memory_and_is_told() {
    run(async |scene| {
        let [mut client, mut other] = [(); 2].map(|()| scene.connect());
        client.ask(&format!("MULTI\r\nSET k {}", "v".repeat(50_000)), "+OK\r\n+QUEUED\r\n").await;
        until(|| largest(&scene) > 50_000).await;
        // Also while the rest of what came with it is held back.
        scene.node().condition.pause(crate::condition::Paused::Writes, u64::MAX);
        other.send(format!("MULTI\r\nGET {}\r\nSET k 1\r\n", "k".repeat(60_000)).as_bytes()).await;
        until(|| largest(&scene) > 60_000).await;
        scene.node().condition.end_pause();
        other.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n").await;
        other.ask("DISCARD", "+OK\r\n").await;
        other.send(b"CLIENT LIST ID 1\r\n").await;
        other.rest_of_line().await;
        let line = other.rest_of_line().await;
        let field = |name: &str| {
            let value = line.split(' ').find_map(|field| field.strip_prefix(name)).unwrap();
            value.parse::<u64>().unwrap()
        };
        assert!(field("multi-mem=") > 50_000 && field("tot-mem=") > field("multi-mem="), "{line}");
        client.ask("DISCARD", "+OK\r\n").await;
        until(|| largest(&scene) < 10_000).await;
    })
    .await;
}
