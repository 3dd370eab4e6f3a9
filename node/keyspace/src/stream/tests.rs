use super::{At, Item, Stream};
use crate::sequence::Piece;
use crate::streams::{Trim, TrimBy};
use crdt::{Element, NodeNumber, STAMP_EPOCH_MS, Stamp, StreamEntry, StreamHead, StreamId, StreamName};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

fn value_of(ordinal: u64, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut value = Vec::new();
    StreamEntry::write(&mut value, ordinal, pairs.iter().map(|(name, text)| (name.as_bytes(), text.as_bytes())));
    value
}

fn insert(stream: &mut Stream, id: StreamId, dot: Stamp, value: &[u8]) {
    let at = stream.find(id).unwrap_err();
    stream.insert(at, &Item::new(id, dot, StreamEntry::of(value).unwrap()));
}

/// Everything that can be read is what the model says.
fn check(stream: &Stream, model: &BTreeMap<StreamId, (Stamp, Vec<u8>)>) {
    assert_eq!(stream.len(), model.len());
    let read = |item: Item<'_>| {
        let item = stream.shown(item);
        let mut value = Vec::new();
        item.value_into(&mut value);
        (item.id, (item.dot, value))
    };
    assert!(stream.entries().items().map(read).eq(model.iter().map(|(id, entry)| (*id, entry.clone()))));
    let mut back: Vec<_> = stream.entries().items_back_from(StreamId::MAX).map(read).collect();
    back.reverse();
    assert!(back.into_iter().eq(model.iter().map(|(id, entry)| (*id, entry.clone()))));
    assert_eq!(stream.entries().first_id(), model.keys().next().copied());
    assert_eq!(stream.entries().last_id(), model.keys().next_back().copied());
    assert_eq!(stream.entries().chunk_lengths().sum::<usize>(), model.len());
    assert_eq!(*stream.added(), stream.told());
    for (number, id) in model.keys().enumerate().step_by(7) {
        assert_eq!(stream.entries().count_before(*id), number);
        assert!(stream.find(*id).is_ok());
        let after = id.next().unwrap();
        assert_eq!(stream.find(after).is_ok(), model.contains_key(&after));
        let from: Vec<StreamId> = stream.entries().items_from(after).map(|item| item.id).take(3).collect();
        assert!(from.iter().eq(model.range(after..).map(|(id, _)| id).take(3)));
        let to: Vec<StreamId> = stream.entries().items_back_from(*id).map(|item| item.id).take(3).collect();
        assert!(to.iter().eq(model.range(..=*id).rev().map(|(id, _)| id).take(3)));
    }
}

fn draw_value(random: &mut Random, ordinal: u64) -> Vec<u8> {
    let long = "x".repeat(random.below(400) as usize);
    let names = [&["f"][..], &["a", "b"], &["temperature", "humidity", ""]][random.below(3) as usize];
    let texts = ["", "7", "-12345678901", "007", "text", "9223372036854775807", "-9223372036854775808", &long];
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    names.iter().for_each(|name| pairs.push((name, texts[random.below(8) as usize])));
    let odd = format!("field{}", random.below(20));
    if random.below(6) == 0 {
        pairs.push((&odd, "1"));
    }
    value_of(ordinal, &pairs)
}

#[test]
fn a_stream_holds_what_a_map_by_ids_holds_whatever_comes_and_goes() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let (mut stream, mut model) = (Stream::default(), BTreeMap::new());
        let mut ordinals = [0; 3];
        for step in 0..600 {
            let author = random.below(3);
            let ms = STAMP_EPOCH_MS + 1000 + step * 3 - random.below(40);
            let dot = Stamp::at(ms, node(author as u16));
            let id = if random.below(3) == 0 {
                StreamId::new(5 + random.below(3000), random.below(3))
            } else {
                StreamId::of_stamp(dot)
            };
            ordinals[author as usize] += 1;
            let value = draw_value(&mut random, ordinals[author as usize]);
            let known: Vec<StreamId> = model.keys().copied().collect();
            let some = known.get(random.below(known.len().max(1) as u64) as usize).copied();
            match (random.below(20), some) {
                (0, Some(id)) => {
                    stream.remove(stream.find(id).unwrap(), id);
                    model.remove(&id);
                }
                (1, Some(id)) => {
                    stream.replace(stream.find(id).unwrap(), &Item::new(id, dot, StreamEntry::of(&value).unwrap()));
                    model.insert(id, (dot, value));
                }
                (2, _) if !known.is_empty() => {
                    let count = random.below(known.len() as u64 / 3 + 1) as usize;
                    let mut gone = Vec::new();
                    stream.remove_front(count, |item| gone.push(item.id));
                    assert_eq!(gone, known[..count]);
                    known[..count].iter().for_each(|id| drop(model.remove(id)));
                }
                (3, _) => {
                    let keeps = |id: &StreamId| id.ms % 5 != seed % 5;
                    stream.retain(|name, _| keeps(&StreamId::of_name(name).unwrap()));
                    model.retain(|id, _| keeps(id));
                }
                _ if model.contains_key(&id) => {}
                _ => {
                    insert(&mut stream, id, dot, &value);
                    model.insert(id, (dot, value));
                }
            }
            if step % 20 == 0 {
                check(&stream, &model);
            }
        }
        check(&stream, &model);
    }
}

#[test]
fn entries_with_siblings_are_kept_beside_and_the_latest_is_shown() {
    let mut stream = Stream::default();
    let (id, early, late) =
        (StreamId::new(5, 1), Stamp::at(STAMP_EPOCH_MS + 1, node(1)), Stamp::at(STAMP_EPOCH_MS + 2, node(2)));
    let (one, other) = (value_of(1, &[("f", "one")]), value_of(1, &[("f", "other")]));
    insert(&mut stream, id, late, &other);
    stream.change(&id.name(), |element| element.siblings.push((early, one.clone().into())));
    assert!(stream.has_wide());
    assert_eq!(stream.added().sum(), 2);
    check(&stream, &[(id, (late, other.clone()))].into_iter().collect());
    stream.change(&id.name(), |element| element.siblings.retain(|(dot, _)| *dot == early));
    assert!(!stream.has_wide());
    check(&stream, &[(id, (early, one))].into_iter().collect());
    stream.change(&id.name(), |element| *element = Element::default());
    assert!(stream.is_empty());
}

#[test]
fn the_head_keeps_an_empty_stream_and_its_last_id() {
    let mut stream = Stream::default();
    let dot = Stamp::at(STAMP_EPOCH_MS + 1, node(1));
    let mut head = StreamHead { last_id: StreamId::new(9, 9), ..StreamHead::default() };
    head.added.raise(node(1), 4);
    stream.change(&StreamName::Head.name(), |element| *element = Element::written(dot, head.encode().into()));
    assert!(stream.is_visible() && !stream.is_empty());
    assert_eq!(stream.len(), 0);
    assert_eq!((stream.last_id(), stream.added().sum()), (StreamId::new(9, 9), 4));
    stream.retain(|_, piece| !matches!(piece, Piece::Wide(_)));
    assert!(stream.is_empty() && !stream.is_visible());
    assert_eq!((stream.last_id(), stream.added().sum()), (StreamId::ZERO, 0));
}

#[test]
fn approximate_trimming_takes_whole_chunks_and_exact_trimming_what_is_too_much() {
    let mut stream = Stream::default();
    for number in 1..=250 {
        insert(
            &mut stream,
            StreamId::new(number, 0),
            Stamp::at(STAMP_EPOCH_MS + number, node(1)),
            &value_of(number, &[("f", "v")]),
        );
    }
    let trim = |by, is_approximate, limit| Trim { by, is_approximate, limit };
    for (trim, expected) in [
        (trim(TrimBy::Length(249), true, None), 0),
        (trim(TrimBy::Length(120), true, None), 100),
        (trim(TrimBy::Length(50), true, None), 200),
        (trim(TrimBy::Length(50), true, Some(150)), 100),
        (trim(TrimBy::Length(0), true, None), 250),
        (trim(TrimBy::Length(120), false, None), 130),
        (trim(TrimBy::Length(1000), false, None), 0),
        (trim(TrimBy::Id(StreamId::new(101, 0)), true, None), 100),
        (trim(TrimBy::Id(StreamId::new(100, 0)), true, None), 0),
        (trim(TrimBy::Id(StreamId::new(100, 0)), false, None), 99),
    ] {
        assert_eq!(stream.excess(trim), expected, "{trim:?}");
    }
}

#[test]
fn many_small_entries_take_few_bytes_each() {
    const COUNT: u64 = 100_000;
    let mut stream = Stream::default();
    for number in 0..COUNT {
        let dot = Stamp::at(STAMP_EPOCH_MS + 1_000_000 + number / 3, node(1)).next(0, node(1));
        let dot = if number % 3 == 0 { dot } else { dot.next(0, node(1)) };
        let dot = if number % 3 == 2 { dot.next(0, node(1)) } else { dot };
        let value = value_of(number + 1, &[("field", &number.to_string())]);
        stream.insert(At::END, &Item::new(StreamId::of_stamp(dot), dot, StreamEntry::of(&value).unwrap()));
    }
    let bytes = stream.heap_bytes() as f64 / COUNT as f64;
    assert!(bytes < 9.0, "{bytes} bytes an entry");
}
