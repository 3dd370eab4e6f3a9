//! Large collections that are read in steps, while somebody writes to them between the steps.

use crate::pair::Side;
use crate::steps::STEP_BYTES;
use crate::summary::LARGE_ELEMENTS_MIN;
use crate::{Database, Drain, End, IdRequest, Keyspace, OpenBatch, Trim, TrimBy, Writer, slot_of};
use crdt::{Kind, NodeNumber, Score, VersionVector};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DB: Database = Database(3);
const KEY: &[u8] = b"large";
const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000_000;
/// Several steps.
const ELEMENTS: u64 = 600;
const KINDS: [Kind; 5] = [Kind::Hash, Kind::Set, Kind::SortedSet, Kind::List, Kind::Stream];

fn keyspace(number: u16) -> Arc<Keyspace> {
    let keyspace = Keyspace::new(number.into());
    keyspace.set_number(NodeNumber::new(number).unwrap());
    keyspace
}

/// One of the writes of a word: mostly new elements, and removals of old ones.
fn write(writer: &mut Writer, kind: Kind, word: u64) {
    let name = format!("element {}", word % (2 * ELEMENTS)).into_bytes();
    let mut access = writer.access(NOW + word % 7, &[KEY]);
    access.begin_command();
    let removes = (word >> 32).is_multiple_of(3);
    match kind {
        Kind::List if removes => access.pop(DB, KEY, End::Head, 1, &mut |_| {}).map(drop),
        Kind::List => {
            let end = if (word >> 40).is_multiple_of(2) { End::Head } else { End::Tail };
            access.push(DB, KEY, end, [&*name]).map(drop)
        }
        Kind::Stream if removes => {
            let count = access.stream(DB, KEY).unwrap().map_or(0, |stream| stream.len() as u64);
            let by = TrimBy::Length(count.saturating_sub(2));
            access.trim(DB, KEY, Trim { by, is_approximate: false, limit: None }).map(drop)
        }
        Kind::Stream => access.append_entry(DB, KEY, IdRequest::Generated, &[&b"field"[..], &name]).map(drop),
        Kind::Hash if removes => access.remove_field(DB, KEY, &name).map(drop),
        Kind::Hash => access.put_field(DB, KEY, &name, &word.to_le_bytes()).map(drop),
        Kind::Set if removes => access.remove_member(DB, KEY, &name).map(drop),
        Kind::SortedSet if removes => access.remove_scored(DB, KEY, &name).map(drop),
        Kind::Set => access.add_member(DB, KEY, &name).map(drop),
        Kind::SortedSet => access.put_score(DB, KEY, &name, Score::new((word % 100) as f64).unwrap()).map(drop),
        Kind::String => unreachable!("it has no elements"),
    }
    .unwrap();
}

fn word_after(word: u64) -> u64 {
    word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

fn filled(kind: Kind) -> (Arc<Keyspace>, Drain, Vec<OpenBatch>) {
    let keyspace = keyspace(1);
    let mut writer = keyspace.writer();
    let mut drain = Drain::default();
    let mut word = 7;
    for _ in 0..2 * ELEMENTS {
        word = word_after(word);
        write(&mut writer, kind, ((word >> 20) % (1 << 32)) | (1 << 32));
    }
    let batches = drain.take(&keyspace);
    (keyspace, drain, batches)
}

/// Has `work` done between two steps, with a writer, and counts how often.
fn between_steps(keyspace: &Arc<Keyspace>, work: impl Fn(&mut Writer, u64) + Send + Sync + 'static) -> Arc<AtomicU64> {
    let steps = Arc::new(AtomicU64::new(0));
    let (counted, writer) = (Arc::clone(&steps), Mutex::new(keyspace.writer()));
    keyspace.holds().measure(
        || 0,
        move || {
            let step = counted.fetch_add(1, Ordering::Relaxed);
            // Whoever locks the slot here finds it free.
            work(&mut writer.lock(), step);
        },
    );
    steps
}

fn apply(keyspace: &Keyspace, batches: &[OpenBatch]) {
    let number = NodeNumber::new(1).unwrap();
    for batch in batches {
        keyspace.apply(number, batch.previous, batch.last, &batch.payload, NOW).unwrap();
    }
}

#[test]
fn an_image_that_is_written_to_while_it_is_read_becomes_with_the_journal_what_there_is() {
    for kind in KINDS {
        let (one, mut drain, _) = filled(kind);
        let steps = between_steps(&one, move |writer, step| {
            (0..5).for_each(|turn| write(writer, kind, word_after(word_after(step * 5 + turn)) >> 16));
        });
        let (image, _) = one.read_image(&[slot_of(KEY)], usize::MAX);
        assert!(steps.load(Ordering::Relaxed) > 4, "{kind:?}: in steps");
        let other = Keyspace::new(2);
        other.load_image(&image, NOW).unwrap();
        apply(&other, &drain.take(&one));
        let digest = |keyspace: &Keyspace| keyspace.digest_of(slot_of(KEY)).digest;
        assert_eq!(digest(&one), digest(&other), "{kind:?}");
        assert_ne!(digest(&one), 0);
    }
}

#[test]
fn a_collection_that_goes_while_it_is_read_is_not_in_the_image_and_one_in_its_place_is_as_it_is() {
    for kind in KINDS {
        for comes_again in [false, true] {
            let (one, mut drain, _) = filled(kind);
            between_steps(&one, move |writer, step| {
                if step == 2 {
                    let mut access = writer.access(NOW, &[KEY]);
                    access.begin_command();
                    assert!(access.delete(DB, KEY));
                    if comes_again {
                        access.begin_command();
                        assert_eq!(access.add_member(DB, KEY, b"other"), Ok(true));
                    }
                }
            });
            let (image, _) = one.read_image(&[slot_of(KEY)], usize::MAX);
            assert!(image.len() < 200, "{kind:?}: {} bytes", image.len());
            let other = Keyspace::new(2);
            other.load_image(&image, NOW).unwrap();
            apply(&other, &drain.take(&one));
            let digest = |keyspace: &Keyspace| keyspace.digest_of(slot_of(KEY)).digest;
            assert_eq!(digest(&one), digest(&other), "{kind:?}");
        }
    }
}

#[test]
fn what_another_node_gets_of_a_slot_is_of_one_moment() {
    for kind in KINDS {
        for writes_until in [0, 3] {
            let (one, mut drain, before) = filled(kind);
            let steps = between_steps(&one, move |writer, step| {
                if step < writes_until {
                    write(writer, kind, word_after(word_after(step)) >> 16);
                }
            });
            let other = keyspace(2);
            let (state, _) = one.list_slots(&[slot_of(KEY)], &VersionVector::new(), usize::MAX);
            assert!(steps.load(Ordering::Relaxed) > 0, "{kind:?}: in steps");
            let read = one.digest_of(slot_of(KEY)).digest;
            assert!(other.merge_slots(&state, NOW).unwrap().is_empty());
            assert_eq!(other.digest_of(slot_of(KEY)).digest, read, "{kind:?}");
            apply(&other, &before);
            apply(&other, &drain.take(&one));
            assert_eq!(other.digest_of(slot_of(KEY)), other.digest_of(slot_of(KEY)));
            assert_eq!(other.digest_of(slot_of(KEY)).digest, read, "{kind:?}");
        }
    }
}

#[test]
fn a_step_has_fewer_elements_where_they_are_large() {
    const COUNT: usize = 2 * LARGE_ELEMENTS_MIN;
    for kind in KINDS {
        let mut one = Side::new(1);
        let names = (0..COUNT).map(|number| [&number.to_le_bytes()[..], &[b'e'; STEP_BYTES / 4]].concat());
        one.add_named(kind, KEY, names);
        let steps = between_steps(&one.keyspace, |_, _| ());
        let (image, _) = one.keyspace.read_image(&[slot_of(KEY)], usize::MAX);
        assert!(steps.load(Ordering::Relaxed) >= COUNT as u64 / 5, "{kind:?}: {steps:?}");
        let other = Keyspace::new(2);
        other.load_image(&image, NOW).unwrap();
        assert_eq!(other.digest_of(slot_of(KEY)).digest, one.digest(KEY), "{kind:?}");
    }
}
