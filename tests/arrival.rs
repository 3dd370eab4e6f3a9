//! Knowing what has arrived: `WAIT` for other regions, and tokens with which a user moves to another one.

use std::time::{Duration, Instant};
use tests::cluster::Cluster;
use tests::reply::Reply;

#[test]
fn a_user_who_moves_to_another_region_finds_there_what_it_has_seen() {
    let cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let [mut east, mut west, mut south] = [0, 1, 2].map(|node| cluster.nodes[node].client());
    for round in 0..50 {
        east.must(&format!("SET cart:7 {round}"));
        let token = east.must("PELAGO TOKEN").text().expect("a token is a text");
        assert!(token.len() < 100, "{token}");
        assert_eq!(west.line(&format!("PELAGO AWAIT {token} 0")), Reply::Integer(1));
        assert_eq!(west.line("GET cart:7").text(), Some(round.to_string()));
        // And on to the third, with what was only read here.
        let token = west.must("PELAGO TOKEN").text().expect("a token is a text");
        assert_eq!(south.line(&format!("PELAGO AWAIT {token} 0")), Reply::Integer(1));
        assert_eq!(south.line("GET cart:7").text(), Some(round.to_string()));
    }
    cluster.cut(1);
    east.must("SET cart:7 cut-off");
    let token = east.must("PELAGO TOKEN").text().expect("a token is a text");
    assert_eq!(west.line(&format!("PELAGO AWAIT {token} 50")), Reply::Integer(0));
    assert_eq!(east.line(&format!("PELAGO AWAIT {token} 0")), Reply::Integer(1));
    cluster.heal(1);
    assert_eq!(west.line(&format!("PELAGO AWAIT {token} 0")), Reply::Integer(1));
    assert_eq!(west.line("GET cart:7").text(), Some("cut-off".to_owned()));
}

#[test]
fn what_a_removed_region_wrote_is_not_awaited_for_ever() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["persistence=off"]);
    let mut lost = cluster.nodes[2].client();
    cluster.cut(2);
    lost.must("SET only-here v");
    let token = lost.must("PELAGO TOKEN").text().expect("a token is a text");
    cluster.nodes[2].kill();
    let mut west = cluster.nodes[1].client();
    assert_eq!(west.line(&format!("PELAGO AWAIT {token} 50")), Reply::Integer(0));
    let removed = cluster.nodes[0].pelago(&["region", "remove", "ap-south", "--force"]);
    assert!(removed.status.success(), "{}", tests::node::text(&removed.stderr));
    assert_eq!(west.line(&format!("PELAGO AWAIT {token} 0")), Reply::Integer(1));
    assert_eq!(west.line("EXISTS only-here"), Reply::Integer(0));
}

#[test]
fn a_token_of_another_cluster_or_a_damaged_one_is_refused() {
    let [one, other] = [(); 2].map(|()| Cluster::start(&["us-east"]));
    let mut client = other.nodes[0].client();
    let token = one.nodes[0].client().must("PELAGO TOKEN").text().expect("a token is a text");
    let refusal = |reply: Reply| format!("{reply}");
    let foreign = refusal(client.line(&format!("PELAGO AWAIT {token} 0")));
    assert!(foreign.contains("the token was made by another cluster"), "{foreign}");
    let damaged = refusal(client.line(&format!("PELAGO AWAIT {} 0", &token[1..])));
    assert!(damaged.contains("the token is damaged"), "{damaged}");
}

#[test]
fn wait_answers_how_many_regions_have_what_was_written_without_waiting_for_the_interval() {
    let cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["batch-interval-ms=1000"]);
    let mut client = cluster.nodes[0].client();
    let mut busy = cluster.nodes[0].client();
    let begin = Instant::now();
    for round in 0..ROUNDS {
        // Something has just been sent, so the next would have to wait.
        busy.must(&format!("SET other {round}"));
        client.must(&format!("SET k {round}"));
        assert_eq!(client.line("WAIT 2 60000"), Reply::Integer(2));
        assert_eq!(cluster.nodes[1].client().line("GET k").text(), Some(round.to_string()));
    }
    assert!(begin.elapsed() < Duration::from_secs(ROUNDS / 2), "{:?}", begin.elapsed());
    cluster.cut(2);
    client.must("SET k cut");
    assert_eq!(client.line("WAIT 2 200"), Reply::Integer(1));
    assert_eq!(client.line("WAIT 1 0"), Reply::Integer(1));
    cluster.heal(2);
    assert_eq!(client.line("WAIT 2 0"), Reply::Integer(2));
}

/// Each would take about a second if it waited for the interval.
const ROUNDS: u64 = 20;

#[test]
fn waitaof_answers_when_it_is_on_the_disk() {
    let cluster = Cluster::start_with(&["us-east"], &["appendfsync=everysec"]);
    let mut client = cluster.nodes[0].client();
    client.must("SET k v");
    let reply = client.line("WAITAOF 1 0 0");
    assert_eq!(reply.elements(), [Reply::Integer(1), Reply::Integer(0)]);
}
