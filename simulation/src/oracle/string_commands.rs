//! What commands on strings and counters answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, count, flag};
use super::decimal::Decimal;
use super::execution::NewLife;
use super::history::{Key, Life, Patch, Place};
use crate::reply::Value;

const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_FLOAT: &str = "ERR value is not a valid float";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

impl Call<'_, '_> {
    pub(super) fn text(&mut self, key: &Key) -> Result<Option<String>, &'static str> {
        self.execution.string(key).map_err(|_| WRONG_TYPE)
    }

    fn put(&mut self, key: &Key, value: &str) {
        self.execution.put_string(key, value, NewLife::Set(Life::Never));
    }

    pub(super) fn string(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let answer = match name {
            "get" => self.text(&key).map(Value::bulk),
            "getrange" => self.text(&key).map(|text| {
                let text = text.unwrap_or_default();
                Value::Bulk(text[self.range_at(2, text.len())].to_owned())
            }),
            "setnx" | "msetnx" => {
                let keys: Vec<usize> = (1..self.args.len()).step_by(2).collect();
                let is_free = keys.iter().all(|&at| self.execution.shown(&self.key(at)).is_none());
                if is_free {
                    for at in keys {
                        let value = self.arg(at + 1).to_owned();
                        self.put(&self.key(at), &value);
                    }
                }
                Ok(flag(is_free))
            }
            "psetex" => {
                let (life, value) = (self.until(2, 1), self.arg(3).to_owned());
                self.execution.put_string(&key, &value, NewLife::Set(life));
                Ok(Value::ok())
            }
            "getex" => self.text(&key).map(|old| {
                let life = if self.has("persist") { Life::Never } else { self.until(3, 1) };
                if old.is_some()
                    && self.execution.shown(&key).is_some_and(|shown| shown.life != life || !self.has("persist"))
                {
                    self.execution.set_life(&key, life);
                }
                Value::bulk(old)
            }),
            "strlen" => self.text(&key).map(|text| count(text.map_or(0, |text| text.len()))),
            "set" => self.call_set(&key),
            "getset" => self.text(&key).map(|old| {
                let value = self.arg(2).to_owned();
                self.put(&key, &value);
                Value::bulk(old)
            }),
            "getdel" => self.text(&key).map(|old| {
                self.execution.delete(&key);
                Value::bulk(old)
            }),
            "append" => self.text(&key).map(|old| {
                let patch = Patch::Append(self.arg(2).to_owned());
                count(self.execution.patch_string(&key, old, patch).len())
            }),
            "setrange" => self.text(&key).map(|old| {
                let patch = Patch::Range(self.arg(2).parse().unwrap_or(0), self.arg(3).to_owned());
                count(self.execution.patch_string(&key, old, patch).len())
            }),
            "mset" => {
                for at in (1..self.args.len()).step_by(2) {
                    let value = self.arg(at + 1).to_owned();
                    self.put(&self.key(at), &value);
                }
                Ok(Value::ok())
            }
            "mget" => {
                let values = (1..self.args.len()).map(|at| Value::bulk(self.text(&self.key(at)).ok().flatten()));
                Ok(Value::Array(values.collect()))
            }
            _ => return None,
        };
        Some(answer)
    }

    /// A life that ends so many times `unit_ms` from now.
    pub(super) fn until(&self, at: usize, unit_ms: u64) -> Life {
        Life::Until(self.execution.now + self.arg(at).parse::<u64>().unwrap_or(0) * unit_ms)
    }

    fn call_set(&mut self, key: &Key) -> Answer {
        let now = self.execution.now;
        let life = match (self.amount("ex", 1000), self.amount("px", 1), self.has("keepttl")) {
            (Some(ms), _, _) | (None, Some(ms), _) => NewLife::Set(Life::Until(now + ms)),
            (None, None, true) => NewLife::Keep,
            (None, None, false) => NewLife::Set(Life::Never),
        };
        let exists = (self.has("nx") || self.has("xx")) && self.execution.shown(key).is_some();
        let old = if self.has("get") { Some(Value::bulk(self.text(key)?)) } else { None };
        let writes = !(self.has("nx") && exists || self.has("xx") && !exists);
        if writes {
            let value = self.arg(2).to_owned();
            self.execution.put_string(key, &value, life);
        }
        Ok(old.unwrap_or(if writes { Value::ok() } else { Value::Null }))
    }

    pub(super) fn counter(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let amount = || self.arg(2).parse::<i64>().ok();
        let amount = match name {
            "incr" => 1,
            "decr" => -1,
            "incrby" => amount()?,
            "decrby" => -amount()?,
            "incrbyfloat" => return Some(self.add_float(&key)),
            _ => return None,
        };
        Some(self.text(&key).and_then(|old| {
            let new = sum(old.as_deref(), amount, NO_INTEGER)?;
            self.execution.increment(&key, Place::String, Decimal::whole(amount));
            Ok(Value::Integer(new))
        }))
    }

    fn add_float(&mut self, key: &Key) -> Answer {
        let amount = Decimal::parse(self.arg(2)).ok_or(NO_FLOAT)?;
        if let Some(text) = self.text(key)?.filter(|text| Decimal::parse(text).is_none()) {
            // Patches make such texts now and then: numbers with exponents, or beyond what exact decimals hold.
            if text.parse().is_ok_and(f64::is_finite) {
                self.execution.leave_untold(key);
                return Ok(Value::Null);
            }
            return Err(NO_FLOAT);
        }
        self.execution.increment(key, Place::String, amount);
        self.text(key).map(Value::bulk)
    }
}

pub(super) fn sum(old: Option<&str>, amount: i64, refusal: &'static str) -> Result<i64, &'static str> {
    let old = match old {
        None => 0,
        Some(text) => integer(text).ok_or(refusal)?,
    };
    old.checked_add(amount).ok_or(OVERFLOW)
}

/// A whole number as Redis reads it: no plus, no leading zeros.
fn integer(text: &str) -> Option<i64> {
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}
