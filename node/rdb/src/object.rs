//! What a key can hold, in the form in which it is read and written.

use std::fmt;

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A string; counters are their decimal text.
    String(Vec<u8>),
    /// A list, first element first.
    List(Texts),
    /// A set, in no order.
    Set(Texts),
    /// A sorted set, in the order in which it was written.
    SortedSet(SortedSet),
    /// A hash, in no order.
    Hash(Hash),
    /// A stream.
    Stream(Box<Stream>),
    /// What a module has written. Only its end could be found; the text is the module's type, nine letters.
    Module(String),
}

/// Which kind of value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A string.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A module's own type.
    Module,
}

impl Kind {
    /// The name `TYPE` answers, and `module` for a module's own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Module => "module",
        }
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::String(Vec::new())
    }
}

impl Object {
    /// Which kind of value it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::List(_) => Kind::List,
            Self::Set(_) => Kind::Set,
            Self::SortedSet(_) => Kind::SortedSet,
            Self::Hash(_) => Kind::Hash,
            Self::Stream(_) => Kind::Stream,
            Self::Module(_) => Kind::Module,
        }
    }

    /// Whether it is a collection without elements, which no key can hold.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(texts) | Self::Set(texts) => texts.is_empty(),
            Self::SortedSet(sorted) => sorted.members.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::String(_) | Self::Stream(_) | Self::Module(_) => false,
        }
    }

    /// Puts what has no order into one, so that equal values are equal.
    pub fn normalize(&mut self) {
        match self {
            Self::Set(texts) => {
                let mut members: Vec<&[u8]> = texts.iter().collect();
                members.sort_unstable();
                *texts = members.into_iter().collect();
            }
            Self::SortedSet(sorted) => {
                let mut elements: Vec<(&[u8], f64)> =
                    sorted.members.iter().zip(sorted.scores.iter().copied()).collect();
                elements.sort_unstable_by(|one, other| one.0.cmp(other.0));
                let scores = elements.iter().map(|(_, score)| *score).collect();
                *sorted = SortedSet { members: elements.into_iter().map(|(member, _)| member).collect(), scores };
            }
            Self::Hash(hash) => {
                let mut fields: Vec<(&[u8], &[u8], u64)> = hash.iter().collect();
                fields.sort_unstable();
                let mut sorted = Hash::default();
                fields.into_iter().for_each(|(field, value, deadline)| sorted.push(field, value, deadline));
                *hash = sorted;
            }
            Self::String(_) | Self::List(_) | Self::Stream(_) | Self::Module(_) => {}
        }
    }
}

/// Byte strings in order, all in one piece of memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    /// Adds one at the end, written by `write`, which only appends.
    pub(crate) fn push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        write(&mut self.bytes)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one at this place.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.bytes.get(start..end)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// Bytes of all of them together.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets them and keeps their memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl<'t> FromIterator<&'t [u8]> for Texts {
    fn from_iter<I: IntoIterator<Item = &'t [u8]>>(texts: I) -> Self {
        let mut all = Self::new();
        texts.into_iter().for_each(|text| all.push(text));
        all
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|text| text.escape_ascii().to_string())).finish()
    }
}

/// The elements of a sorted set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SortedSet {
    /// The members.
    pub members: Texts,
    /// Their scores, in the same order; never NaN.
    pub scores: Vec<f64>,
}

/// The fields of a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// Fields and values in turn.
    pairs: Texts,
    /// Deadlines of the fields in Unix milliseconds, 0 for none; empty if no field has one.
    deadlines: Vec<u64>,
}

impl Hash {
    /// Adds a field. A deadline is in Unix milliseconds; 0 is none.
    pub fn push(&mut self, field: &[u8], value: &[u8], deadline: u64) {
        self.pairs.push(field);
        self.pairs.push(value);
        self.note_deadline(deadline);
    }

    /// Says the deadline of the field whose value was pushed last.
    pub(crate) fn note_deadline(&mut self, deadline: u64) {
        if deadline != 0 || !self.deadlines.is_empty() {
            self.deadlines.resize(self.len().saturating_sub(1), 0);
            self.deadlines.push(deadline);
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.pairs.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether any field has a deadline.
    pub fn has_deadlines(&self) -> bool {
        self.deadlines.iter().any(|deadline| *deadline != 0)
    }

    /// Fields, values, and deadlines in Unix milliseconds (0 for none).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], u64)> {
        (0..self.len()).map(|index| {
            let text = |at| self.pairs.get(at).unwrap_or_default();
            (text(index * 2), text(index * 2 + 1), self.deadlines.get(index).copied().unwrap_or(0))
        })
    }

    /// Fields and values in turn.
    pub(crate) fn pairs(&self) -> &Texts {
        &self.pairs
    }

    /// Fields and values in turn, as they are read.
    pub(crate) fn pairs_mut(&mut self) -> &mut Texts {
        &mut self.pairs
    }

    pub(crate) fn clear(&mut self) {
        self.pairs.clear();
        self.deadlines.clear();
    }
}

/// The id of an entry of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix milliseconds.
    pub milliseconds: u64,
    /// The number among those of the same millisecond.
    pub sequence: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.milliseconds, self.sequence)
    }
}

/// A stream with its groups.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The texts that entries refer to: names that many entries share stand here once.
    pub(crate) texts: Texts,
    /// Places of names and values in `texts`.
    pub(crate) pairs: Vec<(u32, u32)>,
    pub(crate) entries: Vec<(StreamId, u32)>,
    /// The last id that was given.
    pub last_id: StreamId,
    /// The largest id that was deleted.
    pub max_deleted_id: StreamId,
    /// Entries that were ever added; nothing if the version does not tell.
    pub entries_added: Option<u64>,
    /// The groups.
    pub groups: Vec<Group>,
}

/// An entry of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamEntry<'s> {
    /// Its id.
    pub id: StreamId,
    stream: &'s Stream,
    pairs: &'s [(u32, u32)],
}

impl Stream {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none; a stream without entries is a value all the same.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = StreamEntry<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |&(id, count)| {
            let end = start + count as usize;
            let pairs = self.pairs.get(start..end).unwrap_or_default();
            start = end;
            StreamEntry { id, stream: self, pairs }
        })
    }

    /// Bytes of all names and values, as often as entries have them.
    pub fn said_bytes(&self) -> u64 {
        let of_pair = |(name, value): (&[u8], &[u8])| (name.len() + value.len()) as u64;
        self.iter().flat_map(|entry| entry.iter()).map(of_pair).fold(0, u64::saturating_add)
    }

    /// Bytes of what is kept of them: names that entries share are here once.
    pub fn kept_bytes(&self) -> u64 {
        (self.texts.byte_count() + self.entries.len() * size_of::<StreamId>()) as u64
    }

    /// Adds an entry at the end. False if there is no place for so many texts.
    pub fn push(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) -> bool {
        let Ok(count) = u32::try_from(fields.len()) else { return false };
        for (name, value) in fields {
            let Ok(place) = u32::try_from(self.texts.len()) else { return false };
            self.texts.push(name);
            self.texts.push(value);
            self.pairs.push((place, place.saturating_add(1)));
        }
        self.entries.push((id, count));
        true
    }
}

/// Entries are equal by what they say; where their texts stand does not matter.
impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        let facts = |stream: &Self| (stream.last_id, stream.max_deleted_id, stream.entries_added, stream.len());
        facts(self) == facts(other)
            && self.groups == other.groups
            && self.iter().zip(other.iter()).all(|(one, other)| one.id == other.id && one.iter().eq(other.iter()))
    }
}

impl<'s> StreamEntry<'s> {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'s [u8], &'s [u8])> + use<'s> {
        let texts = &self.stream.texts;
        let text = |place: u32| texts.get(place as usize).unwrap_or_default();
        self.pairs.iter().map(move |&(name, value)| (text(name), text(value)))
    }
}

/// A group of consumers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// The last id that was delivered.
    pub last_id: StreamId,
    /// How many entries were read; nothing if that is not known.
    pub entries_read: Option<u64>,
    /// What was delivered and not acknowledged, in the order of ids.
    pub pending: Vec<PendingEntry>,
    /// The consumers.
    pub consumers: Vec<Consumer>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its id.
    pub id: StreamId,
    /// When it was delivered last, in Unix milliseconds.
    pub delivered_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A consumer of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Vec<u8>,
    /// When it last asked, in Unix milliseconds.
    pub seen_ms: u64,
    /// When it last got something, in Unix milliseconds; nothing if it never did or the version does not tell.
    pub active_ms: Option<u64>,
    /// The ids of what it has not acknowledged.
    pub pending: Vec<StreamId>,
}
