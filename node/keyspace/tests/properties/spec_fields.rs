//! The specification of fields that end: what is said of a key's life, said of each field of a hash. A field has the
//! longest life of all assertions that stand; whatever sets or creates it asserts that it has no end.

use crate::history::{Answer, Atom, Key, Life, NewLife, Payload, Place};
use crate::spec::{self, Change, Kind};
use crate::spec_lifetime::{self, is_over};
use std::collections::BTreeMap;

/// How long a field stays where these atoms stand.
pub fn life(standing: &[&Atom], field: &str) -> Life {
    spec_lifetime::longest(standing, |place| place == Place::FieldLife(spec::known(field)))
}

/// The ends of the fields that readers find.
pub fn ends(standing: &[&Atom], fields: &BTreeMap<String, String>) -> BTreeMap<String, u64> {
    let end = |field: &String| match life(standing, field) {
        Life::Until(deadline) => Some((field.clone(), deadline)),
        Life::Never => None,
    };
    fields.keys().filter_map(end).collect()
}

/// Whether an atom is the content of a field that is over: readers find nothing of it.
pub fn is_hidden(standing: &[&Atom], atom: &Atom, now: u64) -> bool {
    match atom.place {
        Place::Field(field) => is_over(life(standing, field), now),
        _ => false,
    }
}

/// A write of a whole field: what was observed of it goes, its life too.
pub fn put(
    before: &[&Atom],
    key: Key,
    field: &'static str,
    value: &str,
    new_life: NewLife,
    now: u64,
) -> (Answer, Vec<Change>) {
    let there = match spec::fields_at(before, now) {
        Err(answer) => return (answer, vec![]),
        Ok(fields) => fields.contains_key(field),
    };
    let asserted = match new_life {
        NewLife::Keep if there => life(before, field),
        NewLife::Keep | NewLife::Never => Life::Never,
        NewLife::For(ms) => Life::Until(now + ms),
    };
    let mut change = spec::element_write(before, key, Kind::Hash, now);
    remove_from(&mut change, field);
    change.adds.push((Place::Field(field), Payload::Value(value.into())));
    change.adds.push((Place::FieldLife(field), Payload::Life(asserted)));
    (Answer::Flag(!there), vec![change])
}

/// What an increment does to the life of its field: one that creates the field asserts that it has no end, after what was
/// observed of a former one has gone; else an end is repeated.
pub fn repeat(before: &[&Atom], change: &mut Change, field: &'static str, is_there: bool) {
    if !is_there {
        remove_from(change, field);
        change.adds.push((Place::FieldLife(field), Payload::Life(Life::Never)));
    } else if let until @ Life::Until(_) = life(before, field) {
        assert(change, field, until);
    }
}

/// Sets how long a field stays.
pub fn set_life(before: &[&Atom], key: Key, field: &'static str, new_life: NewLife, now: u64) -> (Answer, Vec<Change>) {
    let asserted = match (spec::fields_at(before, now), new_life) {
        (Err(answer), _) => return (answer, vec![]),
        (Ok(fields), _) if !fields.contains_key(field) => return (Answer::Flag(false), vec![]),
        (Ok(_), NewLife::Keep) => return (Answer::Flag(false), vec![]),
        (Ok(_), NewLife::Never) => Life::Never,
        (Ok(_), NewLife::For(ms)) => Life::Until(now + ms),
    };
    let mut change = spec::element_write(before, key, Kind::Hash, now);
    assert(&mut change, field, asserted);
    (Answer::Flag(true), vec![change])
}

/// The replica found a field to be over and removed it, and the key with the last one.
pub fn expired(before: &[&Atom], key: Key, field: &'static str) -> Change {
    let is_of_field = |place| place == Place::Field(field) || place == Place::FieldLife(field);
    if before.iter().all(|atom| atom.place == Place::Lifetime || is_of_field(atom.place)) {
        return Change::of_all(key);
    }
    let mut change = Change::of(key);
    remove_from(&mut change, field);
    change
}

/// Everything observed of a field goes.
pub fn remove_from(change: &mut Change, field: &'static str) {
    change.removes_at(Place::Field(field));
    change.removes_at(Place::FieldLife(field));
}

fn assert(change: &mut Change, field: &'static str, life: Life) {
    change.removes_at(Place::FieldLife(field));
    change.adds.push((Place::FieldLife(field), Payload::Life(life)));
}
