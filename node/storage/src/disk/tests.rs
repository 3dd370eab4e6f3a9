//! How the threads of a disk end.

use super::*;
use crate::journal::JournalSettings;
use crate::segment::StoreOwner;
use crate::simulated_fs::{DiskFaults, SimulatedFs};
use crate::store::FoundStore;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

const OWNER: StoreOwner = StoreOwner { cluster: [1; 16], identity: [2; 32] };
const PATIENCE: Duration = Duration::from_secs(60);
const NOW_MS: u64 = 1_000;

fn worker(fs: &Arc<dyn Fs>) -> DiskWorker {
    let found = FoundStore::open(Arc::clone(fs), OWNER).unwrap();
    let mut store = found.begin(Life { generation: 1, nonce: 1 }, JournalSettings::default(), 0).unwrap();
    store.mark_sound();
    DiskWorker::new(Arc::clone(fs), store.life, store.journal, FlushPolicy::Never)
}

fn record(bytes: usize) -> Record {
    Record::Slots(vec![7; bytes].into())
}

#[test]
fn a_thread_that_panics_after_it_was_told_to_end_ends_although_the_store_cannot_be_marked() {
    let fs = SimulatedFs::new(1);
    let worker = worker(&(Arc::new(fs.clone()) as Arc<dyn Fs>));
    let (gate, calls) = (Arc::new(Mutex::new(())), AtomicU64::new(0));
    let (news, heard) = channel();
    let shut = Arc::clone(&gate);
    worker.progress().observe(Arc::new(move || match calls.fetch_add(1, Ordering::Relaxed) {
        0 => {
            news.send(()).unwrap();
            drop(shut.lock().unwrap());
        }
        1 => panic!("a defect"),
        _ => {}
    }));
    let held = gate.lock().unwrap();
    let mut disk = Disk::on_threads(worker, Arc::new(|| NOW_MS)).unwrap();
    disk.append(record(1));
    heard.recv_timeout(PATIENCE).unwrap();
    // It takes the next record and the order to end at once.
    fs.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
    let Some(Runner::Threads { commands, threads }) = disk.runner.take() else { panic!("it has threads") };
    commands.send(Command::Append(record(1))).unwrap();
    commands.send(Command::Stop).unwrap();
    drop(held);
    let (ended, ends) = channel();
    std::thread::spawn(move || {
        join(commands, threads);
        ended.send(()).unwrap();
    });
    ends.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(disk.progress().health(), Health::Dead(_)));
}
