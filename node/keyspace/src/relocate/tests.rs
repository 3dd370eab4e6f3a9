//! Large collections that are moved in steps: what comes of it, here and elsewhere, and what others may do meanwhile.

use super::*;
use crate::pair::{DB, NOW, Side};
use crate::{Delta, EventSink, Keyspace, NewLifetime, OpenBatch};
use crdt::VersionVector;
use std::sync::Arc;

const OTHER_DB: Database = Database(5);
const KINDS: [Kind; 5] = [Kind::Hash, Kind::Set, Kind::SortedSet, Kind::List, Kind::Stream];
/// Several steps, and a change that is built beside.
const ELEMENTS: usize = 3 * READ_AT_ONCE;
const MOVE: Relocation<'_> =
    Relocation { from: DB, source: b"{k}", to: DB, target: b"{k}2", keeps_source: false, replaces: true };

/// What commands here may name.
const KEYS: &[&[u8]] = &[MOVE.source, MOVE.target];

impl Side {
    fn relocate(&mut self, wish: &Relocation<'_>) -> Relocated {
        self.writer.relocate(wish, &|| NOW, &|| Permission::Now, &mut || {})
    }

    /// All that readers see of a key.
    fn seen(&mut self, database: Database, key: &[u8]) -> String {
        self.command(KEYS, |access| {
            let kind = access.kind(database, key);
            let life = access.lifetime(database, key);
            let contents = match kind {
                None => String::new(),
                Some(Kind::List) => format!("{:?}", access.texts_of(database, key)),
                Some(Kind::SortedSet) => {
                    let members = access.sorted_set(database, key).unwrap().unwrap();
                    let in_order: Vec<_> = members.iter().map(|(name, score)| (score.to_bits(), name)).collect();
                    let mut sorted = in_order.clone();
                    sorted.sort_unstable();
                    format!("{sorted:?}")
                }
                Some(Kind::Stream) => {
                    let stream = access.stream(database, key).unwrap().unwrap();
                    let entries: Vec<_> = stream.range(StreamId::ZERO, StreamId::MAX).map(|item| item.id).collect();
                    format!("{entries:?} {:?} {:?} {}", stream.last_id(), stream.entries_added(), stream.groups())
                }
                Some(kind) => {
                    let elements = access.elements(database, key, kind).unwrap().unwrap();
                    let mut all: Vec<_> = elements.iter_with_lives().collect();
                    all.sort_unstable();
                    format!("{all:?}")
                }
            };
            format!("{kind:?} {life:?} {contents}")
        })
    }
}

/// Two nodes that have both written to one large collection and know it.
fn pair(kind: Kind) -> (Side, Side) {
    let (mut one, mut other) = (Side::new(1), Side::new(2));
    one.add(kind, MOVE.source, 0..ELEMENTS);
    one.tell(&other);
    other.add(kind, MOVE.source, ELEMENTS - 20..ELEMENTS + 20);
    other.tell(&one);
    if kind == Kind::Hash {
        one.command(KEYS, |access| access.add_to_field(DB, MOVE.source, b"n", Delta::Integer(5))).unwrap();
        let end = Lifetime::Until(NOW + 50_000);
        one.command(KEYS, |access| access.set_field_lifetime(DB, MOVE.source, b"element 7", end)).unwrap();
    }
    one.tell(&other);
    assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
    (one, other)
}

#[test]
fn a_moved_collection_is_the_same_under_another_name_everywhere() {
    for kind in KINDS {
        let (mut one, mut other) = pair(kind);
        one.command(KEYS, |access| access.set_lifetime(DB, MOVE.source, Lifetime::Until(NOW + 90_000)));
        let before = one.seen(DB, MOVE.source);
        // What is there is replaced.
        one.add(kind, MOVE.target, 0..LARGE);
        let Relocated::Done(stamp) = one.relocate(&MOVE) else { panic!("{kind:?}: it was not moved") };
        assert_eq!(one.writer.last_stamp(), stamp);
        one.tell(&other);
        for side in [&mut one, &mut other] {
            assert!(side.seen(DB, MOVE.target) == before, "{kind:?}");
            assert_eq!(side.seen(DB, MOVE.source), "None None ", "{kind:?}");
            assert_eq!(side.keyspace.len(DB.0), 1);
        }
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
        // All that is known of it leads to nothing left when it goes.
        other.command(KEYS, |access| assert!(access.delete(DB, MOVE.target)));
        other.tell(&one);
        for side in [&one, &other] {
            assert_eq!((side.digest(MOVE.source), side.keyspace.len(DB.0)), (0, 0), "{kind:?}");
        }
    }
}

#[test]
fn a_copy_in_another_database_is_like_the_one_that_is_made_at_once() {
    for kind in KINDS {
        let (mut one, mut other) = pair(kind);
        let copy = Relocation { to: OTHER_DB, target: MOVE.source, keeps_source: true, ..MOVE };
        let before = one.seen(DB, MOVE.source);
        assert!(matches!(one.relocate(&copy), Relocated::Done(_)), "{kind:?}");
        one.tell(&other);
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
        assert!(other.command(KEYS, |access| access.copy(DB, MOVE.source, DB, MOVE.target)));
        for (database, key) in [(DB, MOVE.source), (OTHER_DB, MOVE.source)] {
            assert!(other.seen(database, key) == before, "{kind:?}");
        }
        assert!(other.seen(DB, MOVE.target) == before, "{kind:?}");
        other.tell(&one);
        assert!(one.seen(DB, MOVE.target) == before, "{kind:?}");
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
    }
}

#[test]
fn the_unobserved_write_stands_at_the_source_and_at_the_target() {
    for kind in KINDS {
        let (mut one, mut other) = pair(kind);
        let moved = one.seen(DB, MOVE.source);
        other.add(kind, MOVE.source, 9_000..9_003);
        other.add(kind, MOVE.target, 9_003..9_004);
        one.relocate(&MOVE);
        one.tell(&other);
        other.tell(&one);
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
        for key in [MOVE.source, MOVE.target] {
            let shown = one.seen(DB, key);
            assert!(shown == other.seen(DB, key), "{kind:?}");
            assert!(shown != "None None " && shown != moved, "{kind:?}");
        }
        one.command(KEYS, |access| access.delete(DB, MOVE.source));
        other.command(KEYS, |access| access.delete(DB, MOVE.target));
        one.tell(&other);
        other.tell(&one);
        assert_eq!((one.digest(MOVE.source), other.digest(MOVE.source)), (0, 0), "{kind:?}");
    }
}

#[test]
fn a_key_is_not_moved_over_another_one_unless_it_may_be_and_what_is_small_is_moved_at_once() {
    let (mut one, _) = pair(Kind::Set);
    one.add(Kind::Set, MOVE.target, 0..2);
    assert_eq!(one.relocate(&Relocation { replaces: false, ..MOVE }), Relocated::Taken);
    let back = Relocation { source: MOVE.target, target: MOVE.source, ..MOVE };
    assert!(matches!(one.relocate(&back), Relocated::Done(_)));
    assert_eq!(one.relocate(&back), Relocated::NoSource);
    assert_eq!(one.command(KEYS, |access| access.set(DB, MOVE.source).unwrap().unwrap().len()), 2);
    assert!(!one.keyspace.has_frozen());
}

#[test]
fn nothing_is_written_after_writes_were_forbidden_and_nothing_stays_frozen_while_they_are_paused() {
    for (permission, came) in [(Permission::Never, Relocated::Refused), (Permission::Later, Relocated::Paused)] {
        let (mut one, _) = pair(Kind::List);
        let before = (one.digest(MOVE.source), one.seen(DB, MOVE.source));
        // At the first question, between two steps, and when the stamp is to be taken.
        let questions = |forbidden_from: u32| {
            let asked = std::cell::Cell::new(0);
            move || {
                asked.set(asked.get() + 1);
                if asked.get() > forbidden_from { permission } else { Permission::Now }
            }
        };
        for forbidden_from in 0.. {
            let outcome = one.writer.relocate(&MOVE, &|| NOW, &questions(forbidden_from), &mut || {});
            if matches!(outcome, Relocated::Done(_)) {
                assert!(forbidden_from > 4, "{forbidden_from} questions");
                break;
            }
            assert_eq!(outcome, came, "after {forbidden_from}");
            assert!((one.digest(MOVE.source), one.seen(DB, MOVE.source)) == before && !one.keyspace.has_frozen());
            assert!(one.batches().is_empty());
        }
        assert!(one.seen(DB, MOVE.target) == before.1);
    }
}

#[test]
fn each_step_goes_by_the_clock_of_its_moment() {
    let (mut one, _) = pair(Kind::Set);
    let clock = std::cell::Cell::new(NOW);
    let tick = || {
        clock.set(clock.get() + 1);
        clock.get()
    };
    let Relocated::Done(stamp) = one.writer.relocate(&MOVE, &tick, &|| Permission::Now, &mut || {}) else { panic!() };
    assert!(clock.get() > NOW + 4, "{} steps", clock.get() - NOW);
    assert_eq!(one.keyspace.shared.now(), clock.get());
    assert!(stamp.unix_ms() > NOW + 4);
}

#[test]
fn what_ends_its_life_before_it_is_moved_is_not_there() {
    for steps in 0.. {
        let (mut one, _) = pair(Kind::Set);
        one.command(KEYS, |access| access.set_lifetime(DB, MOVE.source, Lifetime::Until(NOW + 1)));
        let asked = std::cell::Cell::new(0);
        let clock = || {
            asked.set(asked.get() + 1);
            NOW + u64::from(asked.get() > steps)
        };
        let outcome = one.writer.relocate(&MOVE, &clock, &|| Permission::Now, &mut || {});
        if matches!(outcome, Relocated::Done(_)) {
            assert!(steps > 4, "{steps} steps");
            break;
        }
        assert_eq!(outcome, Relocated::NoSource, "after {steps} steps");
        assert!(!one.keyspace.has_frozen());
        assert_eq!(one.command(KEYS, |access| access.kind(DB, MOVE.target)), None);
    }
}

#[test]
fn a_defect_behind_the_stamp_leaves_the_keys_hidden_and_one_before_it_leaves_all_as_it_was() {
    let (mut one, _) = pair(Kind::Hash);
    let before = (one.digest(MOVE.source), one.seen(DB, MOVE.source));
    for fails_hidden in [false, true] {
        let keyspace = one.keyspace.clone();
        let mut fail = || {
            if !fails_hidden || keyspace.meets_frozen(&[MOVE.source], false) {
                // As a panic does, and says nothing in the output of the tests.
                std::panic::resume_unwind(Box::new("a defect"));
            }
        };
        let relocating = || one.writer.relocate(&MOVE, &|| NOW, &|| Permission::Now, &mut fail);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(relocating)).unwrap_err();
        assert_eq!(one.keyspace.meets_frozen(&[MOVE.source], false), fails_hidden);
        assert_eq!(one.keyspace.has_frozen(), fails_hidden);
        assert!((one.digest(MOVE.source), one.seen(DB, MOVE.source)) == before);
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct Told(parking_lot::Mutex<Vec<String>>);

impl EventSink for Told {
    fn tell(&self, _: EventClass, name: &str, database: u8, key: &[u8]) {
        self.0.lock().push(format!("{name} {database} {}", String::from_utf8_lossy(key)));
    }
}

fn listen(side: &Side) -> Arc<Told> {
    let told = Arc::new(Told::default());
    side.keyspace.on_event(told.clone());
    side.keyspace.want_events(EventClass::all());
    told
}

#[test]
fn what_is_moved_in_steps_is_told_like_what_is_moved_at_once_also_where_it_arrives() {
    let to_other = Relocation { to: OTHER_DB, target: MOVE.source, ..MOVE };
    let copied = Relocation { keeps_source: true, ..MOVE };
    let cases = [
        (
            MOVE,
            vec!["new 3 {k}2", "rename_from 3 {k}", "rename_to 3 {k}2"],
            vec!["new 3 {k}2", "sadd 3 {k}2", "del 3 {k}"],
        ),
        (to_other, vec!["new 5 {k}", "move_from 3 {k}", "move_to 5 {k}"], vec!["new 5 {k}", "sadd 5 {k}", "del 3 {k}"]),
        (copied, vec!["new 3 {k}2", "copy_to 3 {k}2"], vec!["new 3 {k}2", "sadd 3 {k}2"]),
    ];
    for (wish, here, there) in cases {
        let (mut one, other) = pair(Kind::Set);
        let (told_here, told_there) = (listen(&one), listen(&other));
        one.relocate(&wish);
        assert_eq!(*told_here.0.lock(), here);
        one.tell(&other);
        assert_eq!(*told_there.0.lock(), there);
        one.keyspace.want_events(EventClass::empty());
        if !wish.keeps_source {
            one.relocate(&Relocation {
                from: wish.to,
                source: wish.target,
                to: wish.from,
                target: wish.source,
                ..wish
            });
        }
        one.keyspace.want_events(EventClass::all());
        told_here.0.lock().clear();
        one.command(KEYS, |access| access.relocate_at_once(&wish));
        assert_eq!(*told_here.0.lock(), here, "at once");
    }
}

#[test]
fn meanwhile_others_write_to_other_keys_of_the_slot_and_to_these_only_later() {
    for kind in KINDS {
        let (mut one, other) = pair(kind);
        let keyspace = one.keyspace.clone();
        let (mut pauses, mut hidden) = (0, 0);
        one.writer.relocate(&MOVE, &|| NOW, &|| Permission::Now, &mut || {
            let mut writer = keyspace.writer();
            let key = b"{k}beside";
            let mut access = writer.access(NOW, &[key, MOVE.source]);
            access.begin_command();
            assert!(!keyspace.meets_frozen(&[key], true));
            access.put_string(DB, key, b"v", NewLifetime::Set(Lifetime::Never));
            assert!(keyspace.meets_frozen(&[key, MOVE.source], true) && keyspace.meets_frozen(&[MOVE.target], true));
            pauses += 1;
            hidden += u32::from(keyspace.meets_frozen(&[MOVE.target], false));
            drop(access);
            assert!(!keyspace.digest_of(crate::slot_of(key)).settled);
        });
        assert!(pauses > hidden && hidden > 0, "{kind:?}: {pauses} pauses, {hidden} behind the stamp");
        assert!(!keyspace.has_frozen());
        one.tell(&other);
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
    }
}

#[test]
fn whoever_reads_the_whole_slot_waits_for_the_end() {
    let (mut one, _) = pair(Kind::Hash);
    let (keyspace, slot) = (one.keyspace.clone(), crate::slot_of(MOVE.source));
    let mut reader = None;
    one.writer.relocate(&MOVE, &|| NOW, &|| Permission::Now, &mut || {
        let keyspace = keyspace.clone();
        reader.get_or_insert_with(|| std::thread::spawn(move || keyspace.read_image(&[slot], usize::MAX)));
    });
    let (image, _) = reader.unwrap().join().unwrap();
    let mut copy = Side::new(3);
    copy.keyspace.load_image(&image, NOW).unwrap();
    assert_eq!(copy.digest(MOVE.source), one.digest(MOVE.source));
    assert!(copy.seen(DB, MOVE.target) == one.seen(DB, MOVE.target), "{} bytes", image.len());
}

#[test]
fn a_batch_that_names_what_is_moved_is_applied_behind_it() {
    let (mut one, mut other) = pair(Kind::Set);
    other.add(Kind::Set, MOVE.source, 9_000..9_001);
    let batches = Arc::new(other.batches());
    let (keyspace, origin) = (one.keyspace.clone(), other.number);
    let mut applying = None;
    one.writer.relocate(&MOVE, &|| NOW, &|| Permission::Now, &mut || {
        let (keyspace, batches) = (keyspace.clone(), batches.clone());
        applying.get_or_insert_with(|| {
            std::thread::spawn(move || {
                for batch in &*batches {
                    keyspace.apply(origin, batch.previous, batch.last, &batch.payload, NOW).unwrap();
                }
            })
        });
    });
    applying.unwrap().join().unwrap();
    one.tell(&other);
    assert_eq!(one.command(KEYS, |access| access.set(DB, MOVE.source).unwrap().unwrap().len()), 1);
    assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source));
}

#[test]
fn a_batch_that_names_what_is_moved_can_be_left_alone_and_others_are_applied() {
    let (mut one, mut other) = pair(Kind::Set);
    let mut third = Side::new(3);
    other.add(Kind::Set, MOVE.source, 9_000..9_001);
    third.add(Kind::Set, b"{k}beside", 0..1);
    let (names, beside) = (other.batches(), third.batches());
    let try_apply = |keyspace: &Keyspace, side: &Side, batches: &[OpenBatch]| {
        let [batch] = batches else { panic!("it is one") };
        let bounds = (batch.previous, batch.last);
        keyspace.apply_with_pauses(side.number, bounds, &batch.payload, NOW, &mut |_| ()).unwrap()
    };
    let (keyspace, mut beside_applied) = (one.keyspace.clone(), 0);
    one.writer.relocate(&MOVE, &|| NOW, &|| Permission::Now, &mut || {
        let before = keyspace.applied().of(other.number);
        assert_eq!(try_apply(&keyspace, &other, &names), None);
        assert_eq!(keyspace.applied().of(other.number), before);
        beside_applied += usize::from(try_apply(&keyspace, &third, &beside) == Some(1));
    });
    assert!(beside_applied > 2, "{beside_applied}");
    assert_eq!(try_apply(&one.keyspace, &other, &names), Some(1));
    one.tell(&other);
    other.hear(&third, &beside);
    assert_eq!(one.command(KEYS, |access| access.set(DB, MOVE.source).unwrap().unwrap().len()), 1);
    assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source));
}

#[test]
fn a_move_begins_between_two_batches() {
    let (mut one, other) = pair(Kind::Set);
    one.add(Kind::Set, b"{k}beside", 0..2_000);
    let mut pauses = 0;
    for batch in one.batches() {
        let mut pause = |_| {
            pauses += 1;
            assert!(!other.keyspace.shared.frozen.can_begin());
        };
        let bounds = (batch.previous, batch.last);
        other.keyspace.apply_with_pauses(one.number, bounds, &batch.payload, NOW, &mut pause).unwrap();
    }
    assert!(pauses > 1 && other.keyspace.shared.frozen.can_begin());
}

#[test]
fn a_slot_that_has_seen_something_out_of_order_gets_each_element_by_itself() {
    for kind in KINDS {
        let (mut one, mut other) = pair(kind);
        one.relocate(&MOVE);
        let late = one.batches();
        // The state comes first, and with it all of this; the batch adds nothing.
        let (chunk, _) = one.keyspace.list_slots(&[crate::slot_of(MOVE.source)], &VersionVector::new(), usize::MAX);
        other.keyspace.merge_slots(&chunk, NOW).unwrap();
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
        for batch in &late {
            other.keyspace.apply(one.number, batch.previous, batch.last, &batch.payload, NOW).unwrap();
        }
        assert_eq!(one.digest(MOVE.source), other.digest(MOVE.source), "{kind:?}");
        assert!(one.seen(DB, MOVE.target) == other.seen(DB, MOVE.target), "{kind:?}");
    }
}

#[test]
fn a_step_reads_no_more_bytes_where_elements_are_large() {
    const ELEMENT: usize = STEP_BYTES / 4;
    const COUNT: usize = READ_AT_ONCE / 4;
    for kind in KINDS {
        let mut one = Side::new(1);
        let names = (0..COUNT).map(|number| [&number.to_le_bytes()[..], &[b'e'; ELEMENT]].concat());
        one.add_named(kind, MOVE.source, names);
        let before = one.seen(DB, MOVE.source);
        let (mut contents, mut steps, mut longest) = (Contents::new(kind), 0, 0);
        let bytes = |contents: &Contents| contents.operations.len() + contents.texts.len();
        loop {
            let had = bytes(&contents);
            let is_more = one
                .command(KEYS, |access| access.source_body(&MOVE, |body| contents.read_some(body, NOW)))
                .expect("it is a large collection");
            (steps, longest) = (steps + 1, longest.max(bytes(&contents) - had));
            if !is_more {
                break;
            }
        }
        assert!(longest < STEP_BYTES + 2 * ELEMENT && bytes(&contents) > COUNT * ELEMENT, "{kind:?}: {longest} bytes");
        assert!(steps >= COUNT / 5, "{kind:?}: {steps} steps");
        assert!(matches!(one.relocate(&MOVE), Relocated::Done(_)));
        assert!(one.seen(DB, MOVE.target) == before, "{kind:?}");
    }
}

/// Elements of a target that is replaced.
const LARGE: usize = 100;
