//! Starts that end early, and what the next one may make of what they have left.

use super::*;
use crate::console::Stop;
use crate::peers::tests::{SlowDisk, begun, in_a_runtime, prepared, until, write};
use storage::{Fs, MemoryCatalogue};

#[test]
fn quic_outlasts_every_silence_that_may_be_set() {
    let usual = Duration::from_secs(15);
    assert_eq!(idle_time(usual, Duration::from_millis(1_500)), usual);
    assert!(idle_time(usual, Duration::from_secs(600)) > Duration::from_secs(600));
}

/// A disk and a catalogue that a node has written to, whose host then lost power: peers may have more of what the node
/// wrote under this number than the disk.
fn crashed(seed: u64) -> (SlowDisk, Arc<MemoryCatalogue>, NodeNumber) {
    let disk = SlowDisk::new(seed);
    let rows = Arc::new(MemoryCatalogue::on(&disk.files));
    let mut peers = prepared(Some(&disk), &rows, 1, "first boot").unwrap();
    assert!(peers.load());
    until(&mut peers, |peers| peers.has_read_all() && peers.filled);
    let mut writer = peers.node.keyspace.writer();
    write(&mut writer, b"k", b"v");
    until(&mut peers, |peers| peers.close_logged() && peers.is_published());
    let number = peers.number().unwrap();
    disk.files.fail_power_at(0);
    drop(peers);
    disk.files.crash();
    rows.crash();
    (disk, rows, number)
}

/// The host has crashed under the first life, so its number is not used again: neither by the start after that nor, if
/// that start is killed, by the one behind it, which finds that the host has stayed up since.
#[test]
fn a_number_whose_tail_may_be_missing_is_given_up_whichever_step_of_a_start_was_the_last() {
    in_a_runtime(|| {
        for step in 1.. {
            let (disk, rows, number) = crashed(9);
            disk.files.fail_power_at(disk.files.operations() + step);
            if let Ok(mut peers) = prepared(Some(&disk), &rows, 2, "second boot") {
                peers.load();
            }
            let is_through = !disk.files.is_off();
            disk.files.end_process();
            let mut peers = prepared(Some(&disk), &rows, 3, "second boot").unwrap();
            assert!(peers.load());
            let now = peers.number().unwrap();
            assert_ne!(now, number, "the start before ended at step {step}");
            if is_through {
                assert!(step > 20, "a start has so many steps");
                return;
            }
        }
    });
}

/// The disk has failed, so nothing could be noted on it, and the volume was mounted again while the host stayed up.
#[test]
fn a_number_whose_tail_was_lost_with_a_volume_is_given_up_although_the_host_has_stayed_up() {
    in_a_runtime(|| {
        let (disk, rows, number) = crashed(15);
        let mut peers = prepared(Some(&disk), &rows, 2, "first boot").unwrap();
        assert!(peers.load());
        let fresh = peers.number().unwrap();
        assert_ne!(fresh, number);
        until(&mut peers, |peers| peers.has_read_all());
        drop(peers);
        // A process that is killed has lost nothing, and one that has ended in order left nothing to be lost.
        let mut peers = prepared(Some(&disk), &rows, 3, "first boot").unwrap();
        assert!(peers.load());
        assert_eq!(peers.number(), Some(fresh));
        until(&mut peers, |peers| peers.has_read_all());
        assert!(peers.stop_disk());
        peers.rows.end_cleanly().unwrap();
        drop(peers);
        disk.files.crash();
        rows.crash();
        let mut peers = prepared(Some(&disk), &rows, 4, "first boot").unwrap();
        assert!(peers.load());
        assert_eq!(peers.number(), Some(fresh));
    });
}

/// A node that has everything, and a key in its journal.
fn with_a_key(seed: u64) -> (SlowDisk, Arc<MemoryCatalogue>, Peers, keyspace::Writer) {
    let (disk, rows) = (SlowDisk::new(seed), Arc::new(MemoryCatalogue::new()));
    let (mut peers, mut writer) = begun(Some(&disk), &rows, 1);
    until(&mut peers, |peers| peers.has_read_all() && peers.filled);
    write(&mut writer, b"k", b"v");
    until(&mut peers, |peers| peers.close_logged() && peers.is_published());
    (disk, rows, peers, writer)
}

/// Its journal says that it has all of what it wrote under its number, and peers have other things under that.
#[test]
fn a_node_that_is_killed_while_it_gets_what_a_fork_has_cost_does_not_believe_its_journal() {
    in_a_runtime(|| {
        let (disk, rows, mut peers, writer) = with_a_key(16);
        let number = peers.number().unwrap();
        peers.history_has_forked(NodeIdentity([9; 32]));
        until(&mut peers, |peers| peers.has_read_all());
        let fresh = peers.number().unwrap();
        assert!(fresh != number && peers.node.keyspace.applied().of(number) == crdt::Stamp::ZERO);
        assert!(peers.stop_disk());
        drop((peers, writer));
        let (peers, _) = begun(Some(&disk), &rows, 2);
        assert!(![number, fresh].contains(&peers.number().unwrap()));
        assert_eq!((peers.node.keyspace.applied().of(number), peers.node.keyspace.len(0)), (crdt::Stamp::ZERO, 1));
        assert_eq!(peers.node.keyspace.known_in_part().of(number).author(), number);
    });
}

/// A checkpoint that began before says that everything is here, and so would the catalogue after it.
#[test]
fn a_checkpoint_that_runs_when_a_fork_is_found_does_not_count() {
    in_a_runtime(|| {
        let (disk, rows, mut peers, writer) = with_a_key(17);
        let (number, ended) = (peers.number().unwrap(), peers.node.durability.checkpoints_ended());
        let gate = disk.gate.lock();
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| {
            let store = peers.keeping.store.as_ref().unwrap();
            matches!(store.checkpoints.state, crate::persistence::CheckpointState::Walking)
        });
        peers.history_has_forked(NodeIdentity([9; 32]));
        drop(gate);
        until(&mut peers, |peers| peers.node.durability.checkpoints_ended() > ended);
        assert!(peers.node.durability.state().checkpoint_failed);
        until(&mut peers, |peers| peers.has_read_all());
        assert!(peers.rows.is_forked().unwrap());
        assert!(peers.stop_disk());
        drop((peers, writer));
        let (peers, _) = begun(Some(&disk), &rows, 2);
        assert_ne!(peers.number(), Some(number));
        assert_eq!(peers.node.keyspace.applied().of(number), crdt::Stamp::ZERO);
    });
}

#[test]
fn a_node_whose_numbers_are_used_up_does_not_go_on_under_the_last_one_when_it_is_restarted() {
    in_a_runtime(|| {
        let (disk, rows, number) = crashed(10);
        let kept = CatalogueRows::new(Arc::<MemoryCatalogue>::clone(&rows));
        let mut membership = Membership::decode(&kept.membership().unwrap().unwrap()).unwrap();
        let me = membership.view().owners().find(|(of, _)| *of == number).unwrap().1;
        let mut last = number;
        while let Ok(next) = membership.grant_number(me, me, membership.latest_stamp().next(1, number)) {
            last = next;
        }
        kept.set_membership(&membership.encode()).unwrap();
        for boot in 2..4 {
            let mut peers = prepared(Some(&disk), &rows, boot, "second boot").unwrap();
            assert!(peers.load());
            assert_eq!(peers.number(), None, "{last:?} is that of a life which may have lost something");
            assert!(peers.number_needed.is_some());
            assert!(peers.stop_disk());
        }
    });
}

#[test]
fn what_a_checkpoint_has_left_on_a_full_disk_goes_before_a_start_writes_anything() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(12), Arc::new(MemoryCatalogue::new()));
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled);
        write(&mut writer, b"k", b"v");
        let left = |disk: &SlowDisk| {
            let names = disk.files.list().unwrap().into_iter().map(|file| file.name);
            names.filter(|name| name.ends_with(".new") || name.ends_with("-009")).count()
        };
        let leave = || {
            for name in ["checkpoint.new", "image-0000000000000009-009"] {
                disk.files.create(name).unwrap().append(b"left").unwrap();
            }
        };
        leave();
        drop(prepared(Some(&disk), &rows, 2, "boot").unwrap());
        assert_eq!(left(&disk), 1, "without a manifest the image may be one of a checkpoint");
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| peers.node.durability.state().checkpoints > 0);
        assert!(peers.stop_disk());
        leave();
        drop(prepared(Some(&disk), &rows, 3, "boot").unwrap());
        assert_eq!(left(&disk), 0);
    });
}

#[test]
fn a_start_that_is_told_to_stop_ends_and_the_next_one_has_everything() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(11), Arc::new(MemoryCatalogue::new()));
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled);
        write(&mut writer, b"k", b"v");
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        assert!(peers.stop_disk());
        let mut peers = prepared(Some(&disk), &rows, 2, "boot").unwrap();
        peers.node.console.request_stop(Stop::Orderly);
        assert!(!peers.load(), "it reads no further");
        assert_eq!(peers.node.console.stop_requested(), Some(Stop::Orderly));
        drop(peers);
        let (mut peers, _) = begun(Some(&disk), &rows, 3);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled);
        assert_eq!(peers.node.keyspace.len(0), 1);
        assert!(peers.stop_disk());
    });
}

/// Peers hold writes of this node that it has lost, so it must go on under another number, and has none of its own left.
/// It is killed before it could be given one, and starts where nobody can be reached.
#[test]
fn a_node_that_waits_for_another_number_waits_for_it_after_a_restart_too() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(13), Arc::new(MemoryCatalogue::new()));
        let (mut peers, _) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled);
        let (me, other) = (peers.identity, NodeIdentity([9; 32]));
        let record = MemberRecord { name: "b".into(), ..peers.membership.view().member(me).unwrap().record.clone() };
        peers.admit_member(other, record).unwrap();
        while let Some(stamp) = peers.membership_stamp()
            && peers.membership.grant_number(me, me, stamp).is_ok()
        {}
        assert!(peers.keep_membership() && peers.stop_disk());
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 2);
        until(&mut peers, |peers| peers.has_read_all());
        let last = peers.number().unwrap();
        write(&mut writer, b"k", b"v");
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        peers.renumber();
        assert!(peers.node.condition.writes_refused().is_some());
        peers.housekeeping();
        drop((peers, writer));
        for boot in 3..5 {
            let (mut peers, _) = begun(Some(&disk), &rows, boot);
            assert_eq!(peers.number(), None, "{last:?} is that of what others have more of");
            assert_eq!(peers.number_needed, Some(NumberNeeded::NoneLeft));
            peers.housekeeping();
            drop(peers);
        }
        // Once somebody has given it one, it goes on under that.
        let (mut peers, _) = begun(Some(&disk), &rows, 5);
        until(&mut peers, |peers| peers.has_read_all());
        let stamp = peers.membership.latest_stamp().next(1, last);
        let next = peers.membership.grant_number(other, me, stamp).unwrap();
        assert!(peers.keep_membership());
        peers.take_number(next);
        peers.housekeeping();
        assert_eq!((peers.number(), peers.number_needed), (Some(next), None));
        drop(peers);
        let (peers, _) = begun(Some(&disk), &rows, 6);
        assert_eq!(peers.number(), Some(next));
    });
}

/// A later life of this node has ended its number, so what it writes would reach nobody.
#[test]
fn a_node_whose_number_has_ended_does_not_write_under_it_after_a_restart_either() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(14), Arc::new(MemoryCatalogue::new()));
        let (mut peers, _) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled);
        peers.number_has_ended();
        assert_eq!(peers.number(), None);
        drop(peers);
        let (peers, _) = begun(Some(&disk), &rows, 2);
        assert_eq!((peers.number(), peers.number_needed), (None, Some(NumberNeeded::Copied)));
    });
}

/// Whoever was admitted to a cluster and reached nobody must not serve what it has, which is nothing; a node that was one of
/// them may, when all have lost what they had.
#[test]
fn a_node_is_a_newcomer_until_it_has_what_the_others_have() {
    in_a_runtime(|| {
        let rows = Arc::new(MemoryCatalogue::new());
        CatalogueRows::new(Arc::<MemoryCatalogue>::clone(&rows)).set_newcomer(true).unwrap();
        let (mut peers, _) = begun(None, &rows, 1);
        assert!(peers.hub_settings.is_newcomer);
        until(&mut peers, |peers| peers.filled);
        assert!(!peers.hub_settings.is_newcomer && !peers.rows.is_newcomer().unwrap());
    });
}
