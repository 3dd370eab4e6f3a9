//! Cuts that are copied while the store is written: what was pinned stays, and what was copied recovers to the position
//! that was asked for, whatever happens to the store meanwhile.

use crate::model::{Chance, OWNER, SmallNode, recover};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::{Command, Cut, CutError, FlushPolicy, Fs, Pin, Pins, SimulatedFs};

/// Makes everything that was written durable, and pins the cut there.
fn pin(pins: &Pins, node: &mut SmallNode) -> (u64, Cut, Pin) {
    node.disk.command(Command::Flush);
    node.pass(1);
    let position = node.disk.position();
    assert!(node.disk.progress().durable().to >= position);
    let choose = |fs: &dyn Fs| {
        let cut = Cut::find(fs, OWNER, position)?;
        let pinned = cut.pinned();
        Ok::<_, CutError>((cut, pinned))
    };
    let (cut, pin) = pins.pin(choose).unwrap();
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
