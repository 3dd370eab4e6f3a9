//! Pieces of slots from another node merged here, in steps: all of them are checked before anything is merged.
//!
//! What is small, there and here, is merged as one step with its slot locked. Where a slot comes in several pieces, or holds
//! much here, it is *frozen* until its last step: its keys are neither read nor written by anybody else, and nobody comes
//! upon a slot of which some elements are merged and others are not. That would be no matter of looks alone: a removal names
//! what it has observed by a vector, and would take what has not come yet.
//!
//! The steps of such a slot are: its pieces, one by one; in a listing a walk over all that is here, which drops what is not
//! listed; and what is known of the slot. Behind news all is looked at for the digest that tells whether the source has
//! removed something else.

use super::bytes::{Arrived, ArrivedElement, Portion};
use super::walker::{Look, Shown, Walker, is_small};
use super::{Extent, Merge, StateStep, for_each_element, take_reset};
use crate::body::key_of;
use crate::frozen::FrozenSlot;
use crate::hash::{digest_of_element, digest_of_key};
use crate::holds::Holder;
use crate::keyspace::Keyspace;
use crate::slot::{Context, Slot};
use crdt::{DecodeError, Kind, Reader, Stamp, UnixMillis, VersionVector};
use std::collections::HashSet;

/// Pieces that are checked in one step.
const CHECKED_A_STEP: usize = 2;

/// Gives the piece with a number, as it was before it was packed.
pub type Unpack<'u> = &'u mut dyn FnMut(usize) -> Result<Vec<u8>, DecodeError>;

/// Pieces on their way into slots.
pub struct StateMerger {
    pieces: usize,
    at: usize,
    is_checked: bool,
    /// The slot that the checked pieces end in the middle of.
    open: Option<u16>,
    piece: Option<Piece>,
    slot: Option<SlotMerge>,
    differing: Vec<u16>,
}

/// A piece that is being merged.
struct Piece {
    raw: Vec<u8>,
    base: Stamp,
    applied: VersionVector,
    /// Where the first slot in it begins, and the next one.
    head: usize,
    next: usize,
}

/// A slot that is half merged.
struct SlotMerge {
    number: u16,
    extent: Extent,
    frozen: FrozenSlot,
    /// What the source has seen, and what had been seen here.
    theirs: Context,
    old: Context,
    was_ahead: bool,
    /// The slot's digest before, and the source's.
    digest: u64,
    theirs_digest: u64,
    mark: Stamp,
    /// Hashes of the names of what is listed, and of their keys. Nothing if only what is listed can be here.
    listed: Option<HashSet<u64>>,
    phase: Phase,
}

enum Phase {
    Pieces,
    Unlisted(Box<Walker>),
    TakeContext,
    Compare(Box<Walker>, u64),
    Over(bool),
}

/// Something that is here and not listed: an element, or without one what asserts the life of a key.
struct Unlisted {
    database: u8,
    key: Box<[u8]>,
    element: Option<(Kind, Box<[u8]>)>,
}

impl StateMerger {
    /// Nothing of so many pieces is merged yet.
    pub fn new(pieces: usize) -> Self {
        let (at, is_checked, open) = (0, false, None);
        Self { pieces, at, is_checked, open, piece: None, slot: None, differing: Vec::new() }
    }

    /// The slots that still differ in something that the source has removed, at the end: they must be listed.
    pub fn into_differing(self) -> Vec<u16> {
        self.differing
    }

    /// Whether a slot is half merged, and frozen.
    pub fn is_in_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Goes on. After an error nothing was merged, or only slots of which everything was.
    pub fn step(&mut self, keyspace: &Keyspace, now: UnixMillis, unpack: Unpack<'_>) -> Result<StateStep, DecodeError> {
        keyspace.shared.set_now(now);
        if !self.is_checked {
            return self.check_some(unpack).map(|()| StateStep::More);
        }
        if let Some(slot) = &mut self.slot
            && !matches!(slot.phase, Phase::Pieces)
        {
            slot.step(keyspace);
            if let Phase::Over(is_alike) = slot.phase {
                self.end_slot(keyspace, is_alike);
            }
            return Ok(StateStep::More);
        }
        let piece = match self.piece.take() {
            Some(piece) => piece,
            None if self.at == self.pieces => return Ok(StateStep::Over),
            None => Piece::open(unpack(self.at)?)?,
        };
        self.merge_next(keyspace, now, piece)
    }

    fn end_slot(&mut self, keyspace: &Keyspace, is_alike: bool) {
        let Some(slot) = self.slot.take() else { return };
        if !is_alike {
            self.differing.push(slot.number);
        }
        keyspace.thaw_slot(slot.frozen);
    }

    /// Takes some pieces apart. What has several pieces has them in order and to the end.
    fn check_some(&mut self, unpack: Unpack<'_>) -> Result<(), DecodeError> {
        for _ in 0..CHECKED_A_STEP {
            if self.at == self.pieces {
                break;
            }
            let mut piece = Piece::open(unpack(self.at)?)?;
            while let Some((arrived, next)) = piece.next()? {
                let number = arrived.number;
                let fits = match arrived.portion {
                    Portion::Whole | Portion::First => self.open.is_none(),
                    Portion::Middle | Portion::Last => self.open == Some(number),
                };
                if !fits {
                    return Err(DecodeError::Invalid("a piece of a slot that is not its next one"));
                }
                if !arrived.context.in_part.is_empty() {
                    return Err(DecodeError::Invalid("a slot in part, which only images have"));
                }
                self.open = match arrived.portion {
                    Portion::First | Portion::Middle => Some(number),
                    Portion::Whole | Portion::Last => None,
                };
                piece.next = next;
            }
            if self.pieces == 1 {
                // Nearly every time: it need not be unpacked again.
                piece.next = piece.head;
                self.piece = Some(piece);
            }
            self.at += 1;
        }
        if self.at == self.pieces {
            if self.open.is_some() {
                return Err(DecodeError::Invalid("a slot without its last piece"));
            }
            (self.is_checked, self.at) = (true, 0);
        }
        Ok(())
    }
}

impl StateMerger {
    /// Merges the next slot of a piece, or what the piece has of it.
    fn merge_next(&mut self, keyspace: &Keyspace, now: UnixMillis, mut piece: Piece) -> Result<StateStep, DecodeError> {
        let Some((arrived, next)) = piece.next()? else {
            self.at += 1;
            return Ok(StateStep::More);
        };
        let step = if keyspace.only.as_ref().is_some_and(|only| !only.contains(arrived.number)) {
            StateStep::More
        } else {
            self.merge_slot(keyspace, now, &arrived)
        };
        if step == StateStep::More {
            piece.next = next;
        }
        self.piece = Some(piece);
        Ok(step)
    }

    fn merge_slot(&mut self, keyspace: &Keyspace, now: UnixMillis, arrived: &Arrived<'_>) -> StateStep {
        if let Some(slot) = &mut self.slot {
            slot.take_piece(keyspace, arrived);
            return StateStep::More;
        }
        if keyspace.is_moving_in(arrived.number) {
            return StateStep::Waits;
        }
        if arrived.portion == Portion::Whole {
            let mut slot = keyspace.slot(arrived.number);
            if is_small(&slot) {
                if !keyspace.merge_at_once(&mut slot, arrived, now) {
                    self.differing.push(arrived.number);
                }
                return StateStep::More;
            }
        }
        let Some(frozen) = keyspace.freeze_slot(arrived.number, true) else { return StateStep::Waits };
        keyspace.shared.observe(arrived.context.vector.latest());
        let mark = keyspace.shared.next_stamp(now);
        let mut slot = SlotMerge::begin(keyspace, arrived, frozen, mark);
        slot.take_piece(keyspace, arrived);
        self.slot = Some(slot);
        StateStep::More
    }
}

impl Piece {
    fn open(raw: Vec<u8>) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&raw);
        let base = Stamp::from_bits(reader.word("a piece of state")?);
        let applied = reader.vector(base, "a piece of state")?;
        let head = raw.len() - reader.rest().len();
        Ok(Self { raw, base, applied, head, next: head })
    }

    /// The next slot, and where the one behind it begins.
    fn next(&self) -> Result<Option<(Arrived<'_>, usize)>, DecodeError> {
        let mut reader = Reader::new(&self.raw[self.next..]);
        if reader.is_empty() {
            return Ok(None);
        }
        let arrived = Arrived::decode(&mut reader, self.base, &self.applied)?;
        Ok(Some((arrived, self.raw.len() - reader.rest().len())))
    }
}

impl SlotMerge {
    fn begin(keyspace: &Keyspace, arrived: &Arrived<'_>, frozen: FrozenSlot, mark: Stamp) -> Self {
        let mut slot = keyspace.slot(arrived.number);
        let is_new = slot.databases().all(|database| slot.keys(database).next().is_none());
        let merge = Self {
            number: arrived.number,
            extent: arrived.extent,
            frozen,
            theirs: arrived.context.clone(),
            old: slot.memory.context().cloned().unwrap_or_default(),
            was_ahead: slot.memory.context().is_some(),
            digest: slot.memory.digest,
            theirs_digest: arrived.digest,
            mark,
            listed: (arrived.extent == Extent::Listing && !is_new).then(HashSet::new),
            phase: Phase::Pieces,
        };
        // Adds that arrive are new here by the old context; the rules of `Site` must not ask it.
        for (name, reset) in &arrived.resets {
            take_reset(&mut slot, &keyspace.shared, name, reset);
        }
        merge
    }

    /// Merges what a piece has of the slot.
    fn take_piece(&mut self, keyspace: &Keyspace, arrived: &Arrived<'_>) {
        let shared = &keyspace.shared;
        let mut slot = keyspace.slot(self.number);
        let _holding = shared.holds.begin(Holder::Merge);
        let merge = Merge { shared, theirs: &self.theirs, old: &self.old };
        for key in &arrived.keys {
            let in_full = key.in_full();
            let key = in_full.as_ref().unwrap_or(key);
            if let Some(listed) = &mut self.listed {
                let key_digest = digest_of_key(key.database, key.key);
                listed.insert(key_digest);
                listed.extend(key.elements.iter().map(|e| digest_of_element(key_digest, e.kind as u8, e.name)));
            }
            // What is not listed comes when all is known.
            slot.change_key(shared, key.database, key.key, |body, site| merge.key(site, body, key, Extent::News));
            slot.touched(shared, key.database, key.key);
        }
        if matches!(arrived.portion, Portion::Whole | Portion::Last) {
            self.phase = match self.listed {
                Some(_) => Phase::Unlisted(Box::default()),
                None => Phase::TakeContext,
            };
        }
    }

    /// One of the steps behind the last piece.
    fn step(&mut self, keyspace: &Keyspace) {
        let shared = &keyspace.shared;
        let mut slot = keyspace.slot(self.number);
        let _holding = shared.holds.begin(Holder::Merge);
        let merge = Merge { shared, theirs: &self.theirs, old: &self.old };
        self.phase = match std::mem::replace(&mut self.phase, Phase::Pieces) {
            Phase::Unlisted(mut walker) => {
                let (look, unlisted) = match &self.listed {
                    Some(listed) => find_unlisted(&mut walker, &slot, keyspace, listed),
                    None => (Look::Over, Vec::new()),
                };
                drop_unlisted(&merge, &mut slot, &unlisted);
                match look {
                    Look::More => Phase::Unlisted(walker),
                    Look::Over => Phase::TakeContext,
                    // By what was dropped: a table has become smaller, or a key has gone.
                    Look::Changed => Phase::Unlisted(Box::default()),
                }
            }
            Phase::TakeContext => {
                keyspace.take_context(&mut slot, &self.theirs, (self.was_ahead, self.digest), self.mark);
                match self.extent {
                    Extent::Listing | Extent::Image => Phase::Over(true),
                    Extent::News => Phase::Compare(Box::default(), 0),
                }
            }
            Phase::Compare(mut walker, mut sum) => {
                let look = walker.look(&slot, shared, &mut |shown| {
                    sum ^= match shown {
                        Shown::Key(database, entry) => merge.known_key(database, entry),
                        Shown::Begin(..) => 0,
                        Shown::Element(database, key, kind, name, element) => {
                            merge.known_element(digest_of_key(database, key), kind, name, element)
                        }
                        Shown::End(database, entry) => merge.known_lives(digest_of_key(database, key_of(entry)), entry),
                    };
                    true
                });
                match look {
                    Look::More => Phase::Compare(walker, sum),
                    Look::Over => Phase::Over(sum == self.theirs_digest),
                    Look::Changed => Phase::Compare(Box::default(), 0),
                }
            }
            Phase::Pieces => Phase::Pieces,
            Phase::Over(is_alike) => Phase::Over(is_alike),
        };
    }
}

/// Looks at some of what is here.
fn find_unlisted(
    walker: &mut Walker,
    slot: &Slot,
    keyspace: &Keyspace,
    listed: &HashSet<u64>,
) -> (Look, Vec<Unlisted>) {
    let mut unlisted = Vec::new();
    let mut note = |database: u8, key: &[u8], kind: Kind, name: &[u8]| {
        if !listed.contains(&digest_of_element(digest_of_key(database, key), kind as u8, name)) {
            unlisted.push(Unlisted { database, key: key.into(), element: Some((kind, name.into())) });
        }
    };
    let mut without_life = Vec::new();
    let mut note_life = |database: u8, key: &[u8]| {
        if !listed.contains(&digest_of_key(database, key)) {
            without_life.push(Unlisted { database, key: key.into(), element: None });
        }
    };
    let look = walker.look(slot, &keyspace.shared, &mut |shown| {
        match shown {
            Shown::Key(database, entry) => {
                let key = key_of(entry);
                for_each_element(entry, |kind, name, _| note(database, key, kind, name));
                note_life(database, key);
            }
            Shown::Begin(..) => {}
            Shown::Element(database, key, kind, name, _) => note(database, key, kind, name),
            Shown::End(database, entry) => note_life(database, key_of(entry)),
        }
        true
    });
    unlisted.append(&mut without_life);
    (look, unlisted)
}

/// What the source has seen of these is gone. Those of one key are mostly beside each other.
fn drop_unlisted(merge: &Merge<'_>, slot: &mut Slot, unlisted: &[Unlisted]) {
    let is_same = |a: &Unlisted, b: &Unlisted| a.database == b.database && a.key == b.key;
    for of_key in unlisted.chunk_by(is_same) {
        let Some(Unlisted { database, key, .. }) = of_key.first() else { continue };
        slot.change_key(merge.shared, *database, key, |body, site| {
            for Unlisted { element, .. } in of_key {
                match element {
                    None => merge.lives(site, body, &[]),
                    Some((kind, name)) => {
                        let nothing = ArrivedElement::nothing(*kind, name);
                        site.change_element(body, *kind, name, |site, digest, mine| {
                            merge.element(site, digest, mine, &nothing);
                        });
                    }
                }
            }
        });
        slot.touched(merge.shared, *database, key);
    }
}

impl Keyspace {
    /// Merges what [`Keyspace::read_slots`] or [`Keyspace::list_slots`] of a peer wrote, in one go. Returns the slots that
    /// still differ in something that the peer has removed: they must be listed.
    pub fn merge_slots(&self, pieces: &[Vec<u8>], now: UnixMillis) -> Result<Vec<u16>, DecodeError> {
        self.merge_packed_slots(pieces.len(), now, &mut |piece| {
            pieces.get(piece).cloned().ok_or(DecodeError::Truncated("the pieces of a slot"))
        })
    }

    /// The same of so many pieces that are unpacked one by one.
    pub fn merge_packed_slots(
        &self,
        pieces: usize,
        now: UnixMillis,
        unpack: Unpack<'_>,
    ) -> Result<Vec<u16>, DecodeError> {
        let mut merger = StateMerger::new(pieces);
        loop {
            match merger.step(self, now, unpack)? {
                StateStep::More => self.shared.holds.rest(),
                StateStep::Waits => self.shared.frozen.wait(),
                StateStep::Over => return Ok(merger.into_differing()),
            }
        }
    }
}
