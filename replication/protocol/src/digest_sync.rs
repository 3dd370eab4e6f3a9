//! The standing proof: two nodes compare digests of slots that rest, all the time, and a mismatch is an alarm.
//!
//! A slot that has not changed here since vector U is that slot at every cut from U to now. Two nodes whose spans of a
//! slot meet (each one's U is covered by what the other has now), with no early dots in it, must hold the same. This
//! file says what is compared and what the comparison means. It keeps no state: who asks whom, and when, is the node's
//! affair, and so are the digests.
//!
//! The usual course: once a second or less a node sends its root. Equal roots end it. Else the peer answers with its 128
//! groups, the first node with the slots of one group that differs or was not comparable, and the peer with its own view
//! of these slots, so that both know.

use crate::wire::{Reader, write_integer, write_vector};
use crate::{FrameError, limits};
use crdt::{Stamp, VersionVector};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64;

/// Groups that the slots are folded into.
pub const AUDIT_GROUPS: u16 = 128;
/// Slots in one group.
pub const SLOTS_OF_A_GROUP: u16 = limits::SLOTS / AUDIT_GROUPS;
/// The first byte of every audit frame.
const FORMAT: u8 = 1;

/// What one digest of a frame stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AuditLevel {
    /// The whole keyspace. The number travels.
    Root = 0,
    /// 128 slots.
    Groups = 1,
    /// One slot.
    Slots = 2,
}

/// A run of digests of one level: `first..first + count`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AuditRange {
    level: AuditLevel,
    first: u16,
    count: u16,
}

/// One slot as its owner sees it.
#[derive(Clone, Copy, Debug)]
pub struct SlotState<'a> {
    /// The digest of its contents.
    pub digest: u64,
    /// The closed vector since which it is unchanged. None if it cannot be compared now: it has early dots, or changes
    /// that are not in a closed batch yet.
    pub since: Option<&'a VersionVector>,
}

/// What one node says about a run of digests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditFrame {
    /// What is described.
    pub range: AuditRange,
    /// Whether this answers the peer's frame about the same slots; an answer is not answered.
    pub answer: bool,
    now: VersionVector,
    /// The different vectors that the digests refer to.
    vectors: Vec<VersionVector>,
    digests: Vec<Option<SpanDigest>>,
}

/// A digest that can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SpanDigest {
    digest: u64,
    /// Place in the table of vectors.
    since: u16,
}

/// What a comparison found, as numbers of the range's level: group numbers or slot numbers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AuditOutcome {
    /// Both hold the same.
    pub equal: Vec<u16>,
    /// Both rest at a common cut and hold different things. For slots that is an alarm; above, a reason to look closer.
    pub differing: Vec<u16>,
    /// One of the two moved too lately.
    pub not_comparable: Vec<u16>,
}

impl AuditRange {
    /// The whole keyspace in one digest.
    pub const ROOT: AuditRange = AuditRange { level: AuditLevel::Root, first: 0, count: 1 };
    /// All groups.
    pub const GROUPS: AuditRange = AuditRange { level: AuditLevel::Groups, first: 0, count: AUDIT_GROUPS };
    /// Every single slot.
    pub const ALL_SLOTS: AuditRange = AuditRange { level: AuditLevel::Slots, first: 0, count: limits::SLOTS };

    /// The range, if it lies inside its level.
    pub fn new(level: AuditLevel, first: u16, count: u16) -> Option<Self> {
        let end = first.checked_add(count)?;
        (count > 0 && end <= level.size()).then_some(Self { level, first, count })
    }

    /// The slots of one group, if there is that group.
    pub fn slots_of_group(group: u16) -> Option<Self> {
        Self::new(AuditLevel::Slots, group.checked_mul(SLOTS_OF_A_GROUP)?, SLOTS_OF_A_GROUP)
    }

    /// What each digest stands for.
    pub fn level(self) -> AuditLevel {
        self.level
    }

    /// The slots it covers: all that have to be looked at to describe it.
    pub fn slots(self) -> std::ops::Range<u16> {
        let width = limits::SLOTS / self.level.size();
        self.first * width..(self.first + self.count) * width
    }
}

impl AuditLevel {
    /// How many digests the level has.
    pub const fn size(self) -> u16 {
        match self {
            AuditLevel::Root => 1,
            AuditLevel::Groups => AUDIT_GROUPS,
            AuditLevel::Slots => limits::SLOTS,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(AuditLevel::Root),
            1 => Ok(AuditLevel::Groups),
            2 => Ok(AuditLevel::Slots),
            _ => Err(FrameError::Unknown("audit level")),
        }
    }
}

impl AuditFrame {
    /// Describes `range`. `state` is asked once for each slot of [`AuditRange::slots`], in order; `now` is the closed
    /// vector, read *before* the first slot: a slot that changes meanwhile then says so by its own `since`.
    pub fn describe<'a>(
        range: AuditRange,
        answer: bool,
        now: VersionVector,
        mut state: impl FnMut(u16) -> SlotState<'a>,
    ) -> Self {
        let mut table = VectorTable::default();
        let slots = range.slots();
        let width = slots.len() / usize::from(range.count);
        let mut digests = Vec::with_capacity(usize::from(range.count));
        let mut slots = slots.peekable();
        while slots.peek().is_some() {
            let folded = fold(slots.by_ref().take(width).map(|slot| (slot, state(slot))), width == 1);
            // What is newer than `now` meets no span of anybody yet.
            let since = folded.as_ref().filter(|(_, since)| now.covers_all(since));
            digests.push(
                since.and_then(|(digest, since)| table.place(since).map(|since| SpanDigest { digest: *digest, since })),
            );
        }
        Self { range, answer, now, vectors: table.vectors, digests }
    }

    /// The frame as it travels.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, self.range.level as u8, u8::from(self.answer)];
        write_integer(&mut out, u64::from(self.range.first));
        write_integer(&mut out, u64::from(self.range.count));
        let base = self.now.latest();
        out.extend_from_slice(&base.bits().to_le_bytes());
        write_vector(&mut out, &self.now, base);
        write_integer(&mut out, self.vectors.len() as u64);
        self.vectors.iter().for_each(|vector| write_vector(&mut out, vector, base));
        for digest in &self.digests {
            match digest {
                None => out.push(0),
                Some(span) => {
                    write_integer(&mut out, u64::from(span.since) + 1);
                    out.extend_from_slice(&span.digest.to_le_bytes());
                }
            }
        }
        out
    }

    /// A frame from a peer.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORMAT {
            return Err(FrameError::Unknown("audit format"));
        }
        let level = AuditLevel::from_byte(reader.byte()?)?;
        let answer = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(FrameError::Unknown("audit flag")),
        };
        let first = reader.integer_to(u64::from(u16::MAX), "an audit range")? as u16;
        let count = reader.integer_to(limits::AUDIT_SLOTS_MAX as u64, "an audit range")? as u16;
        let range = AuditRange::new(level, first, count).ok_or(FrameError::OutOfRange("an audit range"))?;
        let base = Stamp::from_bits(reader.word()?);
        let now = reader.vector(base)?;
        let table = reader.integer_to(limits::AUDIT_VECTORS_MAX as u64, "a table of vectors")?;
        let vectors = (0..table).map(|_| reader.vector(base)).collect::<Result<Vec<_>, _>>()?;
        // Every digest takes at least a byte, so the count cannot claim more than there is.
        let mut digests = Vec::with_capacity(usize::from(count).min(reader.rest().len()));
        for _ in 0..count {
            digests.push(match reader.integer_to(table, "a place in the table of vectors")? {
                0 => None,
                place => Some(SpanDigest { digest: reader.word()?, since: (place - 1) as u16 }),
            });
        }
        reader.finish()?;
        Ok(Self { range, answer, now, vectors, digests })
    }
}

/// Compares two nodes' descriptions of one range.
pub fn compare(mine: &AuditFrame, theirs: &AuditFrame) -> Result<AuditOutcome, FrameError> {
    if mine.range != theirs.range {
        return Err(FrameError::OutOfTurn("a description of other slots"));
    }
    let met = |frame: &AuditFrame, now: &VersionVector| -> Vec<bool> {
        frame.vectors.iter().map(|since| now.covers_all(since)).collect()
    };
    let (mine_met, theirs_met) = (met(mine, &theirs.now), met(theirs, &mine.now));
    let mut outcome = AuditOutcome::default();
    for (place, pair) in mine.digests.iter().zip(&theirs.digests).enumerate() {
        let found =
            match pair {
                (Some(one), Some(other))
                    if mine_met[usize::from(one.since)] && theirs_met[usize::from(other.since)] =>
                {
                    if one.digest == other.digest { &mut outcome.equal } else { &mut outcome.differing }
                }
                (Some(_), Some(_)) | (None, _) | (_, None) => &mut outcome.not_comparable,
            };
        found.push(mine.range.first + place as u16);
    }
    Ok(outcome)
}

/// What to send a peer after comparing its frame: the range, and whether it is an answer. `rotation` picks among groups
/// that were not comparable, so that each has its turn; a group that differs goes first.
pub fn follow_up(theirs: &AuditFrame, outcome: &AuditOutcome, rotation: u64) -> Option<(AuditRange, bool)> {
    let unequal = !outcome.differing.is_empty() || !outcome.not_comparable.is_empty();
    match theirs.range.level {
        AuditLevel::Root => unequal.then_some((AuditRange::GROUPS, false)),
        AuditLevel::Groups => {
            let hot = &outcome.not_comparable;
            let turn = hot.get((rotation % hot.len().max(1) as u64) as usize);
            let group = outcome.differing.first().or(turn).copied()?;
            Some((AuditRange::slots_of_group(group)?, false))
        }
        AuditLevel::Slots => (!theirs.answer && !outcome.differing.is_empty()).then_some((theirs.range, true)),
    }
}

/// The different vectors of one frame. Only looked up, never walked, so the order of the map shows nowhere.
#[derive(Default)]
struct VectorTable {
    vectors: Vec<VersionVector>,
    places: HashMap<VersionVector, u16>,
}

impl VectorTable {
    /// The vector's place; none when the table is full.
    fn place(&mut self, vector: &VersionVector) -> Option<u16> {
        if let Some(&place) = self.places.get(vector) {
            return Some(place);
        }
        if self.vectors.len() == limits::AUDIT_VECTORS_MAX {
            return None;
        }
        let place = self.vectors.len() as u16;
        self.vectors.push(vector.clone());
        self.places.insert(vector.clone(), place);
        Some(place)
    }
}

/// One digest for several slots, resting since the last of them does; nothing if one of them cannot be compared. All are
/// asked, even then.
fn fold<'a>(slots: impl Iterator<Item = (u16, SlotState<'a>)>, single: bool) -> Option<(u64, VersionVector)> {
    let mut folded = 0;
    let mut since = VersionVector::new();
    let mut comparable = true;
    for (slot, state) in slots {
        folded ^= if single { state.digest } else { in_place(slot, state.digest) };
        match state.since {
            Some(vector) => {
                since.join(vector);
            }
            None => comparable = false,
        }
    }
    comparable.then_some((folded, since))
}

/// The digest of a slot at its place: two slots that changed places must not cancel each other out.
fn in_place(slot: u16, digest: u64) -> u64 {
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&slot.to_le_bytes());
    bytes[2..].copy_from_slice(&digest.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
#[path = "digest_sync/tests.rs"]
mod tests;
