//! Pins: files that somebody copies stay as they are until the copy is done, whatever checkpoints and retention want.
//!
//! A [`Pins`] is a directory like the one beneath it, but for one thing: removing a pinned file is put off until its last
//! pin goes. For everybody who lists it is gone at once, so nobody who writes a store needs to know of pins. Files are
//! never truncated, only appended to, so that what was pinned of a file stays what it was.
//!
//! Who pins for how long is not decided here.

use crate::fs::{FileFacts, FileId, Fs, FsFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A directory in which files can be pinned. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct Pins(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fs: Arc<dyn Fs>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    pins: BTreeMap<u64, BTreeSet<String>>,
    /// Files that were removed while they were pinned, with their lengths.
    put_off: BTreeMap<String, u64>,
}

/// Files that stay. They may go when this value goes.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    number: u64,
}

impl State {
    fn is_pinned(&self, name: &str) -> bool {
        self.pins.values().any(|names| names.contains(name))
    }
}

impl Pins {
    /// A directory in which nothing is pinned yet.
    pub fn over(fs: Arc<dyn Fs>) -> Self {
        Self(Arc::new(Inner { fs, state: Mutex::default() }))
    }

    /// Pins what `choose` chooses. Nothing is removed meanwhile, so that whatever it finds is there; it should be quick,
    /// because whoever removes a file waits for it.
    pub fn pin<T, E>(&self, choose: impl FnOnce(&dyn Fs) -> Result<(T, BTreeSet<String>), E>) -> Result<(T, Pin), E> {
        let mut state = self.lock();
        let (chosen, names) = choose(&*self.0.fs)?;
        let number = state.next;
        state.next += 1;
        state.pins.insert(number, names);
        Ok((chosen, Pin { pins: self.clone(), number }))
    }

    /// Bytes of files that are there only because they are pinned.
    pub fn put_off_bytes(&self) -> u64 {
        self.lock().put_off.values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, number: u64) {
        let mut state = self.lock();
        state.pins.remove(&number);
        let free: Vec<String> = state.put_off.keys().filter(|name| !state.is_pinned(name)).cloned().collect();
        for name in free {
            state.put_off.remove(&name);
            // One that stays is removed by the next start, as after a crash at this moment.
            if let Err(error) = self.0.fs.remove(&name) {
                tracing::warn!(name, %error, "a file that was kept for a backup could not be removed");
            }
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.release(self.number);
    }
}

impl Fs for Pins {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        self.0.fs.create(name)
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        self.0.fs.file_id(name)
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        let state = self.lock();
        let mut files = self.0.fs.list()?;
        files.retain(|file| !state.put_off.contains_key(&file.name));
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.0.fs.read(name, offset, bytes_max)
    }

    fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        let state = self.lock();
        if state.is_pinned(old) || state.is_pinned(new) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "a backup reads it"));
        }
        self.0.fs.rename(old, new)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.put_off.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.is_pinned(name) {
            return self.0.fs.remove(name);
        }
        let files = self.0.fs.list()?;
        let bytes = files.into_iter().find(|file| file.name == name).map(|file| file.bytes);
        state.put_off.insert(name.to_owned(), bytes.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.fs.sync_directory()
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.0.fs.sync_file(name)
    }

    fn space(&self) -> io::Result<u64> {
        self.0.fs.space()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedFs;

    fn names(fs: &dyn Fs) -> Vec<String> {
        fs.list().unwrap().into_iter().map(|file| file.name).collect()
    }

    fn pin(pins: &Pins, names: &[&str]) -> Pin {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        pins.pin(|_| Ok::<_, ()>(((), names))).unwrap().1
    }

    #[test]
    fn a_removed_file_is_gone_for_the_store_and_there_for_who_pinned_it_until_the_last_pin_goes() {
        let disk = SimulatedFs::new(1);
        let pins = Pins::over(Arc::new(disk.clone()));
        for name in ["a", "b", "c"] {
            pins.create(name).unwrap().append(name.as_bytes()).unwrap();
        }
        let (first, second) = (pin(&pins, &["a", "b"]), pin(&pins, &["b"]));
        for name in ["a", "b", "c"] {
            pins.remove(name).unwrap();
            assert_eq!(pins.remove(name).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!((names(&pins).len(), names(&disk)), (0, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((pins.read("a", 0, 9).unwrap(), pins.put_off_bytes()), (b"a".to_vec(), 2));
        drop(first);
        assert_eq!((names(&disk), pins.put_off_bytes()), (vec!["b".to_owned()], 1));
        drop(second);
        assert_eq!((names(&disk).len(), pins.put_off_bytes()), (0, 0));
    }

    #[test]
    fn a_pinned_file_keeps_its_name_and_one_that_nobody_removed_stays() {
        let disk = SimulatedFs::new(1);
        let pins = Pins::over(Arc::new(disk.clone()));
        pins.create("a").unwrap();
        pins.create("b").unwrap();
        let pinned = pin(&pins, &["a"]);
        assert_eq!(pins.rename("a", "c").unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(pins.rename("b", "a").unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(pinned);
        assert_eq!(names(&disk), ["a", "b"]);
        pins.rename("a", "c").unwrap();
        assert_eq!(names(&disk), ["b", "c"]);
    }

    #[test]
    fn a_choice_that_fails_pins_nothing() {
        let pins = Pins::over(Arc::new(SimulatedFs::new(1)));
        pins.create("a").unwrap();
        assert!(pins.pin(|_| Err::<((), BTreeSet<String>), _>("no")).is_err());
        pins.remove("a").unwrap();
        assert_eq!(pins.put_off_bytes(), 0);
    }
}
