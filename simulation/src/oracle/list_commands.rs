//! What commands on lists answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, count};
use super::history::Key;
use crate::reply::Value;

impl Call<'_, '_> {
    fn texts(&mut self, key: &Key) -> Result<Vec<String>, &'static str> {
        self.execution.list(key).map_err(|_| WRONG_TYPE)
    }

    fn number(&self, at: usize) -> i64 {
        self.arg(at).parse().unwrap_or(0)
    }

    pub(super) fn list(&mut self, name: &str) -> Option<Answer> {
        const NAMES: [&str; 11] =
            ["lpush", "rpush", "lpop", "rpop", "llen", "lrange", "lset", "linsert", "lrem", "ltrim", "lmove"];
        if !NAMES.contains(&name) {
            return None;
        }
        let key = self.key(1);
        let texts = match self.texts(&key) {
            Ok(texts) => texts,
            Err(error) => return Some(Err(error)),
        };
        let length = texts.len();
        Some(Ok(match name {
            "lpush" | "rpush" => {
                let values = self.args[2..].to_vec();
                self.execution.push(&key, name == "lpush", &values);
                count(length + values.len())
            }
            "lpop" | "rpop" if length == 0 => Value::Null,
            "lpop" | "rpop" => {
                let at = if name == "lpop" { 0 } else { length - 1 };
                self.execution.remove_numbers(&key, &[at]);
                Value::Bulk(texts[at].clone())
            }
            "llen" => count(length),
            "lrange" => {
                let range = self.range(length);
                Value::Array(texts[range].iter().cloned().map(Value::Bulk).collect())
            }
            "lset" if length == 0 => return Some(Err("ERR no such key")),
            "lset" => {
                let at = self.number(2);
                let at = if at < 0 { at + length as i64 } else { at };
                let Some(at) = usize::try_from(at).ok().filter(|at| *at < length) else {
                    return Some(Err("ERR index out of range"));
                };
                let text = self.arg(3).to_owned();
                self.execution.set_element(&key, at, &text);
                Value::ok()
            }
            "linsert" if length == 0 => count(0),
            "linsert" => match texts.iter().position(|text| text == self.arg(3)) {
                None => Value::Integer(-1),
                Some(pivot) => {
                    let text = self.arg(4).to_owned();
                    let behind = usize::from(self.arg(2).eq_ignore_ascii_case("after"));
                    self.execution.insert_element(&key, pivot + behind, &text);
                    count(length + 1)
                }
            },
            "lrem" => {
                let (most, wanted) = (self.number(2), self.arg(3));
                let mut found: Vec<usize> = (0..length).filter(|&at| texts[at] == wanted).collect();
                if most < 0 {
                    found.drain(..found.len().saturating_sub(most.unsigned_abs() as usize));
                } else if most > 0 {
                    found.truncate(most as usize);
                }
                self.execution.remove_numbers(&key, &found);
                count(found.len())
            }
            "ltrim" => {
                let kept = self.range(length);
                let removed: Vec<usize> = (0..length).filter(|at| !kept.contains(at)).collect();
                self.execution.remove_numbers(&key, &removed);
                Value::ok()
            }
            _ => return Some(self.call_lmove(&key, texts)),
        }))
    }

    /// The numbers from the third argument to the fourth.
    fn range(&self, length: usize) -> std::ops::Range<usize> {
        let length = length as i64;
        let from_end = |at: i64| if at < 0 { at + length } else { at };
        let (start, end) = (from_end(self.number(2)).max(0), from_end(self.number(3)).min(length - 1));
        if start > end { 0..0 } else { start as usize..end as usize + 1 }
    }

    fn call_lmove(&mut self, source: &Key, texts: Vec<String>) -> Answer {
        let target = self.key(2);
        let [from_head, to_head] = [3, 4].map(|at| self.arg(at).eq_ignore_ascii_case("left"));
        if texts.is_empty() {
            return Ok(Value::Null);
        }
        self.texts(&target)?;
        let at = if from_head { 0 } else { texts.len() - 1 };
        let moved = texts[at].clone();
        if *source != target {
            self.execution.remove_numbers(source, &[at]);
            self.execution.push(&target, to_head, std::slice::from_ref(&moved));
        } else if from_head == to_head {
            self.execution.set_element(source, at, &moved);
        } else {
            self.execution.rotate(source, from_head);
        }
        Ok(Value::Bulk(moved))
    }
}
