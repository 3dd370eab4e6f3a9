//! What commands on lists answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, bulks, count};
use super::history::Key;
use crate::reply::Value;

impl Call<'_, '_> {
    fn texts(&mut self, key: &Key) -> Result<Vec<String>, &'static str> {
        self.execution.list(key).map_err(|_| WRONG_TYPE)
    }

    pub(super) fn list(&mut self, name: &str) -> Option<Answer> {
        const NAMES: [&str; 16] = [
            "lpush",
            "rpush",
            "lpushx",
            "rpushx",
            "lpop",
            "rpop",
            "llen",
            "lrange",
            "lindex",
            "lpos",
            "lset",
            "linsert",
            "lrem",
            "ltrim",
            "lmove",
            "rpoplpush",
        ];
        if name == "lmpop" {
            return Some(self.call_lmpop());
        }
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
            "lpushx" | "rpushx" if length == 0 => count(0),
            "lpush" | "rpush" | "lpushx" | "rpushx" => {
                let values = self.args[2..].to_vec();
                self.execution.push(&key, name.starts_with('l'), &values);
                count(length + values.len())
            }
            "lpop" | "rpop" if length == 0 => Value::Null,
            "lpop" | "rpop" if self.args.len() > 2 => {
                bulks(self.pop(&key, texts, name == "rpop", self.number(2) as usize))
            }
            "lpop" | "rpop" => {
                let at = if name == "lpop" { 0 } else { length - 1 };
                self.execution.remove_numbers(&key, &[at]);
                Value::Bulk(texts[at].clone())
            }
            "llen" => count(length),
            "lrange" => {
                let range = self.range_at(2, length);
                bulks(texts[range].to_vec())
            }
            "lindex" => {
                let at = self.number(2);
                let at = usize::try_from(if at < 0 { at + length as i64 } else { at }).ok();
                Value::bulk(at.and_then(|at| texts.get(at)).cloned())
            }
            "lpos" => texts.iter().position(|text| text == self.arg(2)).map_or(Value::Null, count),
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
                let kept = self.range_at(2, length);
                let removed: Vec<usize> = (0..length).filter(|at| !kept.contains(at)).collect();
                self.execution.remove_numbers(&key, &removed);
                Value::ok()
            }
            "rpoplpush" => return Some(self.call_lmove(&key, texts, [false, true])),
            _ => {
                let ends = [3, 4].map(|at| self.arg(at).eq_ignore_ascii_case("left"));
                return Some(self.call_lmove(&key, texts, ends));
            }
        }))
    }

    /// Removes so many elements from an end, and says which.
    fn pop(&mut self, key: &Key, texts: Vec<String>, from_end: bool, most: usize) -> Vec<String> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        if from_end {
            order.reverse();
        }
        order.truncate(most);
        let popped = order.iter().map(|&at| texts[at].clone()).collect();
        order.sort_unstable();
        self.execution.remove_numbers(key, &order);
        popped
    }

    fn call_lmpop(&mut self) -> Answer {
        let from_end = self.arg(4).eq_ignore_ascii_case("right");
        for key in [self.key(2), self.key(3)] {
            let texts = self.texts(&key)?;
            if !texts.is_empty() {
                let popped = self.pop(&key, texts, from_end, self.number(6) as usize);
                return Ok(Value::Array(vec![Value::Bulk(key.name), bulks(popped)]));
            }
        }
        Ok(Value::Null)
    }

    fn call_lmove(&mut self, source: &Key, texts: Vec<String>, [from_head, to_head]: [bool; 2]) -> Answer {
        let target = self.key(2);
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
