//! Encodings that the reference here is too old to write, taken apart byte by byte.

use crate::signed::signed;
use rdb::payload::Payload;
use rdb::{Entry, Item, Object, RdbError, Reader};

fn object(kind: u8, body: &[&[u8]], version: u16) -> Result<Object, RdbError> {
    let bytes = signed(&[&[kind][..], &body.concat()].concat(), version);
    let object = Payload::verify(&bytes).and_then(Payload::object)?;
    passes(kind, &body.concat(), version);
    Ok(object)
}

/// Asserts that a value whose kind is not wanted is passed over to its end.
fn passes(kind: u8, body: &[u8], version: u16) {
    let magic = if version < 80 { format!("REDIS{version:04}") } else { format!("VALKEY{version:03}") };
    let file = [magic.as_bytes(), &[kind, 1, b'k'], body, &[0xff], &[0; 8]].concat();
    let (mut reader, mut entry) = (Reader::new(&file[..]).unwrap(), Entry::default());
    assert!(matches!(reader.next_of(&mut entry, |_| false).unwrap(), Item::Passed(_)), "type {kind}");
    assert_eq!(reader.next_of(&mut entry, |_| false).unwrap(), Item::End, "type {kind}");
}

/// A listpack of these elements, which are written already, as a string.
fn listpack(elements: &[&[u8]]) -> Vec<u8> {
    let mut pack = vec![0, 0, 0, 0, elements.len() as u8, 0];
    for element in elements {
        pack.extend_from_slice(element);
        pack.push(element.len() as u8);
    }
    pack.push(0xff);
    pack[0] = pack.len() as u8;
    [&[pack.len() as u8], &pack[..]].concat()
}

/// Fields with their values and deadlines.
fn fields(object: &Object) -> Vec<(&[u8], &[u8], u64)> {
    match object {
        Object::Hash(hash) => hash.iter().collect(),
        other => panic!("it is a {}", other.kind().name()),
    }
}

#[test]
fn small_sets_of_redis_7_2_are_listpacks() {
    let Object::Set(members) = object(20, &[&listpack(&[b"\x81a", &[5], &[0xdf, 0xff]])], 11).unwrap() else {
        panic!("it is no set");
    };
    assert!(members.iter().eq([&b"a"[..], b"5", b"-1"]));
}

#[test]
fn fields_of_redis_7_4_have_deadlines() {
    let expected: [(&[u8], &[u8], u64); 2] = [(b"f", b"1", 1000), (b"g", b"v", 0)];
    let deadline = &[0xf1, 0xe8, 3][..];
    let pack = listpack(&[b"\x81f", &[1], deadline, b"\x81g", b"\x81v", &[0]]);
    let table = [2, 11, 1, b'f', 0xc0, 1, 0, 1, b'g', 1, b'v'];
    assert_eq!(fields(&object(25, &[&990u64.to_le_bytes(), &pack], 12).unwrap()), expected);
    assert_eq!(fields(&object(23, &[&pack], 12).unwrap()), expected);
    assert_eq!(fields(&object(24, &[&990u64.to_le_bytes(), &table], 12).unwrap()), expected);
    let early = [&[2, 0x43, 0xe8][..], &table[2..]].concat();
    assert_eq!(fields(&object(22, &[&early], 12).unwrap()), expected);
}

#[test]
fn fields_of_valkey_9_have_deadlines_of_their_own_form() {
    let one = [&[1, b'f', 1, b'v'][..], &1000i64.to_le_bytes()].concat();
    let other = [&[1, b'g', 1, b'w'][..], &(-1i64).to_le_bytes()].concat();
    let expected: [(&[u8], &[u8], u64); 2] = [(b"f", b"v", 1000), (b"g", b"w", 0)];
    assert_eq!(fields(&object(22, &[&[2], &one, &other], 80).unwrap()), expected);
    assert!(matches!(object(25, &[&[2], &one, &other], 80), Err(RdbError::Type(25))));
}

#[test]
fn consumers_of_redis_7_2_say_when_they_were_active() {
    let consumer = [&[1, b'c'][..], &5u64.to_le_bytes(), &7u64.to_le_bytes(), &[0]].concat();
    let group = [&[1, b'g', 1, 0, 0][..], &[0], &[1], &consumer].concat();
    let ids = [0, 9, 1, 9, 1, 0, 0, 3];
    let Object::Stream(stream) = object(21, &[&[0], &ids, &[1], &group], 11).unwrap() else {
        panic!("it is no stream");
    };
    assert_eq!((stream.groups[0].consumers[0].seen_ms, stream.groups[0].consumers[0].active_ms), (5, Some(7)));
    assert_eq!((stream.last_id.to_string(), stream.entries_added), ("9-1".to_owned(), Some(3)));
}

#[test]
fn slots_and_what_modules_attach_to_keys_are_passed_over() {
    let file = b"REDIS0013\xf4\x05\x01\x00\xf8\x07\xf9\x09\xf3\x01abcd\x02\x05\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let (mut reader, mut entry) = (Reader::new(&file[..]).unwrap(), Entry::default());
    assert_eq!(reader.next(&mut entry).unwrap(), Item::Key);
    assert_eq!((&entry.key[..], &entry.object), (&b"k"[..], &Object::String(b"v".to_vec())));
    assert_eq!((entry.idle_seconds, entry.frequency), (Some(7), Some(9)));
    assert_eq!(reader.next(&mut entry).unwrap(), Item::End);
}
