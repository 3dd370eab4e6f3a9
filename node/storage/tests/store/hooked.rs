//! A disk that does something of the test's own before each write and each flush of a file.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use storage::{FileFacts, FileId, Fs, FsFile, SimulatedFs};

type Hook = Arc<dyn Fn() + Send + Sync>;

/// The disk. Its hooks may panic.
#[derive(Clone)]
pub struct HookedFs {
    pub disk: SimulatedFs,
    at_write: Arc<Mutex<Hook>>,
    at_flush: Arc<Mutex<Hook>>,
}

#[derive(Debug)]
struct HookedFile(Arc<dyn FsFile>, HookedFs);

impl fmt::Debug for HookedFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedFs").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl HookedFs {
    pub fn new(seed: u64) -> Self {
        let nothing = || Arc::new(Mutex::new(Arc::new(|| ()) as Hook));
        Self { disk: SimulatedFs::new(seed), at_write: nothing(), at_flush: nothing() }
    }

    /// From now on this is done before each write.
    pub fn at_write(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.at_write.lock().unwrap() = Arc::new(hook);
    }

    /// From now on this is done before each flush.
    pub fn at_flush(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.at_flush.lock().unwrap() = Arc::new(hook);
    }
}

/// Calls it with nothing locked.
fn call(hook: &Mutex<Hook>) {
    let hook = Arc::clone(&hook.lock().unwrap());
    hook();
}

impl FsFile for HookedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        call(&self.1.at_write);
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        call(&self.1.at_flush);
        self.0.sync()
    }
}

impl Fs for HookedFs {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(HookedFile(self.disk.create(name)?, self.clone())))
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
