//! Patches: writes of a part of a string, as they travel and as they change a text.
//!
//! A patch is one or more pieces: bytes at an offset, bytes at the end, bits, registers of a sketch. It means the same
//! whatever it is done to: what lies between the end of the text and an offset becomes zeros, registers of what is no sketch
//! stay away. What it has changed is noted as an [`Undo`], so that another patch can be put below it.

use crate::change::NAME_BYTES_MAX;
use crate::encoding::{DecodeError, Reader, put_slice, put_varint};
use crate::sketch::{self, Form, REGISTERS, Raised, VALUE_MAX};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use smallvec::SmallVec;

/// A part of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes from `offset` on.
    Range {
        /// The first byte, from the beginning of the string.
        offset: u64,
        /// What is there then.
        bytes: &'a [u8],
    },
    /// These bytes at the end.
    Append(&'a [u8]),
    /// The lowest `count` bits of `value` from `offset` on, the highest of them first.
    Bits {
        /// The first bit; bit 0 is the highest of the first byte.
        offset: u64,
        /// How many bits, 1 to 64.
        count: u8,
        /// The bits.
        value: u64,
    },
    /// Registers of a sketch are at least these values.
    Raise(Raises<'a>),
    /// A sketch has the dense form.
    Dense,
    /// The text has at least so many bytes.
    Reach(u64),
}

/// Registers of a sketch with values that they have at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raises<'a>(&'a [u8]);

/// What a patch is written into.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether anything has been written: an empty string is something.
    pub is_there: bool,
}

/// How the effect of a patch is taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Undo {
    /// It had none.
    Nothing,
    /// There was no text.
    Absent,
    /// The text was so long, and had these bytes at this offset.
    Bytes {
        /// The length of the text before.
        length: usize,
        /// Where bytes were replaced.
        offset: usize,
        /// The replaced bytes.
        old: SmallVec<[u8; 8]>,
    },
    /// Registers of a sketch in the dense form had these values.
    Registers(SmallVec<[(u16, u8); 2]>),
    /// The text was this.
    Whole(Box<[u8]>),
    /// Nothing is noted: one of the patches before can be taken back without what is above it.
    Before,
    /// The pieces, one after the other.
    Several(Vec<Undo>),
}

const RANGE: u8 = 1;
const APPEND: u8 = 2;
const BITS: u8 = 3;
const RAISE: u8 = 4;
const MAKE_DENSE: u8 = 5;
const REACH: u8 = 6;

/// Bytes of one register: 14 bits of index and 6 of value, the lowest first.
const RAISE_BYTES: usize = 3;
/// A text grows by its length or so much, whichever is less, so that one which is appended to is seldom moved and leaves
/// little room unused.
const GROWTH_BYTES_MAX: usize = 1 << 20;

impl Piece<'_> {
    /// Appends the piece to a patch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Piece::Range { offset, bytes } => {
                out.push(RANGE);
                put_varint(out, *offset);
                put_slice(out, bytes);
            }
            Piece::Append(bytes) => {
                out.push(APPEND);
                put_slice(out, bytes);
            }
            Piece::Bits { offset, count, value } => {
                out.push(BITS);
                put_varint(out, *offset);
                out.push(*count);
                put_varint(out, *value);
            }
            Piece::Raise(raises) => {
                out.push(RAISE);
                put_slice(out, raises.0);
            }
            Piece::Dense => out.push(MAKE_DENSE),
            Piece::Reach(length) => {
                out.push(REACH);
                put_varint(out, *length);
            }
        }
    }
}

impl<'a> Raises<'a> {
    /// Appends a register to what [`Raises::of`] reads.
    pub fn push(out: &mut Vec<u8>, index: usize, value: u8) {
        let word = (index % REGISTERS) as u32 | u32::from(value & VALUE_MAX) << REGISTERS.trailing_zeros();
        out.extend_from_slice(&word.to_le_bytes()[..RAISE_BYTES]);
    }

    /// The registers in `bytes`, as [`Raises::push`] wrote them.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(RAISE_BYTES).then_some(Self(bytes))
    }

    /// Each register with its value.
    pub fn iter(self) -> impl Iterator<Item = (usize, u8)> + 'a {
        self.0.as_chunks::<RAISE_BYTES>().0.iter().map(|&[a, b, c]| {
            let word = u32::from(a) | u32::from(b) << 8 | u32::from(c) << 16;
            (word as usize % REGISTERS, (word >> REGISTERS.trailing_zeros()) as u8 & VALUE_MAX)
        })
    }
}

/// The pieces of a patch. A patch has at least one.
pub fn pieces(patch: &[u8]) -> impl Iterator<Item = Result<Piece<'_>, DecodeError>> {
    let mut reader = Reader::new(patch);
    core::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let piece = read(&mut reader);
        if piece.is_err() {
            reader = Reader::new(&[]);
        }
        Some(piece)
    })
}

/// Whether a patch can be done: it has pieces, and all of them are within the largest string.
pub fn check(patch: &[u8]) -> Result<(), DecodeError> {
    if patch.is_empty() {
        return Err(DecodeError::Truncated("a patch"));
    }
    pieces(patch).try_for_each(|piece| piece.map(drop))
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<Piece<'a>, DecodeError> {
    const INVALID: DecodeError = DecodeError::Invalid("a piece of a patch");
    let is_inside = |end: Option<u64>| end.is_some_and(|end| end <= NAME_BYTES_MAX as u64);
    match reader.byte("a piece of a patch")? {
        RANGE => {
            let offset = reader.varint("an offset")?;
            let bytes = reader.slice("bytes of a patch")?;
            if is_inside(offset.checked_add(bytes.len() as u64)) {
                Ok(Piece::Range { offset, bytes })
            } else {
                Err(INVALID)
            }
        }
        APPEND => Ok(Piece::Append(reader.slice("bytes of a patch")?)),
        BITS => {
            let offset = reader.varint("an offset")?;
            let count = reader.byte("a count of bits")?;
            let value = reader.varint("bits")?;
            let end = offset.checked_add(u64::from(count)).map(|end| end.div_ceil(8));
            if (1..=64).contains(&count) && is_inside(end) {
                Ok(Piece::Bits { offset, count, value })
            } else {
                Err(INVALID)
            }
        }
        RAISE => Raises::of(reader.slice("registers")?).map(Piece::Raise).ok_or(INVALID),
        MAKE_DENSE => Ok(Piece::Dense),
        REACH => {
            let length = reader.varint("a length")?;
            if is_inside(Some(length)) { Ok(Piece::Reach(length)) } else { Err(INVALID) }
        }
        _ => Err(INVALID),
    }
}

impl Text {
    /// Does a patch. `can_redo` says that a patch before this one can be taken back without it.
    pub fn apply(&mut self, patch: &[u8], can_redo: bool) -> Undo {
        let was_there = self.is_there;
        let mut undone: SmallVec<[Undo; 1]> = SmallVec::new();
        for piece in pieces(patch).flatten() {
            let can_redo = can_redo || !was_there || undone.iter().any(Undo::is_whole);
            undone.push(self.apply_piece(&piece, can_redo));
        }
        if !was_there && self.is_there {
            return Undo::Absent;
        }
        match undone.len() {
            0 => Undo::Nothing,
            1 => undone.swap_remove(0),
            _ => Undo::Several(undone.into_vec()),
        }
    }

    fn apply_piece(&mut self, piece: &Piece<'_>, can_redo: bool) -> Undo {
        match piece {
            Piece::Range { offset, bytes } => self.write(*offset as usize, bytes),
            Piece::Append(bytes) => self.write(self.bytes.len(), bytes),
            Piece::Bits { offset, count, value } => self.write_bits(*offset, *count, *value),
            // Nothing that is not there yet.
            Piece::Reach(length) => self.write((*length as usize).max(self.bytes.len()), &[]),
            Piece::Raise(raises) => {
                self.begin_sketch();
                match sketch::form(&self.bytes) {
                    None => Undo::Nothing,
                    Some(Form::Dense) => self.raise_dense(*raises),
                    Some(Form::Sparse) => self.on_runs(can_redo, |text| {
                        // Only a corrupted sketch refuses, and that the same everywhere.
                        if raises.iter().all(|(index, value)| sketch::raise(text, index, value).is_ok()) {
                            sketch::invalidate(text);
                        }
                    }),
                }
            }
            Piece::Dense => {
                self.begin_sketch();
                match sketch::form(&self.bytes) {
                    None | Some(Form::Dense) => Undo::Nothing,
                    Some(Form::Sparse) => self.on_runs(can_redo, |text| {
                        let _ = sketch::make_dense(text);
                    }),
                }
            }
        }
    }

    /// Where there is nothing, there is an empty sketch.
    fn begin_sketch(&mut self) {
        if !self.is_there {
            *self = Self { bytes: sketch::empty(), is_there: true };
        }
    }

    fn raise_dense(&mut self, raises: Raises<'_>) -> Undo {
        let mut before = SmallVec::new();
        for (index, value) in raises.iter() {
            if let Ok(Raised::Dense(old)) = sketch::raise(&mut self.bytes, index, value) {
                before.push((index as u16, old));
            }
        }
        let undo = Undo::Registers(before);
        if sketch::kept_estimate(&self.bytes).is_none() {
            return undo;
        }
        // The mark of an estimate that is out of date goes with what made it so.
        let (length, offset, old) = (self.bytes.len(), 0, self.bytes[..sketch::HEAD_BYTES].into());
        sketch::invalidate(&mut self.bytes);
        Undo::Several(vec![Undo::Bytes { length, offset, old }, undo])
    }

    fn on_runs(&mut self, can_redo: bool, work: impl FnOnce(&mut Vec<u8>)) -> Undo {
        let before = if can_redo { None } else { Some(self.bytes.as_slice().into()) };
        work(&mut self.bytes);
        before.map_or(Undo::Before, Undo::Whole)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Undo {
        let Some(end) = offset.checked_add(bytes.len()).filter(|&end| end <= NAME_BYTES_MAX) else {
            return Undo::Nothing;
        };
        let length = self.bytes.len();
        self.reach(end);
        self.is_there = true;
        let replaced = offset.min(length)..end.min(length);
        let old = SmallVec::from_slice(&self.bytes[replaced]);
        self.bytes[offset..end].copy_from_slice(bytes);
        Undo::Bytes { length, offset: offset.min(length), old }
    }

    fn write_bits(&mut self, offset: u64, count: u8, value: u64) -> Undo {
        let first = (offset >> 3) as usize;
        let end = (offset + u64::from(count)).div_ceil(8) as usize;
        let length = self.bytes.len();
        self.reach(end);
        self.is_there = true;
        let old = SmallVec::from_slice(&self.bytes[first.min(length)..end.min(length)]);
        put_bits(&mut self.bytes, offset, count, value);
        Undo::Bytes { length, offset: first.min(length), old }
    }

    /// Makes the text at least so long.
    fn reach(&mut self, end: usize) {
        let length = self.bytes.len();
        if end <= length {
            return;
        }
        if length == 0 {
            // Zeros that nobody has written cost nothing yet.
            self.bytes = vec![0; end];
            return;
        }
        if end > self.bytes.capacity() {
            let more = end.min(GROWTH_BYTES_MAX);
            self.bytes.reserve_exact((end + more).min(NAME_BYTES_MAX.max(end)) - length);
        }
        self.bytes.resize(end, 0);
    }

    /// Takes back what a patch has done, the last one first. False if that is known only of one before it.
    pub fn undo(&mut self, undo: &Undo) -> bool {
        match undo {
            Undo::Nothing => true,
            Undo::Absent => {
                *self = Self::default();
                true
            }
            Undo::Bytes { length, offset, old } => {
                self.bytes[*offset..offset + old.len()].copy_from_slice(old);
                self.bytes.truncate(*length);
                true
            }
            Undo::Registers(registers) => {
                let registers = registers.iter().rev();
                registers.for_each(|&(index, value)| sketch::set_dense(&mut self.bytes, usize::from(index), value));
                true
            }
            Undo::Whole(text) => {
                *self = Self { bytes: text.to_vec(), is_there: true };
                true
            }
            Undo::Before => false,
            Undo::Several(pieces) => {
                // Below one that is taken back as a whole nothing of those above it is left.
                let mut is_known = true;
                for piece in pieces.iter().rev() {
                    if is_known || piece.is_whole() {
                        is_known = self.undo(piece);
                    }
                }
                is_known
            }
        }
    }
}

/// Writes the lowest `count` bits of `value` into bytes that reach far enough.
fn put_bits(bytes: &mut [u8], offset: u64, count: u8, value: u64) {
    for index in 0..u64::from(count) {
        let at = offset + index;
        let mask = 0x80u8 >> (at & 7);
        let byte = &mut bytes[(at >> 3) as usize];
        let is_set = value >> (u64::from(count) - 1 - index) & 1 == 1;
        *byte = if is_set { *byte | mask } else { *byte & !mask };
    }
}

impl Undo {
    /// Whether it can be done whatever became of the text since.
    pub fn is_whole(&self) -> bool {
        match self {
            Undo::Absent | Undo::Whole(_) => true,
            Undo::Several(pieces) => pieces.iter().any(Undo::is_whole),
            Undo::Nothing | Undo::Bytes { .. } | Undo::Registers(_) | Undo::Before => false,
        }
    }

    /// Whether a patch can be done now as if it had been done before the one that noted this: they touch different bytes,
    /// or registers, of a text of one length.
    pub fn lets_below(&self, patch: &[u8], text: &Text) -> bool {
        let mut pieces = pieces(patch).flatten();
        let (Some(piece), None) = (pieces.next(), pieces.next()) else { return false };
        match (self, piece) {
            (Undo::Bytes { length, offset, old }, Piece::Range { offset: first, bytes }) => {
                let (first, end) = (first as usize, first as usize + bytes.len());
                *length == text.bytes.len() && end <= *length && (end <= *offset || first >= offset + old.len())
            }
            (Undo::Bytes { length, offset, old }, Piece::Bits { offset: first, count, .. }) => {
                let (first, end) = ((first >> 3) as usize, (first + u64::from(count)).div_ceil(8) as usize);
                *length == text.bytes.len() && end <= *length && (end <= *offset || first >= offset + old.len())
            }
            (Undo::Registers(raised), Piece::Raise(raises)) => {
                raises.iter().all(|(index, _)| raised.iter().all(|&(other, _)| usize::from(other) != index))
            }
            _ => false,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Undo::Nothing | Undo::Absent | Undo::Before => 0,
            Undo::Bytes { old, .. } => {
                if old.spilled() {
                    old.capacity()
                } else {
                    0
                }
            }
            Undo::Registers(registers) => {
                if registers.spilled() {
                    registers.capacity() * 4
                } else {
                    0
                }
            }
            Undo::Whole(text) => text.len(),
            Undo::Several(pieces) => pieces.iter().map(|piece| size_of::<Undo>() + piece.heap_bytes()).sum(),
        }
    }
}
