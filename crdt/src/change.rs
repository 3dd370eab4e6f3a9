//! The one shape of change, and how it is written down.
//!
//! Every write of every type says: *in key K (and element E) drop these observed dots, add this dot with this
//! payload*. A [`Change`] carries one stamp, one key and one or more [`Operation`]s. A dot is (stamp, database, key,
//! element): the stamp is the change's, so an operation names only the dots that it drops. Besides those it drops
//! every older dot of its own author on the same element, which therefore need not be listed.

use crate::encoding::{DecodeError, Reader, put_slice, put_stamp, put_varint, put_vector};
use crate::number::Number;
use crate::position::Position;
use crate::stream::StreamName;
use crate::{NodeNumber, Stamp, UnixMillis, VersionVector};
use alloc::vec::Vec;
use smallvec::SmallVec;

/// The type of a value, as `TYPE` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A string or counter.
    String = 1,
    /// A hash of fields.
    Hash = 2,
    /// A set of members.
    Set = 3,
    /// A set of members in the order of their scores.
    SortedSet = 4,
    /// A list of elements, each named by its position.
    List = 5,
    /// A stream of entries, each named by its id, and what belongs to it.
    Stream = 6,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 6] = [Kind::String, Kind::Hash, Kind::Set, Kind::SortedSet, Kind::List, Kind::Stream];

    /// What `TYPE` answers.
    pub const fn redis_name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Hash => "hash",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::List => "list",
            Kind::Stream => "stream",
        }
    }

    /// The kind with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Kind::String),
            2 => Some(Kind::Hash),
            3 => Some(Kind::Set),
            4 => Some(Kind::SortedSet),
            5 => Some(Kind::List),
            6 => Some(Kind::Stream),
            _ => None,
        }
    }

    /// Whether an element can have this name: those of a list are named by their positions, those of a stream by their ids.
    pub fn has_name(self, name: &[u8]) -> bool {
        match self {
            Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet => true,
            Kind::List => Position::of_name(name).is_some(),
            Kind::Stream => StreamName::of(name).is_some(),
        }
    }

    /// Whether a range of elements can end at this name: those of a list are in the order of their positions, the entries of
    /// a stream in that of their ids.
    pub fn is_bound(self, name: &[u8]) -> bool {
        match self {
            Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet => false,
            Kind::List => Position::of_name(name).is_some(),
            Kind::Stream => matches!(StreamName::of(name), Some(StreamName::Entry(_))),
        }
    }

    /// Whether a write with this stamp can have put an element of this name: a position of a list is made by its first write,
    /// of steps that its author had seen.
    pub fn names_by(self, name: &[u8], stamp: Stamp) -> bool {
        match self {
            Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream => true,
            Kind::List => {
                Position::of_name(name).is_some_and(|position| position.steps().iter().all(|step| step.stamp <= stamp))
            }
        }
    }

    /// Whether the element with this name can hold this value.
    pub fn has_value(self, name: &[u8], value: &[u8]) -> bool {
        match self {
            Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::List => true,
            Kind::Stream => StreamName::of(name).is_some_and(|name| name.has_value(value)),
        }
    }
}

/// Which elements of a collection in order: those from one of its ends to a name, that one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reach {
    /// From the first one up to the name.
    UpTo = 0,
    /// From the name to the last one.
    From = 1,
}

/// How long a key lives. The order is the merge: the longest life wins, and none is longer than [`Lifetime::Never`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// Until this moment, in milliseconds since the Unix epoch; at that millisecond the key is gone.
    Until(UnixMillis),
    /// It never expires.
    Never,
}

impl Lifetime {
    /// Whether the life is over at `now`.
    pub const fn is_over(self, now: UnixMillis) -> bool {
        match self {
            Lifetime::Until(deadline) => deadline <= now,
            Lifetime::Never => false,
        }
    }

    /// The deadline as a word: 0 for never.
    pub const fn to_word(self) -> u64 {
        match self {
            Lifetime::Until(deadline) => {
                if deadline == 0 {
                    1
                } else {
                    deadline
                }
            }
            Lifetime::Never => 0,
        }
    }

    /// The life that [`Lifetime::to_word`] wrote.
    pub const fn from_word(word: u64) -> Self {
        if word == 0 { Lifetime::Never } else { Lifetime::Until(word) }
    }
}

/// A few stamps: nearly always none or one.
pub type Stamps = SmallVec<[Stamp; 2]>;
/// A few counter resets: nearly always none or one.
pub type Resets = SmallVec<[Reset; 1]>;

/// One node's contribution to a counter, as a reset observed it: everything up to `cumulative` stops counting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reset {
    /// Whose contribution.
    pub node: NodeNumber,
    /// The first increment of the contribution's life.
    pub birth: Stamp,
    /// The last increment that was observed.
    pub stamp: Stamp,
    /// The sum of all increments up to that one.
    pub cumulative: Number,
}

/// One thing that a change does to its key. `name` is the element's (empty for the string itself), `drops` are the
/// observed dots of other authors, `resets` the observed contributions of everybody.
#[expect(missing_docs, reason = "the fields mean the same in every variant and are explained once above")]
#[derive(Clone, Debug, PartialEq)]
pub enum Operation<'a> {
    /// Sets an element: the string itself (`name` empty), a hash field, a set member (`value` empty), a member with its
    /// score, an element of a list (`name` its position).
    Put { kind: Kind, name: &'a [u8], drops: Stamps, resets: Resets, value: &'a [u8] },
    /// Removes what was observed of an element.
    Remove { kind: Kind, name: &'a [u8], drops: Stamps, resets: Resets },
    /// Moves the author's contribution to a counter to a new sum. `asserts` says whether the contribution's birth asserts
    /// that its field has no end: it does unless that was dropped, or the field was there before.
    Add { kind: Kind, name: &'a [u8], birth: Stamp, cumulative: Number, asserts: bool },
    /// Removes everything that was observed of one kind of the key: all dots that `covered` covers, those listed
    /// beyond it, and the listed counter contributions.
    Clear { kind: Kind, covered: VersionVector, beyond: Vec<(&'a [u8], Stamp)>, resets: Vec<(&'a [u8], Reset)> },
    /// Removes what was observed of one end of a collection that is in the order of its names, up to `bound` or from there
    /// on: all dots that `covered` covers. No element there had contributions or dots beyond.
    ClearRange { kind: Kind, reach: Reach, bound: &'a [u8], covered: VersionVector },
    /// Drops assertions about the key's life, and makes a new one if `assertion` is there.
    Live { drops: Stamps, assertion: Option<Lifetime> },
    /// Drops assertions about the life of a field of a hash, those of its content too, and makes a new one.
    LiveField { name: &'a [u8], drops: Stamps, lifetime: Lifetime },
    /// Writes a part of the string, over whatever stands there; see [`crate::patch`].
    Patch { patch: &'a [u8] },
    /// Drops every write of the string up to `last`: the author had folded them. What removes the others follows.
    RemoveFolded { last: Stamp },
    /// Removes every dot in the change's database (or in all, `every`) that `covered` covers. What lies beyond, and
    /// counters, follow as `Clear`s of their keys in the same group. The change's key is empty.
    ClearDatabase { every: bool, covered: VersionVector },
}

/// A change without its operations, which stay encoded until they are applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// Clock, author and identity.
    pub stamp: Stamp,
    /// Whether the next change of the batch belongs to the same group: readers see both or neither.
    pub tied: bool,
    /// Database 0 to 15, or 16 for what the node keeps for its own use.
    pub database: u8,
    /// The key.
    pub key: &'a [u8],
    /// The operations, to be read with [`Operations`].
    pub operations: &'a [u8],
}

/// What nearly all changes of strings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainChange<'a> {
    /// A plain `SET` of this value.
    Set(&'a [u8]),
    /// The author's contribution to the counter that the string is has this whole sum now.
    Increment {
        /// The first increment of the contribution's life.
        birth: Stamp,
        /// The sum of all of them.
        cumulative: i64,
    },
}

impl<'a> Change<'a> {
    /// What the change does, if it is a plain `SET` or a plain increment of a string and nothing else. Nothing for bytes that
    /// are not what the format says.
    #[inline]
    pub fn plain(&self) -> Option<PlainChange<'a>> {
        let mut reader = Reader::new(self.operations);
        let plain = match reader.byte("a tag").ok()? {
            SET_PLAIN => PlainChange::Set(reader.slice("a value").ok()?),
            ADD if reader.byte("a kind") == Ok(Kind::String as u8) => {
                let birth = reader.stamp(self.stamp, "a birth").ok()?;
                let cumulative = Number::decode_whole(&mut reader)?;
                is_birth(birth, self.stamp).then_some(PlainChange::Increment { birth, cumulative })?
            }
            _ => return None,
        };
        reader.is_empty().then_some(plain)
    }
}

/// The longest key or element name that a change may carry: Redis' own limit for a bulk string, 512 MiB.
pub const NAME_BYTES_MAX: usize = 512 << 20;

pub(crate) const PUT: u8 = 1;
pub(crate) const REMOVE: u8 = 2;
const ADD: u8 = 3;
const CLEAR: u8 = 4;
pub(crate) const LIVE: u8 = 5;
const CLEAR_DATABASE: u8 = 6;
/// `Put` of the string itself with nothing to drop, followed by `Live` without an end and without drops: a plain SET.
pub(crate) const SET_PLAIN: u8 = 7;
const LIVE_FIELD: u8 = 8;
const PATCH: u8 = 12;
const REMOVE_FOLDED: u8 = 13;
const CLEAR_RANGE: u8 = 14;
/// Bits of a tag above the operation: whether drops and resets follow.
const HAS_DROPS: u8 = 0x80;
const HAS_RESETS: u8 = 0x40;
/// Of an `Add`: the birth of the contribution does not assert that its field has no end.
const IS_SILENT: u8 = 0x20;
pub(crate) const TAG_MASK: u8 = 0x0f;

/// The highest number of a database: clients see those below, the node keeps its own things in this one.
const DATABASE_MAX: u8 = 16;

/// Starts the body of a change: the database and the key. Operations are appended behind it.
pub fn encode_subject(out: &mut Vec<u8>, database: u8, key: &[u8]) {
    out.push(database);
    put_slice(out, key);
}

/// Appends a plain `SET`: a put of the string that drops nothing foreign, and the assertion that it never expires.
#[inline]
pub fn encode_plain_set(out: &mut Vec<u8>, value: &[u8]) {
    out.push(SET_PLAIN);
    put_slice(out, value);
}

/// Appends an [`Operation::Add`] of a whole number to the string itself, of a change stamped `stamp`.
#[inline]
pub fn encode_increment(out: &mut Vec<u8>, stamp: Stamp, birth: Stamp, cumulative: i64) {
    out.extend_from_slice(&[ADD, Kind::String as u8]);
    put_stamp(out, stamp, birth);
    Number::encode_whole(cumulative, out);
}

/// Appends one operation of a change stamped `stamp`.
pub fn encode_operation(out: &mut Vec<u8>, stamp: Stamp, operation: &Operation<'_>) {
    match operation {
        Operation::Put { kind, name, drops, resets, value } => {
            encode_element(out, PUT, *kind, name, drops, resets, stamp);
            put_slice(out, value);
        }
        Operation::Remove { kind, name, drops, resets } => {
            encode_element(out, REMOVE, *kind, name, drops, resets, stamp);
        }
        Operation::Add { kind, name, birth, cumulative, asserts } => {
            let silent = if *asserts { 0 } else { IS_SILENT };
            encode_element(out, ADD | silent, *kind, name, &[], &[], stamp);
            put_stamp(out, stamp, *birth);
            cumulative.encode(out);
        }
        Operation::Clear { kind, covered, beyond, resets } => {
            out.push(CLEAR);
            out.push(*kind as u8);
            put_vector(out, stamp, covered);
            put_varint(out, beyond.len() as u64);
            for (name, dot) in beyond {
                put_slice(out, name);
                put_stamp(out, stamp, *dot);
            }
            put_varint(out, resets.len() as u64);
            for (name, reset) in resets {
                put_slice(out, name);
                encode_reset(out, stamp, reset);
            }
        }
        Operation::ClearRange { kind, reach, bound, covered } => {
            out.extend_from_slice(&[CLEAR_RANGE, *kind as u8, *reach as u8]);
            put_slice(out, bound);
            put_vector(out, stamp, covered);
        }
        Operation::Live { drops, assertion } => {
            out.push(LIVE | if drops.is_empty() { 0 } else { HAS_DROPS });
            encode_stamps(out, stamp, drops);
            match assertion {
                None => put_varint(out, 0),
                Some(lifetime) => put_varint(out, lifetime.to_word().wrapping_add(1)),
            }
        }
        Operation::LiveField { name, drops, lifetime } => {
            out.push(LIVE_FIELD | if drops.is_empty() { 0 } else { HAS_DROPS });
            put_slice(out, name);
            encode_stamps(out, stamp, drops);
            put_varint(out, lifetime.to_word());
        }
        Operation::Patch { patch } => {
            out.push(PATCH);
            put_slice(out, patch);
        }
        Operation::RemoveFolded { last } => {
            out.push(REMOVE_FOLDED);
            put_stamp(out, stamp, *last);
        }
        Operation::ClearDatabase { every, covered } => {
            out.push(CLEAR_DATABASE);
            out.push(u8::from(*every));
            put_vector(out, stamp, covered);
        }
    }
}

fn encode_element(
    out: &mut Vec<u8>,
    tag: u8,
    kind: Kind,
    name: &[u8],
    drops: &[Stamp],
    resets: &[Reset],
    stamp: Stamp,
) {
    let drops_bit = if drops.is_empty() { 0 } else { HAS_DROPS };
    let resets_bit = if resets.is_empty() { 0 } else { HAS_RESETS };
    out.push(tag | drops_bit | resets_bit);
    out.push(kind as u8);
    if kind != Kind::String {
        put_slice(out, name);
    }
    encode_stamps(out, stamp, drops);
    if !resets.is_empty() {
        put_varint(out, resets.len() as u64);
        resets.iter().for_each(|reset| encode_reset(out, stamp, reset));
    }
}

fn encode_stamps(out: &mut Vec<u8>, base: Stamp, stamps: &[Stamp]) {
    if !stamps.is_empty() {
        put_varint(out, stamps.len() as u64);
        stamps.iter().for_each(|&dot| put_stamp(out, base, dot));
    }
}

/// Appends a reset, its stamps relative to `base`.
pub fn encode_reset(out: &mut Vec<u8>, base: Stamp, reset: &Reset) {
    put_varint(out, u64::from(reset.node.value()));
    put_stamp(out, base, reset.birth);
    put_stamp(out, base, reset.stamp);
    reset.cumulative.encode(out);
}

/// Reads what [`encode_reset`] wrote. Its stamps are of its node, and the birth is not behind the other.
pub fn decode_reset(reader: &mut Reader<'_>, base: Stamp) -> Result<Reset, DecodeError> {
    let node = u16::try_from(reader.varint("a reset")?).ok().and_then(NodeNumber::new);
    let node = node.ok_or(DecodeError::Invalid("a reset"))?;
    let (birth, stamp) = (reader.stamp(base, "a reset")?, reader.stamp(base, "a reset")?);
    if node != stamp.author() || !is_birth(birth, stamp) {
        return Err(DecodeError::Invalid("a reset"));
    }
    Ok(Reset { node, birth, stamp, cumulative: Number::decode(reader)? })
}

/// Whether `birth` can be the first increment of a contribution whose last is `stamp`. What a packed counter keeps of a
/// contribution is no more than these two.
fn is_birth(birth: Stamp, stamp: Stamp) -> bool {
    birth.author() == stamp.author() && birth <= stamp
}

/// The operations of a change, one after the other.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    reader: Reader<'a>,
    stamp: Stamp,
    /// A plain `SET` is two operations in one tag: this is the second.
    pending_life: bool,
}

impl<'a> Operations<'a> {
    /// The operations of `change`.
    pub fn of(change: &Change<'a>) -> Self {
        Self { reader: Reader::new(change.operations), stamp: change.stamp, pending_life: false }
    }

    /// Bytes of operations that have not been read yet.
    pub const fn bytes_left(&self) -> usize {
        self.reader.rest().len()
    }

    fn read(&mut self) -> Result<Operation<'a>, DecodeError> {
        let tag = self.reader.byte("an operation")?;
        match tag & TAG_MASK {
            PUT => {
                let (kind, name, drops, resets) = self.element(tag)?;
                let value = self.reader.slice("a value")?;
                if !kind.names_by(name, self.stamp) {
                    return Err(DecodeError::Invalid("an element's name"));
                }
                if !kind.has_value(name, value) {
                    return Err(DecodeError::Invalid("a value"));
                }
                Ok(Operation::Put { kind, name, drops, resets, value })
            }
            REMOVE => {
                let (kind, name, drops, resets) = self.element(tag)?;
                Ok(Operation::Remove { kind, name, drops, resets })
            }
            ADD => {
                let (kind, name, _, _) = self.element(tag)?;
                let asserts = tag & IS_SILENT == 0;
                if !asserts && kind != Kind::Hash {
                    return Err(DecodeError::Invalid("an operation's tag"));
                }
                let birth = self.reader.stamp(self.stamp, "a birth")?;
                if !is_birth(birth, self.stamp) {
                    return Err(DecodeError::Invalid("a birth"));
                }
                Ok(Operation::Add { kind, name, birth, cumulative: Number::decode(&mut self.reader)?, asserts })
            }
            CLEAR => self.clear(),
            CLEAR_RANGE => self.clear_range(),
            LIVE => {
                let drops = self.stamps(tag)?;
                let word = self.reader.varint("a lifetime")?;
                let assertion = word.checked_sub(1).map(Lifetime::from_word);
                Ok(Operation::Live { drops, assertion })
            }
            LIVE_FIELD => {
                let name = self.name(Kind::Hash)?;
                let drops = self.stamps(tag)?;
                let lifetime = Lifetime::from_word(self.reader.varint("a lifetime")?);
                Ok(Operation::LiveField { name, drops, lifetime })
            }
            CLEAR_DATABASE => {
                let every = self.reader.byte("a clear")? != 0;
                Ok(Operation::ClearDatabase { every, covered: self.reader.vector(self.stamp, "a clear")? })
            }
            PATCH => {
                let patch = self.reader.slice("a patch")?;
                crate::patch::check(patch)?;
                Ok(Operation::Patch { patch })
            }
            REMOVE_FOLDED => Ok(Operation::RemoveFolded { last: self.reader.stamp(self.stamp, "folded writes")? }),
            SET_PLAIN => {
                self.pending_life = true;
                Ok(Operation::Put {
                    kind: Kind::String,
                    name: &[],
                    drops: Stamps::new(),
                    resets: Resets::new(),
                    value: self.reader.slice("a value")?,
                })
            }
            _ => Err(DecodeError::Invalid("an operation's tag")),
        }
    }

    fn element(&mut self, tag: u8) -> Result<(Kind, &'a [u8], Stamps, Resets), DecodeError> {
        let kind = self.kind()?;
        let name = if kind == Kind::String { &[] } else { self.name(kind)? };
        let drops = self.stamps(tag)?;
        let mut resets = Resets::new();
        if tag & HAS_RESETS != 0 {
            for _ in 0..self.reader.count("resets")? {
                resets.push(decode_reset(&mut self.reader, self.stamp)?);
            }
        }
        Ok((kind, name, drops, resets))
    }

    fn name(&mut self, kind: Kind) -> Result<&'a [u8], DecodeError> {
        let name = self.reader.slice("an element's name")?;
        if kind.has_name(name) { Ok(name) } else { Err(DecodeError::Invalid("an element's name")) }
    }

    fn kind(&mut self) -> Result<Kind, DecodeError> {
        Kind::from_number(self.reader.byte("a kind")?).ok_or(DecodeError::Invalid("a kind"))
    }

    fn stamps(&mut self, tag: u8) -> Result<Stamps, DecodeError> {
        let mut stamps = Stamps::new();
        if tag & HAS_DROPS != 0 {
            for _ in 0..self.reader.count("drops")? {
                stamps.push(self.reader.stamp(self.stamp, "a dropped dot")?);
            }
        }
        Ok(stamps)
    }

    fn clear_range(&mut self) -> Result<Operation<'a>, DecodeError> {
        let kind = self.kind()?;
        let reach = match self.reader.byte("a range")? {
            0 => Reach::UpTo,
            1 => Reach::From,
            _ => return Err(DecodeError::Invalid("a range")),
        };
        let bound = self.reader.slice("a range")?;
        if !kind.is_bound(bound) {
            return Err(DecodeError::Invalid("a range"));
        }
        Ok(Operation::ClearRange { kind, reach, bound, covered: self.reader.vector(self.stamp, "a range")? })
    }

    fn clear(&mut self) -> Result<Operation<'a>, DecodeError> {
        let kind = self.kind()?;
        let covered = self.reader.vector(self.stamp, "a clear")?;
        let mut beyond = Vec::new();
        for _ in 0..self.reader.count("a clear")? {
            beyond.push((self.name(kind)?, self.reader.stamp(self.stamp, "a clear")?));
        }
        let mut resets = Vec::new();
        for _ in 0..self.reader.count("a clear")? {
            resets.push((self.name(kind)?, decode_reset(&mut self.reader, self.stamp)?));
        }
        Ok(Operation::Clear { kind, covered, beyond, resets })
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if core::mem::take(&mut self.pending_life) {
            return Some(Ok(Operation::Live { drops: Stamps::new(), assertion: Some(Lifetime::Never) }));
        }
        if self.reader.is_empty() {
            return None;
        }
        let operation = self.read();
        if operation.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(operation)
    }
}

/// Appends a change to a batch: the distance of its stamp from `previous`, its length, its body. `body` is what
/// [`encode_subject`] and [`encode_operation`] wrote; it does not depend on its neighbours.
pub fn encode_change(out: &mut Vec<u8>, previous: Stamp, stamp: Stamp, tied: bool, body: &[u8]) {
    let distance = (stamp.bits() >> 10).wrapping_sub(previous.bits() >> 10);
    put_varint(out, distance << 1 | u64::from(tied));
    put_slice(out, body);
}

/// The changes of a batch in the order of their stamps. Changes of one command have one stamp.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    reader: Reader<'a>,
    previous: Stamp,
    origin: NodeNumber,
}

impl<'a> Changes<'a> {
    /// The changes in a batch's `payload`; `previous` is the last stamp of the batch before.
    pub fn new(payload: &'a [u8], origin: NodeNumber, previous: Stamp) -> Self {
        Self { reader: Reader::new(payload), previous, origin }
    }

    #[inline]
    fn read(&mut self) -> Result<Change<'a>, DecodeError> {
        let head = self.reader.varint("a change's stamp")?;
        let clock = (self.previous.bits() >> 10).checked_add(head >> 1);
        let clock = clock.filter(|c| *c < 1 << 54).ok_or(DecodeError::Invalid("a change's stamp"))?;
        let stamp = Stamp::from_bits(clock << 10 | u64::from(self.origin.value()));
        let mut body = Reader::new(self.reader.slice("a change's body")?);
        let database = body.byte("a database")?;
        if database > DATABASE_MAX {
            return Err(DecodeError::Invalid("a database"));
        }
        let key = body.slice("a key")?;
        self.previous = stamp;
        Ok(Change { stamp, tied: head & 1 == 1, database, key, operations: body.rest() })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let change = self.read();
        if change.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests;
