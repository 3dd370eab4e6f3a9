//! Numbers that counters add up: exact integers, and floats kept as two doubles.
//!
//! A float contribution is an unevaluated sum of two doubles (Dekker 1971, Knuth's error-free addition), so that the
//! sum over all nodes does not depend on the order in which increments arrived. It is rounded once, when printed, as
//! Redis prints an `INCRBYFLOAT` result: from a 64-bit mantissa, fixed notation, 17 decimals, trailing zeros cut.

use crate::encoding::{DecodeError, Reader, put_signed, put_wide};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A real number as an unevaluated sum of two doubles: about 106 bits of precision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExactFloat {
    high: f64,
    low: f64,
}

/// What one node added to one counter: an integer part and a float part, both exact.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Number {
    /// The sum of all integer increments.
    pub integer: i128,
    /// The sum of all float increments; nothing if there was none.
    pub float: Option<ExactFloat>,
}

impl ExactFloat {
    /// The number that a text names, as `INCRBYFLOAT` accepts it: optional sign, digits, point, exponent, or a hexadecimal
    /// number; no spaces, no NaN; infinities are refused too, since no finite sum contains one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if let Some(value) = Self::parse_hexadecimal(text) {
            return Some(value);
        }
        let text = core::str::from_utf8(text).ok()?;
        let nearest: f64 = text.parse().ok()?;
        if !nearest.is_finite() {
            return None;
        }
        Some(Self::parse_digits(text).unwrap_or(Self { high: nearest, low: 0.0 }))
    }

    /// The double `value`, exactly.
    pub const fn from_f64(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// An integer, exactly up to 106 bits.
    pub fn from_integer(value: i128) -> Self {
        let high = value as f64;
        Self { high, low: value.wrapping_sub(high as i128) as f64 }
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        self.high + self.low
    }

    /// Whether the number is neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        self.high.is_finite()
    }

    /// The sum, with an error below one unit in the 104th bit.
    pub fn plus(self, other: Self) -> Self {
        let (sum, error) = two_sum(self.high, other.high);
        if !sum.is_finite() {
            return Self { high: sum, low: 0.0 };
        }
        let (low, low_error) = two_sum(self.low, other.low);
        let (sum, error) = quick_two_sum(sum, error + low);
        let (high, low) = quick_two_sum(sum, error + low_error);
        Self { high, low }
    }

    /// The negated number.
    pub fn negated(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }

    /// The text that Redis would print for this number after `INCRBYFLOAT`.
    pub fn to_redis_text(self) -> String {
        if !self.high.is_finite() {
            return if self.high > 0.0 { "inf".into() } else { "-inf".into() };
        }
        let (negative, mantissa, exponent) = self.to_extended();
        if mantissa == 0 {
            return "0".into();
        }
        let digits = if exponent >= 0 {
            large_integer_text(mantissa, exponent as u32)
        } else {
            fraction_text(mantissa, exponent.unsigned_abs())
        };
        if negative && digits != "0" { format!("-{digits}") } else { digits }
    }

    /// Sign, 64-bit mantissa and binary exponent: the nearest x87 extended value, which is what Redis computes with.
    fn to_extended(self) -> (bool, u64, i32) {
        let (sign, high, high_exponent) = parts(self.high);
        let (low_sign, low, low_exponent) = parts(self.low);
        // The mantissa of `high` in the upper bits of 127, the bits of `low` added where they belong.
        let exponent = high_exponent - 60;
        let shift = low_exponent - exponent;
        let low = i128::from(low);
        let low = match shift {
            0..=60 => low << shift,
            -63..0 => low >> -shift,
            _ => 0,
        };
        let sum = (i128::from(high) << 60) + if low_sign == sign { low } else { -low };
        let magnitude = sum.unsigned_abs();
        let bits = 128 - magnitude.leading_zeros() as i32;
        let excess = bits - 64;
        if excess <= 0 {
            return (sign ^ (sum < 0), magnitude as u64, exponent);
        }
        let (kept, carried) = round_half_even(magnitude, excess as u32);
        let (kept, carried) = if kept >> 64 != 0 { (kept >> 1, carried + 1) } else { (kept, carried) };
        (sign ^ (sum < 0), kept as u64, exponent + carried as i32)
    }

    /// Digits times a power of ten in two-double arithmetic; nothing for texts with too many digits for that.
    fn parse_digits(text: &str) -> Option<Self> {
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (digits, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let mut mantissa = 0i128;
        let mut scale = exponent;
        let mut after_point = false;
        for byte in digits.bytes() {
            match byte {
                b'.' => after_point = true,
                // What stands behind the digits that two doubles hold is only counted.
                b'0'..=b'9' if mantissa >> 100 != 0 => scale = scale.checked_add(i32::from(!after_point))?,
                b'0'..=b'9' => {
                    mantissa = mantissa * 10 + i128::from(byte - b'0');
                    scale = scale.checked_sub(i32::from(after_point))?;
                }
                _ => return None,
            }
        }
        let value = Self::from_integer(mantissa).times_power_of_ten(scale)?;
        Some(if negative { value.negated() } else { value })
    }

    /// Times this power of ten; nothing if no double holds it or the product.
    fn times_power_of_ten(self, scale: i32) -> Option<Self> {
        let size = scale.unsigned_abs();
        let scaled = if let Some(power) = 10i128.checked_pow(size).filter(|_| size <= 31) {
            let power = Self::from_integer(power);
            if scale < 0 { self.divided_by(power) } else { self.times(power) }
        } else if size <= 308 {
            // The powers of five and of two one after the other: so nothing between is too large for a double.
            let five = Self::power_of_five(size);
            let two = f64::from_bits((1023_i64 + i64::from(scale)).unsigned_abs() << 52);
            let value = if scale < 0 { self.divided_by(five) } else { self.times(five) };
            value.scaled(two)
        } else {
            return None;
        };
        Some(scaled).filter(|value| value.is_finite())
    }

    fn power_of_five(mut exponent: u32) -> Self {
        let (mut power, mut square) = (Self::from_f64(1.0), Self::from_f64(5.0));
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = power.times(square);
            }
            square = square.times(square);
            exponent >>= 1;
        }
        power
    }

    /// Times a power of two that a double holds.
    pub(crate) fn scaled(self, power: f64) -> Self {
        Self { high: self.high * power, low: self.low * power }
    }

    fn times(self, other: Self) -> Self {
        let (product, error) = two_product(self.high, other.high);
        let (high, low) = quick_two_sum(product, error + (self.high * other.low + self.low * other.high));
        Self { high, low }
    }

    fn divided_by(self, other: Self) -> Self {
        // Three steps of long division, each with the exact remainder of the one before.
        let mut rest = self;
        let mut quotient = Self::default();
        for _ in 0..3 {
            let digit = rest.high / other.high;
            rest = rest.plus(other.times(Self::from_f64(digit)).negated());
            quotient = quotient.plus(Self::from_f64(digit));
        }
        quotient
    }
}

impl Number {
    /// An integer.
    pub const fn integer(value: i128) -> Self {
        Self { integer: value, float: None }
    }

    /// A float.
    pub const fn float(value: ExactFloat) -> Self {
        Self { integer: 0, float: Some(value) }
    }

    /// The number that a stored value names: an integer as Redis counts it, else a float, else nothing.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match parse_integer(text) {
            Some(value) => Some(Self::integer(i128::from(value))),
            None => ExactFloat::parse(text).map(Self::float),
        }
    }

    /// The sum. Integer parts saturate at 127 bits, which no counter of 64-bit increments reaches.
    pub fn plus(self, other: Self) -> Self {
        let float = match (self.float, other.float) {
            (Some(a), Some(b)) => Some(a.plus(b)),
            (a, b) => a.or(b),
        };
        Self { integer: self.integer.saturating_add(other.integer), float }
    }

    /// The difference. What both sides had of a float part is gone afterwards, not zero: it prints as an integer.
    pub fn minus(self, other: Self) -> Self {
        let negated = Self { integer: other.integer.saturating_neg(), float: other.float.map(ExactFloat::negated) };
        self.plus(negated)
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        let integer = ExactFloat::from_integer(self.integer);
        self.float.map_or(integer, |float| integer.plus(float)).to_f64()
    }

    /// What a client reads: an integer, saturated at 64 bits, or a float as Redis prints it.
    pub fn to_redis_text(self) -> String {
        match self.float {
            Some(float) => ExactFloat::from_integer(self.integer).plus(float).to_redis_text(),
            None => self.integer.clamp(i128::from(i64::MIN), i128::from(i64::MAX)).to_string(),
        }
    }

    /// The number as words, for hashing: equal numbers have equal words.
    pub fn words(self) -> [u64; 5] {
        let float = self.float.unwrap_or_default();
        let integer = self.integer as u128;
        let bits = [float.high.to_bits(), float.low.to_bits()];
        [integer as u64, (integer >> 64) as u64, u64::from(self.float.is_some()), bits[0], bits[1]]
    }

    /// Appends the number: a byte that says whether there is a float part, the integer, the two doubles.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(u8::from(self.float.is_some()));
        put_wide(out, self.integer);
        if let Some(float) = self.float {
            out.extend_from_slice(&float.high.to_bits().to_le_bytes());
            out.extend_from_slice(&float.low.to_bits().to_le_bytes());
        }
    }

    /// Appends a whole number, as [`Number::encode`] does.
    #[inline]
    pub fn encode_whole(integer: i64, out: &mut Vec<u8>) {
        out.push(0);
        put_signed(out, integer);
    }

    /// Reads what [`Number::encode_whole`] wrote; nothing for any other number.
    #[inline]
    pub fn decode_whole(reader: &mut Reader<'_>) -> Option<i64> {
        if reader.byte("a number") != Ok(0) {
            return None;
        }
        reader.signed("a number").ok()
    }

    /// Reads what [`Number::encode`] wrote. Infinities and NaN are refused: no sum contains one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let has_float = reader.byte("a number")?;
        let integer = reader.wide("a number")?;
        let float = match has_float {
            0 => None,
            1 => {
                let high = f64::from_bits(reader.word("a float")?);
                let low = f64::from_bits(reader.word("a float")?);
                if !high.is_finite() || !low.is_finite() {
                    return Err(DecodeError::Invalid("a float"));
                }
                Some(ExactFloat { high, low })
            }
            _ => return Err(DecodeError::Invalid("a number")),
        };
        Ok(Self { integer, float })
    }
}

/// An integer exactly as Redis' `string2ll` accepts it: no sign but `-`, no leading zeros, no spaces, 64 bits.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = match text {
        [b'0'] => return Some(0),
        [b'-', rest @ ..] | rest => rest,
    };
    if digits.is_empty() || digits.len() > 19 || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0i128, |sum, &digit| sum * 10 + i128::from(digit - b'0'));
    i64::try_from(if text[0] == b'-' { -magnitude } else { magnitude }).ok()
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

fn quick_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// Veltkamp's splitting: without a fused multiply the product's error is summed from half-words.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |x: f64| {
        let scaled = 134_217_729.0 * x;
        let high = scaled - (scaled - x);
        (high, x - high)
    };
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, if error.is_finite() { error } else { 0.0 })
}

/// Sign, integer mantissa and exponent of a double.
fn parts(value: f64) -> (bool, u64, i32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (bits >> 63 != 0, mantissa, exponent)
}

/// `value >> shift`, rounded half to even, and the shift that was done.
fn round_half_even(value: u128, shift: u32) -> (u128, u32) {
    if shift >= 128 {
        return (0, shift);
    }
    let kept = value >> shift;
    let rest = value & ((1u128 << shift) - 1);
    let half = 1u128 << (shift - 1);
    let up = rest > half || (rest == half && kept & 1 == 1);
    (kept + u128::from(up), shift)
}

fn large_integer_text(mantissa: u64, exponent: u32) -> String {
    if exponent <= 63 {
        return (u128::from(mantissa) << exponent).to_string();
    }
    // Beyond 127 bits: decimal digits by repeated doubling; a counter that large is a curiosity, not a hot path.
    let mut digits: Vec<u8> = mantissa.to_string().bytes().rev().map(|b| b - b'0').collect();
    for _ in 0..exponent {
        let mut carry = 0;
        for digit in &mut digits {
            let doubled = *digit * 2 + carry;
            *digit = doubled % 10;
            carry = doubled / 10;
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    digits.iter().rev().map(|&d| char::from(d + b'0')).collect()
}

fn fraction_text(mantissa: u64, shift: u32) -> String {
    const DECIMALS: usize = 17;
    let scaled = u128::from(mantissa) * 10u128.pow(DECIMALS as u32);
    let (units, _) = round_half_even(scaled, shift);
    let text = format!("{units:0>width$}", width = DECIMALS + 1);
    let (whole, fraction) = text.split_at(text.len() - DECIMALS);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> String {
        ExactFloat::parse(value.as_bytes()).unwrap().to_redis_text()
    }

    #[test]
    fn floats_print_as_redis_prints_them() {
        for (given, printed) in [
            ("0.1", "0.1"),
            ("3.0e3", "3000"),
            ("5.0e3", "5000"),
            ("-0.5", "-0.5"),
            ("10.50", "10.5"),
            ("1e20", "100000000000000000000"),
            ("1e-17", "0.00000000000000001"),
            ("1e-18", "0"),
            ("-0", "0"),
            ("123456789.125", "123456789.125"),
        ] {
            assert_eq!(text(given), printed, "{given}");
        }
    }

    /// The texts are Redis' own: of the nearest numbers of 64 bits.
    #[test]
    fn large_floats_print_as_redis_prints_them() {
        for (given, printed) in [
            ("1e31", "9999999999999999999834643759104"),
            ("1e32", "100000000000000000000545460846592"),
            ("99999999999999999999999999999999", "100000000000000000000545460846592"),
            ("1e40", "9999999999999999999783686092270256259072"),
            ("-5e50", "-500000000000000000017919150594294619453992437022720"),
            ("123456789012345678901234567890123456789", "123456789012345678898145200625606983680"),
            ("36893488147419103233", "36893488147419103232"),
            ("0.3333333333333333333333333333333333333333333333", "0.33333333333333333"),
            ("1e-40", "0"),
            ("1e-300", "0"),
        ] {
            assert_eq!(text(given), printed, "{given}");
        }
        let large = ExactFloat::parse(b"1e33").unwrap();
        assert_eq!(large.plus(large).to_redis_text(), "1999999999999999999940540472754176");
        assert!(text("1e300").starts_with("1000000000000000000008997324079559193870523944"));
        assert!(text("1.7e308").starts_with("170000000000000000003136778025197596795270213889694"));
        assert!(text("1.7976931348623157e308").starts_with("1797693134862315699959210467741044340483"));
    }

    #[test]
    fn tenths_add_up_exactly() {
        let tenth = ExactFloat::parse(b"0.1").unwrap();
        let sum = (0..1000).fold(ExactFloat::default(), |sum, _| sum.plus(tenth));
        assert_eq!(sum.to_redis_text(), "100");
        assert_eq!(ExactFloat::parse(b"10.5").unwrap().plus(tenth).to_redis_text(), "10.6");
    }

    #[test]
    fn integers_parse_only_as_redis_writes_them() {
        for (given, value) in [("0", Some(0)), ("-1", Some(-1)), ("9223372036854775807", Some(i64::MAX))] {
            assert_eq!(parse_integer(given.as_bytes()), value, "{given}");
        }
        assert_eq!(parse_integer(b"-9223372036854775808"), Some(i64::MIN));
        for given in ["", "-", "+1", "01", "-0", " 1", "1 ", "9223372036854775808", "1.0", "99999999999999999999"] {
            assert_eq!(parse_integer(given.as_bytes()), None, "{given}");
        }
    }

    #[test]
    fn sums_leave_64_bits_without_wrapping() {
        let sum = Number::integer(i128::from(i64::MAX)).plus(Number::integer(5));
        assert_eq!(sum.to_redis_text(), "9223372036854775807");
        assert_eq!(sum.minus(Number::integer(6)).to_redis_text(), "9223372036854775806");
    }

    #[test]
    fn numbers_come_back_from_their_bytes() {
        for number in [Number::integer(-7), Number::parse(b"0.3").unwrap(), Number::integer(i128::MIN)] {
            let mut out = Vec::new();
            number.encode(&mut out);
            assert_eq!(Number::decode(&mut Reader::new(&out)), Ok(number));
        }
    }

    #[test]
    fn not_numbers_are_refused() {
        for text in ["", "abc", "nan", "inf", "1e999", " 1", "1 ", "0x", "0x1g"] {
            assert_eq!(ExactFloat::parse(text.as_bytes()), None, "{text}");
        }
    }
}
