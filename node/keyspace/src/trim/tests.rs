//! Ends of lists and streams that are removed in one operation: what goes, what stays, and what is sent.

use crate::pair::{DB, Side};
use crate::summary::LARGE_ELEMENTS_MIN;
use crate::{Trim, TrimBy};
use crdt::Kind;
use std::borrow::Cow;

const KEY: &[u8] = b"k";
const KEYS: &[&[u8]] = &[KEY];
/// A large collection, of which so many are left.
const MANY: usize = 8 * LARGE_ELEMENTS_MIN;
const LEFT: usize = 5;

impl Side {
    /// Leaves so many elements, those at the end.
    fn trim(&mut self, kind: Kind, left: usize) {
        let length = self.texts(kind).len();
        self.command(KEYS, |access| match kind {
            Kind::List => access.remove_elements(DB, KEY, std::slice::from_ref(&(0..length - left))),
            _ => {
                let trim = Trim { by: TrimBy::Length(left as u64), is_approximate: false, limit: None };
                access.trim(DB, KEY, trim).map(drop)
            }
        })
        .unwrap();
    }

    /// What the elements say, in order.
    fn texts(&mut self, kind: Kind) -> Vec<String> {
        let text = |text: Cow<'_, [u8]>| String::from_utf8(text.into_owned()).unwrap();
        self.command(KEYS, |access| match kind {
            Kind::List => access.list(DB, KEY).unwrap().iter().flat_map(|list| list.iter()).map(text).collect(),
            _ => {
                let mut shown = Vec::new();
                for item in access
                    .stream(DB, KEY)
                    .unwrap()
                    .iter()
                    .flat_map(|stream| stream.range(crdt::StreamId::ZERO, crdt::StreamId::MAX))
                {
                    item.each_pair(|_, value| shown.push(text(Cow::Borrowed(value))));
                }
                shown
            }
        })
    }
}

/// Two nodes that have both written to one large collection and know it.
fn pair(kind: Kind) -> (Side, Side) {
    let (mut one, mut other) = (Side::new(1), Side::new(2));
    one.add(kind, KEY, 0..MANY / 2);
    one.tell(&other);
    other.add(kind, KEY, MANY / 2..MANY);
    other.tell(&one);
    [&one, &other].iter().for_each(|side| side.keyspace.free_later(|| {}));
    assert_eq!(one.texts(kind), other.texts(kind));
    (one, other)
}

#[test]
fn all_but_a_few_go_by_one_operation_and_are_freed_later() {
    for kind in [Kind::List, Kind::Stream] {
        let (mut one, mut other) = pair(kind);
        one.trim(kind, LEFT);
        let batches = one.tell(&other);
        let bytes: usize = batches.iter().map(|batch| batch.payload.len()).sum();
        assert!(bytes < 200, "{kind:?}: {bytes} bytes");
        let left: Vec<String> = (MANY - LEFT..MANY).map(|text| format!("element {text}")).collect();
        for side in [&mut one, &mut other] {
            assert_eq!(side.texts(kind), left, "{kind:?}");
            assert_eq!(side.keyspace.garbage().objects, 1, "{kind:?}");
        }
        assert_eq!(one.digest(KEY), other.digest(KEY), "{kind:?}");
        other.trim(kind, 1);
        other.tell(&one);
        assert_eq!((one.texts(kind).len(), one.digest(KEY)), (1, other.digest(KEY)), "{kind:?}");
        for side in [&mut one, &mut other] {
            side.command(KEYS, |access| assert!(access.delete(DB, KEY)));
        }
        one.tell(&other);
        other.tell(&one);
        assert_eq!(
            (one.digest(KEY), other.digest(KEY)),
            (0, 0),
            "{kind:?}: what a key adds to the digest goes with it"
        );
    }
}

#[test]
fn what_a_trim_has_not_observed_stays_where_it_is() {
    for kind in [Kind::List, Kind::Stream] {
        let (mut one, mut other) = pair(kind);
        one.add(kind, KEY, MANY..MANY + 2);
        // Between those of the other.
        other.add(kind, KEY, MANY + 2..MANY + 4);
        one.add(kind, KEY, MANY + 4..MANY + 6);
        one.trim(kind, 1);
        one.tell(&other);
        other.tell(&one);
        assert_eq!(one.digest(KEY), other.digest(KEY), "{kind:?}");
        let shown = one.texts(kind);
        assert_eq!(shown, other.texts(kind), "{kind:?}");
        for text in [MANY + 2, MANY + 3, MANY + 5] {
            assert!(shown.contains(&format!("element {text}")), "{kind:?}: {shown:?}");
        }
        assert_eq!(shown.len(), 3, "{kind:?}: {shown:?}");
    }
}

#[test]
fn both_ends_of_a_list_go_and_the_middle_stays() {
    for middle in [LEFT, MANY - 3 * LARGE_ELEMENTS_MIN] {
        let (mut one, mut other) = pair(Kind::List);
        let first = LARGE_ELEMENTS_MIN + 7;
        one.command(KEYS, |access| access.remove_elements(DB, KEY, &[0..first, first + middle..MANY])).unwrap();
        let bytes: usize = one.tell(&other).iter().map(|batch| batch.payload.len()).sum();
        assert!(bytes < 200, "{bytes} bytes");
        let left: Vec<String> = (first..first + middle).map(|text| format!("element {text}")).collect();
        assert_eq!((one.texts(Kind::List), one.digest(KEY)), (left.clone(), other.digest(KEY)));
        assert_eq!(other.texts(Kind::List), left);
    }
}

#[test]
fn an_element_that_is_set_elsewhere_at_the_same_time_stays_set() {
    let (mut one, mut other) = pair(Kind::List);
    assert_eq!(other.command(KEYS, |access| access.set_element(DB, KEY, 3, b"set")), Ok(true));
    one.command(KEYS, |access| access.set_element(DB, KEY, 3, b"set before")).unwrap();
    one.trim(Kind::List, LEFT);
    one.tell(&other);
    other.tell(&one);
    assert_eq!(one.texts(Kind::List)[0], "set");
    assert_eq!((one.texts(Kind::List), one.digest(KEY)), (other.texts(Kind::List), other.digest(KEY)));
}

/// Trims of any length at any time, beside pushes and appends at both nodes. Builds with assertions hold a summary against
/// all elements when it is used.
#[test]
fn two_nodes_that_trim_and_add_at_the_same_time_become_equal() {
    for kind in [Kind::List, Kind::Stream] {
        let mut word = 5_u64;
        for round in 0..20 {
            let (mut one, mut other) = pair(kind);
            for step in 0..40 {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = &mut if word >> 63 == 0 { &mut one } else { &mut other };
                match (word >> 50) % 8 {
                    0..=3 => at.add(kind, KEY, step * 1000..step * 1000 + (word >> 20) as usize % 40),
                    4 => {
                        let length = at.texts(kind).len();
                        let left = (word >> 30) as usize % (length + 1);
                        if left > 0 {
                            at.trim(kind, left);
                        }
                    }
                    5 if kind == Kind::List => {
                        let length = at.texts(kind).len();
                        if length > 0 {
                            let index = (word >> 30) as usize % length;
                            at.command(KEYS, |access| access.set_element(DB, KEY, index, b"set")).unwrap();
                        }
                    }
                    5 | 6 => drop(one.tell(&other)),
                    _ => drop(other.tell(&one)),
                }
            }
            one.tell(&other);
            other.tell(&one);
            assert_eq!(one.digest(KEY), other.digest(KEY), "{kind:?}, round {round}");
            assert_eq!(one.texts(kind), other.texts(kind), "{kind:?}, round {round}");
            for side in [&mut one, &mut other] {
                side.command(KEYS, |access| access.delete(DB, KEY));
            }
            one.tell(&other);
            other.tell(&one);
            assert_eq!((one.digest(KEY), other.digest(KEY)), (0, 0), "{kind:?}, round {round}");
        }
    }
}
