//! The specification of a value with increments (a string, a hash field, a score): the latest value that stands, plus every
//! increment that stands if that value is a number. Sums are exact.

use crate::decimal::Decimal;
use crate::history::{Atom, Delta, Payload, Place};

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
            Payload::Increment(delta) => Some(exactly(delta)),
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
    Some(Decimal(base.0 + increments.iter().map(|increment| increment.0).sum::<i128>()).redis_text())
}

fn exactly(delta: Delta) -> Decimal {
    match delta {
        Delta::Integer(value) => Decimal(i128::from(value) * 1_000_000),
        Delta::Float(text) => Decimal::parse(text).expect("the tests' floats are short decimals"),
    }
}

/// The names that tests use for fields and members, so that they can be borrowed for ever.
pub const NAMES: [&str; 4] = ["f", "g", "h", "i"];

/// A name as one of [`NAMES`].
pub fn known(name: &str) -> &'static str {
    NAMES.into_iter().find(|known| *known == name).expect("tests use the known names only")
}
