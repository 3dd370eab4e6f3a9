//! From bytes to values: lengths, strings, and every encoding of every type.

mod module;
mod passing;
pub(crate) mod stream;

use crate::error::RdbError;
use crate::limits::{FILE_EXPANDED_BYTES_MAX, RESERVED_BYTES_MAX, TEXT_BYTES_MAX, USUAL_EXPANSION};
use crate::listpack::{Listpack, Packed};
use crate::lzf;
use crate::object::{Hash, Kind, Object, SortedSet, Texts};
use crate::score::score;
use crate::source::Source;
use crate::ziplist::{Ziplist, read_intset, read_zipmap};
use std::io::Write as _;

pub(crate) use module::{pass_key_metadata, pass_module_auxiliary};

/// The numbers of types. Beyond 21 Redis and Valkey went different ways.
pub(crate) mod types {
    pub(crate) const STRING: u8 = 0;
    pub(crate) const LIST: u8 = 1;
    pub(crate) const SET: u8 = 2;
    pub(crate) const SORTED_SET: u8 = 3;
    pub(crate) const HASH: u8 = 4;
    pub(crate) const SORTED_SET_2: u8 = 5;
    pub(crate) const MODULE_EARLY: u8 = 6;
    pub(crate) const MODULE: u8 = 7;
    pub(crate) const HASH_ZIPMAP: u8 = 9;
    pub(crate) const LIST_ZIPLIST: u8 = 10;
    pub(crate) const SET_INTSET: u8 = 11;
    pub(crate) const SORTED_SET_ZIPLIST: u8 = 12;
    pub(crate) const HASH_ZIPLIST: u8 = 13;
    pub(crate) const LIST_QUICKLIST: u8 = 14;
    pub(crate) const STREAM: u8 = 15;
    pub(crate) const HASH_LISTPACK: u8 = 16;
    pub(crate) const SORTED_SET_LISTPACK: u8 = 17;
    pub(crate) const LIST_QUICKLIST_2: u8 = 18;
    pub(crate) const STREAM_2: u8 = 19;
    pub(crate) const SET_LISTPACK: u8 = 20;
    pub(crate) const STREAM_3: u8 = 21;
    pub(crate) const HASH_DEADLINES_EARLY: u8 = 22;
    pub(crate) const HASH_LISTPACK_DEADLINES_EARLY: u8 = 23;
    pub(crate) const HASH_DEADLINES: u8 = 24;
    pub(crate) const HASH_LISTPACK_DEADLINES: u8 = 25;
    pub(crate) const STREAM_4: u8 = 26;
    /// In files of Valkey.
    pub(crate) const VALKEY_HASH_DEADLINES: u8 = 22;
}

/// A list's node that is one element, and not a listpack of several.
pub(crate) const NODE_PLAIN: u64 = 1;
/// A list's node that is a listpack.
pub(crate) const NODE_PACKED: u64 = 2;

/// Who has given numbers to types and opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Redis, and Valkey up to version 8.
    Redis,
    /// Valkey from version 9 on.
    Valkey,
}

impl Family {
    /// Of a version of the format, if it is known.
    pub(crate) fn of_version(version: u32) -> Result<Self, RdbError> {
        match version {
            1..=13 => Ok(Self::Redis),
            80..=81 => Ok(Self::Valkey),
            other => Err(RdbError::Version(other)),
        }
    }
}

/// Which kind of value a type stands for, before anything of the value is read.
pub(crate) fn kind_of(kind: u8, family: Family) -> Result<Kind, RdbError> {
    Ok(match (kind, family) {
        (types::STRING, _) => Kind::String,
        (types::LIST | types::LIST_ZIPLIST | types::LIST_QUICKLIST | types::LIST_QUICKLIST_2, _) => Kind::List,
        (types::SET | types::SET_INTSET | types::SET_LISTPACK, _) => Kind::Set,
        (types::SORTED_SET | types::SORTED_SET_2 | types::SORTED_SET_ZIPLIST | types::SORTED_SET_LISTPACK, _) => {
            Kind::SortedSet
        }
        (types::HASH | types::HASH_ZIPMAP | types::HASH_ZIPLIST | types::HASH_LISTPACK, _) => Kind::Hash,
        (types::HASH_DEADLINES_EARLY..=types::HASH_LISTPACK_DEADLINES, Family::Redis) => Kind::Hash,
        (types::VALKEY_HASH_DEADLINES, Family::Valkey) => Kind::Hash,
        (types::STREAM | types::STREAM_2 | types::STREAM_3, _) | (types::STREAM_4, Family::Redis) => Kind::Stream,
        (types::MODULE, _) => Kind::Module,
        (types::MODULE_EARLY, _) => {
            return Err(RdbError::Unsupported("a module's value of a pre-release of Redis 4.0"));
        }
        (unknown, _) => return Err(RdbError::Type(unknown)),
    })
}

/// A length, or a mark that something other than a plain string follows.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// Takes values apart, and keeps the memory it needs for that.
pub(crate) struct Decoder {
    /// A packed collection.
    block: Vec<u8>,
    /// A string before it is decompressed.
    compressed: Vec<u8>,
    /// Bytes that the compressed strings of a collection may stand for together, beyond what is usual.
    expanded_bytes_max: u64,
    /// Bytes that those of this value may still stand for.
    expandable: u64,
    pub(crate) family: Family,
}

impl Decoder {
    pub(crate) fn new(family: Family) -> Self {
        let expanded_bytes_max = FILE_EXPANDED_BYTES_MAX;
        Self { block: Vec::new(), compressed: Vec::new(), expanded_bytes_max, expandable: expanded_bytes_max, family }
    }

    /// One for which all compressed strings of a collection together stand for at most so many bytes beyond
    /// [`USUAL_EXPANSION`].
    pub(crate) fn expanding_to(self, bytes: u64) -> Self {
        Self { expanded_bytes_max: bytes, expandable: bytes, ..self }
    }

    /// Forgets what strings before this have stood for.
    pub(crate) fn renew(&mut self) {
        self.expandable = TEXT_BYTES_MAX;
    }

    /// Appends a string.
    pub(crate) fn text(&mut self, source: &mut impl Source, out: &mut Vec<u8>) -> Result<(), RdbError> {
        match read_length(source)? {
            Length::Plain(bytes) if bytes > TEXT_BYTES_MAX => Err(RdbError::TextTooLong(bytes)),
            Length::Plain(bytes) => {
                out.reserve(usize::try_from(bytes).unwrap_or(usize::MAX).min(RESERVED_BYTES_MAX));
                source.append(bytes, out)
            }
            Length::Encoded(0) => Ok(write!(out, "{}", i8::from_le_bytes(source.array()?))?),
            Length::Encoded(1) => Ok(write!(out, "{}", i16::from_le_bytes(source.array()?))?),
            Length::Encoded(2) => Ok(write!(out, "{}", i32::from_le_bytes(source.array()?))?),
            Length::Encoded(3) => {
                let (compressed, bytes) = (length(source)?, length(source)?);
                if let Some(bytes) = [compressed, bytes].into_iter().find(|bytes| *bytes > TEXT_BYTES_MAX) {
                    return Err(RdbError::TextTooLong(bytes));
                }
                let expandable = self.expandable.saturating_add(compressed * USUAL_EXPANSION);
                let too_much = RdbError::Corrupt("compressed strings stand for more than is allowed together");
                self.expandable = expandable.checked_sub(bytes).ok_or(too_much)?;
                self.compressed.clear();
                source.append(compressed, &mut self.compressed)?;
                lzf::decompress(&self.compressed, bytes, out)
            }
            Length::Encoded(_) => Err(RdbError::Corrupt("a string has an unknown encoding")),
        }
    }

    /// Passes over a string that nobody wants; compressed ones stay so.
    pub(crate) fn pass_text(&mut self, source: &mut impl Source) -> Result<(), RdbError> {
        match read_length(source)? {
            Length::Plain(bytes) => source.skip(bytes),
            Length::Encoded(width @ 0..=2) => source.skip(1 << width),
            Length::Encoded(3) => {
                let compressed = length(source)?;
                length(source)?;
                source.skip(compressed)
            }
            Length::Encoded(_) => Err(RdbError::Corrupt("a string has an unknown encoding")),
        }
    }

    /// A string of its own.
    pub(crate) fn owned_text(&mut self, source: &mut impl Source) -> Result<Vec<u8>, RdbError> {
        let mut text = Vec::new();
        self.text(source, &mut text)?;
        Ok(text)
    }

    /// A value of a type into `object`, whose memory is used again where it fits.
    pub(crate) fn object(&mut self, source: &mut impl Source, kind: u8, object: &mut Object) -> Result<(), RdbError> {
        // One string is bounded as every string is.
        self.expandable = if kind == types::STRING { TEXT_BYTES_MAX } else { self.expanded_bytes_max };
        let before = std::mem::take(object);
        *object = match kind {
            types::STRING => {
                let mut text = if let Object::String(text) = before { text } else { Vec::new() };
                text.clear();
                self.text(source, &mut text)?;
                Object::String(text)
            }
            types::LIST | types::LIST_ZIPLIST | types::LIST_QUICKLIST | types::LIST_QUICKLIST_2 => {
                let mut texts = if let Object::List(texts) = before { texts } else { Texts::new() };
                texts.clear();
                self.list(source, kind, &mut texts)?;
                Object::List(texts)
            }
            types::SET | types::SET_INTSET | types::SET_LISTPACK => {
                let mut texts = if let Object::Set(texts) = before { texts } else { Texts::new() };
                texts.clear();
                self.set(source, kind, &mut texts)?;
                Object::Set(texts)
            }
            types::SORTED_SET | types::SORTED_SET_2 | types::SORTED_SET_ZIPLIST | types::SORTED_SET_LISTPACK => {
                let mut sorted = if let Object::SortedSet(sorted) = before { sorted } else { SortedSet::default() };
                sorted.members.clear();
                sorted.scores.clear();
                self.sorted_set(source, kind, &mut sorted)?;
                Object::SortedSet(sorted)
            }
            types::STREAM | types::STREAM_2 | types::STREAM_3 => self.stream(source, kind)?,
            types::STREAM_4 if self.family == Family::Redis => self.stream(source, kind)?,
            types::MODULE => Object::Module(self.pass_module(source)?),
            kind => {
                let mut hash = if let Object::Hash(hash) = before { hash } else { Hash::default() };
                hash.clear();
                self.hash(source, kind, &mut hash)?;
                Object::Hash(hash)
            }
        };
        Ok(())
    }

    /// A string that is a packed collection, in memory that `self` keeps.
    fn block(&mut self, source: &mut impl Source) -> Result<Vec<u8>, RdbError> {
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        match self.text(source, &mut block) {
            Ok(()) => Ok(block),
            Err(error) => {
                self.block = block;
                Err(error)
            }
        }
    }

    fn list(&mut self, source: &mut impl Source, kind: u8, texts: &mut Texts) -> Result<(), RdbError> {
        match kind {
            types::LIST => {
                for _ in 0..length(source)? {
                    texts.push_with(|out| self.text(source, out))?;
                }
            }
            types::LIST_ZIPLIST => self.packed(source, &mut |block| each_of_ziplist(block, &mut |p| push(texts, p)))?,
            types::LIST_QUICKLIST => {
                for _ in 0..length(source)? {
                    self.packed(source, &mut |block| each_of_ziplist(block, &mut |p| push(texts, p)))?;
                }
            }
            _ => {
                for _ in 0..length(source)? {
                    match length(source)? {
                        NODE_PLAIN => texts.push_with(|out| self.text(source, out))?,
                        NODE_PACKED => {
                            self.packed(source, &mut |block| each_of_listpack(block, &mut |p| push(texts, p)))?;
                        }
                        _ => return Err(RdbError::Corrupt("a list has a node of an unknown form")),
                    }
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, source: &mut impl Source, kind: u8, texts: &mut Texts) -> Result<(), RdbError> {
        match kind {
            types::SET => {
                for _ in 0..length(source)? {
                    texts.push_with(|out| self.text(source, out))?;
                }
                Ok(())
            }
            types::SET_INTSET => self.packed(source, &mut |block| {
                let mut outcome = Ok(());
                let mut each = |member| match push(texts, Packed::Integer(member)) {
                    Ok(()) => {}
                    Err(error) => outcome = Err(error),
                };
                read_intset(block, &mut each)?;
                outcome
            }),
            _ => self.packed(source, &mut |block| each_of_listpack(block, &mut |p| push(texts, p))),
        }
    }

    fn sorted_set(&mut self, source: &mut impl Source, kind: u8, sorted: &mut SortedSet) -> Result<(), RdbError> {
        match kind {
            types::SORTED_SET | types::SORTED_SET_2 => {
                for _ in 0..length(source)? {
                    sorted.members.push_with(|out| self.text(source, out))?;
                    let score = if kind == types::SORTED_SET_2 {
                        f64::from_le_bytes(source.array()?)
                    } else {
                        textual_score(source)?
                    };
                    if score.is_nan() {
                        return Err(RdbError::Corrupt("a score is no number"));
                    }
                    sorted.scores.push(score);
                }
                return Ok(());
            }
            types::SORTED_SET_ZIPLIST => {
                self.packed(source, &mut |block| each_of_ziplist(block, &mut |p| push_scored(sorted, p)))?;
            }
            _ => self.packed(source, &mut |block| each_of_listpack(block, &mut |p| push_scored(sorted, p)))?,
        }
        if sorted.members.len() == sorted.scores.len() {
            Ok(())
        } else {
            Err(RdbError::Corrupt("a member has no score"))
        }
    }

    fn hash(&mut self, source: &mut impl Source, kind: u8, hash: &mut Hash) -> Result<(), RdbError> {
        match (kind, self.family) {
            (types::HASH, _) => {
                for _ in 0..length(source)? {
                    hash.pairs_mut().push_with(|out| self.text(source, out))?;
                    hash.pairs_mut().push_with(|out| self.text(source, out))?;
                }
            }
            (types::HASH_ZIPMAP, _) => {
                self.packed(source, &mut |block| read_zipmap(block, |text| hash.pairs_mut().push(text)))?;
            }
            (types::HASH_ZIPLIST, _) => {
                self.packed(source, &mut |block| each_of_ziplist(block, &mut |p| push(hash.pairs_mut(), p)))?;
            }
            (types::HASH_LISTPACK, _) => {
                self.packed(source, &mut |block| each_of_listpack(block, &mut |p| push(hash.pairs_mut(), p)))?;
            }
            (types::HASH_DEADLINES | types::HASH_DEADLINES_EARLY, Family::Redis) => {
                // Deadlines count from the earliest, so that they are short; 0 is none.
                let earliest = if kind == types::HASH_DEADLINES {
                    u64::from_le_bytes(source.array()?).saturating_sub(1)
                } else {
                    0
                };
                for _ in 0..length(source)? {
                    let deadline = length(source)?;
                    hash.pairs_mut().push_with(|out| self.text(source, out))?;
                    hash.pairs_mut().push_with(|out| self.text(source, out))?;
                    hash.note_deadline(if deadline == 0 { 0 } else { deadline.saturating_add(earliest) });
                }
            }
            (types::HASH_LISTPACK_DEADLINES | types::HASH_LISTPACK_DEADLINES_EARLY, Family::Redis) => {
                if kind == types::HASH_LISTPACK_DEADLINES {
                    source.skip(8)?;
                }
                self.packed(source, &mut |block| read_triples(block, hash))?;
            }
            (types::VALKEY_HASH_DEADLINES, Family::Valkey) => {
                for _ in 0..length(source)? {
                    hash.pairs_mut().push_with(|out| self.text(source, out))?;
                    hash.pairs_mut().push_with(|out| self.text(source, out))?;
                    // -1 is none.
                    hash.note_deadline(u64::try_from(i64::from_le_bytes(source.array()?)).unwrap_or(0));
                }
            }
            (other, _) => return Err(RdbError::Type(other)),
        }
        if hash.pairs_mut().len().is_multiple_of(2) { Ok(()) } else { Err(RdbError::Corrupt("a field has no value")) }
    }

    fn packed(
        &mut self,
        source: &mut impl Source,
        read: &mut dyn FnMut(&[u8]) -> Result<(), RdbError>,
    ) -> Result<(), RdbError> {
        let block = self.block(source)?;
        let outcome = read(&block);
        self.block = block;
        outcome
    }
}

fn each_of_listpack(block: &[u8], each: &mut dyn FnMut(Packed<'_>) -> Result<(), RdbError>) -> Result<(), RdbError> {
    let mut pack = Listpack::new(block)?;
    while let Some(packed) = pack.next()? {
        each(packed)?;
    }
    Ok(())
}

fn each_of_ziplist(block: &[u8], each: &mut dyn FnMut(Packed<'_>) -> Result<(), RdbError>) -> Result<(), RdbError> {
    let mut list = Ziplist::new(block)?;
    while let Some(packed) = list.next()? {
        each(packed)?;
    }
    Ok(())
}

fn push(texts: &mut Texts, packed: Packed<'_>) -> Result<(), RdbError> {
    texts.push_with(|out| packed.write_to(out))
}

/// Members and scores come in turn.
fn push_scored(sorted: &mut SortedSet, packed: Packed<'_>) -> Result<(), RdbError> {
    if sorted.members.len() == sorted.scores.len() {
        return push(&mut sorted.members, packed);
    }
    sorted.scores.push(packed.score()?);
    Ok(())
}

/// Fields, values and deadlines in turn.
fn read_triples(block: &[u8], hash: &mut Hash) -> Result<(), RdbError> {
    let mut pack = Listpack::new(block)?;
    while let Some(field) = pack.next()? {
        push(hash.pairs_mut(), field)?;
        push(hash.pairs_mut(), pack.expect()?)?;
        hash.note_deadline(u64::try_from(pack.expect()?.integer()?).unwrap_or(0));
    }
    Ok(())
}

/// The score of a sorted set before version 8: a text with its length in one byte.
fn textual_score(source: &mut impl Source) -> Result<f64, RdbError> {
    match source.byte()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        bytes => {
            let mut text = Vec::new();
            source.append(u64::from(bytes), &mut text)?;
            score(&text)
        }
    }
}

/// A plain length.
pub(crate) fn length(source: &mut impl Source) -> Result<u64, RdbError> {
    match read_length(source)? {
        Length::Plain(length) => Ok(length),
        Length::Encoded(_) => Err(RdbError::Corrupt("a text where a length belongs")),
    }
}

fn read_length(source: &mut impl Source) -> Result<Length, RdbError> {
    let first = source.byte()?;
    Ok(match first >> 6 {
        0 => Length::Plain(u64::from(first)),
        1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(source.byte()?)),
        2 => match first {
            0x80 => Length::Plain(u64::from(u32::from_be_bytes(source.array()?))),
            0x81 => Length::Plain(u64::from_be_bytes(source.array()?)),
            _ => return Err(RdbError::Corrupt("a length has an unknown form")),
        },
        _ => Length::Encoded(first & 0x3f),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_strings_share_what_they_may_stand_for() {
        // A list of two strings of 265 bytes, five bytes each when compressed.
        let text = [0xc3, 5, 0x41, 9, 0, b'x', 0xe0, 0xff, 0];
        let one = 265 - 5 * USUAL_EXPANSION;
        let list = [&[2][..], &text, &text].concat();
        for (bytes, is_read) in [(2 * one, true), (2 * one - 1, false)] {
            let mut decoder = Decoder::new(Family::Redis).expanding_to(bytes);
            let mut object = Object::default();
            // Each value has all of it.
            for _ in 0..2 {
                assert_eq!(decoder.object(&mut &list[..], types::LIST, &mut object).is_ok(), is_read, "{bytes}");
            }
        }
    }
}
