//! Processes of one node that follow each other, and copies that live at the same time.

use crate::world::{Store, World, identity, number};
use protocol::{Alarm, BootNonce, CloseReason, Lane, Millis};

#[test]
fn a_second_live_copy_is_refused_and_the_first_goes_on() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(300);
    let copy = protocol::HubSettings { boot: BootNonce(77), ..world.nodes[1].settings.clone() };
    let (now, wall) = (Millis(world.now), world.wall(0));
    let mut copy = protocol::Hub::new(copy, now, wall);
    copy.link_up(identity(0), now, wall);
    let hello = copy.poll_transmit(identity(0), Lane::Control, now, wall).unwrap();
    world.nodes[0].hub.link_up(identity(1), now, wall);
    world.nodes[0].hub.handle_frame(identity(1), Lane::Control, hello, now, wall).unwrap();
    assert_eq!(world.nodes[0].alarms, []);
    world.run(1_000);
    // The first has shown that it is alive.
    assert_eq!(world.nodes[0].alarms, [Alarm::SecondLiveCopy { peer: identity(1) }]);
    assert_eq!(world.nodes[0].hub.ready_peers(), [identity(1)]);
    world.random_write(1);
    world.converge(1_000);
}

#[test]
fn a_process_that_takes_the_place_of_one_that_was_killed_is_let_in_when_that_was_silent_and_is_no_copy() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(300);
    let next = protocol::HubSettings { boot: BootNonce(77), ..world.nodes[1].settings.clone() };
    let greet = |world: &mut World| {
        let (now, wall) = (Millis(world.now), world.wall(0));
        let mut next = protocol::Hub::new(next.clone(), now, wall);
        next.link_up(identity(0), now, wall);
        let hello = next.poll_transmit(identity(0), Lane::Control, now, wall).unwrap();
        // The transport has given the link to whoever came last, and nobody says that the other one is gone.
        world.nodes[0].hub.link_up(identity(1), now, wall);
        world.nodes[0].hub.handle_frame(identity(1), Lane::Control, hello, now, wall).unwrap();
    };
    world.cut(0, 1);
    greet(&mut world);
    let refused = |world: &mut World| {
        world.run(1);
        world.nodes[0].closed.iter().filter(|(_, reason)| matches!(reason, CloseReason::Refused(_))).count()
    };
    assert_eq!(refused(&mut world), 1);
    world.run(world.nodes[0].settings.silence_ms + 10);
    greet(&mut world);
    assert_eq!((refused(&mut world), &world.nodes[0].alarms[..]), (1, &[][..]));
}

#[test]
fn a_goodbye_lets_the_next_process_in_at_once() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(200);
    world.nodes[1].hub.say_goodbye();
    world.run(60);
    assert!(world.nodes[0].closed.contains(&(identity(1), CloseReason::Goodbye)));
    world.stop(1);
    world.start(1, Store::default(), |_| {});
    world.run(200);
    assert_eq!(world.nodes[0].hub.ready_peers(), [identity(1)]);
}

#[test]
fn a_restarted_node_goes_on_where_it_was() {
    let mut world = World::new(2, 1, |_, _| {});
    for _ in 0..50 {
        world.random_write(0);
        world.random_write(1);
        world.run(3);
    }
    world.converge(2_000);
    let store = world.nodes[1].store.clone();
    let tail = world.nodes[1].hub.own_tail();
    world.stop(1);
    world.random_write(0);
    world.run(100);
    world.start(1, store, |settings| {
        settings.tails.insert(number(2), tail);
    });
    world.random_write(1);
    world.converge(3_000);
    assert_eq!(world.nodes[0].alarms, []);
    assert_eq!(world.nodes[1].overruns, 0);
}
