//! Fields that end, as the oracle understands them: what is said of a key's life, said of each field of a hash.

use super::commands::{Answer, Call, count};
use super::execution::{Change, Execution, Scope};
use super::history::{Atom, Key, Life, Payload, Place};
use super::shown::{Kind, is_over, longest};
use crate::reply::Value;
use std::collections::BTreeMap;

/// How long a field stays where these atoms stand.
pub(super) fn life_of(standing: &[&Atom], field: &str) -> Life {
    longest(standing, |place| matches!(place, Place::FieldLife(name) if name == field))
}

/// Whether an atom is the content of a field that is over: readers find nothing of it.
pub(super) fn is_hidden(standing: &[&Atom], atom: &Atom, now: u64) -> bool {
    matches!(&atom.place, Place::Field(field) if is_over(life_of(standing, field), now))
}

/// The ends of fields.
pub(super) fn ends<'f>(standing: &[&Atom], fields: impl Iterator<Item = &'f String>) -> BTreeMap<String, u64> {
    let end = |field: &String| match life_of(standing, field) {
        Life::Until(deadline) => Some((field.clone(), deadline)),
        Life::Never => None,
    };
    fields.filter_map(end).collect()
}

/// Everything observed of a field.
pub(super) fn whole(field: &str) -> [Scope; 2] {
    [Scope::Place(Place::Field(field.to_owned())), Scope::Place(Place::FieldLife(field.to_owned()))]
}

impl Execution<'_> {
    /// Writes a whole field: what was observed of it goes, its life too. True if it is new.
    pub(super) fn put_field(&mut self, key: &Key, field: &str, value: &str, life: Life) -> bool {
        let is_new = !self.contains(key, &Place::Field(field.to_owned()));
        let mut change = self.element_write(key, Kind::Hash);
        change.scopes.extend(whole(field));
        change.adds.push((Place::Field(field.to_owned()), Payload::Value(value.to_owned())));
        change.adds.push((Place::FieldLife(field.to_owned()), Payload::Life(life)));
        self.apply(key, change);
        is_new
    }

    /// What an increment does to the life of its field: one that creates the field asserts that it has no end, after what
    /// was observed of a former one has gone; else an end is repeated.
    pub(super) fn repeat_end(&mut self, key: &Key, field: &str, change: &mut Change) {
        if !self.contains(key, &Place::Field(field.to_owned())) {
            change.scopes.extend(whole(field));
            change.adds.push((Place::FieldLife(field.to_owned()), Payload::Life(Life::Never)));
        } else if let until @ Life::Until(_) = life_of(&self.standing(key), field) {
            assert_life(change, field, until);
        }
    }

    /// Sets how long a field stays, which is there.
    fn set_field_life(&mut self, key: &Key, field: &str, life: Life) {
        let mut change = self.element_write(key, Kind::Hash);
        assert_life(&mut change, field, life);
        self.apply(key, change);
    }
}

fn assert_life(change: &mut Change, field: &str, life: Life) {
    change.scopes.push(Scope::Place(Place::FieldLife(field.to_owned())));
    change.adds.push((Place::FieldLife(field.to_owned()), Payload::Life(life)));
}

impl Call<'_, '_> {
    /// The commands of fields that end, one field each but for `HSETEX`.
    pub(super) fn field_life(&mut self, name: &str) -> Option<Answer> {
        if !matches!(name, "hpexpire" | "hpersist" | "hpexpiretime" | "hsetex" | "hgetdel" | "hgetex") {
            return None;
        }
        let key = self.key(1);
        let (fields, ends) = match self.fields_with_ends(&key) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let at = self.args.iter().position(|arg| arg == "FIELDS")?;
        let field = self.arg(at + 2).to_owned();
        let (old, end) = (fields.get(&field).cloned(), ends.get(&field).copied());
        let until = |execution: &Execution<'_>, ms: &str| Life::Until(execution.now + ms.parse::<u64>().unwrap_or(0));
        let one = |value| Ok(Value::Array(vec![value]));
        Some(match name {
            "hpexpiretime" => one(Value::Integer(match (old, end) {
                (None, _) => -2,
                (Some(_), None) => -1,
                (Some(_), Some(deadline)) => deadline as i64,
            })),
            "hpersist" => one(Value::Integer(match (old, end) {
                (None, _) => -2,
                (Some(_), None) => -1,
                (Some(_), Some(_)) => {
                    self.execution.set_field_life(&key, &field, Life::Never);
                    1
                }
            })),
            "hpexpire" => {
                let life = until(self.execution, self.arg(2));
                one(Value::Integer(match old {
                    None => -2,
                    Some(_) => {
                        self.execution.set_field_life(&key, &field, life);
                        1
                    }
                }))
            }
            "hgetex" => {
                let life = until(self.execution, self.arg(3));
                if old.is_some() {
                    self.execution.set_field_life(&key, &field, life);
                }
                one(Value::bulk(old))
            }
            "hgetdel" => {
                if old.is_some() {
                    self.execution.remove_element(&key, Place::Field(field));
                }
                one(Value::bulk(old))
            }
            _ => {
                let life = match self.arg(2) {
                    "PX" => until(self.execution, self.arg(3)),
                    // Only this keeps it.
                    "KEEPTTL" => end.map_or(Life::Never, Life::Until),
                    _ => Life::Never,
                };
                let value = self.arg(at + 3).to_owned();
                self.execution.put_field(&key, &field, &value, life);
                Ok(count(1))
            }
        })
    }
}
