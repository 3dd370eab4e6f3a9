//! Exact decimals, and how Redis prints them: what a counter has to show. Slow and obvious on purpose.

/// A number of trillionths of millionths, exactly. What Redis prints has at most 17 digits behind the point, and such a text
/// may be added to, and copied or patched before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Decimal(pub i128);

const DIGITS: i32 = 18;
const UNIT: u128 = 10u128.pow(DIGITS as u32);

impl Decimal {
    /// A whole number.
    pub fn whole(value: i64) -> Self {
        Self(i128::from(value) * UNIT as i128)
    }

    /// The number that a decimal text names, with an exponent or without; nothing for any other text, and for a number that
    /// has more digits than are told here.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (digits, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let shift = exponent.parse::<i32>().ok()?.checked_add(DIGITS)?.checked_sub(fraction.len().try_into().ok()?)?;
        if mantissa == 0 {
            return Some(Self(0));
        }
        let power = 10i128.checked_pow(shift.unsigned_abs())?;
        let magnitude = match shift {
            0.. => mantissa.checked_mul(power)?,
            _ if mantissa % power == 0 => mantissa / power,
            _ => return None,
        };
        Some(Self(if negative { -magnitude } else { magnitude }))
    }

    /// As Redis prints it: an integer as it is (the nearest one within 64 bits), any other number from the nearest one
    /// with a mantissa of 64 bits, with 17 digits behind the point and no zeros at the end.
    pub fn redis_text(self) -> String {
        let magnitude = self.0.unsigned_abs();
        if magnitude.is_multiple_of(UNIT) {
            let whole = self.0 / UNIT as i128;
            return whole.clamp(i128::from(i64::MIN), i128::from(i64::MAX)).to_string();
        }
        // The mantissa is `magnitude * 2^shift / UNIT`, rounded, with its highest bit set.
        let mut shift = 0;
        while rounded(magnitude << shift, UNIT) < 1 << 63 {
            shift += 1;
        }
        let mantissa = rounded(magnitude << shift, UNIT);
        let places = 10u128.pow(17);
        let scaled = rounded(mantissa * places, 1 << shift);
        trimmed(self.0 < 0, scaled / places, &format!("{:017}", scaled % places))
    }
}

/// `dividend / divisor` to the nearest integer, ties to even.
fn rounded(dividend: u128, divisor: u128) -> u128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let up = rest * 2 > divisor || (rest * 2 == divisor && quotient % 2 == 1);
    quotient + u128::from(up)
}

fn trimmed(negative: bool, whole: u128, fraction: &str) -> String {
    let sign = if negative { "-" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_printed_as_redis_prints_them() {
        for (text, printed) in [("3", "3"), ("-0.5", "-0.5"), ("2.50", "2.5"), ("10.000", "10"), ("0.1", "0.1")] {
            assert_eq!(Decimal::parse(text).unwrap().redis_text(), printed);
        }
        for text in ["", "abc", "1e", "e5", "1.2.3", "-", ".5", "1e-19", "1e40"] {
            assert_eq!(Decimal::parse(text), None);
        }
    }

    #[test]
    fn what_was_printed_is_read_exactly() {
        // Seed 46 of the scenario `counting`: a copied sum was read as six digits of it.
        let sum = |text, more| Decimal(Decimal::parse(text).unwrap().0 + Decimal::parse(more).unwrap().0).redis_text();
        assert_eq!(sum("159.89999999999999999", "0.5"), "160.39999999999999999");
        assert_eq!(sum("9223372036854775807", "-0.5"), "9223372036854775806.5");
    }

    #[test]
    fn a_patch_may_make_an_exponent() {
        // Seed 49 of the scenario `counting`: `SETRANGE` made it of `3.000001`.
        assert_eq!(Decimal::parse("3.00e001"), Some(Decimal::whole(30)));
        assert_eq!(Decimal::parse("-25e-1"), Decimal::parse("-2.5"));
        assert_eq!(Decimal::parse("0e99999"), Some(Decimal::whole(0)));
    }
}
