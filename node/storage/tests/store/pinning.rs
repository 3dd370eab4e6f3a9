//! Cuts that are copied while the store is written: what was pinned stays, and what was copied recovers to the position
//! that was asked for, whatever happens to the store meanwhile.

use crate::model::{Chance, OWNER, SmallNode, recover};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use storage::{Command, Cut, CutError, FileFacts, FileId, FlushPolicy, Fs, FsFile, Pin, Pins, SimulatedFs};

/// Makes everything that was written durable, and pins the cut there.
fn pin(pins: &Pins, node: &mut SmallNode) -> (u64, Cut, Pin) {
    node.disk.command(Command::Flush);
    node.pass(1);
    let position = node.disk.position();
    assert!(node.disk.progress().durable().to >= position);
    let choose = |fs: &dyn Fs| {
        let chosen = Cut::choose(fs, OWNER, position)?;
        let pinned = chosen.pinned();
        Ok::<_, CutError>((chosen, pinned))
    };
    let (chosen, all) = pins.pin(choose).unwrap();
    let cut = chosen.measure(pins).unwrap();
    let ((), pin) = pins.pin(|_| Ok::<_, ()>(((), cut.pinned()))).unwrap();
    drop(all);
    (position, cut, pin)
}

/// Copies a cut, some bytes at a time.
fn copy(cut: &Cut, from: &dyn Fs, seed: u64) -> SimulatedFs {
    let copy = SimulatedFs::new(seed);
    for (name, bytes) in cut.files() {
        let file = copy.create(name).unwrap();
        let mut offset = 0;
        while offset < bytes {
            let chunk = cut.read(from, name, offset, 100).unwrap();
            assert!(!chunk.is_empty() && chunk.len() <= 100);
            file.append(&chunk).unwrap();
            offset += chunk.len() as u64;
        }
        assert!(matches!(cut.read(from, name, offset, 100), Err(CutError::Beyond { .. })));
    }
    copy
}

fn names(fs: &dyn Fs) -> BTreeSet<String> {
    fs.list().unwrap().into_iter().map(|file| file.name).collect()
}

#[test]
fn nothing_pinned_goes_by_checkpoints_and_retention_and_afterwards_it_does() {
    let disk = SimulatedFs::new(1);
    let pins = Pins::over(Arc::new(disk.clone()));
    let (mut node, _) = SmallNode::start_on(Arc::new(pins.clone()), 1, FlushPolicy::Always).unwrap();
    let mut chance = Chance(1);
    for _ in 0..60 {
        node.write();
        node.pass(1);
    }
    assert!(node.checkpoint(&mut chance).unwrap());
    for _ in 0..60 {
        node.write();
        node.pass(1);
    }
    let (position, cut, pin) = pin(&pins, &mut node);
    let pinned = cut.pinned();
    assert!(pinned.iter().any(|name| name.starts_with("image-")) && pinned.len() > 8, "{pinned:?}");
    for _ in 0..3 {
        for _ in 0..100 {
            node.write();
            node.pass(1);
        }
        assert!(node.checkpoint(&mut chance).unwrap());
        node.pass(1);
    }
    // The store has let go of all of it, and it is still there.
    assert!(names(&pins).is_disjoint(&pinned));
    assert!(names(&disk).is_superset(&pinned) && pins.put_off_bytes() > 0);
    let (_, back) = recover(&copy(&cut, &pins, 2)).unwrap();
    assert_eq!((back.next, back.problems.len()), (position, 0), "{:?}", back.problems);
    assert_eq!(back.all(), (0..position).collect());
    drop(pin);
    assert!(names(&disk).is_disjoint(&pinned) && pins.put_off_bytes() == 0);
    assert_eq!(names(&disk), names(&pins));
}

#[test]
fn a_cut_at_any_moment_of_any_run_recovers_to_its_position_and_to_nothing_else() {
    for seed in 0..40 {
        let disk = SimulatedFs::new(seed);
        let mut chance = Chance(seed);
        for life in 0..3 {
            let pins = Pins::over(Arc::new(disk.clone()));
            let (mut node, back) = SmallNode::start_on(Arc::new(pins.clone()), life, FlushPolicy::Never).unwrap();
            assert_eq!((back.problems.as_slice(), back.all()), (&[][..], (0..back.next).collect()), "seed {seed}");
            for _ in 0..chance.below(4) {
                let pinned = (chance.below(2) == 0).then(|| pin(&pins, &mut node));
                for _ in 0..chance.below(80) {
                    node.write();
                    node.pass(1);
                }
                if chance.below(2) == 0 {
                    node.checkpoint(&mut chance).unwrap();
                }
                let Some((position, cut, pin)) = pinned else { continue };
                let (_, back) = recover(&copy(&cut, &pins, seed)).unwrap();
                assert_eq!(back.problems, [], "seed {seed}");
                assert_eq!((back.next, back.all()), (position, (0..position).collect()), "seed {seed}");
                if chance.below(2) == 0 {
                    // The process dies before this backup ends: its files are there at the next start, and no part of it.
                    std::mem::forget(pin);
                }
            }
            disk.end_process();
        }
    }
}

/// A directory that knows which segments were read.
#[derive(Debug)]
struct WatchedFs(SimulatedFs, Mutex<Vec<String>>);

impl Fs for WatchedFs {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        self.0.create(name)
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        self.0.list()
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        if name.starts_with("journal-") {
            self.1.lock().unwrap().push(name.to_owned());
        }
        self.0.read(name, offset, bytes_max)
    }

    fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        self.0.rename(old, new)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.0.sync_file(name)
    }

    fn space(&self) -> io::Result<u64> {
        self.0.space()
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        self.0.file_id(name)
    }
}

#[test]
fn nobody_waits_for_a_segment_to_be_read_and_what_is_removed_before_it_is_read_is_there() {
    let disk = SimulatedFs::new(1);
    let watched = Arc::new(WatchedFs(disk.clone(), Mutex::default()));
    let pins = Pins::over(Arc::<WatchedFs>::clone(&watched));
    let (mut node, _) = SmallNode::start_on(Arc::new(pins.clone()), 1, FlushPolicy::Always).unwrap();
    for round in 0..60 {
        node.write();
        node.pass(1);
        if round == 30 {
            assert!(node.checkpoint(&mut Chance(1)).unwrap());
        }
    }
    let position = node.disk.position();
    watched.1.lock().unwrap().clear();
    let choose = |fs: &dyn Fs| {
        let chosen = Cut::choose(fs, OWNER, position)?;
        let pinned = chosen.pinned();
        Ok::<_, CutError>((chosen, pinned))
    };
    let (chosen, pin) = pins.pin(choose).unwrap();
    assert_eq!(*watched.1.lock().unwrap(), [""; 0], "who removes a file would wait for this");
    // Meanwhile a checkpoint covers all of it, and retention removes it.
    for _ in 0..100 {
        node.write();
        node.pass(1);
    }
    assert!(node.checkpoint(&mut Chance(2)).unwrap());
    node.pass(1);
    assert!(pins.put_off_bytes() > 0);
    let cut = chosen.measure(&pins).unwrap();
    assert!(!watched.1.lock().unwrap().is_empty());
    let (_, back) = recover(&copy(&cut, &pins, 2)).unwrap();
    assert_eq!((back.problems.as_slice(), back.next, back.all()), (&[][..], position, (0..position).collect()));
    drop(pin);
    assert_eq!((names(&disk), pins.put_off_bytes()), (names(&pins), 0));
}

#[test]
fn names_that_are_not_in_the_cut_are_not_read() {
    let disk = SimulatedFs::new(1);
    let pins = Pins::over(Arc::new(disk.clone()));
    let (mut node, _) = SmallNode::start_on(Arc::new(pins.clone()), 1, FlushPolicy::Always).unwrap();
    node.write();
    let (_, cut, _pin) = pin(&pins, &mut node);
    for name in ["sound", "../data/conf", "/etc/passwd", "", "checkpoint"] {
        assert!(matches!(cut.read(&pins, name, 0, 100), Err(CutError::NoSuchFile(_))), "{name}");
    }
}

#[test]
fn a_store_with_a_gap_or_a_damaged_checkpoint_has_no_cut() {
    let disk = SimulatedFs::new(1);
    let (mut node, _) = SmallNode::start(&disk, 1, FlushPolicy::Always).unwrap();
    for _ in 0..60 {
        node.write();
        node.pass(1);
    }
    let position = node.disk.position();
    assert!(Cut::find(&disk, OWNER, position).is_ok());
    assert!(matches!(Cut::find(&disk, OWNER, position + 1), Err(CutError::NotWhole(_))), "it is not written yet");
    let first = names(&disk).into_iter().find(|name| name.starts_with("journal-")).unwrap();
    disk.remove(&first).unwrap();
    assert!(matches!(Cut::find(&disk, OWNER, position), Err(CutError::NotWhole(_))));
    assert!(node.checkpoint(&mut Chance(1)).unwrap());
    assert!(Cut::find(&disk, OWNER, node.disk.position()).is_ok());
    let image = names(&disk).into_iter().find(|name| name.starts_with("image-")).unwrap();
    disk.remove(&image).unwrap();
    assert!(matches!(Cut::find(&disk, OWNER, node.disk.position()), Err(CutError::NotWhole(_))));
}
