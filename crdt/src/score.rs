//! Scores of sorted sets: doubles without NaN, their order, and how they are written down.
//!
//! A score is a register whose value is the double's bytes. Most scores are whole numbers or lie near them, so that the
//! low bytes of the double are zero: they are left out.

use crate::number::ExactFloat;
use core::ops::Deref;

/// The score of a member: any double but NaN, infinities too. Both zeros are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Score(f64);

/// A score as a value: the eight bytes of the double, the highest first, without the zeros at their end.
#[derive(Clone, Copy, Debug)]
pub struct ScoreBytes {
    bytes: [u8; 8],
    length: u8,
}

impl Score {
    /// The score of members that were never given one.
    pub const ZERO: Score = Score(0.0);

    /// A score; nothing for NaN.
    pub fn new(value: f64) -> Option<Self> {
        // The sum with zero is the positive one.
        (!value.is_nan()).then_some(Self(value + 0.0))
    }

    /// The double.
    pub const fn to_f64(self) -> f64 {
        self.0
    }

    /// Whether it is not an infinity.
    pub const fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The double as a number that sums begin with, exactly.
    pub const fn to_exact(self) -> ExactFloat {
        ExactFloat::from_f64(self.0)
    }

    /// The value that holds this score.
    pub fn to_bytes(self) -> ScoreBytes {
        let bits = self.0.to_bits();
        ScoreBytes { bytes: bits.to_be_bytes(), length: 8 - (bits.trailing_zeros() / 8).min(8) as u8 }
    }

    /// The score that a value holds. Every value is one, since it may come from outside: bytes past the eighth do not
    /// count, and NaN counts as zero.
    pub fn from_bytes(value: &[u8]) -> Self {
        let mut bytes = [0; 8];
        let length = value.len().min(8);
        bytes[..length].copy_from_slice(&value[..length]);
        Self::new(f64::from_bits(u64::from_be_bytes(bytes))).unwrap_or_default()
    }

    /// A word whose natural order is that of the scores.
    pub const fn to_ordered_word(self) -> u64 {
        const SIGN: u64 = 1 << 63;
        let bits = self.0.to_bits();
        if bits & SIGN == 0 { bits | SIGN } else { !bits }
    }

    /// The score with this word.
    pub const fn from_ordered_word(word: u64) -> Self {
        const SIGN: u64 = 1 << 63;
        Self(f64::from_bits(if word & SIGN == 0 { !word } else { word & !SIGN }))
    }
}

impl Deref for ScoreBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const SCORES: [f64; 14] = [
        f64::NEG_INFINITY,
        f64::MIN,
        -1.5,
        -1.0,
        -1e-300,
        0.0,
        5e-324,
        0.1,
        1.0,
        1.5,
        1_700_000_000.0,
        3_479_099_956_230_698.0,
        f64::MAX,
        f64::INFINITY,
    ];

    #[test]
    fn scores_come_back_from_their_bytes() {
        for (score, bytes) in SCORES.into_iter().zip([2, 8, 2, 2, 8, 0, 8, 8, 2, 2, 7, 8, 8, 2]) {
            let written = Score::new(score).unwrap().to_bytes();
            assert!(written.len() <= bytes, "{score} takes {} bytes", written.len());
            assert_eq!(Score::from_bytes(&written).to_f64().to_bits(), score.to_bits());
        }
    }

    #[test]
    fn words_are_ordered_as_scores_are() {
        let words: Vec<u64> = SCORES.iter().map(|&score| Score(score).to_ordered_word()).collect();
        for (one, other) in words.iter().zip(&words[1..]).map(|(one, other)| (*one, *other)) {
            let (low, high) = (Score::from_ordered_word(one), Score::from_ordered_word(other));
            assert_eq!(one.cmp(&other), low.partial_cmp(&high).unwrap());
        }
        assert!(words.is_sorted());
        for (score, word) in SCORES.into_iter().zip(words) {
            assert_eq!(Score::from_ordered_word(word), Score(score));
        }
    }

    #[test]
    fn any_value_is_a_score() {
        assert_eq!(Score::new(f64::NAN), None);
        assert_eq!(Score::from_bytes(&[0xff; 8]), Score::ZERO);
        assert!(Score::from_bytes(&[0x80]).to_f64().is_sign_positive());
        assert_eq!(Score::from_bytes(&[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 9, 9]), Score(1.0));
        assert_eq!(Score::from_bytes(b""), Score::ZERO);
    }
}
