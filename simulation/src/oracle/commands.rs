//! Commands as the oracle understands them: what each answers and writes, by the contract and by Redis' manual.

use super::execution::Execution;
use super::history::Key;
use crate::reply::Value;

pub(super) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// What a command answers; a refusal is an answer too.
pub(super) type Answer = Result<Value, &'static str>;

/// Executes a command in database `database` and says what it must answer. `actual` is what it did answer: the choice
/// of a command with a random outcome is taken from there. None: the oracle does not know the command.
pub fn execute(execution: &mut Execution<'_>, database: u8, args: &[String], actual: &Value) -> Option<Value> {
    let name = args.first()?.to_ascii_lowercase();
    let mut call = Call { execution, database, args, actual };
    let answer = call.string(&name).or_else(|| call.counter(&name)).or_else(|| call.bits(&name));
    let answer = answer.or_else(|| call.hash(&name)).or_else(|| call.set(&name)).or_else(|| call.set_algebra(&name));
    let answer = answer.or_else(|| call.sorted_set(&name)).or_else(|| call.score_algebra(&name));
    let answer = answer.or_else(|| call.place(&name)).or_else(|| call.sketch(&name));
    let answer = answer.or_else(|| call.list(&name)).or_else(|| call.stream(&name)).or_else(|| call.group(&name));
    let answer = answer.or_else(|| call.generic(&name)).or_else(|| call.life(&name));
    let answer = answer.or_else(|| call.field_life(&name))?;
    Some(answer.unwrap_or_else(|text| Value::Error(text.to_owned())))
}

pub(super) struct Call<'c, 'h> {
    pub(super) execution: &'c mut Execution<'h>,
    pub(super) database: u8,
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

    pub(super) fn has(&self, word: &str) -> bool {
        self.args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word))
    }

    /// The amount behind a word such as `PX`, in milliseconds.
    pub(super) fn amount(&self, word: &str, unit: u64) -> Option<u64> {
        let at = self.args.iter().position(|arg| arg.eq_ignore_ascii_case(word))?;
        Some(self.arg(at + 1).parse::<u64>().ok()? * unit)
    }

    /// The keys of the arguments from `at` on.
    pub(super) fn keys_from(&self, at: usize) -> Vec<Key> {
        (at..self.args.len()).map(|at| self.key(at)).collect()
    }

    /// The whole number at `at`.
    pub(super) fn number(&self, at: usize) -> i64 {
        self.arg(at).parse().unwrap_or(0)
    }

    /// The places from the argument at `at` to the next one, both included, of so many; those below 0 count from the end.
    pub(super) fn range_at(&self, at: usize, length: usize) -> std::ops::Range<usize> {
        let length = length as i64;
        let from_end = |at: i64| if at < 0 { at + length } else { at };
        let (start, end) = (from_end(self.number(at)).max(0), from_end(self.number(at + 1)).min(length - 1));
        if start > end { 0..0 } else { start as usize..end as usize + 1 }
    }
}

pub(super) fn count(value: usize) -> Value {
    Value::Integer(value as i64)
}

/// Names with numbers in turn, as texts.
pub(super) fn pairs(of: impl IntoIterator<Item = (String, String)>) -> Value {
    Value::Array(of.into_iter().flat_map(|(name, value)| [Value::Bulk(name), Value::Bulk(value)]).collect())
}

/// Several texts.
pub(super) fn bulks(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(texts.into_iter().map(Value::Bulk).collect())
}

pub(super) fn flag(value: bool) -> Value {
    Value::Integer(i64::from(value))
}

/// Brings a reply whose order is free into one.
pub fn in_order(name: &str, reply: Value) -> Value {
    match (name.to_ascii_lowercase().as_str(), reply) {
        ("smembers" | "sinter" | "sunion" | "sdiff" | "hkeys" | "hvals" | "geosearch", Value::Array(mut members)) => {
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
