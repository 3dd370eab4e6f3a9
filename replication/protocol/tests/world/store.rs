//! The toy keyspace: keys hold dots with a value, in 16 buckets, with the rules of state catch-up.

use bytes::Bytes;
use crdt::{NodeNumber, Stamp, VersionVector};
use protocol::limits::SLOTS;
use std::collections::{BTreeMap, BTreeSet};

const BUCKETS: usize = 16;
const SLOTS_OF_A_BUCKET: u16 = SLOTS / BUCKETS as u16;
const BUCKETS_OF_A_CHUNK: usize = 3;

/// In a key, drop these dots and, for a write, add this one.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    pub stamp: Stamp,
    pub key: u32,
    pub value: Option<u64>,
    pub drops: Vec<Stamp>,
}

#[derive(Clone, Default)]
struct Bucket {
    live: BTreeMap<(u32, Stamp), u64>,
    /// Dots ahead of the vector: seen by state, or dropped before they came.
    early: BTreeSet<Stamp>,
    /// What a source of state knew of this bucket.
    context: VersionVector,
}

#[derive(Clone, Default)]
pub struct Store {
    buckets: [Bucket; BUCKETS],
    /// What is applied, the own open batch left out.
    pub vector: VersionVector,
}

impl Change {
    pub fn encode_all(changes: &[Change]) -> Vec<u8> {
        let mut words = Vec::new();
        for change in changes {
            words.extend([change.stamp.bits(), u64::from(change.key), u64::from(change.value.is_some())]);
            words.extend([change.value.unwrap_or(0), change.drops.len() as u64]);
            words.extend(change.drops.iter().map(|stamp| stamp.bits()));
        }
        bytes_of(&words)
    }

    pub fn decode_all(raw: &[u8]) -> Vec<Change> {
        let mut words = words_of(raw);
        let mut changes = Vec::new();
        while let Some(stamp) = words.next() {
            let mut word = || words.next().unwrap();
            let (key, some, value, drops) = (word() as u32, word() == 1, word(), word());
            changes.push(Change {
                stamp: Stamp::from_bits(stamp),
                key,
                value: some.then_some(value),
                drops: (0..drops).map(|_| Stamp::from_bits(word())).collect(),
            });
        }
        changes
    }
}

impl Store {
    /// Every live dot.
    pub fn live(&self) -> Vec<(u32, Stamp, u64)> {
        let all = self.buckets.iter().flat_map(|bucket| &bucket.live);
        let mut live: Vec<_> = all.map(|(&(key, stamp), &value)| (key, stamp, value)).collect();
        live.sort_unstable();
        live
    }

    pub fn observed(&self, key: u32) -> Vec<Stamp> {
        let bucket = &self.buckets[key as usize % BUCKETS];
        bucket.live.range((key, Stamp::ZERO)..=(key, Stamp::MAX)).map(|(&(_, stamp), _)| stamp).collect()
    }

    /// An own write: it is ahead of the vector until its batch is closed, and known all the same.
    pub fn write(&mut self, change: &Change) {
        self.apply(change);
        self.buckets[change.key as usize % BUCKETS].early.insert(change.stamp);
    }

    pub fn apply(&mut self, change: &Change) {
        let vector = &self.vector;
        let bucket = &mut self.buckets[change.key as usize % BUCKETS];
        for &dot in &change.drops {
            if bucket.live.remove(&(change.key, dot)).is_none() && !bucket.knows(vector, dot) {
                bucket.early.insert(dot);
            }
        }
        if let Some(value) = change.value
            && !bucket.knows(vector, change.stamp)
        {
            bucket.live.insert((change.key, change.stamp), value);
        }
    }

    pub fn raise(&mut self, node: NodeNumber, stamp: Stamp) {
        self.vector.raise(node, stamp);
        let vector = &self.vector;
        self.buckets.iter_mut().for_each(|bucket| bucket.early.retain(|&dot| !vector.covers(dot)));
    }

    /// Up to where something of each number is known in any bucket.
    pub fn known_in_part(&self) -> VersionVector {
        let mut known = VersionVector::new();
        self.buckets.iter().for_each(|bucket| {
            known.join(&bucket.context);
        });
        known
    }

    /// Some buckets: digest, early set, vector, and the dots that `since` does not cover.
    pub fn read(&self, from_slot: u16, since: &VersionVector) -> (Option<u16>, Bytes) {
        let from = usize::from(from_slot / SLOTS_OF_A_BUCKET);
        let to = (from + BUCKETS_OF_A_CHUNK).min(BUCKETS);
        let mut words = Vec::new();
        (from..to).for_each(|index| self.write_bucket(index, Some(since), &mut words));
        let next = (to < BUCKETS).then(|| to as u16 * SLOTS_OF_A_BUCKET);
        (next, bytes_of(&words).into())
    }

    /// The same with all dots.
    pub fn list(&self, slots: &[u16]) -> Bytes {
        let mut words = Vec::new();
        slots.iter().for_each(|slot| self.write_bucket(usize::from(slot / SLOTS_OF_A_BUCKET), None, &mut words));
        bytes_of(&words).into()
    }

    /// Joins buckets of another store; says which still differ, as slots.
    pub fn merge(&mut self, payload: &[u8]) -> Vec<u16> {
        let mut words = words_of(payload);
        let mut differing = Vec::new();
        while let Some(index) = words.next() {
            let mut word = || words.next().unwrap();
            let (full, digest) = (word() == 1, word());
            let early: Vec<Stamp> = (0..word()).map(|_| Stamp::from_bits(word())).collect();
            let context: VersionVector =
                (0..word()).map(|_| Stamp::from_bits(word())).map(|stamp| (stamp.author(), stamp)).collect();
            let dots: BTreeMap<(u32, Stamp), u64> =
                (0..word()).map(|_| ((word() as u32, Stamp::from_bits(word())), word())).collect();
            let vector = &self.vector;
            let bucket = &mut self.buckets[index as usize];
            for (&(key, dot), &value) in &dots {
                if !bucket.knows(vector, dot) {
                    bucket.live.insert((key, dot), value);
                }
            }
            if full {
                let known = |dot: Stamp| context.covers(dot) || early.contains(&dot);
                bucket.live.retain(|dot, _| dots.contains_key(dot) || !known(dot.1));
            }
            let live: Vec<Stamp> = bucket.live.keys().map(|&(_, dot)| dot).filter(|&dot| !vector.covers(dot)).collect();
            bucket.early.extend(early.into_iter().chain(live).filter(|&dot| !vector.covers(dot)));
            bucket.context.join(&context);
            if !full && bucket.digest() != digest {
                differing.push(index as u16 * SLOTS_OF_A_BUCKET);
            }
        }
        differing
    }

    fn write_bucket(&self, index: usize, since: Option<&VersionVector>, words: &mut Vec<u64>) {
        let bucket = &self.buckets[index];
        words.extend([index as u64, u64::from(since.is_none()), bucket.digest(), bucket.early.len() as u64]);
        words.extend(bucket.early.iter().map(|stamp| stamp.bits()));
        let mut context = self.vector.clone();
        context.join(&bucket.context);
        words.push(context.len() as u64);
        words.extend(context.iter().map(|(_, stamp)| stamp.bits()));
        let wanted = |dot: Stamp| since.is_none_or(|since| !since.covers(dot));
        let dots: Vec<_> = bucket.live.iter().filter(|((_, dot), _)| wanted(*dot)).collect();
        words.push(dots.len() as u64);
        dots.into_iter().for_each(|(&(key, dot), &value)| words.extend([u64::from(key), dot.bits(), value]));
    }
}

impl Bucket {
    fn knows(&self, vector: &VersionVector, dot: Stamp) -> bool {
        vector.covers(dot) || self.context.covers(dot) || self.early.contains(&dot)
    }

    fn digest(&self) -> u64 {
        self.live.keys().fold(0, |all, &(key, dot)| {
            all ^ (dot.bits() ^ u64::from(key).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        })
    }
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()))
}
