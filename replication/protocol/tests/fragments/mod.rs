//! Batches that are larger than what is sent in one piece.

use crate::check;
use crate::world::{World, number};
use crdt::Stamp;
use protocol::{Lane, Millis};

#[test]
fn batches_in_fragments_arrive_whole_whatever_the_network_does() {
    check(
        3,
        5,
        |_, settings| {
            settings.fragment_bytes = 40;
            settings.grace_ms = 300;
        },
        |world, round| {
            let trouble = round < 250;
            world.batches_lost = if trouble { 20 } else { 0 };
            world.batches_doubled = if trouble { 100 } else { 0 };
            world.batches_delayed = if trouble { 20 } else { 0 };
            match round % 50 {
                10 => world.cut(0, 1),
                20 => world.heal(),
                30 => world.cut(1, 2),
                40 => world.heal(),
                _ => {}
            }
        },
        |limits| limits.pulls > 0 && limits.duplicates > 0,
    );
}

/// Writes so much at node 0 that its next batch has some hundred thousand bytes, which do not shrink.
fn write_much(world: &mut World) {
    let (now, wall) = (Millis(world.now), world.wall(0));
    for key in 0..20_000_u32 {
        let value = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        world.nodes[0].write(key, Some(value), wall);
    }
    world.nodes[0].drain(now);
}

#[test]
fn a_cut_does_not_begin_a_large_batch_anew() {
    let mut world = World::new(2, 1, |_, settings| settings.fragment_bytes = 100);
    world.latency_ms = 2;
    world.run(1_000);
    let sent = |world: &World| world.bytes_sent.get(&Lane::Batches).copied().unwrap_or_default();
    let before = sent(&world);
    write_much(&mut world);
    let size = world.nodes[0].hub.report().ring_bytes as u64;
    assert!(size > 100_000, "{size}");
    world.run_until(10_000, "some of it is sent", |world| sent(world) - before > size / 2);
    world.cut(0, 1);
    // The sender goes on into nowhere until it notices.
    world.run(2_000);
    let origins = world.nodes[1].hub.report().origins;
    let arrived: u64 = origins.iter().map(|origin| origin.waiting_bytes as u64).sum();
    assert!(arrived > size / 4 && world.nodes[1].store.live().is_empty(), "{arrived} of {size}");
    let before = sent(&world);
    world.heal();
    world.converge(60_000);
    assert_eq!(world.nodes[1].store.live().len(), 20_000);
    // Each fragment of 100 bytes has 33 besides.
    let again = sent(&world) - before;
    assert!(again < (size - arrived) * 14 / 10, "{again} bytes were sent when {arrived} of {size} were there");
}

#[test]
fn other_origins_go_between_the_parts_of_a_large_batch() {
    let mut world = World::new(3, 1, |_, settings| {
        settings.fragment_bytes = 500;
        settings.grace_ms = 100;
    });
    world.run(1_000);
    // What node 2 writes comes to node 1 by way of node 0.
    world.cut(1, 2);
    world.run(1_000);
    world.random_write(2);
    world.run(1_000);
    write_much(&mut world);
    world.run(2);
    world.random_write(2);
    let written = |world: &World| world.nodes[2].hub.closed_vector().of(number(3));
    world.run_until(10_000, "it has overtaken", |world| {
        world.nodes[1].store.vector.of(number(3)) == written(world) && written(world) > Stamp::ZERO
    });
    assert!(world.nodes[1].store.live().len() < 20_000, "the large batch is still on its way");
    world.heal();
    world.converge(60_000);
}
