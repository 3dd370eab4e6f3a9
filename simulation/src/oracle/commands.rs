//! Commands as the oracle understands them: what each answers and writes, by the contract and by Redis' manual.

use super::decimal::Decimal;
use super::execution::{Execution, NewLife};
use super::history::{Key, Life, Patch, Payload, Place};
use super::shown::{Content, Kind, Shown};
use crate::reply::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_FLOAT: &str = "ERR value is not a valid float";
const NO_FIELD_INTEGER: &str = "ERR hash value is not an integer";
const NO_FIELD_FLOAT: &str = "ERR hash value is not a float";
const NO_KEY: &str = "ERR no such key";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

/// What a command answers; a refusal is an answer too.
pub(super) type Answer = Result<Value, &'static str>;

/// Executes a command in database `database` and says what it must answer. `actual` is what it did answer: the choice
/// of a command with a random outcome is taken from there. None: the oracle does not know the command.
pub fn execute(execution: &mut Execution<'_>, database: u8, args: &[String], actual: &Value) -> Option<Value> {
    let name = args.first()?.to_ascii_lowercase();
    let mut call = Call { execution, database, args, actual };
    let answer = call.string(&name).or_else(|| call.counter(&name));
    let answer = answer.or_else(|| call.hash(&name)).or_else(|| call.set(&name)).or_else(|| call.sorted_set(&name));
    let answer = answer.or_else(|| call.list(&name)).or_else(|| call.stream(&name)).or_else(|| call.group(&name));
    let answer = answer.or_else(|| call.generic(&name)).or_else(|| call.life(&name));
    let answer = answer.or_else(|| call.field_life(&name))?;
    Some(answer.unwrap_or_else(|text| Value::Error(text.to_owned())))
}

/// Fields with their values, and the ends of those that have one.
type FieldsWithEnds = (BTreeMap<String, String>, BTreeMap<String, u64>);

pub(super) struct Call<'c, 'h> {
    pub(super) execution: &'c mut Execution<'h>,
    database: u8,
    pub(super) args: &'c [String],
    pub(super) actual: &'c Value,
}

impl Call<'_, '_> {
    pub(super) fn key(&self, at: usize) -> Key {
        Key::new(self.database, self.arg(at))
    }

    pub(super) fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }

    fn has(&self, word: &str) -> bool {
        self.args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word))
    }

    /// The amount behind a word such as `PX`, in milliseconds.
    fn amount(&self, word: &str, unit: u64) -> Option<u64> {
        let at = self.args.iter().position(|arg| arg.eq_ignore_ascii_case(word))?;
        Some(self.arg(at + 1).parse::<u64>().ok()? * unit)
    }

    fn text(&mut self, key: &Key) -> Result<Option<String>, &'static str> {
        self.execution.string(key).map_err(|_| WRONG_TYPE)
    }

    fn put(&mut self, key: &Key, value: &str) {
        self.execution.put_string(key, value, NewLife::Set(Life::Never));
    }

    fn string(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let answer = match name {
            "get" => self.text(&key).map(Value::bulk),
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
            // A character, as eight bits.
            "bitfield" => self.text(&key).map(|old| {
                let offset = self.arg(4).trim_start_matches('#').parse().unwrap_or(0);
                let byte = old.as_ref().and_then(|text| text.as_bytes().get(offset).copied()).unwrap_or(0);
                let letter = self.arg(5).parse().map_or('?', |code: u8| char::from(code));
                self.execution.patch_string(&key, old, Patch::Range(offset, letter.to_string()));
                Value::Array(vec![count(usize::from(byte))])
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

    fn counter(&mut self, name: &str) -> Option<Answer> {
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

    fn hash(&mut self, name: &str) -> Option<Answer> {
        if !matches!(
            name,
            "hset" | "hsetnx" | "hget" | "hgetall" | "hdel" | "hincrby" | "hincrbyfloat" | "hlen" | "hexists"
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
            "hgetall" => {
                Ok(Value::Array(fields.into_iter().flat_map(|(f, v)| [Value::Bulk(f), Value::Bulk(v)]).collect()))
            }
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

    fn members(&mut self, key: &Key) -> Result<BTreeSet<String>, &'static str> {
        match self.execution.shown(key).map(|shown| shown.content) {
            None => Ok(BTreeSet::new()),
            Some(Content::Set(members)) => Ok(members),
            Some(
                Content::String(_) | Content::Hash(_) | Content::SortedSet(_) | Content::List(_) | Content::Stream(_),
            ) => Err(WRONG_TYPE),
        }
    }

    fn set(&mut self, name: &str) -> Option<Answer> {
        if !matches!(name, "sadd" | "srem" | "smembers" | "sismember" | "scard" | "spop" | "smove") {
            return None;
        }
        let key = self.key(1);
        let members = match self.members(&key) {
            Ok(members) => members,
            Err(error) => return Some(Err(error)),
        };
        let names: Vec<String> = self.args[2..].to_vec();
        Some(match name {
            "sadd" => {
                let add = |name| self.execution.put_element(&key, Place::Member(name), Payload::Member);
                Ok(count(names.into_iter().map(add).filter(|&is_new| is_new).count()))
            }
            "srem" => {
                let remove = |name| self.execution.remove_element(&key, Place::Member(name));
                Ok(count(names.into_iter().map(remove).filter(|&was_there| was_there).count()))
            }
            "smembers" => Ok(Value::Array(members.into_iter().map(Value::Bulk).collect())),
            "sismember" => Ok(flag(members.contains(self.arg(2)))),
            "scard" => Ok(count(members.len())),
            "spop" => Ok(match self.actual {
                // Any member will do, if it is one.
                Value::Bulk(chosen) if members.contains(chosen) => {
                    self.execution.remove_element(&key, Place::Member(chosen.clone()));
                    Value::Bulk(chosen.clone())
                }
                _ => members.into_iter().next().map_or(Value::Null, Value::Bulk),
            }),
            _ => self.call_smove(&key, &members),
        })
    }

    fn call_smove(&mut self, source: &Key, members: &BTreeSet<String>) -> Answer {
        let (target, member) = (self.key(2), self.arg(3).to_owned());
        if members.is_empty() {
            return Ok(flag(false));
        }
        self.members(&target)?;
        let is_member = members.contains(&member);
        if is_member && *source != target {
            self.execution.remove_element(source, Place::Member(member.clone()));
            self.execution.put_element(&target, Place::Member(member), Payload::Member);
        }
        Ok(flag(is_member))
    }

    fn scores(&mut self, key: &Key) -> Result<BTreeMap<String, String>, &'static str> {
        match self.execution.shown(key).map(|shown| shown.content) {
            None => Ok(BTreeMap::new()),
            Some(Content::SortedSet(members)) => Ok(members),
            Some(Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::List(_) | Content::Stream(_)) => {
                Err(WRONG_TYPE)
            }
        }
    }

    fn sorted_set(&mut self, name: &str) -> Option<Answer> {
        if !matches!(name, "zadd" | "zincrby" | "zrem" | "zscore" | "zcard" | "zrange" | "zpopmin") {
            return None;
        }
        let key = self.key(1);
        let members = match self.scores(&key) {
            Ok(members) => members,
            Err(error) => return Some(Err(error)),
        };
        Some(match name {
            "zadd" => {
                let pairs: Vec<(String, String)> =
                    self.args[2..].chunks_exact(2).map(|pair| (pair[1].clone(), pair[0].clone())).collect();
                let put =
                    |(member, score)| self.execution.put_element(&key, Place::Scored(member), Payload::Value(score));
                Ok(count(pairs.into_iter().map(put).filter(|&is_new| is_new).count()))
            }
            "zincrby" => {
                let (amount, member) = (Decimal::parse(self.arg(2)).unwrap_or(Decimal(0)), self.arg(3).to_owned());
                self.execution.increment(&key, Place::Scored(member.clone()), amount);
                self.scores(&key).map(|members| Value::bulk(members.get(&member).cloned()))
            }
            "zrem" => {
                let names: Vec<String> = self.args[2..].to_vec();
                let remove = |name| self.execution.remove_element(&key, Place::Scored(name));
                Ok(count(names.into_iter().map(remove).filter(|&was_there| was_there).count()))
            }
            "zscore" => Ok(Value::bulk(members.get(self.arg(2)).cloned())),
            "zcard" => Ok(count(members.len())),
            "zrange" => Ok(Value::Array(
                by_score(members).into_iter().flat_map(|(m, score)| [Value::Bulk(m), Value::Bulk(score)]).collect(),
            )),
            _ => Ok(Value::Array(match by_score(members).into_iter().next() {
                Some((member, score)) => {
                    self.execution.remove_element(&key, Place::Scored(member.clone()));
                    vec![Value::Bulk(member), Value::Bulk(score)]
                }
                None => Vec::new(),
            })),
        })
    }

    fn generic(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let keys: Vec<Key> = (1..self.args.len()).map(|at| self.key(at)).collect();
        Some(match name {
            "del" | "unlink" => Ok(count(keys.iter().filter(|key| self.execution.delete(key)).count())),
            "exists" => Ok(count(keys.iter().filter(|key| self.execution.shown(key).is_some()).count())),
            "type" => Ok(Value::Simple(type_name(self.execution.shown(&key)).to_owned())),
            "rename" | "renamenx" => self.rename(&key, name == "renamenx"),
            "copy" => {
                let database = self.amount("db", 1).and_then(|d| u8::try_from(d).ok()).unwrap_or(self.database);
                let target = Key::new(database, self.arg(2));
                let is_free = self.has("replace") || self.execution.shown(&target).is_none();
                let copies = self.execution.shown(&key).is_some() && is_free;
                if copies {
                    self.execution.copy(&key, &target);
                }
                Ok(flag(copies))
            }
            "move" => {
                let target = Key::new(self.arg(2).parse().unwrap_or(0), self.arg(1));
                let moves = self.execution.shown(&key).is_some() && self.execution.shown(&target).is_none();
                if moves {
                    self.execution.copy(&key, &target);
                    self.execution.delete(&key);
                }
                Ok(flag(moves))
            }
            "flushdb" => {
                self.execution.clear(Some(self.database));
                Ok(Value::ok())
            }
            "flushall" => {
                self.execution.clear(None);
                Ok(Value::ok())
            }
            _ => return None,
        })
    }

    fn rename(&mut self, source: &Key, only_if_free: bool) -> Answer {
        let target = self.key(2);
        if self.execution.shown(source).is_none() {
            return Err(NO_KEY);
        }
        let renames = !only_if_free || self.execution.shown(&target).is_none();
        if renames && *source != target {
            self.execution.copy(source, &target);
            self.execution.delete(source);
        }
        Ok(if only_if_free { flag(renames) } else { Value::ok() })
    }

    fn life(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let now = self.execution.now;
        let unit = match name {
            "expire" | "ttl" => 1000,
            "pexpire" | "pttl" | "pexpiretime" | "persist" => 1,
            _ => return None,
        };
        let life = self.execution.shown(&key).map(|shown| shown.life);
        Some(Ok(match name {
            "expire" | "pexpire" => {
                let ms = self.arg(2).parse::<u64>().unwrap_or(0) * unit;
                flag(self.execution.set_life(&key, Life::Until(now + ms)))
            }
            "persist" => {
                let persists = matches!(life, Some(Life::Until(_)));
                flag(persists && self.execution.set_life(&key, Life::Never))
            }
            _ => Value::Integer(match life {
                None => -2,
                Some(Life::Never) => -1,
                Some(Life::Until(deadline)) if name == "pexpiretime" => deadline as i64,
                Some(Life::Until(deadline)) if name == "ttl" => ((deadline - now + 500) / 1000) as i64,
                Some(Life::Until(deadline)) => (deadline - now) as i64,
            }),
        }))
    }
}

fn sum(old: Option<&str>, amount: i64, refusal: &'static str) -> Result<i64, &'static str> {
    let old = match old {
        None => 0,
        Some(text) => integer(text).ok_or(refusal)?,
    };
    old.checked_add(amount).ok_or(OVERFLOW)
}

/// Members in the order of their scores, those of one score in that of their names.
fn by_score(members: BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut ordered: Vec<(String, String)> = members.into_iter().collect();
    ordered.sort_by_key(|(_, score)| Decimal::parse(score).map(|score| score.0));
    ordered
}

/// A whole number as Redis reads it: no plus, no leading zeros.
fn integer(text: &str) -> Option<i64> {
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

pub(super) fn count(value: usize) -> Value {
    Value::Integer(value as i64)
}

fn flag(value: bool) -> Value {
    Value::Integer(i64::from(value))
}

fn type_name(shown: Option<Shown>) -> &'static str {
    match shown.map(|shown| kind(&shown.content)) {
        None => "none",
        Some(Kind::String) => "string",
        Some(Kind::Hash) => "hash",
        Some(Kind::Set) => "set",
        Some(Kind::SortedSet) => "zset",
        Some(Kind::List) => "list",
        Some(Kind::Stream) => "stream",
    }
}

fn kind(content: &Content) -> Kind {
    match content {
        Content::String(_) => Kind::String,
        Content::Hash(_) => Kind::Hash,
        Content::Set(_) => Kind::Set,
        Content::SortedSet(_) => Kind::SortedSet,
        Content::List(_) => Kind::List,
        Content::Stream(_) => Kind::Stream,
    }
}

/// Brings a reply whose order is free into one.
pub fn in_order(name: &str, reply: Value) -> Value {
    match (name.to_ascii_lowercase().as_str(), reply) {
        ("smembers", Value::Array(mut members)) => {
            members.sort();
            Value::Array(members)
        }
        ("hgetall", Value::Array(values)) => {
            let mut pairs: Vec<_> = values.chunks(2).map(<[Value]>::to_vec).collect();
            pairs.sort();
            Value::Array(pairs.concat())
        }
        (_, reply) => reply,
    }
}
