//! Starts whose disk has less than it should, and ends that come too early.

use super::super::STOP_DRAIN_TIME;
use super::super::tests::{SlowDisk, begun, in_a_runtime, until, write};
use super::*;
use std::sync::Arc;
use storage::{Fs, MemoryCatalogue};
use tokio::sync::oneshot;

/// What is left of a life that wrote a key, took a checkpoint and ended in order; and the number it had.
fn left(disk: &SlowDisk, rows: &Arc<MemoryCatalogue>) -> NodeNumber {
    let (mut peers, mut writer) = begun(Some(disk), rows, 1);
    until(&mut peers, |peers| peers.has_read_all() && peers.filled);
    write(&mut writer, b"k", b"v");
    assert!(peers.node.durability.wish_checkpoint());
    let has_image = || disk.list().unwrap().iter().any(|file| file.name == "checkpoint");
    until(&mut peers, |peers| peers.close_logged() && peers.is_published() && has_image());
    let number = peers.number().unwrap();
    assert!(peers.stop_disk());
    peers.rows.end_cleanly().unwrap();
    number
}

/// Damages the image with the key.
fn damage(disk: &SlowDisk) {
    let image = disk.list().unwrap().into_iter().find(|file| file.name.starts_with("image-")).unwrap();
    assert!(disk.files.flip(&image.name, 8 * 90));
}

#[test]
fn a_node_that_finds_less_than_it_believed_goes_on_under_another_number_when_the_disk_has_all_it_wrote() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(1), Arc::new(MemoryCatalogue::new()));
        let before = left(&disk, &rows);
        damage(&disk);
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 2);
        assert_eq!(peers.number(), Some(before), "nothing is wrong as far as can be told");
        let gate = disk.gate.lock();
        until(&mut peers, |peers| matches!(&peers.still_read, Some(still) if matches!(still.state, State::Less(_))));
        // A command that was admitted before.
        let last = write(&mut writer, b"other", b"v");
        assert_eq!(last.author(), before);
        peers.close_batches();
        for _ in 0..20 {
            // It is tried in each of them.
            peers.still_read.iter_mut().for_each(|still| still.due = None);
            peers.turn();
        }
        assert!(!peers.has_read_all() && peers.node.condition.is_loading(), "the disk has not taken the write yet");
        assert!(!peers.node.readiness.is_partial());
        drop(gate);
        until(&mut peers, |peers| peers.has_read_all());
        let next = peers.number().unwrap();
        assert_ne!(next, before);
        assert_eq!(peers.hub.closed_vector().of(before), Stamp::ZERO, "it does not say that it has what it lacks");
        assert!(peers.node.keyspace.ahead_of(keyspace::slot_of(b"other")).is_some_and(|seen| seen.of(before) >= last));
        assert_eq!(
            peers.node.keyspace.ahead_of(keyspace::slot_of(b"k")).map_or(Stamp::ZERO, |seen| seen.of(before)),
            Stamp::ZERO
        );
        assert!(
            peers.rows.is_unfilled().unwrap(),
            "a start that comes before peers have brought what is missing fills too"
        );
        // It goes on as usual.
        until(&mut peers, |peers| !peers.node.condition.is_loading());
        until(&mut peers, |peers| !peers.rows.is_unfilled().unwrap());
        let later = write(&mut writer, b"k", b"w");
        assert_eq!(later.author(), next);
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        assert_eq!(peers.hub.closed_vector().of(next), later);
        assert!(peers.stop_disk());
    });
}

#[test]
fn nobody_writes_before_the_node_has_a_number() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(2), Arc::new(MemoryCatalogue::new()));
        left(&disk, &rows);
        // The catalogue is lost, and the store whole: a peer must give it a number.
        let lost = Arc::new(MemoryCatalogue::new());
        let (mut peers, _) = begun(Some(&disk), &lost, 2);
        let is_served = |peers: &Peers| !peers.node.condition.is_loading() || peers.node.readiness.is_partial();
        assert!(peers.number().is_none() && !is_served(&peers));
        until(&mut peers, |peers| peers.has_read_all());
        assert!(!is_served(&peers));
        // Nor does it take one by itself, as the only member may whose directory is a copy.
        let waits = |peers: &mut Peers| {
            peers.began -= peers.node.config.load().fill_timeout;
            peers.keep_what_is_not_kept();
            peers.turn();
            peers.number().is_none() && peers.number_to_take.is_none() && !is_served(peers)
        };
        assert!(waits(&mut peers));
        assert!(peers.stop_disk());
        // The membership that it has written since is that of the admission, and its numbers may have been used or given.
        let (mut peers, _) = begun(Some(&disk), &lost, 3);
        until(&mut peers, |peers| peers.has_read_all());
        assert!(peers.number().is_none() && !is_served(&peers));
        assert!(waits(&mut peers));
        assert!(peers.stop_disk());
        let (peers, _) = begun(None, &lost, 4);
        assert!(peers.number().is_none(), "without a store it would be the next of its range");
    });
}

/// Behind damaged records there are sound ones, which this node cannot apply. Its vector may pass them all the same, when
/// nobody has what was between: then nobody may have them.
#[test]
fn a_peer_is_given_nothing_out_of_a_journal_in_which_records_are_missing() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(3), Arc::new(MemoryCatalogue::new()));
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled);
        let mut written = Vec::new();
        for key in 0..20 {
            written.push(write(&mut writer, format!("k{key}").as_bytes(), &[b'v'; 100]));
            assert!(peers.close_logged());
        }
        until(&mut peers, Peers::is_published);
        let number = peers.number().unwrap();
        assert!(peers.stop_disk());
        let journal = disk.list().unwrap().into_iter().find(|file| file.name.starts_with("journal-")).unwrap();
        assert!(disk.files.flip(&journal.name, 8 * (journal.bytes / 2)));
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 2);
        until(&mut peers, |peers| peers.has_read_all());
        assert_ne!(peers.number(), Some(number));
        let offered = |peers: &Peers, origin: NodeNumber, after: Stamp| {
            peers.keeping.reader().unwrap().batches_after(origin, after, usize::MAX).unwrap().len()
        };
        assert!(written.iter().all(|&after| offered(&peers, number, after) == 0));
        let later = write(&mut writer, b"later", b"v");
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        assert_eq!(offered(&peers, later.author(), Stamp::ZERO), 1);
        assert!(peers.stop_disk());
    });
}

/// The disk and catalogue of a node as a copy of its directory has them.
fn copy_of(disk: &SlowDisk, rows: &MemoryCatalogue, seed: u64) -> (SlowDisk, Arc<MemoryCatalogue>) {
    let copied = SlowDisk::new(seed);
    copied.files.restore(&disk.files.backup());
    (copied, Arc::new(rows.backup()))
}

/// It was copied between two lives, and either put back where it was or started beside the other: nothing tells it how far
/// its number was used since.
#[test]
fn a_copied_directory_writes_nothing_before_somebody_has_given_it_a_number() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(4), Arc::new(MemoryCatalogue::new()));
        let before = left(&disk, &rows);
        let (copied, old) = copy_of(&disk, &rows, 5);
        let between = rows.backup();
        // The original knows nothing of it.
        let (mut original, _) = begun(Some(&disk), &rows, 2);
        until(&mut original, |peers| peers.has_read_all() && peers.filled);
        assert_eq!(original.number(), Some(before));
        for boot in 3..5 {
            // Not at its first start, and not at the next one, which finds what the first one has written.
            let (mut peers, _) = begun(Some(&copied), &old, boot);
            until(&mut peers, |peers| peers.has_read_all());
            assert!(peers.number().is_none() && peers.node.condition.is_loading());
            assert!(peers.stop_disk());
        }
        // The store as it is, under the catalogue of then.
        assert!(original.stop_disk());
        let (_, catalogue) = copy_of(&disk, &between, 6);
        let (peers, _) = begun(Some(&disk), &catalogue, 6);
        assert!(peers.number().is_none());
    });
}

/// Nobody is there to be asked.
#[test]
fn the_only_member_takes_a_fresh_number_when_its_directory_is_a_copy() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(7), Arc::new(MemoryCatalogue::new()));
        let before = left(&disk, &rows);
        let (copied, old) = copy_of(&disk, &rows, 8);
        let (mut peers, mut writer) = begun(Some(&copied), &old, 2);
        until(&mut peers, |peers| peers.has_read_all());
        assert!(peers.number().is_none());
        peers.began -= peers.node.config.load().fill_timeout;
        until(&mut peers, |peers| {
            peers.keep_what_is_not_kept();
            !peers.node.condition.is_loading()
        });
        assert_ne!(peers.number(), Some(before));
        let written = write(&mut writer, b"k", b"w");
        assert_eq!(Some(written.author()), peers.number());
        assert!(peers.close_logged() && peers.stop_disk());
        peers.keep_what_is_not_kept();
        assert_eq!(peers.rows.number_needed().unwrap(), None);
    });
}

/// Its transport is over, which whoever listens to peers would notice at once.
#[test]
fn a_node_that_stops_while_it_reads_listens_to_no_peer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (disk, rows) = (SlowDisk::new(9), Arc::new(MemoryCatalogue::new()));
        left(&disk, &rows);
        let (mut peers, mut writer) = begun(Some(&disk), &rows, 2);
        damage(&disk);
        peers.transport.shutdown().await;
        let gate = disk.gate.lock();
        until(&mut peers, |peers| matches!(&peers.still_read, Some(still) if matches!(still.state, State::Less(_))));
        peers.node.console.note_served_last();
        drop(gate);
        // What is still open makes the stop wait.
        writer.begin_pipeline();
        write(&mut writer, b"open", b"v");
        let is_over = std::cell::Cell::new(false);
        let ends = async {
            peers.hand_over(Instant::now() + STOP_DRAIN_TIME).await;
            is_over.set(true);
        };
        let lets_go = async {
            tokio::task::yield_now().await;
            assert!(!is_over.get(), "it has heard that there is no transport any more");
            writer.end_pipeline();
        };
        tokio::join!(ends, lets_go);
    });
}

#[test]
fn a_node_whose_first_fill_has_not_ended_knows_that_after_a_crash() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(1), Arc::new(MemoryCatalogue::new()));
        let (mut peers, _) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all());
        assert!(!peers.rows.is_unfilled().unwrap(), "there is nobody who could fill it");
        let (me, other) = (peers.identity, crdt::NodeIdentity([7; 32]));
        let own = peers.membership.view().member(me).unwrap().record.clone();
        let record = crdt::membership::MemberRecord { name: "b".into(), ..own };
        let stamp = peers.membership_stamp().unwrap();
        peers.membership.admit(me, other, record, stamp).unwrap();
        peers.rows.set_membership(&peers.membership.encode()).unwrap();
        assert!(peers.stop_disk());
        for boot in [2, 3] {
            let (mut peers, _) = begun(Some(&disk), &rows, boot);
            assert!(peers.rows.is_unfilled().unwrap());
            assert!(peers.stop_disk());
        }
        let (mut peers, _) = begun(Some(&disk), &rows, 4);
        until(&mut peers, |peers| peers.filled && !peers.rows.is_unfilled().unwrap());
        assert!(peers.stop_disk());
    });
}

/// What it keeps by then is sound and whole, and less than a backup that was made before.
#[test]
fn a_node_that_is_still_filled_by_others_gives_no_backup() {
    in_a_runtime(|| {
        let (disk, rows) = (SlowDisk::new(7), Arc::new(MemoryCatalogue::new()));
        let (mut peers, _) = begun(Some(&disk), &rows, 1);
        until(&mut peers, |peers| peers.has_read_all() && peers.filled && peers.keeping.is_on());
        let answer_to = |peers: &mut Peers| {
            let (answer, mut told) = oneshot::channel();
            peers.order_backup(&[], answer);
            until(peers, |peers| peers.close_logged() && peers.is_published());
            told.try_recv().ok()
        };
        peers.filled = false;
        let refused = answer_to(&mut peers).expect("an answer at once").expect_err("a refusal");
        assert!(refused.contains("does not have all keys yet"), "{refused}");
        peers.filled = true;
        assert!(!matches!(answer_to(&mut peers), Some(Err(_))), "now it does");
        assert!(peers.stop_disk());
    });
}
