//! The changes that `SET` in all its forms, `EXPIRE` and their like are made of: a string that is written as a whole, an
//! assertion about the life of its key, or both. They are read in one look.

use crate::change::{Change, Kind, LIVE, Lifetime, Operation, Operations, PUT, SET_PLAIN, Stamps, TAG_MASK};

/// A change that sets a string, asserts how long its key lives, or does both; and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct TextWrite<'a> {
    /// What is written, and the dots of others that this has observed.
    pub put: Option<(&'a [u8], Stamps)>,
    /// How long the key lives from now on, and the assertions that this has observed.
    pub life: Option<(Lifetime, Stamps)>,
}

impl<'a> TextWrite<'a> {
    /// What a change says. Nothing if it says anything else, or is not valid; then reading its operations tells why.
    pub fn of(change: &Change<'a>) -> Option<Self> {
        let [tag, rest @ ..] = change.operations else { return None };
        let may_be = match tag & TAG_MASK {
            PUT => rest.first() == Some(&(Kind::String as u8)),
            LIVE | SET_PLAIN => true,
            _ => false,
        };
        if !may_be {
            return None;
        }
        let mut write = Self { put: None, life: None };
        for operation in Operations::of(change) {
            match operation.ok()? {
                Operation::Put { kind: Kind::String, drops, resets, value, .. }
                    if resets.is_empty() && write.put.is_none() && write.life.is_none() =>
                {
                    write.put = Some((value, drops));
                }
                Operation::Live { drops, assertion: Some(lifetime) } if write.life.is_none() => {
                    write.life = Some((lifetime, drops));
                }
                _ => return None,
            }
        }
        Some(write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{encode_operation, encode_plain_set};
    use crate::{NodeNumber, STAMP_EPOCH_MS, Stamp};
    use alloc::vec::Vec;

    fn at(ms: u64) -> Stamp {
        Stamp::at(STAMP_EPOCH_MS + ms, NodeNumber::new(3).unwrap())
    }

    fn with<T>(operations: &[Operation<'_>], then: impl FnOnce(Option<TextWrite<'_>>) -> T) -> T {
        let mut bytes = Vec::new();
        operations.iter().for_each(|operation| encode_operation(&mut bytes, at(9), operation));
        then(TextWrite::of(&Change { stamp: at(9), tied: false, database: 0, key: b"k", operations: &bytes }))
    }

    fn put(kind: Kind) -> Operation<'static> {
        let name: &[u8] = if kind == Kind::String { b"" } else { b"f" };
        Operation::Put { kind, name, drops: [at(1)].into_iter().collect(), resets: Default::default(), value: b"v" }
    }

    fn live(assertion: Option<Lifetime>) -> Operation<'static> {
        Operation::Live { drops: [at(2)].into_iter().collect(), assertion }
    }

    #[test]
    fn a_string_and_a_life_in_this_order_are_read_and_nothing_else() {
        let (until, never) = (Some(Lifetime::Until(7)), Some(Lifetime::Never));
        let written = Some((&b"v"[..], [at(1)].into_iter().collect::<Stamps>()));
        let lives = |lifetime| Some((lifetime, [at(2)].into_iter().collect::<Stamps>()));
        let both = TextWrite { put: written.clone(), life: lives(Lifetime::Until(7)) };
        with(&[put(Kind::String), live(until)], |write| assert_eq!(write, Some(both)));
        with(&[put(Kind::String)], |write| assert_eq!(write, Some(TextWrite { put: written, life: None })));
        let life = TextWrite { put: None, life: lives(Lifetime::Never) };
        with(&[live(never)], |write| assert_eq!(write, Some(life)));
        let others: [&[Operation<'_>]; 7] = [
            &[],
            &[put(Kind::Hash), live(until)],
            &[live(until), put(Kind::String)],
            &[put(Kind::String), put(Kind::String)],
            &[live(until), live(until)],
            &[put(Kind::String), live(None)],
            &[put(Kind::String), live(until), Operation::RemoveFolded { last: at(1) }],
        ];
        for operations in others {
            with(operations, |write| assert_eq!(write, None, "{operations:?}"));
        }
    }

    #[test]
    fn a_plain_set_is_one_too_and_bytes_that_are_cut_are_none() {
        let mut bytes = Vec::new();
        encode_plain_set(&mut bytes, b"v");
        let change = Change { stamp: at(9), tied: false, database: 0, key: b"k", operations: &bytes };
        let plain = TextWrite { put: Some((b"v", Stamps::new())), life: Some((Lifetime::Never, Stamps::new())) };
        assert_eq!(TextWrite::of(&change), Some(plain));
        assert_eq!(TextWrite::of(&Change { operations: &bytes[..bytes.len() - 1], ..change }), None);
    }
}
