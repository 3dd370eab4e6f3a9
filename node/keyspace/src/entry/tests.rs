//! Entries of every form, held against a plain model.

use super::*;

type Boxed = Vec<u64>;

fn check(entry: &Entry<Boxed>, stamp: u64, life: PackedLife, name: &[u8], value: &[u8]) {
    let View::Packed(packed) = entry.view() else { panic!("a packed entry") };
    assert_eq!((packed.stamp.bits(), packed.life), (stamp, life));
    assert_eq!((packed.name, packed.value), (name, value));
    assert_eq!(packed.access, 0xab_cdef);
}

#[test]
fn packed_entries_hold_names_and_values_of_every_length() {
    let lives =
        [PackedLife::Own, PackedLife::Unasserted, PackedLife::Asserted(Stamp::from_bits(9), Lifetime::Until(77))];
    for name_length in [0, 1, 16, 127, 128, 20_000] {
        for value_length in [0, 1, 32, 127, 128, 300_000] {
            for life in lives {
                let name = vec![b'n'; name_length];
                let value = vec![b'v'; value_length];
                let mut entry = Entry::packed(Stamp::from_bits(5), life, 0xab_cdef, &name, &value);
                check(&entry, 5, life, &name, &value);
                for (stamp, next, value) in
                    [(6, life, vec![b'w'; value_length]), (7, lives[2], vec![b'x'; value_length + 3])]
                {
                    entry.rewrite(Stamp::from_bits(stamp), next, 0xab_cdef, &value);
                    check(&entry, stamp, next, &name, &value);
                }
            }
        }
    }
}

#[test]
fn packed_counters_move_on_in_place() {
    for life in [PackedLife::Own, PackedLife::Asserted(Stamp::from_bits(9), Lifetime::Until(77))] {
        let (birth, stamp) = (Stamp::from_bits(3), Stamp::from_bits(5));
        let counter = PackedCounter { birth, stamp, cumulative: -7, life, access: 1, name: b"hits" };
        let mut entry: Entry<Boxed> = Entry::counter(&counter);
        entry.counter_mut().unwrap().move_on(Stamp::from_bits(8), i64::MIN, |_| 2);
        let View::Counter(moved) = entry.view() else { panic!("a counter") };
        assert_eq!((moved.birth, moved.stamp, moved.cumulative), (birth, Stamp::from_bits(8), i64::MIN));
        assert_eq!((moved.life, moved.access, moved.name), (life, 2, &b"hits"[..]));
        assert_eq!(moved.assertion(), life.assertion(birth));
    }
}

/// What an entry should hold.
#[derive(Clone, Debug)]
enum Model {
    Packed(u64, PackedLife, u32, Vec<u8>, Vec<u8>),
    Counter(u64, u64, i64, PackedLife, u32, Vec<u8>),
    Wide(Boxed),
}

fn check_model(entry: &Entry<Boxed>, model: &Model) {
    match (entry.view(), model) {
        (View::Packed(packed), Model::Packed(stamp, life, access, name, value)) => {
            assert_eq!((packed.stamp.bits(), packed.life, packed.access), (*stamp, *life, *access));
            assert_eq!((packed.name, packed.value), (&name[..], &value[..]));
            assert_eq!(entry.packed_name(), Some(&name[..]));
        }
        (View::Counter(counter), Model::Counter(birth, stamp, sum, life, access, name)) => {
            assert_eq!((counter.birth.bits(), counter.stamp.bits(), counter.cumulative), (*birth, *stamp, *sum));
            assert_eq!((counter.life, counter.access, counter.name), (*life, *access, &name[..]));
            assert_eq!(entry.packed_name(), Some(&name[..]));
        }
        (View::Wide(body), Model::Wide(expected)) => assert_eq!(body, expected),
        (_, model) => panic!("{entry:?} should be {model:?}"),
    }
}

/// Random words (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((word ^ (word >> 31)) % most as u64) as usize
    }

    /// Lengths around the places where they take another byte.
    fn bytes(&mut self) -> Vec<u8> {
        let length = [0, 1, 5, 16, 127, 128, 129, 16_383, 16_384][self.below(9)];
        vec![self.below(256) as u8; length]
    }

    fn life(&mut self) -> PackedLife {
        match self.below(3) {
            0 => PackedLife::Own,
            1 => PackedLife::Unasserted,
            _ => PackedLife::Asserted(
                Stamp::from_bits(self.below(1 << 40) as u64),
                Lifetime::from_word(self.below(3) as u64),
            ),
        }
    }

    fn new_entry(&mut self) -> (Entry<Boxed>, Model) {
        let (stamp, life, access) = (self.below(1 << 60) as u64, self.life(), self.below(1 << 24) as u32);
        let name = self.bytes();
        match self.below(3) {
            0 => {
                let value = self.bytes();
                let entry = Entry::packed(Stamp::from_bits(stamp), life, access, &name, &value);
                (entry, Model::Packed(stamp, life, access, name, value))
            }
            1 => {
                let (birth, cumulative) = (self.below(1 << 60) as u64, self.below(usize::MAX) as i64);
                let (born, moved) = (Stamp::from_bits(birth), Stamp::from_bits(stamp));
                let counter = PackedCounter { birth: born, stamp: moved, cumulative, life, access, name: &name };
                (Entry::counter(&counter), Model::Counter(birth, stamp, cumulative, life, access, name))
            }
            _ => {
                let body = vec![stamp; self.below(4)];
                (Entry::wide(Box::new(body.clone())), Model::Wide(body))
            }
        }
    }

    /// Changes an entry in one of the ways that its form allows.
    fn change(&mut self, entry: &mut Entry<Boxed>, model: &mut Model) {
        let (new_stamp, new_access) = (self.below(1 << 60) as u64, self.below(1 << 24) as u32);
        match model {
            Model::Packed(stamp, life, access, _, value) => {
                if self.below(4) == 0 {
                    entry.note_use(|noted| noted ^ new_access);
                    *access ^= new_access;
                    return;
                }
                if self.below(3) == 0 {
                    let (from, with) = (self.below(value.len() + 1), self.bytes());
                    let to = from + self.below(value.len() - from + 1);
                    entry.splice(from..to, &with);
                    value.splice(from..to, with);
                    return;
                }
                if self.below(3) == 0 {
                    *life = self.life();
                    entry.set_life(*life);
                    entry.value_mut().fill(new_access as u8);
                    value.fill(new_access as u8);
                    return;
                }
                *value = if self.below(2) == 0 { vec![new_access as u8; value.len()] } else { self.bytes() };
                (*stamp, *life, *access) = (new_stamp, self.life(), new_access);
                entry.rewrite(Stamp::from_bits(new_stamp), *life, new_access, value);
            }
            Model::Counter(_, stamp, sum, _, access, _) => {
                (*stamp, *sum, *access) = (new_stamp, self.below(usize::MAX) as i64, new_access);
                entry.counter_mut().unwrap().move_on(Stamp::from_bits(new_stamp), *sum, |_| new_access);
            }
            Model::Wide(body) => {
                body.push(new_stamp);
                entry.wide_mut().unwrap().push(new_stamp);
                entry.note_use(|_| unreachable!("a wide entry notes its use in its box"));
            }
        }
    }
}

#[test]
fn random_sequences_leave_what_a_plain_model_says() {
    let mut chance = Chance(1);
    let mut all: Vec<(Entry<Boxed>, Model)> = Vec::new();
    for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
        let count = all.len();
        match chance.below(8) {
            0 | 1 if count < 20 => all.push(chance.new_entry()),
            2 if count > 0 => drop(all.swap_remove(chance.below(count))),
            3 if count > 0 => all[chance.below(count)] = chance.new_entry(),
            _ if count > 0 => {
                let (entry, model) = &mut all[chance.below(count)];
                chance.change(entry, model);
            }
            _ => {}
        }
        all.iter().for_each(|(entry, model)| check_model(entry, model));
    }
}

#[test]
fn wide_entries_hold_their_box() {
    let mut entry: Entry<Boxed> = Entry::wide(Box::new(vec![1, 2, 3]));
    entry.wide_mut().unwrap().push(4);
    let View::Wide(body) = entry.view() else { panic!("a wide entry") };
    assert_eq!(body, &[1, 2, 3, 4]);
}

#[test]
fn a_16_byte_key_with_a_32_byte_value_takes_62_bytes() {
    let entry: Entry<Boxed> = Entry::packed(Stamp::ZERO, PackedLife::Own, 0, &[b'k'; 16], &[b'v'; 32]);
    assert_eq!(entry.heap_bytes(), 62);
    assert_eq!(std::mem::size_of::<Entry<Boxed>>(), 8);
}

#[test]
fn a_packed_collection_keeps_its_kind_whatever_happens_to_its_elements() {
    for kind in [Kind::Hash, Kind::Set, Kind::SortedSet] {
        let (stamp, life) = (Stamp::from_bits(5), PackedLife::Own);
        let bundle = PackedBundle { kind, stamp, life, access: 3, name: b"key", elements: &[7; 100] };
        let mut entry: Entry<Boxed> = Entry::bundle_of(&bundle).unwrap();
        let asserted = PackedLife::Asserted(Stamp::from_bits(9), Lifetime::Until(77));
        for (range, with, life) in [(0..3, 1, asserted), (50..50, 60, asserted), (1..150, 0, PackedLife::Unasserted)] {
            entry.splice(range, &vec![7; with]);
            entry.set_life(life);
            entry.note_use(|noted| noted + 1);
            let View::Bundle(bundle) = entry.view() else { panic!("a collection") };
            assert_eq!((bundle.kind, bundle.stamp, bundle.life, bundle.name), (kind, stamp, life, &b"key"[..]));
            assert!(bundle.elements.iter().all(|byte| *byte == 7));
        }
        assert_eq!(entry.bundle().map(|bundle| (bundle.elements.len(), bundle.access)), Some((9, 6)));
    }
    for kind in [Kind::String, Kind::List, Kind::Stream] {
        let (stamp, life) = (Stamp::from_bits(5), PackedLife::Own);
        let bundle = PackedBundle { kind, stamp, life, access: 3, name: b"key", elements: &[] };
        assert!(Entry::<Boxed>::bundle_of(&bundle).is_none());
    }
}
