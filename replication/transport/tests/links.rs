//! Links over real loopback sockets: who gets one, how many there are, and how they end and come back.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use bytes::Bytes;
use common::*;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use transport::*;

#[tokio::test]
async fn frames_travel_both_ways_on_every_lane() {
    let ((mut a, to_b), (mut b, to_a)) = linked().await;
    for lane in Lane::ALL {
        for size in [0, 1, 5000, 300_000] {
            let frame = vec![lane as u8 + 1; size];
            a.transport.send(to_b, lane, Bytes::from(frame.clone())).unwrap();
            assert_eq!(b.frame().await, (to_a, lane, frame.clone()));
            b.transport.send(to_a, lane, Bytes::from(frame.clone())).unwrap();
            assert_eq!(a.frame().await, (to_b, lane, frame));
        }
    }
    let stats = a.transport.stats(to_b).unwrap();
    assert!(stats.sent_bytes > 900_000 && stats.received_bytes > 900_000);
    assert!(stats.round_trip < Duration::from_secs(1));
}

#[tokio::test]
async fn either_identity_may_dial_and_both_know_who_is_there() {
    for dialer in [0, 1] {
        let both = two();
        let mut dialing = Node::of(&both[dialer]);
        let mut listening = Node::of(&both[1 - dialer]);
        dialing.dial(&listening);
        assert_eq!(dialing.wait(who).await, (listening.identity, listening.address.clone(), true));
        assert_eq!(listening.wait(who).await, (dialing.identity, dialing.address.clone(), false));
    }
}

fn who(event: TransportEvent) -> Option<(NodeIdentity, String, bool)> {
    match event {
        TransportEvent::Connected { peer, address, dialed_by_us, .. } => {
            Some((peer, address.to_string(), dialed_by_us))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let (ours, theirs) = (authority(CLUSTER, 1), authority(OTHER_CLUSTER, 2));
    let (mut a, mut b) = (credentials(&ours, 10), credentials(&theirs, 11));
    // Even when each trusts the other's authority.
    let both = [a.authorities.clone(), b.authorities.clone()].concat();
    (a.authorities, b.authorities) = (both.clone(), both);
    let (mut a, mut b) = (Node::of(&a), Node::of(&b));
    a.dial(&b);
    let here = a.dial_failed().await;
    assert!(here.starts_with("the peer's certificate is of another cluster"), "{here}");
    let there = b.accept_failed().await;
    assert!(there.starts_with("the peer says that this node is of another cluster"), "{there}");
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused() {
    let (mut a, mut b) =
        (Node::of(&credentials(&authority(CLUSTER, 1), 10)), Node::of(&credentials(&authority(CLUSTER, 2), 11)));
    a.dial(&b);
    let here = a.dial_failed().await;
    assert!(here.starts_with("the peer's certificate comes from an authority that this node does not trust"), "{here}");
    let there = b.accept_failed().await;
    assert!(there.starts_with("the peer does not trust the authority of this node's certificate"), "{there}");
}

#[tokio::test]
async fn a_dialer_of_another_authority_is_refused_by_the_listener() {
    let theirs = authority(CLUSTER, 2);
    let mut a = credentials(&theirs, 10);
    let b = credentials(&authority(CLUSTER, 1), 11);
    a.authorities = b.authorities.clone();
    let (mut a, mut b) = (Node::of(&a), Node::of(&b));
    a.dial(&b);
    let here = a.dial_failed().await;
    assert!(here.starts_with("the peer does not trust the authority of this node's certificate"), "{here}");
    let there = b.accept_failed().await;
    assert!(there.contains("comes from an authority that this node does not trust"), "{there}");
}

#[tokio::test]
async fn another_node_than_the_expected_one_is_refused() {
    let [a, b] = two();
    let stranger = NodeIdentity([0xee; 32]);
    let (mut a, mut b) = (Node::of(&a), Node::of(&b));
    a.transport.dial(stranger, b.address.clone());
    let here = a.dial_failed().await;
    assert!(here.starts_with("another node answered than was expected: "), "{here}");
    assert!(!b.accept_failed().await.is_empty());
    a.transport.stop_dialing(&stranger);
    a.dial(&b);
    a.connected().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_whoever_finds_it() {
    let [a, b] = two();
    let later = clock(NOW + 2 * 365 * 86_400);
    for late in [true, false] {
        let (mut a, mut b) = (settings(&a), settings(&b));
        let late_one = if late { &mut a } else { &mut b };
        late_one.seams.wall_clock = later.clone();
        let (mut a, mut b) = (Node::start(a), Node::start(b));
        a.dial(&b);
        let (finder, other) = match late {
            true => (a.dial_failed().await, b.accept_failed().await),
            false => {
                let told = a.dial_failed().await;
                (b.accept_failed().await, told)
            }
        };
        assert!(finder.starts_with("the peer's certificate has expired; renew it there"), "{finder}");
        assert!(other.starts_with("the peer says that this node's certificate has expired; renew it"), "{other}");
    }
}

#[tokio::test]
async fn a_certificate_from_the_future_is_refused() {
    let [a, b] = two();
    let mut early = settings(&a);
    early.seams.wall_clock = clock(NOW - 30 * 86_400);
    let (mut a, b) = (Node::start(early), Node::of(&b));
    a.dial(&b);
    let error = a.dial_failed().await;
    assert!(error.contains("not valid") || error.contains("not acceptable"), "{error}");
}

#[tokio::test]
async fn a_refused_peer_is_told_the_reason_and_welcome_once_admitted() {
    let [a, b] = two();
    let admitted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut choosy = settings(&b);
    let door = admitted.clone();
    choosy.admission = Arc::new(move |_| match door.load(std::sync::atomic::Ordering::Relaxed) {
        true => Ok(()),
        false => Err(NotAdmitted::Refused("the node is not a member; use `pelago region add`".to_owned())),
    });
    let (mut a, mut b) = (Node::of(&a), Node::start(choosy));
    a.dial(&b);
    let told = a.dial_failed().await;
    assert_eq!(told, "the peer refused this node: the node is not a member; use `pelago region add`");
    let seen = b.accept_failed().await;
    assert_eq!(seen, "the peer is refused: the node is not a member; use `pelago region add`");
    admitted.store(true, std::sync::atomic::Ordering::Relaxed);
    a.connected().await;
}

#[tokio::test]
async fn a_removed_peer_learns_it_by_a_code_and_not_by_the_words() {
    for removed in [true, false] {
        let [a, b] = two();
        let words = "removed, gone, or something in another language".to_owned();
        let verdict = if removed { NotAdmitted::Removed(words) } else { NotAdmitted::Refused(words) };
        let mut choosy = settings(&b);
        choosy.admission = Arc::new(move |_| Err(verdict.clone()));
        let (mut a, b) = (Node::of(&a), Node::start(choosy));
        a.dial(&b);
        let said = a
            .wait(|event| match event {
                TransportEvent::DialFailed { says_removed, .. } => Some(says_removed),
                _ => None,
            })
            .await;
        assert_eq!(said, removed);
    }
}

#[tokio::test]
async fn a_link_that_ends_because_its_peer_was_removed_says_so() {
    for removed in [true, false] {
        let ((a, link), (mut b, _)) = linked().await;
        match removed {
            true => a.transport.close_removed(link, "you are not one of us any more"),
            false => a.transport.close(link, "you are not one of us any more"),
        }
        let said = b
            .wait(|event| match event {
                TransportEvent::Closed { says_removed, .. } => Some(says_removed),
                _ => None,
            })
            .await;
        assert_eq!(said, removed);
    }
}

#[tokio::test]
async fn a_node_does_not_link_with_itself() {
    let [a, _] = two();
    let mut a = Node::of(&a);
    a.transport.dial(a.identity, a.address.clone());
    assert_eq!(a.dial_failed().await, "that is this node itself");
}

/// Both resolve the other's name at the same moment, and dial then.
#[tokio::test]
async fn of_two_simultaneous_dials_one_link_remains_on_both_sides() {
    for round in 0..4 {
        let [a, b] = two();
        let together = Arc::new(Barrier::new(2));
        let of = |credentials| {
            let together = together.clone();
            let mut settings = settings(credentials);
            settings.resolve = Arc::new(move |name| {
                let together = together.clone();
                Box::pin(async move {
                    together.wait().await;
                    let port = name.trim_start_matches("together:").parse().unwrap();
                    Ok(vec![std::net::SocketAddr::from(([127, 0, 0, 1], port))])
                })
            });
            Node::start(settings)
        };
        let (mut a, mut b) = (of(&a), of(&b));
        for (one, other) in [(&a, &b), (&b, &a)] {
            let port = other.transport.local_addr().unwrap().port();
            one.transport.dial(other.identity, format!("together:{port}"));
        }
        // Each sends on the link that it last heard of; what arrives proves that it is the same one.
        let mut links = (a.connected().await, b.connected().await);
        for turn in 0..15u8 {
            for (node, link) in [(&mut a, &mut links.0), (&mut b, &mut links.1)] {
                let _ = node.transport.send(*link, Lane::Control, Bytes::from(vec![turn]));
            }
            let (seen_by_a, seen_by_b) = tokio::join!(settled(&mut a, &mut links.0), settled(&mut b, &mut links.1));
            if turn > 10 {
                assert!(seen_by_a && seen_by_b, "round {round}");
            }
        }
    }
}

/// Takes what there is for a moment; true if a frame came on the present link.
async fn settled(node: &mut Node, link: &mut LinkId) -> bool {
    let mut seen = false;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(20), node.events.recv()).await {
        match event {
            TransportEvent::Connected { link: fresh, .. } => *link = fresh,
            TransportEvent::Frame { link: from, .. } => seen |= from == *link,
            _ => {}
        }
    }
    seen
}

#[tokio::test]
async fn a_closed_link_is_explained_and_dialed_again() {
    let ((mut a, to_b), (mut b, to_a)) = linked().await;
    a.transport.close(to_b, "its heart stopped beating");
    assert_eq!(a.closed().await, "its heart stopped beating");
    assert_eq!(b.closed().await, "the peer closed the link: its heart stopped beating");
    assert_eq!(a.transport.send(to_b, Lane::Control, Bytes::new()), Err(SendError::Closed));
    assert!(!a.transport.has_room(to_b, Lane::Control) && a.transport.stats(to_b).is_none());
    assert_ne!(a.connected().await, to_b);
    assert_ne!(b.connected().await, to_a);
    a.transport.shutdown().await;
    assert_eq!(b.closed().await, "the peer closed the link: the node is shutting down");
}

#[tokio::test]
async fn a_peer_that_is_dialed_no_more_is_left_alone() {
    let ((mut a, to_b), (mut b, to_a)) = linked().await;
    a.transport.stop_dialing(&b.identity);
    b.transport.close(to_a, "enough");
    assert_eq!(a.closed().await, "the peer closed the link: enough");
    let nothing = tokio::time::timeout(Duration::from_millis(300), a.events.recv()).await;
    assert!(nothing.is_err(), "{nothing:?} after {to_b}");
    // The other side still may.
    b.dial(&a);
    b.connected().await;
}

#[tokio::test]
async fn an_address_may_change_while_it_is_dialed() {
    let [a, b] = two();
    let (mut a, b) = (Node::of(&a), Node::of(&b));
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    a.transport.dial(b.identity, nobody.local_addr().unwrap().to_string());
    a.transport.dial(b.identity, b.address.clone());
    a.connected().await;
}

/// The old life's packets get a stateless reset from the new one: a minute of idle timeout plays no part.
#[tokio::test]
async fn a_restarted_peer_is_noticed_at_once_and_linked_again() {
    for survivor in [0, 1] {
        let both = two();
        let patient = |credentials: &NodeCredentials| {
            let mut settings = settings(credentials);
            settings.idle_timeout = Duration::from_secs(60);
            settings.keep_alive = Duration::from_millis(200);
            settings
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let start = |socket: &UdpSocket| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let guard = runtime.enter();
            let mut settings = patient(&both[1 - survivor]);
            settings.bind = Bind::Socket(socket.try_clone().unwrap());
            let node = Node::start(settings);
            drop(guard);
            (runtime, node)
        };
        let mut watching = Node::start(patient(&both[survivor]));
        let (runtime, node) = start(&socket);
        watching.dial(&node);
        watching.connected().await;
        // A crash: nothing is said any more.
        std::thread::spawn(move || drop(runtime)).join().unwrap();
        std::mem::forget(node);
        let (runtime, mut node) = start(&socket);
        assert_eq!(watching.closed().await, "the peer was restarted and does not know the link any more");
        let link = watching.connected().await;
        watching.transport.send(link, Lane::Control, Bytes::from_static(b"again")).unwrap();
        assert_eq!(node.frame().await.2, b"again");
        drop(node);
        runtime.shutdown_background();
    }
}

/// The other side does not know yet that the link is dead: its fresh dial takes the place of the old link.
#[tokio::test]
async fn a_fresh_connection_replaces_the_one_of_a_former_life() {
    let both = two();
    for listener in [0, 1] {
        let mut listening = Node::of(&both[listener]);
        let crashed = Node::of(&both[1 - listener]);
        crashed.dial(&listening);
        let old = listening.connected().await;
        let fresh = Node::of(&both[1 - listener]);
        fresh.dial(&listening);
        let reason = listening.closed().await;
        assert_eq!(reason, "a fresh connection took its place");
        assert_ne!(listening.connected().await, old);
        crashed.transport.stop_dialing(&listening.identity);
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_another_key_is_refused() {
    let authority = authority(CLUSTER, 1);
    let [a, b] = two();
    let later = NOW + 2 * 365 * 86_400;
    let renewed = authority.renew(&b, Validity::of_node(later)).unwrap();
    let mut settings_a = settings(&authority.renew(&a, Validity { from: NOW, until: later + 86_400 }).unwrap());
    settings_a.seams.wall_clock = clock(later);
    let mut settings_b = settings(&b);
    settings_b.seams.wall_clock = clock(later);
    let (mut a, b) = (Node::start(settings_a), Node::start(settings_b));
    a.dial(&b);
    assert!(a.dial_failed().await.contains("expired"));
    let stranger = credentials(&authority, 77);
    assert!(matches!(b.transport.renew(&stranger), Err(TransportError::OtherIdentity)));
    b.transport.renew(&renewed).unwrap();
    a.wait(|event| matches!(event, TransportEvent::Connected { .. }).then_some(())).await;
}

#[tokio::test]
async fn a_transport_with_unusable_credentials_does_not_start() {
    let [a, b] = two();
    let mut mixed = settings(&a);
    mixed.credentials.key = b.key.clone_key();
    let error = Transport::start(mixed).unwrap_err().to_string();
    assert!(error.starts_with("the node's certificate and key cannot be used"), "{error}");
    let mut foreign = settings(&a);
    foreign.cluster = OTHER_CLUSTER;
    assert!(matches!(Transport::start(foreign), Err(TransportError::OtherCluster(OTHER_CLUSTER))));
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut in_the_way = settings(&a);
    in_the_way.bind = Bind::Address(taken.local_addr().unwrap());
    let error = Transport::start(in_the_way).unwrap_err().to_string();
    assert!(error.starts_with("cannot bind the peer socket to 127.0.0.1:"), "{error}");
}
