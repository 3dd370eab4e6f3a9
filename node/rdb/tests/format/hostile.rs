//! Bytes from outside: whatever they are, they are refused or read, and never more memory is taken than they can fill.

use crate::round_trip::file;
use crate::samples::{Random, object};
use crate::signed::signed;
use rdb::payload::{self, Payload};
use rdb::{Entry, Item, Kind, Object, RdbError, Reader};

/// Reads to the end or the first error.
fn read(bytes: &[u8]) -> Result<usize, RdbError> {
    let mut reader = Reader::new(bytes)?;
    let (mut entry, mut keys) = (Entry::default(), 0);
    loop {
        match reader.next(&mut entry)? {
            Item::Key => {
                keys += 1;
                entry.object.normalize();
            }
            Item::End => return Ok(keys),
            Item::Passed(_) | Item::Function(_) | Item::Auxiliary { .. } | Item::Sizes { .. } | Item::Module(_) => {}
        }
    }
}

/// As [`read`], without wanting any value.
fn passed_over(bytes: &[u8]) -> Result<(), RdbError> {
    let (mut reader, mut entry) = (Reader::new(bytes)?, Entry::default());
    while reader.next_of(&mut entry, |_| false)? != Item::End {}
    Ok(())
}

#[test]
fn changed_files_are_refused_without_a_panic() {
    for seed in 0..600 {
        let (bytes, _) = file(seed % 20, 8);
        let mut random = Random::new(seed + 1000);
        let mut changed = bytes.clone();
        for _ in 0..1 + random.below(6) {
            let position = random.below(changed.len());
            match random.below(5) {
                0 => changed[position] = random.next() as u8,
                1 => changed[position] = *[0xff, 0x81, 0xc3, 0x80, 0, 0xfe].get(random.below(6)).unwrap(),
                2 => changed.truncate(position.max(1)),
                3 => drop(changed.remove(position)),
                _ => changed.insert(position, random.next() as u8),
            }
            if changed.len() < 2 {
                break;
            }
        }
        let outcome = read(&changed);
        let verdict = rdb::verify(&changed[..], changed.len() as u64);
        // A version that is not the file's may have no checksum.
        let is_other = changed.get(..9) != bytes.get(..9);
        assert!(verdict.is_err() || is_other || changed == bytes, "seed {seed}: {verdict:?}");
        assert!(changed == bytes || outcome.is_err(), "seed {seed}: damage was not noticed");
        assert!(changed == bytes || passed_over(&changed).is_err(), "seed {seed}: damage was not noticed");
    }
}

#[test]
fn changed_values_with_a_right_checksum_are_read_or_refused() {
    let mut random = Random::new(3);
    for _ in 0..800 {
        let mut bytes = Vec::new();
        payload::write(&mut bytes, &object(&mut random, true)).unwrap();
        bytes.truncate(bytes.len() - 10);
        for _ in 0..1 + random.below(3) {
            // The header of a collection is where lies are worth most.
            let bound = if random.below(2) == 0 { bytes.len().min(24) } else { bytes.len() };
            let position = random.below(bound);
            bytes[position] = random.next() as u8;
        }
        for version in [10u16, 12, 80] {
            let signed = signed(&bytes, version);
            if let Ok(mut object) = Payload::verify(&signed).unwrap().object() {
                object.normalize();
                let _ = payload::write(&mut Vec::new(), &object);
            }
        }
    }
}

#[test]
fn noise_is_refused() {
    let mut random = Random::new(4);
    for _ in 0..800 {
        let noise: Vec<u8> = (0..random.below(80)).map(|_| random.next() as u8 & 0x9f).collect();
        for kind in 0..30 {
            let bytes = signed(&[&[kind], &noise[..]].concat(), 12);
            let _ = Payload::verify(&bytes).unwrap().object();
        }
        assert!(read(&noise).is_err());
        assert!(read(&[b"REDIS0012", &noise[..]].concat()).is_err());
    }
}

#[test]
fn announced_lengths_take_no_memory() {
    // A string, a list, a compressed string and a set of integers that announce far more than there is.
    let huge = [0x81, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0xff];
    let endless = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (kind, body) in [
        (0u8, huge.to_vec()),
        (0, endless.to_vec()),
        (1, endless.to_vec()),
        (0, [&[0xc3, 5][..], &huge, b"abcde"].concat()),
        (11, [&[8][..], &[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].concat()),
        (4, [&endless[..], &[0, 0]].concat()),
    ] {
        let bytes = signed(&[&[kind], &body[..]].concat(), 10);
        assert!(Payload::verify(&bytes).unwrap().object().is_err());
    }
}

/// A string that stands for a listpack of so many empty elements, in a twentieth of its bytes.
fn compressed_listpack(elements: u32) -> Vec<u8> {
    let total = 7 + 2 * elements;
    let mut compressed = vec![6 + 1];
    compressed.extend_from_slice(&total.to_le_bytes());
    compressed.extend_from_slice(&[0xff, 0xff, 0x80, 1]);
    let mut left = 2 * (elements - 1);
    while left > 0 {
        // A piece of up to 264 bytes from two back; every length is even.
        let count = left.min(264);
        left -= count;
        match count {
            2 => compressed.extend_from_slice(&[1, 0x80, 1]),
            3..=8 => compressed.extend_from_slice(&[(count as u8 - 2) << 5, 1]),
            _ => compressed.extend_from_slice(&[0xe0, (count - 9) as u8, 1]),
        }
    }
    compressed.extend_from_slice(&[0, 0xff]);
    let length = |bytes: u32| [&[0x80][..], &bytes.to_be_bytes()].concat();
    [&[0xc3][..], &length(compressed.len() as u32), &length(total), &compressed].concat()
}

#[test]
fn a_small_payload_cannot_stand_for_a_large_collection() {
    let payload = |elements| signed(&[&[20][..], &compressed_listpack(elements)].concat(), 11);
    let small = payload(1000);
    let Object::Set(members) = Payload::verify(&small).unwrap().object().unwrap() else { panic!("it is no set") };
    assert_eq!(members.len(), 1000);
    let large = payload(11_000_000);
    assert!(large.len() < 1 << 20, "{}", large.len());
    let large = Payload::verify(&large).unwrap();
    assert!(large.object().is_err());
    // A file of the operator's own may have it.
    assert!(large.object_within(rdb::limits::FILE_EXPANDED_BYTES_MAX).is_ok());
}

#[test]
fn the_kind_is_known_before_anything_is_read() {
    for (kind, version, expected) in [
        (0u8, 10u16, Some(Kind::String)),
        (14, 10, Some(Kind::List)),
        (20, 11, Some(Kind::Set)),
        (17, 10, Some(Kind::SortedSet)),
        (25, 12, Some(Kind::Hash)),
        (22, 80, Some(Kind::Hash)),
        (26, 13, Some(Kind::Stream)),
        (7, 10, Some(Kind::Module)),
        (6, 10, None),
        (8, 10, None),
        (23, 80, None),
        (26, 80, None),
        (27, 13, None),
        (255, 13, None),
    ] {
        let bytes = signed(&[kind, 0xff], version);
        assert_eq!(Payload::verify(&bytes).unwrap().kind().ok(), expected, "{kind} in {version}");
    }
}

#[test]
fn unknown_types_and_versions_are_named() {
    assert!(matches!(read(b"REDIS0099"), Err(RdbError::Version(99))));
    assert!(matches!(read(b"REDIS0012\x1e\x01k"), Err(RdbError::Type(30))));
    assert!(matches!(read(b"VALKEY080\x1a\x01k\x00"), Err(RdbError::Type(26))));
    assert!(matches!(read(b"REDIS00x9"), Err(RdbError::NotRdb)));
    assert!(matches!(read(b"*1\r\n$4\r\nPING\r\n"), Err(RdbError::NotRdb)));
    assert!(matches!(read(b"REDI"), Err(RdbError::NotRdb)));
}
