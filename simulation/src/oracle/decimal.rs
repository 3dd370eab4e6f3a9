//! Exact decimals, and how Redis prints them: what a counter has to show. Slow and obvious on purpose.

/// A number of millionths, exactly. The workload uses at most six digits behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Decimal(pub i128);

const DIGITS: usize = 6;
const UNIT: u128 = 1_000_000;

impl Decimal {
    /// A whole number.
    pub fn whole(value: i64) -> Self {
        Self(i128::from(value) * UNIT as i128)
    }

    /// The number that a short decimal text names; nothing for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 17 {
            return None;
        }
        // More digits than were ever added come from rounding to a float and are not exact anyway.
        let fraction: i128 = format!("{fraction:0<DIGITS$}")[..DIGITS].parse().ok()?;
        let magnitude = whole.parse::<i128>().ok()?.checked_mul(UNIT as i128)? + fraction;
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
        for text in ["", "abc", "1e5", "1.2.3", "-", ".5"] {
            assert_eq!(Decimal::parse(text), None);
        }
    }
}
