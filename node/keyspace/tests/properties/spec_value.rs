//! The specification of a value with increments (a string, a hash field): the latest value that stands, plus every
//! increment that stands if that value is a number. Sums are exact decimals.

use crate::history::{Atom, Delta, Payload, Place};

/// Digits behind the point that the tests use at most.
const SCALE: u32 = 6;
const UNIT: i128 = 10i128.pow(SCALE);

/// A decimal number with six digits behind the point, exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal(i128);

impl Decimal {
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > SCALE as usize {
            return None;
        }
        let fraction: i128 = format!("{fraction:0<6}").parse().ok()?;
        let magnitude = whole.parse::<i128>().ok()? * UNIT + fraction;
        Some(Self(if negative { -magnitude } else { magnitude }))
    }

    fn of(delta: Delta) -> Self {
        match delta {
            Delta::Integer(value) => Self(i128::from(value) * UNIT),
            Delta::Float(text) => Self::parse(text).expect("the tests' floats are short decimals"),
        }
    }

    /// As Redis prints it; an integer beyond 64 bits shows the nearest one within.
    fn print(self) -> String {
        if self.0 % UNIT == 0 {
            return (self.0 / UNIT).clamp(i128::from(i64::MIN), i128::from(i64::MAX)).to_string();
        }
        let (sign, magnitude) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let fraction = format!("{:06}", magnitude % UNIT.unsigned_abs());
        format!("{sign}{}.{}", magnitude / UNIT.unsigned_abs(), fraction.trim_end_matches('0'))
    }
}

/// What stands at `place`, if anything does.
pub fn value(standing: &[&Atom], place: Place) -> Option<String> {
    let here: Vec<&&Atom> = standing.iter().filter(|atom| atom.place == place).collect();
    let latest = here
        .iter()
        .filter_map(|atom| match &atom.payload {
            Payload::Value(text) => Some((atom.stamp, atom.event, text)),
            Payload::Increment(_) | Payload::Member | Payload::Life(_) => None,
        })
        .max();
    let increments: Vec<Decimal> = here
        .iter()
        .filter_map(|atom| match atom.payload {
            Payload::Increment(delta) => Some(Decimal::of(delta)),
            Payload::Value(_) | Payload::Member | Payload::Life(_) => None,
        })
        .collect();
    let base = match latest {
        None if increments.is_empty() => return None,
        None => Decimal(0),
        Some((_, _, text)) => match Decimal::parse(text) {
            Some(base) if !increments.is_empty() => base,
            // Text stands as it is, and so does a number that nothing was added to.
            Some(_) | None => return Some(text.clone()),
        },
    };
    Some(Decimal(base.0 + increments.iter().map(|increment| increment.0).sum::<i128>()).print())
}

/// The names that tests use for fields and members, so that they can be borrowed for ever.
pub const NAMES: [&str; 4] = ["f", "g", "h", "i"];

/// A name as one of [`NAMES`].
pub fn known(name: &str) -> &'static str {
    NAMES.into_iter().find(|known| *known == name).expect("tests use the known names only")
}
