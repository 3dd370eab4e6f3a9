//! The lanes of a link: room, back-pressure, priority, and what peers must not send.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use bytes::Bytes;
use common::*;
use quinn::rustls;
use std::sync::Arc;
use std::time::Duration;
use transport::*;

/// Sends pieces until the lane takes no more for a while; returns the bytes that were taken.
async fn fill(node: &mut Node, link: LinkId, lane: Lane) -> usize {
    let piece = Bytes::from(vec![3; 256 << 10]);
    let mut taken = 0;
    loop {
        match node.transport.send(link, lane, piece.clone()) {
            Ok(()) => taken += piece.len(),
            Err(SendError::Full) => {
                let room = node.wait(|event| matches!(event, TransportEvent::Room { .. }).then_some(()));
                if tokio::time::timeout(Duration::from_millis(500), room).await.is_err() {
                    return taken;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_consumer_that_does_not_take_bounds_what_is_sent_and_no_lane_blocks_another() {
    let ((mut a, to_b), (mut b, _)) = linked().await;
    let state = fill(&mut a, to_b, Lane::State).await;
    let most = limits::queue_bytes_max(Lane::State)
        + limits::received_bytes_max(Lane::State)
        + limits::LANE_WINDOW_BYTES as usize
        + (1 << 20);
    assert!(state <= most, "{state} bytes were taken, {most} fit");
    let batches = fill(&mut a, to_b, Lane::Batches).await;
    assert!(batches > limits::received_bytes_max(Lane::Batches));
    a.transport.send(to_b, Lane::Control, Bytes::from_static(b"urgent")).unwrap();

    // The consumer comes back: control before what waits at the sender, then everything, and the sender hears of room.
    let mut left = [6, batches, 0, state];
    while left.iter().sum::<usize>() > 0 {
        let (_, lane, bytes) = b.frame().await;
        left[lane as usize] -= bytes.len();
        if lane == Lane::Control {
            assert!(left[1] + left[3] > 1 << 20, "{left:?}");
        }
    }
    let mut lanes = Vec::new();
    while lanes.len() < 2 {
        lanes.push(
            a.wait(|event| match event {
                TransportEvent::Room { lane, .. } => Some(lane),
                _ => None,
            })
            .await,
        );
    }
    lanes.sort();
    assert_eq!(lanes, [Lane::Batches, Lane::State]);
    assert!(a.transport.has_room(to_b, Lane::State));
}

#[tokio::test]
async fn a_frame_longer_than_its_lane_allows_is_not_taken() {
    let ((a, to_b), _b) = linked().await;
    let long = Bytes::from(vec![0; Lane::Control.frame_bytes_max() + 1]);
    assert_eq!(a.transport.send(to_b, Lane::Control, long), Err(SendError::TooLong));
    let longest = Bytes::from(vec![0; Lane::Control.frame_bytes_max()]);
    assert_eq!(a.transport.send(to_b, Lane::Control, longest), Ok(()));
}

#[tokio::test]
async fn a_frame_longer_than_a_queue_passes() {
    let ((a, to_b), (mut b, _)) = linked().await;
    let long = Bytes::from(vec![5; 3 * limits::received_bytes_max(Lane::Batches)]);
    a.transport.send(to_b, Lane::Batches, long.clone()).unwrap();
    a.transport.send(to_b, Lane::Control, Bytes::from_static(b"meanwhile")).unwrap();
    assert_eq!(b.frame().await.1, Lane::Control);
    let (_, lane, bytes) = b.frame().await;
    assert_eq!((lane, bytes.len(), bytes == long), (Lane::Batches, long.len(), true));
}

/// A peer that speaks QUIC and TLS as it should, and then does as it likes.
async fn hostile(listener: &Node, mut credentials: NodeCredentials) -> (quinn::Endpoint, quinn::Connection) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for authority in credentials.authorities.drain(..) {
        roots.add(authority).unwrap();
    }
    let mut tls = rustls::ClientConfig::builder_with_details(provider, Arc::new(TestClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.chain, credentials.key)
        .unwrap();
    tls.alpn_protocols = vec![b"pelago/1".to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let target = listener.address.parse().unwrap();
    let connection = endpoint.connect_with(config, target, &server_name(CLUSTER)).unwrap().await.unwrap();
    (endpoint, connection)
}

#[derive(Debug)]
struct TestClock;

impl rustls::time_provider::TimeProvider for TestClock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64)))
    }
}

fn told(error: quinn::ConnectionError) -> String {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => String::from_utf8(close.reason.to_vec()).unwrap(),
        other => panic!("{other}"),
    }
}

/// TLS alone cannot find this: a client is not asked for a name.
#[tokio::test]
async fn a_dialer_of_another_cluster_is_refused_by_the_listener() {
    let (ours, theirs) = (authority(CLUSTER, 1), authority(OTHER_CLUSTER, 2));
    let (mut listener, mut dialer) = (credentials(&ours, 10), credentials(&theirs, 11));
    let both = [listener.authorities.clone(), dialer.authorities.clone()].concat();
    (listener.authorities, dialer.authorities) = (both.clone(), both);
    let mut listener = Node::of(&listener);
    let (_endpoint, connection) = hostile(&listener, dialer).await;
    let reason = told(connection.closed().await);
    assert_eq!(reason, "your certificate is not of cluster 07070707070707070707070707070707");
    assert!(listener.accept_failed().await.starts_with("the peer's certificate is not of cluster 0707"));
}

#[tokio::test]
async fn a_peer_that_does_not_greet_is_refused() {
    let [arbiter, follower] = two();
    let mut listener = Node::of(&arbiter);
    for words in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[1, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        &[1, 1],
    ] {
        let (_endpoint, connection) = hostile(&listener, follower.clone()).await;
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(words).await.unwrap();
        let reason = told(connection.closed().await);
        assert_eq!(reason, "the peer does not greet as a node of Pelago does");
        assert_eq!(listener.accept_failed().await, reason);
    }
}

#[tokio::test]
async fn an_oversized_frame_closes_the_link_before_memory_is_taken_for_it() {
    let [arbiter, follower] = two();
    let mut listener = Node::of(&arbiter);
    let (_endpoint, connection) = hostile(&listener, follower).await;
    let mut stream = connection.open_uni().await.unwrap();
    // The lane, and a greeting: the first connection of life 1.
    let mut words = vec![1, 0, 1];
    [1u64, 1, 1].iter().for_each(|word| words.extend_from_slice(&word.to_le_bytes()));
    stream.write_all(&words).await.unwrap();
    listener.connected().await;
    let claimed = Lane::Control.frame_bytes_max() as u32 + 1;
    stream.write_all(&claimed.to_le_bytes()).await.unwrap();
    let reason = listener.closed().await;
    assert_eq!(reason, "a frame of 4194305 bytes came on the Control lane, where 4194304 are allowed");
    assert_eq!((told(connection.closed().await), listener.transport.frames_refused()), (reason, 1));
}

#[tokio::test]
async fn a_peer_that_ends_a_lane_loses_the_link() {
    let [arbiter, follower] = two();
    let mut listener = Node::of(&arbiter);
    let (_endpoint, connection) = hostile(&listener, follower).await;
    let mut stream = connection.open_uni().await.unwrap();
    let mut words = vec![1, 0, 1];
    [1u64, 1, 1].iter().for_each(|word| words.extend_from_slice(&word.to_le_bytes()));
    stream.write_all(&words).await.unwrap();
    listener.connected().await;
    stream.finish().unwrap();
    assert_eq!(listener.closed().await, "the peer ended the Control lane");
}
