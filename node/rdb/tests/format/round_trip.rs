//! What was written is read.

use crate::samples::{Random, object, text};
use rdb::payload::{self, Payload};
use rdb::{Entry, Item, Kind, Object, Reader, Writer};
use std::io::Read;

/// Gives so many bytes at a time, so that everything is torn apart somewhere.
struct Drops<'b>(&'b [u8], usize);

impl Read for Drops<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(out.len()).min(self.1);
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn normalized(mut object: Object) -> Object {
    object.normalize();
    object
}

/// A file of values of every kind, and the keys that are in it.
pub fn file(seed: u64, count: usize) -> (Vec<u8>, Vec<Entry>) {
    let mut random = Random::new(seed);
    let mut writer = Writer::with_version(Vec::new(), 12).unwrap();
    writer.auxiliary("redis-ver", "7.4.0").unwrap();
    writer.function(b"#!lua name=lib\n").unwrap();
    let mut entries = Vec::new();
    for index in 0..count {
        if index % 7 == 0 {
            writer.database(index as u32 % 5, 7, 3).unwrap();
        }
        let deadline = (random.below(3) == 0).then(|| 1_900_000_000_000 + random.next() % 1_000_000);
        let key = [text(&mut random), index.to_string().into_bytes()].concat();
        let object = object(&mut random, true);
        writer.entry(&key, deadline, &object).unwrap();
        let database = (index / 7 * 7) as u32 % 5;
        entries.push(Entry { database, key, deadline, object: normalized(object), ..Entry::default() });
    }
    let (length, bytes) = writer.finish().unwrap();
    assert_eq!(length, bytes.len() as u64);
    (bytes, entries)
}

#[test]
fn every_value_comes_back_whatever_the_pieces_it_is_read_in() {
    let (bytes, entries) = file(1, 300);
    for step in [1, 7, 4096, usize::MAX] {
        let followed = [&bytes[..], b"what follows"].concat();
        let mut reader = Reader::new(Drops(&followed, step)).unwrap();
        let (mut entry, mut expected, mut functions) = (Entry::default(), entries.iter(), 0);
        loop {
            match reader.next(&mut entry).unwrap() {
                Item::Key => {
                    let mut found = entry.clone();
                    found.object.normalize();
                    assert_eq!(&found, expected.next().unwrap());
                }
                Item::Function(code) => {
                    functions += 1;
                    assert_eq!(code, b"#!lua name=lib\n");
                }
                Item::Auxiliary { .. } | Item::Sizes { .. } => {}
                Item::Passed(kind) => panic!("{} is wanted", kind.name()),
                Item::Module(name) => panic!("{name} was not written"),
                Item::End => break,
            }
        }
        assert!(expected.next().is_none());
        assert_eq!(functions, 1);
        assert_eq!(reader.position(), bytes.len() as u64);
        let (mut source, mut rest) = reader.into_rest();
        source.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"what follows");
    }
}

#[test]
fn what_is_not_wanted_is_passed_over_to_its_end() {
    use Kind::{Hash, List, Set, SortedSet, Stream, String};
    for wanted in [&[][..], &[String, Hash], &[Set, Stream], &[List, SortedSet]] {
        let (bytes, entries) = file(9, 300);
        let (mut reader, mut entry, mut expected) =
            (Reader::new(&bytes[..]).unwrap(), Entry::default(), entries.iter());
        loop {
            match reader.next_of(&mut entry, |kind| wanted.contains(&kind)).unwrap() {
                Item::Key => {
                    let mut found = entry.clone();
                    found.object.normalize();
                    assert_eq!(&found, expected.next().unwrap());
                }
                Item::Passed(kind) => {
                    let Entry { database, key, deadline, object, .. } = expected.next().unwrap();
                    assert_eq!((kind, &entry.key, entry.deadline), (object.kind(), key, *deadline));
                    assert_eq!((entry.database, wanted.contains(&kind)), (*database, false));
                    assert_eq!(entry.object, Object::default());
                }
                Item::Function(_) | Item::Auxiliary { .. } | Item::Sizes { .. } | Item::Module(_) => {}
                Item::End => break,
            }
        }
        assert!(expected.next().is_none());
    }
}

#[test]
fn payloads_come_back_and_fit_into_files() {
    let mut random = Random::new(2);
    for _ in 0..300 {
        let object = normalized(object(&mut random, true));
        let mut bytes = Vec::new();
        payload::write(&mut bytes, &object).unwrap();
        let payload = Payload::verify(&bytes).unwrap();
        assert_eq!(normalized(payload.object().unwrap()), object);
        let mut writer = Writer::with_version(Vec::new(), 12).unwrap();
        writer.dumped(b"key", Some(5), payload).unwrap();
        let file = writer.finish().unwrap().1;
        let (mut reader, mut entry) = (Reader::new(&file[..]).unwrap(), Entry::default());
        assert_eq!(reader.next(&mut entry).unwrap(), Item::Key);
        assert_eq!((entry.deadline, normalized(entry.object)), (Some(5), object));
    }
}

#[test]
fn what_no_reader_of_the_version_could_hold_is_not_written() {
    let mut hash = rdb::Hash::default();
    hash.push(b"f", b"v", 5);
    let mut writer = Writer::new(Vec::new()).unwrap();
    assert!(writer.entry(b"k", None, &Object::Hash(hash)).is_err());
    assert!(writer.entry(b"k", None, &Object::Set(rdb::Texts::new())).is_err());
    assert!(writer.entry(b"k", None, &Object::Module("a".to_owned())).is_err());
}
