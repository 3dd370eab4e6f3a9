//! HyperLogLog sketches as bytes of a string, in Redis' two forms.
//!
//! A sketch is 16384 registers of 0 to 51. Its string begins with `HYLL`, a byte for the form, three zeros, and eight bytes
//! in which Redis keeps an estimate (the top bit of the last says that it is out of date). The *dense* form has six bits for
//! each register, the lowest first. The *sparse* form has runs: of zeros, in one or two bytes, and of up to four equal
//! values, in one. Raising registers one after the other leads here to the very bytes to which it leads in Redis 7, also
//! where runs could have been cut otherwise. Hashing elements and estimating are not done here.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use smallvec::SmallVec;

/// How many registers a sketch has.
pub const REGISTERS: usize = 1 << 14;
/// The length of a sketch in the dense form.
pub const DENSE_BYTES: usize = HEAD_BYTES + REGISTERS * VALUE_BITS / 8;
/// The length beyond which the sparse form is given up: the default of Redis' `hll-sparse-max-bytes`. It must be the same in
/// all regions, since they read the same bytes.
pub const SPARSE_BYTES_MAX: usize = 3000;
/// The largest value that a register has room for.
pub const VALUE_MAX: u8 = (1 << VALUE_BITS) - 1;

const MAGIC: &[u8; 4] = b"HYLL";
/// The bytes before the registers.
pub(crate) const HEAD_BYTES: usize = 16;
const VALUE_BITS: usize = 6;
const FORM_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Where the estimate lies, and the bit in its last byte that says that it is out of date.
const ESTIMATE_AT: usize = 8;
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// Two bytes of a long run of zeros; one of a run of a value; else one of a short run of zeros.
const LONG_ZEROS: u8 = 0x40;
const RUN: u8 = 0x80;
const SHORT_ZEROS_MAX: usize = 64;
const RUN_MAX: usize = 4;
const RUN_VALUE_MAX: u8 = 32;
/// Runs that are looked at for neighbours that have become equal.
const RUNS_JOINED_MAX: usize = 5;

/// All registers of a sketch.
pub type Registers = [u8; REGISTERS];

/// The form of a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Six bits for each register.
    Dense,
    /// Runs of equal registers.
    Sparse,
}

/// A string that begins like a sketch, of which the runs are not those of 16384 registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sketch is corrupted")]
pub struct Corrupted;

/// What raising a register has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// Nothing: it was as high already.
    No,
    /// A dense register, which had this value.
    Dense(u8),
    /// The runs, or the form.
    Runs,
}

/// A sketch of nothing.
pub fn empty() -> Vec<u8> {
    let mut text = vec![0; HEAD_BYTES];
    text[..MAGIC.len()].copy_from_slice(MAGIC);
    text[FORM_AT] = SPARSE;
    put_zeros(&mut text, REGISTERS);
    text
}

/// The form of a string that is a sketch as far as its head and its length say.
pub fn form(text: &[u8]) -> Option<Form> {
    if text.len() < HEAD_BYTES || !text.starts_with(MAGIC) {
        return None;
    }
    match text[FORM_AT] {
        DENSE if text.len() == DENSE_BYTES => Some(Form::Dense),
        SPARSE => Some(Form::Sparse),
        _ => None,
    }
}

/// The estimate that is kept in a sketch, if it is up to date.
pub fn kept_estimate(text: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = text.get(ESTIMATE_AT..HEAD_BYTES)?.try_into().ok()?;
    (bytes[7] & STALE == 0).then(|| u64::from_le_bytes(bytes))
}

/// Says in a sketch that the estimate kept in it is out of date.
pub fn invalidate(text: &mut [u8]) {
    text[STALE_AT] |= STALE;
}

/// The value of one register of a sketch in the dense form.
pub fn dense_value(text: &[u8], index: usize) -> u8 {
    let (at, shift) = place(index);
    let low = u16::from(text.get(at).copied().unwrap_or(0));
    let high = u16::from(text.get(at + 1).copied().unwrap_or(0));
    ((low | high << 8) >> shift) as u8 & VALUE_MAX
}

/// Sets one register of a sketch in the dense form.
pub fn set_dense(text: &mut [u8], index: usize, value: u8) {
    let (at, shift) = place(index);
    let mask = u16::from(VALUE_MAX) << shift;
    let bits = u16::from(value & VALUE_MAX) << shift;
    if let Some(low) = text.get_mut(at) {
        *low = *low & !(mask as u8) | bits as u8;
    }
    if let Some(high) = text.get_mut(at + 1).filter(|_| shift > 2) {
        *high = *high & !((mask >> 8) as u8) | (bits >> 8) as u8;
    }
}

/// Where the lowest bit of a dense register lies: byte and bit.
const fn place(index: usize) -> (usize, usize) {
    let bit = index * VALUE_BITS;
    (HEAD_BYTES + bit / 8, bit % 8)
}

/// The value of one register of a sketch.
pub fn value(text: &[u8], index: usize) -> Result<u8, Corrupted> {
    if text[FORM_AT] == DENSE {
        return Ok(dense_value(text, index));
    }
    let mut first = 0;
    for run in Runs::of(text) {
        first += run.length;
        if index < first {
            return Ok(run.value);
        }
    }
    Err(Corrupted)
}

/// Takes the greater of each register of a sketch and that of `into`.
pub fn merge_into(into: &mut Registers, text: &[u8]) -> Result<(), Corrupted> {
    if text[FORM_AT] == DENSE {
        for_each_dense(text, |index, value| into[index] = into[index].max(value));
        return Ok(());
    }
    let mut first = 0;
    let mut runs = Runs::of(text);
    for run in runs.by_ref() {
        let registers = into.get_mut(first..first + run.length).ok_or(Corrupted)?;
        if run.value > 0 {
            registers.iter_mut().for_each(|register| *register = (*register).max(run.value));
        }
        first += run.length;
    }
    if first == REGISTERS && runs.at == text.len() { Ok(()) } else { Err(Corrupted) }
}

/// Four registers lie in three bytes.
fn for_each_dense(text: &[u8], mut each: impl FnMut(usize, u8)) {
    let (words, _) = text[HEAD_BYTES..].as_chunks::<3>();
    for (at, &[a, b, c]) in words.iter().enumerate() {
        let word = u32::from(a) | u32::from(b) << 8 | u32::from(c) << 16;
        for part in 0..4 {
            each(at * 4 + part, (word >> (part * VALUE_BITS)) as u8 & VALUE_MAX);
        }
    }
}

/// How many registers have each value.
pub fn histogram(text: &[u8]) -> Result<[u32; 64], Corrupted> {
    let mut counts = [0; 64];
    if text[FORM_AT] == DENSE {
        for_each_dense(text, |_, value| counts[usize::from(value)] += 1);
        return Ok(counts);
    }
    let mut length = 0;
    let mut runs = Runs::of(text);
    for run in runs.by_ref() {
        length += run.length;
        counts[usize::from(run.value)] += run.length as u32;
    }
    if length == REGISTERS && runs.at == text.len() { Ok(counts) } else { Err(Corrupted) }
}

/// Gives a sketch the dense form.
pub fn make_dense(text: &mut Vec<u8>) -> Result<(), Corrupted> {
    if text[FORM_AT] == DENSE {
        return Ok(());
    }
    let mut registers: Box<Registers> = Box::new([0; REGISTERS]);
    merge_into(&mut registers, text)?;
    text.truncate(HEAD_BYTES);
    text[FORM_AT] = DENSE;
    text.reserve_exact(DENSE_BYTES - HEAD_BYTES);
    text.resize(DENSE_BYTES, 0);
    let set = registers.iter().enumerate().filter(|(_, value)| **value > 0);
    set.for_each(|(index, &value)| set_dense(text, index, value));
    Ok(())
}

/// Raises one register of a sketch to `value`, if it is lower.
pub fn raise(text: &mut Vec<u8>, index: usize, value: u8) -> Result<Raised, Corrupted> {
    if text[FORM_AT] == DENSE {
        let before = dense_value(text, index);
        if before >= value {
            return Ok(Raised::No);
        }
        set_dense(text, index, value);
        return Ok(Raised::Dense(before));
    }
    if value <= RUN_VALUE_MAX
        && let Some(raised) = raise_sparse(text, index, value)?
    {
        return Ok(raised);
    }
    make_dense(text)?;
    if dense_value(text, index) < value {
        set_dense(text, index, value);
    }
    Ok(Raised::Runs)
}

/// The same in the sparse form. Nothing if it would become too long.
fn raise_sparse(text: &mut Vec<u8>, index: usize, value: u8) -> Result<Option<Raised>, Corrupted> {
    let (mut first, mut before) = (0, None);
    let mut runs = Runs::of(text);
    let run = loop {
        let run = runs.next().ok_or(Corrupted)?;
        if index < first + run.length {
            break run;
        }
        first += run.length;
        before = Some(run.at);
    };
    if run.value >= value {
        return Ok(Some(Raised::No));
    }
    let mut parts: SmallVec<[u8; 8]> = SmallVec::new();
    for (length, value) in [(index - first, run.value), (1, value), (first + run.length - index - 1, run.value)] {
        match (length, value) {
            (0, _) => {}
            (_, 0) => zeros(length, |byte| parts.push(byte)),
            _ => parts.push(run_byte(length, value)),
        }
    }
    if parts.len() > run.bytes && text.len() + parts.len() - run.bytes > SPARSE_BYTES_MAX {
        return Ok(None);
    }
    // What is not longer needs no splice, which most raises are.
    text.splice(run.at..run.at + run.bytes, parts);
    join_runs(text, before.unwrap_or(HEAD_BYTES));
    Ok(Some(Raised::Runs))
}

/// Joins neighbouring runs of one value behind `at`, as far as they fit one run.
fn join_runs(text: &mut Vec<u8>, mut at: usize) {
    for _ in 0..RUNS_JOINED_MAX {
        let (Some(&byte), next) = (text.get(at), text.get(at + 1)) else { return };
        if byte & RUN == 0 {
            at += if byte & LONG_ZEROS == 0 { 1 } else { 2 };
            continue;
        }
        let next = next.copied().filter(|next| next & RUN != 0 && run_value(*next) == run_value(byte));
        match next.map(|next| run_length(byte) + run_length(next)) {
            Some(length) if length <= RUN_MAX => {
                text[at + 1] = run_byte(length, run_value(byte));
                text.remove(at);
            }
            Some(_) | None => at += 1,
        }
    }
}

fn put_zeros(text: &mut Vec<u8>, length: usize) {
    zeros(length, |byte| text.push(byte));
}

fn zeros(length: usize, mut push: impl FnMut(u8)) {
    if length <= SHORT_ZEROS_MAX {
        push((length - 1) as u8);
    } else {
        push(((length - 1) >> 8) as u8 | LONG_ZEROS);
        push((length - 1) as u8);
    }
}

const fn run_byte(length: usize, value: u8) -> u8 {
    RUN | (value - 1) << 2 | (length - 1) as u8
}

const fn run_value(byte: u8) -> u8 {
    (byte >> 2 & 0x1f) + 1
}

const fn run_length(byte: u8) -> usize {
    (byte & 3) as usize + 1
}

/// The runs of a sketch in the sparse form, as they lie there.
pub fn runs(text: &[u8]) -> impl Iterator<Item = Run> {
    Runs::of(text)
}

/// Neighbouring registers of one value in the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    at: usize,
    /// How many bytes it takes: two if it is a long run of zeros.
    pub bytes: usize,
    /// How many registers.
    pub length: usize,
    /// Their value.
    pub value: u8,
}

struct Runs<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Runs<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { text, at: HEAD_BYTES }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        let at = self.at;
        let byte = *self.text.get(at)?;
        let (bytes, length, value) = if byte & RUN != 0 {
            (1, run_length(byte), run_value(byte))
        } else if byte & LONG_ZEROS == 0 {
            (1, usize::from(byte) + 1, 0)
        } else {
            // A run that is cut off is none.
            let low = *self.text.get(at + 1)?;
            (2, (usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1, 0)
        };
        self.at = at + bytes;
        Some(Run { at, bytes, length, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(text: &[u8]) -> Box<Registers> {
        let mut registers = Box::new([0; REGISTERS]);
        merge_into(&mut registers, text).unwrap();
        registers
    }

    #[test]
    fn both_forms_hold_the_registers_that_were_raised() {
        let mut seed = 7u64;
        let (mut text, mut expected) = (empty(), Box::new([0u8; REGISTERS]));
        let mut dense = empty();
        make_dense(&mut dense).unwrap();
        for round in 0..4000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Now and then beside the one before, so that runs are cut and joined.
            let index = if round % 3 == 0 { (seed >> 50) as usize } else { (seed >> 40) as usize % 300 };
            let value = 1 + (seed >> 33) as u8 % 6;
            raise(&mut text, index, value).unwrap();
            raise(&mut dense, index, value).unwrap();
            expected[index] = expected[index].max(value);
            assert_eq!(super::value(&text, index), Ok(expected[index]));
        }
        assert_eq!((form(&text), form(&dense)), (Some(Form::Sparse), Some(Form::Dense)));
        assert_eq!((&registers(&text), &registers(&dense)), (&expected, &expected));
        assert_eq!(histogram(&text), histogram(&dense));
        assert!(text.len() <= SPARSE_BYTES_MAX);
        make_dense(&mut text).unwrap();
        assert!(text == dense);
    }

    #[test]
    fn the_sparse_form_ends_where_it_is_too_long_or_a_value_too_large() {
        let mut text = empty();
        assert_eq!(raise(&mut text, 9, 33), Ok(Raised::Runs));
        assert_eq!((form(&text), dense_value(&text, 9)), (Some(Form::Dense), 33));
        let mut text = empty();
        for index in (0..REGISTERS).step_by(4) {
            raise(&mut text, index, 1).unwrap();
            assert!(form(&text) == Some(Form::Dense) || text.len() <= SPARSE_BYTES_MAX);
        }
        assert_eq!(form(&text), Some(Form::Dense));
    }

    #[test]
    fn what_is_no_sketch_is_told() {
        let text = empty();
        assert_eq!(form(&text[..15]), None);
        assert_eq!(form(b"HYLX56789012345678"), None);
        let mut cut = text.clone();
        cut.truncate(17);
        assert_eq!((form(&cut), value(&cut, 0)), (Some(Form::Sparse), Err(Corrupted)));
        assert_eq!(raise(&mut cut, 0, 1), Err(Corrupted));
        assert_eq!(make_dense(&mut cut), Err(Corrupted));
        let mut long = text;
        long.push(0);
        assert_eq!(histogram(&long), Err(Corrupted));
        assert_eq!(merge_into(&mut Box::new([0; REGISTERS]), &long), Err(Corrupted));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut seed = 3u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        for _ in 0..3000 {
            let mut text = empty();
            for _ in 0..next() % 20 {
                let _ = raise(&mut text, next() % REGISTERS, 1 + (next() % 40) as u8);
            }
            for _ in 0..1 + next() % 3 {
                let at = HEAD_BYTES + next() % (text.len() - HEAD_BYTES);
                text[at] ^= next() as u8;
            }
            let _ = histogram(&text);
            let _ = raise(&mut text, next() % REGISTERS, 1 + (next() % 40) as u8);
            let _ = make_dense(&mut text);
        }
    }
}
