//! Fields that end, as the oracle understands them: what is said of a key's life, said of each field of a hash.

use super::commands::{Answer, Call, count};
use super::execution::{Change, Execution, Scope};
use super::history::{Atom, Key, Life, Payload, Place};
use super::key_commands::Condition;
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
    /// The commands of fields that end.
    pub(super) fn field_life(&mut self, name: &str) -> Option<Answer> {
        const NAMES: [&str; 9] =
            ["hexpire", "hpexpire", "hpersist", "httl", "hpttl", "hpexpiretime", "hsetex", "hgetdel", "hgetex"];
        if !NAMES.contains(&name) {
            return None;
        }
        let key = self.key(1);
        let (fields, ends) = match self.fields_with_ends(&key) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let at = self.args.iter().position(|arg| arg == "FIELDS")?;
        let named = self.args[at + 2..].to_vec();
        if name == "hsetex" {
            return Some(Ok(self.call_hsetex(&key, &named, &fields, &ends)));
        }
        let answers = named.iter().map(|field| {
            let (old, end) = (fields.get(field).cloned(), ends.get(field).copied());
            match name {
                "hgetex" => {
                    match (&old, self.arg(2), end) {
                        (Some(_), "PX", _) => self.execution.set_field_life(&key, field, self.until(3, 1)),
                        (Some(_), _, Some(_)) => self.execution.set_field_life(&key, field, Life::Never),
                        (Some(_), _, None) | (None, _, _) => {}
                    }
                    Value::bulk(old)
                }
                "hgetdel" => {
                    if old.is_some() {
                        self.execution.remove_element(&key, Place::Field(field.clone()));
                    }
                    Value::bulk(old)
                }
                _ => Value::Integer(match (old, end) {
                    (None, _) => -2,
                    (Some(_), end) => self.field_number(name, &key, field, end),
                }),
            }
        });
        let answers = answers.collect();
        Some(Ok(Value::Array(answers)))
    }

    /// What is answered of a field that is there by a command that answers numbers.
    fn field_number(&mut self, name: &str, key: &Key, field: &str, end: Option<u64>) -> i64 {
        let now = self.execution.now;
        match (name, end) {
            ("hexpire" | "hpexpire", _) => {
                let life = self.until(2, if name == "hexpire" { 1000 } else { 1 });
                let (Life::Until(deadline), current) = (life, end.map_or(Life::Never, Life::Until)) else { return 0 };
                if !Condition::of(self.arg(3)).allows(current, deadline) {
                    return 0;
                }
                self.execution.set_field_life(key, field, life);
                1
            }
            (_, None) => -1,
            ("hpersist", Some(_)) => {
                self.execution.set_field_life(key, field, Life::Never);
                1
            }
            ("httl", Some(deadline)) => (deadline - now).div_ceil(1000) as i64,
            ("hpttl", Some(deadline)) => (deadline - now) as i64,
            (_, Some(deadline)) => deadline as i64,
        }
    }

    fn call_hsetex(
        &mut self,
        key: &Key,
        pairs: &[String],
        fields: &BTreeMap<String, String>,
        ends: &BTreeMap<String, u64>,
    ) -> Value {
        let named = || pairs.chunks_exact(2).map(|pair| &pair[0]);
        let is_allowed = match self.arg(2) {
            "FNX" => !named().any(|field| fields.contains_key(field)),
            "FXX" => named().all(|field| fields.contains_key(field)),
            _ => true,
        };
        if !is_allowed {
            return count(0);
        }
        let px = self.args.iter().position(|arg| arg == "PX");
        for pair in pairs.chunks_exact(2) {
            let life = match px {
                Some(at) => self.until(at + 1, 1),
                // Only this keeps it.
                None if self.has("keepttl") => ends.get(&pair[0]).map_or(Life::Never, |&end| Life::Until(end)),
                None => Life::Never,
            };
            self.execution.put_field(key, &pair[0], &pair[1], life);
        }
        count(1)
    }
}
