//! Hexadecimal floats, as C's `strtold` reads them: Redis takes them wherever it takes a float.

use crate::number::ExactFloat;

/// Beyond this power of two everything is zero or infinite.
const POWER_MAX: i64 = 4096;

impl ExactFloat {
    /// The number that a hexadecimal text names: sign, `0x`, digits with a point among them, and a power of two behind a
    /// `p`. Nothing for any other text, and for a number that no double is near. Of the digits some 104 bits count.
    pub fn parse_hexadecimal(text: &[u8]) -> Option<Self> {
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] | rest => (false, rest),
        };
        let [b'0', b'x' | b'X', digits @ ..] = text else { return None };
        let (digits, mut power) = match digits.iter().position(|byte| matches!(byte, b'p' | b'P')) {
            Some(at) => (&digits[..at], power_of(&digits[at + 1..])?),
            None => (digits, 0),
        };
        let (mut mantissa, mut is_behind_point) = (0u128, false);
        for &byte in digits {
            if byte == b'.' && !is_behind_point {
                is_behind_point = true;
                continue;
            }
            let digit = char::from(byte).to_digit(16)?;
            let is_full = mantissa >> 100 != 0;
            if !is_full {
                mantissa = mantissa << 4 | u128::from(digit);
            }
            power = power.saturating_add(4 * (i64::from(is_full) - i64::from(is_behind_point)));
        }
        if digits.iter().all(|byte| *byte == b'.') {
            return None;
        }
        if mantissa == 0 {
            power = 0;
        }
        let value = Self::from_integer(i128::try_from(mantissa).ok()?);
        // In two steps, of which the first one is exact.
        let (half, rest) = (power / 2, power - power / 2);
        let scaled = value.scaled(power_of_two(half)?).scaled(power_of_two(rest)?);
        let is_near = scaled.to_f64().is_finite() && (mantissa == 0 || scaled.to_f64() != 0.0);
        is_near.then(|| if is_negative { scaled.negated() } else { scaled })
    }
}

/// The number behind the `p`.
fn power_of(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(i64::MAX / 16));
    Some(if is_negative { -magnitude } else { magnitude })
}

/// Two to this power; nothing if no normal double is that.
fn power_of_two(power: i64) -> Option<f64> {
    if power.abs() > POWER_MAX {
        return None;
    }
    let biased = u64::try_from(power + 1023).ok().filter(|biased| (1..2047).contains(biased))?;
    Some(f64::from_bits(biased << 52))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_texts_are_read_as_c_reads_them() {
        let cases: &[(&str, f64)] = &[
            ("0x10", 16.0),
            ("-0X1f", -31.0),
            ("+0x.8", 0.5),
            ("0x1.8p1", 3.0),
            ("0xap-1", 5.0),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0", 0.0),
            ("0x0.00000000000000000000000000000000001p140", 1.0),
            ("0x100000000000000000000000000000000000p-140", 1.0),
        ];
        for (text, expected) in cases {
            let found = ExactFloat::parse_hexadecimal(text.as_bytes()).map(ExactFloat::to_f64);
            assert_eq!(found, Some(*expected), "{text}");
        }
        let refused = [
            "",
            "10",
            "0x",
            "0x.",
            "0xg",
            "0x1p",
            "0x1px",
            "0x1.2.3",
            " 0x1",
            "0x1 ",
            "0x1p1024",
            "0x1p-1080",
            "--0x1",
        ];
        for text in refused.iter().chain(&["0x1p99999999999999999999", "0x1p-99999999999999999999"]) {
            assert_eq!(ExactFloat::parse_hexadecimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn more_bits_than_a_double_has_are_kept() {
        let value = ExactFloat::parse_hexadecimal(b"0x1.000000000000000001p0").unwrap();
        assert_ne!(value, ExactFloat::from_f64(1.0));
        assert_eq!(value.to_f64(), 1.0);
    }
}
