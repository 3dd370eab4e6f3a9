//! Published messages: to every connected node once, to nobody else, and never in the way of anything.

mod world;

use protocol::{Lane, MessageKind, MessageWriter, limits};
use std::collections::BTreeSet;
use world::World;

fn publish(world: &mut World, index: usize, payload: &[u8]) {
    let mut writer = MessageWriter::default();
    writer.put(MessageKind::Channel, b"news", payload);
    let frame = writer.frame().expect("there is a message");
    world.nodes[index].hub.send_messages(&frame, &|_| true);
}

fn heard(world: &World, index: usize) -> Vec<String> {
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    world.nodes[index].messages.iter().map(|message| text(&message.payload)).collect()
}

#[test]
fn a_message_reaches_every_connected_node_once_whatever_is_cut_and_healed() {
    for seed in 1..=5 {
        let mut world = World::new(3, seed, |_, _| {});
        world.run(500);
        for round in 0..300 {
            match world.random(40) {
                0 => world.heal(),
                1 | 2 => {
                    let (a, b) = [(0, 1), (0, 2), (1, 2)][world.random(3) as usize];
                    world.cut(a, b);
                }
                _ => {}
            }
            for index in 0..3 {
                publish(&mut world, index, format!("{index}.{round}").as_bytes());
                world.random_write(index);
            }
            let pause = world.random(30);
            world.run(pause);
        }
        world.heal();
        world.converge(60_000);
        for index in 0..3 {
            let before = heard(&world, index);
            let once: BTreeSet<&String> = before.iter().collect();
            assert_eq!(once.len(), before.len(), "seed {seed}: node {index} hears a message twice");
            assert!(before.iter().all(|said| !said.starts_with(&format!("{index}."))), "its own come back");
            for other in (0..3).filter(|other| *other != index) {
                let rounds: Vec<u32> =
                    before.iter().filter_map(|said| said.strip_prefix(&format!("{other}."))?.parse().ok()).collect();
                assert!(rounds.is_sorted(), "seed {seed}: {rounds:?}");
                assert!(rounds.len() > 20);
            }
        }
        (0..3).for_each(|index| publish(&mut world, index, b"last"));
        world.run(200);
        for index in 0..3 {
            let last = heard(&world, index).iter().filter(|said| *said == "last").count();
            assert_eq!(last, 2, "seed {seed}: node {index} is connected");
        }
        assert_eq!(world.errors, [], "seed {seed}");
    }
}

#[test]
fn only_those_are_sent_a_message_who_are_chosen() {
    let mut world = World::new(3, 1, |_, _| {});
    world.run(500);
    let mut writer = MessageWriter::default();
    writer.put(MessageKind::Shard, b"news", b"x");
    let (frame, chosen) = (writer.frame().expect("there is a message"), world::identity(2));
    world.nodes[0].hub.send_messages(&frame, &|peer| peer == chosen);
    world.run(200);
    assert_eq!([1, 2].map(|index| heard(&world, index).len()), [0, 1]);
    assert!(world.nodes[0].hub.has_listeners());
}

#[test]
fn a_link_that_does_not_keep_up_loses_messages_and_nothing_else() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(500);
    // Nobody takes them meanwhile: one always has room, then so many bytes.
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..20 {
        publish(&mut world, 0, &payload);
    }
    let limits = world.nodes[0].hub.report().limits;
    let room = (limits::MESSAGES_QUEUE_BYTES_MAX / (1 << 20)) as u64;
    assert!((room - 1..=room).contains(&limits.messages_sent), "{limits:?}");
    assert_eq!(limits.messages_sent + limits.messages_dropped, 20);
    world.random_write(0);
    world.run(500);
    assert_eq!(heard(&world, 1).len() as u64, limits.messages_sent);
    assert_eq!(world.nodes[0].store.live(), world.nodes[1].store.live());
    publish(&mut world, 0, b"after");
    world.run(200);
    assert_eq!(heard(&world, 1).last().map(String::as_str), Some("after"));
}

#[test]
fn what_is_published_while_nobody_is_connected_is_kept_for_nobody() {
    let mut world = World::new(2, 1, |_, _| {});
    publish(&mut world, 0, b"early");
    world.run(500);
    world.cut(0, 1);
    world.run(3_000);
    assert!(!world.nodes[0].hub.has_listeners());
    publish(&mut world, 0, b"meanwhile");
    world.heal();
    world.run(3_000);
    publish(&mut world, 0, b"late");
    world.run(200);
    assert_eq!(heard(&world, 1), ["late"]);
}

#[test]
fn messages_that_make_no_sense_close_the_link() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(500);
    let now = protocol::Millis(world.now);
    let wall = world.wall(1);
    let frame = bytes::Bytes::from_static(&[1, 9, 0, 0]);
    assert!(world.nodes[1].hub.handle_frame(world::identity(0), Lane::Messages, frame, now, wall).is_err());
    assert_eq!(world.nodes[1].hub.report().limits.frame_errors, 1);
}
