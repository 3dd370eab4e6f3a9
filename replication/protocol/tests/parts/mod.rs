//! State that is larger than what is sent in one frame.

use crate::check;
use crate::world::{Store, World, identity};
use protocol::Millis;
use protocol::limits::SESSION_STALL_MS;

#[test]
fn state_in_parts_arrives_whole_whatever_the_network_does() {
    check(
        3,
        5,
        |_, settings| {
            settings.ring_bytes = 3_000;
            settings.state_part_bytes = 64;
        },
        |world, round| match round % 100 {
            20 => world.cut(0, 1),
            25 => world.cut(0, 2),
            26 => world.run(2_000),
            70 => world.heal(),
            _ => {}
        },
        |limits| limits.sessions_finished > 0 && limits.behind_sent > 0,
    );
}

/// In several batches, of which the ring keeps the last.
fn write_much(world: &mut World) {
    let wall = world.wall(0);
    for key in 0..1_200 {
        world.nodes[0].write(key, Some(7), wall);
        if key % 100 == 99 {
            world.nodes[0].drain(Millis(world.now));
        }
    }
}

/// A node with so much that each chunk of it takes longer than a session may stand still, and an empty one.
fn slowly_filled(part_bytes: usize) -> World {
    let mut world = World::new(2, 1, |_, settings| {
        settings.ring_bytes = 1;
        settings.state_part_bytes = part_bytes;
        settings.fill_timeout_ms = 10 * SESSION_STALL_MS;
    });
    world.stop(1);
    write_much(&mut world);
    world.state_kib_ms = 10_000;
    world.start(1, Store::default(), |settings| settings.peers_expected = 1);
    world
}

fn abandoned(world: &World) -> u64 {
    world.nodes.iter().map(|node| node.hub.report().limits.sessions_abandoned).sum()
}

#[test]
fn a_session_lives_as_long_as_parts_of_a_chunk_come() {
    let mut world = slowly_filled(512);
    world.run_until(20 * SESSION_STALL_MS, "the filling", |world| world.nodes[1].sessions_finished > 0);
    assert!(world.now > 3 * SESSION_STALL_MS, "it took long");
    assert_eq!(abandoned(&world), 0);
    assert_eq!(world.nodes[1].store.live(), world.nodes[0].store.live());
    // In one frame the same chunk never comes.
    let mut world = slowly_filled(1 << 20);
    world.run(4 * SESSION_STALL_MS);
    assert!(abandoned(&world) > 0 && world.nodes[1].sessions_finished == 0);
}

#[test]
fn a_link_that_is_lost_in_the_middle_of_a_chunk_leaves_nothing_of_it_and_the_next_session_brings_it() {
    let mut world = slowly_filled(512);
    let gathered = |world: &World| world.nodes[1].hub.report().state_gathered_bytes;
    world.run_until(SESSION_STALL_MS, "some parts", |world| gathered(world) > 1_000);
    world.cut(0, 1);
    world.run(20_000);
    assert!(world.nodes[1].hub.ready_peers().is_empty() && abandoned(&world) > 0);
    assert_eq!((gathered(&world), world.nodes[1].store.live().len()), (0, 0));
    world.state_kib_ms = 100;
    world.heal();
    world.run_until(2 * SESSION_STALL_MS, "the filling", |world| world.nodes[1].sessions_finished > 0);
    assert_eq!(world.nodes[1].store.live(), world.nodes[0].store.live());
    assert_eq!(world.errors, []);
}

#[test]
fn a_chunk_that_claims_more_than_may_come_ends_the_link_before_it_takes_memory() {
    let mut world = World::new(2, 1, |index, settings| {
        settings.ring_bytes = 1;
        settings.state_part_bytes = 64;
        if index == 1 {
            settings.state_chunk_bytes_max = 1_000;
        }
    });
    world.stop(1);
    write_much(&mut world);
    world.start(1, Store::default(), |settings| settings.peers_expected = 1);
    world.run_until(5_000, "an error", |world| !world.errors.is_empty());
    assert!(world.errors[0].to_string().starts_with("a chunk of state of "), "{:?}", world.errors);
    assert_eq!(world.nodes[1].hub.report().state_gathered_bytes, 0);
    assert!(world.nodes[1].hub.peers().contains(&identity(0)));
}

#[test]
fn a_session_lives_as_long_as_a_chunk_is_being_merged() {
    for tells_progress in [true, false] {
        let mut world = slowly_filled(512);
        world.state_kib_ms = 0;
        (world.nodes[1].merge_ms, world.nodes[1].tells_progress) = (SESSION_STALL_MS * 3 / 2, tells_progress);
        world.run(2 * SESSION_STALL_MS);
        assert_eq!(abandoned(&world) == 0, tells_progress);
        assert!(!world.nodes[1].store.live().is_empty(), "some is merged by now");
    }
}

#[test]
fn no_session_is_begun_while_a_chunk_of_one_that_is_over_waits_here() {
    let mut world = slowly_filled(512);
    world.state_kib_ms = 0;
    world.nodes[1].merge_ms = 3 * SESSION_STALL_MS;
    let begun = |world: &World| world.nodes[1].hub.report().limits.sessions_begun;
    world.run_until(5_000, "a chunk", |world| world.nodes[1].is_merging());
    world.cut(0, 1);
    world.run(20_000);
    assert!(abandoned(&world) > 0, "the link is lost, and the session with it");
    let before = begun(&world);
    world.heal();
    world.run(SESSION_STALL_MS);
    assert!(world.nodes[1].is_merging() && !world.nodes[1].hub.ready_peers().is_empty());
    assert_eq!(begun(&world), before);
    world.nodes[1].merge_ms = 0;
    world.run_until(20 * SESSION_STALL_MS, "the filling", |world| world.nodes[1].sessions_finished > 0);
    assert_eq!(world.nodes[1].store.live(), world.nodes[0].store.live());
}
