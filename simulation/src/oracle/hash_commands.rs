//! What commands on hashes answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, bulks, count, flag, pairs};
use super::decimal::Decimal;
use super::history::{Key, Life, Place};
use super::shown::{Content, Shown};
use super::string_commands::sum;
use crate::reply::Value;
use std::collections::BTreeMap;

const NO_FIELD_INTEGER: &str = "ERR hash value is not an integer";
const NO_FIELD_FLOAT: &str = "ERR hash value is not a float";

/// Fields with their values, and the ends of those that have one.
type FieldsWithEnds = (BTreeMap<String, String>, BTreeMap<String, u64>);

impl Call<'_, '_> {
    fn fields(&mut self, key: &Key) -> Result<BTreeMap<String, String>, &'static str> {
        self.fields_with_ends(key).map(|(fields, _)| fields)
    }

    /// The fields of a hash with their values, and the ends of those that have one.
    pub(super) fn fields_with_ends(&mut self, key: &Key) -> Result<FieldsWithEnds, &'static str> {
        match self.execution.shown(key) {
            None => Ok(FieldsWithEnds::default()),
            Some(Shown { content: Content::Hash(fields), ends, .. }) => Ok((fields, ends)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub(super) fn hash(&mut self, name: &str) -> Option<Answer> {
        if !matches!(
            name,
            "hset"
                | "hsetnx"
                | "hget"
                | "hmget"
                | "hgetall"
                | "hkeys"
                | "hvals"
                | "hstrlen"
                | "hrandfield"
                | "hdel"
                | "hincrby"
                | "hincrbyfloat"
                | "hlen"
                | "hexists"
        ) {
            return None;
        }
        let key = self.key(1);
        let fields = match self.fields(&key) {
            Ok(fields) => fields,
            Err(error) => return Some(Err(error)),
        };
        let field = self.arg(2).to_owned();
        let old = fields.get(&field).cloned();
        Some(match name {
            "hset" => {
                let pairs = (2..self.args.len()).step_by(2);
                let pairs: Vec<_> = pairs.map(|at| (self.arg(at).to_owned(), self.arg(at + 1).to_owned())).collect();
                let put =
                    |(field, value): (String, String)| self.execution.put_field(&key, &field, &value, Life::Never);
                Ok(count(pairs.into_iter().map(put).filter(|&is_new| is_new).count()))
            }
            "hsetnx" => {
                if old.is_none() {
                    let value = self.arg(3).to_owned();
                    self.execution.put_field(&key, &field, &value, Life::Never);
                }
                Ok(flag(old.is_none()))
            }
            "hget" => Ok(Value::bulk(old)),
            "hmget" => {
                Ok(Value::Array(self.args[2..].iter().map(|name| Value::bulk(fields.get(name).cloned())).collect()))
            }
            "hgetall" => Ok(pairs(fields)),
            "hkeys" => Ok(bulks(fields.into_keys())),
            "hvals" => Ok(bulks(fields.into_values())),
            "hstrlen" => Ok(count(old.map_or(0, |value| value.len()))),
            // Any field will do, if it is one.
            "hrandfield" => Ok(match self.actual {
                Value::Bulk(chosen) if fields.contains_key(chosen) => Value::Bulk(chosen.clone()),
                _ => fields.into_keys().next().map_or(Value::Null, Value::Bulk),
            }),
            "hdel" => {
                let names: Vec<String> = self.args[2..].to_vec();
                let remove = |name| self.execution.remove_element(&key, Place::Field(name));
                Ok(count(names.into_iter().map(remove).filter(|&was_there| was_there).count()))
            }
            "hincrby" => {
                let amount = self.arg(3).parse().unwrap_or(0);
                sum(old.as_deref(), amount, NO_FIELD_INTEGER).map(|new| {
                    self.execution.increment(&key, Place::Field(field), Decimal::whole(amount));
                    Value::Integer(new)
                })
            }
            "hincrbyfloat" if old.as_ref().is_some_and(|text| Decimal::parse(text).is_none()) => Err(NO_FIELD_FLOAT),
            "hincrbyfloat" => {
                let amount = Decimal::parse(self.arg(3)).unwrap_or(Decimal(0));
                self.execution.increment(&key, Place::Field(field.clone()), amount);
                self.fields(&key).map(|fields| Value::bulk(fields.get(&field).cloned()))
            }
            "hlen" => Ok(count(fields.len())),
            _ => Ok(flag(old.is_some())),
        })
    }
}
