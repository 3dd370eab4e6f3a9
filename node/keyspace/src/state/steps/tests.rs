//! Large collections that are read in steps, while somebody writes to them between the steps.

use crate::pair::Side;
use crate::steps::STEP_BYTES;
use crate::summary::LARGE_ELEMENTS_MIN;
use crate::{
    Database, Drain, End, IdRequest, Keyspace, OpenBatch, StateMerger, StateStep, Trim, TrimBy, Writer, slot_of,
};
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
    apply_of(keyspace, NodeNumber::new(1).unwrap(), batches);
}

fn apply_of(keyspace: &Keyspace, number: NodeNumber, batches: &[OpenBatch]) {
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

fn digest(keyspace: &Keyspace) -> u64 {
    keyspace.digest_of(slot_of(KEY)).digest
}

/// A slot that is large at both of two nodes: each has written, and removed, what the other does not know.
fn apart(kind: Kind) -> ([Arc<Keyspace>; 2], [Vec<OpenBatch>; 2]) {
    let (one, mut drain, before) = filled(kind);
    let two = keyspace(2);
    apply(&two, &before);
    let mut batches = [before, Vec::new()];
    let mut drains = [std::mem::take(&mut drain), Drain::default()];
    for (number, side) in [&one, &two].into_iter().enumerate() {
        let (mut writer, mut word) = (side.writer(), number as u64 + 11);
        for _ in 0..ELEMENTS / 2 {
            word = word_after(word);
            write(&mut writer, kind, word >> 16);
        }
        batches[number].extend(drains[number].take(side));
    }
    ([one, two], batches)
}

#[test]
fn slots_that_are_large_on_both_sides_become_the_same_by_pieces() {
    for kind in KINDS {
        for lists_at_once in [false, true] {
            let ([one, two], batches) = apart(kind);
            let (slot, since, upto) = (slot_of(KEY), (*two.applied()).clone(), one.clock());
            if !lists_at_once {
                let (pieces, next) = one.read_slots(slot, &since, 1);
                assert!(next == slot + 1 && pieces.len() > 2, "{kind:?}: {} pieces", pieces.len());
                // Something was removed there, which news do not say.
                assert_eq!(two.merge_slots(&pieces, NOW), Ok(vec![slot]), "{kind:?}");
            }
            let (pieces, _) = one.list_slots(&[slot], &since, usize::MAX);
            assert!(pieces.len() > 2, "{kind:?}: {} pieces", pieces.len());
            assert_eq!(two.merge_slots(&pieces, NOW), Ok(vec![]));
            assert!(!two.has_frozen() && two.is_in_part(slot) == one.is_in_part(slot));
            two.raise_applied(&[(NodeNumber::new(1).unwrap(), upto)].into_iter().collect());
            // What comes again changes nothing.
            let merged = digest(&two);
            assert_eq!(two.merge_slots(&pieces, NOW), Ok(vec![]));
            assert_eq!(digest(&two), merged, "{kind:?}");
            apply_of(&one, NodeNumber::new(2).unwrap(), &batches[1]);
            assert_eq!(digest(&one), digest(&two), "{kind:?}");
            let (pieces, _) = one.read_slots(slot, &two.applied(), 1);
            assert_eq!(two.merge_slots(&pieces, NOW), Ok(vec![]), "{kind:?}: nothing differs");
        }
    }
}

#[test]
fn nobody_comes_upon_a_slot_that_is_half_merged_and_all_others_are_served() {
    for kind in KINDS {
        let ([one, two], _) = apart(kind);
        let (pieces, _) = one.list_slots(&[slot_of(KEY)], &two.applied(), usize::MAX);
        let mut third = Side::new(3);
        third.add_named(kind, KEY, [b"element of a third".to_vec()].into_iter());
        third.add_named(kind, b"elsewhere", [b"element of a third".to_vec()].into_iter());
        let third = Drain::default().take(&third.keyspace);
        let mut merger = StateMerger::new(pieces.len());
        let mut half_merged = 0;
        loop {
            let step = merger.step(&two, NOW, &mut |piece| Ok(pieces[piece].clone())).unwrap();
            assert_eq!(merger.is_in_slot(), two.meets_frozen(&[KEY], false), "not even read");
            if merger.is_in_slot() {
                half_merged += 1;
                assert!(!two.meets_frozen(&[b"elsewhere"], true));
                let batch = &third[0];
                let number = NodeNumber::new(3).unwrap();
                let bounds = (batch.previous, batch.last);
                assert_eq!(two.apply_with_pauses(number, bounds, &batch.payload, NOW, &mut |_| ()), Ok(None));
                assert_eq!(two.freeze_slot(7, true).map(drop), None, "one at a time");
            }
            if step == StateStep::Over {
                break;
            }
        }
        assert!(half_merged > pieces.len(), "{kind:?}: in steps");
        assert!(merger.into_differing().is_empty() && !two.has_frozen());
    }
}

#[test]
fn pieces_that_are_missing_doubled_or_in_another_order_are_refused_before_anything_is_merged() {
    let ([one, two], _) = apart(Kind::Hash);
    let (pieces, _) = one.list_slots(&[slot_of(KEY)], &two.applied(), usize::MAX);
    let (other, _) = one.list_slots(&[slot_of(KEY) + 1], &two.applied(), usize::MAX);
    let (count, before) = (pieces.len(), digest(&two));
    let mut swapped = pieces.clone();
    swapped.swap(0, 1);
    let mut cut = pieces.clone();
    let last = cut[count - 1].len() - 1;
    cut[count - 1].truncate(last);
    let without_first = pieces[1..].to_vec();
    let without_last = pieces[..count - 1].to_vec();
    let twice = [&pieces[..2], &pieces[..]].concat();
    let with_other = [&pieces[..2], &other[..], &pieces[2..]].concat();
    for wrong in [swapped, cut, without_first, without_last, twice, with_other] {
        assert!(two.merge_slots(&wrong, NOW).is_err());
        assert!(digest(&two) == before && !two.has_frozen());
    }
    assert!(two.load_image(&pieces[0], NOW).is_err(), "an image has no pieces");
    assert_eq!(two.merge_slots(&[&pieces[..], &other[..]].concat(), NOW), Ok(vec![]));
}

#[test]
fn noise_in_pieces_is_refused_or_changes_what_it_says_and_breaks_nothing() {
    let ([one, _], _) = apart(Kind::Set);
    let (pieces, _) = one.list_slots(&[slot_of(KEY)], &VersionVector::new(), usize::MAX);
    let mut word = 5;
    for _ in 0..300 {
        let two = keyspace(2);
        let mut wrong = pieces.clone();
        word = word_after(word);
        let (piece, at) = ((word >> 40) as usize % wrong.len(), (word >> 20) as usize);
        let at = at % wrong[piece].len();
        wrong[piece][at] ^= 1 << (word >> 60 & 7);
        let _ = two.merge_slots(&wrong, NOW);
        assert!(!two.has_frozen());
    }
}

#[test]
fn a_piece_names_no_vector_that_is_older_than_what_is_in_it() {
    let one = keyspace(1);
    let mut two = Side::new(2);
    let names =
        |of: &str| (0..LARGE_ELEMENTS_MIN as u64 * 20).map(|n| format!("{of} {n}").into_bytes()).collect::<Vec<_>>();
    two.add_named(Kind::Set, KEY, names("a").into_iter());
    let batches = Drain::default().take(&two.keyspace);
    let last = batches[batches.len() - 1].last;
    // The vector rises between two steps; nothing in the slot that is read changes.
    let applied = Mutex::new(false);
    let weak = Arc::downgrade(&one);
    let mut first = Side::new(3);
    first.add_named(Kind::Set, b"first", names("b").into_iter());
    let begun = Drain::default().take(&first.keyspace);
    let number = NodeNumber::new(3).unwrap();
    apply_of(&one, number, &begun);
    one.holds().measure(
        || 0,
        move || {
            if let (Some(one), false) = (weak.upgrade(), std::mem::replace(&mut *applied.lock(), true)) {
                let number = NodeNumber::new(2).unwrap();
                apply_of(&one, number, &batches);
            }
        },
    );
    let slots = [slot_of(b"first"), slot_of(KEY)];
    let (pieces, covered) = one.list_slots(&slots, &VersionVector::new(), usize::MAX);
    assert_eq!(covered, 2);
    let other = keyspace(4);
    assert_eq!(other.merge_slots(&pieces, NOW), Ok(vec![]));
    assert_eq!(digest(&other), digest(&one));
    assert_ne!(digest(&one), 0);
    let known = other.ahead_of(slot_of(KEY)).unwrap_or_default();
    assert!(known.covers(last), "what the slot holds is known there");
    assert!(!other.ahead_of(slots[0]).unwrap_or_default().covers(last));
}

#[test]
fn a_large_collection_without_news_is_looked_at_in_steps_and_not_sent() {
    for kind in KINDS {
        let (one, ..) = filled(kind);
        let steps = between_steps(&one, |_, _| ());
        let since = [(NodeNumber::new(1).unwrap(), one.clock())].into_iter().collect();
        let (pieces, _) = one.read_slots(slot_of(KEY), &since, 1);
        assert!(steps.load(Ordering::Relaxed) > 2, "{kind:?}: in steps");
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        assert!(bytes < 100, "{kind:?}: {bytes} bytes");
    }
}
