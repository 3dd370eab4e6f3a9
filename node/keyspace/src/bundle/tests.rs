use super::*;
use crate::entry::Entry;
use crate::words::AUTHOR_BITS;
use crdt::Kind;

/// Random words (splitmix64).
struct Chance(u64);

impl Chance {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    /// Around the base, of another author, at the start of a millisecond, or anywhere.
    fn stamp(&mut self, base: Stamp) -> Stamp {
        let near = base.bits().wrapping_add(self.word() % (1 << self.below(40))).wrapping_sub(1 << self.below(30));
        let other = 1 << AUTHOR_BITS;
        Stamp::from_bits(match self.below(5) {
            0 => base.bits(),
            1 => near,
            2 => near / other * other + base.bits() % other,
            3 => ((near >> (AUTHOR_BITS + COUNT_BITS)) << (AUTHOR_BITS + COUNT_BITS)) | (base.bits() % other),
            _ => self.word(),
        })
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = [0, 1, 2, 9, 100, 127, 128, 300][self.below(8)];
        vec![self.below(256) as u8; length]
    }
}

/// What a bundle should hold, in its order.
type Model = Vec<(Vec<u8>, Stamp, Owned)>;

#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Written(Vec<u8>),
    Counter(Stamp, i64),
}

impl Owned {
    fn content(&self) -> Content<'_> {
        match self {
            Self::Written(value) => Content::Written(value),
            Self::Counter(birth, cumulative) => Content::Counter { birth: *birth, cumulative: *cumulative },
        }
    }

    fn of(element: &ElementView<'_>) -> (Vec<u8>, Stamp, Self) {
        match element {
            ElementView::Written(Packed { stamp, life: PackedLife::Own, name, value, .. }) => {
                (name.to_vec(), *stamp, Self::Written(value.to_vec()))
            }
            ElementView::Counter(PackedCounter { stamp, birth, cumulative, name, .. }) => {
                (name.to_vec(), *stamp, Self::Counter(*birth, *cumulative))
            }
            other => panic!("a bundle has no {other:?}"),
        }
    }
}

fn check(entry: &KeyEntry, model: &Model, stamp: Stamp, life: PackedLife) {
    let packed = entry.bundle().expect("a bundle");
    assert_eq!((packed.kind, packed.stamp, packed.life, packed.name), (Kind::Hash, stamp, life, &b"key"[..]));
    let bundle = Bundle::of(&packed);
    assert_eq!(bundle.len(), model.len());
    assert_eq!(bundle.iter().map(|element| Owned::of(&element)).collect::<Model>(), *model);
    for (name, ..) in model {
        let place = bundle.find(name).expect("what is there is found");
        assert_eq!(place.element.name(), name);
    }
    assert!(bundle.find(b"nobody is called so").is_none());
    // The general form says the same, and comes to the same bundle.
    let body = crate::body::KeyBody::of_bundle(&packed);
    assert_eq!(body.lives[..], packed.assertion().into_iter().collect::<Vec<_>>()[..]);
    let again = bundled(stamp, body.map(Kind::Hash).unwrap().iter().map(ElementView::of)).expect("it has been one");
    assert_eq!(again[..], packed.elements[..]);
}

/// The first element of a bundle, and the bundle.
fn begin(chance: &mut Chance) -> (KeyEntry, Model, Stamp) {
    let stamp = Stamp::from_bits(chance.word());
    let (name, value) = (chance.bytes(), chance.bytes());
    let model = vec![(name, stamp, Owned::Written(value))];
    let (name, _, Owned::Written(value)) = &model[0] else { unreachable!("it was just written") };
    let (life, access) = (PackedLife::Own, 7);
    let element = ElementView::Written(Packed { stamp, life, access: 0, name, value });
    let elements = &bundled(stamp, std::iter::once(element)).unwrap();
    let bundle = PackedBundle { kind: Kind::Hash, stamp, life, access, name: b"key", elements };
    (Entry::bundle_of(&bundle).unwrap(), model, stamp)
}

/// Puts a random element into both; whether there was room.
fn put_random(chance: &mut Chance, entry: &mut KeyEntry, model: &mut Model, base: Stamp) -> bool {
    let stamp = chance.stamp(base);
    let name = if chance.below(3) > 0 { model[chance.below(model.len())].0.clone() } else { chance.bytes() };
    let content = match chance.below(3) {
        0 => {
            let age = (chance.word() % (clock(stamp) + 1)) >> chance.below(54);
            Owned::Counter(
                stamped(clock(stamp) - age, stamp.bits() & AUTHOR_MASK),
                chance.word() as i64 >> chance.below(64),
            )
        }
        _ => Owned::Written(chance.bytes()),
    };
    let place = Bundle::of(&entry.bundle().unwrap()).find(&name).map(|place| place.range);
    let known = model.iter().position(|(known, ..)| *known == name);
    assert_eq!(place.is_some(), known.is_some());
    if !put(entry, place, stamp, &name, content.content()) {
        return false;
    }
    match known {
        Some(at) => model[at] = (name, stamp, content),
        None => model.push((name, stamp, content)),
    }
    true
}

#[test]
fn random_changes_leave_what_a_plain_model_says() {
    let mut full = 0;
    for seed in 0..if cfg!(miri) { 2 } else { 60 } {
        let mut chance = Chance(seed);
        let (mut entry, mut model, base) = begin(&mut chance);
        let mut life = PackedLife::Own;
        for _ in 0..300 {
            match chance.below(8) {
                0 if model.len() > 1 => {
                    let (name, ..) = model.remove(chance.below(model.len()));
                    let place = Bundle::of(&entry.bundle().unwrap()).find(&name).unwrap().range;
                    take_out(&mut entry, place);
                }
                1 => {
                    life =
                        [PackedLife::Own, PackedLife::Unasserted, PackedLife::Asserted(base, crdt::Lifetime::Until(5))]
                            [chance.below(3)];
                    entry.set_life(life);
                }
                2 => entry.note_use(|_| chance.word() as u32 & 0xff_ffff),
                _ => full += usize::from(!put_random(&mut chance, &mut entry, &mut model, base)),
            }
            check(&entry, &model, base, life);
        }
    }
    assert!(full > 0, "the bounds were never met");
}

#[test]
fn a_bundle_has_bounds() {
    let mut chance = Chance(1);
    let (mut entry, mut model, base) = begin(&mut chance);
    for number in 0_u8.. {
        let (name, content) = (vec![b'n', number], Owned::Written(vec![number]));
        if !put(&mut entry, None, base, &name, content.content()) {
            break;
        }
        model.push((name, base, content));
    }
    assert_eq!(model.len(), BUNDLE_ELEMENTS_MAX);
    let place = Bundle::of(&entry.bundle().unwrap()).find(&model[3].0).map(|place| place.range);
    assert!(!put(&mut entry, place, base, &model[3].0, Content::Written(&[0; BUNDLE_BYTES_MAX])));
    check(&entry, &model, base, PackedLife::Own);
}

#[test]
fn what_a_bundle_cannot_say_is_not_bundled() {
    let stamp = Stamp::from_bits(5 << AUTHOR_BITS | 3);
    let written = |life| ElementView::Written(Packed { stamp, life, access: 0, name: b"f", value: b"v" });
    let counter =
        |birth, life| ElementView::Counter(PackedCounter { birth, stamp, cumulative: 7, life, access: 0, name: b"f" });
    let asserted = PackedLife::Asserted(stamp, crdt::Lifetime::Until(9));
    let cases = [
        (written(PackedLife::Own), true),
        (written(PackedLife::Unasserted), false),
        (written(asserted), false),
        (counter(stamp, PackedLife::Own), true),
        (counter(stamp, asserted), false),
        (counter(Stamp::from_bits(6 << AUTHOR_BITS | 3), PackedLife::Own), false),
        (counter(Stamp::from_bits(5 << AUTHOR_BITS | 4), PackedLife::Own), false),
    ];
    for (element, fits) in cases {
        assert_eq!(bundled(stamp, std::iter::once(element)).is_some(), fits, "{element:?}");
    }
}

#[test]
fn an_element_of_one_command_takes_its_text_and_three_bytes() {
    let (stamp, later) = (Stamp::from_bits(1 << 50), Stamp::from_bits((1 << 50) + (9 << AUTHOR_BITS)));
    for (at, extra) in [(stamp, 3), (later, 4)] {
        let mut bytes = ElementBytes::new();
        encode(&mut bytes, stamp, at, b"visits", Content::Written(b"1234"));
        assert_eq!(bytes.len(), 6 + 4 + extra);
    }
    // An hour later, at a node that is not busy.
    let mut bytes = ElementBytes::new();
    encode(&mut bytes, stamp, Stamp::from_bits((1 << 50) + (3_600_000 << 23)), b"member", Content::Written(&[]));
    assert_eq!(bytes.len(), 6 + 2 + 3);
}
