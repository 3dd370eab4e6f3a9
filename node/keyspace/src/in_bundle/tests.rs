//! The same history twice: once with small collections as bundles, once with each taken apart before every step, so that
//! only the general rules meet them. What is sent, kept, told to peers and written to images must be the same.

use crate::body::{KeyBody, key_of};
use crate::entry::Entry;
use crate::usage::next_random;
use crate::{Database, Delta, Drain, Keyspace, Kind, Lifetime, OpenBatch, Score, Writer};
use crdt::{NodeNumber, VersionVector};
use std::sync::Arc;

const DB: Database = Database(2);
const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000_000;
const KEY: &[u8] = b"collection";

/// One node of a pair.
struct Side {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    drain: Drain,
    number: NodeNumber,
    /// Bundles are taken apart.
    apart: bool,
    now: u64,
}

impl Side {
    fn new(number: u16, apart: bool) -> Self {
        let (keyspace, number) = (Keyspace::new(1), NodeNumber::new(number).unwrap());
        keyspace.set_number(number);
        Self { writer: keyspace.writer(), keyspace, drain: Drain::default(), number, apart, now: NOW }
    }

    /// The form of the key: a bundle or not; nothing if it is not there.
    fn is_bundle(&self) -> Option<bool> {
        let slot = self.keyspace.slot(crate::slot_of(KEY));
        slot.find(&self.keyspace.shared, DB.0, KEY).map(|entry| entry.bundle().is_some())
    }

    fn take_apart(&mut self) {
        if !self.apart {
            return;
        }
        let mut slot = self.keyspace.slot(crate::slot_of(KEY));
        let hash = self.keyspace.shared.hasher.hash(KEY);
        let Some(entry) = slot.table_mut(DB.0).find_mut(hash, |entry| key_of(entry) == KEY) else { return };
        let body = entry.bundle().map(|bundle| KeyBody::of_bundle(&bundle));
        if let Some(body) = body {
            *entry = Entry::wide(Box::new(body));
        }
    }

    /// A command on the collection, drawn from a word.
    fn write(&mut self, kind: Kind, word: u64) -> String {
        self.take_apart();
        let mut access = self.writer.access(self.now, &[KEY]);
        access.begin_command();
        let name = format!("element {}", if word >> 8 & 7 == 0 { word >> 16 & 63 } else { word >> 16 & 7 });
        let value = (word >> 32).to_string();
        let more = (word >> 33 & 3) as i64 - 1;
        let name = name.as_bytes();
        match (word % 16, kind) {
            (0, _) if word >> 40 & 3 == 0 => access.delete(DB, KEY).to_string(),
            (0 | 1, _) => {
                let life = [Lifetime::Never, Lifetime::Until(NOW + (word >> 24 & 0xff))][(word >> 12 & 1) as usize];
                access.set_lifetime(DB, KEY, life).to_string()
            }
            (2..=5, Kind::Hash) => format!("{:?}", access.remove_field(DB, KEY, name)),
            (2..=5, Kind::Set) => format!("{:?}", access.remove_member(DB, KEY, name)),
            (2..=5, _) => format!("{:?}", access.remove_scored(DB, KEY, name)),
            (6..=8, Kind::Hash) => format!("{:?}", access.add_to_field(DB, KEY, name, Delta::Integer(more))),
            (6..=8, Kind::SortedSet) => {
                format!("{:?}", access.add_to_score(DB, KEY, name, Score::new(more as f64 / 2.0).unwrap()))
            }
            (_, Kind::Hash) => {
                // Several fields by one command, one of them twice.
                let twice = access.put_field(DB, KEY, name, b"").is_ok() && word >> 50 & 1 == 0;
                format!("{twice} {:?}", access.put_field(DB, KEY, name, value.as_bytes()))
            }
            (_, Kind::Set) => format!("{:?}", access.add_member(DB, KEY, name)),
            _ => format!("{:?}", access.put_score(DB, KEY, name, Score::new((word >> 32 & 7) as f64).unwrap())),
        }
    }

    fn batches(&mut self) -> Vec<OpenBatch> {
        self.drain.take(&self.keyspace)
    }

    fn hear(&mut self, from: NodeNumber, batches: &[OpenBatch]) {
        for batch in batches {
            self.take_apart();
            self.keyspace.apply(from, batch.previous, batch.last, &batch.payload, self.now).unwrap();
        }
    }

    /// Everything that can be told of the key.
    fn shown(&mut self, kind: Kind) -> String {
        self.take_apart();
        let slot = crate::slot_of(KEY);
        let mut access = self.writer.access(self.now, &[KEY]);
        access.begin_command();
        let found = access.kind(DB, KEY);
        let elements = match kind {
            Kind::SortedSet => access.sorted_set(DB, KEY).map(|members| {
                let members = members.map(|members| members.in_order());
                members.map(|members| members.range(0..usize::MAX, false).map(|m| format!("{m:?}")).collect::<Vec<_>>())
            }),
            _ => access
                .elements(DB, KEY, kind)
                .map(|elements| elements.map(|elements| elements.iter().map(|e| format!("{e:?}")).collect::<Vec<_>>())),
        };
        let life = access.lifetime(DB, KEY);
        drop(access);
        let keyspace = &self.keyspace;
        let state = keyspace.list_slots(&[slot], &VersionVector::new(), usize::MAX);
        let image = keyspace.read_image(&[slot], usize::MAX);
        let (digest, earliest) = (keyspace.digest_of(slot).digest, keyspace.shared.earliest(slot));
        let counts = (keyspace.len(DB.0), keyspace.keys_with_end(DB.0), keyspace.early_dots());
        format!("{found:?} {elements:?} {life:?} {digest:x} {earliest} {counts:?} {state:?} {image:?}")
    }
}

#[test]
fn bundles_say_what_the_general_form_says() {
    let mut word = 3_u64;
    let mut bundles = [0; 2];
    for round in 0..90 {
        let kind = [Kind::Hash, Kind::Set, Kind::SortedSet][round % 3];
        let pair = |apart| [Side::new(1, apart), Side::new(2, apart)];
        let mut both = [pair(false), pair(true)];
        for step in 0..120 {
            word = next_random(word);
            let drawn = word.wrapping_mul(0x2545_f491_4f6c_dd1d);
            let (at, talks) = ((drawn >> 60 & 1) as usize, drawn >> 61 & 3 == 0);
            let mut told = Vec::new();
            for sides in &mut both {
                sides.iter_mut().for_each(|side| side.now += 1);
                told.push(if talks {
                    let (batches, from) = (sides[at].batches(), sides[at].number);
                    sides[1 - at].hear(from, &batches);
                    format!("{batches:?}")
                } else {
                    sides[at].write(kind, drawn)
                });
            }
            assert_eq!(told[0], told[1], "{kind:?}, round {round}, step {step}: answers and batches");
            let [bundled, apart] = &mut both;
            for (bundled, apart) in bundled.iter_mut().zip(apart) {
                let (one, other) = (bundled.shown(kind), apart.shown(kind));
                assert_eq!(one, other, "{kind:?}, round {round}, step {step}, {:?}", bundled.number);
                if let Some(is_bundle) = bundled.is_bundle() {
                    bundles[usize::from(is_bundle)] += 1;
                }
            }
        }
    }
    assert!(bundles.iter().all(|count| *count > 500), "both forms were met: {bundles:?}");
}
