//! What commands on streams answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, count};
use super::history::Key;
use super::streams::{Id, Kept, StreamContent, Wanted};
use crate::reply::Value;

const TOO_SMALL: &str = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
const BELOW_TOP: &str = "ERR The ID specified in XSETID is smaller than the target stream top item";

impl Call<'_, '_> {
    pub(super) fn stream(&mut self, name: &str) -> Option<Answer> {
        const NAMES: [&str; 8] = ["xadd", "xlen", "xrange", "xrevrange", "xread", "xdel", "xtrim", "xsetid"];
        if !NAMES.contains(&name) {
            return None;
        }
        let key = self.key(if name == "xread" { 4 } else { 1 });
        let found = match self.execution.stream(&key) {
            Ok(found) => found,
            Err(_) => return Some(Err(WRONG_TYPE)),
        };
        let entries = found.as_ref().map(|found| found.entries.clone()).unwrap_or_default();
        Some(match name {
            "xadd" => self.call_xadd(&key, found.is_some()),
            "xlen" => Ok(count(entries.len())),
            "xrange" => {
                let first = id_of(self.arg(2)).unwrap_or_default();
                Ok(Value::Array(entries.range(first..).map(entry).collect()))
            }
            "xread" => {
                let seen = id_of(self.arg(5)).unwrap_or_default();
                let behind = entries.iter().filter(|(id, _)| **id > seen).take(2).map(entry);
                let behind: Vec<Value> = behind.collect();
                let stream = || Value::Array(vec![Value::Bulk(key.name.clone()), Value::Array(behind.clone())]);
                Ok(if behind.is_empty() { Value::Null } else { Value::Array(vec![stream()]) })
            }
            "xrevrange" => Ok(Value::Array(entries.iter().rev().map(entry).take(2).collect())),
            "xdel" => {
                let ids: Vec<Id> = self.args[2..].iter().filter_map(|text| id_of(text)).collect();
                Ok(count(self.execution.delete_entries(&key, &ids)))
            }
            "xtrim" => Ok(count(self.kept(2).map_or(0, |kept| self.execution.trim(&key, kept)))),
            _ => self.call_xsetid(&key, found),
        })
    }

    /// What is to stay, from `MAXLEN` or `MINID` and the argument after it.
    fn kept(&self, at: usize) -> Option<Kept> {
        match self.arg(at).to_ascii_lowercase().as_str() {
            "maxlen" => Some(Kept::Most(self.arg(at + 1).parse().ok()?)),
            "minid" => Some(Kept::From(id_of(self.arg(at + 1))?)),
            _ => None,
        }
    }

    fn call_xadd(&mut self, key: &Key, exists: bool) -> Answer {
        let makes = !self.arg(2).eq_ignore_ascii_case("nomkstream");
        if !makes && !exists {
            return Ok(Value::Null);
        }
        let options = if makes { 2 } else { 3 };
        let kept = self.kept(options);
        let at = if kept.is_some() { options + 2 } else { options };
        let wanted = match self.arg(at) {
            "*" => Wanted::Next,
            text => match text.strip_suffix("-*").and_then(|ms| ms.parse().ok()) {
                Some(ms) => Wanted::NextIn(ms),
                None => Wanted::This(id_of(text).unwrap_or_default()),
            },
        };
        let fields = self.args[at + 1..].join(" ");
        let Some(id) = self.execution.append(key, wanted, &fields) else { return Err(TOO_SMALL) };
        if let Some(kept) = kept {
            self.execution.trim(key, kept);
        }
        Ok(Value::Bulk(text_of(&id)))
    }

    fn call_xsetid(&mut self, key: &Key, found: Option<StreamContent>) -> Answer {
        let Some(found) = found else { return Err("ERR no such key") };
        let last = id_of(self.arg(2)).unwrap_or_default();
        if found.entries.keys().next_back().is_some_and(|top| last < *top) {
            return Err(BELOW_TOP);
        }
        let added = self.arg(4).parse().ok();
        self.execution.set_last(key, last, added);
        Ok(Value::ok())
    }
}

fn id_of(text: &str) -> Option<Id> {
    let (ms, sequence) = text.split_once('-').unwrap_or((text, "0"));
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}

fn text_of(id: &Id) -> String {
    format!("{}-{}", id.0, id.1)
}

fn entry((id, fields): (&Id, &String)) -> Value {
    let fields = fields.split(' ').map(|text| Value::Bulk(text.to_owned())).collect();
    Value::Array(vec![Value::Bulk(text_of(id)), Value::Array(fields)])
}
