//! The specification of a value with increments (a string, a hash field, a score): the latest value that stands, plus every
//! increment that stands if that value is a number. Sums are exact.

use crate::decimal::Decimal;
use crate::history::{Answer, Atom, Delta, Key, NewLife, Patch, Payload, Place};
use crate::spec::{self, Change, Content};
use crdt::Stamp;

/// What stands at `place`, if anything does.
pub fn value(standing: &[&Atom], place: Place) -> Option<String> {
    let here: Vec<&&Atom> = standing.iter().filter(|atom| atom.place == place).collect();
    let latest = here
        .iter()
        .filter_map(|atom| match &atom.payload {
            Payload::Value(text) => Some((atom.stamp, atom.event, text)),
            Payload::Increment(_) | Payload::Patch(_) | Payload::Member | Payload::Life(_) => None,
            Payload::Entry(..) | Payload::Head(_) => None,
        })
        .max();
    let increments: Vec<Decimal> = here
        .iter()
        .filter_map(|atom| match atom.payload {
            Payload::Increment(delta) => Some(exactly(delta)),
            Payload::Value(_) | Payload::Patch(_) | Payload::Member | Payload::Life(_) => None,
            Payload::Entry(..) | Payload::Head(_) => None,
        })
        .collect();
    let text = patched(&here, latest);
    let base = match text {
        None if increments.is_empty() => return None,
        None => Decimal(0),
        Some(text) => match Decimal::parse(&text) {
            Some(base) if !increments.is_empty() => base,
            // Text stands as it is, and so does a number that nothing was added to.
            Some(_) | None => return Some(text),
        },
    };
    Some(Decimal(base.0 + increments.iter().map(|increment| increment.0).sum::<i128>()).redis_text())
}

/// The text that the latest value and the patches later than it make.
fn patched(here: &[&&Atom], latest: Option<(Stamp, usize, &String)>) -> Option<String> {
    let mut patches: Vec<(Stamp, usize, Patch)> = here
        .iter()
        .filter_map(|atom| match atom.payload {
            Payload::Patch(patch) => Some((atom.stamp, atom.event, patch)),
            Payload::Value(_) | Payload::Increment(_) | Payload::Member | Payload::Life(_) => None,
            Payload::Entry(..) | Payload::Head(_) => None,
        })
        .collect();
    patches.sort_by_key(|&(stamp, event, _)| (stamp, event));
    let base = latest.map(|(stamp, event, _)| (stamp, event));
    let mut text = latest.map(|(_, _, text)| text.clone());
    for (_, _, patch) in patches.into_iter().filter(|&(stamp, event, _)| base.is_none_or(|base| base < (stamp, event)))
    {
        text = Some(after(text.unwrap_or_default(), patch));
    }
    text
}

/// A text after a patch.
fn after(text: String, patch: Patch) -> String {
    match patch {
        Patch::Append(more) => text + more,
        Patch::Range(offset, part) => {
            let mut bytes = text.into_bytes();
            bytes.resize(bytes.len().max(offset + part.len()), 0);
            bytes[offset..offset + part.len()].copy_from_slice(part.as_bytes());
            String::from_utf8(bytes).expect("the tests' texts are ASCII")
        }
    }
}

/// A write of a part of a string. Over increments, which a part does not take away, the whole is written.
pub fn patch_string(before: &[&Atom], key: Key, patch: Patch, now: u64) -> (Answer, Vec<Change>) {
    let shown = spec::shown(before, now).map(|shown| shown.content);
    let text = match shown {
        None => None,
        Some(Content::String(text)) => Some(text),
        Some(_) => return (Answer::WrongKind, vec![]),
    };
    let is_counted =
        before.iter().any(|atom| atom.place == Place::String && matches!(atom.payload, Payload::Increment(_)));
    if let Some(text) = text.filter(|_| is_counted) {
        let value = (Place::String, Payload::Value(after(text, patch)));
        return (Answer::Done, vec![spec::put_string(before, key, value, NewLife::Keep, now)]);
    }
    let mut change = spec::element_write(before, key, spec::Kind::String, now);
    change.adds.push((Place::String, Payload::Patch(patch)));
    (Answer::Done, vec![change])
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
