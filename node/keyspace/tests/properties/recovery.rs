//! A replica that has no number yet takes what it reads from a journal or gets from peers as it is, whatever the number
//! of its author.

use crate::history::{Delta, Key, NewLife, Write};
use crate::replicas::Replica;
use crate::system::{System, slots};
use crdt::{NodeNumber, STAMP_EPOCH_MS, Stamp, VersionVector};

const NOW: u64 = STAMP_EPOCH_MS + (1 << 37);
const KEY: Key = Key(0, "k");

/// A replica that wrote something, and the same without any data.
fn before_and_after(number: u16) -> (System, System) {
    let mut before = System::new(0, NOW);
    before.take_number(NodeNumber::new(number).unwrap(), Stamp::ZERO);
    before.run(0, &[vec![Write::PutString { key: KEY, value: "7", life: NewLife::Never }]]);
    before.run(0, &[vec![Write::AddToString { key: KEY, delta: Delta::Integer(3) }]]);
    (before, System::new(1, NOW))
}

#[test]
fn writes_come_back_from_a_journal_whatever_the_number() {
    for number in [0, 1, 1023] {
        let (mut before, mut after) = before_and_after(number);
        let (last, batch) = before.close().unwrap();
        after.apply(NodeNumber::new(number).unwrap(), Stamp::ZERO, last, &batch);
        assert_eq!(after.shown(KEY), before.shown(KEY), "number {number}");
        assert_eq!(after.digests(), before.digests());
    }
}

#[test]
fn writes_come_over_in_a_transfer_of_state_whatever_the_number() {
    for number in [0, 1, 1023] {
        let (mut before, mut after) = before_and_after(number);
        for bucket in 0..slots().len() {
            let state = before.read(bucket, &VersionVector::new());
            after.merge(bucket, &state);
        }
        assert_eq!(after.shown(KEY), before.shown(KEY), "number {number}");
        assert_eq!(after.digests(), before.digests());
    }
}
