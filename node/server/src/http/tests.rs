//! What probes and scrapers can rely on.

use super::*;
use crate::info::ClusterStatus;
use crate::testing::node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn get(node: &Node, target: &str) -> (u16, String) {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let answer = answer(node, &Method::GET, path, query);
    (answer.status.as_u16(), answer.text)
}

/// Sends raw bytes and reads until the node hangs up.
async fn exchange(node: Arc<Node>, request: &[u8]) -> String {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let served = serve_connection(far, node);
    let asked = async {
        // The node may hang up before it has read everything.
        let _ = near.write_all(request).await;
        let mut answer = Vec::new();
        let _ = near.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let ((), answer) = tokio::join!(served, asked);
    answer
}

#[tokio::test]
async fn a_request_is_answered_with_its_length_and_type() {
    let node = Arc::new(node());
    let answer = exchange(node, b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("content-length: 6\r\n") && answer.ends_with("\r\n\r\nalive\n"), "{answer}");
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_other_methods_are_refused() {
    let node = Arc::new(node());
    let answer = exchange(Arc::clone(&node), b"HEAD /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer =
        exchange(node, b"POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn hostile_requests_end_their_connection_and_nothing_else() {
    let node = Arc::new(node());
    let long = [b"GET /".as_slice(), &[b'a'; 40_000], b" HTTP/1.1\r\n\r\n"].concat();
    let headers = [b"GET / HTTP/1.1\r\n".as_slice(), "a: b\r\n".repeat(500).as_bytes(), b"\r\n"].concat();
    for request in
        [b"\0\0\0\0\r\n\r\n".as_slice(), &long, &headers, b"GET / HTTP/9.9\r\n\r\n", b"*1\r\n$4\r\nPING\r\n\r\n"]
    {
        let answer = exchange(Arc::clone(&node), request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // Never finished: the clock of the test runs ahead until the time is over.
    exchange(Arc::clone(&node), b"GET / HTTP/1.1\r\nhost:").await;
    assert_eq!(get(&node, "/livez").0, 200);
}

#[test]
fn a_node_is_ready_when_it_serves() {
    let node = node();
    assert_eq!(get(&node, "/readyz"), (200, "ready\n".to_owned()));
    node.condition.set_loading(true);
    assert_eq!(get(&node, "/readyz"), (503, "not ready: filling from other regions\n".to_owned()));
    node.console.set_cluster_view(|| ClusterStatus {
        filling: Some("filling from eu-west-1".to_owned()),
        ..ClusterStatus::default()
    });
    assert_eq!(get(&node, "/readyz"), (503, "not ready: filling from eu-west-1\n".to_owned()));
    assert_eq!(get(&node, "/livez").0, 200);
    node.condition.set_loading(false);
    assert_eq!(get(&node, "/readyz").0, 200);
    node.console.request_stop(crate::console::Stop::Orderly);
    assert_eq!(get(&node, "/readyz"), (503, "not ready: stopping\n".to_owned()));
}

#[test]
fn readiness_can_ask_for_a_lag_and_a_lost_peer_does_not_count() {
    let node = node();
    let peer = |name: &str, up: i64, lag: i64| {
        let peer = node.console.metrics.replication.peer(name);
        peer.link_up.set(up);
        peer.applied_lag_ms.set(lag);
    };
    peer("eu-west-1", 1, 100);
    peer("ap-south-1", 0, 90_000);
    assert_eq!(get(&node, "/readyz?max_lag_ms=100").0, 200);
    assert_eq!(get(&node, "/readyz?max_lag_ms=99"), (503, "not ready: eu-west-1 is 100 ms behind\n".to_owned()));
    assert_eq!(get(&node, "/readyz?").0, 200);
    for wrong in ["max_lag_ms", "max_lag_ms=", "max_lag_ms=-1", "max_lag_ms=soon"] {
        assert_eq!(get(&node, &format!("/readyz?{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn readiness_is_not_told_to_whoever_asks_for_what_there_is_not() {
    let node = node();
    for wrong in ["other=1", "other", "max_lag=5", "max_lag_ms=5&other=1", "other=1&max_lag_ms=5"] {
        let (status, sentence) = get(&node, &format!("/readyz?{wrong}"));
        assert!(status == 400 && sentence.contains("max_lag_ms"), "{wrong}: {status} {sentence}");
    }
    let twice = get(&node, "/readyz?max_lag_ms=5&max_lag_ms=5");
    assert_eq!(twice, (400, "max_lag_ms is given twice; give it once\n".to_owned()));
}

#[test]
fn metrics_are_served_and_other_paths_are_not() {
    let node = node();
    let (status, text) = get(&node, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE pelago_commands_total counter\n"));
    assert_eq!(get(&node, "/nothing").0, 404);
    assert_eq!(get(&node, "/").0, 200);
}

#[tokio::test]
async fn there_are_never_more_connections_than_planned() {
    let node = Arc::new(node());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, Arc::clone(&node)));
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        open.push(stream);
    }
    let mut refused = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    let _ = refused.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    assert_eq!(node.console.metrics.console.http_connections_refused.value(), 1);
    server.abort();
}

#[test]
fn a_removed_node_is_not_ready_although_it_answers() {
    let node = node();
    assert_eq!(answer(&node, &Method::GET, "/readyz", None).status, StatusCode::OK);
    node.condition.set_removed();
    let refused = answer(&node, &Method::GET, "/readyz", None);
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.text, "not ready: removed from the cluster\n");
    assert_eq!(answer(&node, &Method::GET, "/livez", None).status, StatusCode::OK);
}
