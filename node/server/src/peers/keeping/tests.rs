//! What waits for a slow disk: it is done late, and nothing that builds on it is said before.

use super::*;
use crate::peers::tests::{SlowDisk, founded, in_a_runtime, noise, until, write};
use keyspace::Writer;
use protocol::{NodeIdentity, RequestId};
use storage::Fs;

/// Writes until the disk, whose gate is shut, takes no more.
fn fill_queue(peers: &mut Peers, writer: &mut Writer) {
    let value = noise(12 << 20);
    while peers.keeping.has_room() {
        write(writer, b"large", &value);
        peers.close_batches();
    }
}

/// A node whose disk, which has nothing on it, is read.
fn started(disk: &SlowDisk) -> (Peers, Writer) {
    let (mut peers, writer) = founded(Some(disk));
    until(&mut peers, |peers| peers.node.durability.state().loading.is_none());
    (peers, writer)
}

#[test]
fn what_a_slow_disk_leaves_open_is_not_called_closed_and_nobody_waits_for_it() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(1);
        let (mut peers, mut writer) = started(&disk);
        let number = peers.number().unwrap();
        let gate = disk.gate.lock();
        fill_queue(&mut peers, &mut writer);
        let last = write(&mut writer, b"k", b"v");
        assert!(!peers.close_logged());
        assert!(!peers.is_published() && !peers.note_moment());
        let (peer, id) = (NodeIdentity([9; 32]), RequestId(1));
        peers.answer(peer, id, b"drain 1");
        let asked = |peers: &mut Peers| {
            let waiting = peers.keeping.waiting.iter().map(|queued| &queued.then);
            peers
                .keeping
                .closing
                .iter()
                .map(|(_, then)| then)
                .chain(waiting)
                .any(|then| matches!(then, Waiting::Drained { .. }))
        };
        // The answer would leave out what is still open.
        assert!(asked(&mut peers) && peers.node.condition.writes_refused().is_some());
        assert!(peers.hub.closed_vector().of(number) < last);
        drop(gate);
        until(&mut peers, |peers| !asked(peers));
        assert_eq!(peers.hub.closed_vector().of(number), last);
        assert!(peers.note_moment() && peers.is_published());
        assert!(peers.stop_disk());
    });
}

#[test]
fn what_a_disk_that_stood_still_lets_go_at_once_is_carried_out_in_turns() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(1);
        let (mut peers, mut writer) = started(&disk);
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        let number = peers.number().unwrap();
        let gate = disk.gate.lock();
        // The first is with the disk already.
        let stamps: Vec<Stamp> = (0..4u8)
            .map(|value| {
                let stamp = write(&mut writer, b"k", &[value]);
                peers.close_batches();
                stamp
            })
            .collect();
        let waiting = peers.keeping.waiting.len();
        assert_eq!(waiting, stamps.len());
        drop(gate);
        let all_written = |peers: &mut Peers| {
            let store = peers.keeping.store.as_mut().unwrap();
            store.disk.poll(0);
            store.progress().written() >= store.disk.position()
        };
        while !all_written(&mut peers) {
            std::thread::yield_now();
        }
        // A turn that is over after the first leaves the others, and says that there is more to do at once.
        peers.keeping.is_behind = peers.carry_out_while(|_| false);
        assert_eq!((peers.keeping.waiting.len(), peers.keeping.is_behind), (waiting - 1, true));
        assert!(peers.keeping.due().is_some_and(|due| due <= Instant::now()));
        assert_eq!(peers.hub.closed_vector().of(number), stamps[0]);
        // Whoever needs all of it has all of it.
        assert!(peers.is_published() && !peers.keeping.is_behind);
        assert_eq!((peers.keeping.waiting.len(), peers.hub.closed_vector().of(number)), (0, stamps[3]));
        assert!(peers.stop_disk());
    });
}

#[test]
fn a_pipeline_that_runs_for_long_holds_up_what_builds_on_its_being_closed_and_nothing_else() {
    in_a_runtime(|| {
        let (mut peers, mut writer) = founded(None);
        let mut other = peers.node.keyspace.writer();
        let first = write(&mut writer, b"before", b"v");
        other.begin_pipeline();
        let last = write(&mut other, b"k", b"v");
        assert!(!peers.note_moment() && !peers.close_logged());
        // One that comes later is not waited for.
        writer.begin_pipeline();
        write(&mut writer, b"later", b"v");
        assert_eq!(peers.hub.closed_vector().of(first.author()), first);
        peers.look_at_disk();
        assert!(peers.keeping.due().is_some() && !peers.keeping.closing.is_empty());
        other.end_pipeline();
        peers.look_at_disk();
        assert_eq!(peers.hub.closed_vector().of(first.author()), last);
        assert!(peers.keeping.closing.is_empty());
        writer.end_pipeline();
        assert!(peers.close_everything());
    });
}

#[test]
fn what_is_open_at_an_orderly_stop_is_on_the_disk_after_it() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(2);
        let (mut peers, mut writer) = started(&disk);
        let gate = disk.gate.lock();
        fill_queue(&mut peers, &mut writer);
        let last = write(&mut writer, b"k", b"v");
        drop(gate);
        assert!(peers.stop_disk());
        assert_eq!(peers.keeping.sealed.last, last);
    });
}

#[test]
fn a_checkpoint_begins_although_something_always_waits_for_the_disk() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(3);
        let (mut peers, mut writer) = started(&disk);
        write(&mut writer, b"before", b"v");
        assert!(peers.close_logged());
        until(&mut peers, Peers::is_published);
        let carried_out = peers.keeping.store.as_ref().unwrap().disk.position();
        let gate = disk.gate.lock();
        write(&mut writer, b"k", b"v");
        assert!(peers.close_logged() && !peers.is_published());
        let before = peers.hub.closed_vector().clone();
        assert!(peers.node.durability.wish_checkpoint());
        peers.look_at_disk();
        let runs = |peers: &Peers| {
            let store = peers.keeping.store.as_ref().unwrap();
            !matches!(store.checkpoints.state, CheckpointState::Idle)
        };
        assert!(runs(&peers), "it waits for a quiet moment");
        drop(gate);
        until(&mut peers, |peers| !runs(peers));
        let manifest = peers.keeping.store.as_ref().unwrap().checkpoints.last.clone().unwrap();
        // What waited is replayed over the images.
        assert_eq!((manifest.position, &manifest.vector), (carried_out, &before));
        assert!(peers.stop_disk());
    });
}

#[test]
fn a_checkpoint_that_fills_the_disk_leaves_nothing_there() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(5);
        let (mut peers, mut writer) = started(&disk);
        for key in 0..64_u64 {
            write(&mut writer, &key.to_le_bytes(), &noise(8 << 10));
        }
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        let files = |disk: &SlowDisk| disk.files.list().unwrap();
        let used: u64 = files(&disk).iter().map(|file| file.bytes).sum();
        let room = storage::DiskFaults { capacity_bytes: used + (100 << 10), ..Default::default() };
        disk.files.set_faults(room);
        let ended = peers.node.durability.checkpoints_ended();
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| peers.node.durability.checkpoints_ended() > ended);
        assert!(peers.node.durability.state().checkpoint_failed);
        // Nobody needs to take another one for that.
        until(&mut peers, |_| !files(&disk).iter().any(|file| file.name.starts_with("image-")));
        // One that is made room for counts.
        disk.files.set_faults(storage::DiskFaults::default());
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| peers.node.durability.checkpoints_ended() > ended + 1);
        assert!(!peers.node.durability.state().checkpoint_failed && peers.stop_disk());
    });
}

#[test]
fn a_checkpoint_for_which_there_is_no_room_is_told_and_takes_the_journal_no_space() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(9);
        let (mut peers, mut writer) = started(&disk);
        let ended = peers.node.durability.checkpoints_ended();
        let mut checkpoint = |peers: &mut Peers, nth: u64| {
            for key in 0..20_000_u64 {
                write(&mut writer, &key.to_le_bytes(), b"a value of some bytes");
            }
            until(peers, |peers| peers.close_logged() && peers.is_published());
            assert!(peers.node.durability.wish_checkpoint());
            until(peers, |peers| peers.node.durability.checkpoints_ended() == ended + nth);
            peers.node.durability.state()
        };
        let images = checkpoint(&mut peers, 1).checkpoint_bytes;
        let files = |prefix: &str| {
            let files = disk.files.list().unwrap().into_iter();
            files.filter(|file| file.name.starts_with(prefix)).map(|file| file.bytes).sum::<u64>()
        };
        // What the journal takes meanwhile is less than what is missing.
        let capacity_bytes = files("") + images / 4;
        disk.files.set_faults(storage::DiskFaults { capacity_bytes, ..Default::default() });
        let state = checkpoint(&mut peers, 2);
        assert!(state.checkpoint_failed && state.checkpoint_lacks_bytes > 0, "{state:?}");
        assert_eq!((files("image-"), peers.node.durability.state().health), (images, Health::Sound));
        disk.files.set_faults(storage::DiskFaults::default());
        let state = checkpoint(&mut peers, 3);
        assert!(!state.checkpoint_failed && state.checkpoint_lacks_bytes == 0, "{state:?}");
        assert!(peers.stop_disk());
    });
}

#[test]
fn a_disk_that_hangs_is_told_while_it_hangs_and_once() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(6);
        let (mut peers, mut writer) = started(&disk);
        let gate = disk.gate.lock();
        write(&mut writer, b"k", b"v");
        assert!(peers.close_logged());
        // Each look at the clock finds it later.
        let state = |peers: &Peers| peers.node.durability.state();
        until(&mut peers, |peers| state(peers).stalls > 0);
        peers.judge_disk();
        assert!(state(&peers).stalled_ms >= storage::limits::STALL_MS_MAX && state(&peers).stalls == 1);
        assert_eq!(state(&peers).health, Health::Sound);
        drop(gate);
        until(&mut peers, |peers| peers.is_published() && state(peers).stalled_ms == 0);
        assert!(peers.stop_disk());
    });
}

#[test]
fn a_checkpoint_that_is_scheduled_while_one_runs_is_taken_after_it() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(7);
        let (mut peers, mut writer) = started(&disk);
        write(&mut writer, b"k", b"v");
        let ended = peers.node.durability.checkpoints_ended();
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| peers.node.durability.state().checkpoint_since_ms.is_some());
        assert!(!peers.node.durability.wish_checkpoint());
        peers.node.durability.wish_next_checkpoint();
        assert!(peers.node.durability.is_wished());
        until(&mut peers, |peers| peers.node.durability.checkpoints_ended() == ended + 2);
        assert!(!peers.node.durability.is_wished() && peers.stop_disk());
    });
}

#[test]
fn a_defect_of_the_thread_that_takes_checkpoints_is_told_until_one_is_finished() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(4);
        let (mut peers, mut writer) = started(&disk);
        write(&mut writer, b"k", b"v");
        *disk.defect.lock() = Some("image-");
        for (health, panics) in [("failing", 1), ("failing", 2), ("ok", 2)] {
            let ended = peers.node.durability.checkpoints_ended();
            if health == "ok" {
                *disk.defect.lock() = None;
            }
            assert!(peers.node.durability.wish_checkpoint());
            until(&mut peers, |peers| peers.node.durability.checkpoints_ended() > ended);
            let state = peers.node.durability.state();
            assert_eq!((state.health.name(), state.panics), (health, panics));
            assert_eq!(state.checkpoint_failed, health != "ok");
            let named = state.health.sentence().is_some_and(|sentence| sentence.contains("\"checkpoint\""));
            assert_eq!(named, health != "ok");
        }
        // What is written is kept all the time.
        assert!(peers.node.condition.writes_refused().is_none() && peers.stop_disk());
    });
}

#[test]
fn a_walk_that_was_given_up_is_not_taken_for_the_next_one() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(8);
        let (mut peers, mut writer) = started(&disk);
        write(&mut writer, b"k", b"v");
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        // What may be in the images cannot be closed yet.
        let mut other = peers.node.keyspace.writer();
        other.begin_pipeline();
        write(&mut other, b"open", b"v");
        let walked = |peers: &Peers| {
            let closing = peers.keeping.closing.iter();
            closing.filter(|(_, then)| matches!(then, Waiting::Walked(_))).count()
        };
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| walked(peers) == 1);
        let ended = peers.node.durability.checkpoints_ended();
        peers.give_up_checkpoint(Hindrance::Other, peers.node.wall_clock());
        peers.keep_raised(VersionVector::new());
        let position = peers.keeping.store.as_ref().unwrap().disk.position();
        assert!(peers.node.durability.wish_checkpoint());
        until(&mut peers, |peers| walked(peers) == 2);
        other.end_pipeline();
        until(&mut peers, |peers| peers.node.durability.checkpoints_ended() == ended + 2);
        let last = peers.keeping.store.as_ref().unwrap().checkpoints.last.clone().unwrap();
        assert_eq!(last.position, position, "the first walk counts, whose files are gone");
        assert!(!peers.node.durability.state().checkpoint_failed && peers.stop_disk());
    });
}
