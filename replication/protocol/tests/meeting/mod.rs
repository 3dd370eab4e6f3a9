//! Nodes that meet for the first time, or have not met yet; and batches that meet others in their place.

use crate::world::{Store, World, identity, number};
use crdt::{Stamp, VersionVector};
use protocol::{Alarm, Batch, BatchTail, Compression, Lane, LinkPhase, MemberView, Millis};
use std::sync::Arc;

/// Own batches that the first node knows the second one to have applied, and of which it knows how long that took.
fn counted(world: &World) -> u64 {
    let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0));
    report.map_or(0, |report| report.applied_lags.counts.iter().sum())
}

#[test]
fn a_newcomer_serves_nothing_before_it_has_met_somebody() {
    for is_newcomer in [false, true] {
        let mut world = World::new(2, 1, |index, settings| {
            settings.is_newcomer = is_newcomer && index == 1;
            settings.peers_expected = index;
            settings.fill_timeout_ms = 500;
        });
        world.cut(0, 1);
        world.random_write(0);
        world.run(5_000);
        assert_eq!(world.nodes[1].filled, !is_newcomer);
        world.heal();
        world.converge(2_000);
        assert!(world.nodes[1].filled);
    }
}

/// Two that come together know no more than one, however near they are to each other; nor does the first count only those
/// that were members when its directory was made.
#[test]
fn newcomers_that_have_met_one_another_have_not_met_the_others() {
    let mut world = World::new(3, 1, |index, settings| {
        settings.is_newcomer = index > 0;
        settings.peers_expected = index;
        settings.fill_timeout_ms = 500;
    });
    world.random_write(0);
    for newcomer in [1, 2] {
        world.cut(0, newcomer);
    }
    world.run(5_000);
    assert_eq!(world.nodes[1].hub.ready_peers(), [identity(2)]);
    assert!(!world.nodes[1].filled && !world.nodes[2].filled);
    world.heal();
    world.converge(3_000);
    assert!(world.nodes[1].filled && world.nodes[2].filled);
}

/// Where a member that serves has nothing there is nothing to wait for; and nobody waits for those who were removed.
#[test]
fn a_newcomer_serves_when_a_member_has_nothing_or_there_is_none() {
    let mut world = World::new(3, 1, |index, settings| {
        settings.is_newcomer = index == 2;
        settings.peers_expected = if index == 1 { 0 } else { 2 };
        settings.fill_timeout_ms = 2_000;
    });
    world.stop(0);
    world.run(1_000);
    assert!(!world.nodes[2].filled, "another one may come");
    world.run(1_500);
    assert!(world.nodes[2].filled);

    let mut world = World::new(2, 1, |index, settings| {
        settings.is_newcomer = index == 1;
        settings.peers_expected = index;
    });
    world.stop(0);
    world.run(1_000);
    let numbers = [0, 1].map(|index| (identity(index), [number(index as u16 + 1)].into()));
    let members = MemberView { numbers: numbers.into(), ..MemberView::default() };
    world.nodes[1].hub.set_membership(members.clone(), Millis(world.now));
    world.run(20_000);
    assert!(!world.nodes[1].filled);
    let members = MemberView { removed: [identity(0)].into(), ..members };
    world.nodes[1].hub.set_membership(members, Millis(world.now));
    world.run(10);
    assert!(world.nodes[1].filled);
}

/// Who admitted them is lost and removed before they met it: they are all there are.
#[test]
fn newcomers_that_are_all_members_there_are_serve_when_they_have_met() {
    let mut world = World::new(3, 1, |index, settings| {
        settings.is_newcomer = index > 0;
        settings.peers_expected = 2;
    });
    world.stop(0);
    let numbers = [0, 1, 2].map(|index| (identity(index), [number(index as u16 + 1)].into()));
    let members = MemberView { numbers: numbers.into(), ..MemberView::default() };
    let know = |world: &mut World, members: &MemberView| {
        for index in [1, 2] {
            world.nodes[index].hub.set_membership(members.clone(), Millis(world.now));
        }
    };
    know(&mut world, &members);
    world.run(20_000);
    assert!(!world.nodes[1].filled && !world.nodes[2].filled);
    know(&mut world, &MemberView { removed: [identity(0)].into(), ..members });
    world.run(500);
    assert!(world.nodes[1].filled && world.nodes[2].filled);
}

/// A node that has lost its catalogue may know of nobody: whoever gives it a number has what it lacks.
#[test]
fn a_node_that_needs_a_number_does_not_take_itself_for_alone() {
    let mut world = World::new(2, 1, |index, settings| {
        if index == 1 {
            settings.number = None;
        }
        settings.peers_expected = 0;
    });
    world.cut(0, 1);
    world.random_write(0);
    world.run(15_000);
    assert!(world.nodes[0].filled && !world.nodes[1].filled);
    world.heal();
    world.converge(3_000);
    assert!(world.nodes[1].filled);
}

#[test]
fn a_member_that_was_never_met_has_nothing_of_what_was_written() {
    let mut world = World::new(2, 1, |_, _| {});
    world.stop(1);
    let numbers = [(0, 1), (1, 2), (2, 3)].map(|(index, own)| (identity(index), [number(own)].into()));
    let removed = [identity(2)].into();
    let members = MemberView { numbers: numbers.into(), removed, ..MemberView::default() };
    world.nodes[0].hub.set_membership(members, Millis(world.now));
    world.random_write(0);
    world.run(5_000);
    let report = |world: &World, peer| world.nodes[0].hub.link_report(identity(peer), Millis(world.now), world.wall(0));
    let never_met = report(&world, 1).unwrap();
    assert_eq!((never_met.phase, never_met.silent_ms, never_met.unacknowledged_changes), (LinkPhase::Down, None, 1));
    assert!((4_900..=5_100).contains(&never_met.applied_lag_ms), "{}", never_met.applied_lag_ms);
    for nobody in [0, 2, 3] {
        assert!(report(&world, nobody).is_none(), "itself, one that was removed, a stranger");
    }
}

#[test]
fn what_was_written_before_a_peer_came_says_nothing_of_the_way_to_it() {
    let mut world = World::new(2, 1, |_, _| {});
    world.stop(1);
    for _ in 0..10 {
        world.random_write(0);
        world.run(500);
    }
    world.start(1, Store::default(), |_| {});
    world.converge(3_000);
    world.run(500);
    assert_eq!(counted(&world), 0);
    world.random_write(0);
    world.converge(1_000);
    world.run(500);
    assert_eq!(counted(&world), 1);
}

/// A batch of the second node, made by hand.
fn batch(previous: BatchTail, ms: u64, wall: u64) -> Arc<Batch> {
    let last = Stamp::at(wall - 1_000 + ms, number(2));
    Batch::seal(previous, last, last, VersionVector::new(), 1, &[0; 8], &mut Compression::default())
}

/// One that waited for its predecessor while another one came that goes beyond that: it must not pass, and nothing may count
/// as passed because of it.
#[test]
fn a_batch_that_waited_and_overlaps_what_came_meanwhile_is_a_fork_and_does_not_pass() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(300);
    world.cut(0, 1);
    let (now, wall) = (Millis(world.now), world.wall(0));
    let lost = batch(BatchTail::default(), 10, wall);
    let waits = batch(lost.tail(), 20, wall);
    let other = batch(BatchTail::default(), 15, wall);
    let hub = &mut world.nodes[0].hub;
    let passed = |hub: &mut protocol::Hub| {
        let mut passed = Vec::new();
        let mut forks = 0;
        while let Some(event) = hub.poll_event() {
            match event {
                protocol::Event::Apply(batch) => passed.push(batch.last),
                protocol::Event::Alarm(Alarm::Fork { .. }) => forks += 1,
                _ => {}
            }
        }
        (passed, forks)
    };
    hub.handle_frame(identity(1), Lane::Batches, waits.bytes().clone(), now, wall).unwrap();
    assert_eq!(passed(hub), (Vec::new(), 0));
    hub.handle_frame(identity(1), Lane::Batches, other.bytes().clone(), now, wall).unwrap();
    assert_eq!(passed(hub), (vec![other.last], 1));
    hub.batch_applied(number(2), other.last, now);
    assert_eq!(hub.closed_vector().of(number(2)), other.last);
}
