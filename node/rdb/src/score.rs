//! Scores of sorted sets as text.

use crate::error::RdbError;

/// A score from its textual form.
pub(crate) fn score(text: &[u8]) -> Result<f64, RdbError> {
    let score = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    score.filter(|score| !score.is_nan()).ok_or(RdbError::Corrupt("a score is no number"))
}

/// A score in its shortest exact form, which is never longer than 24 letters: Redis reads scores of small sorted sets into
/// 128 bytes and cuts off what is beyond, so that 1e300 with all its digits would become another number.
pub fn score_text(score: f64) -> String {
    if score != 0.0 && score.is_finite() && !(1e-5..1e17).contains(&score.abs()) {
        format!("{score:e}")
    } else {
        format!("{score}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_exact_and_short() {
        for (score, text) in [(3.0, "3"), (-0.1, "-0.1"), (1e300, "1e300"), (2.5e-9, "2.5e-9"), (f64::INFINITY, "inf")]
        {
            assert_eq!(score_text(score), text);
        }
        for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -1.234_567_890_123_456_7e-300, 1e16, 0.1 + 0.2] {
            let text = score_text(value);
            assert!(text.len() <= 24, "{text}");
            assert_eq!(score(text.as_bytes()).unwrap(), value);
        }
    }
}
