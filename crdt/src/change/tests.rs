//! Changes as bytes: what is written is read again, and what is wrong is refused.

use super::*;
use alloc::vec;

fn node(n: u16) -> NodeNumber {
    NodeNumber::new(n).unwrap()
}

fn stamp(ms: u64, n: u16) -> Stamp {
    Stamp::at(crate::STAMP_EPOCH_MS + ms, node(n))
}

fn samples() -> Vec<Operation<'static>> {
    let reset = Reset { node: node(2), birth: stamp(3, 2), stamp: stamp(9, 2), cumulative: Number::integer(-4) };
    vec![
        Operation::Put {
            kind: Kind::Hash,
            name: b"f",
            drops: Stamps::from_slice(&[stamp(5, 2), stamp(50, 3)]),
            resets: Resets::from_slice(&[reset]),
            value: b"value",
        },
        Operation::Remove { kind: Kind::Set, name: b"m", drops: Stamps::new(), resets: Resets::new() },
        Operation::Add {
            kind: Kind::String,
            name: b"",
            birth: stamp(1, 1),
            cumulative: Number::parse(b"0.5").unwrap(),
            asserts: true,
        },
        Operation::Add {
            kind: Kind::Hash,
            name: b"f",
            birth: stamp(1, 1),
            cumulative: Number::integer(1),
            asserts: false,
        },
        Operation::LiveField { name: b"f", drops: Stamps::from_slice(&[stamp(5, 2)]), lifetime: Lifetime::Until(77) },
        Operation::LiveField { name: b"g", drops: Stamps::new(), lifetime: Lifetime::Never },
        Operation::Clear {
            kind: Kind::Hash,
            covered: [(node(1), stamp(8, 1))].into_iter().collect(),
            beyond: vec![(b"f", stamp(9, 2))],
            resets: vec![(b"g", reset)],
        },
        Operation::Live { drops: Stamps::from_slice(&[stamp(5, 2)]), assertion: None },
        Operation::Live { drops: Stamps::new(), assertion: Some(Lifetime::Until(77)) },
        Operation::Patch { patch: &[2, 1, b'x'] },
        Operation::RemoveFolded { last: stamp(7, 2) },
        Operation::ClearRange {
            kind: Kind::List,
            reach: Reach::From,
            bound: LIST_BOUND,
            covered: [(node(1), stamp(8, 1))].into_iter().collect(),
        },
        Operation::ClearRange {
            kind: Kind::Stream,
            reach: Reach::UpTo,
            bound: &[1; 16],
            covered: VersionVector::new(),
        },
        Operation::ClearDatabase { every: true, covered: VersionVector::new() },
    ]
}

/// One step from the end of a list.
const LIST_BOUND: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_range_ends_at_an_element_that_has_a_place_in_an_order() {
    for (kind, bound, is_right) in [
        (Kind::List, LIST_BOUND, true),
        (Kind::List, b"no position", false),
        (Kind::Stream, &[1; 16], true),
        (Kind::Stream, &*StreamName::Head.name(), false),
        (Kind::Set, b"member", false),
    ] {
        let operation = Operation::ClearRange { kind, reach: Reach::UpTo, bound, covered: VersionVector::new() };
        let mut operations = vec![];
        encode_operation(&mut operations, stamp(9, 1), &operation);
        let change = Change { stamp: stamp(9, 1), tied: false, database: 0, key: b"k", operations: &operations };
        assert_eq!(Operations::of(&change).all(|operation| operation.is_ok()), is_right, "{kind:?} {bound:?}");
    }
}

fn batch() -> Vec<u8> {
    let mut body = vec![];
    encode_subject(&mut body, 3, b"key");
    samples().iter().for_each(|operation| encode_operation(&mut body, stamp(100, 1), operation));
    let mut plain = vec![];
    encode_subject(&mut plain, 0, b"plain");
    encode_plain_set(&mut plain, b"v");
    let mut payload = vec![];
    encode_change(&mut payload, stamp(90, 1), stamp(100, 1), true, &body);
    encode_change(&mut payload, stamp(100, 1), stamp(101, 1), false, &plain);
    payload
}

#[test]
fn changes_come_back_from_their_bytes() {
    let payload = batch();
    let changes: Vec<_> = Changes::new(&payload, node(1), stamp(90, 1)).map(Result::unwrap).collect();
    assert_eq!((changes[0].stamp, changes[0].tied, changes[0].database), (stamp(100, 1), true, 3));
    let operations: Vec<_> = Operations::of(&changes[0]).map(Result::unwrap).collect();
    assert_eq!(operations, samples());
    assert_eq!((changes[1].stamp, changes[1].tied, changes[1].key), (stamp(101, 1), false, &b"plain"[..]));
    let operations: Vec<_> = Operations::of(&changes[1]).map(Result::unwrap).collect();
    assert_eq!(operations.len(), 2);
    assert_eq!(operations[1], Operation::Live { drops: Stamps::new(), assertion: Some(Lifetime::Never) });
}

#[test]
fn an_increment_is_written_like_any_other_operation() {
    for cumulative in [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN] {
        let (mut short, mut general) = (vec![], vec![]);
        let sum = Number::integer(i128::from(cumulative));
        let operation =
            Operation::Add { kind: Kind::String, name: &[], birth: stamp(2, 1), cumulative: sum, asserts: true };
        encode_increment(&mut short, stamp(900, 1), stamp(2, 1), cumulative);
        encode_operation(&mut general, stamp(900, 1), &operation);
        assert_eq!(short, general);
    }
}

/// What [`Change::plain`] says of these operations is what [`Operations`] says of them, or nothing.
fn check_plain(operations: &[u8]) -> Option<PlainChange<'_>> {
    let change = Change { stamp: stamp(900, 1), tied: false, database: 0, key: b"k", operations };
    let plain = change.plain()?;
    let same = match plain {
        PlainChange::Set(value) => {
            let (drops, resets) = (Stamps::new(), Resets::new());
            let put = Operation::Put { kind: Kind::String, name: &[], drops, resets, value };
            vec![put, Operation::Live { drops: Stamps::new(), assertion: Some(Lifetime::Never) }]
        }
        PlainChange::Increment { birth, cumulative } => {
            let cumulative = Number::integer(i128::from(cumulative));
            vec![Operation::Add { kind: Kind::String, name: &[], birth, cumulative, asserts: true }]
        }
    };
    let read: Result<Vec<_>, _> = Operations::of(&change).collect();
    assert_eq!(read, Ok(same), "{operations:?}");
    Some(plain)
}

#[test]
fn a_plain_change_is_read_at_once_and_says_what_its_operations_say() {
    let (mut set, mut increment) = (vec![], vec![]);
    encode_plain_set(&mut set, b"value");
    encode_increment(&mut increment, stamp(900, 1), stamp(2, 1), -70);
    assert_eq!(check_plain(&set), Some(PlainChange::Set(b"value")));
    let expected = PlainChange::Increment { birth: stamp(2, 1), cumulative: -70 };
    assert_eq!(check_plain(&increment), Some(expected));
    for operation in samples() {
        let mut bytes = vec![];
        encode_operation(&mut bytes, stamp(900, 1), &operation);
        assert_eq!(check_plain(&bytes), None, "{operation:?}");
    }
    let mut found = 0;
    let mut seed = 1u64;
    for round in 0..40_000usize {
        let mut bytes = if round % 2 == 0 { set.clone() } else { increment.clone() };
        if round % 5 == 0 {
            bytes.extend_from_within(..);
        }
        for _ in 0..1 + round % 3 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] ^= (seed >> 20) as u8;
        }
        bytes.truncate(bytes.len() - round % 7 / 5);
        found += usize::from(check_plain(&bytes).is_some());
    }
    assert!(found > 1_000, "{found}");
}

#[test]
fn positions_of_later_commands_than_the_write_are_refused() {
    let is_read = |steps: [Stamp; 2], written: Stamp| {
        let [before, behind] = [0, 1].map(|index| Position::at_edge(crate::Side::InFront, steps[0], index));
        let position = Position::between(Some(&before), Some(&behind), steps[1], 0).unwrap();
        assert_eq!(position.steps().len(), 2);
        let (drops, resets) = (Stamps::new(), Resets::new());
        let put = Operation::Put { kind: Kind::List, name: &position.name(), drops, resets, value: b"v" };
        let mut operations = vec![];
        encode_operation(&mut operations, written, &put);
        let change = Change { stamp: written, tied: false, database: 0, key: b"k", operations: &operations };
        Operations::of(&change).all(|operation| operation.is_ok())
    };
    assert!(is_read([stamp(5, 1), stamp(7, 2)], stamp(7, 2)));
    // The element is set later.
    assert!(is_read([stamp(5, 1), stamp(7, 2)], stamp(9, 3)));
    assert!(!is_read([stamp(5, 1), stamp(7, 2)], stamp(6, 3)));
    assert!(!is_read([stamp(9, 1), stamp(7, 2)], stamp(8, 3)));
}

#[test]
fn contributions_that_nobody_can_have_made_are_refused() {
    let base = stamp(900, 1);
    let is_read = |number, birth, last| {
        let mut bytes = vec![];
        let reset = Reset { node: node(number), birth, stamp: last, cumulative: Number::integer(1) };
        encode_reset(&mut bytes, base, &reset);
        decode_reset(&mut Reader::new(&bytes), base).is_ok()
    };
    assert!(is_read(2, stamp(3, 2), stamp(9, 2)) && is_read(2, stamp(9, 2), stamp(9, 2)));
    // Of another node than its stamps, and a life that begins behind its last increment.
    assert!(!is_read(3, stamp(3, 2), stamp(9, 2)));
    assert!(!is_read(2, stamp(3, 3), stamp(9, 2)));
    assert!(!is_read(2, stamp(10, 2), stamp(9, 2)));
    let adds = |birth| {
        let mut operations = vec![];
        encode_increment(&mut operations, base, birth, 1);
        let change = Change { stamp: base, tied: false, database: 0, key: b"k", operations: &operations };
        Operations::of(&change).all(|operation| operation.is_ok())
    };
    assert!(adds(stamp(3, 1)) && adds(base));
    assert!(!adds(stamp(3, 2)) && !adds(stamp(901, 1)));
}

#[test]
fn hostile_bytes_are_errors_and_never_panics() {
    let payload = batch();
    let mut seed = 1u64;
    for round in 0..20_000usize {
        let mut bytes = payload.clone();
        for _ in 0..1 + round % 3 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] ^= (seed >> 20) as u8;
        }
        bytes.truncate(bytes.len() - round % 7);
        for change in Changes::new(&bytes, node(1), stamp(90, 1)).flatten() {
            Operations::of(&change).for_each(drop);
        }
    }
}
