//! Two and three nodes face to face: what must hold whatever the network does.

mod fragments;
mod lives;
mod meeting;
mod parts;
mod world;

use crdt::{NodeNumber, Stamp, VersionVector};
use protocol::{Alarm, CloseReason, ClusterId, LimitCounters, LinkPhase, MemberView, Millis, RefusalCode};
use world::{Store, World, identity, number};

/// Everybody writes while the network does `trouble`; then it heals and all must hold the same. `exercised` tells whether
/// a node met what the test is about; at least one must, under one of the seeds. `PROTOCOL_SEEDS` asks for more seeds.
fn check(
    count: usize,
    seeds: u64,
    tune: impl Fn(usize, &mut protocol::HubSettings),
    trouble: impl Fn(&mut World, u64),
    exercised: impl Fn(&LimitCounters) -> bool,
) {
    let seeds = std::env::var("PROTOCOL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(seeds);
    let mut shown = false;
    for seed in 1..=seeds {
        println!("seed {seed}");
        let mut world = World::new(count, seed, &tune);
        for round in 0..300 {
            trouble(&mut world, round);
            for index in 0..count {
                world.random_write(index);
            }
            let pause = world.random(20);
            world.run(pause);
        }
        world.heal();
        world.converge(60_000);
        assert!(!world.nodes[0].store.live().is_empty());
        assert_eq!(world.errors, [], "seed {seed}");
        for node in &world.nodes {
            assert!(!node.alarms.iter().any(|alarm| matches!(alarm, Alarm::Fork { .. })), "seed {seed}");
            assert!(node.hub.report().origins.iter().all(|origin| origin.waiting_batches == 0));
        }
        shown |= world.nodes.iter().any(|node| exercised(&node.hub.report().limits));
    }
    assert!(shown, "no seed met what this is about");
}

#[test]
fn two_nodes_that_write_at_once_end_up_equal() {
    check(2, 10, |_, _| {}, |_, _| {}, |_| true);
}

#[test]
fn three_nodes_converge_whatever_links_are_cut_and_healed() {
    check(
        3,
        5,
        |_, _| {},
        |world, _| match world.random(60) {
            0 => world.heal(),
            1..=3 => {
                let (a, b) = [(0, 1), (0, 2), (1, 2)][world.random(3) as usize];
                world.cut(a, b);
            }
            4 => {
                let pause = world.random(3_000);
                world.run(pause);
            }
            _ => {}
        },
        |limits| limits.pulls > 0,
    );
}

#[test]
fn lost_doubled_and_reordered_batches_change_nothing() {
    check(
        3,
        5,
        |_, settings| settings.grace_ms = 300,
        |world, round| {
            let trouble = round < 250;
            world.batches_lost = if trouble { 50 } else { 0 };
            world.batches_doubled = if trouble { 100 } else { 0 };
            world.batches_delayed = if trouble { 200 } else { 0 };
        },
        |limits| limits.pulls > 0 && limits.duplicates > 0,
    );
}

#[test]
fn rings_that_are_too_small_are_made_good_by_journals_without_comparing_state() {
    check(
        3,
        5,
        |_, settings| {
            settings.ring_bytes = 3_000;
            settings.journal = true;
        },
        |world, round| match round % 100 {
            20 => world.cut(0, 1),
            25 => world.cut(0, 2),
            26 => world.run(2_000),
            70 => world.heal(),
            _ => {}
        },
        |limits| limits.sessions_begun == 0 && limits.journal_batches > 0,
    );
}

#[test]
fn rings_that_are_too_small_are_made_good_by_state_in_both_directions() {
    check(
        3,
        5,
        |_, settings| settings.ring_bytes = 3_000,
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

#[test]
fn sessions_that_lose_their_link_leave_nothing_behind() {
    check(
        3,
        5,
        |_, settings| {
            settings.ring_bytes = 2_000;
            settings.silence_ms = 300;
            settings.heartbeat_ms = 50;
        },
        |world, round| {
            // Long links and short cuts: hardly a session comes to its end before the last heal.
            world.latency_ms = 60;
            match round % 10 {
                2 => {
                    world.cut(0, 1);
                    world.cut(1, 2);
                    world.run(400);
                }
                4 => world.heal(),
                5 => {
                    let pause = world.random(900);
                    world.run(pause);
                }
                _ => {}
            }
        },
        |limits| limits.sessions_abandoned > 0,
    );
}

#[test]
fn small_windows_and_waiting_spaces_only_cost_time() {
    check(
        3,
        6,
        |_, settings| {
            settings.window_bytes = 800;
            settings.waiting_bytes = 1_500;
            settings.grace_ms = 200;
        },
        |world, round| match round % 60 {
            10 => world.cut(1, 2),
            50 => world.heal(),
            _ => {}
        },
        |limits| limits.window_full > 0,
    );
}

#[test]
fn a_third_node_relays_while_a_link_is_cut_and_stops_when_it_is_back() {
    let mut world = World::new(3, 1, |_, _| {});
    world.random_write(0);
    world.converge(1_000);
    world.cut(0, 2);
    world.run(2_000);
    world.random_write(0);
    world.random_write(2);
    world.converge(5_000);
    let relay = |world: &World, peer: usize| {
        world.nodes[1].hub.link_report(identity(peer), Millis(world.now), 0).unwrap().relayed_to_peer
    };
    assert_eq!(relay(&world, 2), [number(1)]);
    assert_eq!(relay(&world, 0), [number(3)]);
    // Subscribed: what comes now needs no grace time.
    world.random_write(0);
    world.converge(200);
    world.heal();
    world.run(2_000);
    world.random_write(0);
    world.random_write(2);
    world.converge(200);
    world.run(200);
    assert!(relay(&world, 2).is_empty() && relay(&world, 0).is_empty());
}

#[test]
fn a_new_node_is_filled_by_state_and_only_then_serves() {
    let mut world = World::new(3, 3, |_, settings| settings.ring_bytes = 1);
    world.stop(2);
    for _ in 0..100 {
        world.random_write(0);
        world.random_write(1);
        world.run(5);
    }
    world.run(500);
    world.start(2, Store::default(), |settings| settings.peers_expected = 2);
    world.run(10);
    assert!(world.nodes[2].hub.is_filling() && !world.nodes[2].filled);
    world.run_until(5_000, "the filling", |world| world.nodes[2].filled);
    assert!(world.nodes[2].sessions_finished > 0);
    assert_eq!(world.nodes[2].store.live(), world.nodes[0].store.live());
    world.converge(5_000);
}

#[test]
fn a_filling_that_takes_longer_than_its_timeout_leaves_no_timer_behind() {
    for fill_timeout_ms in (40..400).step_by(20) {
        let mut world = World::new(3, 4, |_, settings| settings.ring_bytes = 1);
        world.latency_ms = 25;
        world.stop(2);
        for _ in 0..100 {
            world.random_write(0);
            world.random_write(1);
            world.run(5);
        }
        world.run(500);
        world.start(2, Store::default(), |settings| {
            settings.peers_expected = 2;
            settings.fill_timeout_ms = fill_timeout_ms;
        });
        // Every step of the world looks that no timer stays due.
        world.converge(10_000);
    }
}

/// A node whose first wait is over while what fills it is on its way.
fn filling() -> World {
    let mut world = World::new(2, 4, |_, settings| settings.ring_bytes = 1);
    world.latency_ms = 200;
    world.stop(1);
    for _ in 0..100 {
        world.random_write(0);
        world.run(5);
    }
    world.run(500);
    world.start(1, Store::default(), |settings| {
        settings.peers_expected = 1;
        settings.fill_timeout_ms = 600;
    });
    world.run(900);
    assert!(world.nodes[1].hub.is_filling() && !world.nodes[1].filled);
    world
}

#[test]
fn a_node_that_loses_who_fills_it_for_a_moment_serves_no_part() {
    let mut world = filling();
    let store = world.nodes[0].store.clone();
    world.stop(0);
    world.run(100);
    assert!(!world.nodes[1].filled, "it has a part of the keys");
    world.start(0, store, |_| {});
    world.run_until(5_000, "the filling", |world| world.nodes[1].filled);
    assert_eq!(world.nodes[1].store.live(), world.nodes[0].store.live());
}

#[test]
fn a_node_whose_filler_stays_away_waits_as_long_as_at_its_start_and_serves() {
    let mut world = filling();
    world.stop(0);
    world.run(550);
    assert!(!world.nodes[1].filled);
    world.run_until(100, "serving", |world| world.nodes[1].filled);
}

#[test]
fn a_cold_start_of_all_nodes_serves_as_soon_as_all_are_seen_to_be_empty() {
    let mut world = World::new(3, 1, |_, settings| settings.peers_expected = 2);
    assert!(world.nodes.iter().all(|node| node.hub.is_filling()));
    world.run_until(500, "serving", |world| world.nodes.iter().all(|node| node.filled));
}

#[test]
fn a_node_that_finds_nobody_serves_after_the_fill_timeout() {
    let mut world = World::new(2, 1, |_, settings| settings.peers_expected = 1);
    world.cut(0, 1);
    world.run(9_900);
    assert!(!world.nodes[0].filled);
    world.run_until(300, "serving", |world| world.nodes[0].filled);
}

#[test]
fn a_node_without_a_number_is_given_one_by_a_peer() {
    let mut world = World::new(3, 1, |index, settings| {
        if index == 2 {
            settings.number = None;
            settings.numbers.clear();
        }
    });
    world.run_until(1_000, "the number", |world| world.nodes[2].hub.number().is_some());
    assert!(world.nodes[2].hub.number().unwrap().value() > 50);
    (0..3).for_each(|index| world.random_write(index));
    world.converge(2_000);
}

#[test]
fn a_peer_that_does_not_answer_for_a_number_is_not_the_only_one_asked() {
    let mut world = World::new(3, 1, |index, settings| {
        if index == 2 {
            settings.number = None;
            settings.numbers.clear();
        }
    });
    // The first answer is lost with its link.
    world.run(41);
    world.cut(0, 2);
    world.run_until(5_000, "the number", |world| world.nodes[2].hub.number().is_some());
}

#[test]
fn a_removed_identity_is_cut_off_and_told_what_to_do() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(200);
    let view = MemberView { removed: [identity(1)].into(), ..MemberView::default() };
    let now = Millis(world.now);
    world.nodes[0].set_membership(1, view, now);
    world.run(500);
    assert!(world.nodes[0].closed.contains(&(identity(1), CloseReason::Removed)));
    assert!(world.nodes[0].alarms.contains(&Alarm::RemovedPeer { peer: identity(1) }));
    let told = world.nodes[1]
        .closed
        .iter()
        .any(|(_, reason)| matches!(reason, CloseReason::RefusedByPeer { code: Some(RefusalCode::Removed), .. }));
    assert!(told, "{:?}", world.nodes[1].closed);
}

#[test]
fn what_a_removed_node_wrote_still_spreads_and_nothing_waits_beyond_its_seal() {
    let mut world = World::new(3, 1, |_, _| {});
    world.random_write(2);
    world.converge(1_000);
    world.cut(0, 2);
    world.random_write(2);
    world.run(100);
    world.stop(2);
    let sealed = world.nodes[1].store.vector.of(number(3));
    assert!(sealed > world.nodes[0].store.vector.of(number(3)));
    let view =
        MemberView { removed: [identity(2)].into(), sealed: [(number(3), sealed)].into(), ..MemberView::default() };
    for index in 0..2 {
        let now = Millis(world.now);
        world.nodes[index].set_membership(1, view.clone(), now);
    }
    world.converge(3_000);
    assert_eq!(world.nodes[0].store.vector.of(number(3)), sealed);
}

#[test]
fn a_node_never_links_with_itself_or_with_another_cluster() {
    let mut world = World::new(2, 1, |index, settings| settings.cluster = ClusterId([index as u8; 16]));
    let (now, me) = (Millis(world.now), identity(0));
    world.nodes[0].hub.link_up(me, now, world::WALL_START);
    world.run(200);
    assert!(world.nodes[0].closed.contains(&(me, CloseReason::SelfPeering)) || !world.nodes[0].closed.is_empty());
    for index in 0..2 {
        assert!(world.nodes[index].hub.ready_peers().is_empty());
        assert!(world.nodes[index].closed.iter().any(|(_, reason)| {
            matches!(reason, CloseReason::Refused(why) | CloseReason::RefusedByPeer { sentence: why, .. } if why.contains("cluster"))
        }));
    }
}

#[test]
fn a_restored_backup_takes_another_number_and_gets_its_own_tail_back() {
    let mut world = World::new(2, 1, |_, _| {});
    world.random_write(1);
    world.converge(2_000);
    let backup = world.nodes[1].store.clone();
    (0..5).for_each(|_| world.random_write(1));
    world.converge(2_000);
    world.stop(1);
    world.start(1, backup, |_| {});
    world.run_until(1_000, "the overrun", |world| world.nodes[1].overruns == 1);
    let now = Millis(world.now);
    world.nodes[1].hub.request_number(now);
    world.run_until(1_000, "the number", |world| world.nodes[1].hub.number() != Some(number(2)));
    world.random_write(1);
    world.converge(5_000);
    assert_eq!(world.errors, []);
}

#[test]
fn two_processes_under_one_number_are_found_by_their_chain() {
    let mut world = World::new(3, 1, |_, _| {});
    world.cut(0, 1);
    world.cut(0, 2);
    let wall = world.wall(2);
    world.nodes[2].write(1, Some(1), wall);
    world.converge_pair(1, 2, 1_000);
    // Node 0 writes under the number of node 2: what a copied directory does.
    let twin = number(3);
    let now = Millis(world.now);
    world.nodes[0].hub.set_number(twin);
    world.random_write(0);
    world.nodes[0].drain(now);
    world.random_write(0);
    world.nodes[0].drain(now);
    world.heal();
    world.run(3_000);
    let alarmed = world.nodes.iter().any(|node| {
        node.alarms.iter().any(|alarm| matches!(alarm, Alarm::NumberTaken { .. } | Alarm::Fork { .. }))
            || node.overruns > 0
    });
    assert!(alarmed);
}

#[test]
fn the_lag_report_grows_while_a_peer_is_away_and_falls_when_it_is_back() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(200);
    world.random_write(0);
    world.converge(1_000);
    world.run(200);
    let lag = |world: &World| {
        let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0)).unwrap();
        (report.applied_lag_ms, report.unacknowledged_changes, report.phase)
    };
    assert!(lag(&world).0 < 60, "{:?}", lag(&world));
    world.cut(0, 1);
    world.random_write(0);
    world.run(5_000);
    assert!(lag(&world).0 >= 4_990 && lag(&world).1 == 1, "{:?}", lag(&world));
    world.heal();
    world.converge(1_000);
    world.run(200);
    world.random_write(0);
    world.run(500);
    assert!(lag(&world).0 < 60 && lag(&world).1 == 0, "{:?}", lag(&world));
    let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0)).unwrap();
    let counted: u64 = report.applied_lags.counts.iter().sum();
    assert!((2..=3).contains(&counted), "each batch is counted once when it is acknowledged: {counted}");
    let beyond_a_second: u64 = report.applied_lags.counts[8..].iter().sum();
    assert!(beyond_a_second <= 1 && report.applied_lags.sum_ms < 6_000, "{:?}", report.applied_lags);
}

#[test]
fn what_a_peer_got_by_way_of_another_is_counted_when_the_link_is_back() {
    let mut world = World::new(3, 1, |_, _| {});
    world.run(200);
    world.random_write(0);
    world.converge(1_000);
    world.run(200);
    let counted = |world: &World| {
        let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0)).unwrap();
        report.applied_lags.counts.iter().sum::<u64>()
    };
    world.cut(0, 1);
    world.random_write(0);
    world.run(10_000);
    assert_eq!(world.nodes[1].store.vector, world.nodes[0].store.vector);
    assert_eq!(counted(&world), 1);
    world.heal();
    world.run(2_000);
    assert_eq!(counted(&world), 2);
}

#[test]
fn what_was_restored_and_is_not_acknowledged_is_as_old_as_it_is() {
    let mut world = World::new(2, 1, |_, _| {});
    world.random_write(0);
    world.converge(1_000);
    world.cut(0, 1);
    world.random_write(0);
    world.run(5_000);
    let (store, journal) = (world.nodes[0].store.clone(), world.nodes[0].journal.clone());
    world.stop(0);
    world.run(5_000);
    world.start(0, store, |_| {});
    journal.into_iter().for_each(|batch| world.nodes[0].hub.restore(batch));
    // Before it is known what the peer has, nothing is said of that.
    let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0));
    assert!(report.is_none_or(|report| report.applied_lag_ms < 100));
    // The link stands, and the peer has nothing of it yet.
    world.heal();
    world.run_until(3_000, "the link stands", |world| {
        let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0));
        report.is_some_and(|report| report.phase == LinkPhase::Ready)
    });
    let report = world.nodes[0].hub.link_report(identity(1), Millis(world.now), world.wall(0)).unwrap();
    assert_eq!(report.unacknowledged_changes, 1);
    assert!(report.applied_lag_ms >= 9_000, "{}", report.applied_lag_ms);
}

#[test]
fn what_all_have_applied_is_known_when_all_rest() {
    let mut world = World::new(3, 1, |_, _| {});
    (0..3).for_each(|index| world.random_write(index));
    world.converge(1_000);
    world.run(1_000);
    let all: VersionVector = world.nodes[0].store.vector.clone();
    for node in &world.nodes {
        assert_eq!(node.settled.len(), 2);
        assert!(node.settled.values().all(|settled| *settled == all));
    }
}

#[test]
fn an_idle_link_says_little() {
    let mut world = World::new(3, 1, |_, _| {});
    (0..3).for_each(|index| world.random_write(index));
    world.converge(1_000);
    world.run(2_000);
    world.bytes_sent.clear();
    world.run(10_000);
    let bytes: u64 = world.bytes_sent.values().sum();
    // Six directions for ten seconds; QUIC and IP add about 70 bytes to each of four frames a second.
    assert!(bytes / 60 < 200, "{} bytes a second and direction", bytes / 60);
}

#[test]
fn questions_are_answered_and_membership_spreads() {
    let mut world = World::new(3, 1, |_, _| {});
    world.run(200);
    let now = Millis(world.now);
    assert!(world.nodes[0].hub.request(identity(1), b"how are you".to_vec()).is_some());
    assert!(world.nodes[0].hub.send_audit(identity(2), b"proof".to_vec()));
    world.nodes[2].set_membership(5, MemberView::default(), now);
    world.run(200);
    assert_eq!(world.nodes[0].answers, [&b"re: how are you"[..]]);
    assert_eq!(world.nodes[2].answers, [&b"proof"[..]]);
    assert!(world.nodes.iter().all(|node| node.membership == 5));
}

#[test]
fn a_numbers_last_batches_reach_everybody_after_its_node_is_gone() {
    let mut world = World::new(3, 9, |_, _| {});
    world.run(200);
    world.cut(0, 2);
    world.random_write(2);
    world.run(60);
    world.stop(2);
    world.converge(3_000);
    assert!(world.nodes[0].store.vector.of(NodeNumber::new(3).unwrap()) > Stamp::ZERO);
}

#[test]
fn who_did_not_listen_for_a_while_calls_nobody_silent() {
    let mut world = World::new(2, 1, |_, _| {});
    world.run(1_000);
    // The first node is busy for longer than a peer may be silent. What the other has said meanwhile waits for it.
    let (busy_until, wall) = (Millis(world.now + 5_000), world.wall(0) + 5_000);
    world.nodes[0].hub.handle_timeout(busy_until, wall);
    let report = world.nodes[0].hub.link_report(identity(1), busy_until, wall).unwrap();
    assert_eq!(report.phase, LinkPhase::Ready);
    // From then on it listens, and a peer that says nothing is found out.
    let mut now = busy_until;
    for _ in 0..40 {
        now = now.after(100);
        world.nodes[0].hub.handle_timeout(now, wall);
    }
    let report = world.nodes[0].hub.link_report(identity(1), now, wall).unwrap();
    assert_ne!(report.phase, LinkPhase::Ready);
}

#[test]
fn who_did_not_listen_for_a_while_does_not_give_up_those_who_greet_it() {
    let mut world = World::new(2, 1, |_, _| {});
    // It has heard nothing yet: the other's greeting waits for it.
    world.step();
    let phase = |world: &World, now| {
        let report = world.nodes[0].hub.link_report(identity(1), now, world.wall(0));
        report.unwrap().phase
    };
    let mut now = Millis(world.now + 10_000);
    assert_eq!(phase(&world, now), LinkPhase::Greeting);
    let wall = world.wall(0) + 10_000;
    world.nodes[0].hub.handle_timeout(now, wall);
    assert_eq!(phase(&world, now), LinkPhase::Greeting);
    // From then on it listens, and a peer that says nothing is found out.
    while let Some(due) = world.nodes[0].hub.poll_timeout() {
        assert!(due > now && due < now.after(10_000));
        now = due;
        world.nodes[0].hub.handle_timeout(now, wall);
    }
    assert_ne!(phase(&world, now), LinkPhase::Greeting);
}

#[test]
fn a_node_without_links_keeps_little_for_others() {
    let mut world = World::new(1, 1, |_, _| {});
    let hub = &mut world.nodes[0].hub;
    let (me, wall) = (number(1), world::WALL_START);
    let mut noise = 1_u64;
    for count in 1..=40 {
        let raw: Vec<u8> = (0..1 << 19)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        let stamp = Stamp::at(wall + count, me);
        let batch = protocol::Batch::seal(
            hub.own_tail(),
            stamp,
            stamp,
            VersionVector::new(),
            1,
            &raw,
            &mut protocol::Compression::default(),
        );
        let now = Millis(1_000 + 1_000 * count);
        hub.publish(batch, now);
        if hub.poll_timeout().is_some_and(|due| due <= now) {
            hub.handle_timeout(now, wall);
            assert!(hub.poll_timeout().is_none_or(|due| due > now));
        }
    }
    let kept = protocol::limits::RING_BYTES_KEPT + (1 << 20);
    assert!(hub.report().ring_bytes <= kept, "{}", hub.report().ring_bytes);
}
