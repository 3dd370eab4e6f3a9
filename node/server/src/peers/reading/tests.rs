//! Starts whose disk has less than it should, and ends that come too early.

use super::super::tests::{SlowDisk, begun, in_a_runtime, until, write};
use super::*;
use std::sync::Arc;
use storage::{Fs, MemoryCatalogue};

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
        // It goes on as usual.
        until(&mut peers, |peers| !peers.node.condition.is_loading());
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
        assert!(peers.stop_disk());
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
            let store = peers.keeping.store.as_ref().unwrap();
            store.reader.batches_after(origin, after, usize::MAX).unwrap().len()
        };
        assert!(written.iter().all(|&after| offered(&peers, number, after) == 0));
        let later = write(&mut writer, b"later", b"v");
        until(&mut peers, |peers| peers.close_logged() && peers.is_published());
        assert_eq!(offered(&peers, later.author(), Stamp::ZERO), 1);
        assert!(peers.stop_disk());
    });
}
