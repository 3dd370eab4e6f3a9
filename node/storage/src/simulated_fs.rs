//! A disk in memory that forgets as real ones do, for tests and the simulator.
//!
//! What a crash leaves is drawn from the seed: of each file everything that was synced and any part of what was appended
//! since, perhaps with rubbish where the rest was to be; of names everything up to the last sync of the directory and
//! perhaps some later changes, in order. A failed sync drops what it should have written for good, although it stays
//! readable until the crash.

use crate::fs::{FileFacts, FileId, Fs, FsFile};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory. Clones are the same disk, so that it outlives a simulated process.
#[derive(Clone, Debug)]
pub struct SimulatedFs(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    files: Vec<Content>,
    /// Names as running programs see them.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that are not durable, oldest first.
    changes: Vec<Change>,
    faults: DiskFaults,
    /// Operations so far, and the one at which the power fails.
    operations: u64,
    power_fails_at: Option<u64>,
    /// The one operation that fails while the power is on.
    fails_at: Option<u64>,
    /// Files that were ever made.
    made: u64,
    /// Counts crashes: handles of an earlier life are dead.
    life: u64,
    /// Counts the times at which it lost what was not durable, and came back.
    mount: u64,
    random: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// So much is durable, but for what was lost.
    synced: usize,
    /// What a failed sync has dropped.
    lost: Vec<(usize, usize)>,
    /// From here on it cannot be read.
    unreadable_from: Option<usize>,
    /// No other file of any disk that came of this one had it.
    id: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

/// What goes wrong on a simulated disk from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFaults {
    /// Every sync fails.
    pub syncs_fail: bool,
    /// Every write fails.
    pub writes_fail: bool,
    /// Bytes that fit on it.
    pub capacity_bytes: u64,
    /// Milliseconds that a sync takes. The disk itself does not wait; who runs it does.
    pub sync_ms: u64,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self { syncs_fail: false, writes_fail: false, capacity_bytes: u64::MAX, sync_ms: 0 }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedFs,
    index: usize,
    life: u64,
}

impl SimulatedFs {
    /// An empty disk whose chance begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            faults: DiskFaults::default(),
            operations: 0,
            power_fails_at: None,
            fails_at: None,
            made: 0,
            life: 0,
            mount: 1,
            random: seed,
        })))
    }

    /// What goes wrong now.
    pub fn faults(&self) -> DiskFaults {
        self.disk().faults
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.disk().faults = faults;
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// The power fails at the operation of this number: it and all later ones are errors until [`SimulatedFs::crash`].
    pub fn fail_power_at(&self, operation: u64) {
        self.disk().power_fails_at = Some(operation);
    }

    /// The operation of this number fails and does nothing, as if too many files were open; those after it do not.
    pub fn fail_operation(&self, operation: u64) {
        self.disk().fails_at = Some(operation);
    }

    /// Whether the power has failed since somebody has said when it is to.
    pub fn is_off(&self) -> bool {
        let disk = self.disk();
        disk.power_fails_at.is_some_and(|at| disk.operations >= at)
    }

    /// The process dies: what it wrote stays as it is, and it writes nothing any more. If the power was to fail or has
    /// failed, there is power again: with [`SimulatedFs::fail_power_at`] a process ends between any two of its steps.
    pub fn end_process(&self) {
        let mut disk = self.disk();
        disk.life += 1;
        disk.power_fails_at = None;
    }

    /// The host loses power and comes back with what its disk has kept; or, if it says that it has stayed up, only the disk
    /// went away and came back.
    pub fn crash(&self) {
        self.disk().crash();
    }

    /// The disk is lost, and an empty one takes its place.
    pub fn lose_everything(&self) {
        let mut disk = self.disk();
        disk.files.clear();
        disk.names.clear();
        disk.durable_names.clear();
        disk.changes.clear();
        disk.life += 1;
        disk.power_fails_at = None;
    }

    /// What a backup holds is copied back, file by file, in place of everything: no process has this disk open.
    pub fn restore(&self, backup: &Self) {
        let source = backup.backup();
        let source = source.disk();
        let mut disk = self.disk();
        disk.files.clone_from(&source.files);
        disk.names.clone_from(&source.names);
        disk.durable_names.clone_from(&source.names);
        disk.changes.clear();
        disk.life += 1;
        disk.made = disk.made.max(source.made);
        for at in 0..disk.files.len() {
            disk.made += 1;
            disk.files[at].id = disk.made;
        }
        disk.power_fails_at = None;
    }

    /// Another disk with what is durable on this one.
    pub fn backup(&self) -> Self {
        let disk = self.disk();
        let copy = Self::new(disk.random);
        {
            let mut target = copy.disk();
            target.files.clone_from(&disk.files);
            target.made = disk.made;
            target.names.clone_from(&disk.durable_names);
            target.durable_names.clone_from(&disk.durable_names);
            for file in &mut target.files {
                file.bytes.truncate(file.synced);
                file.unreadable_from = None;
            }
        }
        copy
    }

    /// Flips one bit of a file. False: it is not that long.
    pub fn flip(&self, name: &str, bit: u64) -> bool {
        let mut disk = self.disk();
        let Some(index) = disk.names.get(name).copied() else { return false };
        let Some(byte) = disk.files[index].bytes.get_mut((bit / 8) as usize) else { return false };
        *byte ^= 1 << (bit % 8);
        true
    }

    /// A sector of a file fails: what lies at this byte cannot be read any more, nor anything that is read together with
    /// it or behind it. Everything else works, and what takes the file's place has none of that. False: it is not that long.
    pub fn lose_sector(&self, name: &str, byte: u64) -> bool {
        let mut disk = self.disk();
        let Some(index) = disk.names.get(name).copied() else { return false };
        let file = &mut disk.files[index];
        let at = usize::try_from(byte).unwrap_or(usize::MAX);
        file.unreadable_from = (at < file.bytes.len()).then_some(at);
        file.unreadable_from.is_some()
    }

    /// Something else on this disk is worked on: it counts as an operation, and has no power if there is none.
    pub(crate) fn operate_beside(&self) -> io::Result<()> {
        self.operate().map(drop)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk for one operation, unless the power is off.
    fn operate(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.operations += 1;
        if disk.power_fails_at.is_some_and(|at| disk.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        if disk.fails_at == Some(disk.operations) {
            return Err(Errno::MFILE.into());
        }
        Ok(disk)
    }
}

impl Disk {
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % below.max(1)
    }

    fn index(&self, name: &str) -> io::Result<usize> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&index| self.files[index].bytes.len() as u64).sum()
    }

    fn append(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        if self.faults.writes_fail {
            return Err(io::Error::other("the disk fails"));
        }
        let room = self.faults.capacity_bytes.saturating_sub(self.used());
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.files[index].bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn sync(&mut self, index: usize) -> io::Result<()> {
        let fails = self.faults.syncs_fail;
        let file = &mut self.files[index];
        if fails && file.synced < file.bytes.len() {
            file.lost.push((file.synced, file.bytes.len()));
        }
        file.synced = file.bytes.len();
        if fails { Err(io::Error::other("the disk fails")) } else { Ok(()) }
    }

    fn crash(&mut self) {
        self.life += 1;
        self.power_fails_at = None;
        self.mount += 1;
        let kept = self.draw(self.changes.len() as u64 + 1) as usize;
        for change in std::mem::take(&mut self.changes).into_iter().take(kept) {
            change.carry_out(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for index in 0..self.files.len() {
            let (synced, length) = (self.files[index].synced, self.files[index].bytes.len());
            let kept = synced + self.draw((length - synced) as u64 + 1) as usize;
            // Sometimes the length is on the disk and the contents are not.
            let rubbish =
                if length > kept && self.draw(4) == 0 { self.draw((length - kept) as u64) as usize } else { 0 };
            let fill = if self.draw(2) == 0 { 0 } else { self.draw(256) as u8 };
            let file = &mut self.files[index];
            file.bytes.truncate(kept);
            file.bytes.resize(kept + rubbish, fill);
            for (start, end) in std::mem::take(&mut file.lost) {
                let end = end.min(file.bytes.len());
                file.bytes[start.min(end)..end].fill(0);
            }
            file.synced = file.bytes.len();
        }
    }
}

impl Change {
    fn carry_out(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, index) => drop(names.insert(name, index)),
            Self::Remove(name) => drop(names.remove(&name)),
            Self::Rename(old, new) => {
                if let Some(index) = names.remove(&old) {
                    names.insert(new, index);
                }
            }
        }
    }
}

impl Fs for SimulatedFs {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        let mut disk = self.operate()?;
        if disk.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if disk.faults.writes_fail {
            return Err(io::Error::other("the disk fails"));
        }
        let index = disk.files.len();
        disk.made += 1;
        let id = disk.made;
        disk.files.push(Content { id, ..Content::default() });
        disk.names.insert(name.to_owned(), index);
        disk.changes.push(Change::Create(name.to_owned(), index));
        let life = disk.life;
        drop(disk);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), index, life }))
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        let disk = self.operate()?;
        let facts = |(name, &index): (&String, &usize)| FileFacts {
            name: name.clone(),
            bytes: disk.files[index].bytes.len() as u64,
        };
        Ok(disk.names.iter().map(facts).collect())
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let disk = self.operate()?;
        let file = &disk.files[disk.index(name)?];
        let bytes = &file.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(bytes_max).min(bytes.len());
        if file.unreadable_from.is_some_and(|at| at < end) {
            return Err(Errno::IO.into());
        }
        Ok(bytes[start..end].to_vec())
    }

    fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        let mut disk = self.operate()?;
        disk.index(old)?;
        let change = Change::Rename(old.to_owned(), new.to_owned());
        change.clone().carry_out(&mut disk.names);
        disk.changes.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.operate()?;
        disk.index(name)?;
        disk.names.remove(name);
        disk.changes.push(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.operate()?;
        if disk.faults.syncs_fail {
            return Err(io::Error::other("the disk fails"));
        }
        disk.changes.clear();
        disk.durable_names = disk.names.clone();
        Ok(())
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let mut disk = self.operate()?;
        let index = disk.index(name)?;
        disk.sync(index)
    }

    fn space(&self) -> io::Result<u64> {
        let disk = self.operate()?;
        Ok(disk.faults.capacity_bytes.saturating_sub(disk.used()))
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        let disk = self.operate()?;
        Ok(FileId { inode: disk.files[disk.index(name)?].id, born_ns: 0, mount: disk.mount })
    }
}

impl SimulatedFile {
    fn operate(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.operate()?;
        if disk.life != self.life { Err(io::Error::other("the process has ended")) } else { Ok(disk) }
    }
}

impl FsFile for SimulatedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = match self.operate() {
            Ok(disk) => disk,
            Err(error) => {
                // The power fails in the middle of it.
                let mut disk = self.disk.disk();
                if disk.life == self.life {
                    let part = disk.draw(bytes.len() as u64 + 1) as usize;
                    let now = disk.power_fails_at == Some(disk.operations);
                    let written = if now { part } else { 0 };
                    // How much came of it is told by nobody.
                    let _ = disk.append(self.index, &bytes[..written]);
                }
                return Err(error);
            }
        };
        disk.append(self.index, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.operate()?.sync(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_perhaps_more() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let fs = SimulatedFs::new(seed);
            let file = fs.create("a").unwrap();
            fs.sync_directory().unwrap();
            file.append(b"synced").unwrap();
            file.sync().unwrap();
            file.append(b"tail").unwrap();
            fs.create("b").unwrap();
            fs.crash();
            let bytes = fs.read("a", 0, 100).unwrap();
            assert!(bytes.starts_with(b"synced") && bytes.len() <= 10);
            lengths.insert((bytes.len(), fs.list().unwrap().len()));
            assert!(file.append(b"x").is_err());
        }
        assert!(lengths.len() > 5, "{lengths:?}");
    }

    #[test]
    fn what_a_failed_sync_dropped_is_gone_after_a_crash_although_the_next_sync_succeeds() {
        let fs = SimulatedFs::new(1);
        let file = fs.create("a").unwrap();
        fs.sync_directory().unwrap();
        file.append(b"lost").unwrap();
        fs.set_faults(DiskFaults { syncs_fail: true, ..DiskFaults::default() });
        assert!(file.sync().is_err());
        fs.set_faults(DiskFaults::default());
        file.sync().unwrap();
        assert_eq!(fs.read("a", 0, 9).unwrap(), b"lost");
        fs.crash();
        assert_eq!(fs.read("a", 0, 9).unwrap(), [0; 4]);
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_says_so() {
        let fs = SimulatedFs::new(1);
        let file = fs.create("a").unwrap();
        fs.set_faults(DiskFaults { capacity_bytes: 3, ..DiskFaults::default() });
        assert_eq!(file.append(b"12345").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((fs.space().unwrap(), fs.read("a", 0, 9).unwrap()), (0, b"123".to_vec()));
    }

    #[test]
    fn what_lies_before_a_lost_sector_is_read_and_a_new_file_has_none() {
        let fs = SimulatedFs::new(1);
        fs.create("a").unwrap().append(b"before and behind").unwrap();
        assert!(fs.lose_sector("a", 6) && !fs.lose_sector("a", 17) && !fs.lose_sector("b", 0));
        assert!(fs.lose_sector("a", 6));
        assert_eq!(fs.read("a", 0, 6).unwrap(), b"before");
        assert!(fs.read("a", 0, 7).is_err() && fs.read("a", 10, 1).is_err());
        fs.create("b").unwrap().append(b"other").unwrap();
        fs.rename("b", "a").unwrap();
        assert_eq!(fs.read("a", 0, 9).unwrap(), b"other");
    }

    #[test]
    fn names_that_were_not_synced_come_and_go_in_order() {
        for seed in 0..50 {
            let fs = SimulatedFs::new(seed);
            let file = fs.create("old").unwrap();
            file.append(b"1").unwrap();
            file.sync().unwrap();
            fs.sync_directory().unwrap();
            fs.create("new").unwrap();
            fs.rename("new", "old").unwrap();
            fs.crash();
            let names: Vec<String> = fs.list().unwrap().into_iter().map(|file| file.name).collect();
            assert!(names == ["old"] || names == ["new", "old"], "{names:?}");
        }
    }
}
