//! How the threads of a disk end.

use super::*;
use crate::fs::{FileFacts, FileId, FsFile};
use crate::journal::JournalSettings;
use crate::segment::StoreOwner;
use crate::simulated_fs::{DiskFaults, SimulatedFs};
use crate::store::FoundStore;
use std::io;

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

/// A disk that hangs at every write: it notes what is told of that meanwhile, so many milliseconds later.
#[derive(Clone, Debug)]
struct HangingFs {
    disk: SimulatedFs,
    progress: Arc<Mutex<Option<Arc<Progress>>>>,
    told_ms: Arc<Mutex<Vec<u64>>>,
}

#[derive(Debug)]
struct HangingFile(Arc<dyn FsFile>, HangingFs);

const HANG_MS: u64 = 5_000;

impl FsFile for HangingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if let Some(progress) = &*self.1.progress.lock().unwrap() {
            self.1.told_ms.lock().unwrap().push(progress.stalled_ms(NOW_MS + HANG_MS));
        }
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Fs for HangingFs {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(HangingFile(self.disk.create(name)?, self.clone())))
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        self.disk.list()
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.disk.read(name, offset, bytes_max)
    }

    fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        self.disk.rename(old, new)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.disk.sync_file(name)
    }

    fn space(&self) -> io::Result<u64> {
        self.disk.space()
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        self.disk.file_id(name)
    }
}

#[test]
fn a_write_that_hangs_while_a_record_is_taken_in_is_seen_while_it_lasts() {
    let fs = HangingFs { disk: SimulatedFs::new(2), progress: Arc::default(), told_ms: Arc::default() };
    let mut worker = worker(&(Arc::new(fs.clone()) as Arc<dyn Fs>));
    *fs.progress.lock().unwrap() = Some(Arc::clone(worker.progress()));
    worker.take(Command::Append(record(2 << 20)), NOW_MS);
    assert!(fs.told_ms.lock().unwrap().is_empty(), "nothing was written");
    // What waits is large enough to be written before this one is taken in.
    worker.take(Command::Append(record(1)), NOW_MS);
    let told = std::mem::take(&mut *fs.told_ms.lock().unwrap());
    // The files of a segment's beginning, and the records.
    assert!(told.len() > 1 && told.iter().all(|&told| told == HANG_MS), "{told:?}");
    assert_eq!(worker.progress().stalled_ms(NOW_MS + HANG_MS), 0);
}
