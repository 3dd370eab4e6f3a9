//! From values to bytes, in the encodings of Redis 7.0: small collections packed, as Redis itself would, so that it can
//! take them as they are.

mod stream;

use crate::decode::{NODE_PACKED, NODE_PLAIN, types};
use crate::error::RdbError;
use crate::limits::{INTSET_MEMBERS_MAX, LIST_NODE_BYTES_MAX, LISTPACK_ELEMENT_BYTES_MAX, LISTPACK_ELEMENTS_MAX};
use crate::listpack::{ListpackWriter, integer_of};
use crate::object::{Hash, Object, SortedSet, Texts};
use crate::score::score_text;
use crate::ziplist::write_intset;

/// The version of what is written: that of Redis 7.0.
pub(crate) const VERSION: u32 = 10;
/// The version in which fields of hashes have deadlines: Redis 7.4.
pub(crate) const VERSION_OF_FIELD_DEADLINES: u32 = 12;

/// The version that a reader of this value must know.
pub(crate) fn version_of(object: &Object) -> u32 {
    match object {
        Object::Hash(hash) if hash.has_deadlines() => VERSION_OF_FIELD_DEADLINES,
        Object::String(_)
        | Object::List(_)
        | Object::Set(_)
        | Object::SortedSet(_)
        | Object::Hash(_)
        | Object::Stream(_)
        | Object::Module(_) => VERSION,
    }
}

/// The number of the type of the encoding that this value is written in.
pub(crate) fn type_of(object: &Object) -> Result<u8, RdbError> {
    Ok(match object {
        Object::String(_) => types::STRING,
        Object::List(_) => types::LIST_QUICKLIST_2,
        Object::Set(members) => {
            if integers(members).is_some() {
                types::SET_INTSET
            } else {
                types::SET
            }
        }
        Object::SortedSet(sorted) if is_small(&sorted.members, sorted.members.len()) => types::SORTED_SET_LISTPACK,
        Object::SortedSet(_) => types::SORTED_SET_2,
        Object::Hash(hash) if hash.has_deadlines() => types::HASH_DEADLINES,
        Object::Hash(hash) if is_small(hash.pairs(), hash.len()) => types::HASH_LISTPACK,
        Object::Hash(_) => types::HASH,
        Object::Stream(_) => types::STREAM_2,
        Object::Module(_) => return Err(RdbError::Unsupported("a module's value")),
    })
}

/// Appends a value, in the encoding that [`type_of`] names.
pub(crate) fn write_object(out: &mut Vec<u8>, object: &Object) -> Result<(), RdbError> {
    match object {
        Object::String(value) => write_text(out, value),
        Object::List(elements) => write_list(out, elements),
        Object::Set(members) => match integers(members) {
            Some(members) => write_block(out, &write_intset(&members)),
            None => write_texts(out, members, members.len()),
        },
        Object::SortedSet(sorted) => write_sorted_set(out, sorted),
        Object::Hash(hash) => write_hash(out, hash),
        Object::Stream(stream) => stream::write_stream(out, stream),
        Object::Module(_) => return Err(RdbError::Unsupported("a module's value")),
    }
    Ok(())
}

/// Appends a length.
pub(crate) fn write_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a string; as an integer if it is one of 32 bits in its shortest form.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    match integer_of(text) {
        Some(value) if i8::try_from(value).is_ok() => out.extend_from_slice(&[0xc0, value as u8]),
        Some(value) if i16::try_from(value).is_ok() => {
            out.push(0xc1);
            out.extend_from_slice(&(value as i16).to_le_bytes());
        }
        Some(value) if i32::try_from(value).is_ok() => {
            out.push(0xc2);
            out.extend_from_slice(&(value as i32).to_le_bytes());
        }
        Some(_) | None => write_block(out, text),
    }
}

/// Appends bytes that must stay as they are.
pub(crate) fn write_block(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_texts(out: &mut Vec<u8>, texts: &Texts, count: usize) {
    write_length(out, count as u64);
    texts.iter().for_each(|text| write_text(out, text));
}

/// Nodes of a few kilobytes; elements that are larger stand alone.
fn write_list(out: &mut Vec<u8>, elements: &Texts) {
    let mut nodes = Vec::new();
    let mut count = 0;
    let mut pack = ListpackWriter::new();
    let mut end_pack = |pack: &mut ListpackWriter, nodes: &mut Vec<u8>| {
        if pack.len() > 0 {
            write_length(nodes, NODE_PACKED);
            write_block(nodes, &std::mem::replace(pack, ListpackWriter::new()).finish());
            count += 1;
        }
    };
    let mut plain = 0;
    for element in elements.iter() {
        let is_large = element.len() > LIST_NODE_BYTES_MAX;
        if is_large || pack.byte_count() + element.len() > LIST_NODE_BYTES_MAX {
            end_pack(&mut pack, &mut nodes);
        }
        if is_large {
            write_length(&mut nodes, NODE_PLAIN);
            write_block(&mut nodes, element);
            plain += 1;
        } else {
            pack.push(element);
        }
    }
    end_pack(&mut pack, &mut nodes);
    write_length(out, count + plain);
    out.extend_from_slice(&nodes);
}

fn write_sorted_set(out: &mut Vec<u8>, sorted: &SortedSet) {
    if !is_small(&sorted.members, sorted.members.len()) {
        write_length(out, sorted.members.len() as u64);
        for (member, score) in sorted.members.iter().zip(&sorted.scores) {
            write_text(out, member);
            out.extend_from_slice(&score.to_le_bytes());
        }
        return;
    }
    // Redis expects the small form in order.
    let mut elements: Vec<(f64, &[u8])> = sorted.scores.iter().copied().zip(sorted.members.iter()).collect();
    elements.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(other.1)));
    let mut pack = ListpackWriter::new();
    for (score, member) in elements {
        pack.push(member);
        pack.push(score_text(score).as_bytes());
    }
    write_block(out, &pack.finish());
}

fn write_hash(out: &mut Vec<u8>, hash: &Hash) {
    if hash.has_deadlines() {
        let earliest = hash.iter().map(|(_, _, deadline)| deadline).filter(|deadline| *deadline != 0).min();
        let earliest = earliest.unwrap_or_default();
        out.extend_from_slice(&earliest.to_le_bytes());
        write_length(out, hash.len() as u64);
        for (field, value, deadline) in hash.iter() {
            write_length(out, if deadline == 0 { 0 } else { deadline - earliest + 1 });
            write_text(out, field);
            write_text(out, value);
        }
        return;
    }
    if !is_small(hash.pairs(), hash.len()) {
        return write_texts(out, hash.pairs(), hash.len());
    }
    let mut pack = ListpackWriter::new();
    hash.pairs().iter().for_each(|text| pack.push(text));
    write_block(out, &pack.finish());
}

/// The members in order, if all are integers and few.
fn integers(members: &Texts) -> Option<Vec<i64>> {
    if members.is_empty() || members.len() > INTSET_MEMBERS_MAX {
        return None;
    }
    let mut integers = members.iter().map(integer_of).collect::<Option<Vec<i64>>>()?;
    integers.sort_unstable();
    integers.dedup();
    (integers.len() == members.len()).then_some(integers)
}

/// Whether a collection of so many elements is packed into one block.
fn is_small(texts: &Texts, elements: usize) -> bool {
    elements <= LISTPACK_ELEMENTS_MAX && texts.iter().all(|text| text.len() <= LISTPACK_ELEMENT_BYTES_MAX)
}
