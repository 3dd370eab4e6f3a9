//! Slots read out for another node, in steps, as pieces that it can merge in steps.
//!
//! A piece has about [`PIECE_BYTES`]. Small slots share one; a slot that is larger takes several, of which the first says what
//! is known of the slot, and a collection goes on from one to the next.
//!
//! SUBTLE: what another node gets of a slot is of one moment, for it compares the slot with others as soon as its vector is
//! there. So a slot that has changed between two steps is read again, and is frozen meanwhile: who reads it is served, who
//! writes to it waits. A change is known by its mark, which all changes of a batch may share, so nobody takes a step while a
//! batch is half applied. Neither may a piece name a vector that is older than what is in it: where the node's vector has
//! risen since the last slot, another piece begins.

use super::Extent;
use super::bytes::{
    END_OF_KEYS, SLOT_ENDS, SLOT_GOES_ON, SLOT_LISTING, SLOT_LISTING_BEGUN, SLOT_NEWS, SLOT_NEWS_BEGUN, begin_key,
    end_key, is_news, leave_key, write_element, write_key, write_lives,
};
use super::walker::{Look, Shown, Walker};
use crate::frozen::FrozenSlot;
use crate::hash::SLOTS;
use crate::holds::Holder;
use crate::keyspace::Keyspace;
use crate::steps::STEP_BYTES;
use crdt::encoding::{put_varint, put_vector};
use crdt::{Stamp, VersionVector};
use std::sync::Arc;

/// Bytes of a piece, more or less: merging them takes a millisecond or two. One element may have more.
pub const PIECE_BYTES: usize = if cfg!(debug_assertions) { 1 << 10 } else { 64 << 10 };
/// Slots that a step may have: most are small and have nothing that is new. A slot that takes several looks has one in a step.
const SLOTS_A_STEP: usize = 16;

/// What came of a step of work that takes many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateStep {
    /// There is more to do.
    More,
    /// Nothing could be done, because keys are being moved or another slot is frozen: try again soon.
    Waits,
    /// That was the last one.
    Over,
}

/// Makes something smaller.
pub type Pack<'p> = &'p mut dyn FnMut(&[u8]) -> Vec<u8>;

/// Slots on their way into pieces.
pub struct StateReader {
    slots: Vec<u16>,
    /// How many of them are read.
    covered: usize,
    since: VersionVector,
    extent: Extent,
    bytes_max: usize,
    piece_bytes: usize,
    packed: Vec<Vec<u8>>,
    packed_bytes: usize,
    /// Bytes in `packed` before they were packed.
    raw_bytes: usize,
    /// The piece that is being made.
    piece: Piece,
    slot: Option<SlotReading>,
    /// The next slot has changed under this reader.
    must_freeze: bool,
    frozen: Option<FrozenSlot>,
}

#[derive(Default)]
struct Piece {
    out: Vec<u8>,
    head: usize,
    base: Stamp,
    applied: Arc<VersionVector>,
}

/// A slot that is half read.
struct SlotReading {
    walker: Walker,
    /// When it had changed last as it was begun.
    changed: Stamp,
    /// Where it begins: how many pieces were there, their bytes, and a place in the piece.
    packed: usize,
    packed_bytes: usize,
    raw_bytes: usize,
    start: usize,
    /// The byte of the piece that says how much of the slot is there.
    form: usize,
    /// A piece with some of it is made.
    is_begun: bool,
    /// The large collection that is being read, and where it and its elements begin.
    key: Option<(u8, Box<[u8]>, usize, usize)>,
}

impl StateReader {
    /// For the slots from `first` on, until about `bytes_max` bytes are there: what `since` does not cover.
    pub fn of_news(first: u16, since: VersionVector, bytes_max: usize) -> Self {
        Self::new((first..SLOTS).collect(), since, Extent::News, bytes_max)
    }

    /// For listings of these slots, until about `bytes_max` bytes are there, at least of the first one.
    pub fn of_listings(slots: &[u16], since: VersionVector, bytes_max: usize) -> Self {
        Self::new(slots.to_vec(), since, Extent::Listing, bytes_max)
    }

    fn new(slots: Vec<u16>, since: VersionVector, extent: Extent, bytes_max: usize) -> Self {
        Self {
            slots,
            covered: 0,
            since,
            extent,
            bytes_max,
            piece_bytes: PIECE_BYTES,
            packed: Vec::new(),
            packed_bytes: 0,
            raw_bytes: 0,
            piece: Piece::default(),
            slot: None,
            must_freeze: false,
            frozen: None,
        }
    }

    /// How many of the slots are read.
    pub fn covered(&self) -> usize {
        self.covered
    }

    /// The first slot that is not read.
    pub fn next_slot(&self) -> u16 {
        self.slots.get(self.covered).copied().unwrap_or(SLOTS)
    }

    /// Whether a slot is frozen for this.
    pub fn is_in_frozen_slot(&self) -> bool {
        self.frozen.is_some()
    }

    /// Bytes of the pieces that are made.
    pub fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// The pieces, at the end.
    pub fn into_pieces(self) -> Vec<Vec<u8>> {
        self.packed
    }

    /// It is not needed any more.
    pub fn give_up(&mut self, keyspace: &Keyspace) {
        self.slot = None;
        self.thaw(keyspace);
    }

    /// Reads some more. No batch is half applied.
    pub fn step(&mut self, keyspace: &Keyspace, pack: Pack<'_>) -> StateStep {
        let before = self.bytes();
        for _ in 0..SLOTS_A_STEP {
            if self.slot.is_none() && self.has_enough() {
                self.close_piece(pack);
                return StateStep::Over;
            }
            if self.slot.is_none() && !self.may_begin(keyspace) {
                return StateStep::Waits;
            }
            self.look(keyspace, pack);
            if self.slot.is_some() || self.bytes().abs_diff(before) >= STEP_BYTES {
                break;
            }
        }
        StateStep::More
    }

    fn bytes(&self) -> usize {
        self.raw_bytes + self.piece.out.len()
    }

    fn has_enough(&self) -> bool {
        let must_have_one = self.extent == Extent::Listing && self.covered == 0;
        self.covered == self.slots.len() || (self.bytes() >= self.bytes_max && !must_have_one)
    }

    fn thaw(&mut self, keyspace: &Keyspace) {
        if let Some(frozen) = self.frozen.take() {
            keyspace.thaw_slot(frozen);
        }
    }

    /// Whether the next slot can be begun now.
    fn may_begin(&mut self, keyspace: &Keyspace) -> bool {
        let number = self.next_slot();
        if self.frozen.is_none() && keyspace.is_moving_in(number) {
            return false;
        }
        if self.must_freeze && self.frozen.is_none() {
            self.frozen = keyspace.freeze_slot(number, false);
            return self.frozen.is_some();
        }
        true
    }

    fn look(&mut self, keyspace: &Keyspace, pack: Pack<'_>) {
        let number = self.next_slot();
        if number >= SLOTS {
            self.covered += 1;
            return;
        }
        if self.slot.is_none() {
            self.piece_for_now(keyspace, pack);
        }
        let guard = keyspace.slot(number);
        let holding = keyspace.shared.holds.begin(Holder::State);
        let (piece, since, extent) = (&mut self.piece, &self.since, self.extent);
        let reading = self.slot.get_or_insert_with(|| {
            let start = piece.out.len();
            let form = keyspace.write_slot_head(number, &guard, extent, (piece.base, &piece.applied), &mut piece.out);
            SlotReading {
                walker: Walker::default(),
                changed: guard.memory.changed,
                packed: self.packed.len(),
                packed_bytes: self.packed_bytes,
                raw_bytes: self.raw_bytes,
                start,
                form,
                is_begun: false,
                key: None,
            }
        });
        let (out, base, key) = (&mut piece.out, piece.base, &mut reading.key);
        let begins = out.len();
        let look = if guard.memory.changed == reading.changed {
            reading.walker.look(&guard, &keyspace.shared, &mut |shown| {
                match shown {
                    Shown::Key(database, entry) => write_key(out, base, database, entry, since, extent),
                    Shown::Begin(database, name) => {
                        let start = out.len();
                        begin_key(out, database, name);
                        *key = Some((database, name.into(), start, out.len()));
                    }
                    Shown::Element(_, _, kind, name, element) => {
                        if is_news(element, since, extent) {
                            write_element(out, base, kind, name, element, since);
                        }
                    }
                    Shown::End(_, entry) => {
                        if let Some((_, _, start, items)) = key.take() {
                            write_lives(out, base, entry, since, extent);
                            end_key(out, base, entry, extent, (start, items));
                        }
                    }
                }
                // A key that has no news goes again.
                out.len().saturating_sub(begins) < STEP_BYTES
            })
        } else {
            Look::Changed
        };
        drop(guard);
        drop(holding);
        match look {
            Look::Changed => self.begin_slot_again(),
            Look::Over => self.end_slot(keyspace, pack),
            Look::More if self.piece.out.len() >= self.piece_bytes => self.divide_slot(pack),
            Look::More => {}
        }
    }

    /// Makes sure of a piece that names what is applied by now.
    fn piece_for_now(&mut self, keyspace: &Keyspace, pack: Pack<'_>) {
        let applied = keyspace.applied();
        let is_same = Arc::ptr_eq(&applied, &self.piece.applied) || *applied == *self.piece.applied;
        if self.piece.out.is_empty() || !is_same {
            self.close_piece(pack);
            let mut out = Vec::new();
            let base = keyspace.begin_chunk_with(&applied, &mut out);
            self.piece = Piece { head: out.len(), out, base, applied };
        }
    }

    fn pack(&mut self, raw: &[u8], pack: Pack<'_>) {
        let packed = pack(raw);
        self.raw_bytes += raw.len();
        self.packed_bytes += packed.len();
        self.packed.push(packed);
    }

    /// Ends a piece between two slots.
    fn close_piece(&mut self, pack: Pack<'_>) {
        let out = std::mem::take(&mut self.piece.out);
        if out.len() > self.piece.head {
            self.pack(&out, pack);
        }
    }

    /// Ends a piece in the middle of a slot.
    fn divide_slot(&mut self, pack: Pack<'_>) {
        let Some(mut reading) = self.slot.take() else { return };
        let mut out = std::mem::take(&mut self.piece.out);
        if let Some((_, _, start, items)) = reading.key {
            leave_key(&mut out, (start, items));
        }
        out.push(END_OF_KEYS);
        out[reading.form] = match (reading.is_begun, self.extent) {
            (true, _) => SLOT_GOES_ON,
            (false, Extent::News) => SLOT_NEWS_BEGUN,
            (false, Extent::Listing | Extent::Image) => SLOT_LISTING_BEGUN,
        };
        let head = out[..self.piece.head].to_vec();
        if !reading.is_begun && reading.start > head.len() {
            // Other slots come before it. They have a piece of their own: this slot may have to be read again.
            let own = [&head[..], &out[reading.start..]].concat();
            out.truncate(reading.start);
            self.pack(&out, pack);
            (reading.packed, reading.packed_bytes, reading.raw_bytes) =
                (self.packed.len(), self.packed_bytes, self.raw_bytes);
            out = own;
        }
        self.pack(&out, pack);
        (out, reading.start, reading.is_begun) = (head, self.piece.head, true);
        put_varint(&mut out, u64::from(self.next_slot()));
        reading.form = out.len();
        out.push(SLOT_GOES_ON);
        if let Some((database, name, start, items)) = &mut reading.key {
            *start = out.len();
            begin_key(&mut out, *database, name);
            *items = out.len();
        }
        self.piece.out = out;
        self.slot = Some(reading);
    }

    fn end_slot(&mut self, keyspace: &Keyspace, pack: Pack<'_>) {
        let Some(reading) = self.slot.take() else { return };
        self.piece.out.push(END_OF_KEYS);
        if reading.is_begun {
            self.piece.out[reading.form] = SLOT_ENDS;
        }
        self.covered += 1;
        self.must_freeze = false;
        self.thaw(keyspace);
        if self.piece.out.len() >= self.piece_bytes {
            self.close_piece(pack);
        }
    }

    /// The slot was written to.
    fn begin_slot_again(&mut self) {
        let Some(reading) = self.slot.take() else { return };
        self.packed.truncate(reading.packed);
        (self.packed_bytes, self.raw_bytes) = (reading.packed_bytes, reading.raw_bytes);
        self.piece.out.truncate(reading.start);
        self.must_freeze = true;
    }
}

impl Keyspace {
    /// Reads slots from `first` on for a peer whose vector is `since`, until about `bytes_max` bytes are there.
    /// Returns the pieces and the next slot to read, [`SLOTS`] at the end. Call it when no batch is half applied.
    pub fn read_slots(&self, first: u16, since: &VersionVector, bytes_max: usize) -> (Vec<Vec<u8>>, u16) {
        let reader = self.read_to_the_end(StateReader::of_news(first, since.clone(), bytes_max));
        let next = reader.next_slot();
        (reader.into_pieces(), next)
    }

    /// Lists slots in full for a peer that found them different, until about `bytes_max` bytes are there. Returns the
    /// pieces, and how many of the slots are in them.
    pub fn list_slots(&self, numbers: &[u16], since: &VersionVector, bytes_max: usize) -> (Vec<Vec<u8>>, usize) {
        let reader = self.read_to_the_end(StateReader::of_listings(numbers, since.clone(), bytes_max));
        let covered = reader.covered();
        (reader.into_pieces(), covered)
    }

    fn read_to_the_end(&self, mut reader: StateReader) -> StateReader {
        loop {
            match reader.step(self, &mut |raw| raw.to_vec()) {
                StateStep::More => self.shared.holds.rest(),
                StateStep::Waits => self.shared.frozen.wait(),
                StateStep::Over => return reader,
            }
        }
    }

    /// Writes what is said of a slot before its keys. Returns the place of the byte that says how much of it follows.
    pub(super) fn write_slot_head(
        &self,
        number: u16,
        slot: &crate::slot::Slot,
        extent: Extent,
        (base, applied): (Stamp, &VersionVector),
        out: &mut Vec<u8>,
    ) -> usize {
        let mut beyond = VersionVector::new();
        // SUBTLE: our own last change here and not our clock, which is ahead of every change. The peer waits with this
        // slot until its vector has come so far, and a stamp that no change has would never come.
        let written = self.last_written();
        beyond.raise(written.author(), written);
        if let Some(context) = slot.memory.context() {
            context.vector.iter().filter(|&(_, stamp)| !applied.covers(stamp)).for_each(|(node, stamp)| {
                beyond.raise(node, stamp);
            });
        }
        let in_part = slot.memory.context().map(|context| &context.in_part).filter(|in_part| !in_part.is_empty());
        put_varint(out, u64::from(number));
        let form = out.len();
        out.push(match (extent, in_part) {
            (Extent::News, _) => SLOT_NEWS,
            (Extent::Listing, _) | (Extent::Image, None) => SLOT_LISTING,
            (Extent::Image, Some(_)) => super::bytes::SLOT_IN_PART,
        });
        put_vector(out, base, &beyond);
        if let (Extent::Image, Some(in_part)) = (extent, in_part) {
            put_vector(out, base, in_part);
        }
        super::bytes::write_memory(out, base, &slot.memory);
        form
    }
}
