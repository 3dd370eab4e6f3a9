use super::*;
use crate::clients::Clients;
use crate::outbox::Subscribed;
use resp::Version;
use std::net::{Ipv4Addr, SocketAddr};

struct Scene {
    room: Arc<PubSub>,
    clients: Clients,
}

impl Scene {
    fn new() -> Self {
        Self { room: Arc::default(), clients: Clients::default() }
    }

    fn client(&self) -> (Arc<Presence>, Subscriptions) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let presence = self.clients.enter(address, address, 0, u64::MAX).unwrap();
        let subscriptions = Subscriptions::new(Arc::clone(&self.room), Arc::clone(&presence));
        (presence, subscriptions)
    }

    fn publish(&self, kind: ChannelKind, channel: &str, payload: &str) -> usize {
        self.room.publish(kind, channel.as_bytes(), payload.as_bytes(), Reach::Everywhere, &OutputLimits::default(), 0)
    }
}

fn received(presence: &Presence) -> String {
    let mut reply = Reply::new(Version::Resp2);
    presence.collect_all_mail(&mut reply);
    let text = String::from_utf8_lossy(reply.bytes()).into_owned();
    text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_message_reaches_whoever_has_subscribed_once_for_each_subscription_that_fits() {
    let scene = Scene::new();
    let (one, mut ones) = scene.client();
    let (two, mut twos) = scene.client();
    assert!(ones.enter(ChannelKind::Channel, b"news"));
    assert!(!ones.enter(ChannelKind::Channel, b"news"));
    assert!(ones.enter(ChannelKind::Pattern, b"n*"));
    assert!(twos.enter(ChannelKind::Pattern, b"?ews"));
    assert!(twos.enter(ChannelKind::Shard, b"news"));
    assert_eq!(scene.publish(ChannelKind::Channel, "news", "a"), 3);
    assert_eq!(scene.publish(ChannelKind::Channel, "other", "b"), 0);
    assert_eq!(scene.publish(ChannelKind::Shard, "news", "c"), 1);
    assert_eq!(received(&one), "message news a pmessage n* news a ");
    assert_eq!(received(&two), "pmessage ?ews news a smessage news c ");
    assert_eq!(scene.room.counts(), MessageCounts { published: 3, delivered: 4, arrived: 0 });
}

#[test]
fn the_end_of_a_subscription_or_of_a_client_leaves_nothing_behind() {
    let scene = Scene::new();
    let (one, mut ones) = scene.client();
    let (_, mut twos) = scene.client();
    for name in [&b"a"[..], b"b"] {
        for kind in [ChannelKind::Channel, ChannelKind::Pattern, ChannelKind::Shard] {
            ones.enter(kind, name);
            twos.enter(kind, name);
        }
    }
    assert_eq!(one.subscribed(), Subscribed { channels: 2, patterns: 2, shard_channels: 2 });
    assert!(ones.leave(ChannelKind::Channel, b"a"));
    assert!(!ones.leave(ChannelKind::Channel, b"a"));
    assert_eq!(scene.room.subscribers(ChannelKind::Channel, b"a"), 1);
    drop(ones);
    assert_eq!(one.subscribed(), Subscribed::default());
    assert_eq!(scene.room.pattern_count(), 2);
    drop(twos);
    let left = [ChannelKind::Channel, ChannelKind::Shard].map(|kind| scene.room.channel_count(kind));
    assert_eq!((left, scene.room.pattern_count()), ([0, 0], 0));
    assert_eq!(scene.publish(ChannelKind::Channel, "a", "x"), 0);
}

#[test]
fn active_channels_are_listed_in_order_and_by_pattern() {
    let scene = Scene::new();
    let (_, mut ones) = scene.client();
    for name in ["c1", "a1", "b", "a2"] {
        ones.enter(ChannelKind::Channel, name.as_bytes());
    }
    let names = |pattern: Option<&[u8]>| {
        let names = scene.room.channels(ChannelKind::Channel, pattern);
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["a1", "a2", "b", "c1"]);
    assert_eq!(names(Some(b"a*")), ["a1", "a2"]);
}

#[test]
fn what_is_published_is_kept_for_other_nodes_only_while_they_listen_and_only_so_much() {
    let scene = Scene::new();
    scene.publish(ChannelKind::Channel, "a", "x");
    assert!(scene.room.outgoing.take().is_empty());
    scene.room.outgoing.open(true);
    scene.publish(ChannelKind::Channel, "a", "x");
    scene.publish(ChannelKind::Shard, "a", "y");
    // Whom it reaches is said when it is published, not when it is sent.
    scene.room.publish(ChannelKind::Channel, b"a", b"z", Reach::Region, &OutputLimits::default(), 0);
    let taken = scene.room.outgoing.take().into_iter();
    let taken: Vec<_> = taken.map(|(reach, messages)| (reach, messages.frame().map(|frame| frame.count()))).collect();
    assert_eq!(taken, [(Reach::Everywhere, Some(2)), (Reach::Region, Some(1))]);
    let large = "x".repeat(crate::limits::PUBLISHED_BYTES_MAX - 1);
    scene.publish(ChannelKind::Channel, "aa", &large);
    assert_eq!(scene.room.outgoing.dropped(), 1);
    for _ in 0..3 {
        scene.publish(ChannelKind::Channel, "a", &large);
    }
    assert_eq!(scene.room.outgoing.dropped(), 3);
    // What comes from there goes no further.
    let _ = scene.room.outgoing.take();
    scene.room.take(ChannelKind::Channel, b"a", b"x", &OutputLimits::default(), 0);
    assert!(scene.room.outgoing.take().is_empty());
}
