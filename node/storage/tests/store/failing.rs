//! Disks that fail while the node runs: it is told, goes on, and is whole again after a checkpoint.

use crate::model::{Chance, SmallNode, recover};
use storage::{DiskFaults, FlushPolicy, Health, SimulatedFs};

fn started(policy: FlushPolicy) -> (SimulatedFs, SmallNode) {
    let fs = SimulatedFs::new(7);
    let (mut node, _) = SmallNode::start(&fs, 1, policy).unwrap();
    for _ in 0..20 {
        node.write();
        node.pass(1);
    }
    (fs, node)
}

/// The fault is over: a checkpoint mends the store, and everything is there after a crash.
fn is_mended(fs: &SimulatedFs, mut node: SmallNode) {
    fs.set_faults(DiskFaults::default());
    node.pass(1_500);
    assert!(node.disk.progress().can_heal());
    assert_eq!(recover(&fs.backup()).unwrap().1.sound, None, "what is sent now may be missing after a restart");
    assert!(node.checkpoint(&mut Chance(1)).unwrap());
    assert_eq!(node.disk.progress().health(), Health::Sound);
    let last = node.write();
    node.pass(2_000);
    fs.crash();
    let (_, back) = recover(fs).unwrap();
    assert_eq!(back.all().len() as u64, last + 1);
    assert_eq!(back.sound.map(|life| life.nonce), Some(1));
}

#[test]
fn a_full_disk_makes_nobody_wait_and_is_mended_by_a_checkpoint() {
    let (fs, mut node) = started(FlushPolicy::EverySecond);
    fs.set_faults(DiskFaults { capacity_bytes: 1_000, ..DiskFaults::default() });
    for _ in 0..50 {
        let number = node.write();
        node.pass(100);
        assert_eq!(node.disk.progress().written(), number + 1);
    }
    assert!(matches!(node.disk.progress().health(), Health::Full(_)), "{:?}", node.disk.progress().health());
    assert!(node.checkpoint(&mut Chance(1)).is_err() || !node.disk.progress().can_heal());
    is_mended(&fs, node);
}

#[test]
fn a_failing_sync_is_never_believed_later() {
    let (fs, mut node) = started(FlushPolicy::Always);
    let promised = node.disk.progress().durable().to;
    fs.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
    node.write();
    node.pass(1);
    fs.set_faults(DiskFaults::default());
    node.pass(1);
    assert!(matches!(node.disk.progress().health(), Health::Dead(_) | Health::Failing(_)));
    assert!(node.disk.progress().durable().from > promised);
    for _ in 0..10 {
        node.write();
        node.pass(500);
    }
    let crashed = fs.backup();
    crashed.crash();
    assert!(recover(&crashed).unwrap().1.next >= promised);
    is_mended(&fs, node);
}

/// It takes neither records nor the word that some are missing, so that a restart would take the store for whole: what
/// peers had of those records would then be of a number that the node uses again.
#[test]
fn nothing_counts_as_written_that_is_in_no_file_before_the_store_says_so() {
    let (fs, mut node) = started(FlushPolicy::Always);
    let written = node.disk.progress().written();
    let dead = DiskFaults { writes_fail: true, syncs_fail: true, ..DiskFaults::default() };
    fs.set_faults(dead);
    for _ in 0..20 {
        node.write();
        node.pass(300);
        assert!(matches!(node.disk.progress().health(), Health::Dead(_)));
        assert_eq!(node.disk.progress().written(), written);
    }
    assert!(node.disk.progress().queued_bytes() > 0, "what waits fills the queue");
    // The word can be had before the files can be written again.
    fs.set_faults(DiskFaults { syncs_fail: false, ..dead });
    let last = node.write();
    node.pass(1_500);
    assert!(matches!(node.disk.progress().health(), Health::Failing(_)));
    assert_eq!((node.disk.progress().written(), node.disk.progress().queued_bytes()), (last + 1, 0));
    is_mended(&fs, node);
}

#[test]
fn a_flush_that_does_not_end_is_seen_while_it_lasts() {
    let fs = SimulatedFs::new(8);
    let (mut node, _) =
        SmallNode::start_with(std::sync::Arc::new(fs.clone()), 1, FlushPolicy::EverySecond, || 10_000).unwrap();
    node.write();
    node.pass(1_000);
    let progress = std::sync::Arc::clone(node.disk.progress());
    assert!(progress.is_flushing());
    let began = node.now_ms;
    node.write();
    node.pass(3_000);
    assert_eq!(progress.stalled_ms(node.now_ms), node.now_ms - began);
    assert!(progress.written() == 2 && progress.health() == Health::Sound, "nothing else tells of it");
    node.pass(7_000);
    assert!(progress.stalled_ms(node.now_ms) < 3_000, "it has ended, and another one has begun");
}

#[test]
fn a_disk_that_writes_nothing_leaves_the_process_alive() {
    let (fs, mut node) = started(FlushPolicy::EverySecond);
    fs.set_faults(DiskFaults { writes_fail: true, ..DiskFaults::default() });
    for _ in 0..100 {
        node.write();
        node.pass(300);
    }
    assert_eq!(node.disk.progress().queued_bytes(), 0);
    assert!(node.checkpoint(&mut Chance(1)).is_err());
    is_mended(&fs, node);
}
