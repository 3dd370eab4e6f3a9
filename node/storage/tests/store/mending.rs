//! A single operation fails, wherever it is: what stands is not broken by the next attempt, and the store becomes whole.

use crate::hooked::HookedFs;
use crate::model::{Chance, NEVER, SETTINGS, SmallNode, record, recover};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use storage::{
    Command, Disk, DiskFaults, DiskWorker, FlushPolicy, Health, JournalSettings, Life, Problem, Record, SimulatedFs,
};

/// A store with one checkpoint and something behind it.
fn with_checkpoint() -> (SimulatedFs, SmallNode) {
    let fs = SimulatedFs::new(11);
    let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
    for round in 0..16 {
        node.write();
        node.pass(1);
        if round == 8 {
            assert!(node.checkpoint(&mut Chance(2)).unwrap());
        }
    }
    (fs, node)
}

#[test]
fn a_checkpoint_that_half_counts_is_not_broken_by_the_next_one() {
    let mut failed = 0;
    for operation in 1.. {
        let mut crash_in = 1;
        loop {
            let (fs, mut node) = with_checkpoint();
            let promised = node.disk.progress().durable().to;
            let target = fs.operations() + operation;
            fs.fail_operation(target);
            let first = node.checkpoint(&mut Chance(3));
            if fs.operations() < target {
                assert!(failed > 10, "{failed}");
                return;
            }
            failed += usize::from(first.is_err());
            node.pass(2_000);
            let crash_at = fs.operations() + crash_in;
            fs.fail_power_at(crash_at);
            // However far it comes.
            let _ = node.checkpoint(&mut Chance(4));
            let is_through = fs.operations() < crash_at;
            fs.crash();
            let (_, back) = recover(&fs).unwrap();
            let lost = (0..promised).find(|number| !back.all().contains(number));
            assert_eq!(lost, None, "operation {operation}, crash in {crash_in}: {:?}", back.problems);
            let broken = back.problems.iter().find(|p| matches!(p, Problem::Image { .. } | Problem::Manifest));
            assert_eq!(broken, None, "operation {operation}, crash in {crash_in}");
            if is_through {
                break;
            }
            crash_in += 1;
        }
    }
}

#[test]
fn a_store_is_whole_again_whichever_operation_of_its_mending_fails() {
    for operation in 1.. {
        let (fs, mut node) = with_checkpoint();
        fs.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
        node.write();
        node.pass(1);
        fs.set_faults(DiskFaults::default());
        node.pass(1_500);
        assert!(node.disk.progress().can_heal());
        let target = fs.operations() + operation;
        fs.fail_operation(target);
        let mended = node.checkpoint(&mut Chance(5)).unwrap_or(false);
        if fs.operations() < target {
            assert!(mended && operation > 20);
            return;
        }
        for _ in 0..4 {
            node.pass(1_500);
            if node.disk.progress().can_heal() && node.disk.progress().health() != Health::Sound {
                node.checkpoint(&mut Chance(6)).unwrap();
            }
        }
        assert_eq!(node.disk.progress().health(), Health::Sound, "operation {operation}");
        let last = node.write();
        node.pass(1);
        fs.crash();
        let (_, back) = recover(&fs).unwrap();
        assert_eq!((back.all().len() as u64, back.sound.map(|life| life.nonce)), (last + 1, Some(1)));
    }
}

#[test]
fn a_life_that_began_on_a_failing_disk_is_mended_although_nothing_is_written() {
    let (fs, _) = with_checkpoint();
    fs.end_process();
    fs.set_faults(DiskFaults { writes_fail: true, ..DiskFaults::default() });
    let (mut node, _) = SmallNode::start(&fs, 2, FlushPolicy::Always).unwrap();
    assert_ne!(node.disk.progress().health(), Health::Sound);
    fs.set_faults(DiskFaults::default());
    node.pass(1_500);
    assert!(node.disk.progress().can_heal());
    assert!(node.checkpoint(&mut Chance(1)).unwrap());
    assert_eq!(node.disk.progress().health(), Health::Sound);
}

#[test]
fn an_idle_life_that_ends_in_order_leaves_what_the_one_before_wrote_on_the_disk() {
    for seed in 0..20 {
        let fs = SimulatedFs::new(seed);
        let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Never).unwrap();
        let last = (0..10).map(|_| node.write()).last().unwrap();
        node.pass(1);
        fs.end_process();
        let (idle, back) = SmallNode::start(&fs, 2, FlushPolicy::Never).unwrap();
        assert_eq!(back.next, last + 1);
        let progress = idle.disk.stop(2_000);
        assert_eq!(progress.health(), Health::Sound);
        fs.crash();
        assert_eq!(recover(&fs).unwrap().1.next, last + 1, "seed {seed}");
    }
}

/// What writes the journal of a new store.
fn worker(fs: &HookedFs, settings: JournalSettings, policy: FlushPolicy) -> DiskWorker {
    let found = storage::FoundStore::open(Arc::new(fs.clone()), crate::model::OWNER).unwrap();
    let mut store = found.begin(Life { generation: 1, nonce: 1 }, settings, 0).unwrap();
    store.mark_sound();
    DiskWorker::new(Arc::clone(&store.fs), store.life, store.journal, policy)
}

/// A disk on threads, and something that says when anything of it has changed.
fn on_threads() -> (HookedFs, Disk, std::sync::mpsc::Receiver<()>) {
    let fs = HookedFs::new(3);
    let worker = worker(&fs, SETTINGS, FlushPolicy::Always);
    let (news, heard): (Sender<()>, _) = channel();
    worker.progress().observe(Arc::new(move || news.send(()).unwrap_or_default()));
    let mut disk = Disk::on_threads(worker, Arc::new(|| 1_000)).unwrap();
    disk.append(record(0));
    while disk.progress().durable().to < 1 {
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    (fs, disk, heard)
}

#[test]
fn a_journal_thread_that_panics_is_told_and_makes_nobody_wait() {
    let (fs, mut disk, heard) = on_threads();
    fs.at_write(|| panic!("a defect at a write"));
    let end = disk.append(record(1));
    while disk.progress().written() < end {
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let health = disk.progress().health();
    assert!(matches!(&health, Health::Failing(sentence) if sentence.contains("\"journal\"")), "{health:?}");
    assert_eq!(disk.progress().panics.load(Ordering::Relaxed), 1);
    for number in 2..2_000 {
        disk.append(record(number));
    }
    assert!(disk.has_room() && disk.progress().queued_bytes() == 0);
    disk.command(Command::Flush);
    let progress = disk.stop(2_000);
    assert!(progress.health() != Health::Sound && progress.durable().from > 2_000);
    assert_eq!(recover(&fs.disk).unwrap().1.sound, None, "what was sent since then is not here");
}

#[test]
fn a_journal_thread_that_panics_lets_nothing_be_sent_before_the_store_could_be_marked() {
    let (fs, mut disk, heard) = on_threads();
    fs.disk.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
    fs.at_write(|| panic!("a defect at a write"));
    let end = disk.append(record(1));
    while !matches!(disk.progress().health(), Health::Dead(_)) {
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    assert!(disk.progress().written() < end);
    fs.disk.set_faults(DiskFaults::default());
    while disk.progress().written() < end {
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    assert!(matches!(disk.progress().health(), Health::Failing(_)));
    assert_eq!(recover(&fs.disk).unwrap().1.sound, None);
    // A node that ends before that does not wait for it.
    let (fs, mut disk, heard) = on_threads();
    fs.disk.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
    fs.at_write(|| panic!("a defect at a write"));
    disk.append(record(1));
    while !matches!(disk.progress().health(), Health::Dead(_)) {
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    drop(disk);
}

#[test]
fn a_flush_that_panics_is_a_flush_that_failed() {
    let (fs, mut disk, heard) = on_threads();
    fs.at_flush(|| panic!("a defect at a flush"));
    disk.append(record(1));
    while disk.progress().health() == Health::Sound {
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let health = disk.progress().health();
    assert!(health.sentence().is_some_and(|sentence| sentence.contains("\"flush\"")), "{health:?}");
    assert_eq!(disk.progress().panics.load(Ordering::Relaxed), 1);
    fs.at_flush(|| ());
    assert!(disk.stop(2_000).written() == 2);
}

#[test]
fn a_checkpoint_that_ends_before_files_can_be_written_again_does_not_mend_the_store() {
    let (fs, mut node) = with_checkpoint();
    fs.set_faults(DiskFaults { writes_fail: true, ..DiskFaults::default() });
    node.write();
    node.pass(1);
    assert_ne!(node.disk.progress().health(), Health::Sound);
    fs.set_faults(DiskFaults::default());
    // Somebody wishes for one at once, while the journal pauses, and nothing is written meanwhile.
    assert!(node.checkpoint(&mut Chance(NEVER)).unwrap());
    let last = node.write();
    node.pass(1);
    assert!(node.disk.progress().written() > last, "it may be sent");
    let crashed = fs.backup();
    let (_, back) = recover(&crashed).unwrap();
    assert!(back.sound.is_none() && !back.all().contains(&last), "what is sent and not kept is told");
    // When the journal can go on, the store is whole again, by another checkpoint.
    node.pass(1_500);
    assert!(node.disk.progress().can_heal());
    assert!(node.checkpoint(&mut Chance(NEVER)).unwrap());
    assert_eq!(node.disk.progress().health(), Health::Sound);
}

#[test]
fn a_store_that_is_written_without_a_pause_is_mended_all_the_same() {
    let (_fs, mut node, _) = with_failure();
    // What is written while the journal pauses does not make the pause longer.
    for _ in 0..30 {
        node.write();
        node.pass(100);
    }
    assert!(node.disk.progress().can_heal());
    assert!(node.checkpoint(&mut Chance(NEVER)).unwrap());
    assert_eq!(node.disk.progress().health(), Health::Sound);
}

/// A store whose disk failed a moment ago, and works again; and how far its clock can be set back since.
fn with_failure() -> (SimulatedFs, SmallNode, u64) {
    let (fs, mut node) = with_checkpoint();
    let later_ms = 3_600_000;
    node.now_ms += later_ms;
    fs.set_faults(DiskFaults { writes_fail: true, ..DiskFaults::default() });
    node.write();
    node.pass(1);
    assert_ne!(node.disk.progress().health(), Health::Sound);
    fs.set_faults(DiskFaults::default());
    (fs, node, later_ms)
}

#[test]
fn a_store_that_was_mended_loses_nothing_when_the_clock_is_set_back() {
    let (fs, mut node, later_ms) = with_failure();
    node.pass(1_500);
    assert!(node.checkpoint(&mut Chance(NEVER)).unwrap());
    assert_eq!(node.disk.progress().health(), Health::Sound);
    let given_up = node.disk.progress().given_up.load(Ordering::Relaxed);
    node.now_ms -= later_ms;
    // Enough for some segments.
    for _ in 0..100 {
        node.write();
        node.pass(1);
    }
    assert_eq!(node.disk.progress().given_up.load(Ordering::Relaxed), given_up);
    let promised = node.disk.progress().durable().to;
    fs.crash();
    let (_, back) = recover(&fs).unwrap();
    assert_eq!((0..promised).find(|number| !back.all().contains(number)), None);
    assert!(back.sound.is_some());
}

#[test]
fn a_disk_that_fails_is_tried_again_though_the_clock_is_set_back() {
    let (_fs, mut node, later_ms) = with_failure();
    node.now_ms -= later_ms;
    node.pass(1_500);
    assert!(node.disk.progress().can_heal());
}

#[test]
fn who_waits_for_the_disk_is_told_of_a_flush_and_of_a_failure() {
    let until = Instant::now() + Duration::from_secs(60);
    let (_, mut disk, _told) = on_threads();
    let position = disk.append(record(0));
    let progress = Arc::clone(disk.progress());
    let waits = std::thread::spawn(move || progress.wait(until, |now| (now.durable().to >= position).then_some(())));
    disk.command(Command::Flush);
    assert_eq!(waits.join().unwrap(), Some(()));
    let (fs, mut disk, _told) = on_threads();
    fs.disk.set_faults(DiskFaults { writes_fail: true, ..DiskFaults::default() });
    let progress = Arc::clone(disk.progress());
    let waits = std::thread::spawn(move || progress.wait(until, |now| (now.health() != Health::Sound).then_some(())));
    disk.append(record(0));
    assert_eq!(waits.join().unwrap(), Some(()));
    assert_eq!(disk.progress().wait(Instant::now(), |_| None::<()>), None);
}

#[test]
fn a_write_that_hangs_while_a_record_is_taken_in_is_seen_while_it_lasts() {
    const NOW_MS: u64 = 1_000;
    const HANG_MS: u64 = 5_000;
    let large = || Record::Slots(vec![7; 2 << 20].into());
    let (fs, told) = (HookedFs::new(2), Arc::new(Mutex::new(Vec::new())));
    let mut worker = worker(&fs, JournalSettings::default(), FlushPolicy::Never);
    // The disk hangs at every write: what is told of that meanwhile.
    let (progress, telling) = (Arc::clone(worker.progress()), Arc::clone(&told));
    fs.at_write(move || telling.lock().unwrap().push(progress.stalled_ms(NOW_MS + HANG_MS)));
    worker.take(Command::Append(large()), NOW_MS);
    assert!(told.lock().unwrap().is_empty(), "nothing was written");
    // What waits is large enough to be written before this one is taken in.
    worker.take(Command::Append(record(0)), NOW_MS);
    let told = std::mem::take(&mut *told.lock().unwrap());
    // The files of a segment's beginning, and the records.
    assert!(told.len() > 1 && told.iter().all(|&told| told == HANG_MS), "{told:?}");
    assert_eq!(worker.progress().stalled_ms(NOW_MS + HANG_MS), 0);
}
