//! Values of every kind and size, drawn from a seed.

use rdb::{Consumer, Group, Hash, Object, PendingEntry, SortedSet, Stream, StreamId, Texts};
use std::collections::BTreeSet;

/// Marsaglia's xorshift.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A text: often an integer, sometimes long, sometimes with any bytes.
pub fn text(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => (random.next() as i64 >> random.below(60)).to_string().into_bytes(),
        1 => format!("-{}", random.next() >> random.below(50)).into_bytes(),
        2 => vec![b'z'; random.below(300)],
        3 if random.below(20) == 0 => vec![b'q'; random.below(70_000)],
        4 => (0..random.below(40)).map(|_| random.next() as u8).collect(),
        _ => format!("text-{:x}", random.next()).into_bytes(),
    }
}

/// How many elements: mostly few, sometimes so many that the collection is not packed.
fn count(random: &mut Random) -> usize {
    1 + match random.below(6) {
        0 => random.below(700),
        1 => random.below(140),
        _ => random.below(12),
    }
}

fn distinct(random: &mut Random, integers: bool) -> BTreeSet<Vec<u8>> {
    let count = count(random);
    let one = |random: &mut Random| {
        if integers { ((random.next() as i64) >> random.below(53)).to_string().into_bytes() } else { text(random) }
    };
    (0..count).map(|_| one(random)).collect()
}

fn score(random: &mut Random) -> f64 {
    match random.below(6) {
        0 => f64::INFINITY,
        1 => -1.5e300 / (1 + random.below(1000)) as f64,
        2 => random.below(1000) as f64 / 7.0,
        _ => random.below(100_000) as f64 - 50_000.0,
    }
}

/// A value of any kind but those of modules. With `deadlines`, fields of hashes may have some.
pub fn object(random: &mut Random, deadlines: bool) -> Object {
    match random.below(7) {
        0 => Object::String(text(random)),
        1 => Object::List(
            (0..count(random)).map(|_| text(random)).collect::<Vec<_>>().iter().map(Vec::as_slice).collect(),
        ),
        2 => Object::Set(distinct(random, false).iter().map(Vec::as_slice).collect()),
        3 => Object::Set(distinct(random, true).iter().map(Vec::as_slice).collect()),
        4 => {
            let members: Texts = distinct(random, false).iter().map(Vec::as_slice).collect();
            let scores = (0..members.len()).map(|_| score(random)).collect();
            Object::SortedSet(SortedSet { members, scores })
        }
        5 => {
            let mut hash = Hash::default();
            let with_deadlines = deadlines && random.below(2) == 0;
            for field in distinct(random, false) {
                let has_one = with_deadlines && random.below(2) == 0;
                hash.push(&field, &text(random), if has_one { 4_000_000_000_000 + random.next() % 1000 } else { 0 });
            }
            Object::Hash(hash)
        }
        _ => Object::Stream(Box::new(stream(random))),
    }
}

fn stream(random: &mut Random) -> Stream {
    let mut stream = Stream::default();
    stream.entries_added = Some(900);
    let mut id = StreamId { milliseconds: 1_700_000_000_000, sequence: 7 };
    let names: Vec<Vec<u8>> = (0..1 + random.below(3)).map(|index| format!("name{index}").into_bytes()).collect();
    for _ in 0..count(random) {
        let values: Vec<Vec<u8>> = names.iter().map(|_| text(random)).collect();
        let mut fields: Vec<(&[u8], &[u8])> =
            names.iter().zip(&values).map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        if random.below(5) == 0 {
            fields.push((b"another", b"-12"));
        }
        assert!(stream.push(id, &fields));
        id = match random.below(2) {
            0 => StreamId { milliseconds: id.milliseconds + 1 + random.next() % 100_000, sequence: 0 },
            _ => StreamId { sequence: id.sequence + 1, ..id },
        };
    }
    stream.last_id = id;
    stream.max_deleted_id = StreamId { milliseconds: 1, sequence: 1 };
    let ids: Vec<StreamId> = stream.iter().map(|entry| entry.id).collect();
    for number in 0..random.below(3) {
        let pending: Vec<PendingEntry> = ids
            .iter()
            .take(random.below(4))
            .map(|id| PendingEntry { id: *id, delivered_ms: 1_700_000_000_123, deliveries: 2 })
            .collect();
        let consumer = Consumer {
            name: b"consumer".to_vec(),
            seen_ms: 1_700_000_000_456,
            active_ms: None,
            pending: pending.iter().map(|pending| pending.id).collect(),
        };
        stream.groups.push(Group {
            name: format!("group{number}").into_bytes(),
            last_id: ids[ids.len() / 2],
            entries_read: (number == 0).then_some(5),
            pending,
            consumers: vec![consumer],
        });
    }
    stream
}
