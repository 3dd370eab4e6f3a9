//! Slots that are larger than a frame of an image, and disks that are smaller than a checkpoint.

use super::*;
use crate::testing::STARTED_AT;
use crdt::{Lifetime, NodeNumber};
use keyspace::{Database, NewLifetime, SLOTS, slot_of};
use std::sync::Arc;
use storage::{CheckpointStart, DiskFaults, FoundStore, Fs, SimulatedFs, StoreOwner, check, image_name};

const OWNER: StoreOwner = StoreOwner { cluster: [1; 16], identity: [2; 32] };
/// In place of 4 GiB.
const FRAME_BYTES_MAX: usize = 100_000;
/// All keys with this tag are of one slot.
const HUGE: &str = "{huge}";

/// A keyspace with one slot of some frames, and with keys in every group, among them slots before and behind that one.
fn with_a_huge_slot() -> Arc<Keyspace> {
    let keyspace = Keyspace::new(1);
    keyspace.set_number(NodeNumber::new(1).unwrap());
    let mut writer = keyspace.writer();
    let mut put = |key: String, bytes: usize| {
        let mut access = writer.access(STARTED_AT, &[key.as_bytes()]);
        access.put_string(Database(0), key.as_bytes(), &vec![7; bytes], NewLifetime::Set(Lifetime::Never));
    };
    (0..8).for_each(|number| put(format!("{HUGE}{number}"), 50_000));
    (0..20_000).for_each(|number| put(format!("small:{number}"), 40));
    keyspace
}

/// Takes a checkpoint of everything in images whose frames are that small.
fn walked(keyspace: &Keyspace, frame_bytes_max: usize) -> (SimulatedFs, Manifest) {
    let fs = SimulatedFs::new(1);
    let start = CheckpointStart { position: 0, vector: VersionVector::new() };
    let writer = CheckpointWriter::begin(Arc::new(fs.clone()), OWNER, None, start).frame_bytes_max(frame_bytes_max);
    let mut walk = Walk::new(1, writer, keyspace.clock(), None);
    while walk.step(keyspace).unwrap() {}
    assert_eq!(walk.written, u64::from(GROUPS));
    let manifest = walk.commit(VersionVector::new(), Vec::new(), keyspace.len(0), STARTED_AT).unwrap();
    (fs, manifest)
}

fn found(fs: &SimulatedFs) -> FoundStore {
    FoundStore::open(Arc::new(fs.clone()), OWNER).unwrap()
}

/// The version that an image's head says: behind its magic, the head of a frame comes a varint.
fn version_of(fs: &SimulatedFs, manifest: &Manifest, group: u16) -> u8 {
    fs.read(&image_name(manifest.number, group), 8 + 17, 1).unwrap()[0]
}

#[test]
fn a_slot_that_is_larger_than_a_frame_is_in_its_image_and_comes_back() {
    let before = with_a_huge_slot();
    let (fs, manifest) = walked(&before, FRAME_BYTES_MAX);
    let huge = group_of(slot_of(HUGE.as_bytes()));
    for group in 0..GROUPS {
        let expected = if group == huge { ImageForm::InFrames } else { ImageForm::Plain };
        assert_eq!(version_of(&fs, &manifest, group), expected as u8, "others are what every version reads");
    }
    let after = Keyspace::new(2);
    for (group, facts) in found(&fs).images() {
        let read = found(&fs).read_image(group, facts, &mut |block| after.load_image(block, STARTED_AT).unwrap());
        assert_eq!(read.unwrap(), None);
    }
    assert_eq!(after.len(0), before.len(0));
    (0..SLOTS).for_each(|slot| assert_eq!(after.digest_of(slot).digest, before.digest_of(slot).digest));
    assert_eq!(check(Arc::new(fs), Some(OWNER)).unwrap().problems, []);
}

#[test]
fn whatever_fits_into_a_frame_is_in_one() {
    let keyspace = with_a_huge_slot();
    let (fs, manifest) = walked(&keyspace, usize::MAX);
    assert!((0..GROUPS).all(|group| version_of(&fs, &manifest, group) == ImageForm::Plain as u8));
}

#[test]
fn damage_in_any_frame_of_a_slot_and_its_end_are_noticed() {
    let (fs, manifest) = walked(&with_a_huge_slot(), FRAME_BYTES_MAX);
    let group = group_of(slot_of(HUGE.as_bytes()));
    let (facts, name) = (manifest.images[&group], image_name(manifest.number, group));
    for at in (0..facts.bytes).step_by(20_000) {
        let damaged = fs.backup();
        damaged.flip(&name, at * 8 + 3);
        let short = fs.backup();
        let bytes = short.read(&name, 0, usize::try_from(at).unwrap()).unwrap();
        short.remove(&name).unwrap();
        short.create(&name).unwrap().append(&bytes).unwrap();
        for fs in [damaged, short] {
            let mut shown = 0;
            let problem = found(&fs).read_image(group, facts, &mut |_| shown += 1).unwrap();
            assert!(problem.is_some() && shown == 0, "byte {at}");
        }
    }
}

/// Sets how much may still be written to a disk.
fn leave_space(fs: &SimulatedFs, bytes: u64) {
    let used: u64 = fs.list().unwrap().iter().map(|file| file.bytes).sum();
    fs.set_faults(DiskFaults { capacity_bytes: used + bytes, ..DiskFaults::default() });
}

/// Keys of which each group has many.
fn write_keys(keyspace: &Arc<Keyspace>, keys: std::ops::Range<u32>, value: &[u8]) {
    let mut writer = keyspace.writer();
    for key in keys.map(|number| format!("key:{number}")) {
        let mut access = writer.access(STARTED_AT, &[key.as_bytes()]);
        access.put_string(Database(0), key.as_bytes(), value, NewLifetime::Set(Lifetime::Never));
    }
}

/// How a checkpoint after another ends, of which nothing may be known.
fn second(
    keyspace: &Keyspace,
    fs: &SimulatedFs,
    before: &Manifest,
    unchanged_since: Option<Stamp>,
) -> Result<Walk, StoreError> {
    let start = CheckpointStart { position: 0, vector: VersionVector::new() };
    let writer = CheckpointWriter::begin(Arc::new(fs.clone()), OWNER, Some(before), start);
    let mut walk = Walk::new(2, writer, keyspace.clock(), unchanged_since);
    while walk.step(keyspace)? {}
    Ok(walk)
}

#[test]
fn a_checkpoint_that_clearly_does_not_fit_is_not_begun_and_one_that_does_is() {
    let keyspace = Keyspace::new(1);
    keyspace.set_number(NodeNumber::new(1).unwrap());
    write_keys(&keyspace, 0..40_000, &[7; 100]);
    let (fs, before) = walked(&keyspace, usize::MAX);
    let (clock, images) = (keyspace.clock(), before.bytes());
    leave_space(&fs, images * 2 / 3);
    let files = fs.list().unwrap();
    let refused = second(&keyspace, &fs, &before, None).unwrap_err();
    let StoreError::NoRoom { bytes, space } = refused else { panic!("{refused}") };
    assert!(space == images * 2 / 3 && bytes > images * 3 / 4 && bytes <= images, "{refused}");
    assert_eq!(fs.list().unwrap(), files, "nothing was written");
    // A few groups have changed, and the others keep their images.
    write_keys(&keyspace, 0..10, b"again");
    assert!(second(&keyspace, &fs, &before, Some(clock)).unwrap().written <= 10);
    // All have changed since, and have become small.
    write_keys(&keyspace, 0..40_000, b"small");
    leave_space(&fs, images * 3 / 4);
    assert_eq!(second(&keyspace, &fs, &before, None).unwrap().written, u64::from(GROUPS));
    // There is room after all.
    write_keys(&keyspace, 0..40_000, &[8; 100]);
    leave_space(&fs, images);
    assert_eq!(second(&keyspace, &fs, &before, None).unwrap().written, u64::from(GROUPS));
}
