//! Clocks that are off, between two and three nodes: what is held for its stamps, and whose clock is taken for wrong.
#![allow(clippy::unwrap_used)]

mod world;

use crdt::Stamp;
use protocol::{Alarm, LinkPhase, MemberView, Millis, limits};
use world::{World, identity, number};

#[test]
fn stamps_from_the_future_wait_for_the_clock_and_nobody_else_does() {
    let mut world = World::new(3, 1, |_, settings| settings.max_clock_drift_ms = 2_000);
    world.run(500);
    let future = world.wall(2) + 5_000;
    world.nodes[2].write(1, Some(1), future);
    world.random_write(1);
    world.run(200);
    assert!(world.nodes[0].alarms.iter().any(|alarm| matches!(alarm, Alarm::ClockAhead { .. })));
    assert_eq!(world.nodes[0].store.vector.of(number(3)), Stamp::ZERO);
    assert!(world.nodes[0].store.vector.of(number(2)) > Stamp::ZERO);
    world.run(4_000);
    world.converge(2_000);
}

#[test]
fn what_is_held_passes_as_soon_as_some_clock_is_seen_to_explain_it() {
    let mut world = World::new(2, 1, |_, settings| settings.max_clock_drift_ms = 2_000);
    world.run(500);
    let future = world.wall(1) + 50_000;
    world.nodes[1].write(1, Some(1), future);
    world.run(500);
    assert_eq!(world.nodes[0].store.vector.of(number(2)), Stamp::ZERO);
    world.cut(0, 1);
    world.run(2_000);
    world.nodes[1].skew_ms = 50_000;
    world.heal();
    world.run(2_000);
    assert!(world.nodes[0].store.vector.of(number(2)) > Stamp::ZERO);
}

#[test]
fn what_is_held_passes_as_soon_as_something_later_has_passed() {
    let mut world = World::new(3, 1, |_, settings| settings.max_clock_drift_ms = 2_000);
    world.run(500);
    let future = world.wall(2) + 50_000;
    world.nodes[2].write(1, Some(1), future);
    world.run(500);
    assert_eq!(world.nodes[0].store.vector.of(number(3)), Stamp::ZERO);
    let now = Millis(world.now);
    let view = MemberView { drift_released: [number(2)].into(), ..MemberView::default() };
    world.nodes[0].set_membership(1, view, now);
    world.nodes[1].write(2, Some(2), future + 10_000);
    world.run(500);
    assert!(world.nodes[0].store.vector.of(number(2)) > Stamp::ZERO);
    assert!(world.nodes[0].store.vector.of(number(3)) > Stamp::ZERO);
}

#[test]
fn an_operator_releases_what_the_clock_guard_holds() {
    let mut world = World::new(2, 1, |_, settings| settings.max_clock_drift_ms = 2_000);
    world.run(500);
    let future = world.wall(1) + 500_000;
    world.nodes[1].write(1, Some(1), future);
    world.run(500);
    assert_eq!(world.nodes[0].store.vector.of(number(2)), Stamp::ZERO);
    let now = Millis(world.now);
    let view = MemberView { drift_released: [number(2)].into(), ..MemberView::default() };
    world.nodes[0].set_membership(1, view, now);
    world.converge(100);
}

#[test]
fn clocks_that_differ_are_measured_and_not_held_against_anybody() {
    let mut world = World::new(3, 1, |_, settings| settings.max_clock_drift_ms = 2_000);
    world.nodes[2].skew_ms = 100_000;
    for _ in 0..20 {
        (0..3).for_each(|index| world.random_write(index));
        world.run(50);
    }
    world.converge(2_000);
    let (now, wall) = (Millis(world.now), world.wall(0));
    let report = world.nodes[0].hub.link_report(identity(2), now, wall).unwrap();
    assert!((report.clock_offset_ms.unwrap() - 100_000).abs() < 10 && report.rtt_ms.unwrap() >= 40);
    assert_eq!(report.phase, LinkPhase::Ready);
    assert_eq!(off_by_s(&world, 2), Some(-100));
    assert_eq!(off_by_s(&world, 0), Some(0));
}

/// By how many seconds the others' clocks are ahead of that of node `index`, as it sees them.
fn off_by_s(world: &World, index: usize) -> Option<i64> {
    let median = world.nodes[index].hub.clock_offset_median_ms(Millis(world.now), world.wall(index));
    median.map(|ms| (ms + 500).div_euclid(1_000))
}

#[test]
fn a_clock_that_is_set_while_the_link_stands_is_seen_at_once_by_its_node_and_soon_by_the_others() {
    let mut world = World::new(2, 1, |_, _| {});
    // Longer than all exchanges that are remembered.
    world.run(60_000);
    assert_eq!((off_by_s(&world, 0), off_by_s(&world, 1)), (Some(0), Some(0)));
    world.nodes[1].skew_ms = 7_200_000;
    assert_eq!(off_by_s(&world, 1), Some(-7_200));
    // Two heartbeats and the way.
    world.run(1_000);
    assert_eq!((off_by_s(&world, 0), off_by_s(&world, 1)), (Some(7_200), Some(-7_200)));
    world.nodes[1].skew_ms = 0;
    assert_eq!(off_by_s(&world, 1), Some(0));
    world.run(1_000);
    assert_eq!((off_by_s(&world, 0), off_by_s(&world, 1)), (Some(0), Some(0)));
}

#[test]
fn what_a_clock_was_seen_to_be_counts_for_a_time_and_until_its_member_is_removed() {
    let mut world = World::new(2, 1, |_, _| {});
    world.nodes[1].skew_ms = 100_000;
    world.run(1_000);
    assert_eq!(off_by_s(&world, 0), Some(100));
    world.cut(0, 1);
    world.run(5_000);
    assert_eq!(off_by_s(&world, 0), Some(100));
    // The own clock is set meanwhile.
    world.nodes[0].skew_ms = 99_000;
    assert_eq!(off_by_s(&world, 0), Some(1));
    let later = |ms: u64| world.nodes[0].hub.clock_offset_median_ms(Millis(world.now + ms), world.wall(0) + ms);
    assert!(later(limits::CLOCK_EVIDENCE_MS - 10_000).is_some());
    assert_eq!(later(limits::CLOCK_EVIDENCE_MS), None);
    let view = MemberView { removed: [identity(1)].into(), ..MemberView::default() };
    let now = Millis(world.now);
    world.nodes[0].set_membership(1, view, now);
    assert_eq!(off_by_s(&world, 0), None);
}

#[test]
fn a_peer_with_a_wrong_clock_says_nothing_against_what_was_measured_of_one_that_is_away() {
    let mut world = World::new(3, 1, |_, _| {});
    world.nodes[1].skew_ms = 100_000;
    world.run(1_000);
    assert_eq!(off_by_s(&world, 0), Some(0));
    world.stop(2);
    world.run(2_000);
    assert_eq!(off_by_s(&world, 0), Some(0));
}
