//! A string with patches is what its writes that stand make in the order of their stamps, whatever came first, went, or was
//! folded.

use crate::random::{Random, for_seeds};
use crdt::patch::{Piece, Raises};
use crdt::sketch::{self, REGISTERS};
use crdt::{Dropped, Element, Fold, NodeNumber, STAMP_EPOCH_MS, Stamp};
use std::collections::BTreeMap;

/// A write of the specification.
#[derive(Clone, Debug)]
enum Write {
    Whole(Vec<u8>),
    Range(usize, Vec<u8>),
    Append(Vec<u8>),
    Bits(usize, Vec<bool>),
    Raise(Vec<(usize, u8)>),
    Dense,
}

/// What the writes make, one after the other.
fn specified<'w>(writes: impl Iterator<Item = &'w Write>) -> Option<Vec<u8>> {
    let mut text: Option<Vec<u8>> = None;
    for write in writes {
        match write {
            Write::Whole(value) => text = Some(value.clone()),
            Write::Range(offset, bytes) => {
                let text = text.get_or_insert_default();
                text.resize(text.len().max(offset + bytes.len()), 0);
                text[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Write::Append(bytes) => text.get_or_insert_default().extend(bytes),
            Write::Bits(offset, bits) => {
                let text = text.get_or_insert_default();
                text.resize(text.len().max((offset + bits.len()).div_ceil(8)), 0);
                for (index, is_set) in bits.iter().enumerate() {
                    let (byte, mask) = ((offset + index) / 8, 0x80 >> ((offset + index) % 8));
                    text[byte] = text[byte] & !mask | if *is_set { mask } else { 0 };
                }
            }
            Write::Raise(raises) => {
                let text = text.get_or_insert_with(sketch::empty);
                // Where a range has damaged a sketch, raising ends.
                let mut raises = raises.iter();
                if sketch::form(text).is_some()
                    && raises.all(|&(index, value)| sketch::raise(text, index, value).is_ok())
                {
                    sketch::invalidate(text);
                }
            }
            Write::Dense => {
                let text = text.get_or_insert_with(sketch::empty);
                if sketch::form(text).is_some() {
                    let _ = sketch::make_dense(text);
                }
            }
        }
    }
    text
}

/// The same write as it travels.
fn encoded(write: &Write) -> Vec<u8> {
    let mut out = Vec::new();
    match write {
        Write::Whole(value) => return value.clone(),
        Write::Range(offset, bytes) => Piece::Range { offset: *offset as u64, bytes }.encode(&mut out),
        Write::Append(bytes) => Piece::Append(bytes).encode(&mut out),
        Write::Bits(offset, bits) => {
            let value = bits.iter().fold(0, |value, bit| value << 1 | u64::from(*bit));
            Piece::Bits { offset: *offset as u64, count: bits.len() as u8, value }.encode(&mut out);
        }
        Write::Raise(raises) => {
            let mut bytes = Vec::new();
            raises.iter().for_each(|&(index, value)| Raises::push(&mut bytes, index, value));
            Piece::Raise(Raises::of(&bytes).unwrap()).encode(&mut out);
        }
        Write::Dense => Piece::Dense.encode(&mut out),
    }
    out
}

fn write(random: &mut Random, with_sketches: bool) -> Write {
    let bytes = |random: &mut Random| (0..random.between(1, 6)).map(|_| random.below(256) as u8).collect::<Vec<_>>();
    match random.weighted(&[2, 8, 5, 8, if with_sketches { 40 } else { 1 }, usize::from(with_sketches)]) {
        0 if with_sketches && random.chance(60) => Write::Whole(sketch::empty()),
        0 => Write::Whole(bytes(random)),
        1 => Write::Range(if with_sketches { 16 + random.below(4) } else { random.below(20) }, bytes(random)),
        2 => Write::Append(bytes(random)),
        3 => {
            let bits = (0..random.between(1, 64)).map(|_| random.chance(50)).collect();
            Write::Bits(random.below(100), bits)
        }
        4 => {
            let one = |random: &mut Random| (random.below(REGISTERS), random.between(1, 36) as u8);
            Write::Raise((0..random.below(3)).map(|_| one(random)).collect())
        }
        _ => Write::Dense,
    }
}

fn hash(stamp: Stamp, bytes: &[u8]) -> u64 {
    bytes.iter().fold(stamp.bits(), |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A replica's element beside the writes that stand there.
#[derive(Clone, Default)]
struct Subject {
    element: Element,
    standing: BTreeMap<Stamp, Write>,
    digest: u64,
}

impl Subject {
    fn add(&mut self, stamp: Stamp, write: &Write) {
        let bytes = encoded(write);
        match write {
            Write::Whole(_) => {
                self.element.lift();
                self.element.siblings.push((stamp, bytes.clone().into()));
                self.element.lay();
            }
            _ => self.element.patch(stamp, &bytes),
        }
        self.digest ^= hash(stamp, &bytes);
        self.standing.insert(stamp, write.clone());
    }

    fn remove(&mut self, goes: impl Fn(Stamp) -> bool) {
        let digest = &mut self.digest;
        self.element.drop_writes(&goes, |dropped| {
            *digest ^= match dropped {
                Dropped::Write(stamp, bytes) => hash(stamp, bytes),
                Dropped::Fold(digest) => digest,
            }
        });
        self.standing.retain(|stamp, _| !goes(*stamp));
    }

    fn check(&self) {
        let expected = specified(self.standing.values());
        assert_eq!(self.element.value().map(|text| text.into_owned()), expected);
        assert_eq!(self.element.text_len(), expected.map_or(0, |text| text.len()));
        let digest = self.standing.iter().fold(0, |sum, (stamp, write)| sum ^ hash(*stamp, &encoded(write)));
        assert_eq!(self.digest, digest);
        let mut lifted = self.element.clone();
        lifted.lift();
        lifted.lay();
        assert_eq!(lifted.value(), self.element.value());
    }
}

fn stamp(time: u64, author: u16) -> Stamp {
    Stamp::at(STAMP_EPOCH_MS + time, NodeNumber::new(author).unwrap())
}

fn check(name: &str, with_sketches: bool, seeds: u64) {
    for_seeds(name, seeds, |seed| {
        let mut random = Random::new(seed);
        let mut subject = Subject::default();
        let mut folded = Stamp::ZERO;
        for time in 0..random.between(10, 150) as u64 {
            match random.weighted(&[80, 5, 10]) {
                // Writes come late, but not before what all have.
                0 => {
                    let stamp = stamp(100 + 2 * time - random.below(40) as u64, random.below(4) as u16);
                    if stamp > folded && !subject.standing.contains_key(&stamp) {
                        subject.add(stamp, &write(&mut random, with_sketches));
                    }
                }
                1 => {
                    // Folded writes go together.
                    let all: Vec<Stamp> = subject.standing.keys().copied().collect();
                    let gone: Vec<Stamp> = all.iter().copied().filter(|_| random.chance(40)).collect();
                    let fold = random.chance(30);
                    let goes = |dot: Stamp| if dot <= folded { fold } else { gone.contains(&dot) };
                    subject.remove(goes);
                }
                _ => {
                    let known = stamp(2 * time, 1023);
                    if subject.element.fold_known(|dot| dot <= known, hash) {
                        let (first, Fold { last, .. }) = subject.element.fold().unwrap();
                        assert_eq!(Some(&first), subject.standing.keys().next());
                        assert!(last <= known);
                        folded = last;
                    }
                }
            }
            subject.check();
        }
        subject.element.fold_known(|_| true, hash);
        assert!(subject.element.patches().is_empty());
        subject.check();
    });
}

#[test]
fn a_patched_string_is_what_its_writes_make_in_the_order_of_their_stamps() {
    check("a_patched_string_is", false, 400);
}

#[test]
fn a_patched_sketch_is_what_its_writes_make_in_the_order_of_their_stamps() {
    check("a_patched_sketch_is", true, 100);
}

#[test]
fn hostile_patches_are_errors_or_harmless() {
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let mut bytes = encoded(&write(&mut random, true));
        for _ in 0..random.between(1, 3) {
            let at = random.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= random.below(256) as u8;
            }
        }
        if crdt::patch::check(&bytes).is_ok() {
            let reach = crdt::patch::pieces(&bytes).flatten().map(|piece| match piece {
                Piece::Range { offset, .. } => offset,
                Piece::Bits { offset, .. } => offset / 8,
                Piece::Reach(length) => length,
                Piece::Append(_) | Piece::Raise(_) | Piece::Dense => 0,
            });
            // What reaches far takes memory, not time.
            if reach.max().unwrap_or(0) < 1 << 20 {
                let mut element = Element::written(stamp(1, 1), b"text".as_slice().into());
                element.patch(stamp(2, 2), &bytes);
                element.lift();
                assert_eq!(element.siblings[0].1, b"text".as_slice().into());
            }
        }
    }
}

/// Its author was behind: the write is earlier than all that was folded, and came when they were.
#[test]
fn an_earlier_write_that_comes_after_a_fold_goes_without_it() {
    let mut subject = Subject::default();
    subject.add(stamp(10, 1), &Write::Whole(b"ab".to_vec()));
    subject.add(stamp(12, 1), &Write::Append(b"cd".to_vec()));
    assert!(subject.element.fold_known(|_| true, hash));
    let fold = subject.element.fold();
    subject.add(stamp(5, 2), &Write::Whole(b"earlier".to_vec()));
    assert_eq!(subject.element.fold(), fold);
    subject.check();
    subject.remove(|dot| dot == stamp(5, 2));
    assert_eq!(subject.element.fold(), fold);
    subject.check();
    // Folded again with another, it is the first of them, and nothing that was folded is left out.
    subject.add(stamp(5, 2), &Write::Whole(b"earlier".to_vec()));
    subject.add(stamp(6, 2), &Write::Append(b"!".to_vec()));
    assert!(subject.element.fold_known(|_| true, hash));
    let (first, Fold { last, digest }) = subject.element.fold().unwrap();
    assert_eq!((first, last, digest), (stamp(5, 2), stamp(12, 1), subject.digest));
    subject.check();
}
