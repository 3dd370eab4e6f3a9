//! Slots as bytes: what of a slot is written down for a peer or an image, and what arrives, taken apart and checked.
//! `FORMAT.md` describes them.

use super::patched::{ArrivedPatches, has_news, write_patches};
use super::{Extent, for_each_element, lives_of};
use crate::body::{KeyEntry, key_of};
use crate::entry::View;
use crate::hash::{SLOTS, slot_of};
use crate::slot::{Context, Memory, RememberedReset, ResetName};
use crate::stream::{KeptDeliveries, Regional};
use crate::streams::stream_in;
use crdt::change::{decode_reset, encode_reset};
use crdt::encoding::{put_slice, put_stamp, put_varint};
use crdt::{Contribution, DecodeError, Element, Kind, Lifetime, Number, Reader, Reset, Stamp, VersionVector};
use std::collections::BTreeSet;

pub(super) const END_OF_KEYS: u8 = 0;
/// What is said of a slot: what the receiver does not have, everything, or everything that is left of one whose image was
/// lost. The last is in images alone.
pub(super) const SLOT_NEWS: u8 = 0;
pub(super) const SLOT_LISTING: u8 = 1;
pub(super) const SLOT_IN_PART: u8 = 2;
/// The beginning of a slot that takes several pieces: what is said of the slot, and some of its elements.
pub(super) const SLOT_NEWS_BEGUN: u8 = 3;
pub(super) const SLOT_LISTING_BEGUN: u8 = 4;
/// Further elements of it, and the last ones.
pub(super) const SLOT_GOES_ON: u8 = 5;
pub(super) const SLOT_ENDS: u8 = 6;
const END_OF_ITEMS: u8 = 0;
const ITEM_PLAIN: u8 = 1;
const ITEM_ELEMENT: u8 = 2;
const ITEM_LIVES: u8 = 3;
/// An element as above, and what is asserted about its life.
const ITEM_TIMED_FIELD: u8 = 4;
/// An element that is a string with patches: what an element has, then the patches.
const ITEM_PATCHED: u8 = 12;
/// What the region of the node keeps of a stream's groups for itself; in images alone.
const ITEM_DELIVERIES: u8 = 5;

/// How much of a slot is in a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Portion {
    Whole,
    First,
    Middle,
    Last,
}

/// A slot as it arrived, or some of it: then only the first portion says anything but keys.
pub(super) struct Arrived<'a> {
    pub(super) number: u16,
    pub(super) portion: Portion,
    pub(super) extent: Extent,
    /// What the source had seen of this slot.
    pub(super) context: Context,
    pub(super) digest: u64,
    pub(super) resets: Vec<(ResetName, RememberedReset)>,
    pub(super) keys: Vec<ArrivedKey<'a>>,
}

#[derive(Default)]
pub(super) struct ArrivedKey<'a> {
    pub(super) database: u8,
    pub(super) key: &'a [u8],
    /// A string and nothing else, with a life without an end by the same dot: nearly every key.
    pub(super) plain: Option<(Stamp, &'a [u8])>,
    pub(super) elements: Vec<ArrivedElement<'a>>,
    pub(super) lives: Option<Vec<(Stamp, Lifetime)>>,
    /// What this node had delivered of a stream's groups.
    pub(super) deliveries: KeptDeliveries,
}

pub(super) struct ArrivedElement<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a [u8],
    pub(super) siblings: Vec<(Stamp, Option<&'a [u8]>)>,
    pub(super) contributions: Vec<Contribution>,
    /// Siblings that assert nothing about the life of their field; contributions know it themselves.
    pub(super) silent: Vec<Stamp>,
    /// What is asserted about the life of a field besides.
    pub(super) assertions: Vec<(Stamp, Lifetime)>,
    /// What a string has besides whole writes, if it has anything.
    pub(super) patched: Option<ArrivedPatches<'a>>,
}

/// Appends what a slot knows besides its keys and its vector.
pub(super) fn write_memory(out: &mut Vec<u8>, base: Stamp, memory: &Memory) {
    out.extend_from_slice(&memory.digest.to_le_bytes());
    let early = memory.context().map(|context| &context.early);
    put_varint(out, early.map_or(0, BTreeSet::len) as u64);
    for (stamp, name) in early.into_iter().flatten() {
        put_stamp(out, base, *stamp);
        out.extend_from_slice(&name.to_le_bytes());
    }
    write_resets(out, base, memory.resets());
}

fn write_resets<'r>(
    out: &mut Vec<u8>,
    base: Stamp,
    resets: impl ExactSizeIterator<Item = (&'r ResetName, &'r RememberedReset)>,
) {
    put_varint(out, resets.len() as u64);
    for (name, reset) in resets {
        out.push(name.database);
        out.push(name.kind);
        put_slice(out, &name.key);
        put_slice(out, &name.name);
        let RememberedReset { birth, stamp, cumulative, by } = *reset;
        encode_reset(out, base, &Reset { node: name.node, birth, stamp, cumulative });
        put_stamp(out, base, by);
    }
}

/// Appends a key, if there is anything to say about it.
pub(super) fn write_key(
    out: &mut Vec<u8>,
    base: Stamp,
    database: u8,
    entry: &KeyEntry,
    since: &VersionVector,
    extent: Extent,
) {
    let start = out.len();
    begin_key(out, database, key_of(entry));
    let items = out.len();
    if let View::Packed(packed) = entry.view()
        && packed.life == crate::entry::PackedLife::Own
        && !since.covers(packed.stamp)
    {
        out.push(ITEM_PLAIN);
        put_stamp(out, base, packed.stamp);
        put_slice(out, packed.value);
    } else {
        for_each_element(entry, |kind, name, element| {
            if is_news(element, since, extent) {
                write_element(out, base, kind, name, element, since);
            }
        });
        write_lives(out, base, entry, since, extent);
    }
    end_key(out, base, entry, extent, (start, items));
}

/// Whether an element is to be written down.
pub(super) fn is_news(element: &Element, since: &VersionVector, extent: Extent) -> bool {
    let mut assertions = element.life.iter().flat_map(|life| &life.assertions);
    extent != Extent::News
        || element.siblings.iter().any(|(dot, _)| !since.covers(*dot))
        || element.contributions.iter().any(|c| !since.covers(c.stamp))
        || assertions.any(|(dot, _)| !since.covers(*dot))
        || has_news(element, since)
}

/// Appends what is said before the items of a key.
pub(super) fn begin_key(out: &mut Vec<u8>, database: u8, key: &[u8]) {
    out.push(database + 1);
    put_slice(out, key);
}

/// Appends what is asserted about the life of a key.
pub(super) fn write_lives(out: &mut Vec<u8>, base: Stamp, entry: &KeyEntry, since: &VersionVector, extent: Extent) {
    let lives = lives_of(entry);
    if extent != Extent::News || lives.iter().any(|(dot, _)| !since.covers(*dot)) {
        out.push(ITEM_LIVES);
        put_varint(out, lives.len() as u64);
        for (dot, lifetime) in lives {
            put_stamp(out, base, dot);
            put_varint(out, lifetime.to_word());
        }
    }
}

/// Appends what comes behind the elements and the life of a key, which begins at `start` and whose items begin at `items`. A
/// key of which there is nothing to say goes.
pub(super) fn end_key(
    out: &mut Vec<u8>,
    base: Stamp,
    entry: &KeyEntry,
    extent: Extent,
    (start, items): (usize, usize),
) {
    if extent == Extent::Image
        && let Some(stream) = stream_in(Some(entry)).filter(|stream| stream.regional.has_deliveries())
    {
        out.push(ITEM_DELIVERIES);
        stream.regional.encode(out, base);
    }
    leave_key(out, (start, items));
}

/// The same in the middle of a key, whose other elements come elsewhere.
pub(super) fn leave_key(out: &mut Vec<u8>, (start, items): (usize, usize)) {
    if out.len() == items {
        out.truncate(start);
    } else {
        out.push(END_OF_ITEMS);
    }
}

pub(super) fn write_element(
    out: &mut Vec<u8>,
    base: Stamp,
    kind: Kind,
    name: &[u8],
    element: &Element,
    since: &VersionVector,
) {
    let is_plain = element.life.is_none() && element.silent().next().is_none();
    let item = if element.is_patched() { ITEM_PATCHED } else { ITEM_ELEMENT };
    out.push(if is_plain { item } else { ITEM_TIMED_FIELD });
    out.push(kind as u8);
    put_slice(out, name);
    // Folded writes are listed with the patches.
    let folded = element.fold().map(|(first, _)| first);
    put_varint(out, (element.siblings.len() - usize::from(folded.is_some())) as u64);
    for (dot, value) in element.siblings.iter().filter(|(dot, _)| Some(*dot) != folded) {
        put_stamp(out, base, *dot);
        out.push(u8::from(!since.covers(*dot)));
        if !since.covers(*dot) {
            put_slice(out, value);
        }
    }
    put_varint(out, element.contributions.len() as u64);
    for contribution in &element.contributions {
        encode_reset(out, base, &contribution.observed());
        put_stamp(out, base, contribution.base_stamp);
        contribution.base.encode(out);
    }
    if item == ITEM_PATCHED {
        write_patches(out, base, element, since);
    }
    if !is_plain {
        put_varint(out, element.silent().count() as u64);
        element.silent().for_each(|dot| put_stamp(out, base, dot));
        let assertions = element.life.as_ref().map_or(&[][..], |life| &life.assertions);
        put_varint(out, assertions.len() as u64);
        for (dot, lifetime) in assertions {
            put_stamp(out, base, *dot);
            put_varint(out, lifetime.to_word());
        }
    }
}

impl<'a> Arrived<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, base: Stamp, applied: &VersionVector) -> Result<Self, DecodeError> {
        let number = reader.varint("a slot")?;
        let number = u16::try_from(number).ok().filter(|&n| n < SLOTS).ok_or(DecodeError::Invalid("a slot"))?;
        let form = reader.byte("a slot")?;
        let (extent, portion) = match form {
            SLOT_NEWS => (Extent::News, Portion::Whole),
            SLOT_LISTING | SLOT_IN_PART => (Extent::Listing, Portion::Whole),
            SLOT_NEWS_BEGUN => (Extent::News, Portion::First),
            SLOT_LISTING_BEGUN => (Extent::Listing, Portion::First),
            SLOT_GOES_ON => (Extent::News, Portion::Middle),
            SLOT_ENDS => (Extent::News, Portion::Last),
            _ => return Err(DecodeError::Invalid("a slot's extent")),
        };
        if matches!(portion, Portion::Middle | Portion::Last) {
            let keys = decode_keys(reader, base, number)?;
            return Ok(Self {
                number,
                portion,
                extent,
                context: Context::default(),
                digest: 0,
                resets: Vec::new(),
                keys,
            });
        }
        let mut vector = applied.clone();
        vector.join(&reader.vector(base, "a slot's context")?);
        let in_part = if form == SLOT_IN_PART { reader.vector(base, "a slot in part")? } else { VersionVector::new() };
        let digest = reader.word("a digest")?;
        let mut early = BTreeSet::new();
        for _ in 0..reader.count("an early set")? {
            early.insert((reader.stamp(base, "an early dot")?, reader.word("an early dot")?));
        }
        let mut resets = Vec::new();
        for _ in 0..reader.count("resets")? {
            resets.push(decode_remembered(reader, base, number)?);
        }
        let keys = decode_keys(reader, base, number)?;
        let context = Context { vector, early, in_part };
        Ok(Self { number, portion, extent, context, digest, resets, keys })
    }
}

fn decode_keys<'a>(reader: &mut Reader<'a>, base: Stamp, slot: u16) -> Result<Vec<ArrivedKey<'a>>, DecodeError> {
    let mut keys = Vec::new();
    loop {
        match reader.byte("a key")? {
            END_OF_KEYS => return Ok(keys),
            database if database <= crate::slot::DATABASES_HELD => {
                keys.push(ArrivedKey::decode(reader, base, database - 1, slot)?);
            }
            _ => return Err(DecodeError::Invalid("a database")),
        }
    }
}

fn decode_remembered(
    reader: &mut Reader<'_>,
    base: Stamp,
    slot: u16,
) -> Result<(ResetName, RememberedReset), DecodeError> {
    let database = reader.byte("a reset")?;
    let kind = reader.byte("a reset")?;
    let key = reader.slice("a reset")?;
    let name = reader.slice("a reset")?;
    let Reset { node, birth, stamp, cumulative } = decode_reset(reader, base)?;
    let by = reader.stamp(base, "a reset")?;
    let is_named = Kind::from_number(kind).is_some_and(|kind| kind.has_name(name));
    if database >= crate::slot::DATABASES_HELD || !is_named || slot_of(key) != slot {
        return Err(DecodeError::Invalid("a reset"));
    }
    let name = ResetName { database, kind, node, key: key.into(), name: name.into() };
    Ok((name, RememberedReset { birth, stamp, cumulative, by }))
}

impl<'a> ArrivedKey<'a> {
    /// The same with what a plain string stands for.
    pub(super) fn in_full(&self) -> Option<Self> {
        let (dot, value) = self.plain?;
        let nothing = ArrivedElement::nothing(Kind::String, &[]);
        let elements = vec![ArrivedElement { siblings: vec![(dot, Some(value))], ..nothing }];
        let lives = Some(vec![(dot, Lifetime::Never)]);
        Some(Self { database: self.database, key: self.key, elements, lives, ..Self::default() })
    }

    fn decode(reader: &mut Reader<'a>, base: Stamp, database: u8, slot: u16) -> Result<Self, DecodeError> {
        let key = reader.slice("a key")?;
        if slot_of(key) != slot {
            return Err(DecodeError::Invalid("a key of another slot"));
        }
        let mut arrived = Self { database, key, ..Self::default() };
        loop {
            match reader.byte("an item")? {
                END_OF_ITEMS => return Ok(arrived),
                ITEM_PLAIN if arrived.plain.is_none() && arrived.elements.is_empty() && arrived.lives.is_none() => {
                    let dot = reader.stamp(base, "a dot")?;
                    arrived.plain = Some((dot, reader.slice("a value")?));
                }
                // Nothing stands beside a plain string.
                _ if arrived.plain.is_some() => return Err(DecodeError::Invalid("an item")),
                item @ (ITEM_ELEMENT | ITEM_TIMED_FIELD | ITEM_PATCHED) => {
                    let mut element = ArrivedElement::decode(reader, base)?;
                    if item == ITEM_TIMED_FIELD {
                        element.decode_life(reader, base)?;
                    }
                    if item == ITEM_PATCHED {
                        if element.kind != Kind::String {
                            return Err(DecodeError::Invalid("patches"));
                        }
                        element.patched = Some(ArrivedPatches::decode(reader, base)?);
                    }
                    arrived.elements.push(element);
                }
                ITEM_LIVES => {
                    let mut lives = Vec::new();
                    for _ in 0..reader.count("lives")? {
                        let dot = reader.stamp(base, "a life")?;
                        lives.push((dot, Lifetime::from_word(reader.varint("a life")?)));
                    }
                    arrived.lives = Some(lives);
                }
                ITEM_DELIVERIES => arrived.deliveries = Regional::decode(reader, base)?,
                _ => return Err(DecodeError::Invalid("an item")),
            }
        }
    }
}

impl<'a> ArrivedElement<'a> {
    /// An element of which nothing is left.
    pub(super) fn nothing(kind: Kind, name: &'a [u8]) -> Self {
        let (siblings, contributions) = (Vec::new(), Vec::new());
        Self { kind, name, siblings, contributions, silent: Vec::new(), assertions: Vec::new(), patched: None }
    }

    fn decode(reader: &mut Reader<'a>, base: Stamp) -> Result<Self, DecodeError> {
        let kind = Kind::from_number(reader.byte("a kind")?).ok_or(DecodeError::Invalid("a kind"))?;
        let name = reader.slice("a name")?;
        if !kind.has_name(name) {
            return Err(DecodeError::Invalid("a name"));
        }
        let mut siblings = Vec::new();
        for _ in 0..reader.count("siblings")? {
            let dot = reader.stamp(base, "a dot")?;
            if !kind.names_by(name, dot) {
                return Err(DecodeError::Invalid("a name"));
            }
            let has_value = reader.byte("a dot")? != 0;
            let value = if has_value { Some(reader.slice("a value")?) } else { None };
            if value.is_some_and(|value| !kind.has_value(name, value)) {
                return Err(DecodeError::Invalid("a value"));
            }
            siblings.push((dot, value));
        }
        let mut contributions = Vec::new();
        for _ in 0..reader.count("contributions")? {
            let Reset { node, birth, stamp, cumulative } = decode_reset(reader, base)?;
            let base_stamp = reader.stamp(base, "a base")?;
            let base = Number::decode(reader)?;
            contributions.push(Contribution { node, birth, stamp, cumulative, base_stamp, base, asserts: true });
        }
        Ok(Self { kind, name, siblings, contributions, silent: Vec::new(), assertions: Vec::new(), patched: None })
    }

    fn decode_life(&mut self, reader: &mut Reader<'_>, base: Stamp) -> Result<(), DecodeError> {
        if self.kind != Kind::Hash {
            return Err(DecodeError::Invalid("the life of an element"));
        }
        for _ in 0..reader.count("a life")? {
            let dot = reader.stamp(base, "a life")?;
            self.contributions.iter_mut().for_each(|c| c.asserts &= c.birth != dot);
            self.silent.push(dot);
        }
        for _ in 0..reader.count("a life")? {
            let dot = reader.stamp(base, "a life")?;
            self.assertions.push((dot, Lifetime::from_word(reader.varint("a life")?)));
        }
        Ok(())
    }
}
