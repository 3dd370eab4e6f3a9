//! The specification of lifetimes: a key has the longest life of all assertions that stand; none is no end at all.

use crate::history::{Atom, Life, Payload, Place};

/// How long a key lives where these atoms stand.
pub fn life(standing: &[&Atom]) -> Life {
    longest(standing, |place| place == Place::Lifetime)
}

/// The longest life that is asserted at these places.
pub fn longest(standing: &[&Atom], is_it: impl Fn(Place) -> bool) -> Life {
    let asserted = standing.iter().filter(|atom| is_it(atom.place)).filter_map(|atom| match atom.payload {
        Payload::Life(life) => Some(life),
        Payload::Value(_) | Payload::Increment(_) | Payload::Patch(_) | Payload::Member => None,
        Payload::Entry(..) | Payload::Head(_) => None,
    });
    asserted.max().unwrap_or(Life::Never)
}

/// Whether a life has ended. Tests never ask in the very millisecond of a deadline.
pub fn is_over(life: Life, now: u64) -> bool {
    match life {
        Life::Until(deadline) => deadline <= now,
        Life::Never => false,
    }
}
